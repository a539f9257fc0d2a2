"""Rescoring runs: who asked for which, how far they are, and which worker has one until when.

One worker at a time scores for a run, a batch under a lease. Its scores, the run's progress and the moment at which the
next batch is due are one transaction; so lost, doubled and late bells change nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from moderation.domain.prompt import PromptId, PromptState
from moderation.domain.rescore import OPEN, RescoreId, RescoreRun, RescoreScope, RescoreState
from moderation.errors import ConfigurationError
from moderation.storage import events
from moderation.storage.database import Database
from moderation.storage.events import SYSTEM, By
from moderation.storage.rescoring.scope import OLD, in_scope, lacks_score
from moderation.storage.tables import PromptRow, SubmissionRow
from moderation.storage.tables import RescoreRunRow as Row

_ANEW = "begin anew: modctl rescore"


class Rescores:
    """The `rescore_run` table, seen by those who ask."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, prompt_id: PromptId, scope: RescoreScope, *, rate: float, by: By) -> RescoreRun:
        """Adds a run of the active prompt with its event: queued, or done where no image lacks a score.

        An open run of a prompt that is active no more is ended. Raises ConfigurationError where one of this prompt is
        open, or where the prompt is not active.
        """
        try:
            with self._database.write() as session:
                self._check_active(session, prompt_id)
                images = _count_lacking(self._database, session, scope, prompt_id)
                now = self._database.now(session)
                row = _new(prompt_id, scope, rate, images, by, now)
                session.add(row)
                session.flush()
                payload = {
                    "run": row.run_id, "prompt": prompt_id, "scope": scope.to_json(), "rate": rate, "images": images,
                }  # fmt: skip
                events.append(self._database, session, "rescore.begin", by, payload=payload)
                return domain(row, now)
        except IntegrityError:
            with self._database.read() as session:
                other = session.scalar(select(Row.run_id).where(Row.prompt_id == prompt_id, Row.state.in_(OPEN)))
            if other is None:
                raise
            raise ConfigurationError(
                "rescore",
                f"run {other} is under way, and there is one at a time",
                hint=f"pick it up: modctl rescore status {other} --watch; or end it: modctl rescore cancel {other}",
            ) from None

    def get(self, run_id: RescoreId) -> RescoreRun:
        """The run of this number. Raises ConfigurationError."""
        with self._database.read() as session:
            row = session.get(Row, run_id)
            if row is None:
                raise ConfigurationError("run", f"there is no {run_id}", hint="see: modctl rescore status")
            return domain(row, self._database.now(session))

    def list(
        self, *, prompt_id: PromptId | None = None, only_open: bool = False, limit: int | None = 20
    ) -> list[RescoreRun]:
        """Runs, or those of one prompt, the newest first. only_open: those that have not ended."""
        query = select(Row).order_by(Row.run_id.desc()).limit(limit)
        if prompt_id is not None:
            query = query.where(Row.prompt_id == prompt_id)
        if only_open:
            query = query.where(Row.state.in_(OPEN))
        with self._database.read() as session:
            now = self._database.now(session)
            return [domain(row, now) for row in session.scalars(query)]

    def lacking(self, scope: RescoreScope, prompt_id: PromptId) -> int:
        """How many images of the scope have no score of this prompt yet."""
        with self._database.read() as session:
            return _count_lacking(self._database, session, scope, prompt_id)

    def cancel(self, run_id: RescoreId, by: By) -> RescoreRun:
        """Ends an open run, with its event; scores that are there stay. Raises ConfigurationError."""
        with self._database.write() as session:
            row = session.get(Row, run_id, with_for_update=True)
            if row is None or row.state not in OPEN:
                problem = f"there is no {run_id}" if row is None else f"{run_id} is not under way, it is {row.state}"
                raise ConfigurationError("run", problem, hint="see: modctl rescore status")
            end(self._database, session, row, RescoreState.CANCELLED, by)
            session.flush()
            return domain(row, self._database.now(session))

    def _check_active(self, session: Session, prompt_id: PromptId) -> None:
        """One begin at a time, and no activation meanwhile: both lock the prompt's row."""
        backbone, state = session.execute(
            select(PromptRow.backbone, PromptRow.state)
            .where(PromptRow.prompt_id == prompt_id)
            .with_for_update(key_share=True)
        ).one()
        if state != PromptState.ACTIVE:
            raise ConfigurationError("prompt", f"{prompt_id} is not the active one of {backbone} any more", hint=_ANEW)
        stale = select(Row).join(PromptRow, PromptRow.prompt_id == Row.prompt_id)
        stale = stale.where(PromptRow.backbone == backbone, Row.prompt_id != prompt_id, Row.state.in_(OPEN))
        for row in session.scalars(stale.order_by(Row.run_id).with_for_update(of=Row)):
            end(self._database, session, row, RescoreState.FAILED, SYSTEM, error=changed_prompt(row.prompt_id))


def changed_prompt(prompt_id: str) -> str:
    """Why a run ends whose prompt is not active any more."""
    return f"{prompt_id}, whose scores it made, is not the active prompt any more; {_ANEW}"


def end(database: Database, session: Session, row: Row, state: RescoreState, by: By, *, error: str = "") -> None:
    """Ends the run in `session`'s transaction, with its event."""
    row.state, row.error, row.finished_at = state, error, database.now(session)
    row.claimed_by, row.lease_until, row.enqueued_at = None, None, None
    kind = {RescoreState.DONE: "rescore.done", RescoreState.CANCELLED: "rescore.cancel"}.get(state, "rescore.end")
    payload: dict[str, Any] = {
        "run": row.run_id, "prompt": row.prompt_id, "images": row.images, "scored": row.scored, "failed": row.failed,
    }  # fmt: skip
    if error:
        payload["error"] = error
    events.append(database, session, kind, by, payload=payload)


def domain(row: Row, now: datetime) -> RescoreRun:
    """The row as the rest of the program knows it."""
    return RescoreRun(
        run_id=RescoreId(row.run_id),
        state=RescoreState(row.state),
        prompt_id=PromptId(row.prompt_id),
        scope=RescoreScope.from_json(row.scope),
        rate=row.rate,
        images=row.images,
        scored=row.scored,
        failed=row.failed,
        failures=tuple(row.failures),
        applied=row.applied,
        error=row.error,
        is_claimed=row.claimed_by is not None and row.lease_until is not None and row.lease_until > now,
        not_before=row.not_before,
        actor=row.actor,
        reason=row.reason,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )


def _count_lacking(database: Database, session: Session, scope: RescoreScope, prompt_id: PromptId) -> int:
    query = select(func.count()).select_from(SubmissionRow, OLD)
    return session.scalar(query.where(*in_scope(database, scope, prompt_id), lacks_score(prompt_id))) or 0


def _new(prompt_id: PromptId, scope: RescoreScope, rate: float, images: int, by: By, now: datetime) -> Row:
    return Row(
        state=RescoreState.QUEUED if images else RescoreState.DONE,
        prompt_id=prompt_id,
        scope=scope.to_json(),
        rate=rate,
        images=images,
        scored=0,
        failed=0,
        failures=[],
        after="",
        crashes=0,
        alone=0,
        tries=0,
        applied=0,
        error="",
        claimed_by=None,
        lease_until=None,
        not_before=now,
        enqueued_at=now,
        actor=by.actor,
        reason=by.reason,
        created_at=now,
        finished_at=None if images else now,
    )
