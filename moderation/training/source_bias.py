"""Per-source biases with shrinkage: how far a source's log-odds lie from the common curve. numpy alone, no torch.

An empirical Bayes estimate (Efron and Morris 1975): how much sources truly differ is read off the sources themselves,
and each one's own estimate is believed as far as its labels make it surer than that. A small source shrinks to 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moderation.evaluation.bootstrap import group_codes
from moderation.training.curves import class_weights

MIN_LABELS = 50
"""Labels a source must have. A single log-odds from 50 balanced labels has a standard error near 0.3. A convention."""
MIN_PER_CLASS = 10
"""Of each class: one odd label among fewer would move the weighed estimate by more than sources differ."""
_STEPS = 50


@dataclass(frozen=True, slots=True)
class _Estimate:
    """A source's own bias, without regard to the others, and its sampling variance."""

    bias: float
    variance: float


def fit_source_bias(
    log_odds: ArrayLike,
    is_fake: ArrayLike,
    sources: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    prevalence: float | None = 0.5,
    between: float | None = None,
) -> dict[str, float]:
    """What to add to the common log-odds for each source that has enough labels of both classes; {} for none.

    log_odds, is_fake, sources, groups: [N]; '' is no source. Classes are weighed to `prevalence` within each source, so
    that a bias says how margins differ there and not how its labels were picked. between: the variance of true biases;
    None: estimated from the sources (DerSimonian and Laird 1986, about a mean of 0); inf: no shrinkage.
    """
    own = _estimates(log_odds, is_fake, sources, groups, prevalence)
    variance = _between(own) if between is None else between
    if not variance:
        return {}
    return {name: one.bias / (1 + one.variance / variance) for name, one in own.items()}


def _estimates(
    log_odds: ArrayLike, is_fake: ArrayLike, sources: ArrayLike, groups: ArrayLike | None, prevalence: float | None
) -> dict[str, _Estimate]:
    x, fake = np.asarray(log_odds, np.float64), np.asarray(is_fake, bool)
    names = np.asarray(sources).astype(str)
    codes = np.arange(len(x)) if groups is None else group_codes(np.asarray(groups))[0]
    found = {}
    for name in np.unique(names[names != ""]).tolist():
        here = names == name
        n_fake, n = int(fake[here].sum()), int(here.sum())
        if n >= MIN_LABELS and min(n_fake, n - n_fake) >= MIN_PER_CLASS:
            found[name] = _estimate(x[here], fake[here], codes[here], prevalence)
    return found


def _estimate(
    log_odds: NDArray[np.float64], fake: NDArray[np.bool_], codes: NDArray[np.intp], prevalence: float | None
) -> _Estimate:
    """The bias at which the weighed gaps between labels and probabilities sum to 0.

    They rise with it, so halving finds it. Variance: the sandwich, with the pictures of one group as one observation.
    """
    from scipy.special import expit

    weights = class_weights(fake, prevalence)
    reach = float(np.abs(log_odds).max()) + 20.0  # beyond it every probability is on one side
    low, high = -reach, reach
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if weights @ (fake - expit(log_odds + middle)) > 0:
            low = middle
        else:
            high = middle
    bias = (low + high) / 2
    p = expit(log_odds + bias)
    slope = float(weights @ (p * (1 - p)))
    gaps = np.bincount(np.unique(codes, return_inverse=True)[1], weights * (fake - p))
    return _Estimate(bias, float(gaps @ gaps) / slope**2)


def _between(own: Mapping[str, _Estimate]) -> float:
    """The variance of true biases about 0, by moments; 0 where sources differ no more than chance, or there is one."""
    if len(own) < 2:
        return 0.0
    excess = sum(one.bias**2 / one.variance for one in own.values()) - len(own)
    return max(0.0, excess / sum(1 / one.variance for one in own.values()))
