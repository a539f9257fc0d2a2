"""What the report of a tuning run is made of. Plain values: whoever tuned fills them in, nothing is measured here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class EpochRow:
    """One epoch. Losses are means over the pictures; a figure that was not measured is None."""

    epoch: int  # from 1
    loss: float
    validation_loss: float | None = None
    validation_auc: float | None = None
    learning_rate: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class TuningReport:
    """A run as its report shows it. All arrays are of the same validation pictures, in the same order.

    `calibrated_on`: what the calibration was fitted on, in words. Probabilities after it are honest only on pictures
    that did not fit it; say here whether these did not (cross-fitted, or held out).
    `metrics`: shown as they stand, by name. `facts`: command, machine, data hash and the like.
    """

    name: str
    config: Mapping[str, object]
    history: Sequence[EpochRow]
    is_fake: NDArray[np.bool_]
    margins: NDArray[np.float64]
    probability_before: NDArray[np.float64]  # sigmoid(margin), or under the calibration it started from
    probability_after: NDArray[np.float64]
    best_epoch: int | None = None
    metrics: Mapping[str, float | str] = field(default_factory=dict)
    calibrated_on: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    warning: str = ""  # the miniature's, where it was tuned on it
