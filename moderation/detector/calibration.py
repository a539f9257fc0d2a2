"""From margin to probability. Never reverses the order of two margins of one source.

Only the formula lives here, in the standard library; `moderation.training.calibrate` fits its numbers.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

Knot = tuple[float, float]
"""A margin and the P(fake) it stands for."""


@dataclass(frozen=True)
class Calibration:
    """Platt scaling: P(fake) = sigmoid(scale * margin + bias). The default is the model's own belief, uncalibrated.

    isotonic: knots in rising order; where there are some, P(fake) is read off the line through them, flat outside, and
    `scale` and `bias` only say what Platt scaling gave. source_bias: added to the log-odds of a source's images; a
    source that is not named gets none. Raises ValueError.
    """

    scale: float = 1.0
    bias: float = 0.0
    isotonic: tuple[Knot, ...] = ()
    source_bias: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and math.isfinite(self.bias)):
            raise ValueError(f"calibration ({self.scale}, {self.bias}) is not finite")
        if self.scale <= 0:
            raise ValueError(f"calibration scale {self.scale} must be above 0, or a higher margin would mean less fake")
        _check_knots(self.isotonic)
        for source, bias in self.source_bias.items():
            if not math.isfinite(bias):
                raise ValueError(f"calibration bias {bias} of source {source!r} is not finite")

    def probability(self, margin: float, source: str = "") -> float:
        """P(fake) in [0, 1] of a finite margin, logit(no) - logit(yes), of an image from `source`."""
        log_odds = logit(_read(self.isotonic, margin)) if self.isotonic else self.scale * margin + self.bias
        return sigmoid(log_odds + self.source_bias.get(source, 0.0))

    @property
    def described(self) -> str:
        """In a few words, exact enough to tell two calibrations apart in a verdict."""
        words = f"platt {self.scale:.9g} {self.bias:.9g}"
        if self.isotonic:
            words = f"isotonic {len(self.isotonic)} knots, {words}"
        return f"{words}, {len(self.source_bias)} source biases" if self.source_bias else words


def sigmoid(log_odds: float) -> float:
    """1 / (1 + exp(-x)), without overflow."""
    if log_odds >= 0:
        return 1.0 / (1.0 + math.exp(-log_odds))
    return math.exp(log_odds) / (1.0 + math.exp(log_odds))


def logit(probability: float) -> float:
    """The inverse of `sigmoid`, for 0 < probability < 1."""
    return math.log(probability) - math.log1p(-probability)


def _read(knots: tuple[Knot, ...], margin: float) -> float:
    at = bisect_right(knots, margin, key=lambda knot: knot[0])
    if at == 0 or at == len(knots):
        return knots[max(0, at - 1)][1]
    (left, low), (right, high) = knots[at - 1], knots[at]
    return low + (high - low) * (margin - left) / (right - left)


def _check_knots(knots: tuple[Knot, ...]) -> None:
    if len(knots) == 1:
        raise ValueError("an isotonic calibration needs at least two knots")
    for margin, probability in knots:
        if not (math.isfinite(margin) and 0 < probability < 1):
            raise ValueError(f"isotonic knot ({margin}, {probability}): a finite margin, a probability inside (0, 1)")
    for (left, low), (right, high) in pairwise(knots):
        if left >= right or low > high:
            raise ValueError(f"isotonic knots ({left}, {low}) and ({right}, {high}) do not rise")
