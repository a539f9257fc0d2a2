"""Pages that need nothing else: one HTML file, plots inside as data, and no address is ever asked.

File names and set names come from strangers, so everything is escaped, and a page forbids itself scripts and requests.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jinja2

from moderation.evaluation.figures import Figure
from moderation.files import write_whole

PLOTS_DIR = "plots"


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot as the page shows it. `uri`: the PNG as data."""

    title: str
    alt: str
    uri: str


class Gallery:
    """Plots that are in the page and beside it."""

    def __init__(self, out: Path) -> None:
        self._folder = out / PLOTS_DIR
        self._folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, title: str, name: str, png: bytes, alt: str = "") -> Plot:
        (self._folder / f"{name}.png").write_bytes(png)
        return plot_of(title, png, alt)


def plot_of(title: str, png: bytes, alt: str = "") -> Plot:
    """A plot that is in the page alone."""
    uri = f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
    return Plot(title, alt or f"Plot: {title}. Its figures stand in the tables.", uri)


def environment(folder: str) -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(Path(__file__).with_name("templates"))
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    filters: dict[str, Callable[..., str]] = {
        "figure": _figure,
        "interval": _interval,
        "number": lambda value: "-" if value is None else f"{value:.3f}",
        "share": lambda value: "-" if value is None else f"{value:.1%}".replace("%", " %"),
        "percent": lambda value: "-" if value is None else f"{value * 100:.1f}",
        "chance": _chance,
        "signed": lambda value: f"{value:+.3f}",
        "below": lambda path: path.removeprefix(folder),
    }
    environment.filters.update(filters)
    return environment


def _figure(figure: Figure | None, is_share: bool) -> str:
    return "-" if figure is None else _number(figure.value, is_share)


def _chance(probability: float) -> str:
    """A probability near 0 or 1 is never rounded to it."""
    if probability < 0.001:
        return "below 0.1 %"
    return "above 99.9 %" if probability > 0.999 else f"{probability * 100:.1f} %"


def _interval(figure: Figure | None, is_share: bool) -> str:
    if figure is None or figure.low is None or figure.high is None:
        return ""
    return f"{_number(figure.low, is_share)}\N{EN DASH}{_number(figure.high, is_share)}"


def _number(value: float, is_share: bool) -> str:
    """Shares in per cent, the unit standing in the heading."""
    return f"{value * 100:.1f}" if is_share else f"{value:.3f}"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.encode("utf-8", "backslashreplace"))
    return path
