"""Verdicts, as read. They are written by `claims.settle`, in the transaction that ends a batch."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import and_, func, select

from moderation.domain.submission import ImageId, State
from moderation.domain.verdict import Decision, Verdict
from moderation.storage.database import Database
from moderation.storage.submissions import chunks
from moderation.storage.tables import SubmissionRow
from moderation.storage.tables import VerdictRow as Row

IDS_PER_QUERY = 1000


class Verdicts:
    """The `verdict` table. An image's verdict is its newest that is not a shadow's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def latest(self, image_ids: Sequence[ImageId]) -> dict[ImageId, Verdict]:
        """The newest verdict of each image that has one."""
        found: dict[ImageId, Verdict] = {}
        with self._database.read() as session:
            for part in chunks(image_ids, IDS_PER_QUERY):
                query = select(Row).where(Row.image_id.in_(part), Row.shadow.is_(False)).order_by(Row.verdict_id)
                found.update({ImageId(row.image_id): _domain(row) for row in session.scalars(query)})
        return found

    def latest_with_id(self, image_id: ImageId) -> tuple[int, Verdict] | None:
        """The image's newest verdict with its row's number."""
        query = select(Row).where(Row.image_id == image_id, Row.shadow.is_(False)).order_by(Row.verdict_id.desc())
        with self._database.read() as session:
            row = session.scalar(query.limit(1))
            return (row.verdict_id, _domain(row)) if row else None

    def list(
        self,
        *,
        image_id: ImageId | None = None,
        source: str | None = None,
        decision: Decision | None = None,
        since: datetime | None = None,
        limit: int | None = 100,
    ) -> list[Verdict]:
        """Verdicts that fit all that is given, the newest first; all rounds of an image, not only its newest."""
        query = select(Row).where(Row.shadow.is_(False)).order_by(Row.verdict_id.desc())
        if image_id is not None:
            query = query.where(Row.image_id == image_id)
        if source is not None:
            query = query.where(Row.source == source)
        if decision is not None:
            query = query.where(Row.decision == decision)
        if since is not None:
            query = query.where(Row.created_at >= since)
        with self._database.read() as session:
            return [_domain(row) for row in session.scalars(query.limit(limit))]

    def counts(self) -> dict[Decision, int]:
        """How many of the images that are done each decision holds for; one scored more than once counts once."""
        query = select(Row.decision, func.count()).group_by(Row.decision)
        query = query.join(
            SubmissionRow, and_(SubmissionRow.image_id == Row.image_id, SubmissionRow.round == Row.round)
        )
        query = query.where(Row.shadow.is_(False), SubmissionRow.state == State.DONE)
        with self._database.read() as session:
            found = dict(session.execute(query).all())
        return {decision: found.get(decision, 0) for decision in Decision}


def _domain(row: Row) -> Verdict:
    return Verdict(
        image_id=ImageId(row.image_id),
        source=row.source,
        round=row.round,
        decision=Decision(row.decision),
        probability=row.probability,
        margin=row.margin,
        backbone=row.backbone,
        prompt_id=row.prompt_id,
        policy_id=row.policy_id,
        shadow=row.shadow,
        image_sha256=row.image_sha256,
        versions=row.versions,
        latency_ms=row.latency_ms,
        created_at=row.created_at,
        scored_at=row.scored_at,
    )
