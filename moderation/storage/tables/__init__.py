"""The tables, all of them. Changing one needs a migration (see docs/decisions.md: expand, deploy, contract)."""

from __future__ import annotations

from moderation.storage.tables.base import Base, Bytes, RowId, UtcDateTime
from moderation.storage.tables.loop import CanaryRow, ChoreRow, HoldoutRow, RescoreRunRow, TrainingRunRow
from moderation.storage.tables.reviewing import GoldRow, ReviewerRow, ReviewRow, ReviewTaskRow
from moderation.storage.tables.scanning import (
    EventHeadRow,
    EventRow,
    ImageRow,
    PolicyRow,
    PromptRow,
    SubmissionRow,
    VerdictRow,
)

__all__ = [
    "Base",
    "Bytes",
    "CanaryRow",
    "ChoreRow",
    "EventHeadRow",
    "EventRow",
    "GoldRow",
    "HoldoutRow",
    "ImageRow",
    "PolicyRow",
    "PromptRow",
    "RescoreRunRow",
    "ReviewRow",
    "ReviewTaskRow",
    "ReviewerRow",
    "RowId",
    "SubmissionRow",
    "TrainingRunRow",
    "UtcDateTime",
    "VerdictRow",
]
