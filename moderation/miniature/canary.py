"""What the shipped prompt says of the canary pictures, so that even the first worker is checked.

    python -m moderation.miniature.canary

writes the answers anew; they belong to one prompt, one set of weights and one set of pictures, and are left out of
account where any of these is another.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from moderation.domain.canary import Asked, Known, Machine

CANARY_FILE = Path(__file__).resolve().parent / "canary.json"
MACHINE = Machine("cpu", "float32")
SHIPPED = "shipped with the package"
_NAMES = {True: "turned", False: "stored"}  # as EXIF says, or as the file has it: MODERATION_EXIF_ORIENTATION


def shipped_answers(*, exif_orientation: bool) -> list[Known]:
    """The answers on a CPU in float32, for pictures that are turned as their EXIF says or not."""
    found = _read()
    asked = Asked(found["prompt"], found["backbone_revision"], found["pictures"])
    return [Known(asked, MACHINE, tuple(found[_NAMES[exif_orientation]]), SHIPPED)]


@cache
def _read() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(CANARY_FILE.read_text(encoding="utf-8"))
    return found


def measured() -> dict[str, Any]:
    """What `shipped_answers` should give: scored now by the shipped prompt. Raises RuntimeError for a picture that
    can't be scored."""
    from moderation.detector import Detector, Score, SoftPrompt, load_backbone
    from moderation.domain.prompt import prompt_id_of
    from moderation.images import decode, views_of
    from moderation.images.canary import pictures, pictures_sha256
    from moderation.miniature import PROMPT_FILE

    backbone = load_backbone("miniature", device=MACHINE.device, dtype=MACHINE.dtype)
    detector = Detector(backbone, SoftPrompt.load(PROMPT_FILE))
    answers: dict[str, list[float]] = {}
    for turned, name in _NAMES.items():
        images = [decode(data, exif_orientation=turned)[0] for data in pictures()]
        scores = detector.score([views_of(image, backbone.image_size, detector.native_crops) for image in images])
        probabilities = [score.probability for score in scores if isinstance(score, Score)]
        if len(probabilities) != len(images):
            raise RuntimeError(f"a canary picture can't be scored: {scores}")
        answers[name] = [round(probability, 6) for probability in probabilities]
    return {
        "prompt": prompt_id_of(detector.prompt.sha256),
        "backbone_revision": backbone.revision,
        "pictures": pictures_sha256(),
        **answers,
    }


if __name__ == "__main__":
    CANARY_FILE.write_text(json.dumps(measured(), indent=1) + "\n", encoding="utf-8")
