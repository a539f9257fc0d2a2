"""Side by side: images that two prompts have scored, whether the scores decided or were a shadow's."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import aliased

from moderation.domain.review import TaskId
from moderation.domain.side_by_side import Pair
from moderation.domain.submission import ImageId
from moderation.storage.database import Database
from moderation.storage.tables import ReviewTaskRow
from moderation.storage.tables import VerdictRow as Row


class SideBySide:
    """The `verdict` table, two prompts at a time. Shadow verdicts count here as much as those that decided."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def pairs(self, first: str, second: str, *, source: str | None = None, since: datetime | None = None) -> list[Pair]:
        """What the two prompts said of the same bytes, once an image: each prompt's newest score of them.

        since: both scored it later.
        """
        one, other = aliased(Row), aliased(Row)
        query = (
            select(one.image_id, one.source, one.probability, other.probability, one.image_sha256)
            .join(other, (other.image_id == one.image_id) & (other.image_sha256 == one.image_sha256))
            .where(one.verdict_id.in_(_newest(first, source, since)))
            .where(other.verdict_id.in_(_newest(second, source, since)))
            .order_by(one.verdict_id)
        )
        with self._database.read() as session:
            # An image whose bytes were changed has a pair of each; the newest counts.
            newest: dict[str, Any] = {row.image_id: row for row in session.execute(query)}
        return [Pair(ImageId(image_id), *values) for image_id, *values in newest.values()]

    def shown(self) -> dict[TaskId, str]:
        """Which bytes each review task is about; of gold that is not known."""
        query = select(ReviewTaskRow.task_id, Row.image_sha256).join(Row, Row.verdict_id == ReviewTaskRow.verdict_id)
        with self._database.read() as session:
            return {TaskId(task_id): sha256 for task_id, sha256 in session.execute(query)}


def _newest(prompt_id: str, source: str | None, since: datetime | None) -> Select[int]:
    query = select(func.max(Row.verdict_id)).where(Row.prompt_id == prompt_id)
    if source is not None:
        query = query.where(Row.source == source)
    if since is not None:
        query = query.where(Row.created_at >= since)
    return query.group_by(Row.image_id, Row.image_sha256)
