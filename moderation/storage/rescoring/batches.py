"""Batches of a rescoring run, seen by those who do the work: taken under a lease, ended with what came of them.

A batch that a worker vanished with comes again one image after the other, so that one that kills its worker is found
and passed over. Every write checks the batch's token: a worker that comes back late changes nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import and_, or_, select, update
from sqlalchemy.orm import Session

from moderation.domain.claim import ScoredBy
from moderation.domain.prompt import PromptState
from moderation.domain.rescore import (
    BATCH,
    EARLY_S,
    LONGEST_BELL_S,
    MOST_FAILURES,
    OPEN,
    NewScore,
    RescoreBatch,
    RescoreId,
    RescoreScope,
    RescoreState,
    ToRescore,
    images_at_once,
    next_due,
)
from moderation.domain.submission import MAX_CRASHES, ImageId
from moderation.errors import RejectReason
from moderation.storage.database import Database
from moderation.storage.events import SYSTEM
from moderation.storage.outcomes import storable
from moderation.storage.rescoring.runs import changed_prompt, domain, end
from moderation.storage.rescoring.scope import OLD, in_scope, lacks_score
from moderation.storage.rescoring.scores import write_scores
from moderation.storage.tables import PromptRow, SubmissionRow
from moderation.storage.tables import RescoreRunRow as Row

_CRASHED = f"{RejectReason.CRASHED}: {MAX_CRASHES} workers vanished with it, the last two with it alone"


class RescoreBatches:
    """The `rescore_run` table, seen by workers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, run_id: RescoreId, *, batch_size: int, lease_s: float) -> RescoreBatch | None:
        """The next images of the run, in the order of their ids; None where there is nothing to do now.

        That is so while another worker has the run or the next batch is not due, and once the run has ended. It ends
        here: when no image is left, or when its prompt is not active any more.
        """
        with self._database.write() as session:
            row = session.get(Row, run_id, with_for_update=True)
            now = self._database.now(session)
            if row is None or row.state not in OPEN or not _is_free(row, now):
                return None
            if (
                session.scalar(select(PromptRow.state).where(PromptRow.prompt_id == row.prompt_id))
                != PromptState.ACTIVE
            ):
                end(self._database, session, row, RescoreState.FAILED, SYSTEM, error=changed_prompt(row.prompt_id))
                return None
            if row.claimed_by is not None:  # its lease ran out
                row.crashes, row.alone = row.crashes + 1, row.alone or BATCH
            else:
                row.error = ""  # what it waited for
            images = self._next(session, row, batch_size)
            if not images:
                end(self._database, session, row, RescoreState.DONE, SYSTEM)
                return None
            row.state, row.claimed_by = RescoreState.RUNNING, uuid.uuid4().hex
            row.lease_until, row.enqueued_at = now + timedelta(seconds=lease_s), now
            session.flush()
            return RescoreBatch(row.claimed_by, domain(row, now), tuple(images), row.alone > 0, row.tries, now)

    def renew(self, tokens: Collection[str], *, lease_s: float) -> None:
        """Keeps the batches with these tokens for another `lease_s` seconds."""
        with self._database.write() as session:
            until = self._database.now(session) + timedelta(seconds=lease_s)
            session.execute(update(Row).where(Row.claimed_by.in_(tokens)).values(lease_until=until))

    def settle(
        self, batch: RescoreBatch, scores: Sequence[NewScore], failures: Sequence[str], by: ScoredBy | None
    ) -> float | None:
        """Stores what became of the batch; returns in how many seconds the next one is due, None where it was refused.

        Refused is a batch that is this worker's no longer. failures: a line for each image that can't be scored.
        `by` may be None only when nothing was scored.
        """
        with self._database.write() as session:
            row = _held(session, batch)
            if row is None:
                return None
            now = self._database.now(session)
            if scores and by is not None:
                write_scores(self._database, session, scores, by, now)
            row.scored += len(scores)
            _count_failures(row, failures)
            row.after, row.tries, row.error = batch.images[-1].image_id, 0, ""
            row.alone = max(0, row.alone - 1)
            row.crashes = 1 if row.alone else 0
            return _free(row, next_due(row.not_before, batch.taken_at, len(batch.images), row.rate), now)

    def postpone(self, batch: RescoreBatch, delay_s: float, why: str, *, is_try: bool) -> float | None:
        """Gives the batch back, to be taken up in `delay_s` seconds. is_try: its images could not be had."""
        with self._database.write() as session:
            row = _held(session, batch)
            if row is None:
                return None
            now = self._database.now(session)
            row.tries, row.error = row.tries + is_try, storable(why)
            return _free(row, now + timedelta(seconds=delay_s), now)

    def give_back(self, batch: RescoreBatch) -> None:
        """Frees the run as if the batch had never been taken; it is owed a bell."""
        freed = {"claimed_by": None, "lease_until": None, "enqueued_at": None}
        with self._database.write() as session:
            session.execute(update(Row).where(Row.claimed_by == batch.token).values(freed))

    def abandon(self, batch: RescoreBatch, detail: str) -> None:
        """Ends the lease now, as if the worker had vanished: an unexpected error may be one image's fault."""
        with self._database.write() as session:
            past = self._database.now(session) - timedelta(seconds=1)
            changes = {"lease_until": past, "error": storable(detail)}
            session.execute(update(Row).where(Row.claimed_by == batch.token).values(changes))

    def are_open(self) -> bool:
        """Whether there is any open run; a look that locks nothing."""
        with self._database.read() as session:
            return session.scalar(select(Row.run_id).where(Row.state.in_(OPEN)).limit(1)) is not None

    def owed(self, *, ring_again_s: float) -> list[RescoreId]:
        """Runs that are due, that nobody works on and that no bell was rung for lately; marked as rung now."""
        with self._database.write() as session:
            now = self._database.now(session)
            before = now - timedelta(seconds=ring_again_s)
            free = or_(Row.claimed_by.is_(None), Row.lease_until < now)
            quiet = or_(Row.enqueued_at.is_(None), and_(Row.enqueued_at < before, Row.not_before < before))
            query = select(Row).where(Row.state.in_(OPEN), free, quiet, Row.not_before <= now)
            rows = session.scalars(query.order_by(Row.run_id).with_for_update(skip_locked=True)).all()
            for row in rows:
                row.enqueued_at = now
            return [RescoreId(row.run_id) for row in rows]

    def _next(self, session: Session, row: Row, batch_size: int) -> list[ToRescore]:
        scope = RescoreScope.from_json(row.scope)
        limit = 1 if row.alone else images_at_once(row.rate, batch_size)
        columns = (SubmissionRow.image_id, OLD.source, OLD.round, OLD.image_sha256, SubmissionRow.submitted_at)
        while True:
            # In the order that the database sorts by, whichever it is: so its index leads, and pages never overlap.
            query = select(*columns).where(*in_scope(self._database, scope, row.prompt_id), lacks_score(row.prompt_id))
            query = query.where(SubmissionRow.image_id > row.after).order_by(SubmissionRow.image_id).limit(limit)
            images = [ToRescore(ImageId(found[0]), *found[1:]) for found in session.execute(query)]
            if not images or row.crashes < MAX_CRASHES:
                return images
            _count_failures(row, [f"{images[0].image_id}: {row.error or _CRASHED}"])
            row.after, row.crashes, row.error = images[0].image_id, 1, ""


def _is_free(row: Row, now: datetime) -> bool:
    if row.claimed_by is not None and row.lease_until is not None and row.lease_until > now:
        return False
    return row.not_before <= now + timedelta(seconds=EARLY_S)


def _held(session: Session, batch: RescoreBatch) -> Row | None:
    return session.scalar(
        select(Row).where(Row.run_id == batch.run.run_id, Row.claimed_by == batch.token).with_for_update()
    )


def _free(row: Row, due: datetime, now: datetime) -> float:
    """Gives the run back until it is due; a bell is rung for it then, or by the sweep where that is far off."""
    delay_s = max(0.0, (due - now).total_seconds())
    row.claimed_by, row.lease_until, row.not_before = None, None, due
    row.enqueued_at = now if delay_s <= LONGEST_BELL_S else None
    return delay_s


def _count_failures(row: Row, failures: Sequence[str]) -> None:
    row.failed += len(failures)
    row.failures = [*row.failures, *map(storable, failures)][:MOST_FAILURES]
