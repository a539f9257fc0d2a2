"""The tables of review: tasks, what people did with them, who they are, and images whose truth is known."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from moderation.domain.submission import MAX_ID_CHARS
from moderation.storage.tables.base import Base, RowId


class ReviewTaskRow(Base):
    """An image that a person is to look at. Free: open and not held under a lease.

    `image_id` is no foreign key: gold images need never have been submitted. `version` rises with every claim and end.
    """

    __tablename__ = "review_task"

    task_id: Mapped[int] = mapped_column(RowId, primary_key=True)
    image_id: Mapped[str] = mapped_column(String(MAX_ID_CHARS), index=True)
    reason: Mapped[str] = mapped_column(String(16))
    source: Mapped[str] = mapped_column(String(200))
    inclusion_probability: Mapped[float]
    priority: Mapped[int]
    probability: Mapped[float | None]
    verdict_id: Mapped[int | None] = mapped_column(ForeignKey("verdict.verdict_id"))
    is_senior: Mapped[bool]
    state: Mapped[str] = mapped_column(String(8))
    claimed_by: Mapped[str | None] = mapped_column(String(80))
    lease_until: Mapped[datetime | None]
    version: Mapped[int]
    detail: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
    due_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]

    __table_args__ = (
        Index(
            "uq_review_task_open",
            "image_id",
            "reason",
            unique=True,
            sqlite_where=text("state = 'open'"),
            postgresql_where=text("state = 'open'"),
        ),
        Index(
            "ix_review_task_due",
            "due_at",
            "task_id",
            sqlite_where=text("state = 'open'"),
            postgresql_where=text("state = 'open'"),
        ),
    )


class ReviewRow(Base):
    """What one person did with a task: an answer, a skip, an escalation or an undo. Append-only."""

    __tablename__ = "review"

    review_id: Mapped[int] = mapped_column(RowId, primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("review_task.task_id"), index=True)
    image_id: Mapped[str] = mapped_column(String(MAX_ID_CHARS), index=True)
    reviewer: Mapped[str] = mapped_column(String(80))
    act: Mapped[str] = mapped_column(String(8))
    answer: Mapped[str | None] = mapped_column(String(8))
    evidence: Mapped[list[str]]
    note: Mapped[str] = mapped_column(Text)
    seconds: Mapped[float | None]
    undoes: Mapped[int | None] = mapped_column(ForeignKey("review.review_id"))
    created_at: Mapped[datetime]

    __table_args__ = (Index("ix_review_reviewer", "reviewer", "created_at"),)


class ReviewerRow(Base):
    """A person who reviews. Of the token only its hash is kept; null: none was made, or it was taken back."""

    __tablename__ = "reviewer"

    name: Mapped[str] = mapped_column(String(80), primary_key=True)
    role: Mapped[str] = mapped_column(String(16))
    is_trusted: Mapped[bool]
    is_active: Mapped[bool]
    token_sha256: Mapped[str | None] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime]


class GoldRow(Base):
    """An image whose truth is known, mixed in unseen to measure reviewers."""

    __tablename__ = "gold"

    image_id: Mapped[str] = mapped_column(String(MAX_ID_CHARS), primary_key=True)
    truth: Mapped[str] = mapped_column(String(8))
    note: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
