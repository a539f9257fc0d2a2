"""Review tasks: the queue of people. A task is held under a lease, and its version fences whoever comes back late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, func, or_, select, text, update
from sqlalchemy.orm import Session

from moderation.domain.review import Reason, ReviewTask, TaskId, TaskState
from moderation.domain.submission import ImageId
from moderation.errors import LeaseLost
from moderation.storage import events
from moderation.storage.database import Database
from moderation.storage.events import By
from moderation.storage.reviewing.line import IS_FREE, ME, available, first, free, held
from moderation.storage.tables import ReviewTaskRow as Row


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task to be opened. Where one is open for the same image and reason already, it stays as it is."""

    image_id: ImageId
    reason: Reason
    source: str
    inclusion_probability: float
    priority: int
    probability: float | None
    verdict_id: int | None
    due_at: datetime
    detail: str = ""
    is_senior: bool = False


def open_tasks(database: Database, session: Session, tasks: Sequence[NewTask], now: datetime) -> None:
    """Adds tasks in `session`'s transaction."""
    if not tasks:
        return
    insert = database.insert(Row)
    where = text("state = 'open'")  # to the letter as the index has it, or PostgreSQL does not know it again
    session.execute(
        insert.on_conflict_do_nothing(index_elements=["image_id", "reason"], index_where=where),
        [_new(task, now) for task in tasks],
    )


class ReviewTasks:
    """The `review_task` table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self, tasks: Sequence[NewTask]) -> None:
        """Adds tasks in a transaction of their own."""
        with self._database.write() as session:
            open_tasks(self._database, session, tasks, self._database.now(session))

    def appeal(self, task: NewTask, *, by: By) -> bool:
        """Opens an appeal, with its event. False where one is open for this image already, and nothing was changed."""
        with self._database.write() as session:
            waiting = select(Row.task_id).where(
                Row.image_id == task.image_id, Row.reason == Reason.APPEAL, Row.state == TaskState.OPEN
            )
            if session.scalar(waiting) is not None:
                return False
            open_tasks(self._database, session, [task], self._database.now(session))
            payload = {"verdict": task.verdict_id, "priority": task.priority}
            events.append(self._database, session, "appeal.opened", by, image_id=task.image_id, payload=payload)
            return True

    def next(
        self, reviewer: str, *, is_senior: bool, lease_s: float, beside: ReviewTask | None = None
    ) -> ReviewTask | None:
        """Leases the reviewer a task: one they hold already, else the first in line that they may have; None: none.

        `beside` is not meant: what comes after it can be made ready while the reviewer is still at it. None where they
        no longer hold it: what came after it may be before them already, and a new lease would take it from there.
        Passed over are tasks that others hold, that were escalated above this reviewer, that they skipped, and images
        that they judged already, where other eyes are wanted. Gold is not in the line.
        """
        with self._database.write() as session:
            if beside is not None and _locked(session, beside, reviewer) is None:
                return None
            now = self._database.now(session)
            values = {"reviewer": reviewer, "now": now, "beside": beside.task_id if beside else 0}
            for query in (held(is_senior), free(is_senior)):
                row = session.scalar(query, values)
                if row is not None:
                    return _lease(session, row, reviewer, now + timedelta(seconds=lease_s))
            return None

    def take(self, image_id: ImageId, reviewer: str, *, is_senior: bool, lease_s: float) -> ReviewTask | None:
        """Leases the reviewer an open task of this image, the first that they may have; None if there is none."""
        with self._database.write() as session:
            now = self._database.now(session)
            query = first(is_senior, Row.image_id == image_id, or_(Row.claimed_by == ME, IS_FREE))
            row = session.scalar(query, {"reviewer": reviewer, "now": now})
            return None if row is None else _lease(session, row, reviewer, now + timedelta(seconds=lease_s))

    def renew(self, task: ReviewTask, reviewer: str, *, lease_s: float) -> None:
        """Keeps the task for another `lease_s` seconds. Raises LeaseLost."""
        with self._database.write() as session:
            until = self._database.now(session) + timedelta(seconds=lease_s)
            statement = update(Row).where(holding(task, reviewer)).values(lease_until=until)
            if not session.execute(statement).rowcount:  # type: ignore[attr-defined]  # an UPDATE's result has one
                raise LeaseLost(task.task_id, task.image_id)

    def release(self, task: ReviewTask, reviewer: str) -> None:
        """Gives the task back unanswered; does nothing where it is no longer theirs."""
        with self._database.write() as session:
            session.execute(
                update(Row)
                .where(holding(task, reviewer))
                .values(claimed_by=None, lease_until=None, version=Row.version + 1)
            )

    def release_all(self, reviewer: str) -> None:
        """Gives back whatever this reviewer holds."""
        with self._database.write() as session:
            theirs = (Row.state == TaskState.OPEN, Row.claimed_by == reviewer)
            session.execute(
                update(Row).where(*theirs).values(claimed_by=None, lease_until=None, version=Row.version + 1)
            )

    def left(self, reviewer: str, *, is_senior: bool, limit: int) -> int:
        """How many tasks this reviewer could have now, counted up to `limit`."""
        query = select(func.count()).select_from(available(is_senior).limit(limit).subquery())
        with self._database.read() as session:
            return session.scalar(query, {"reviewer": reviewer, "now": self._database.now(session)}) or 0

    def get(self, task_id: TaskId) -> ReviewTask | None:
        """The task, or None."""
        with self._database.read() as session:
            row = session.get(Row, task_id)
            return domain(row) if row else None

    def list(
        self,
        *,
        reason: Reason | None = None,
        image_id: ImageId | None = None,
        state: TaskState | None = TaskState.OPEN,
        limit: int | None = 100,
    ) -> list[ReviewTask]:
        """Tasks in the order in which they go out."""
        query = select(Row).order_by(Row.due_at, Row.task_id)
        if reason is not None:
            query = query.where(Row.reason == reason)
        if image_id is not None:
            query = query.where(Row.image_id == image_id)
        if state is not None:
            query = query.where(Row.state == state)
        with self._database.read() as session:
            return [domain(row) for row in session.scalars(query.limit(limit))]

    def open_counts(self) -> dict[Reason, int]:
        """How many tasks of each reason are open; gold does not count."""
        query = select(Row.reason, func.count()).where(Row.state == TaskState.OPEN, Row.reason != Reason.GOLD)
        with self._database.read() as session:
            found = dict(session.execute(query.group_by(Row.reason)).all())
        return {Reason(reason): count for reason, count in found.items()}

    def oldest_open(self) -> datetime | None:
        """When the oldest open task was made."""
        with self._database.read() as session:
            return session.scalar(
                select(func.min(Row.created_at)).where(Row.state == TaskState.OPEN, Row.reason != Reason.GOLD)
            )


def holding(task: ReviewTask, reviewer: str) -> ColumnElement[bool]:
    """Whether `reviewer` still holds `task` as it was handed out."""
    return and_(
        Row.task_id == task.task_id,
        Row.state == TaskState.OPEN,
        Row.claimed_by == reviewer,
        Row.version == task.version,
    )


def domain(row: Row) -> ReviewTask:
    """The row as the rest of the program knows it."""
    return ReviewTask(
        task_id=TaskId(row.task_id),
        image_id=ImageId(row.image_id),
        reason=Reason(row.reason),
        source=row.source,
        inclusion_probability=row.inclusion_probability,
        priority=row.priority,
        probability=row.probability,
        verdict_id=row.verdict_id,
        is_senior=row.is_senior,
        state=TaskState(row.state),
        claimed_by=row.claimed_by,
        lease_until=row.lease_until,
        version=row.version,
        detail=row.detail,
        created_at=row.created_at,
        due_at=row.due_at,
    )


def _locked(session: Session, task: ReviewTask, reviewer: str) -> int | None:
    """Keeps the task with this reviewer until the transaction is over; None where they no longer hold it."""
    return session.scalar(select(Row.task_id).where(holding(task, reviewer)).with_for_update())


def _lease(session: Session, row: Row, reviewer: str, until: datetime) -> ReviewTask:
    row.claimed_by, row.lease_until, row.version = reviewer, until, row.version + 1
    session.flush()
    return domain(row)


def _new(task: NewTask, now: datetime) -> dict[str, object]:
    return {
        "image_id": task.image_id,
        "reason": task.reason,
        "source": task.source,
        "inclusion_probability": task.inclusion_probability,
        "priority": task.priority,
        "probability": task.probability,
        "verdict_id": task.verdict_id,
        "is_senior": task.is_senior,
        "state": TaskState.OPEN,
        "claimed_by": None,
        "lease_until": None,
        "version": 0,
        "detail": task.detail,
        "created_at": now,
        "due_at": task.due_at,
        "closed_at": None,
    }
