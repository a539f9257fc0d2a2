"""Charts as SVG, drawn on the server: numbers in, markup out, colours from the style sheet. Pure; nothing is loaded.

Each has a title that a screen reader says; the numbers stand beside it as a table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from moderation.domain.reliability import Bin

WIDTH, HEIGHT = 480, 240
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 16, 34
_PLOT_W, _PLOT_H = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
_MOST_LABELS = 7  # more would run into each other


@dataclass(frozen=True, slots=True)
class Series:
    """One colour's numbers, a value for each bar. `css` names its colour in the style sheet."""

    name: str
    css: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Mark:
    """A line across a chart at `at` (0..1 of its width)."""

    name: str
    css: str
    at: float


def stacked_bars(title: str, labels: Sequence[str], series: Sequence[Series]) -> Markup:
    """A bar for each label, the series on top of each other."""
    top = nice_top(max((sum(each.values[at] for each in series) for at in range(len(labels))), default=0))
    width = _PLOT_W / max(1, len(labels))
    every = max(1, math.ceil(len(labels) / _MOST_LABELS))
    parts = [_grid(top)]
    for at, label in enumerate(labels):
        below = 0.0
        left = LEFT + at * width
        for each in series:
            value = each.values[at]
            if value:
                hint = f"{label}: {value:g} {each.name}"
                parts.append(_bar(left + width * 0.14, width * 0.72, below, below + value, top, each.css, hint))
            below += value
        if at % every == 0:
            parts.append(_below(left + width / 2, label))
    return _svg(title, parts)


def histogram(title: str, counts: Sequence[int], marks: Sequence[Mark]) -> Markup:
    """Counts in equal parts of 0..1, with lines drawn in."""
    top = nice_top(max(counts, default=0))
    width = _PLOT_W / max(1, len(counts))
    parts = [_grid(top), _shares_below()]
    for at, count in enumerate(counts):
        if count:
            hint = f"{at / len(counts):.2f} to {(at + 1) / len(counts):.2f}: {count}"
            parts.append(_bar(LEFT + at * width + 1, width - 2, 0, count, top, "c-score", hint))
    parts += [_mark(mark, row) for row, mark in enumerate(marks)]
    return _svg(title, parts)


def reliability_diagram(title: str, bins: Sequence[Bin]) -> Markup:
    """Claimed probability across, share of fakes upward, with 95 % intervals; on the diagonal is calibrated."""
    ideal = _line("c-ideal", LEFT, _y(0, 1), LEFT + _PLOT_W, _y(1, 1))
    most = max((each.images for each in bins), default=1)
    return _svg(title, [_grid(1.0), _shares_below(), ideal, *(_point(each, most) for each in bins)])


def nice_top(most: float) -> float:
    """The end of an axis: at least `most`, 1, 2, 4, 6 or 8 times a power of ten."""
    if most <= 0:
        return 4.0
    power = 10.0 ** math.floor(math.log10(most))
    top = next(step * power for step in (1, 2, 4, 6, 8, 10) if step * power >= most)
    return max(4.0, top)


def _svg(title: str, parts: Sequence[Markup]) -> Markup:
    open_tag = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, HEIGHT, title)
    return open_tag + Markup("").join(parts) + Markup("</svg>")


def _grid(top: float) -> Markup:
    """Horizontal lines at the quarters, with their values."""
    lines = Markup("")
    for quarter in range(5):
        value = top * quarter / 4
        y = _y(value, top)
        lines += _line("grid", LEFT, y, WIDTH - RIGHT, y) + _text(LEFT - 6, y + 4, short(value), "end")
    return lines


def _shares_below() -> Markup:
    """0 to 1 below the chart."""
    return Markup("").join(_below(LEFT + share * _PLOT_W, f"{share:g}") for share in (0, 0.25, 0.5, 0.75, 1))


def _point(each: Bin, most: int) -> Markup:
    """A bin's interval and, in a size for its number of images, its share."""
    x = LEFT + each.claimed * _PLOT_W
    radius = 3.5 + 4.5 * math.sqrt(each.images / most)
    span = f"{each.low:.2f} to {each.high:.2f}"
    hint = f"claimed {each.claimed:.2f}, fake {each.fake:.2f} ({span}), {each.images} images"
    circle = Markup('<circle class="c-point" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"><title>{}</title></circle>')
    return _line("c-interval", x, _y(each.low, 1), x, _y(each.high, 1)) + circle.format(
        x, _y(each.fake, 1), radius, hint
    )


def _bar(x: float, width: float, low: float, high: float, top: float, css: str, hint: str) -> Markup:
    y = _y(high, top)
    rectangle = Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>')
    return rectangle.format(css, x, y, width, max(0.5, _y(low, top) - y), hint)


def _mark(mark: Mark, row: int) -> Markup:
    x = LEFT + mark.at * _PLOT_W
    is_left = mark.at > 0.6  # its name would leave the chart on the other side
    line = _line(f"mark {mark.css}", x, TOP - 8, x, HEIGHT - BOTTOM)
    name = _text(x + (-5 if is_left else 5), TOP + 2 + 14 * row, mark.name, "end" if is_left else "start", "mark-name")
    return line + name


def _line(css: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    line = Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>')
    return line.format(css, x1, y1, x2, y2)


def _below(x: float, text: str) -> Markup:
    return _text(x, HEIGHT - BOTTOM + 16, text, "middle")


def _text(x: float, y: float, text: str, anchor: str, css: str = "axis") -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(css, x, y, anchor, text)


def _y(value: float, top: float) -> float:
    return TOP + _PLOT_H * (1 - value / top)


def short(value: float) -> str:
    """A number in few signs: 1500 is 1.5k."""
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
