"""Training runs as rows: how one begins and ends, and what the rest of the program knows of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from moderation.domain.prompt import PromptId
from moderation.domain.training_run import RunConfig, RunId, RunState, TrainingRun
from moderation.errors import ConfigurationError
from moderation.storage import events
from moderation.storage.database import Database
from moderation.storage.events import By
from moderation.storage.tables import TrainingRunRow as Row


def new_row(
    backbone: str,
    parent: PromptId,
    config: RunConfig,
    manifest: bytes,
    manifest_sha256: str,
    counts: Mapping[str, Any],
    by: By,
    now: datetime,
) -> Row:
    """A queued run."""
    return Row(
        state=RunState.QUEUED,
        backbone=backbone,
        parent=parent,
        config=config.to_json(),
        manifest=manifest,
        manifest_sha256=manifest_sha256,
        progress={},
        checkpoint=None,
        metrics={"counts": dict(counts)},
        prompt_id=None,
        report=None,
        error="",
        attempts=0,
        cancel_requested=False,
        claimed_by=None,
        lease_until=None,
        enqueued_at=None,
        actor=by.actor,
        reason=by.reason,
        created_at=now,
        started_at=None,
        finished_at=None,
    )


def end_run(
    database: Database,
    session: Session,
    row: Row,
    state: RunState,
    by: By,
    payload: Mapping[str, Any] | None = None,
    error: str = "",
) -> None:
    """Ends the run in `session`'s transaction, with its event. What was kept to go on from is dropped."""
    row.state, row.error, row.finished_at = state, error, database.now(session)
    row.claimed_by, row.lease_until, row.checkpoint = None, None, None
    told = {"run": row.run_id, **(payload or {}), **({"error": error} if error else {})}
    events.append(database, session, f"training.{state}", by, payload=told)


def domain(row: Row) -> TrainingRun:
    """The row as the rest of the program knows it."""
    return TrainingRun(
        run_id=RunId(row.run_id),
        state=RunState(row.state),
        backbone=row.backbone,
        parent=PromptId(row.parent),
        config=RunConfig.from_json(row.config),
        manifest_sha256=row.manifest_sha256,
        progress=row.progress,
        metrics=row.metrics,
        prompt_id=PromptId(row.prompt_id) if row.prompt_id else None,
        error=row.error,
        attempts=row.attempts,
        cancel_requested=row.cancel_requested,
        lease_until=row.lease_until,
        actor=row.actor,
        reason=row.reason,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )


def unknown(run_id: RunId) -> ConfigurationError:
    """The error for a number that no run has."""
    return ConfigurationError(f"run {run_id}", "there is none of this number", hint="see: modctl retrain status")
