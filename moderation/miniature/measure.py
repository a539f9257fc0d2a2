"""Measures scores against the truth: AUC a condition and family, with intervals over photographs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from moderation.detector import SoftPrompt
from moderation.evaluation import bootstrap
from moderation.evaluation.figures import Figure
from moderation.miniature import processing
from moderation.miniature.pictures import PictureSet

_RESAMPLES = 1000
Honesty = Mapping[str, Figure | None]
"""Shares right at P(fake) = .5, `real` and `fake` apart, and the calibration error `ece`."""


@dataclass(frozen=True)
class Reading:
    """AUCs of one scorer under one condition: the mean over families, the worst family, and a 95 % interval."""

    mean: float
    worst: float
    worst_family: str
    low: float
    high: float
    families: Mapping[str, float]
    photographs: Mapping[str, float]


def auc(scores: np.ndarray, is_fake: np.ndarray) -> float:
    """The chance that a random fake scores higher than a random real one; ties count half."""
    fakes, reals = scores[is_fake], np.sort(scores[~is_fake])
    below = np.searchsorted(reals, fakes, side="left") + np.searchsorted(reals, fakes, side="right")
    return float(below.mean() / 2 / len(reals))


def read(scores: np.ndarray, pictures: PictureSet, seed: int) -> Reading:
    """AUC of each family against the real pictures of its pairs. `family` names the decoder on both of a pair."""
    names = np.unique(pictures.family)
    families = {str(name): _family_auc(scores, pictures, pictures.family == name) for name in names}
    names = np.unique(pictures.photograph)
    by_photograph = {str(name): mean_auc(scores, pictures, pictures.photograph == name) for name in names}
    worst = min(families, key=lambda name: families[name])
    low, high = _interval(scores, pictures, seed)
    return Reading(float(np.mean(list(families.values()))), families[worst], worst, low, high, families, by_photograph)


def honesty(margins: np.ndarray, pictures: PictureSet, prompt: SoftPrompt) -> Honesty:
    """How far the prompt's probabilities can be taken at their word, with 95 % intervals over crops."""
    probabilities = [prompt.calibration.probability(float(margin)) for margin in margins]
    found = bootstrap.measure(pictures.is_fake, probabilities, margins, 0.5, pictures.pair.astype(str))
    return {"real": found.accuracy_real, "fake": found.accuracy_fake, "ece": found.ece}


def sharpness(pictures: PictureSet) -> np.ndarray:
    """Laplacian variance a picture."""
    return np.array([processing.laplacian_variance(pixels) for pixels in pictures.pixels])


def _family_auc(scores: np.ndarray, pictures: PictureSet, chosen: np.ndarray) -> float:
    return auc(scores[chosen], pictures.is_fake[chosen])


def mean_auc(scores: np.ndarray, pictures: PictureSet, chosen: np.ndarray | None = None) -> float:
    """Mean over families of the AUC against the real pictures of the same pairs, of the chosen pictures or of all."""
    chosen = np.ones(len(pictures), bool) if chosen is None else chosen
    names = np.unique(pictures.family)
    return float(np.mean([_family_auc(scores, pictures, chosen & (pictures.family == name)) for name in names]))


def _interval(scores: np.ndarray, pictures: PictureSet, seed: int) -> tuple[float, float]:
    """95 % bootstrap interval of the mean AUC: photographs drawn again, then the crops inside each."""
    rng = np.random.default_rng(seed)
    names, families = np.unique(pictures.photograph), np.unique(pictures.family)
    rows = {name: [_rows(pictures, name, family) for family in families] for name in names}
    means = []
    for _ in range(_RESAMPLES):
        drawn = rng.choice(names, len(names))
        picks = [rng.integers(len(rows[name][0]), size=len(rows[name][0])) for name in drawn]
        values = []
        for index in range(len(families)):
            chosen = np.concatenate([rows[name][index][pick].ravel() for name, pick in zip(drawn, picks, strict=True)])
            values.append(auc(scores[chosen], pictures.is_fake[chosen]))
        means.append(np.mean(values))
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def _rows(pictures: PictureSet, photograph: str, family: str) -> np.ndarray:
    """int [pairs, 2]: where the pairs of a photograph and family lie in the set."""
    rows = np.flatnonzero((pictures.photograph == photograph) & (pictures.family == family))
    ordered = rows[np.lexsort((pictures.is_fake[rows], pictures.pair[rows]))]
    return ordered.reshape(-1, 2)
