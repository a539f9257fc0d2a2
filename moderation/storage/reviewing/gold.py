"""Gold: images whose truth is known. They are handed out unseen among the others and say how good a reviewer is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, exists, select, update

from moderation.domain.review import Act, Answer, Reason, ReviewTask, TaskState
from moderation.domain.submission import ImageId
from moderation.storage import events
from moderation.storage.database import Database
from moderation.storage.events import By
from moderation.storage.reviewing.tasks import NewTask, domain, open_tasks
from moderation.storage.submissions import chunks
from moderation.storage.tables import GoldRow, ReviewRow, ReviewTaskRow

_ROWS = 500
SOURCE = "gold"


class Gold:
    """The `gold` table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, truths: Mapping[ImageId, Answer], *, note: str, by: By) -> int:
        """Adds or corrects images with their truth, real or fake. Returns how many were new."""
        with self._database.write() as session:
            now = self._database.now(session)
            known = set(session.scalars(select(GoldRow.image_id)))
            insert = self._database.insert(GoldRow)
            statement = insert.on_conflict_do_update(
                index_elements=["image_id"], set_={"truth": insert.excluded.truth, "note": insert.excluded.note}
            )
            rows = [
                {"image_id": each, "truth": truth, "note": note, "created_at": now} for each, truth in truths.items()
            ]
            for part in chunks(rows, _ROWS):
                session.execute(statement, list(part))
            new = len(set(truths) - known)
            events.append(self._database, session, "gold.add", by, payload={"images": len(truths), "new": new})
            return new

    def remove(self, image_ids: Sequence[ImageId], *, by: By) -> int:
        """Takes these off the gold; what was said of them stays. Returns how many were on it."""
        open_gold = (ReviewTaskRow.reason == Reason.GOLD, ReviewTaskRow.state == TaskState.OPEN)
        ended = {"state": TaskState.DONE, "claimed_by": None, "lease_until": None, "version": ReviewTaskRow.version + 1}
        removed = 0
        with self._database.write() as session:
            for part in chunks(image_ids, _ROWS):
                found = session.execute(delete(GoldRow).where(GoldRow.image_id.in_(part)))
                removed += found.rowcount  # type: ignore[attr-defined]  # a DELETE's result has one
                session.execute(
                    update(ReviewTaskRow)
                    .where(ReviewTaskRow.image_id.in_(part), *open_gold)
                    .values(**ended, closed_at=self._database.now(session))
                )
            if removed:
                events.append(self._database, session, "gold.remove", by, payload={"images": removed})
        return removed

    def truths(self) -> dict[ImageId, Answer]:
        """Every gold image with its truth."""
        with self._database.read() as session:
            rows = session.execute(select(GoldRow.image_id, GoldRow.truth))
            return {ImageId(image_id): Answer(truth) for image_id, truth in rows}

    def unseen_by(self, reviewer: str, limit: int = 50) -> list[ImageId]:
        """Gold images this reviewer has neither answered nor skipped, the oldest first."""
        acts = (Act.ANSWER, Act.SKIP, Act.ESCALATE)
        seen = exists().where(
            ReviewRow.image_id == GoldRow.image_id, ReviewRow.reviewer == reviewer, ReviewRow.act.in_(acts)
        )
        query = select(GoldRow.image_id).where(~seen).order_by(GoldRow.created_at, GoldRow.image_id).limit(limit)
        with self._database.read() as session:
            return [ImageId(image_id) for image_id in session.scalars(query)]

    def hand_out(self, image_id: ImageId, reviewer: str, *, like: ReviewTask, lease_s: float) -> ReviewTask | None:
        """A gold task for this reviewer, leased; None where another reviewer is at this image right now.

        Source, priority and age are those of `like`, the task in whose place it comes: it must not stand out.
        """
        task = NewTask(image_id, Reason.GOLD, like.source, 1.0, like.priority, None, None, like.due_at)
        with self._database.write() as session:
            now = self._database.now(session)
            open_tasks(self._database, session, [task], now)
            query = select(ReviewTaskRow).where(
                ReviewTaskRow.image_id == image_id, ReviewTaskRow.reason == Reason.GOLD, ReviewTaskRow.state == "open"
            )
            row = session.scalar(query.with_for_update(skip_locked=True))
            if row is None or (row.claimed_by not in (None, reviewer) and _runs(row, now)):
                return None
            row.claimed_by, row.version = reviewer, row.version + 1
            row.lease_until = now + timedelta(seconds=lease_s)
            row.source, row.priority = like.source, like.priority
            row.created_at, row.due_at = like.created_at, like.due_at
            session.flush()
            return domain(row)


def _runs(row: ReviewTaskRow, now: datetime) -> bool:
    return row.lease_until is not None and row.lease_until >= now
