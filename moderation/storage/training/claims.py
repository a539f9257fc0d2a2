"""Training claims: which worker has a run until when, how far it is, and what came of it.

A run is taken under a lease and fenced by a token: whoever comes back after the lease was lost changes nothing. All
that a worker needs to go on lies in the row, so that any worker can.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import and_, or_, select, update
from sqlalchemy.orm import Session

from moderation.domain.prompt import PromptId, PromptRecord
from moderation.domain.training_run import MOST_ATTEMPTS, OPEN, RunId, RunState, TrainingRun
from moderation.errors import ConfigurationError, PromptChanged, PromptRefused
from moderation.storage import events
from moderation.storage.database import Database
from moderation.storage.events import SYSTEM, By
from moderation.storage.registry.prompts import register_in
from moderation.storage.registry.states import Shown, activate_in
from moderation.storage.tables import TrainingRunRow as Row
from moderation.storage.training.rows import domain, end_run

_LOST = f"{MOST_ATTEMPTS} workers vanished with it; their logs say why. It can be begun anew: modctl retrain"


@dataclass(frozen=True, slots=True)
class Held:
    """A run in a worker's hands."""

    token: str
    run: TrainingRun


@dataclass(frozen=True, slots=True)
class Standing:
    """How a worker stands to its run: whether it still holds it, and whether somebody wants it stopped."""

    is_held: bool
    is_cancelled: bool


class TrainingClaims:
    """The `training_run` table, seen by those who do the work."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, run_id: RunId, *, backbone: str, lease_s: float, worker: str = "") -> Held | None:
        """Takes the run; None where there is nothing to take.

        It may have ended, another may have it, or it may be of another backbone than this worker's. A run whose worker
        vanished is taken up again, MOST_ATTEMPTS times at most; then it is failed, and so ends one that was to stop.
        """
        with self._database.write() as session:
            now = self._database.now(session)
            row = session.get(Row, run_id, with_for_update=True)
            if row is None or row.state not in OPEN or row.backbone != backbone:
                return None
            if row.state == RunState.RUNNING and row.lease_until is not None and row.lease_until > now:
                return None
            if row.cancel_requested:
                end_run(self._database, session, row, RunState.CANCELLED, SYSTEM)
                return None
            if row.attempts >= MOST_ATTEMPTS:
                end_run(self._database, session, row, RunState.FAILED, SYSTEM, error=_LOST)
                return None
            row.state, row.claimed_by = RunState.RUNNING, uuid.uuid4().hex
            row.lease_until, row.enqueued_at = now + timedelta(seconds=lease_s), None
            row.attempts, row.started_at = row.attempts + 1, row.started_at or now
            payload = {"run": row.run_id, "attempt": row.attempts, "worker": worker}
            events.append(self._database, session, "training.start", SYSTEM, payload=payload)
            session.flush()
            return Held(row.claimed_by, domain(row))

    def renew(self, held: Held, *, lease_s: float) -> Standing:
        """Keeps the run for another `lease_s` seconds, if it is still held."""
        with self._database.write() as session:
            until = self._database.now(session) + timedelta(seconds=lease_s)
            statement = update(Row).where(*_holding(held)).values(lease_until=until).returning(Row.cancel_requested)
            found = session.scalar(statement, execution_options={"synchronize_session": False})
            return Standing(found is not None, bool(found))

    def progress(self, held: Held, progress: Mapping[str, Any]) -> None:
        """Says how far it is; nothing, if it is no longer held."""
        with self._database.write() as session:
            session.execute(update(Row).where(*_holding(held)).values(progress=dict(progress)))

    def keep_checkpoint(self, held: Held, checkpoint: bytes) -> bool:
        """Keeps the state that any worker can go on from. Returns whether the run is still held."""
        with self._database.write() as session:
            statement = update(Row).where(*_holding(held)).values(checkpoint=checkpoint).returning(Row.run_id)
            return session.scalar(statement, execution_options={"synchronize_session": False}) is not None

    def release(self, held: Held) -> None:
        """Gives the run back, as if this worker had never had it: it is owed a bell."""
        with self._database.write() as session:
            row = _locked(session, held)
            if row is not None:
                row.state, row.claimed_by, row.lease_until, row.enqueued_at = RunState.QUEUED, None, None, None
                row.attempts -= 1
                events.append(self._database, session, "training.release", SYSTEM, payload={"run": row.run_id})

    def fail(self, held: Held, error: str) -> bool:
        """Ends the run with this error. Returns whether it was still held."""
        return self._end_held(held, RunState.FAILED, error)

    def cancelled(self, held: Held) -> bool:
        """Ends the run that was asked to stop. Returns whether it was still held."""
        return self._end_held(held, RunState.CANCELLED)

    def finish(
        self,
        held: Held,
        candidate: Mapping[str, Any],
        *,
        passed: bool,
        metrics: Mapping[str, Any],
        report: bytes,
        reasons: tuple[str, ...],
        activate: bool,
    ) -> PromptRecord | None:
        """Registers the candidate and ends the run, together. None: it was no longer held, and nothing was written.

        candidate: what `register_in` takes, less manifest and parent, which are the run's. report: gzipped HTML.
        activate: where it passed and its parent, with which the gate compared it, is still the active prompt.
        """
        with self._database.write() as session:
            row = _locked(session, held)
            if row is None:
                return None
            by = By(row.actor, row.reason)
            values = {**candidate, "manifest": row.manifest, "parent": row.parent}
            record = register_in(self._database, session, values, by)
            row.prompt_id, row.metrics, row.report = record.prompt_id, {**row.metrics, **metrics}, report
            state = RunState.PASSED if passed else RunState.REFUSED
            end_run(self._database, session, row, state, by, {"prompt": record.prompt_id, "reasons": list(reasons)})
            if activate and passed:
                reason = f"{row.reason} (training run {row.run_id})"
                with suppress(PromptChanged, PromptRefused, ConfigurationError):  # then it stays a candidate
                    shown = Shown(PromptId(row.parent))
                    activate_in(self._database, session, record.prompt_id, shown=shown, by=By(row.actor, reason))
            return record

    def owed(self, *, ring_again_s: float) -> list[RunId]:
        """Runs that nobody has and that were not rung for lately; marked as rung now."""
        with self._database.write() as session:
            now = self._database.now(session)
            lapsed = and_(Row.state == RunState.RUNNING, Row.lease_until < now)
            quiet = or_(Row.enqueued_at.is_(None), Row.enqueued_at < now - timedelta(seconds=ring_again_s))
            query = select(Row.run_id).where(or_(Row.state == RunState.QUEUED, lapsed), quiet)
            found = session.scalars(query.with_for_update(skip_locked=True)).all()
            if found:
                session.execute(update(Row).where(Row.run_id.in_(found)).values(enqueued_at=now))
            return [RunId(run_id) for run_id in found]

    def rung(self, run_id: RunId) -> None:
        """Notes that a bell was sent for it."""
        with self._database.write() as session:
            now = self._database.now(session)
            session.execute(update(Row).where(Row.run_id == run_id).values(enqueued_at=now))

    def _end_held(self, held: Held, state: RunState, error: str = "") -> bool:
        with self._database.write() as session:
            row = _locked(session, held)
            if row is None:
                return False
            end_run(self._database, session, row, state, SYSTEM, error=error)
            return True


def _holding(held: Held) -> tuple[Any, ...]:
    return Row.run_id == held.run.run_id, Row.claimed_by == held.token, Row.state == RunState.RUNNING


def _locked(session: Session, held: Held) -> Row | None:
    return session.scalar(select(Row).where(*_holding(held)).with_for_update())
