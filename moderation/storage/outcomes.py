"""What became of a batch, as rows: verdicts, what was seen of each image, and how each submission ended.

Called by `Claims.settle`, inside its transaction and after it has made sure that the claim still holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import Table, Update, bindparam, select
from sqlalchemy.orm import Session

from moderation.domain.claim import Outcome, Postponed, Rejected, Scored, ScoredBy, ShadowScore
from moderation.domain.order import due_at
from moderation.domain.submission import State
from moderation.storage.database import Database
from moderation.storage.reviewing.tasks import NewTask, open_tasks
from moderation.storage.tables import ImageRow, SubmissionRow, VerdictRow


def write_outcomes(
    database: Database, session: Session, outcomes: Sequence[Outcome], by: ScoredBy | None, now: datetime
) -> None:
    """Writes the outcomes. `by` may be None only when nothing was scored; else ValueError."""
    scored = [outcome for outcome in outcomes if isinstance(outcome, Scored)]
    if scored:
        if by is None:
            raise ValueError("scores without the prompt that made them")
        _write_scores(database, session, scored, by, now)
    if outcomes:
        session.connection().execute(_end_statement(), [_ending(outcome, now) for outcome in outcomes])


def storable(detail: str) -> str:
    """`detail` without what PostgreSQL refuses in a text: NUL and halves of surrogate pairs become '?'.

    It may quote a stranger's file, which must not sink the batch it came in.
    """
    return detail.encode("utf-8", "replace").decode("utf-8").replace("\0", "?")


def _write_scores(database: Database, session: Session, scored: Sequence[Scored], by: ScoredBy, now: datetime) -> None:
    seen = database.insert(ImageRow)
    names = ("sha256", "width", "height", "format", "bytes", "pdq", "fetched_at")
    renewed = {name: seen.excluded[name] for name in names}
    session.execute(
        seen.on_conflict_do_update(index_elements=["image_id"], set_=renewed),
        [_image(outcome, now) for outcome in scored],
    )
    verdicts = database.insert(VerdictRow)
    session.execute(
        verdicts.on_conflict_do_nothing(index_elements=["image_id", "prompt_id", "shadow", "round"]),
        [_verdict(outcome, by, now) for outcome in scored]
        + [_verdict(outcome, outcome.shadow.by, now, outcome.shadow) for outcome in scored if outcome.shadow],
    )
    drawn = [outcome for outcome in scored if outcome.drawn is not None]
    if drawn:
        open_tasks(database, session, _tasks(session, drawn, by, now), now)


def _tasks(session: Session, drawn: Sequence[Scored], by: ScoredBy, now: datetime) -> list[NewTask]:
    ids = [outcome.image.image_id for outcome in drawn]
    query = select(VerdictRow.image_id, VerdictRow.round, VerdictRow.verdict_id)
    query = query.where(
        VerdictRow.image_id.in_(ids), VerdictRow.prompt_id == by.prompt_id, VerdictRow.shadow.is_(False)
    )
    verdicts = {(image_id, number): verdict_id for image_id, number, verdict_id in session.execute(query)}
    return [
        NewTask(
            image_id=outcome.image.image_id,
            reason=outcome.drawn.reason,
            source=outcome.image.source,
            inclusion_probability=outcome.drawn.inclusion_probability,
            priority=outcome.image.priority,
            probability=outcome.probability,
            verdict_id=verdicts[outcome.image.image_id, outcome.image.round],
            due_at=due_at(now, outcome.drawn.uncertainty, outcome.image.priority),
        )
        for outcome in drawn
        if outcome.drawn is not None
    ]


def _end_statement() -> Update:
    table = cast("Table", SubmissionRow.__table__)
    names = ("state", "not_before", "enqueued_at", "finished_at", "reason", "detail")
    return (
        table.update()
        .where(table.c.image_id == bindparam("id"))
        .values(claimed_by=None, lease_until=None, **{name: bindparam(f"new_{name}") for name in names})
    )


def _ending(outcome: Outcome, now: datetime) -> dict[str, object]:
    ending = {"not_before": now, "enqueued_at": None, "finished_at": now, "reason": "", "detail": ""}
    match outcome:
        case Scored():
            ending |= {"state": State.DONE}
        case Rejected(_, reason, detail):
            ending |= {"state": State.FAILED, "reason": reason, "detail": storable(detail)}
        case Postponed(_, delay_s, detail):
            later = now + timedelta(seconds=delay_s)
            ending |= {"state": State.PENDING, "not_before": later, "finished_at": None, "detail": storable(detail)}
    return {"id": outcome.image.image_id} | {f"new_{name}": value for name, value in ending.items()}


def _image(outcome: Scored, now: datetime) -> dict[str, object]:
    facts = outcome.facts
    return {
        "image_id": outcome.image.image_id,
        "sha256": facts.sha256,
        "width": facts.width,
        "height": facts.height,
        "format": facts.format,
        "bytes": facts.bytes,
        "pdq": facts.pdq,
        "fetched_at": now,
    }


def _verdict(outcome: Scored, by: ScoredBy, now: datetime, shadow: ShadowScore | None = None) -> dict[str, object]:
    said = shadow or outcome
    return {
        "image_id": outcome.image.image_id,
        "round": outcome.image.round,
        "prompt_id": by.prompt_id,
        "policy_id": outcome.policy_id,
        "shadow": shadow is not None,
        "source": outcome.image.source,
        "margin": said.margin,
        "probability": said.probability,
        "decision": said.decision,
        "image_sha256": outcome.facts.sha256,
        "backbone": by.backbone,
        "versions": by.versions,
        "latency_ms": outcome.latency_ms,
        "scored_at": by.scored_at,
        "created_at": now,
    }
