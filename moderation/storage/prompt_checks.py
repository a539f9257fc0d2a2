"""What stands against the use of a registered prompt: damaged bytes, or a gate that refused it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from moderation.errors import ConfigurationError
from moderation.storage.loop_tables import TrainingRunRow as Run
from moderation.storage.tables import PromptRow as Row

REFUSED = "refused"
"""The state of a training run whose candidate did not pass the gate."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the gate of training run `run_id` refused its candidate."""

    run_id: int
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return f"the gate of training run {self.run_id} refused it" + (
            f": {'; '.join(self.reasons)}" if self.reasons else ""
        )


def damage(row: Row) -> str:
    """What is wrong with the stored bytes; '' for what was registered."""
    if hashlib.sha256(row.blob).hexdigest() == row.sha256:
        return ""
    return f"the stored bytes of {row.prompt_id} were changed: their sha256 is not the one in their row"


def check_whole(row: Row) -> None:
    """Raises ConfigurationError for damaged bytes."""
    if problem := damage(row):
        hint = "activate another (modctl prompt list), or bring its row back from a backup; see: modctl prompt verify"
        raise ConfigurationError("prompt", problem, hint=hint)


def gate_refusal(session: Session, prompt_id: str) -> Refusal | None:
    """Why the gate refused the newest training run that made this prompt; None where it did not."""
    query = select(Run.run_id, Run.state, Run.metrics).where(Run.prompt_id == prompt_id).order_by(Run.run_id.desc())
    newest = session.execute(query.limit(1)).first()
    if newest is None or newest.state != REFUSED:
        return None
    gate: dict[str, Any] = newest.metrics.get("gate") or {}
    return Refusal(newest.run_id, tuple(str(reason) for reason in gate.get("reasons") or ()))
