"""What the gate found, as plain data: kept with a training run, shown in terminals and reports. Decides nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

from moderation.evaluation.figure import Figure

BEYOND = 0.01  # what a slice may lose beyond its interval, AUC or accuracy
WHOLE = "all"  # the slice that is a whole part
GENERATOR = "generator"  # the kind of slice that is its fakes against every real picture of the part
GATE_COLUMNS = ("part", "slice", "images", "AUC", "difference", "lost", "won", "verdict")
GATE_RIGHT = ("images", "lost", "won")
GATE_FOLD = ("slice",)
GATE_SPARE = ("AUC",)


class GateVerdict(StrEnum):
    """What the pictures of one line say about the candidate."""

    BETTER = "better"
    NO_WORSE = "no worse"  # proven to lose no more than the margin
    WORSE = "worse"
    TOO_FEW = "too few to say"


@dataclass(frozen=True, slots=True)
class GateLine:
    """The candidate against the active prompt on one slice of one part: 'all', 'source=web', 'generator=x', 'size=s'.

    groups_real, groups_fake: near-duplicate groups of each class; only these count as independent. failed: pictures
    that the candidate alone could not score, which count as wrong; left_out: those of a whole part that the active
    could not score, which count nowhere.
    accuracy: at today's thresholds, balanced; of the one class of a slice that has no other, and of a generator's own
    fakes. Differences are
    candidate minus active with paired 95 % intervals. only_before, only_after: groups that this one alone got right (or
    more of); p_value: exact McNemar over them, two-sided. A figure that can't be had is None.
    """

    part: str
    slice: str
    n: int
    n_fake: int
    groups_real: int
    groups_fake: int
    failed: int
    left_out: int
    auc_before: float | None
    auc_after: float | None
    auc_difference: Figure | None
    accuracy_before: float | None
    accuracy_after: float | None
    accuracy_difference: Figure | None
    only_before: int
    only_after: int
    p_value: float
    verdict: GateVerdict = GateVerdict.TOO_FEW

    @property
    def is_of_generator(self) -> bool:
        return self.slice.startswith(f"{GENERATOR}=")

    @property
    def n_own(self) -> int:
        """Pictures that the slice is about: a generator's are its fakes, though real ones stand against them."""
        return self.n_fake if self.is_of_generator else self.n


@dataclass(frozen=True, slots=True)
class GateResult:
    """Whether the candidate passed. reasons: what refused it, or what let it pass, a sentence each.

    margin: how much AUC it was allowed to lose; seed, resamples: of the intervals.
    """

    passed: bool
    reasons: tuple[str, ...]
    lines: tuple[GateLine, ...]
    margin: float
    seed: int
    resamples: int

    @property
    def word(self) -> str:
        return "PASSED" if self.passed else "REFUSED"

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` makes the same result of it."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Raises KeyError or TypeError for what `to_json` did not write."""
        return cls(
            **{**stored, "reasons": tuple(stored["reasons"]), "lines": tuple(_line(line) for line in stored["lines"])}
        )


def gate_rows_text(result: GateResult) -> list[tuple[str, ...]]:
    """A row for each line under GATE_COLUMNS; lost, won: groups that the candidate gets newly wrong, newly right.

    The difference is of AUC; of accuracy, marked "right", where there is no AUC or accuracy alone has the line worse.
    """
    return [
        (
            line.part,
            line.slice,
            f"{line.n_own:,}",
            _change(line.auc_before, line.auc_after),
            _difference(line),
            f"{line.only_before:,}",
            f"{line.only_after:,}",
            str(line.verdict),
        )
        for line in result.lines
    ]


def _line(stored: Mapping[str, Any]) -> GateLine:
    figures = {name: _figure(stored[name]) for name in ("auc_difference", "accuracy_difference")}
    return GateLine(**{**stored, **figures, "verdict": GateVerdict(stored["verdict"])})


def _figure(stored: Mapping[str, Any] | None) -> Figure | None:
    return None if stored is None else Figure(**stored)


def _change(before: float | None, after: float | None) -> str:
    return "-" if before is None or after is None else f"{_number(before)} > {_number(after)}"


def _difference(line: GateLine) -> str:
    auc, accuracy = line.auc_difference, line.accuracy_difference
    lost = line.verdict is GateVerdict.WORSE and line.slice != WHOLE
    figure = accuracy if auc is None or (lost and (auc.high is None or auc.high >= -BEYOND)) else auc
    if figure is None:
        return "-"
    interval = (
        ""
        if figure.low is None or figure.high is None
        else f" ({_number(figure.low, '+')} {_number(figure.high, '+')})"
    )
    return f"{'' if figure is auc else 'right '}{_number(figure.value, '+')}{interval}"


def _number(value: float, sign: str = "") -> str:
    return f"{value:{sign}.3f}".replace("0.", ".", 1)
