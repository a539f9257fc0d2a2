"""Labelled margins: what a calibration is fitted on and judged by. numpy alone, no torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderation.detector import Calibration
from moderation.evaluation.figures import CLIP, NAMES, Ranked, bins_of
from moderation.training.curves import class_weights

_DRAWS = 100  # the mean of so many draws is known to a few per cent


@dataclass(frozen=True, slots=True)
class Reliability:
    """How far probabilities can be taken at their word; lower is better. Classes weighed to the prevalence."""

    ece: float
    nll: float
    brier: float


@dataclass(frozen=True, slots=True)
class Labels:
    """[N] each. codes: the number of a label's group; source '': none. prevalence: see `curves.fit_platt`."""

    margins: NDArray[np.float64]
    fake: NDArray[np.bool_]
    sources: NDArray[np.str_]
    codes: NDArray[np.intp]
    prevalence: float | None

    def take(self, rows: NDArray[np.bool_]) -> Labels:
        """Those where `rows` is true."""
        return Labels(self.margins[rows], self.fake[rows], self.sources[rows], self.codes[rows], self.prevalence)

    def probabilities(self, calibration: Calibration) -> NDArray[np.float64]:
        """P(fake) as the detector would give it."""
        pairs = zip(self.margins.tolist(), self.sources.tolist(), strict=True)
        return np.array([calibration.probability(margin, source) for margin, source in pairs])

    def log_odds(self, calibration: Calibration) -> NDArray[np.float64]:
        """The same on the scale that source biases are added on."""
        p = np.clip(self.probabilities(calibration), CLIP, 1 - CLIP)
        return np.log(p) - np.log1p(-p)

    def log_likelihoods(self, p: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of each label under P(fake) `p`, weighed."""
        clipped = np.clip(p, CLIP, 1 - CLIP)
        return class_weights(self.fake, self.prevalence) * np.log(np.where(self.fake, clipped, 1 - clipped))

    def reliability(self, p: NDArray[np.float64]) -> Reliability:
        """How far P(fake) `p` can be taken at its word here."""
        figures = Ranked(self.fake, p, self.margins, 0.5).figures(class_weights(self.fake, self.prevalence))
        named = dict(zip(NAMES, figures.tolist(), strict=True))
        return Reliability(named["ece"], named["nll"], named["brier"])

    def ece_by_chance(self, p: NDArray[np.float64], seed: int) -> float:
        """The ECE to expect on so many labels if P(fake) `p` were exactly right; an ECE is never 0 (Bröcker 2012)."""
        rng = np.random.default_rng(seed)
        bins = bins_of(p)
        gaps = ((rng.random(len(p)) < p) - p for _ in range(_DRAWS))
        return float(np.mean([np.abs(np.bincount(bins, gap)).sum() / len(p) for gap in gaps]))
