"""What the pixel expert's word is worth beside the margin: one number, fitted on pictures that trained neither."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moderation.detector import Calibration
from moderation.errors import ConfigurationError
from moderation.training.curves import class_weights, fit_platt

if TYPE_CHECKING:
    from numpy.typing import NDArray


MOST_TRUST = 8.0
"""A convention: an expert that is perfect on validation still leaves the language model a say on what it never saw."""
_NOTHING = 1e-6  # log-odds for one standard deviation; what rounding alone may leave of a constant


@dataclass(frozen=True)
class Fusion:
    """`weight`: what one unit of the expert's logit adds to the margin. `calibration`: of the sum."""

    weight: float
    calibration: Calibration


def fuse(margins: NDArray[np.float64], logits: NDArray[np.float64], is_fake: NDArray[np.bool_]) -> Fusion:
    """The logistic of margin and expert's logit, both [N], on pictures that neither was trained on.

    Classes count alike; targets are Platt's, so that separable pictures give finite numbers. The expert's share varies
    at most MOST_TRUST times as much as the margin. Raises ConfigurationError where the expert does not help, and
    CannotCalibrate where nothing does.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    inputs = np.stack([margins, logits], axis=1)
    spread = np.maximum(inputs.std(axis=0), 1e-9 * (1 + np.abs(inputs).max(axis=0)))  # a constant has only rounding
    standard = np.c_[(inputs - inputs.mean(axis=0)) / spread, np.ones(len(inputs))]
    shares = class_weights(is_fake, 0.5) / len(is_fake)
    fakes = int(is_fake.sum())
    aims = np.where(is_fake, (fakes + 1) / (fakes + 2), 1 / (len(is_fake) - fakes + 2))

    def loss(numbers: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        log_odds = standard @ numbers
        value = float(shares @ (np.logaddexp(0, log_odds) - aims * log_odds))
        return value, (shares * (expit(log_odds) - aims)) @ standard

    of_margin, of_logit, _ = minimize(loss, np.zeros(3), jac=True, method="BFGS").x.tolist()
    if of_logit < _NOTHING:
        problem = f"it does not help on the validation pictures: weight {of_logit:.3g}, the margin's is {of_margin:.3g}"
        raise ConfigurationError("--expert", problem, hint="leave the pixel expert out, or train it on more pictures")
    trust = min(MOST_TRUST, of_logit / max(of_margin, _NOTHING))  # the likelihood is concave: its best is at the bound
    weight = float(trust * spread[0] / spread[1])
    return Fusion(weight, fit_platt(margins + weight * logits, is_fake))
