"""How far two sets of scores lie apart, from histograms: population-stability index and Kolmogorov-Smirnov distance.

Pure, so that a worker without scipy can say it. Each figure comes with the probability that chance alone makes one as
large, for an alarm must not be made by noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Histogram = Mapping[int, int]
"""How many images have each score, scores being whole numbers: P(fake) in steps of 1 / STEPS."""

STEPS = 10_000
BINS = 10
SMOOTHING = 0.5
"""Added to each bin's count before shares are taken, so that an empty bin is no division by zero (Jeffreys 1946)."""
_Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Shift:
    """A figure, and the probability of one as large or larger if nothing had changed."""

    value: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Share:
    """`count` of `of`, with the Wilson interval of 95 %."""

    count: int
    of: int
    value: float
    low: float
    high: float


def population_stability(baseline: Histogram, window: Histogram) -> Shift:
    """The population-stability index over bins that hold a tenth of the baseline each (see `bin_edges`).

    The sum over bins of (w - b) ln(w / b), shares smoothed. Its p-value is that of Yurdakul and Naranjo (2020,
    "Statistical properties of the population stability index"): without a change it is about (1/m + 1/n) times a
    chi-square of bins - 1 degrees of freedom. Raises ValueError for an empty histogram.
    """
    m, n = _sizes(baseline, window)
    edges = bin_edges(baseline)
    before, after = _binned(baseline, edges), _binned(window, edges)
    bins = len(before)
    index = 0.0
    for old, new in zip(before, after, strict=True):
        was = (old + SMOOTHING) / (m + SMOOTHING * bins)
        now = (new + SMOOTHING) / (n + SMOOTHING * bins)
        index += (now - was) * math.log(now / was)
    return Shift(index, chi_square_tail(index / (1.0 / m + 1.0 / n), bins - 1))


def bin_edges(baseline: Histogram) -> list[int]:
    """The last score of each bin but the last, rising: the baseline's deciles.

    A score that several deciles fall on gets a bin of its own, so that what moves away from it to either side is seen;
    there are then fewer bins.
    """
    total = sum(baseline.values())
    deciles: list[int] = []
    seen = 0
    for score, images in sorted(baseline.items()):
        seen += images
        while len(deciles) < BINS - 1 and seen * BINS >= total * (len(deciles) + 1):
            deciles.append(score)
    repeated = {score for score in deciles if deciles.count(score) > 1}
    return sorted({*deciles, *(score - 1 for score in repeated)})


def kolmogorov_smirnov(baseline: Histogram, window: Histogram) -> Shift:
    """The largest distance between the two cumulative shares, with its two-sided asymptotic p-value.

    Ties make the p-value too large, never too small. Raises ValueError for an empty histogram.
    """
    m, n = _sizes(baseline, window)
    before = after = 0
    distance = 0.0
    for score in sorted({*baseline, *window}):
        before += baseline.get(score, 0)
        after += window.get(score, 0)
        distance = max(distance, abs(before / m - after / n))
    return Shift(distance, _kolmogorov_tail(distance, m, n))


def wilson(count: int, of: int) -> Share:
    """A share with its interval (Wilson 1927). Raises ValueError unless 0 <= count <= of and of > 0."""
    if not 0 <= count <= of or of == 0:
        raise ValueError(f"{count} of {of} is no share")
    share, square = count / of, _Z95**2 / of
    middle = (share + square / 2.0) / (1.0 + square)
    half = _Z95 / (1.0 + square) * math.sqrt(share * (1.0 - share) / of + square / (4.0 * of))
    return Share(count, of, share, max(0.0, middle - half), min(1.0, middle + half))


def change(before: Share, after: Share) -> Shift:
    """The difference of two shares, with the two-sided p-value of the pooled z-test."""
    difference = after.value - before.value
    pooled = (before.count + after.count) / (before.of + after.of)
    spread = math.sqrt(pooled * (1.0 - pooled) * (1.0 / before.of + 1.0 / after.of))
    return Shift(difference, math.erfc(abs(difference) / spread / math.sqrt(2.0)) if spread else 1.0)


def chi_square_tail(value: float, degrees: int) -> float:
    """P(a chi-square of so many degrees of freedom >= value); 1 without degrees of freedom."""
    if degrees <= 0 or value <= 0.0:
        return 1.0
    half = value / 2.0
    if degrees % 2:
        tail, term = math.erfc(math.sqrt(half)), math.sqrt(half / math.pi) * math.exp(-half) * 2.0
        start = 1.5
    else:
        tail, term = math.exp(-half), half * math.exp(-half)
        start = 2.0
    for step in range((degrees - 1) // 2):  # Q(a + 1, x) = Q(a, x) + x**a e**-x / Gamma(a + 1)
        tail += term
        term *= half / (start + step)
    return min(1.0, tail)


def _kolmogorov_tail(distance: float, m: int, n: int) -> float:
    """Kolmogorov's limit law with Stephens' correction for finite samples (1970)."""
    root = math.sqrt(m * n / (m + n))
    x = (root + 0.12 + 0.11 / root) * distance
    if x < 0.2:  # the series converges badly there, and its sum is 1 to twelve digits
        return 1.0
    total = 2.0 * sum(math.copysign(1.0, k % 2 - 0.5) * math.exp(-2.0 * (k * x) ** 2) for k in range(1, 101))
    return min(1.0, max(0.0, total))


def _binned(histogram: Histogram, edges: Sequence[int]) -> list[int]:
    counts = [0] * (len(edges) + 1)
    at = 0
    for score, images in sorted(histogram.items()):
        while at < len(edges) and score > edges[at]:
            at += 1
        counts[at] += images
    return counts


def _sizes(baseline: Histogram, window: Histogram) -> tuple[int, int]:
    m, n = sum(baseline.values()), sum(window.values())
    if not m or not n:
        raise ValueError("scores to compare are missing")
    return m, n
