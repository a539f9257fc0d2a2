"""A measured figure and how sure it is. Needs nothing, so that what shows stored figures loads no numpy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure and its 95 % interval over source pictures; no interval where there was nothing to resample."""

    value: float
    low: float | None = None
    high: float | None = None
