"""Submissions: writing what the platform asks, and reading where each image stands.

Who scores them, and under which lease, is the business of `claims`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, literal, select, true

from moderation.domain.submission import ImageId, State, Submission
from moderation.storage.database import Database
from moderation.storage.tables import SubmissionRow as Row

# PostgreSQL takes 65,535 parameters a statement.
ROWS_PER_STATEMENT = 1000


class Submissions:
    """The `submission` table, seen by those who ask."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        image_ids: Sequence[ImageId],
        *,
        source: str,
        priority: int,
        force: bool,
        uploader: str | Mapping[ImageId, str] = "",
    ) -> list[ImageId]:
        """Writes the ids as pending and returns those that were taken up, in order of first mention.

        Known ids are left as they are; with `force` they begin a new round, even while a worker holds them (its late
        result is then refused). uploader: who uploaded them all, or each one by its id; '' changes nothing.
        """
        unique = list(dict.fromkeys(image_ids))
        with self._database.write() as session:
            now = self._database.now(session)
            constants = _fresh(source, priority, now)
            columns = {name: literal(value, Row.__table__.c[name].type) for name, value in constants.items()}
            # In one order for all, so that no two submits lock each other out. `true()`: SQLite's grammar wants it.
            rows = select(*self._database.unnest_pairs(_with_uploaders(unique, uploader)), *columns.values()).where(
                true()
            )
            statement = self._database.insert(Row).from_select(["image_id", "uploader", *columns], rows)
            if force:
                renewed: dict[str, Any] = {name: statement.excluded[name] for name in constants}
                renewed["uploader"] = func.coalesce(func.nullif(statement.excluded.uploader, ""), Row.uploader)
                renewed["round"] = Row.round + 1
                statement = statement.on_conflict_do_update(index_elements=["image_id"], set_=renewed)
            else:
                statement = statement.on_conflict_do_nothing(index_elements=["image_id"])
            taken = set(session.scalars(statement.returning(Row.image_id)))
        return [image_id for image_id in unique if image_id in taken]

    def get(self, image_id: ImageId) -> Submission | None:
        """Where this image stands; None if nobody asked about it."""
        with self._database.read() as session:
            row = session.get(Row, image_id)
            return _domain(row) if row else None

    def list(
        self, *, state: State | None = None, source: str | None = None, limit: int | None = 100
    ) -> list[Submission]:
        """The newest submissions first."""
        query = select(Row).order_by(Row.submitted_at.desc(), Row.image_id)
        if state is not None:
            query = query.where(Row.state == state)
        if source is not None:
            query = query.where(Row.source == source)
        with self._database.read() as session:
            return [_domain(row) for row in session.scalars(query.limit(limit))]

    def counts(self) -> dict[str, int]:
        """How many images are waiting, claimed, done and failed; `retrying` of the waiting are held back."""
        free = Row.claimed_by.is_(None)
        pending = Row.state == State.PENDING
        with self._database.read() as session:
            now = self._database.now(session)
            filters = {
                "waiting": pending & free,
                "claimed": pending & ~free,
                "retrying": pending & free & (Row.not_before > now),
                "done": Row.state == State.DONE,
                "failed": Row.state == State.FAILED,
            }
            columns = [func.count().filter(condition).label(name) for name, condition in filters.items()]
            return dict(session.execute(select(*columns)).one()._mapping)

    def oldest_pending(self) -> datetime | None:
        """When the image that waits longest was submitted."""
        with self._database.read() as session:
            return session.scalar(select(func.min(Row.submitted_at)).where(Row.state == State.PENDING))

    def failures(self) -> dict[str, int]:
        """How many images failed for each reason."""
        query = select(Row.reason, func.count()).where(Row.state == State.FAILED).group_by(Row.reason)
        with self._database.read() as session:
            return dict(session.execute(query.order_by(Row.reason)).all())


def chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """`items` in runs of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _with_uploaders(image_ids: Sequence[ImageId], uploader: str | Mapping[ImageId, str]) -> dict[str, str]:
    """Each id, in order, with who uploaded it."""
    if isinstance(uploader, str):
        return dict.fromkeys(sorted(image_ids), uploader)
    return {image_id: uploader.get(image_id, "") for image_id in sorted(image_ids)}


def _fresh(source: str, priority: int, now: datetime) -> dict[str, Any]:
    return {
        "source": source,
        "priority": priority,
        "state": State.PENDING,
        "round": 1,
        "attempts": 0,
        "crashes": 0,
        "claimed_by": None,
        "lease_until": None,
        "not_before": now,
        "enqueued_at": now,
        "submitted_at": now,
        "finished_at": None,
        "reason": "",
        "detail": "",
    }


def _domain(row: Row) -> Submission:
    return Submission(
        image_id=ImageId(row.image_id),
        source=row.source,
        priority=row.priority,
        state=State(row.state),
        round=row.round,
        attempts=row.attempts,
        crashes=row.crashes,
        claimed=row.claimed_by is not None,
        submitted_at=row.submitted_at,
        not_before=row.not_before,
        finished_at=row.finished_at,
        reason=row.reason,
        detail=row.detail,
        uploader=row.uploader,
    )
