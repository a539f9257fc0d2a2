"""Before and after on the same pictures: both AUCs, both accuracies and their differences, under any weights.

Each picture has a threshold of its own, that of its source. A picture that only the candidate could not score ranks
last and counts as wrong; one that the active could not score says nothing and must have been left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderation.evaluation.bootstrap import group_codes, resampled, with_intervals
from moderation.evaluation.compare import mcnemar
from moderation.evaluation.figure import Figure
from moderation.evaluation.figures import Ranked

Flags = NDArray[np.bool_]
Values = NDArray[np.float64]
NAMES = ("auc_before", "auc_after", "auc_difference", "accuracy_before", "accuracy_after", "accuracy_difference")


@dataclass(frozen=True, slots=True)
class Scored:
    """Of one prompt, all [N]. Texts and truths stand elsewhere. is_right: at the picture's own threshold."""

    ranked: Ranked
    is_right: Flags


def scored(is_fake: Flags, p: Values, margin: Values, threshold: Values) -> Scored:
    """What has no usable score is ranked on the wrong end, behind every other, and is wrong at every threshold."""
    there = is_usable(p, margin)
    worst = np.where(is_fake, -1.0, 2.0)
    ranked = Ranked(is_fake, np.where(there, p, worst), np.where(there, margin, 0.0), 0.5)
    return Scored(ranked, there & ((p >= threshold) == is_fake))


def is_usable(p: Values, margin: Values) -> Flags:
    """Finite, and a probability."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.isfinite(p) & np.isfinite(margin) & (p >= 0) & (p <= 1))


def differences(
    is_fake: Flags, before: Scored, after: Scored, group: NDArray[np.str_], resamples: int, seed: int
) -> dict[str, Figure | None]:
    """By NAMES: of both classes, or with one class its accuracy alone. Intervals from the same draws of groups."""
    codes, n_groups = group_codes(group)
    both = bool(is_fake.any()) and not is_fake.all()

    def figures(weights: Values) -> Values:
        aucs = [one.ranked.auc(weights) if both else float("nan") for one in (before, after)]
        rates = [_accuracy(is_fake, one.is_right, weights, both) for one in (before, after)]
        return np.array([*aucs, aucs[1] - aucs[0], *rates, rates[1] - rates[0]])

    drawn = [figures(weights) for weights in resampled(codes, n_groups, resamples, seed)]
    return dict(zip(NAMES, with_intervals(figures(np.ones(len(is_fake))), np.array(drawn)), strict=True))


def sided(before: Flags, after: Flags, group: NDArray[np.str_]) -> tuple[int, int, float]:
    """(groups where only the first was right, or oftener; where only the second was; exact McNemar over them).

    before, after: which pictures were right. Near-duplicates are one toss of the coin, however many they are.
    """
    codes, n_groups = group_codes(group)
    net = np.bincount(codes, before.astype(np.float64) - after, minlength=n_groups)
    only_before, only_after = int((net > 0).sum()), int((net < 0).sum())
    return only_before, only_after, mcnemar(only_before, only_after)


def _accuracy(is_fake: Flags, is_right: Flags, weights: Values, both: bool) -> float:
    right = weights * is_right
    n_fake, fake_right = float(weights @ is_fake), float(right @ is_fake)
    n_real, real_right = float(weights.sum()) - n_fake, float(right.sum()) - fake_right
    if not both:
        return (real_right + fake_right) / (n_real + n_fake) if n_real + n_fake else float("nan")
    return (real_right / n_real + fake_right / n_fake) / 2 if n_real and n_fake else float("nan")
