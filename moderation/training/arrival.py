"""Validation pictures as they are, and as they arrive on a platform: through JPEG, and treated at random.

What an expert's word is worth must be judged on both: untouched pictures alone praise traces that no upload keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moderation.detector import Detector
from moderation.errors import ImageRejected
from moderation.images import views_of
from moderation.training.augment import number
from moderation.training.native import compressed, robust
from moderation.training.reading import ahead

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from moderation.datasets.labelled import LabelledImage
    from moderation.images import Views
    from moderation.training.reading import Decode

_QUALITY = 75  # of JPEG, as photo sites re-encode
_CHUNK = 16  # pictures read at once, each in every condition

Condition = Callable[["Image.Image", np.random.Generator], "Image.Image"]
CONDITIONS: tuple[Condition, ...] = (
    lambda image, _: image,
    lambda image, _: compressed(image, _QUALITY),
    robust,
)


@dataclass(frozen=True)
class Arrived:
    """One row a picture and condition. margins, logits: float64 [N]; rows: int [N], which picture each is of."""

    margins: NDArray[np.float64]
    logits: NDArray[np.float64]
    rows: NDArray[np.intp]


def arrive(
    images: Sequence[LabelledImage], plain: Detector, expert: Detector, decode: Decode, readers: Executor, seed: int
) -> Arrived:
    """What `plain` and the pixel expert of `expert` say of the pictures in every condition.

    The random treatment is a function of seed and picture. Pictures that can't be read or scored are left out.
    """
    kept: list[tuple[float, float, int]] = []
    for rows, views in looks(images, plain.backbone.image_size, expert.native_crops, decode, readers, seed):
        logits = expert.expert_logits(views) or []
        for (row, _), score, logit in zip(rows, plain.score(views), logits, strict=True):
            if not isinstance(score, ImageRejected) and not isinstance(logit, ImageRejected):
                kept.append((score.margin, logit, row))
    return Arrived(
        np.array([margin for margin, _, _ in kept]),
        np.array([logit for _, logit, _ in kept]),
        np.array([row for _, _, row in kept], dtype=np.intp),
    )


def looks(
    images: Sequence[LabelledImage],
    size: int,
    crops: int,
    decode: Decode,
    readers: Executor,
    seed: int,
    conditions: Sequence[Condition] = CONDITIONS,
) -> Iterator[tuple[list[tuple[int, int]], list[Views]]]:
    """Some views at a time, each with the number of its picture and that of its condition."""

    def look(row: int) -> list[Views]:
        try:
            image = decode(images[row].path.read_bytes())
        except (ImageRejected, OSError):
            return []
        seeds = [number(seed, row, place, "arrival") for place in range(len(conditions))]
        found = [treat(image, np.random.default_rng(each)) for treat, each in zip(conditions, seeds, strict=True)]
        return [views_of(each, size, crops) for each in found]

    parts = [list(range(len(images)))[start : start + _CHUNK] for start in range(0, len(images), _CHUNK)]
    for part, found in ahead(readers, look, parts):
        rows = [(row, place) for row, views in zip(part, found, strict=True) for place in range(len(views))]
        yield rows, [view for one in found for view in one]
