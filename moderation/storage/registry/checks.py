"""What stands against the use of a registered prompt: damaged bytes, or a gate that refused it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from moderation.domain.prompt import PromptId, numbers_of
from moderation.domain.training_run import GateState, RunId, RunState
from moderation.errors import ConfigurationError
from moderation.storage.tables import PromptRow as Row
from moderation.storage.tables import TrainingRunRow as Run

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


def gate_state(session: Session, prompt_id: PromptId) -> GateState | None:
    """What the gate said of this prompt, in the newest run that ended with it; else as `foreseen`."""
    row = session.execute(select(Row.blob, Row.parent).where(Row.prompt_id == prompt_id)).one_or_none()
    return foreseen(session, prompt_id, row.blob, row.parent) if row else _said(session, prompt_id)


def foreseen(session: Session, prompt_id: PromptId, blob: bytes, parent: PromptId | None) -> GateState | None:
    """`gate_state` of a prompt that need not be registered yet. None: neither it nor what it is came to the gate.

    A recalibrated prompt is the one that it was made from, with other probabilities: where that was refused, so is it.
    What passed does not pass for it: the gate judges at thresholds, which a calibration moves.
    """
    own = _said(session, prompt_id)
    if own is not None:
        return own
    for ancestor in _same_numbers(session, blob, parent):
        said = _said(session, ancestor)
        if said is not None:
            return None if said.passed else said
    return None


def _said(session: Session, prompt_id: PromptId) -> GateState | None:
    columns = (Run.run_id, Run.parent, Run.state, Run.metrics)
    query = select(*columns).where(Run.prompt_id == prompt_id, Run.state.in_(_JUDGED))
    newest = session.execute(query.order_by(Run.run_id.desc()).limit(1)).first()
    if newest is None:
        return None
    reasons = (newest.metrics.get("gate") or {}).get("reasons") or ()
    passed = newest.state == RunState.PASSED
    return GateState(RunId(newest.run_id), prompt_id, PromptId(newest.parent), passed, tuple(map(str, reasons)))


def _same_numbers(session: Session, blob: bytes, parent: PromptId | None) -> Iterator[PromptId]:
    """The parent, its parent and so on, as long as they have the numbers of `blob`, or had them perhaps: damaged."""
    numbers, seen = numbers_of(blob), set[PromptId]()
    while parent is not None and parent not in seen:
        row = session.get(Row, parent)
        if row is None or (numbers_of(row.blob) != numbers and not damage(row)):
            return
        yield parent
        seen.add(parent)
        parent = PromptId(row.parent) if row.parent else None
