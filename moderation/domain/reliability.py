"""Reliability: whether of the images that were given a probability, that share is fake. Pure rules.

A calibrated detector lies on the diagonal: of those it calls 80 % likely to be fake, 80 % are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from moderation.domain.agreement import wilson_interval
from moderation.domain.evidence import LabelledImage


@dataclass(frozen=True, slots=True)
class Bin:
    """Labelled images whose probability lies in one part of 0..1.

    `claimed` is their mean probability, `fake` the share of fakes, both weighted for how each was drawn; `low` and
    `high` are the share's 95 % interval.
    """

    images: int
    claimed: float
    fake: float
    low: float
    high: float


def reliability(images: Iterable[LabelledImage], bins: int = 10) -> list[Bin]:
    """The bins that hold any image, by their probability."""
    parts: dict[int, list[LabelledImage]] = {}
    for image in images:
        parts.setdefault(min(bins - 1, int(image.image.score * bins)), []).append(image)
    return [_bin(parts[number]) for number in sorted(parts)]


def _bin(images: list[LabelledImage]) -> Bin:
    weights = [image.weight for image in images]
    total = sum(weights)
    claimed = sum(weight * image.image.score for weight, image in zip(weights, images, strict=True)) / total
    fake = min(1.0, sum(weight for weight, image in zip(weights, images, strict=True) if image.is_fake) / total)
    effective = total * total / sum(weight * weight for weight in weights)  # Kish 1965: unequal weights tell less
    return Bin(len(images), claimed, fake, *wilson_interval(fake, effective))
