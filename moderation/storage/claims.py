"""Claims: which worker may score which images, until when, and what came of it.

A row is free when it is pending, unclaimed and due. `take` claims free rows, `renew` keeps them, `settle` ends them in
one transaction, `expire` frees what a vanished worker held, `owed` finds rows no bell will reach. Every write checks
the claim's token, so a worker that comes back late changes nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select, update
from sqlalchemy.orm import Session

from moderation.domain.claim import Claim, ClaimedImage, Outcome, ScoredBy
from moderation.domain.submission import MAX_CRASHES, ImageId, State
from moderation.errors import RejectReason
from moderation.storage.database import Database
from moderation.storage.outcomes import storable, write_outcomes
from moderation.storage.submissions import ROWS_PER_STATEMENT, chunks
from moderation.storage.tables import SubmissionRow as Row

# Any number will do, as long as no other application takes it: "ANTI" in ASCII.
_SWEEP_LOCK = 0x414E5449
_CRASHED = f"{MAX_CRASHES} workers vanished with it, the last two with it alone"


class Claims:
    """The `submission` table, seen by those who do the work."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def suspects(self, image_ids: Collection[ImageId]) -> list[ImageId]:
        """Those of the ids that a worker vanished with before: they ride alone."""
        query = select(Row.image_id).where(Row.image_id.in_(image_ids), Row.state == State.PENDING, Row.crashes > 0)
        with self._database.read() as session:
            return [ImageId(image_id) for image_id in session.scalars(query)]

    def take(self, image_ids: Collection[ImageId], *, limit: int, lease_s: float) -> Claim | None:
        """Claims those of the ids that are free, topped up with other free rows to `limit`; None if there are none.

        Suspects are passed over. Others come by priority, then age. Rows another worker is claiming are skipped, not
        waited for.
        """
        with self._database.write() as session:
            now = self._database.now(session)
            fresh = and_(_free(now), Row.crashes == 0)
            chosen = list(_lock(session, select(Row.image_id).where(Row.image_id.in_(image_ids), fresh).limit(limit)))
            if len(chosen) < limit:
                others = select(Row.image_id).where(fresh, Row.image_id.not_in(chosen))
                chosen += _lock(session, others.order_by(*_order()).limit(limit - len(chosen)))
            return self._claim(session, chosen, now, lease_s)

    def take_alone(self, image_id: ImageId, *, lease_s: float) -> Claim | None:
        """Claims this one image, suspect or not; None if it is not free."""
        with self._database.write() as session:
            now = self._database.now(session)
            chosen = _lock(session, select(Row.image_id).where(Row.image_id == image_id, _free(now)))
            return self._claim(session, list(chosen), now, lease_s)

    def renew(self, tokens: Collection[str], *, lease_s: float) -> None:
        """Keeps the claims with these tokens for another `lease_s` seconds."""
        with self._database.write() as session:
            until = self._database.now(session) + timedelta(seconds=lease_s)
            # Rows being settled right now are locked and need no renewal.
            mine = select(Row.image_id).where(Row.claimed_by.in_(tokens)).with_for_update(skip_locked=True)
            session.execute(update(Row).where(Row.image_id.in_(mine)).values(lease_until=until))

    def settle(self, claim: Claim, outcomes: Sequence[Outcome], by: ScoredBy | None) -> list[ImageId]:
        """Writes what became of the claim's images, in one transaction. Returns the ids whose result was refused.

        Refused are images that this claim no longer holds: its lease ran out and another worker has them, or a forced
        re-submission began a new round. `by` may be None only when nothing was scored.
        """
        with self._database.write() as session:
            now = self._database.now(session)
            ids = [outcome.image.image_id for outcome in outcomes]
            holding = select(Row.image_id).where(Row.image_id.in_(ids), Row.claimed_by == claim.token)
            # Waits for a lock, in an order all keep: a row that is being renewed is still this claim's.
            order = self._database.byte_order(Row.image_id)
            held = set(session.scalars(holding.order_by(order).with_for_update()))
            mine = [outcome for outcome in outcomes if outcome.image.image_id in held]
            write_outcomes(self._database, session, mine, by, now)
            return [image_id for image_id in ids if image_id not in held]

    def give_back(self, claim: Claim) -> None:
        """Frees the claim's images untried, as if they had never been claimed; they are owed a bell."""
        freed = {"claimed_by": None, "lease_until": None, "enqueued_at": None, "attempts": Row.attempts - 1}
        with self._database.write() as session:
            session.execute(update(Row).where(Row.claimed_by == claim.token).values(freed))

    def abandon(self, claim: Claim, detail: str) -> None:
        """Ends the claim's lease now, as if its worker had vanished: an unexpected error may be one image's fault."""
        with self._database.write() as session:
            past = self._database.now(session) - timedelta(seconds=1)
            session.execute(
                update(Row).where(Row.claimed_by == claim.token).values(lease_until=past, detail=storable(detail))
            )

    def expire(self) -> tuple[int, int]:
        """Frees rows whose lease ran out and counts the crash. Returns how many were freed and how many given up."""
        crashes = Row.crashes + 1
        gone = crashes >= MAX_CRASHES
        with self._database.write() as session:
            if not self._alone(session):
                return 0, 0
            now = self._database.now(session)
            lapsed = select(Row.image_id).where(Row.claimed_by.is_not(None), Row.lease_until < now)
            statement = (
                update(Row)
                .where(Row.image_id.in_(lapsed.with_for_update(skip_locked=True)))
                .values(
                    claimed_by=None,
                    lease_until=None,
                    enqueued_at=None,
                    crashes=crashes,
                    state=case((gone, State.FAILED.value), else_=Row.state),
                    finished_at=case((gone, now), else_=Row.finished_at),
                    reason=case((gone, RejectReason.CRASHED.value), else_=Row.reason),
                    detail=case((gone & (Row.detail == ""), _CRASHED), else_=Row.detail),
                )
                .returning(Row.state)
            )
            states = session.scalars(statement, execution_options={"synchronize_session": False}).all()
        given_up = sum(state == State.FAILED for state in states)
        return len(states) - given_up, given_up

    def owed(self, *, ring_again_s: float, limit: int, suspects_limit: int) -> tuple[list[ImageId], list[ImageId]]:
        """Free rows not rung for lately, marked as rung now: (plain ones, suspects), at most so many of each."""
        with self._database.write() as session:
            if not self._alone(session):
                return [], []
            now = self._database.now(session)
            quiet = or_(Row.enqueued_at.is_(None), Row.enqueued_at < now - timedelta(seconds=ring_again_s))
            found: list[list[ImageId]] = []
            for suspicion, most in ((Row.crashes == 0, limit), (Row.crashes > 0, suspects_limit)):
                query = select(Row.image_id).where(_free(now), quiet, suspicion)
                chosen = _lock(session, query.order_by(*_order()).limit(most))
                for part in chunks(chosen, ROWS_PER_STATEMENT):
                    session.execute(update(Row).where(Row.image_id.in_(part)).values(enqueued_at=now))
                found.append([ImageId(image_id) for image_id in chosen])
            return found[0], found[1]

    def _alone(self, session: Session) -> bool:
        """Whether this worker is the one that sweeps now; SQLite's write lock says so by itself."""
        if self._database.is_sqlite:
            return True
        return bool(session.scalar(select(func.pg_try_advisory_xact_lock(_SWEEP_LOCK))))

    def _claim(self, session: Session, chosen: Sequence[str], now: datetime, lease_s: float) -> Claim | None:
        if not chosen:
            return None
        token = uuid.uuid4().hex
        statement = (
            update(Row)
            .where(Row.image_id.in_(chosen))
            .values(
                claimed_by=token,
                lease_until=now + timedelta(seconds=lease_s),
                attempts=Row.attempts + 1,
                enqueued_at=None,
                detail="",  # of the try before; what this one says must not be mixed with it
            )
            .returning(Row.image_id, Row.source, Row.round, Row.attempts, Row.submitted_at, Row.priority)
        )
        rows = session.execute(statement, execution_options={"synchronize_session": False})
        images = tuple(ClaimedImage(ImageId(row[0]), *row[1:]) for row in rows)
        return Claim(token, images, now)


def _free(now: datetime) -> ColumnElement[bool]:
    return and_(Row.state == State.PENDING, Row.claimed_by.is_(None), Row.not_before <= now)


def _order() -> tuple[ColumnElement[Any], ...]:
    return Row.priority.desc(), Row.submitted_at.asc(), Row.image_id.asc()


def _lock(session: Session, query: Select[str]) -> Sequence[str]:
    return session.scalars(query.with_for_update(skip_locked=True)).all()
