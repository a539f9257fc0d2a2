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


_NOTHING = 1e-6  # log-odds for one standard deviation; what rounding alone may leave of a constant


@dataclass(frozen=True)
class Fusion:
    """`weight`: what one unit of the expert's logit adds to the margin. `calibration`: of the sum."""

    weight: float
    calibration: Calibration


def fuse(margins: NDArray[np.float64], logits: NDArray[np.float64], is_fake: NDArray[np.bool_]) -> Fusion:
    """The logistic of margin and expert's logit, both [N], on pictures that neither was trained on.

    Classes count alike; targets are Platt's, so that separable pictures give finite numbers. Raises ConfigurationError
    where the margin or the expert does not help.
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

    found = minimize(loss, np.zeros(3), jac=True, method="BFGS").x[:2]
    of_margin, of_logit = (found / spread).tolist()
    if found.min() < _NOTHING or not np.isfinite(of_logit / of_margin):
        problem = f"it does not help on the validation pictures: {of_logit:.3g} beside {of_margin:.3g} for the margin"
        raise ConfigurationError("--expert", problem, hint="leave the pixel expert out, or train it on more pictures")
    weight = of_logit / of_margin
    return Fusion(weight, fit_platt(margins + weight * logits, is_fake))
