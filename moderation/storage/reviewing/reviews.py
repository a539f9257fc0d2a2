"""Reviews: what people did with tasks, appended in the transaction that ends the task and with its audit event."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, not_, select, update
from sqlalchemy import Row as Columns
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from moderation.domain.review import (
    Act,
    Answer,
    Evidence,
    Reason,
    Review,
    ReviewId,
    ReviewTask,
    Said,
    TaskId,
    TaskState,
)
from moderation.domain.submission import ImageId
from moderation.errors import LeaseLost, NothingToUndo
from moderation.storage import events
from moderation.storage.database import Database
from moderation.storage.events import By
from moderation.storage.reviewing.tasks import NewTask, domain, holding, open_tasks
from moderation.storage.submissions import chunks
from moderation.storage.tables import ReviewRow as Row
from moderation.storage.tables import ReviewTaskRow

IDS_PER_QUERY = 1000

FollowUp = Callable[[Sequence[Review], datetime], Sequence[NewTask]]
"""From all reviews of an image, the oldest first, and the time now, to the tasks that are to be opened."""


class Reviews:
    """The `review` table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def answer(self, task: ReviewTask, reviewer: str, said: Said, *, follow_up: FollowUp, reason: str = "") -> Review:
        """Stores the answer and ends the task. Raises LeaseLost, and then nothing was stored.

        `follow_up` is asked, in the same transaction, which tasks all reviews of the image now lead to.
        """
        with self._database.write() as session:
            now = self._database.now(session)
            # Answers to one image come one after the other: each sees all before it.
            ours = select(ReviewTaskRow.task_id).where(ReviewTaskRow.image_id == task.image_id)
            session.execute(ours.order_by(ReviewTaskRow.task_id).with_for_update())
            self._end(session, task, reviewer, now)
            row = _row(task, reviewer, Act.ANSWER, now, said=said)
            session.add(row)
            session.flush()
            open_tasks(self._database, session, follow_up(_of_image(session, task.image_id), now), now)
            payload = {"review": row.review_id, "task": task.task_id, "why": task.reason, "answer": said.answer}
            self._event(session, "review.answer", reviewer, reason or said.note, task, payload)
            if task.reason is Reason.APPEAL and said.answer is not Answer.UNSURE:
                kind = "appeal.overturned" if said.answer is Answer.REAL else "appeal.upheld"
                self._event(session, kind, reviewer, said.note, task, payload)
            return _domain(row)

    def skip(self, task: ReviewTask, reviewer: str) -> None:
        """Gives the task back, never to be offered to this reviewer again. Raises LeaseLost."""
        with self._database.write() as session:
            now = self._database.now(session)
            self._give_back(session, task, reviewer)
            session.add(_row(task, reviewer, Act.SKIP, now))

    def escalate(self, task: ReviewTask, reviewer: str, reason: str) -> None:
        """Hands the task up to the seniors. Raises LeaseLost."""
        with self._database.write() as session:
            now = self._database.now(session)
            self._give_back(session, task, reviewer, is_senior=True, detail=reason)
            session.add(_row(task, reviewer, Act.ESCALATE, now, note=reason))
            self._event(session, "review.escalate", reviewer, reason, task, {"task": task.task_id})

    def undo(
        self,
        reviewer: str,
        *,
        review_id: ReviewId | None = None,
        since: datetime | None = None,
        lease_s: float,
        reason: str = "",
    ) -> ReviewTask | None:
        """Takes back this reviewer's answer `review_id`, or their newest one (not older than `since`).

        The task is theirs again, leased; None where a newer task for the same image and reason is open already, and
        that one counts. Raises NothingToUndo.
        """
        with self._database.write() as session:
            now = self._database.now(session)
            answer = self._undoable(session, reviewer, review_id, since)
            task = session.get_one(ReviewTaskRow, answer.task_id, with_for_update=True)
            row = _row(domain(task), reviewer, Act.UNDO, now, undoes=ReviewId(answer.review_id))
            session.add(row)
            payload = {"review": answer.review_id, "task": answer.task_id, "answer": answer.answer}
            self._event(session, "review.undo", reviewer, reason, domain(task), payload)
            return _reopen(session, task, reviewer, now + timedelta(seconds=lease_s))

    def of_image(self, image_id: ImageId) -> list[Review]:
        """All that people did about this image, the oldest first."""
        with self._database.read() as session:
            return _of_image(session, image_id)

    def of_images(self, image_ids: Sequence[ImageId]) -> dict[ImageId, list[Review]]:
        """The same for many images; those without reviews are left out."""
        found: dict[ImageId, list[Review]] = defaultdict(list)
        with self._database.read() as session:
            for part in chunks(image_ids, IDS_PER_QUERY):
                for row in session.scalars(select(Row).where(Row.image_id.in_(part)).order_by(Row.review_id)):
                    found[ImageId(row.image_id)].append(_domain(row))
        return dict(found)

    def list(self, *, reviewer: str | None = None, since: datetime | None = None) -> list[Review]:
        """Reviews of one reviewer or of all, the oldest first."""
        query = select(Row).order_by(Row.review_id)
        if reviewer is not None:
            query = query.where(Row.reviewer == reviewer)
        if since is not None:
            query = query.where(Row.created_at >= since)
        with self._database.read() as session:
            return [_domain(row) for row in session.scalars(query)]

    def _end(self, session: Session, task: ReviewTask, reviewer: str, now: datetime) -> None:
        ended = {"state": TaskState.DONE, "closed_at": now, "claimed_by": None, "lease_until": None}
        _change(session, task, reviewer, ended)

    def _give_back(self, session: Session, task: ReviewTask, reviewer: str, **changes: object) -> None:
        _change(session, task, reviewer, {"claimed_by": None, "lease_until": None, **changes})

    def _event(
        self, session: Session, kind: str, actor: str, reason: str, task: ReviewTask, payload: Mapping[str, object]
    ) -> None:
        events.append(self._database, session, kind, By(actor, reason), image_id=task.image_id, payload=payload)

    def _undoable(self, session: Session, reviewer: str, review_id: ReviewId | None, since: datetime | None) -> Row:
        undo = aliased(Row)
        taken_back = select(undo.undoes).where(undo.undoes == Row.review_id).exists()
        query = select(Row).where(Row.reviewer == reviewer, Row.act == Act.ANSWER, not_(taken_back))
        if review_id is not None:
            query = query.where(Row.review_id == review_id)
        if since is not None:
            query = query.where(Row.created_at >= since)
        found = session.scalar(query.order_by(Row.review_id.desc()).limit(1))
        if found is None:
            named = f"answer {review_id} is not theirs, or was taken back" if review_id else "no answer to take back"
            raise NothingToUndo(reviewer, named)
        return found


def reviews_where(session: Session, condition: ColumnElement[bool]) -> Iterator[Review]:
    """Reviews, the oldest first; read by column, which for tens of thousands is several times faster."""
    table = Row.__table__.c
    for row in session.execute(select(*table).where(condition).order_by(Row.review_id)):
        yield _domain(row)


def _of_image(session: Session, image_id: ImageId) -> list[Review]:
    rows = session.scalars(select(Row).where(Row.image_id == image_id).order_by(Row.review_id))
    return [_domain(row) for row in rows]


def _change(session: Session, task: ReviewTask, reviewer: str, changes: dict[str, object]) -> None:
    statement = update(ReviewTaskRow).where(holding(task, reviewer))
    statement = statement.values(**changes, version=ReviewTaskRow.version + 1)
    if not session.execute(statement).rowcount:  # type: ignore[attr-defined]  # an UPDATE's result has one
        raise LeaseLost(task.task_id, task.image_id)


def _reopen(session: Session, task: ReviewTaskRow, reviewer: str, until: datetime) -> ReviewTask | None:
    try:
        with session.begin_nested():
            task.state, task.closed_at = TaskState.OPEN, None
            task.claimed_by, task.lease_until, task.version = reviewer, until, task.version + 1
            session.flush()
    except IntegrityError:
        return None
    return domain(task)


def _row(
    task: ReviewTask, reviewer: str, act: Act, now: datetime, *, said: Said | None = None, note: str = "",
    undoes: ReviewId | None = None,
) -> Row:  # fmt: skip
    return Row(
        task_id=task.task_id,
        image_id=task.image_id,
        reviewer=reviewer,
        act=act,
        answer=said.answer if said else None,
        evidence=list(said.evidence) if said else [],
        note=said.note if said else note,
        seconds=said.seconds if said else None,
        undoes=undoes,
        created_at=now,
    )


def _domain(row: Row | Columns[Any]) -> Review:
    return Review(
        review_id=ReviewId(row.review_id),
        task_id=TaskId(row.task_id),
        image_id=ImageId(row.image_id),
        reviewer=row.reviewer,
        act=Act(row.act),
        answer=Answer(row.answer) if row.answer else None,
        evidence=tuple(Evidence(each) for each in row.evidence),
        note=row.note,
        seconds=row.seconds,
        undoes=ReviewId(row.undoes) if row.undoes else None,
        created_at=row.created_at,
    )
