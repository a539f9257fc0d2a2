"""What prompts are for: activation, rollback, shadow. Each change is one transaction with its event.

Changes on one backbone come one after the other, under locks that scoring does not wait for.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from moderation.domain.prompt import PromptId, PromptState, prompt_id_of
from moderation.domain.prompt_stack import ACTIVATED, ROLLED_BACK, SHADOWED, UNSHADOWED
from moderation.domain.training_run import GateState
from moderation.errors import ConfigurationError, PromptChanged, PromptRefused
from moderation.storage import events
from moderation.storage.database import Database
from moderation.storage.events import SYSTEM, By
from moderation.storage.registry.checks import check_whole, foreseen, gate_state
from moderation.storage.registry.past import earlier_than, target_of
from moderation.storage.tables import PromptRow as Row


@dataclass(frozen=True, slots=True)
class Shown:
    """The prompt that a person was shown as the one to be replaced; None: that there is none."""

    prompt_id: PromptId | None


@dataclass(frozen=True, slots=True)
class Changed:
    """prompt_id took the place of `before`. happened: False where it had that place already. forced: past the gate."""

    prompt_id: PromptId
    before: PromptId | None
    happened: bool = True
    forced: bool = False


class PromptStates:
    """The `state` column of `prompt`, written."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def activate(
        self,
        prompt_id: PromptId,
        *,
        only_first: bool = False,
        forced: bool = False,
        shown: Shown | None = None,
        by: By = SYSTEM,
    ) -> Changed:
        """Makes this the active prompt of its backbone; the one before retires, and it is no shadow any more.

        With `only_first` it does nothing where another is active already. Raises ConfigurationError for damaged bytes,
        PromptRefused for a candidate the gate refused unless `forced`, PromptChanged where not `shown` is active now.
        """
        with self._database.write() as session:
            return activate_in(
                self._database, session, prompt_id, only_first=only_first, forced=forced, shown=shown, by=by
            )

    def roll_back(
        self, backbone: str, *, to: PromptId | None = None, shown: Shown | None = None, by: By = SYSTEM
    ) -> Changed:
        """Makes the prompt active that was so before the active one was activated, or an earlier one: `to`.

        Raises ConfigurationError where there is none or its bytes are damaged, PromptChanged where not `shown` is
        active now.
        """
        with self._database.write() as session:
            _lock(session, backbone)
            now = _at(session, backbone, PromptState.ACTIVE)
            _check_shown(shown, now, "active")
            earlier = earlier_than(session, backbone, now)
            target = target_of(session, earlier, now, backbone, to)
            _swap(self._database, session, target, now)
            payload = {"prompt": target.prompt_id, "backbone": backbone, "before": now}
            events.append(self._database, session, ROLLED_BACK, by, payload=payload)
            return Changed(PromptId(target.prompt_id), now)

    def earlier(self, backbone: str) -> list[PromptId]:
        """The prompts that a rollback can return to, the one it would take first. Their bytes are not looked at."""
        with self._database.read() as session:
            return earlier_than(session, backbone, _at(session, backbone, PromptState.ACTIVE))

    def target(self, backbone: str, *, to: PromptId | None = None) -> PromptId:
        """The prompt that `roll_back` would make active now. Raises ConfigurationError as it would."""
        with self._database.read() as session:
            now = _at(session, backbone, PromptState.ACTIVE)
            found = target_of(session, earlier_than(session, backbone, now), now, backbone, to)
            return PromptId(found.prompt_id)

    def gate(self, prompt_id: PromptId) -> GateState | None:
        """What the gate said of this prompt, in the newest run that ended with it; None: it never came to the gate.

        Where it only is another's recalibration, and that was refused, it is what was said of that one.
        """
        with self._database.read() as session:
            return gate_state(session, prompt_id)

    def foreseen(self, blob: bytes, parent: PromptId | None) -> GateState | None:
        """What `gate` will say of these bytes once they are registered, as made from `parent`."""
        prompt_id = prompt_id_of(hashlib.sha256(blob).hexdigest())
        with self._database.read() as session:
            is_known = session.scalar(select(Row.prompt_id).where(Row.prompt_id == prompt_id)) is not None
            return gate_state(session, prompt_id) if is_known else foreseen(session, prompt_id, blob, parent)

    def set_shadow(self, prompt_id: PromptId, *, shown: Shown | None = None, by: By = SYSTEM) -> Changed:
        """Makes this the shadow of its backbone in the place of the one before.

        Raises ConfigurationError for the active prompt and for damaged bytes, PromptChanged where not `shown` is the
        shadow now.
        """
        with self._database.write() as session:
            row = _locked(session, prompt_id)
            before = _at(session, row.backbone, PromptState.SHADOW)
            if row.state == PromptState.ACTIVE:
                problem = f"{prompt_id} is active: as its own shadow it would tell nothing"
                raise ConfigurationError("prompt", problem, hint="name another: modctl prompt list")
            if row.state == PromptState.SHADOW:
                return Changed(prompt_id, prompt_id, happened=False)
            _check_shown(shown, before, "the shadow")
            check_whole(row)
            if before is not None:
                _out_of_shadow(session, before)
            _set_state(session, row.prompt_id, PromptState.SHADOW)
            payload = {"prompt": prompt_id, "backbone": row.backbone, "before": before, "was": row.state}
            events.append(self._database, session, SHADOWED, by, payload=payload)
            return Changed(prompt_id, before)

    def end_shadow(self, backbone: str, *, shown: Shown | None = None, by: By = SYSTEM) -> Changed | None:
        """Ends the shadow: a candidate again, or retired if it was active once. None where there is no shadow.

        Raises PromptChanged where not `shown` is the shadow now.
        """
        with self._database.write() as session:
            _lock(session, backbone)
            before = _at(session, backbone, PromptState.SHADOW)
            _check_shown(shown, before, "the shadow")
            if before is None:
                return None
            state = _out_of_shadow(session, before)
            payload = {"prompt": before, "backbone": backbone, "now": state}
            events.append(self._database, session, UNSHADOWED, by, payload=payload)
            return Changed(before, before)


def activate_in(
    database: Database,
    session: Session,
    prompt_id: PromptId,
    *,
    only_first: bool = False,
    forced: bool = False,
    shown: Shown | None = None,
    by: By = SYSTEM,
) -> Changed:
    """`PromptStates.activate` within a transaction; where it raises, nothing was written."""
    row = _locked(session, prompt_id)
    before = _at(session, row.backbone, PromptState.ACTIVE)
    _check_shown(shown, before, "active")
    if row.state == PromptState.ACTIVE or (only_first and before is not None):
        return Changed(prompt_id, before, happened=False)
    check_whole(row)
    gate = gate_state(session, prompt_id)
    refused = gate is not None and not gate.passed
    if gate is not None and refused and not forced:
        raise PromptRefused(prompt_id, gate.run_id, gate.reasons, gate.what(prompt_id))
    _swap(database, session, row, before)
    payload: dict[str, Any] = {"prompt": prompt_id, "backbone": row.backbone, "before": before, "was": row.state}
    if gate is not None and refused:
        payload |= {"forced": True, "refused_by_run": gate.run_id, "refused": gate.judged}
    events.append(database, session, ACTIVATED, by, payload=payload)
    return Changed(prompt_id, before, forced=refused)


def _lock(session: Session, backbone: str) -> None:
    """One change at a time on this backbone. Rows that refer to its prompts, as verdicts do, do not wait."""
    rows = select(Row.prompt_id).where(Row.backbone == backbone).order_by(Row.prompt_id)
    session.execute(rows.with_for_update(key_share=True))


def _locked(session: Session, prompt_id: str) -> Row:
    _lock(session, session.scalars(select(Row.backbone).where(Row.prompt_id == prompt_id)).one())
    return session.get_one(Row, prompt_id)


def _at(session: Session, backbone: str, state: PromptState) -> PromptId | None:
    found = session.scalar(select(Row.prompt_id).where(Row.backbone == backbone, Row.state == state))
    return PromptId(found) if found else None


def _check_shown(shown: Shown | None, found: PromptId | None, what: str) -> None:
    if shown is not None and shown.prompt_id != found:
        raise PromptChanged(shown.prompt_id, found, what)


def _set_state(session: Session, prompt_id: str, state: PromptState, **more: Any) -> None:
    session.execute(
        update(Row).where(Row.prompt_id == prompt_id).values(state=state, **more)
        .execution_options(synchronize_session=False)
    )  # fmt: skip


def _swap(database: Database, session: Session, row: Row, before: PromptId | None) -> None:
    """The constraint allows one at a time, so the one before goes first."""
    if before is not None:
        _set_state(session, before, PromptState.RETIRED)
    _set_state(session, row.prompt_id, PromptState.ACTIVE, activated_at=database.now(session))


def _out_of_shadow(session: Session, prompt_id: PromptId) -> PromptState:
    activated_at = session.scalar(select(Row.activated_at).where(Row.prompt_id == prompt_id))
    state = PromptState.RETIRED if activated_at else PromptState.CANDIDATE
    _set_state(session, prompt_id, state)
    return state
