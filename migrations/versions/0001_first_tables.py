"""First tables: submission, image, prompt, policy, verdict."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "submission",
        sa.Column("image_id", sa.String(512), primary_key=True),
        sa.Column("source", sa.String(200), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("crashes", sa.Integer(), nullable=False),
        sa.Column("claimed_by", sa.String(64)),
        sa.Column("lease_until", TIME),
        sa.Column("not_before", TIME, nullable=False),
        sa.Column("enqueued_at", TIME),
        sa.Column("submitted_at", TIME, nullable=False),
        sa.Column("finished_at", TIME),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
    )
    _partial_index(
        "ix_submission_pending",
        "submission",
        [sa.text("priority DESC"), "submitted_at", "image_id"],
        "state = 'pending'",
    )
    _partial_index("ix_submission_leased", "submission", ["lease_until"], "claimed_by IS NOT NULL")
    op.create_index("ix_submission_state", "submission", ["state", "finished_at"])

    op.create_table(
        "image",
        sa.Column("image_id", sa.String(512), sa.ForeignKey("submission.image_id"), primary_key=True),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("format", sa.String(16), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("fetched_at", TIME, nullable=False),
    )
    op.create_index("ix_image_sha256", "image", ["sha256"])

    op.create_table(
        "prompt",
        sa.Column("prompt_id", sa.String(16), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("blob", sa.LargeBinary(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False, unique=True),
        sa.Column("backbone", sa.Text(), nullable=False),
        sa.Column("backbone_revision", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("parent", sa.String(16), sa.ForeignKey("prompt.prompt_id")),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("activated_at", TIME),
    )
    _partial_index("uq_prompt_active", "prompt", ["backbone"], "state = 'active'", unique=True)

    op.create_table(
        "policy",
        sa.Column("policy_id", ROW_ID, primary_key=True),
        sa.Column("source", sa.String(200), nullable=False),
        sa.Column("review_at", sa.Double(), nullable=False),
        sa.Column("block_at", sa.Double(), nullable=False),
        sa.Column("audit_rate", sa.Double(), nullable=False),
        sa.Column("block_check_rate", sa.Double(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("parent", ROW_ID, sa.ForeignKey("policy.policy_id")),
        sa.Column("created_at", TIME, nullable=False),
    )
    op.create_index("ix_policy_source", "policy", ["source"])

    op.create_table(
        "verdict",
        sa.Column("verdict_id", ROW_ID, primary_key=True),
        sa.Column("image_id", sa.String(512), sa.ForeignKey("submission.image_id"), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("prompt_id", sa.String(16), sa.ForeignKey("prompt.prompt_id"), nullable=False),
        sa.Column("policy_id", ROW_ID, sa.ForeignKey("policy.policy_id"), nullable=False),
        sa.Column("shadow", sa.Boolean(), nullable=False),
        sa.Column("source", sa.String(200), nullable=False),
        sa.Column("margin", sa.Double(), nullable=False),
        sa.Column("probability", sa.Double(), nullable=False),
        sa.Column("decision", sa.String(8), nullable=False),
        sa.Column("image_sha256", sa.String(64), nullable=False),
        sa.Column("backbone", sa.Text(), nullable=False),
        sa.Column("versions", sa.JSON(), nullable=False),
        sa.Column("latency_ms", sa.Double(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.UniqueConstraint("image_id", "prompt_id", "shadow", "round", name="uq_verdict"),
    )
    op.create_index("ix_verdict_created", "verdict", ["created_at"])
    op.create_index("ix_verdict_decision", "verdict", ["decision", "created_at"])


def downgrade() -> None:
    for table in ("verdict", "policy", "prompt", "image", "submission"):
        op.drop_table(table)


def _partial_index(
    name: str, table: str, columns: list[str | sa.TextClause], where: str, *, unique: bool = False
) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, unique=unique, sqlite_where=condition, postgresql_where=condition)
