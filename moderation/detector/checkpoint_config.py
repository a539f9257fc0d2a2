"""What an original checkpoint's own config says: the question, the normalisation, the language model. Refuses guesses.

The original keeps several copies of a value in it; which one was in force while tuning is known here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moderation.detector.preprocess import STATISTICS_150K, STATISTICS_150K_LAMA, Normalisation
from moderation.detector.prompt import Position
from moderation.detector.question import MARKER, QUESTIONS
from moderation.errors import ConfigurationError

STATISTICS = ("datasets", "textinv", "vis_processor", "eval")
"""Where the statistics lie that trained it."""
_DEFAULTS = ("preprocess", "vis_processor", "eval")  # of the model's own file; training did not use them
_COPY = ("datasets", "textinv", "text_processor", "eval", "prompt")
RELEASED_ON = "vicuna-7b-v1.3"
"""The language model of the released checkpoints (the repository's README and model configuration)."""
_HELD = {"instructblip-vicuna-7b": "vicuna-7b-v1.1"}
"""What the Hub's folders hold, by the last part of their names."""
NORMALISATIONS = {
    "150k": STATISTICS_150K,
    "150k-lama": STATISTICS_150K_LAMA,
    "clip": Normalisation((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
}
"""Those that go by a name: of the released checkpoints' training sets, and CLIP's (openai/CLIP, `clip.py`)."""
_VERSION = re.compile(r"v\d")


def dig(tree: Any, *keys: str) -> Any:
    """The value below those keys; None where there is none."""
    for key in keys:
        if not isinstance(tree, Mapping):
            return None
        tree = tree.get(key)
    return tree


def refused(path: Path, problem: str, hint: str = "") -> ConfigurationError:
    """The error for a file that can't be used."""
    return ConfigurationError(str(path), problem, hint=hint)


def question_of(path: Path, config: Any, given: str | None) -> tuple[str, list[str]]:
    """The question, and what a person should know of it. `given` counts only where the config names none."""
    own = dig(config, "model", "prompt")
    text = own or given
    if not isinstance(text, str) or text.count(MARKER) != 1:
        problem = f"its config names no question with one {MARKER} at model.prompt: {text!r}"
        raise refused(path, problem, f"if it was stripped, name the question: --question {QUESTIONS['postfix']!r}")
    notes = [f"question: {text!r} ({position_of(path, text)})"]
    if own and given and own != given:
        notes.append(f"the question given, {given!r}, is not used: the file names its own")
    if (other := dig(config, *_COPY)) not in (None, own):
        notes.append(f"left aside: {'.'.join(_COPY)} says {other!r}")
    return text, notes


def position_of(path: Path, question: str) -> Position:
    """Where in the question the pseudo-word stands."""
    left, right = (part.strip() for part in question.split(MARKER))
    if not left:
        return "prefix"
    if question == QUESTIONS["replace"]:
        return "replace"
    if right.strip("?.! "):
        raise refused(path, f"the pseudo-word stands in the middle of {question!r}")
    return "postfix"


def normalisation_of(path: Path, config: Any, given: Normalisation | None) -> tuple[Normalisation, list[str]]:
    """The statistics that trained it, and what a person should know of them."""
    own = [dig(config, *STATISTICS, name) for name in ("mean", "std")]
    if own == [None, None] and given is not None:
        return given, [f"normalisation: {_shown(given)}, as given; the file holds none"]
    try:
        found = _statistics(*own)
    except (TypeError, ValueError) as error:
        problem = f"its config has no usable {'.'.join(STATISTICS)}.mean and .std ({error})"
        raise refused(path, problem, "if it was stripped, name the statistics: --normalisation 150k") from None
    notes = [f"normalisation: {_shown(found)}, from {'.'.join(STATISTICS)}"]
    if given is not None and given != found:
        notes.append("the normalisation given is not used: the file holds its own")
    defaults = [dig(config, *_DEFAULTS, name) for name in ("mean", "std")]
    if defaults not in ([None, None], own):
        mean, std = defaults
        notes.append(f"left aside: {'.'.join(_DEFAULTS)} says mean {mean}, std {std}, which did not train it")
    return found, notes


def normalisation_named(text: str) -> Normalisation:
    """One of NORMALISATIONS, or R,G,B/R,G,B: means, then standard deviations. Raises ValueError."""
    if text in NORMALISATIONS:
        return NORMALISATIONS[text]
    try:
        mean, std = (part.split(",") for part in text.split("/"))
        return _statistics(mean, std)
    except ValueError as error:
        named = ", ".join(NORMALISATIONS)
        raise ValueError(f"{text!r} is none of {named} and no R,G,B/R,G,B ({error})") from None


def language_model_of(config: Any) -> str:
    """Where the language model it was trained on lay; '' when not said."""
    return str(dig(config, "model", "llm_model") or "")


def held_by(backbone: str) -> str | None:
    """The language model in the backbone of this name, as far as the name tells."""
    own, _, swapped = backbone.partition("+")
    return Path(swapped).name if swapped else _HELD.get(Path(own).name.lower())


def matches(trained_on: str, backbone: str) -> bool | None:
    """Whether the backbone of this name holds the language model `trained_on`; None where the names can't tell."""
    wanted, held = trained_on.lower(), held_by(backbone)
    if held is not None:
        return wanted == held.lower()
    own = Path(backbone).name.lower()
    return True if wanted == own or (_VERSION.search(wanted) and wanted in own) else None


def _statistics(mean: Any, std: Any) -> Normalisation:
    (red, green, blue), (red_std, green_std, blue_std) = (tuple(map(float, part)) for part in (mean, std))
    return Normalisation((red, green, blue), (red_std, green_std, blue_std))


def _shown(found: Normalisation) -> str:
    return f"mean {' '.join(map(str, found.mean))}, std {' '.join(map(str, found.std))}"
