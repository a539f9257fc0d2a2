"""Which prompt a rollback returns to, read from the audit trail."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from moderation.domain.prompt import PromptId
from moderation.domain.prompt_stack import ACTIVATED, ROLLED_BACK, Turn, stack
from moderation.errors import ConfigurationError
from moderation.storage.registry.checks import damage
from moderation.storage.tables import EventRow
from moderation.storage.tables import PromptRow as Row


def earlier_than(session: Session, backbone: str, now: PromptId | None) -> list[PromptId]:
    """The prompts that a rollback from `now`, the active one, can return to; the one it would take first."""
    query = select(EventRow.kind, EventRow.payload).where(EventRow.kind.in_((ACTIVATED, ROLLED_BACK)))
    turns = [
        Turn(kind, told["prompt"], told.get("before"))
        for kind, told in session.execute(query.order_by(EventRow.seq))
        if told.get("backbone") == backbone
    ]
    found = stack(turns, now)
    return found[-2::-1] if now is not None else found[::-1]


def target_of(
    session: Session, earlier: list[PromptId], now: PromptId | None, backbone: str, to: PromptId | None
) -> Row:
    """The prompt to go back to. Raises ConfigurationError, which names the way out."""
    if not earlier:
        problem = f"nothing was active on {backbone} before {now}" if now else f"nothing was ever active on {backbone}"
        raise ConfigurationError("prompt", problem, hint="choose one yourself: modctl prompt activate ID --reason ...")
    if to is not None and to not in earlier:
        there = f"it can go back to {', '.join(earlier)}"
        raise ConfigurationError("prompt", f"{to} was not active before {now} on {backbone}", hint=there)
    wanted = to or earlier[0]
    row = session.get_one(Row, wanted)
    if not (problem := damage(row)):
        return row
    further = earlier[earlier.index(wanted) + 1 :]
    whole = next((each for each in further if not damage(session.get_one(Row, each))), None)
    hint = (
        f"before it {whole} was active, whose bytes are good: modctl prompt rollback --to {whole} --reason ..."
        if whole
        else "none before it is good; choose another: modctl prompt activate ID --reason ..."
    )
    raise ConfigurationError("prompt", problem, hint=hint)
