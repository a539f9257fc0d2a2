"""What `modctl doctor` finds of one part."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """How a part is. `down`: a service that does not answer; `skipped`: it stands on one that failed."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    DOWN = "down"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was seen of one part; `remedy` says what to do, '' where there is nothing to do."""

    part: str
    health: Health
    seen: str
    remedy: str = ""
