"""Plots of scores: ROC, reliability before and after calibration, and how a training run went. PNG bytes, no files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.stats import beta

from moderation.evaluation.canvas import (
    FAKE,
    PALETTE,
    QUIET,
    REAL,
    figure,
    line_of,
    look,
    percent,
    png,
    short,
    unit_square,
)
from moderation.evaluation.curves import Bin, reliability, roc
from moderation.evaluation.tuning_report import EpochRow

Flags = NDArray[np.bool_]
Values = NDArray[np.float64]
HISTOGRAM_BINS = 20


def roc_plot(curves: Mapping[str, tuple[Flags, Values, Values]]) -> bytes:
    """ROC curves, whole and at low false-positive rates. curves: is_fake, probability, margin by candidate.

    A candidate without both classes is left out.
    """
    with look():
        drawn = figure(10, 4.9)
        whole, low = drawn.subplots(1, 2)
        whole.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=":")
        start = 1e-2
        for number, (name, (is_fake, probability, margin)) in enumerate(curves.items()):
            if is_fake.all() or not is_fake.any():
                continue
            false, found = roc(is_fake, probability, margin)
            start = min(start, 1 / max(int((~is_fake).sum()), 1))
            whole.step(false, found, where="post", linewidth=1.8, label=short(name), **line_of(number))
            low.step(np.maximum(false, 1e-9), found, where="post", linewidth=1.8, **line_of(number))
        whole.set(title="ROC", xlim=(-0.01, 1.01))
        low.set(title="The same, low false-positive rates apart", xscale="log", xlim=(start, 1))
        for rate in (0.01, 0.05):
            low.axvline(rate, color=QUIET, linewidth=1, linestyle=":")
        for axes in (whole, low):
            axes.set(xlabel="real pictures flagged", ylabel="fakes found", ylim=(-0.01, 1.01))
            percent(axes.xaxis)
            percent(axes.yaxis)
        if whole.get_legend_handles_labels()[0]:
            whole.legend(loc="lower right")
        return png(drawn)


def reliability_plot(panels: Mapping[str, tuple[Flags, Values]]) -> bytes:
    """A reliability diagram for each entry (is_fake, probability), the pictures' probabilities below it."""
    with look():
        columns = min(len(panels), 3)
        rows = -(-len(panels) // columns)
        drawn = figure(max(3.4 * columns, 5), 4.7 * rows)
        grid = drawn.subplots(2 * rows, columns, squeeze=False, height_ratios=(3, 1) * rows)
        for number, (name, (is_fake, probability)) in enumerate(panels.items()):
            row, column = divmod(number, columns)
            _reliability(grid[2 * row, column], is_fake, probability)
            grid[2 * row, column].set_title(f"{short(name)}\nECE {expected_error(is_fake, probability):.3f}")
            _counts(grid[2 * row + 1, column], is_fake, probability)
        for number in range(len(panels), rows * columns):
            row, column = divmod(number, columns)
            grid[2 * row, column].remove()
            grid[2 * row + 1, column].remove()
        return png(drawn)


def expected_error(is_fake: Flags, probability: Values) -> float:
    """The expected calibration error over the bins that the diagram shows."""
    bins = reliability(is_fake, probability)
    gaps = sum(one.n * abs(one.mean_probability - one.share_fake) for one in bins)
    return gaps / max(sum(one.n for one in bins), 1)


def training_plot(history: Sequence[EpochRow], best_epoch: int | None) -> bytes:
    """Losses, and validation AUC where it was measured, by epoch."""
    with look():
        drawn = figure(9, 3.6)
        losses, aucs = drawn.subplots(1, 2)
        epochs = [row.epoch for row in history]
        losses.plot(epochs, [row.loss for row in history], marker="o", ms=4, color=PALETTE[0], label="training")
        held = [(row.epoch, row.validation_loss) for row in history if row.validation_loss is not None]
        if held:
            losses.plot(
                *zip(*held, strict=True), marker="s", ms=4, color=PALETTE[1], linestyle="--", label="validation"
            )
        losses.legend()
        ranked = [(row.epoch, row.validation_auc) for row in history if row.validation_auc is not None]
        if ranked:
            aucs.plot(*zip(*ranked, strict=True), marker="o", ms=4, color=PALETTE[2])
        else:
            aucs.text(0.5, 0.5, "not measured", transform=aucs.transAxes, ha="center", color=QUIET)
        losses.set(title="Loss", xlabel="epoch")
        aucs.set(title="Validation AUC", xlabel="epoch")
        for axes in (losses, aucs):
            axes.xaxis.get_major_locator().set_params(integer=True)
            if best_epoch is not None:
                axes.axvline(best_epoch, color=QUIET, linestyle=":", linewidth=1)
                axes.annotate(
                    " kept", (best_epoch, 1), xycoords=("data", "axes fraction"), color=QUIET, fontsize=8, va="top"
                )
        return png(drawn)


def _reliability(axes: Axes, is_fake: Flags, probability: Values) -> None:
    bins = reliability(is_fake, probability)
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=":")
    at, share = [one.mean_probability for one in bins], [one.share_fake for one in bins]
    low, high = np.array([_interval(one) for one in bins]).reshape(-1, 2).T
    errors = np.clip(np.vstack([share - low, high - share]), 0, None)
    axes.errorbar(at, share, errors, fmt="o-", color=PALETTE[2], ms=4, linewidth=1.4, elinewidth=1, capsize=2)
    unit_square(axes)
    axes.set(ylabel="share of fakes")
    percent(axes.xaxis)
    percent(axes.yaxis)


def _interval(one: Bin) -> tuple[float, float]:
    """Clopper and Pearson's 95 % interval of a bin's share."""
    k = round(one.share_fake * one.n)
    low = beta.ppf(0.025, k, one.n - k + 1) if k else 0.0
    high = beta.ppf(0.975, k + 1, one.n - k) if k < one.n else 1.0
    return float(low), float(high)


def _counts(axes: Axes, is_fake: Flags, probability: Values) -> None:
    edges = np.linspace(0, 1, HISTOGRAM_BINS + 1).tolist()
    axes.hist(
        [probability[~is_fake], probability[is_fake]], edges, stacked=True, color=[REAL, FAKE], label=["real", "fake"]
    )
    axes.set(xlabel="P(fake)", ylabel="pictures", xlim=(-0.01, 1.01))
    percent(axes.xaxis)
    axes.legend(loc="upper center", ncols=2, borderpad=0, handlelength=1)
    axes.margins(y=0.35)
