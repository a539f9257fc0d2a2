"""Proof that a threshold's false-positive rate is below a target, for each threshold of a grid by itself.

Where every image had the same chance of being looked at, the labelled real ones are a plain sample:
the exact binomial test (Clopper and Pearson 1934) applies. Where chances differ, each real image i stands for w_i =
1 / chance images, and the rate is at most `a` exactly if E[z] <= 0 for z = w (1{score >= t} - a), the expectation taken
over labelled real images as they come. That is the mean of a bounded variable, z <= (1 - a) W, W being the largest
weight an image at or above t can have, and it is tested by betting (Waudby-Smith and Ramdas, "Estimating means of
bounded random variables by betting", JRSS B 2024, arXiv 2010.09686): for each fixed c in 0..1 the product
over i of 1 - c z_i / ((1 - a) W) is never negative and has, if the rate is above `a`, an expectation below 1; so has
a weighted mean over several c. By Markov's inequality it exceeds 1 / (1 - confidence) with a probability below
1 - confidence. Large weights below t, such as those of rarely audited images, only make the bet stronger.
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


def fitting_test(score: Floats, weight: Floats, ceilings: Sequence[Ceiling]) -> Binomial | Betting:
    """The exact test where all weights are equal, else the one by betting. score: ascending."""
    return Binomial(score) if _are_equal(weight, ceilings) else Betting(score, weight, ceilings)


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


def _smallest(proves: Callable[[int], bool], above: int) -> int:
    """The smallest number above `above` that `proves`; more always prove more."""
    low, high = above, max(2 * above, 64)
    while not proves(high) and high < _MOST_NEEDED:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if proves(middle) else (middle, high)
    return high
