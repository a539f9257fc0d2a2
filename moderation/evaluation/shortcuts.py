"""The shortcut audit: how much trivial features alone tell about the truth of a data set.

Where one tells more than FLAG_ABOVE, a detector's figures on that data may measure the data. The audit accuses data,
never a detector, and finds only what its features see.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderation.evaluation.bootstrap import group_codes
from moderation.evaluation.trivia import CATEGORICAL, NUMERIC, features

__all__ = ["CATEGORICAL", "FLAG_ABOVE", "NUMERIC", "Shortcut", "audit", "features"]

FLAG_ABOVE = 0.6  # AUC. Real JPEG against fake PNG alone leaks .74 to .79 on public sets; unequal sharpness .60 to .87
FOLDS = 5
RARE = 5  # a category seen fewer times than this is lumped together with the other rare ones

Flags = NDArray[np.bool_]
Values = NDArray[np.float64]
Weights = NDArray[np.int16]  # two bytes each: there are resamples x pictures of them


@dataclass(frozen=True, slots=True)
class Shortcut:
    """What one feature tells. `auc`: in the direction that tells more, so never below .5 (None: one class only).

    `low`, `high`: 95 % bootstrap interval over groups, in that same direction, which small data can take below .5.
    """

    feature: str
    meaning: str
    set: str  # '' for all pictures together
    auc: float | None
    low: float | None
    high: float | None
    fakes_have_more: bool  # of it; for a category always True, since its value is its rate of fakes
    n_real: int
    n_fake: int
    is_flagged: bool  # it tells more than a fair data set may


def audit(
    columns: Mapping[str, Sequence[float] | Sequence[str] | NDArray[np.generic]],
    is_fake: Flags,
    sets: NDArray[np.str_],
    groups: NDArray[np.str_],
    *,
    resamples: int = 200,
    seed: int = 0,
) -> list[Shortcut]:
    """Every feature on all pictures, then on the largest set that has both classes, if there is more than one set.

    columns: by feature, a value for each picture, as `features` gives them; a picture once, never again as degraded.
    groups: pictures of one source picture share it; '' is a picture of its own. There must be a picture.
    """
    found = [_scope("", columns, is_fake, groups, np.arange(len(is_fake)), resamples, seed)]
    if len(np.unique(sets)) > 1 and (largest := _largest(sets, is_fake)):
        found.append(_scope(largest, columns, is_fake, groups, np.flatnonzero(sets == largest), resamples, seed))
    return [shortcut for scope in found for shortcut in scope]


def _largest(sets: NDArray[np.str_], is_fake: Flags) -> str:
    both = set(sets[is_fake].tolist()) & set(sets[~is_fake].tolist())
    return max(sorted(both), key=lambda name: int((sets == name).sum()), default="")


def _scope(
    name: str,
    columns: Mapping[str, Sequence[float] | Sequence[str] | NDArray[np.generic]],
    is_fake: Flags,
    groups: NDArray[np.str_],
    rows: NDArray[np.intp],
    resamples: int,
    seed: int,
) -> list[Shortcut]:
    truth = is_fake[rows]
    group, n_groups = group_codes(groups[rows])
    rng = np.random.default_rng(seed)
    folds = rng.permutation(n_groups)[group] % FOLDS
    # A weight for each picture: how often its group was drawn. The first line is the data as they are.
    draws = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=resamples if n_groups > 1 else 0)
    weights = np.vstack([np.ones(n_groups, dtype=np.int64), draws]).astype(np.int16)[:, group]
    shortcuts = []
    for feature, meaning in (NUMERIC | CATEGORICAL).items():  # type: ignore[operator]  # both are mapping proxies
        if feature in columns:
            column = np.asarray(columns[feature])[rows]
            aucs = (
                _aucs_of_category(column, truth, folds, weights)
                if feature in CATEGORICAL
                else _aucs(column.astype(np.float64), truth, weights)
            )
            shortcuts.append(_shortcut(feature, meaning, name, aucs, truth))
    return shortcuts


def _shortcut(feature: str, meaning: str, name: str, aucs: Values, truth: Flags) -> Shortcut:
    counts = {"n_real": int((~truth).sum()), "n_fake": int(truth.sum())}
    if not np.isfinite(aucs[0]):
        return Shortcut(feature, meaning, name, None, None, None, True, **counts, is_flagged=False)
    # A category's value is a rate of fakes that other pictures gave: turned round, it would reward noise.
    is_up = feature in CATEGORICAL or aucs[0] >= 0.5
    turned = aucs if is_up else 1 - aucs
    drawn = turned[1:][np.isfinite(turned[1:])]  # a resample may hold one class only
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist() if len(drawn) else (None, None)
    auc = max(float(turned[0]), 0.5)
    return Shortcut(feature, meaning, name, auc, low, high, bool(is_up), **counts, is_flagged=auc > FLAG_ABOVE)


def _aucs(values: Values, truth: Flags, weights: Weights) -> Values:
    """The AUC under each line of weights [R, n], ties counting half; NaN where a class has no weight."""
    return _wins(values, truth, weights) / _pairs(truth, weights)


def _aucs_of_category(column: NDArray[np.generic], truth: Flags, folds: NDArray[np.intp], weights: Weights) -> Values:
    """AUC of the rate of fakes that each category has in the other folds, pairs within a fold only.

    Between folds rates are not comparable: one category alone would seem to tell something.
    """
    wins, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for inside in _folds(folds):
        values = _rates(column, truth, ~inside)[inside]
        wins += _wins(values, truth[inside], weights[:, inside])
        pairs += _pairs(truth[inside], weights[:, inside])
    with np.errstate(invalid="ignore"):
        return wins / pairs


def _folds(folds: NDArray[np.intp]) -> Iterator[Flags]:
    for number in np.unique(folds):
        inside = folds == number
        if not inside.all():
            yield inside


def _rates(column: NDArray[np.generic], truth: Flags, learned_from: Flags) -> Values:
    names, which = np.unique(column, return_inverse=True)
    seen = np.bincount(which[learned_from], minlength=len(names))
    fakes = np.bincount(which[learned_from & truth], minlength=len(names))
    rare = seen < RARE
    seen, fakes = (np.where(rare, counts[rare].sum(), counts) for counts in (seen, fakes))
    overall = truth[learned_from].mean()
    rates: Values = (fakes + overall) / (seen + 1)  # one picture's worth of the overall rate, so that none is 0 / 0
    return rates[which]


def _wins(values: Values, truth: Flags, weights: Weights) -> Values:
    """How much weight of (real, fake) pairs has the larger value on the fake, half of it where they tie."""
    order = np.argsort(values, kind="stable")
    _, starts = np.unique(values[order], return_index=True)
    wins = np.empty(len(weights))
    for number, line in enumerate(weights):
        fake = np.add.reduceat(np.where(truth, line, 0)[order].astype(np.float64), starts)
        real = np.add.reduceat(np.where(truth, 0, line)[order].astype(np.float64), starts)
        wins[number] = (fake * (np.cumsum(real) - real / 2)).sum()
    return wins


def _pairs(truth: Flags, weights: Weights) -> Values:
    product: Values = weights[:, truth].sum(axis=1, dtype=float) * weights[:, ~truth].sum(axis=1, dtype=float)
    return np.where(product > 0, product, np.nan)
