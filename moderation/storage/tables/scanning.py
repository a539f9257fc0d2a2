"""The tables of the main job: submissions, images, prompts, policies, verdicts; and the audit trail."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from moderation.domain.submission import MAX_ID_CHARS
from moderation.storage.tables.base import Base, Bytes, RowId


class SubmissionRow(Base):
    """One image asked about. Free to claim: pending, `claimed_by` null and `not_before` past.

    `enqueued_at` is when its bell was last rung; null means that it is owed one.
    """

    __tablename__ = "submission"

    image_id: Mapped[str] = mapped_column(String(MAX_ID_CHARS), primary_key=True)
    source: Mapped[str] = mapped_column(String(200))
    uploader: Mapped[str] = mapped_column(String(200), server_default="")
    priority: Mapped[int]
    state: Mapped[str] = mapped_column(String(16))
    round: Mapped[int]
    attempts: Mapped[int]
    crashes: Mapped[int]
    claimed_by: Mapped[str | None] = mapped_column(String(64))
    lease_until: Mapped[datetime | None]
    not_before: Mapped[datetime]
    enqueued_at: Mapped[datetime | None]
    submitted_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    reason: Mapped[str] = mapped_column(String(64))
    detail: Mapped[str] = mapped_column(Text)

    __table_args__ = (
        Index(
            "ix_submission_pending",
            text("priority DESC"),
            "submitted_at",
            "image_id",  # a bulk submit gives thousands of rows one time; without it each claim would sort them
            sqlite_where=text("state = 'pending'"),
            postgresql_where=text("state = 'pending'"),
        ),
        Index(
            "ix_submission_leased",
            "lease_until",
            sqlite_where=text("claimed_by IS NOT NULL"),
            postgresql_where=text("claimed_by IS NOT NULL"),
        ),
        Index("ix_submission_state", "state", "finished_at"),
    )


class ImageRow(Base):
    """What was last seen under an image id; never its bytes. `pdq` is '' where it has no perceptual hash."""

    __tablename__ = "image"

    image_id: Mapped[str] = mapped_column(ForeignKey("submission.image_id"), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    width: Mapped[int]
    height: Mapped[int]
    format: Mapped[str] = mapped_column(String(16))
    bytes: Mapped[int] = mapped_column(BigInteger)
    pdq: Mapped[str] = mapped_column(String(64), server_default="")
    fetched_at: Mapped[datetime]


class PromptRow(Base):
    """A tuned pseudo-word: `blob` is its safetensors file, `sha256` that file's hash.

    `manifest` lists what it was tuned on (`domain.lesson`); null where that is not known.
    """

    __tablename__ = "prompt"

    prompt_id: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    blob: Mapped[bytes] = mapped_column(Bytes)
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    backbone: Mapped[str] = mapped_column(Text)
    backbone_revision: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(16))
    parent: Mapped[str | None] = mapped_column(ForeignKey("prompt.prompt_id"))
    question: Mapped[str] = mapped_column(Text)
    metrics: Mapped[dict[str, Any]]
    manifest: Mapped[bytes | None] = mapped_column(Bytes, deferred=True)
    created_at: Mapped[datetime]
    activated_at: Mapped[datetime | None]

    __table_args__ = tuple(
        Index(
            f"uq_prompt_{state}",
            "backbone",
            unique=True,
            sqlite_where=text(f"state = '{state}'"),
            postgresql_where=text(f"state = '{state}'"),
        )
        for state in ("active", "shadow")
    )


class PolicyRow(Base):
    """One version of a source's thresholds. Append-only; the newest of a source holds."""

    __tablename__ = "policy"

    policy_id: Mapped[int] = mapped_column(RowId, primary_key=True)
    source: Mapped[str] = mapped_column(String(200), index=True)
    review_at: Mapped[float]
    block_at: Mapped[float]
    audit_rate: Mapped[float]
    block_check_rate: Mapped[float]
    author: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    parent: Mapped[int | None] = mapped_column(ForeignKey("policy.policy_id"))
    created_at: Mapped[datetime]


class VerdictRow(Base):
    """One image scored by one prompt in one round. Append-only; a shadow's decides nothing.

    `scored_at` is when its prompt was read as the one in use, on the database's clock.
    """

    __tablename__ = "verdict"

    verdict_id: Mapped[int] = mapped_column(RowId, primary_key=True)
    image_id: Mapped[str] = mapped_column(ForeignKey("submission.image_id"))
    round: Mapped[int]
    prompt_id: Mapped[str] = mapped_column(ForeignKey("prompt.prompt_id"))
    policy_id: Mapped[int] = mapped_column(ForeignKey("policy.policy_id"))
    shadow: Mapped[bool]
    source: Mapped[str] = mapped_column(String(200))
    margin: Mapped[float]
    probability: Mapped[float]
    decision: Mapped[str] = mapped_column(String(8))
    image_sha256: Mapped[str] = mapped_column(String(64))
    backbone: Mapped[str] = mapped_column(Text)
    versions: Mapped[dict[str, Any]]
    latency_ms: Mapped[float]
    scored_at: Mapped[datetime | None]
    created_at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("image_id", "prompt_id", "shadow", "round", name="uq_verdict"),
        Index("ix_verdict_created", "created_at"),
        Index("ix_verdict_decision", "decision", "created_at"),
    )


class EventRow(Base):
    """One link of the audit trail. Append-only; `seq` has no gaps."""

    __tablename__ = "event"

    seq: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(40))
    actor: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    image_id: Mapped[str] = mapped_column(String(MAX_ID_CHARS), index=True)
    payload: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    prev_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))

    __table_args__ = (Index("ix_event_kind", "kind", "seq"),)


class EventHeadRow(Base):
    """Where the chain of events ends: one row, updated with each event, and locked by whoever appends."""

    __tablename__ = "event_head"

    name: Mapped[str] = mapped_column(String(8), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str] = mapped_column(String(64))
