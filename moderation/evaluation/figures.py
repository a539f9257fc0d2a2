"""The figures of scored pictures: how often right, how well ranked, how honest the probabilities.

One implementation gives the figures under any weights, so a bootstrap resample and the data themselves are measured
alike. The threshold comes from outside and is never chosen here. A figure that a set can't have (an AUC of one class)
is None, never a made-up number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moderation.evaluation.figure import Figure

__all__ = ["BINS", "CLIP", "NAMES", "Figure", "Ranked", "SetMetrics", "bins_of", "usable"]

NAMES = (
    "accuracy_real",
    "accuracy_fake",
    "balanced_accuracy",
    "auc",
    "ap",
    "tpr_at_1",
    "tpr_at_5",
    "ece",
    "nll",
    "brier",
)
BINS = 15  # as many as Guo et al. 2017, "On Calibration of Modern Neural Networks", section 5
CLIP = 1e-6  # probabilities are kept this far from 0 and 1 in the NLL: one sure mistake costs at most 13.8
_SLACK = 1e-9  # 0.01 * 2,900 is a hair below 29


@dataclass(frozen=True, slots=True)
class SetMetrics:
    """The figures of one candidate on one set; None where a figure is not defined.

    n_failed: pictures without a usable score; they are in no figure. n_groups: source pictures, what was resampled.
    tpr_at_1, tpr_at_5: the largest share of fakes found while at most 1 % or 5 % of the real ones are flagged.
    """

    n_real: int
    n_fake: int
    n_failed: int
    n_groups: int
    threshold: float
    accuracy_real: Figure | None
    accuracy_fake: Figure | None
    balanced_accuracy: Figure | None
    auc: Figure | None
    ap: Figure | None
    tpr_at_1: Figure | None
    tpr_at_5: Figure | None
    ece: Figure | None
    nll: Figure | None
    brier: Figure | None

    @property
    def accuracy(self) -> Figure | None:
        """What a set is ranked by: balanced accuracy, or in a set of one class that class's accuracy."""
        return self.balanced_accuracy or self.accuracy_fake or self.accuracy_real


class Ranked:
    """Scores of one set, sorted once, so that figures under any weights take one pass.

    Ranked by probability; the margin decides where probabilities are equal (they saturate at 0 and 1).
    """

    def __init__(
        self, is_fake: NDArray[np.bool_], p: NDArray[np.float64], margin: NDArray[np.float64], threshold: float
    ) -> None:
        """All [N] and finite. p: P(fake); from `threshold` on a picture is called fake."""
        self.order = np.lexsort((margin, p))[::-1]  # most fake first
        sorted_p, sorted_m = p[self.order], margin[self.order]
        self._fake = is_fake[self.order].astype(np.float64)
        self._right = ((sorted_p >= threshold) == is_fake[self.order]).astype(np.float64)
        differs = (sorted_p[1:] != sorted_p[:-1]) | (sorted_m[1:] != sorted_m[:-1])
        self._ends = np.flatnonzero(np.append(differs, True))  # the last of each block of equal scores
        self._bins = bins_of(sorted_p)
        self._gap = self._fake - sorted_p
        clipped = np.clip(sorted_p, CLIP, 1 - CLIP)
        self._nll = -np.log(np.where(self._fake > 0, clipped, 1 - clipped))
        self._brier = self._gap**2

    def figures(self, weights: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """float64 [len(NAMES)], NaN where undefined. weights: float64 [N] in the order the scores were given in."""
        weight = np.ones(len(self.order)) if weights is None else weights[self.order]
        fake = weight * self._fake
        n, n_fake = float(weight.sum()), float(fake.sum())
        n_real = n - n_fake
        accuracy_real = _share(float((weight - fake) @ self._right), n_real)
        accuracy_fake = _share(float(fake @ self._right), n_fake)
        gaps = np.bincount(self._bins, weight * self._gap)
        return np.array(
            [
                accuracy_real,
                accuracy_fake,
                (accuracy_real + accuracy_fake) / 2,
                *self._ranking(weight, fake, n_real, n_fake),
                _share(float(np.abs(gaps).sum()), n),
                _share(float(weight @ self._nll), n),
                _share(float(weight @ self._brier), n),
            ]
        )

    def auc(self, weights: NDArray[np.float64]) -> float:
        """The AUC alone, NaN without both classes: what many resamples of many pictures can afford."""
        weight = weights[self.order]
        false, found = self.curve(weight, weight * self._fake)
        return _share(_area(false, found), float(false[-1] * found[-1]))

    def curve(self, weight: NDArray[np.float64], fake: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """(flagged real, flagged fake) below each cut between different scores, strictest first, from 0."""
        found = np.cumsum(fake)[self._ends]
        false = np.cumsum(weight)[self._ends] - found
        return np.concatenate(([0.0], false)), np.concatenate(([0.0], found))

    def _ranking(
        self, weight: NDArray[np.float64], fake: NDArray[np.float64], n_real: float, n_fake: float
    ) -> tuple[float, ...]:
        if not n_real or not n_fake:
            return (float("nan"),) * 4
        false, found = self.curve(weight, fake)
        steps = np.diff(found)
        auc = _area(false, found) / (n_real * n_fake)
        flagged = np.maximum(false + found, 1e-12)[1:]  # a resample may hold nothing of the first scores
        ap = float(steps @ (found[1:] / flagged)) / n_fake
        return auc, ap, *(_found_at(rate, false, found, n_real, n_fake) for rate in (0.01, 0.05))


def bins_of(probability: NDArray[np.float64]) -> NDArray[np.intp]:
    """The number of each one's bin, of at most BINS that hold equally many; equal probabilities share a bin.

    Equal in mass, not in width: a detector's probabilities pile up at both ends, and bins of equal width would leave
    the middle to a handful of pictures whose noise then counts as miscalibration.
    """
    if not len(probability):
        return np.zeros(0, dtype=np.intp)
    edges = np.quantile(probability, np.arange(1, BINS) / BINS, method="inverted_cdf")
    return np.searchsorted(np.unique(edges), probability, side="left")


def usable(
    is_fake: ArrayLike, probability: ArrayLike, margin: ArrayLike
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    """The three as arrays, without the rows whose probability or margin is no finite number."""
    fake, p, m = np.asarray(is_fake, bool), np.asarray(probability, np.float64), np.asarray(margin, np.float64)
    keep = np.isfinite(p) & np.isfinite(m)
    return fake[keep], p[keep], m[keep]


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def _area(false: NDArray[np.float64], found: NDArray[np.float64]) -> float:
    """How many pairs of a real picture and a fake are ranked right; ties count half."""
    return float(np.diff(false) @ (found[1:] - np.diff(found) / 2))


def _found_at(
    rate: float, false: NDArray[np.float64], found: NDArray[np.float64], n_real: float, n_fake: float
) -> float:
    """The largest true-positive rate whose false-positive rate is at most `rate`. No point between two is made up."""
    return float(found[np.searchsorted(false, rate * n_real + _SLACK, side="right") - 1] / n_fake)
