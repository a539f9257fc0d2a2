"""Plots of sets and conditions: score histograms, the robustness heat map, published against measured. PNG bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from moderation.evaluation.canvas import FAKE, GREYS, PALETTE, QUIET, REAL, figure, look, percent, png, short
from moderation.evaluation.robustness import RobustnessRow

Flags = NDArray[np.bool_]
Values = NDArray[np.float64]
MOST_PANELS = 48  # more sets than this make a plot that nobody reads
ENDS = 7.0  # log odds: P(fake) of .09 % and 99.91 %, where the histograms gather what lies beyond
HISTOGRAM_BINS = 28
COLUMNS = 4
HEAT = (
    ("accuracy_real", "real right, %", "YlGnBu_r", 0.0, 1.0),
    ("accuracy_fake", "fake right, %", "YlGnBu_r", 0.0, 1.0),
    ("balanced_accuracy", "balanced, %", "YlGnBu_r", 0.5, 1.0),
    ("auc", "AUC", "YlGnBu_r", 0.5, 1.0),
    ("flip_rate", "flips, %", "YlOrRd", 0.0, 0.5),
)
"""Field of a row, title, colour map, and the values where its colours end."""


def histogram_plot(sets: Mapping[str, tuple[Flags, Values]], threshold: float) -> bytes:
    """A panel for each of the first MOST_PANELS sets (is_fake, probability): shares of each class by P(fake).

    On a scale of log odds, since probabilities pile up near 0 and 1, where a plain scale shows two bars.
    """
    shown = list(sets.items())[:MOST_PANELS]
    with look():
        columns = min(len(shown), COLUMNS)
        rows = -(-len(shown) // columns)
        drawn = figure(max(2.5 * columns, 5), 1.75 * rows + 0.6)
        grid = drawn.subplots(rows, columns, squeeze=False, sharex=True)
        for axes, (name, (is_fake, probability)) in zip(grid.flat, shown, strict=False):
            _histogram(axes, is_fake, probability, threshold)
            axes.set_title(short(name or "all pictures", 22 if columns > 1 else 44), fontsize=9)
        for axes in list(grid.flat)[len(shown) :]:
            axes.remove()
        for axes in grid[:, 0]:
            axes.set_ylabel("share", fontsize=9)
        for column in range(columns):  # the lowest panel of each column carries the axis
            lowest = grid[(len(shown) - 1 - column) // columns, column]
            lowest.tick_params(labelbottom=True)
            lowest.set_xlabel("P(fake), %", fontsize=9)
        _key(drawn, threshold)
        return png(drawn)


def heat_plot(rows: Sequence[RobustnessRow]) -> bytes:
    """Conditions down, candidates across, a block for each figure; the number stands in its cell."""
    candidates = list(dict.fromkeys(row.candidate for row in rows))
    conditions = list(dict.fromkeys(row.condition for row in rows))
    families = {row.condition: row.family for row in rows}
    cells = {(row.candidate, row.condition): row for row in rows}
    with look():
        wide = max(0.62 * len(candidates), 1.15)
        drawn = figure(1.9 + len(HEAT) * (wide + 0.12), 1.1 + 0.27 * len(conditions) + 0.9 * (len(candidates) > 1))
        blocks = drawn.subplots(1, len(HEAT), sharey=True)
        for axes, (field, title, colours, low, high) in zip(blocks, HEAT, strict=True):
            found = [[getattr(cells.get((who, name)), field, None) for who in candidates] for name in conditions]
            values = np.array(found, dtype=np.float64)
            _block(axes, values, colours, (low, high), "{:.2f}" if field == "auc" else "{:.0%}")
            axes.set_title(title, loc="center", fontsize=9)
            names = [short(name, 18) for name in candidates] if len(candidates) > 1 else []
            axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
            for place in range(1, len(conditions)):
                if families[conditions[place]] != families[conditions[place - 1]]:
                    axes.axhline(place - 0.5, color="#374151", linewidth=0.8)
        blocks[0].set_yticks(range(len(conditions)), [name or "as it is" for name in conditions], fontsize=9)
        return png(drawn)


def published_plot(
    published: Mapping[str, Mapping[str, float]], measured: Mapping[str, Mapping[str, float]], title: str
) -> bytes:
    """Bars for each set: what others published in grey, what was measured in colour; a missing set has no bar.

    published, measured: by name of a detector, accuracies from 0 to 1 by set.
    """
    series = {**published, **measured}
    colours = [*(GREYS[number % len(GREYS)] for number in range(len(published))), *PALETTE, *PALETTE]
    sets = list(dict.fromkeys(name for values in series.values() for name in values))
    with look():
        drawn = figure(8.6, 1.2 + len(sets) * (0.13 + 0.15 * len(series)))
        axes = drawn.subplots()
        thick = 0.82 / len(series)
        for number, (name, values) in enumerate(series.items()):
            offset = (number - (len(series) - 1) / 2) * thick
            there = [(place, values[one]) for place, one in enumerate(sets) if one in values]
            places, lengths = [place + offset for place, _ in there], [length for _, length in there]
            axes.barh(places, lengths, thick * 0.92, color=colours[number % len(colours)], label=short(name, 48))
        axes.set_yticks(range(len(sets)), [short(name) for name in sets])
        axes.set(xlim=(0, 1), ylim=(len(sets) - 0.4, -0.6), title=title, xlabel="accuracy")
        axes.grid(visible=False, axis="y")
        percent(axes.xaxis)
        drawn.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
        return png(drawn)


def log_odds(probability: ArrayLike) -> Values:
    """ln(p / (1 - p)), cut off at +- ENDS."""
    p = np.asarray(probability, dtype=np.float64)
    with np.errstate(divide="ignore"):
        odds: Values = np.clip(np.log(p) - np.log1p(-p), -ENDS, ENDS)
    return odds


def _histogram(axes: Axes, is_fake: Flags, probability: Values, threshold: float) -> None:
    edges = np.linspace(-ENDS, ENDS, HISTOGRAM_BINS + 1)
    for inside, colour, hatch in ((~is_fake, REAL, None), (is_fake, FAKE, "////")):
        if inside.any():
            shares = np.histogram(log_odds(probability[inside]), edges)[0] / inside.sum()
            axes.stairs(shares, edges, fill=True, color=colour, alpha=0.25, zorder=2)
            axes.stairs(shares, edges, color=colour, linewidth=1.3, hatch=hatch, zorder=3)
    axes.axvline(float(log_odds(threshold)), color="black", linewidth=1, linestyle="--", zorder=4)
    ticks = (0.01, 0.1, 0.5, 0.9, 0.99)
    axes.set(xlim=(-ENDS, ENDS))
    axes.set_xticks(log_odds(ticks), [f"{tick * 100:g}" for tick in ticks])
    percent(axes.yaxis)
    axes.tick_params(labelsize=8)


def _key(drawn: Figure, threshold: float) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=REAL, alpha=0.5, label="real"),
        Patch(facecolor=FAKE, alpha=0.5, hatch="////", label="fake"),
        Line2D([], [], color="black", linestyle="--", linewidth=1, label=f"threshold {threshold:g}"),
    ]
    drawn.legend(handles=handles, loc="outside upper right", ncols=3)


def _block(axes: Axes, values: Values, colours: str, ends: tuple[float, float], form: str) -> None:
    low, high = ends
    shown = axes.imshow(np.ma.masked_invalid(values), cmap=colours, vmin=low, vmax=high, aspect="auto")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for (row, column), value in np.ndenumerate(values):
        text = "-" if np.isnan(value) else form.format(value).removesuffix("%")
        colour: Any = QUIET if np.isnan(value) else _ink(shown.get_cmap(), (value - low) / (high - low))
        axes.text(column, row, text, ha="center", va="center", fontsize=8.5, color=colour)


def _ink(colours: Colormap, place: float) -> str:
    """Black or white, whichever is read better on the colour at `place` of the map (WCAG's relative luminance)."""
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colours(min(max(place, 0.0), 1.0))[:3]
    ]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "white" if luminance < 0.179 else "black"
