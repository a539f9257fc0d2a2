"""The robustness grid: named conditions a picture is put through, and what each does to the verdicts.

The set of conditions is the one that people of the field ask for; "clean", "web" and "hard" are laundering chains.
No condition is ever used to choose a threshold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import rankdata

from moderation.evaluation import degradation as by
from moderation.evaluation.scores import ScoreTable

BASELINE = ""  # the condition's name for pictures as they are
Apply = Callable[[Image.Image, np.random.Generator], Image.Image]


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing done to a picture. `apply`: RGB in, RGB out, the same whenever the generator starts the same."""

    name: str
    family: str
    apply: Apply

    def __call__(self, image: Image.Image, sha256: str) -> Image.Image:
        """The picture under this condition; chance is drawn from the file's hash, so that it never differs."""
        seed = hashlib.sha256(f"{self.name}:{sha256}".encode()).digest()
        return self.apply(image, np.random.default_rng(int.from_bytes(seed[:8], "big")))


def _all() -> tuple[Condition, ...]:
    return (
        *(Condition(f"jpeg {quality}", "jpeg", _jpeg(quality)) for quality in (95, 90, 75, 60, 50, 30)),
        Condition("double jpeg 75+90", "double jpeg", lambda image, rng: by.double_jpeg(image, 75, 90, rng)),
        *(Condition(f"webp {quality}", "webp", _webp(quality)) for quality in (80, 50)),
        *(
            Condition(f"resize {factor:g} {kernel}", "resize", _resize(factor, by.KERNELS[kernel]))
            for factor in (0.5, 0.75, 1.5)
            for kernel in by.KERNELS
        ),
        *(Condition(f"blur {sigma:g}", "blur", _blur(sigma)) for sigma in (1.0, 2.0)),
        *(Condition(f"centre crop {share:.0%}", "crop", _centre(share)) for share in (0.9, 0.7)),
        *(Condition(f"random crop {share:.0%}", "crop", _anywhere(share)) for share in (0.9, 0.7)),
        *(Condition(f"noise {sigma:g}", "noise", _noise(sigma)) for sigma in (5.0, 10.0)),
        Condition("thumbnail 50%", "thumbnail", lambda image, _: by.thumbnail(image, 0.5)),
        Condition("clean", "laundering", lambda image, _: by.lossless(image)),
        Condition("web", "laundering", lambda image, _: by.laundered(image, 768, 60)),
        Condition("hard", "laundering", lambda image, _: by.laundered(image, 512, 40)),
    )


def _jpeg(quality: int) -> Apply:
    return lambda image, _: by.jpeg(image, quality)


def _webp(quality: int) -> Apply:
    return lambda image, _: by.webp(image, quality)


def _resize(factor: float, kernel: Image.Resampling) -> Apply:
    return lambda image, _: by.resize(image, factor, kernel)


def _blur(sigma: float) -> Apply:
    return lambda image, _: by.blur(image, sigma)


def _centre(share: float) -> Apply:
    return lambda image, _: by.crop(image, share)


def _anywhere(share: float) -> Apply:
    return lambda image, rng: by.crop(image, share, rng)


def _noise(sigma: float) -> Apply:
    return lambda image, rng: by.noise(image, sigma, rng)


CONDITIONS: Mapping[str, Condition] = MappingProxyType({condition.name: condition for condition in _all()})
"""Every condition by name, in the order in which tables and plots show them."""


@dataclass(frozen=True, slots=True)
class RobustnessRow:
    """One candidate under one condition. `flip_rate`: the share of pictures, of those also scored as they are, whose
    probability changed sides of the threshold. What can't be said of these pictures is None."""

    candidate: str
    condition: str
    family: str
    n: int
    accuracy_real: float | None
    accuracy_fake: float | None
    balanced_accuracy: float | None
    auc: float | None
    flip_rate: float | None


def robustness_table(table: ScoreTable, threshold: float | Mapping[str, float]) -> list[RobustnessRow]:
    """A row per candidate and condition that was scored, the pictures as they are first.

    Where conditions were applied to some pictures only, the first row is of these alone, so that rows can be compared.
    threshold: the frozen one, P(fake) >= it is called fake; or one for each candidate.
    """
    rows: list[RobustnessRow] = []
    picture = table.picture
    for candidate in dict.fromkeys(table.candidate.tolist()):
        mine = table.is_scored & (table.candidate == candidate)
        limit = threshold[candidate] if isinstance(threshold, Mapping) else threshold
        degraded = picture[mine & (table.condition != BASELINE)]
        if len(degraded):
            mine &= np.isin(picture, degraded)
        before = mine & (table.condition == BASELINE)
        called_fake = dict(zip(picture[before].tolist(), (table.probability[before] >= limit).tolist(), strict=True))
        for name in (BASELINE, *CONDITIONS):
            now = mine & (table.condition == name)
            if now.any():
                flips = None if name == BASELINE else _flips(picture[now], table.probability[now] >= limit, called_fake)
                rows.append(_row(table.select(now), candidate, name, limit, flips))
    return rows


def _row(now: ScoreTable, candidate: str, name: str, limit: float, flips: float | None) -> RobustnessRow:
    is_fake = now.is_fake
    right = (now.probability >= limit) == is_fake
    real, fake = _mean(right[~is_fake]), _mean(right[is_fake])
    return RobustnessRow(
        candidate=candidate,
        condition=name,
        family=CONDITIONS[name].family if name else "as it is",
        n=len(now),
        accuracy_real=real,
        accuracy_fake=fake,
        balanced_accuracy=None if real is None or fake is None else (real + fake) / 2,
        auc=_auc(is_fake, now.margin),
        flip_rate=flips,
    )


def _flips(picture: NDArray[np.intp], is_called_fake: NDArray[np.bool_], before: Mapping[int, bool]) -> float | None:
    """before: what each picture was called as it is."""
    pairs = zip(picture.tolist(), is_called_fake.tolist(), strict=True)
    return _mean(np.array([now != before[number] for number, now in pairs if number in before], dtype=np.bool_))


def _mean(values: NDArray[np.bool_]) -> float | None:
    return float(values.mean()) if len(values) else None


def _auc(is_fake: NDArray[np.bool_], scores: NDArray[np.float64]) -> float | None:
    n_fake = int(is_fake.sum())
    n_real = len(is_fake) - n_fake
    if not n_fake or not n_real:
        return None
    ranks = rankdata(scores)
    return float((ranks[is_fake].sum() - n_fake * (n_fake + 1) / 2) / (n_fake * n_real))
