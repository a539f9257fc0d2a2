"""Reconstructors of random architecture: many kinds of traces from short trainings, for what must know more than three.

A detector that saw only a few ways of enlarging learns those; among many random ones only what all leave is worth
learning (precedent: random-architecture reconstructors, CVPR 2026). None has the structure of a family that measures.
"""

from __future__ import annotations

import numpy as np

from moderation.miniature.decoders import FAMILIES, Family
from moderation.miniature.photographs import Split

STEPS = 100  # of training each: they need not be good, only learned
_SEEN = (Split.PRETRAIN, Split.TUNE)
_ENLARGERS = tuple(sorted({family.enlarger for family in FAMILIES if family.split in _SEEN}))


def draw(count: int, seed: int) -> tuple[Family, ...]:
    """`count` random families of split TUNE, made of the enlargers of pre-training and tuning."""
    rng = np.random.default_rng((seed, 7))
    found: list[Family] = []
    while len(found) < count:
        family = _random_family(f"random{len(found):02d}", rng)
        if not _is_reserved(family):
            found.append(family)
    return tuple(found)


def _random_family(name: str, rng: np.random.Generator) -> Family:
    is_denoiser = bool(rng.random() < 0.5)
    return Family(
        name,
        Split.TUNE,
        str(rng.choice(_ENLARGERS)),
        stages=int(rng.choice((1, 2, 3), p=(0.3, 0.45, 0.25))),
        texture=float(rng.choice((0.1, 0.3, 0.5))),
        latent=int(rng.choice((4, 6, 8, 12))),
        levels=0 if is_denoiser else int(rng.choice((0, 0, 5, 7, 12))),
        is_denoiser=is_denoiser,
        noise=round(float(rng.uniform(0.03, 0.25)), 3),
        depth=int(rng.choice((0, 0, 1, 2))),
    )


def _is_reserved(family: Family) -> bool:
    """Whether a family that measures enlarges likewise and is of the same kind: a denoiser, or one that rounds."""
    return any(
        (family.enlarger, family.is_denoiser, family.levels > 0)
        == (other.enlarger, other.is_denoiser, other.levels > 0)
        for other in FAMILIES
        if other.split not in _SEEN
    )
