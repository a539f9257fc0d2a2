"""Certify a threshold: the lowest one whose false-positive rate is proven to be below a target.

The rate at a threshold t is P(score >= t | real) over all images of the scope, not over those that were looked at.
`proof` tests one threshold: exactly where all inclusion probabilities are equal, else by betting on weighted means.

Many thresholds are tested from strict to loose, in an order fixed beforehand, each at the full level, until
the first that fails (fixed-sequence testing; Angelopoulos, Bates, Candes, Jordan and Lei, "Learn then Test",
arXiv 2110.01052): the chance that any passes wrongly is that of one test.

Kinds of images of which none was looked at: thresholds that such an image can reach can't be certified; below the
threshold they are left out, which makes the rate look larger than it is, never smaller.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moderation.evaluation.proof import GRID, Betting, Binomial, Ceiling, fitting_test


@dataclass(frozen=True, slots=True)
class Certificate:
    """What was proven. `threshold` None: nothing; then `more` says how many more real-labelled images are needed.

    rate: the weighted share of real images at or above the threshold (the strictest one tried, where none was proven);
    bound: what the rate is proven to be below; flagged, real: labelled real images at or above it, and in all.
    `is_blind`: images that could reach every threshold were never looked at, and no number of others helps.
    """

    threshold: float | None
    rate: float | None
    bound: float | None
    flagged: int
    real: int
    method: str
    more: int | None = None
    is_blind: bool = False


def certify(
    scores: Sequence[float],
    weights: Sequence[float],
    ceilings: Sequence[Ceiling],
    *,
    max_fpr: float,
    confidence: float,
) -> Certificate:
    """The lowest certified threshold. scores, weights: of the images labelled real. Raises ValueError for a target or
    confidence that is not within 0..1."""
    for name, value in (("max_fpr", max_fpr), ("confidence", confidence)):
        if not 0.0 < value < 1.0:
            raise ValueError(f"{name} is {value}, must lie between 0 and 1")
    order = np.argsort(np.asarray(scores, np.float64))
    score, weight = np.asarray(scores, np.float64)[order], np.asarray(weights, np.float64)[order]
    test = fitting_test(score, weight, ceilings)
    steps = passed(test, ceilings, max_fpr, confidence)
    at = max(0, steps - 1)
    first = int(np.searchsorted(score, GRID[at]))
    whole = float(weight.sum())
    is_blind = any(math.isinf(ceiling.weight) and ceiling.below > GRID[0] for ceiling in ceilings)
    return Certificate(
        threshold=float(GRID[at]) if steps else None,
        rate=float(weight[first:].sum()) / whole if whole else None,
        bound=_bound(test, at, max_fpr, confidence) if steps else None,
        flagged=len(score) - first,
        real=len(score),
        method=test.name,
        more=None if steps or is_blind else test.needed(max_fpr, confidence) - len(score),
        is_blind=is_blind,
    )


def passed(test: Binomial | Betting, ceilings: Sequence[Ceiling], max_fpr: float, confidence: float) -> int:
    """How many thresholds of GRID pass, from the strictest to the first that fails."""
    passes = test.log_evidence(max_fpr) >= -math.log(1.0 - confidence)
    passes &= max((each.below for each in ceilings if math.isinf(each.weight)), default=-math.inf) <= GRID
    return len(GRID) if passes.all() else int(np.argmin(passes))


def _bound(test: Binomial | Betting, at: int, max_fpr: float, confidence: float) -> float:
    """The smallest rate that is proven at the threshold GRID[at], to a thousandth of the target, rounded up."""
    goal = -math.log(1.0 - confidence)
    low, high = 0.0, max_fpr
    while high - low > max_fpr / 1000:
        middle = (low + high) / 2
        low, high = (low, middle) if test.log_evidence(middle)[at] >= goal else (middle, high)
    return high
