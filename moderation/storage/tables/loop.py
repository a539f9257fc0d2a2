"""The tables of the loop that closes: the frozen split, runs that retrain and rescore, canaries."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, LargeBinary, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from moderation.domain.submission import MAX_ID_CHARS
from moderation.storage.tables.base import Base, RowId


class HoldoutRow(Base):
    """On which side of the frozen split an image stands, for ever: 'train' or 'holdout'."""

    __tablename__ = "holdout"

    image_id: Mapped[str] = mapped_column(String(MAX_ID_CHARS), primary_key=True)
    side: Mapped[str] = mapped_column(String(8))
    drawn_at: Mapped[datetime]


class TrainingRunRow(Base):
    """One `modctl retrain`. `checkpoint` is the tuning's state after its last epoch, so that any worker can go on."""

    __tablename__ = "training_run"

    run_id: Mapped[int] = mapped_column(RowId, primary_key=True)
    state: Mapped[str] = mapped_column(String(16))
    backbone: Mapped[str] = mapped_column(Text)
    parent: Mapped[str] = mapped_column(ForeignKey("prompt.prompt_id"))
    config: Mapped[dict[str, Any]]
    manifest: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    manifest_sha256: Mapped[str] = mapped_column(String(64))
    progress: Mapped[dict[str, Any]]
    checkpoint: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    metrics: Mapped[dict[str, Any]]
    prompt_id: Mapped[str | None] = mapped_column(ForeignKey("prompt.prompt_id"))
    report: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    error: Mapped[str] = mapped_column(Text)
    attempts: Mapped[int]
    cancel_requested: Mapped[bool]
    claimed_by: Mapped[str | None] = mapped_column(String(64))
    lease_until: Mapped[datetime | None]
    enqueued_at: Mapped[datetime | None]
    actor: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        Index(
            "uq_training_run_open",
            "backbone",
            unique=True,
            sqlite_where=text("state IN ('queued', 'running')"),
            postgresql_where=text("state IN ('queued', 'running')"),
        ),
        Index("ix_training_run_prompt_id", "prompt_id"),
    )


class RescoreRunRow(Base):
    """One `modctl rescore`: which images, by which prompt, how far it is. `after` is the last image id done.

    `crashes` counts the workers that vanished at this place in a row, `alone` how many of the next images ride alone,
    `tries` how often none of the next images could be had. `applied` counts images whose verdict is now this run's.
    """

    __tablename__ = "rescore_run"

    run_id: Mapped[int] = mapped_column(RowId, primary_key=True)
    state: Mapped[str] = mapped_column(String(16))
    prompt_id: Mapped[str] = mapped_column(ForeignKey("prompt.prompt_id"))
    scope: Mapped[dict[str, Any]]
    rate: Mapped[float]
    images: Mapped[int]
    scored: Mapped[int]
    failed: Mapped[int]
    failures: Mapped[list[str]]
    after: Mapped[str] = mapped_column(String(MAX_ID_CHARS))
    crashes: Mapped[int]
    alone: Mapped[int]
    tries: Mapped[int]
    applied: Mapped[int]
    error: Mapped[str] = mapped_column(Text)
    claimed_by: Mapped[str | None] = mapped_column(String(64))
    lease_until: Mapped[datetime | None]
    not_before: Mapped[datetime]
    enqueued_at: Mapped[datetime | None]
    actor: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        Index(
            "uq_rescore_run_open",
            "prompt_id",
            unique=True,
            sqlite_where=text("state IN ('queued', 'running')"),
            postgresql_where=text("state IN ('queued', 'running')"),
        ),
    )


class CanaryRow(Base):
    """What a prompt says of the canary pictures on one kind of machine, as first seen."""

    __tablename__ = "canary"

    prompt_id: Mapped[str] = mapped_column(ForeignKey("prompt.prompt_id"), primary_key=True)
    backbone_revision: Mapped[str] = mapped_column(String(80), primary_key=True)
    device: Mapped[str] = mapped_column(String(16), primary_key=True)
    dtype: Mapped[str] = mapped_column(String(16), primary_key=True)
    pictures: Mapped[str] = mapped_column(String(64), primary_key=True)
    answers: Mapped[list[float]] = mapped_column(JSON)
    worker: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]


class ChoreRow(Base):
    """When a periodic task that is one worker's at a time was last taken on, and by whom."""

    __tablename__ = "chore"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    taken_at: Mapped[datetime]
    worker: Mapped[str] = mapped_column(Text)
