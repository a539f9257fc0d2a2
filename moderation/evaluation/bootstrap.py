"""Intervals: percentile bootstrap over source pictures.

Pictures made from one source picture stand or fall together, so whole groups are drawn with replacement. Not for
certifying a threshold: an accuracy of exactly 1 has an interval of no width here, however few pictures it rests on.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moderation.evaluation.figures import NAMES, Figure, Ranked, SetMetrics

RESAMPLES = 1000
_ENDS = (2.5, 97.5)  # per cent: a 95 % interval


def measure(
    is_fake: ArrayLike,
    probability: ArrayLike,
    margin: ArrayLike,
    threshold: float,
    group: ArrayLike,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> SetMetrics:
    """Every figure of one set, with intervals. Rows whose score is no finite number are counted and left out.

    is_fake, probability, margin, group: [N]. A group of '' is a picture of its own. The same seed draws the same
    groups. resamples 0: no intervals.
    """
    fake, p, m = np.asarray(is_fake, bool), np.asarray(probability, np.float64), np.asarray(margin, np.float64)
    keep = np.isfinite(p) & np.isfinite(m)
    fake, p, m = fake[keep], p[keep], m[keep]
    codes, n_groups = group_codes(np.asarray(group)[keep])
    ranked = Ranked(fake, p, m, threshold)
    drawn = (ranked.figures(weights) for weights in resampled(codes, n_groups, resamples, seed))
    figures = with_intervals(ranked.figures(), np.array(list(drawn)))
    return SetMetrics(
        n_real=int((~fake).sum()),
        n_fake=int(fake.sum()),
        n_failed=int((~keep).sum()),
        n_groups=n_groups,
        threshold=threshold,
        **dict(zip(NAMES, figures, strict=True)),
    )


def group_codes(group: NDArray[np.generic]) -> tuple[NDArray[np.intp], int]:
    """(the number of each row's group from 0, how many groups). Rows without a name are groups of their own."""
    names, codes = np.unique(group.astype(str), return_inverse=True)
    if len(names) and names[0] == "":
        alone = np.flatnonzero(codes == 0)
        codes = codes - 1
        codes[alone] = len(names) - 1 + np.arange(len(alone))
        return codes, len(names) - 1 + len(alone)
    return codes, len(names)


def resampled(codes: NDArray[np.intp], n_groups: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """For each resample how often each row was drawn, float64 [N]. Nothing is drawn from a single group."""
    if n_groups < 2:
        return
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        counts = np.bincount(rng.integers(0, n_groups, n_groups), minlength=n_groups)
        yield counts.astype(np.float64)[codes]


def with_intervals(values: NDArray[np.float64], drawn: NDArray[np.float64]) -> list[Figure | None]:
    """Figures from values [F], NaN for None, and resampled values [R, F]; resamples without a figure are passed over.

    That happens in small sets, where a resample may hold one class only.
    """
    figures: list[Figure | None] = []
    for at, value in enumerate(values.tolist()):
        column = drawn[:, at][~np.isnan(drawn[:, at])] if len(drawn) else drawn
        if np.isnan(value):
            figures.append(None)
        elif not len(column):
            figures.append(Figure(value))
        else:
            low, high = np.percentile(column, _ENDS).tolist()
            figures.append(Figure(value, low, high))
    return figures
