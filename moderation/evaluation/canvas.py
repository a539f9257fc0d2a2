"""How every plot looks: one palette, one size of type, a light background. Figures are objects; nothing is global.

Colours are Okabe and Ito's, which the colour-blind tell apart ("Color Universal Design", 2008), without the yellow that
is lost on white.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREYS = ("#B8BEC8", "#6B7280")  # figures that are somebody else's
STYLES = ("-", "--", "-.", ":")
REAL, FAKE = "#0072B2", "#D55E00"
QUIET = "#6B7280"  # what guides the eye and says nothing
DPI = 110
_LOOK: dict[str, Any] = {
    "font.size": 10,
    "font.family": "DejaVu Sans",  # matplotlib's own, so that plots are alike everywhere
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9CA3AF",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": "#E5E7EB",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "text.parse_math": False,  # a dollar sign in a set's name is a dollar sign
}


@contextmanager
def look() -> Iterator[None]:
    """Everything drawn inside looks alike; outside matplotlib is as it was."""
    with rc_context(_LOOK):  # type: ignore[arg-type]  # keys are typed as a list of literals
        yield


def figure(width: float, height: float) -> Figure:
    """An empty figure; width and height in inches of DPI pixels."""
    drawn = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(drawn)
    return drawn


def png(drawn: Figure) -> bytes:
    """The figure as PNG, the same bytes for the same figure."""
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def line_of(number: int) -> dict[str, str]:
    """Colour and dash of the number-th candidate: no two alike up to 28."""
    rounds, place = divmod(number, len(PALETTE))
    return {"color": PALETTE[place], "linestyle": STYLES[(number + rounds) % len(STYLES)]}


def short(name: str, length: int = 28) -> str:
    """The name, its middle left out where it is long."""
    if len(name) <= length:
        return name
    head = (length - 1) // 3
    return f"{name[:head]}…{name[head + 1 - length :]}"


def percent(axis: Any) -> None:
    """Ticks of an x or y axis from 0 to 1 as whole per cents."""
    axis.set_major_formatter(lambda value, _: f"{value * 100:g} %")


def unit_square(axes: Axes) -> None:
    """Both axes from 0 to 1, equally long."""
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.set_aspect("equal")
