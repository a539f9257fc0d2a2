"""Two candidates on the same pictures: is one better, or is it chance?

Only pictures that both scored count. Differences are second minus first, so above 0 the second is better.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderation.evaluation.bootstrap import RESAMPLES, group_codes, resampled, with_intervals
from moderation.evaluation.figures import NAMES, Figure, Ranked
from moderation.evaluation.scores import ScoreTable

_COMPARED = [NAMES.index("auc"), NAMES.index("balanced_accuracy")]


@dataclass(frozen=True, slots=True)
class Comparison:
    """auc, balanced_accuracy: second minus first with a paired 95 % interval; None where one class is missing.

    only_first, only_second: pictures that this one alone got right at its threshold. p_value: exact McNemar, two-sided:
    how often candidates equally good would differ so much on as many pictures.
    """

    first: str
    second: str
    n: int
    auc: Figure | None
    balanced_accuracy: Figure | None
    only_first: int
    only_second: int
    p_value: float


def compare(
    first: ScoreTable,
    second: ScoreTable,
    thresholds: tuple[float, float],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """first, second: one candidate's rows under one condition each. thresholds: theirs."""
    rows = _shared(first, second)
    tables = (first.select(rows[0]), second.select(rows[1]))
    ranked = [Ranked(one.is_fake, one.probability, one.margin, at) for one, at in zip(tables, thresholds, strict=True)]
    codes, n_groups = group_codes(tables[0].group)
    drawn = [_difference(ranked, weights) for weights in resampled(codes, n_groups, resamples, seed)]
    auc, balanced = with_intervals(_difference(ranked, None), np.array(drawn))
    right = [(one.probability >= at) == one.is_fake for one, at in zip(tables, thresholds, strict=True)]
    only_first, only_second = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    return Comparison(
        first=str(first.candidate[0]) if len(first) else "",
        second=str(second.candidate[0]) if len(second) else "",
        n=len(tables[0]),
        auc=auc,
        balanced_accuracy=balanced,
        only_first=only_first,
        only_second=only_second,
        p_value=mcnemar(only_first, only_second),
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p-value of McNemar's test: a fair coin for each picture that only one got right."""
    from scipy.stats import binomtest

    tossed = only_first + only_second
    return float(binomtest(only_first, tossed, 0.5).pvalue) if tossed else 1.0


def _difference(ranked: list[Ranked], weights: NDArray[np.float64] | None) -> NDArray[np.float64]:
    first, second = (one.figures(weights)[_COMPARED] for one in ranked)
    return second - first


def _shared(first: ScoreTable, second: ScoreTable) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The rows of either, in the same order of pictures, that both have scores for."""
    places = [
        {(one.set[row], one.path[row]): int(row) for row in np.flatnonzero(one.is_scored)} for one in (first, second)
    ]
    keys = [key for key in places[0] if key in places[1]]
    at_first, at_second = (np.array([place[key] for key in keys], dtype=np.intp) for place in places)
    return at_first, at_second
