"""Review: tasks, reviews, reviewers, gold, and the audit trail."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
OPEN = sa.text("state = 'open'")


def upgrade() -> None:
    op.create_table(
        "review_task",
        sa.Column("task_id", ROW_ID, primary_key=True),
        sa.Column("image_id", sa.String(512), nullable=False),
        sa.Column("reason", sa.String(16), nullable=False),
        sa.Column("source", sa.String(200), nullable=False),
        sa.Column("inclusion_probability", sa.Double(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("probability", sa.Double()),
        sa.Column("verdict_id", ROW_ID, sa.ForeignKey("verdict.verdict_id")),
        sa.Column("is_senior", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("claimed_by", sa.String(80)),
        sa.Column("lease_until", TIME),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("due_at", TIME, nullable=False),
        sa.Column("closed_at", TIME),
    )
    op.create_index("ix_review_task_image_id", "review_task", ["image_id"])
    op.create_index(
        "uq_review_task_open",
        "review_task",
        ["image_id", "reason"],
        unique=True,
        sqlite_where=OPEN,
        postgresql_where=OPEN,
    )
    op.create_index(
        "ix_review_task_due", "review_task", ["due_at", "task_id"], sqlite_where=OPEN, postgresql_where=OPEN
    )

    op.create_table(
        "review",
        sa.Column("review_id", ROW_ID, primary_key=True),
        sa.Column("task_id", ROW_ID, sa.ForeignKey("review_task.task_id"), nullable=False),
        sa.Column("image_id", sa.String(512), nullable=False),
        sa.Column("reviewer", sa.String(80), nullable=False),
        sa.Column("act", sa.String(8), nullable=False),
        sa.Column("answer", sa.String(8)),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Double()),
        sa.Column("undoes", ROW_ID, sa.ForeignKey("review.review_id")),
        sa.Column("created_at", TIME, nullable=False),
    )
    op.create_index("ix_review_task_id", "review", ["task_id"])
    op.create_index("ix_review_image_id", "review", ["image_id"])
    op.create_index("ix_review_reviewer", "review", ["reviewer", "created_at"])

    op.create_table(
        "reviewer",
        sa.Column("name", sa.String(80), primary_key=True),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("is_trusted", sa.Boolean(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("token_sha256", sa.String(64), unique=True),
        sa.Column("created_at", TIME, nullable=False),
    )
    op.create_table(
        "gold",
        sa.Column("image_id", sa.String(512), primary_key=True),
        sa.Column("truth", sa.String(8), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
    )
    op.create_table(
        "event",
        sa.Column("seq", ROW_ID, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("image_id", sa.String(512), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("prev_hash", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    op.create_index("ix_event_image_id", "event", ["image_id"])
    op.create_index("ix_event_kind", "event", ["kind", "seq"])
    op.create_table(
        "event_head",
        sa.Column("name", sa.String(8), primary_key=True),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )


def downgrade() -> None:
    for table in ("event_head", "event", "gold", "reviewer", "review", "review_task"):
        op.drop_table(table)
