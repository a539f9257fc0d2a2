"""What ships beside the pseudo-word: a pixel expert, and the calibration of both. The word itself stays as it is.

The expert learns on training pictures, random reconstructors among them. What it is worth and what the sum means are
fitted on validation photographs by families that no tuning saw, as they are and as they arrive on a platform.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from moderation.datasets.labelled import LabelledImage, manifest_sha256
from moderation.datasets.manifest import read_manifest
from moderation.detector import Backbone, Detector, PixelExpert, Score, SoftPrompt, answer_logits, vision_features
from moderation.detector.expert import flops
from moderation.images import decode, views_of
from moderation.miniature import backbone, datasets
from moderation.miniature.datasets import Sizes
from moderation.training.expert_run import with_expert
from moderation.training.finish import Measured, calibrated
from moderation.training.plan import TunePlan

_SPLITS = {name: datasets.USUAL[name] for name in ("train", "val")}
_FULL_SIZE = 224  # pixels a side of the original's pictures
_Say = Callable[[str], None]


@dataclass(frozen=True)
class Made:
    """The prompt that ships, and what the data card says of it."""

    prompt: SoftPrompt
    facts: dict[str, Any]


def with_pixels(word: SoftPrompt, frozen: Backbone, sizes: Sizes, seed: int, work: Path, say: _Say) -> Made:
    """`word` with expert and calibration. work: where decoders are kept and pictures are written.

    Raises ConfigurationError where the expert does not help on the validation pictures.
    """
    manifest = datasets.write(work / "pictures", sizes, seed, work / "decoders", say, _SPLITS)
    # A photograph is no source of a platform: biases by photograph would be of no use to anyone.
    images = [dataclasses.replace(image, source="") for image in read_manifest(manifest)]
    training, validation = ([image for image in images if image.split == split] for split in _SPLITS)
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        say(line)

    before = _measured(word, frozen, validation, seed)
    with ThreadPoolExecutor(1) as readers:
        expert, after = with_expert(
            word, TunePlan(seed=seed, crops=1), training, before, frozen, _decoded, readers, tell
        )
    fitted = after.fitted.to_json() if after.fitted else None
    metadata = {
        **word.metadata,
        "word": word.sha256,
        "expert_trained_on": manifest_sha256(training),
        "calibrated_on": manifest_sha256(validation),
        "validation": after.metrics(),
        "calibration": fitted,
    }
    prompt = dataclasses.replace(word, expert=expert, calibration=after.calibration, metadata=metadata)
    facts = {
        "pictures": {"train": len(training), "val": len(validation)},
        "log": told,
        "weight": expert.weight,
        "calibration": after.calibration.described,
        "fitted": fitted,
        "notes": list(after.notes),
        "validation": {"word": before.metrics(), "fused": after.metrics()},
        "cost": cost(word, frozen),
    }
    return Made(prompt, facts)


def cost(word: SoftPrompt, frozen: Backbone) -> dict[str, int]:
    """Parameters of the expert, and floating-point operations a picture: its own at two sizes, and the backbone's."""
    side = backbone.IMAGE_SIZE
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        features = vision_features(frozen, torch.zeros(1, 3, side, side))
        answer_logits(frozen, word.vectors(frozen), features=features)
    return {
        "parameters": backbone.parameter_count(PixelExpert()),
        f"flops_{side}": flops(side),
        f"flops_{_FULL_SIZE}": flops(_FULL_SIZE),
        "backbone_flops": counter.get_total_flops(),
    }


def _measured(word: SoftPrompt, frozen: Backbone, images: list[LabelledImage], seed: int) -> Measured:
    """The word alone on the validation pictures as they are."""
    views = [views_of(_decoded(image.path.read_bytes()), frozen.image_size) for image in images]
    scores = [score for score in Detector(frozen, word).score(views) if isinstance(score, Score)]
    margins, is_fake = np.array([score.margin for score in scores]), np.array([image.is_fake for image in images])
    loss = float(np.logaddexp(0, np.where(is_fake, -margins, margins)).mean())
    return calibrated(images, is_fake, margins, loss, seed)


def _decoded(data: bytes) -> Image.Image:
    return decode(data)[0]
