"""Calibration: from labelled margins to probabilities that mean what they say. numpy alone, no torch.

It measures itself on labels it has not seen: every figure after calibration is cross-fitted, source pictures kept
together. Too few labels, and margins that point the wrong way, are refused.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from moderation.detector import Calibration
from moderation.evaluation.bootstrap import group_codes
from moderation.training.curves import CannotCalibrate, fit_isotonic, fit_platt, platt_or_flat
from moderation.training.labels import Labels, Reliability
from moderation.training.source_bias import fit_source_bias

__all__ = ["CannotCalibrate", "Fitted", "Reliability", "fit", "fit_isotonic", "fit_platt", "fit_source_bias"]

MIN_PER_CLASS = 20
"""Labels of each class below which nothing is fitted. With 20 the scale's standard error is already a quarter of it
(simulated in the tests); with fewer the figures that judge it are noise too. A convention."""
MIN_ISOTONIC = 1000
"""Isotonic regression overfits on less (Niculescu-Mizil and Caruana 2005, section 5)."""
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Fitted:
    """A calibration and what it is worth. `before`: with the calibration that was there.

    after: each label judged by a fit that has not seen its group, where `held_out` is true; else by the fit itself.
    prevalence: the share of fakes the classes were weighed to; None: as in the labels. ece_by_chance: the ECE that a
    perfect calibration would show on so many labels.
    """

    calibration: Calibration
    n_real: int
    n_fake: int
    prevalence: float | None
    before: Reliability
    after: Reliability
    ece_by_chance: float
    held_out: bool
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The figures, for a prompt's metadata; the calibration itself has its own place in the file."""
        plain = asdict(self)
        del plain["calibration"]
        return {**plain, "notes": list(self.notes)}


def fit(
    margins: ArrayLike,
    is_fake: ArrayLike,
    sources: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    *,
    prevalence: float | None = 0.5,
    current: Calibration | None = None,
    seed: int = 0,
) -> Fitted:
    """The calibration that the labels bear: Platt, isotonic where it proves better, source biases where they differ.

    margins, is_fake, sources, groups: [N]. sources None: no biases are fitted. Pictures of one group are kept together;
    None or '': a picture is a group of its own. prevalence: see `curves.fit_platt`. current: what `before` is measured
    with. Rows without a finite margin are left out. Raises CannotCalibrate below MIN_PER_CLASS labels of a class, and
    where margins point the wrong way.
    """
    labels, notes = _labels(margins, is_fake, sources, groups, prevalence)
    _check(labels)
    fit_platt(labels.margins, labels.fake, prevalence=prevalence)  # refuses by name what `_calibration` would flatten
    folds = _folds(labels, seed)
    isotonic, said = _isotonic_wins(labels, folds)
    calibration = _calibration(labels, isotonic=isotonic, by_source=True)
    judged = _held_out(labels, folds, isotonic=isotonic, by_source=True)
    held_out = bool(np.isfinite(judged).all())
    if not held_out:
        judged = labels.probabilities(calibration)
    after, by_chance = labels.reliability(judged), labels.ece_by_chance(judged, seed)
    strays = _strays(after.ece, by_chance, isotonic=isotonic)
    return Fitted(
        calibration=calibration,
        n_real=int((~labels.fake).sum()),
        n_fake=int(labels.fake.sum()),
        prevalence=prevalence,
        before=labels.reliability(labels.probabilities(current or Calibration())),
        after=after,
        ece_by_chance=by_chance,
        held_out=held_out,
        notes=(*notes, said, *_source_notes(labels, calibration), _protocol(held_out), *strays),
    )


def _labels(
    margins: ArrayLike,
    is_fake: ArrayLike,
    sources: ArrayLike | None,
    groups: ArrayLike | None,
    prevalence: float | None,
) -> tuple[Labels, list[str]]:
    values, fake = np.asarray(margins, np.float64), np.asarray(is_fake, bool)
    none = np.full(len(values), "")
    named = (none if each is None else np.asarray(each).astype(str) for each in (sources, groups))
    from_, group = named
    labels = Labels(values, fake, from_, group_codes(group)[0], prevalence)
    usable = np.isfinite(values)
    lost = int((~usable).sum())
    return labels.take(usable), [f"{lost} without a finite margin left out"] if lost else []


def _check(labels: Labels) -> None:
    counts = {"real": int((~labels.fake).sum()), "fake": int(labels.fake.sum())}
    for name, count in counts.items():
        if count < MIN_PER_CLASS:
            raise CannotCalibrate(
                f"too few labels: {counts['real']} real and {counts['fake']} fake, "
                f"and a calibration takes {MIN_PER_CLASS} of each; give more {name} pictures"
            )


def _calibration(labels: Labels, *, isotonic: bool, by_source: bool) -> Calibration:
    margins, fake, prevalence = labels.margins, labels.fake, labels.prevalence
    common = platt_or_flat(margins, fake, prevalence)
    if isotonic:
        common = Calibration(common.scale, common.bias, fit_isotonic(margins, fake, prevalence=prevalence))
    if not by_source or not (labels.sources != "").any():
        return common
    biases = fit_source_bias(labels.log_odds(common), fake, labels.sources, groups=labels.codes, prevalence=prevalence)
    return Calibration(common.scale, common.bias, common.isotonic, biases)


def _folds(labels: Labels, seed: int) -> NDArray[np.intp]:
    """[N]: the part each label is in. Whole groups, shuffled among those with as large a share of fakes."""
    codes = np.unique(labels.codes, return_inverse=True)[1]
    share = np.bincount(codes, labels.fake) / np.bincount(codes)
    order = np.lexsort((np.random.default_rng(seed).random(len(share)), share))
    part = np.empty(len(share), dtype=np.intp)
    part[order] = np.arange(len(share)) % FOLDS
    return part[codes]


def _held_out(labels: Labels, folds: NDArray[np.intp], *, isotonic: bool, by_source: bool) -> NDArray[np.float64]:
    """[N]: P(fake) by a fit on the other parts; NaN where these lack a class."""
    p = np.full(len(folds), np.nan)
    for part in np.unique(folds):
        inside = folds == part
        rest = labels.take(~inside)
        if rest.fake.any() and not rest.fake.all():
            fitted = _calibration(rest, isotonic=isotonic, by_source=by_source)
            p[inside] = labels.take(inside).probabilities(fitted)
    return p


def _isotonic_wins(labels: Labels, folds: NDArray[np.intp]) -> tuple[bool, str]:
    """Whether isotonic regression is taken, and why in words.

    It must beat Platt on held-out likelihood by more than a standard error over groups: of two curves that are equally
    good for all one knows, the one of two numbers is taken (the rule of Breiman et al. 1984, section 3.4.3).
    """
    count = len(labels.fake)
    if count <= MIN_ISOTONIC:
        return False, f"Platt scaling: isotonic takes more than {MIN_ISOTONIC} labels, here are {count}"
    both = [labels.log_likelihoods(_held_out(labels, folds, isotonic=kind, by_source=False)) for kind in (False, True)]
    nll = [-float(np.mean(each)) for each in both]
    gains = np.bincount(np.unique(labels.codes, return_inverse=True)[1], both[1] - both[0])
    wins = bool(gains.sum() > np.sqrt(len(gains)) * gains.std())
    verdict = "isotonic: " if wins else "Platt scaling: isotonic is not surely better, "
    return wins, f"{verdict}held-out NLL {nll[1]:.4f} against Platt's {nll[0]:.4f}"


def _source_notes(labels: Labels, calibration: Calibration) -> list[str]:
    if not (labels.sources != "").any():
        return []
    if not calibration.source_bias:
        return ["no source biases: fewer than two sources have enough labels, or they differ no more than chance"]
    told = (
        f"{name} {bias:+.2f} ({int((labels.sources == name).sum())} labels)"
        for name, bias in sorted(calibration.source_bias.items())
    )
    return [f"source biases on the log-odds: {', '.join(told)}"]


def _protocol(held_out: bool) -> str:
    if held_out:
        return f"after: held out, cross-fitted in {FOLDS} parts that keep source pictures together"
    return "after: measured on the labels it was fitted on, since too few source pictures hold both classes"


def _strays(ece: float, by_chance: float, *, isotonic: bool) -> list[str]:
    """A word where the curve does not fit: an ECE of twice what chance gives, a convention."""
    if ece <= 2 * by_chance:
        return []
    problem = f"P(fake) still strays: its ECE is {ece:.3f}, where chance alone gives {by_chance:.3f}"
    way_out = "" if isotonic else f"; more than {MIN_ISOTONIC} labels allow a curve of another shape"
    return [problem + way_out]
