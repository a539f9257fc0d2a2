"""New scores of stored images, as rows: shadow verdicts in the round of the verdict that they stand beside."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from moderation.domain.claim import ScoredBy
from moderation.domain.rescore import NewScore
from moderation.storage.database import Database
from moderation.storage.tables import VerdictRow


def write_scores(database: Database, session: Session, scores: Sequence[NewScore], by: ScoredBy, now: datetime) -> None:
    """Adds them in `session`'s transaction; one that is there already stays."""
    insert = database.insert(VerdictRow)
    session.execute(
        insert.on_conflict_do_nothing(index_elements=["image_id", "prompt_id", "shadow", "round"]),
        [_verdict(score, by, now) for score in scores],
    )


def _verdict(score: NewScore, by: ScoredBy, now: datetime) -> dict[str, object]:
    return {
        "image_id": score.image.image_id,
        "round": score.image.round,
        "prompt_id": by.prompt_id,
        "policy_id": score.policy_id,
        "shadow": True,
        "source": score.image.source,
        "margin": score.margin,
        "probability": score.probability,
        "decision": score.decision,
        "image_sha256": score.image.image_sha256,
        "backbone": by.backbone,
        "versions": by.versions,
        "latency_ms": score.latency_ms,
        "scored_at": by.scored_at,
        "created_at": now,
    }
