"""What stands against the use of a registered prompt: damaged bytes, or a gate that refused it."""

from __future__ import annotations

import hashlib

from sqlalchemy import select
from sqlalchemy.orm import Session

from moderation.domain.prompt import PromptId
from moderation.domain.training_run import GateState, RunId, RunState
from moderation.errors import ConfigurationError
from moderation.storage.loop_tables import TrainingRunRow as Run
from moderation.storage.tables import PromptRow as Row

_JUDGED = (RunState.PASSED, RunState.REFUSED)


def damage(row: Row) -> str:
    """What is wrong with the stored bytes; '' for what was registered."""
    if hashlib.sha256(row.blob).hexdigest() == row.sha256:
        return ""
    return f"the stored bytes of {row.prompt_id} were changed: their sha256 is not the one in their row"


def check_whole(row: Row) -> None:
    """Raises ConfigurationError for damaged bytes."""
    if problem := damage(row):
        hint = "take the same file in again (modctl prompt import FILE), or choose another: modctl prompt verify"
        raise ConfigurationError("prompt", problem, hint=hint)


def gate_state(session: Session, prompt_id: str) -> GateState | None:
    """What the gate said of this prompt, in the newest run that ended with it; None: it never came to the gate."""
    columns = (Run.run_id, Run.parent, Run.state, Run.metrics)
    query = select(*columns).where(Run.prompt_id == prompt_id, Run.state.in_(_JUDGED))
    newest = session.execute(query.order_by(Run.run_id.desc()).limit(1)).first()
    if newest is None:
        return None
    reasons = (newest.metrics.get("gate") or {}).get("reasons") or ()
    return GateState(
        RunId(newest.run_id), PromptId(newest.parent), newest.state == RunState.PASSED, tuple(map(str, reasons))
    )
