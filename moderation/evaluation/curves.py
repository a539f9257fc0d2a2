"""The curves that a report draws: the points of an ROC and the bins of a reliability diagram, as the figures have them.

Nothing is drawn here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moderation.evaluation.figures import Ranked, bins_of, usable


@dataclass(frozen=True, slots=True)
class Bin:
    """One bin of a reliability diagram: pictures whose P(fake) lies in low..high, their mean P and share of fakes."""

    low: float
    high: float
    n: int
    mean_probability: float
    share_fake: float


def roc(
    is_fake: ArrayLike, probability: ArrayLike, margin: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(false-positive rates, true-positive rates), both from 0 to 1, a point for each cut. Both classes are needed.

    Scores that are no numbers are left out. Raises ValueError where a class is missing.
    """
    fake, p, m = usable(is_fake, probability, margin)
    if fake.all() or not fake.any():
        raise ValueError("a ROC curve needs images of both classes")
    ranked = Ranked(fake, p, m, 0.5)
    false, found = ranked.curve(np.ones(len(fake)), fake[ranked.order].astype(np.float64))
    return false / false[-1], found / found[-1]


def reliability(is_fake: ArrayLike, probability: ArrayLike) -> list[Bin]:
    """The bins that the ECE is made of, by rising probability. Scores that are no numbers are left out."""
    fake, p, _ = usable(is_fake, probability, probability)
    bins = bins_of(p)
    return [
        Bin(
            low=float(p[inside].min()),
            high=float(p[inside].max()),
            n=int(inside.sum()),
            mean_probability=float(p[inside].mean()),
            share_fake=float(fake[inside].mean()),
        )
        for inside in (bins == number for number in np.unique(bins))
    ]
