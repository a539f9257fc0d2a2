"""Curves from margins to P(fake), fitted on labels: Platt scaling and isotonic regression. numpy alone, no torch.

Both weigh the classes to a stated prevalence of fakes, since a set of labels is seldom mixed as the platform's uploads
are. Neither can mend a prompt whose margins point the wrong way; such a prompt is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moderation.detector import Calibration
from moderation.errors import ModerationError

if TYPE_CHECKING:
    from moderation.detector.calibration import Knot

KNOTS = 64
"""At most so many are kept: 1.3 KB in the prompt's file, and 1/64 of the labels behind each. A convention."""
_LEAST_SCALE = 1e-6  # a curve as good as flat, which yet never says less for a higher margin


class CannotCalibrate(ModerationError):
    """These labels give no calibration; the message says what is amiss. The bar is missed: exit code 4."""

    exit_code = 4


def fit_platt(margins: ArrayLike, is_fake: ArrayLike, *, prevalence: float | None = 0.5) -> Calibration:
    """P(fake) = sigmoid(scale * margin + bias) by maximum likelihood, with Platt's smoothed targets.

    A class of n labels aims at (n + 1) / (n + 2) in place of 1, so separable labels give finite numbers (Platt 1999;
    Lin, Lin and Weng 2007). margins, is_fake: [N]. prevalence: the share of fakes to weigh the classes to; None: as in
    the labels. Raises CannotCalibrate where a class is missing or higher margins mean less fake.
    """
    values, fake = np.asarray(margins, np.float64), np.asarray(is_fake, bool)
    if fake.all() or not fake.any():
        raise CannotCalibrate("a calibration needs labels of both classes")
    scale, bias = platt(values, fake, prevalence)
    if scale <= 0:
        raise CannotCalibrate(
            "with this prompt fakes do not score higher than real pictures, and no calibration mends that; "
            "see that real and fake were not swapped, or tune on data more like this"
        )
    return Calibration(scale, bias)


def platt_or_flat(margins: NDArray[np.float64], is_fake: NDArray[np.bool_], prevalence: float | None) -> Calibration:
    """The same where a refusal is of no use, as in a part of a cross-fit: the wrong way round counts as flat."""
    scale, bias = platt(margins, is_fake, prevalence)
    if scale > 0:
        return Calibration(scale, bias)
    weights = class_weights(is_fake, prevalence)
    share = float(weights @ is_fake / weights.sum())
    return Calibration(_LEAST_SCALE, float(np.log(share) - np.log1p(-share)))


def platt(margins: NDArray[np.float64], is_fake: NDArray[np.bool_], prevalence: float | None) -> tuple[float, float]:
    """(scale, bias), whatever their signs; both classes must be there."""
    from scipy.optimize import minimize
    from scipy.special import expit

    weights = class_weights(is_fake, prevalence) / len(is_fake)
    n_fake, n_real = int(is_fake.sum()), int((~is_fake).sum())
    aims = np.where(is_fake, (n_fake + 1) / (n_fake + 2), 1 / (n_real + 2))
    middle, spread = float(margins.mean()), float(margins.std()) or 1.0
    standard = (margins - middle) / spread  # so that one step size suits both numbers

    def loss(numbers: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        log_odds = numbers[0] * standard + numbers[1]
        gaps = weights * (expit(log_odds) - aims)
        value = float(weights @ (np.logaddexp(0, log_odds) - aims * log_odds))
        return value, np.array([gaps @ standard, gaps.sum()])

    slope, level = minimize(loss, np.zeros(2), jac=True, method="BFGS", options={"gtol": 1e-8}).x.tolist()
    return slope / spread, level - slope * middle / spread


def fit_isotonic(margins: ArrayLike, is_fake: ArrayLike, *, prevalence: float | None = 0.5) -> tuple[Knot, ...]:
    """The rising curve of the highest likelihood as at most KNOTS knots; () where it would be flat.

    A knot stands at the mean margin of the labels that share a probability (Oron and Flournoy 2017), so that the curve
    between knots has no steps. Kept within 1 / (n + 2) of 0 and 1: what n labels of one kind say by Laplace's rule.
    """
    from sklearn.isotonic import IsotonicRegression

    values, fake = np.asarray(margins, np.float64), np.asarray(is_fake, bool)
    weights = class_weights(fake, prevalence)
    order = np.argsort(values, kind="stable")
    values, weights = values[order], weights[order]
    fitted = IsotonicRegression().fit(values, fake[order].astype(np.float64), weights).predict(values)
    edge = 1 / (len(values) + 2)
    fitted = np.clip(fitted, edge, 1 - edge)
    blocks = np.unique(fitted, return_inverse=True)[1]
    if blocks[-1] + 1 > KNOTS:
        middles = np.cumsum(weights) - weights / 2
        at = np.bincount(blocks, weights * middles) / np.bincount(blocks, weights)
        blocks = np.unique((at / weights.sum() * KNOTS).astype(np.intp)[blocks], return_inverse=True)[1]
    total = np.bincount(blocks, weights)
    places = np.bincount(blocks, weights * values) / total
    heights = np.maximum.accumulate(np.bincount(blocks, weights * fitted) / total)
    apart = np.append(True, np.diff(places) > 0)
    knots = tuple(zip(places[apart].tolist(), heights[apart].tolist(), strict=True))
    return knots if len(knots) > 1 else ()


def class_weights(is_fake: NDArray[np.bool_], prevalence: float | None) -> NDArray[np.float64]:
    """float64 [N] that sum to N and give the fakes the share `prevalence`; ones for None or where a class is missing.

    Raises ValueError for a prevalence outside (0, 1).
    """
    if prevalence is not None and not 0 < prevalence < 1:
        raise ValueError(f"prevalence {prevalence} must lie between 0 and 1")
    share = float(is_fake.mean()) if len(is_fake) else 0.0
    if prevalence is None or share in {0.0, 1.0}:
        return np.ones(len(is_fake))
    return np.where(is_fake, prevalence / share, (1 - prevalence) / (1 - share))
