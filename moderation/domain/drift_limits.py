"""The limits that drift may break, and what to do about each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from shlex import quote

ALL_SOURCES = "*"


class Measure(StrEnum):
    """What can break a limit; the value ends the setting's name, MODERATION_DRIFT_MAX_*."""

    PSI = "psi"
    KS = "ks"
    FLAGGED = "flagged"
    OVERTURNED = "overturned"
    ERROR = "error"

    @property
    def said(self) -> str:
        """In words."""
        return _SAID[self]


_SAID = {
    Measure.PSI: "the population-stability index",
    Measure.KS: "the Kolmogorov-Smirnov distance",
    Measure.FLAGGED: "the change of the share flagged",
    Measure.OVERTURNED: "the share of decisions overturned",
    Measure.ERROR: "the estimated error rate",
}


Limits = Mapping[Measure, float]


@dataclass(frozen=True, slots=True)
class Broken:
    """A limit that is broken, and what to do."""

    source: str
    measure: Measure
    value: float
    limit: float
    remedy: str

    @property
    def setting(self) -> str:
        """The variable that holds the limit."""
        return f"MODERATION_DRIFT_MAX_{self.measure.upper()}"


def remedy(measure: Measure, source: str) -> str:
    """What to do about this one."""
    only = "" if source == ALL_SOURCES else f" --source {quote(source)}"
    match measure:
        case Measure.PSI | Measure.KS:
            return (
                f"other pictures come in, or the same ones otherwise prepared: look at some (modctl verdicts{only}), "
                "have some labelled, then modctl retrain --dry-run"
            )
        case Measure.FLAGGED:
            return f"see whether rightly so (modctl estimate{only}), else modctl threshold suggest{only}"
        case Measure.OVERTURNED | Measure.ERROR:
            return f"see which kind errs (modctl estimate{only}); then modctl threshold suggest, or modctl retrain"
