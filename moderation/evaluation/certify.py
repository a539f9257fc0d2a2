"""Certify a threshold: the lowest one whose false-positive rate is proven to be below a target.

The rate at a threshold t is P(score >= t | real) over all images of the scope, not over those that were looked at.

**One threshold.** Where every image had the same chance of being looked at, the labelled real ones are a plain sample:
the exact binomial test (Clopper and Pearson 1934) applies. Where chances differ, each real image i stands for w_i =
1 / chance images, and the rate is at most `a` exactly if E[z] <= 0 for z = w (1{score >= t} - a), the expectation taken
over labelled real images as they come. That is the mean of a bounded variable, z <= (1 - a) W, W being the largest
weight an image at or above t can have, and it is tested by betting (Waudby-Smith and Ramdas, "Estimating means of
bounded random variables by betting", JRSS B 2024, arXiv 2010.09686, section 4): for each fixed c in 0..1 the product
over i of 1 - c z_i / ((1 - a) W) is never negative and has, if the rate is above `a`, an expectation below 1; so has
a weighted mean over several c. By Markov's inequality it exceeds 1 / (1 - confidence) with a probability below
1 - confidence. Large weights below t, such as those of rarely audited images, only make the bet stronger.

**Many thresholds.** They are tested from strict to loose, in an order fixed beforehand, each at the full level, until
the first that fails (fixed-sequence testing; Angelopoulos, Bates, Candes, Jordan and Lei, "Learn then Test",
arXiv 2110.01052, section 3.2): the chance that any passes wrongly is that of one test.

Kinds of images of which none was looked at: thresholds that such an image can reach can't be certified; below the
threshold they are left out, which makes the rate look larger than it is, never smaller.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

Floats = NDArray[np.float64]

GRID: Floats = np.concatenate([np.arange(10_000, 9_990, -1) / 10_000, np.arange(999, -1, -1) / 1000])
"""The thresholds that are tried, strict to loose; finer near 1, where calibrated scores pile up."""
# Shares of the largest bet that loses nothing but all. Best is 1 - (rate / target), so the largest for a rate near 0:
# it gets half of the stake, because with few labels nothing else can win.
_BETS: Floats = np.array([1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
_STAKES: Floats = np.array([0.5, *[0.5 / 9] * 9])
_MOST_NEEDED = 10**9


@dataclass(frozen=True, slots=True)
class Ceiling:
    """Images of a kind score below `below`; each labelled one stands for `weight` at most (inf: there is none)."""

    below: float
    weight: float


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


def fitting_test(score: Floats, weight: Floats, ceilings: Sequence[Ceiling]) -> Binomial | Betting:
    """The exact test where all weights are equal, else the one by betting. score: ascending."""
    return Binomial(score) if _are_equal(weight, ceilings) else Betting(score, weight, ceilings)


def passed(test: Binomial | Betting, ceilings: Sequence[Ceiling], max_fpr: float, confidence: float) -> int:
    """How many thresholds of GRID pass, from the strictest to the first that fails."""
    passes = test.log_evidence(max_fpr) >= -math.log(1.0 - confidence)
    passes &= max((each.below for each in ceilings if math.isinf(each.weight)), default=-math.inf) <= GRID
    return len(GRID) if passes.all() else int(np.argmin(passes))


class Binomial:
    """The exact test, where all images stand for equally many."""

    name = "exact binomial (Clopper-Pearson)"

    def __init__(self, score: Floats) -> None:
        self._n = len(score)
        self._flagged = self._n - np.searchsorted(score, GRID)

    def log_evidence(self, rate: float) -> Floats:
        """float64 [len(GRID)]: minus the log of the p-value of 'the true rate is above `rate`'."""
        counts, inverse = np.unique(self._flagged, return_inverse=True)
        evidence: Floats = -stats.binom.logcdf(counts, self._n, rate)[inverse]
        return evidence

    def needed(self, rate: float, confidence: float) -> int:
        """How many real images prove `rate` at the strictest threshold if no more of them reach it."""
        flagged = int(self._flagged[0])
        return _smallest(lambda n: stats.binom.cdf(flagged, n, rate) <= 1.0 - confidence, self._n)


class Betting:
    """The test by betting, where images stand for different numbers. score: ascending."""

    name = "betting on the weighted mean (Waudby-Smith and Ramdas)"

    def __init__(self, score: Floats, weight: Floats, ceilings: Sequence[Ceiling]) -> None:
        self._weight = weight
        self._first = np.searchsorted(score, GRID)  # index of the first image at or above each threshold
        self._largest = _largest_weights(ceilings)

    def log_evidence(self, rate: float) -> Floats:
        """float64 [len(GRID)]: the log of the stake after all bets against 'the true rate is above `rate`'."""
        evidence = np.empty(len(GRID))
        for largest in np.unique(self._largest):
            here = self._largest == largest
            evidence[here] = self._mixed(self._log_products(rate, largest, self._first[here]))
        return evidence

    def needed(self, rate: float, confidence: float) -> int:
        """How many real images, mixed as those so far, prove `rate` at the strictest threshold if no more reach it."""
        first, largest = self._first[:1], float(self._largest[0])
        weight = self._weight if len(self._weight) else np.array([largest])
        gains = np.log1p(np.outer(_BETS, weight) * rate / ((1.0 - rate) * largest)).mean(axis=1)
        start = self._log_products(rate, largest, first)[:, 0]
        n, goal = len(self._weight), -math.log(1.0 - confidence)
        return _smallest(lambda m: bool(self._mixed((start + (m - n) * gains)[:, None])[0] >= goal), n)

    def _log_products(self, rate: float, largest: float, first: NDArray[np.intp]) -> Floats:
        """float64 [len(_BETS), len(first)]"""
        bets = np.outer(_BETS, self._weight / largest)
        with np.errstate(divide="ignore"):  # the largest bet can lose all
            losses = np.log(np.maximum(0.0, 1.0 - bets))
        none = np.zeros((len(_BETS), 1))
        won = np.hstack([none, np.cumsum(np.log1p(bets * rate / (1.0 - rate)), axis=1)])
        lost = np.hstack([np.cumsum(losses[:, ::-1], axis=1)[:, ::-1], none])
        products: Floats = won[:, first] + lost[:, first]
        return products

    @staticmethod
    def _mixed(log_products: Floats) -> Floats:
        mixed: Floats = special.logsumexp(log_products, axis=0, b=_STAKES[:, None])
        return mixed


def _are_equal(weight: Floats, ceilings: Sequence[Ceiling]) -> bool:
    all_of_them = [*weight.tolist(), *(ceiling.weight for ceiling in ceilings if math.isfinite(ceiling.weight))]
    return not all_of_them or math.isclose(min(all_of_them), max(all_of_them), rel_tol=1e-9)


def _largest_weights(ceilings: Sequence[Ceiling]) -> Floats:
    """float64 [len(GRID)]: the largest weight that an image at or above each threshold can have."""
    finite = [ceiling for ceiling in ceilings if math.isfinite(ceiling.weight)]
    if not finite:
        raise ValueError("unequal weights need the ceilings of their kinds")
    reached = np.max([np.where(each.below > GRID, each.weight, 0.0) for each in finite], axis=0)
    largest: Floats = np.where(reached > 0.0, reached, max(each.weight for each in finite))
    return largest


def _bound(test: Binomial | Betting, at: int, max_fpr: float, confidence: float) -> float:
    """The smallest rate that is proven at the threshold GRID[at], to a thousandth of the target, rounded up."""
    goal = -math.log(1.0 - confidence)
    low, high = 0.0, max_fpr
    while high - low > max_fpr / 1000:
        middle = (low + high) / 2
        low, high = (low, middle) if test.log_evidence(middle)[at] >= goal else (middle, high)
    return high


def _smallest(proves: Callable[[int], bool], above: int) -> int:
    """The smallest number above `above` that `proves`; more always prove more."""
    low, high = above, max(2 * above, 64)
    while not proves(high) and high < _MOST_NEEDED:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if proves(middle) else (middle, high)
    return high
