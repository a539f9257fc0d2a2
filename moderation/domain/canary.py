"""Canaries: pictures with known answers. A worker that answers otherwise is broken, whatever its other answers say."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

ROUGH_TOLERANCE = 0.05
"""How far P(fake) may differ between kinds of machines: bfloat16 keeps 8 bits of a number, and kernels add up in
another order."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What rounding depends on: 'cpu', 'mps' or 'cuda sm90' (the GPU's generation), and the number format."""

    device: str
    dtype: str

    def __str__(self) -> str:
        return f"{self.device} in {self.dtype}"


@dataclass(frozen=True, slots=True)
class Asked:
    """Which pictures were shown (their hash), and to which prompt on which weights."""

    prompt_id: str
    backbone_revision: str
    pictures: str


@dataclass(frozen=True, slots=True)
class Known:
    """Answers as first seen on a kind of machine: P(fake) of each picture. `created_at` is None for shipped ones."""

    asked: Asked
    machine: Machine
    answers: tuple[float, ...]
    worker: str
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """A picture whose answer is another: `now` is None where it could not be scored."""

    picture: str
    was: float | None
    now: float | None
    allowed: float
    known: Known | None

    def __str__(self) -> str:
        now = "could not be scored" if self.now is None else f"is {self.now:.6f}"
        if self.was is None or self.known is None:
            return f"picture {self.picture!r} {now}"
        first = f"picture {self.picture!r} was {self.was:.6f} ({self.known.machine}, {self.known.worker}) and {now}"
        return first if self.now is None else f"{first}; {self.allowed:g} is allowed"


def find_moved(
    names: Sequence[str],
    answers: Sequence[float | None],
    known: Iterable[Known],
    machine: Machine,
    tolerance: float,
) -> Moved | None:
    """The picture that moved farthest beyond what is allowed; None where all agree.

    answers: P(fake) of each picture, None where it has none. Beside answers of the same kind of machine `tolerance` is
    allowed, beside others' ROUGH_TOLERANCE (or `tolerance`, if that is more).
    """
    moved: list[Moved] = [Moved(n, None, None, 0.0, None) for n, p in zip(names, answers, strict=True) if p is None]
    for each in known:
        allowed = tolerance if each.machine == machine else max(tolerance, ROUGH_TOLERANCE)
        for at, (name, now) in enumerate(zip(names, answers, strict=True)):
            was = each.answers[at] if at < len(each.answers) else None
            if was is None or now is None or not abs(now - was) <= allowed:
                moved.append(Moved(name, was, now, allowed, each))
    return max(moved, key=_how_far, default=None)


def _how_far(moved: Moved) -> float:
    if moved.was is None or moved.now is None:
        return float("inf")
    far = abs(moved.now - moved.was)
    return float("inf") if math.isnan(far) else far - moved.allowed
