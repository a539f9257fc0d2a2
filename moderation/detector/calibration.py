"""From margin to probability. Monotone by construction: a calibration never changes the order of two images."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Calibration:
    """Platt scaling: P(fake) = sigmoid(scale * margin + bias). The default is the model's own belief, uncalibrated."""

    scale: float = 1.0
    bias: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and math.isfinite(self.bias)):
            raise ValueError(f"calibration ({self.scale}, {self.bias}) is not finite")
        if self.scale <= 0:
            raise ValueError(f"calibration scale {self.scale} must be above 0, or a higher margin would mean less fake")

    def probability(self, margin: float) -> float:
        """P(fake) in [0, 1] of a finite margin, logit(no) - logit(yes)."""
        x = self.scale * margin + self.bias
        if x >= 0:
            return 1.0 / (1.0 + math.exp(-x))
        return math.exp(x) / (1.0 + math.exp(x))
