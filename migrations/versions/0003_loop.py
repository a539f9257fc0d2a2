"""The loop: retraining, shadow prompts, rescoring, canaries; perceptual hashes, uploaders, when a score was made."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
SHADOW = sa.text("state = 'shadow'")
UNFINISHED = sa.text("state IN ('queued', 'running')")


def upgrade() -> None:
    # Added with defaults, so that a worker of the version before can still write while the others are brought up.
    op.add_column("submission", sa.Column("uploader", sa.String(200), nullable=False, server_default=""))
    op.add_column("image", sa.Column("pdq", sa.String(64), nullable=False, server_default=""))
    op.add_column("verdict", sa.Column("scored_at", TIME))
    op.add_column("prompt", sa.Column("manifest", sa.LargeBinary()))
    op.create_index(
        "uq_prompt_shadow", "prompt", ["backbone"], unique=True, sqlite_where=SHADOW, postgresql_where=SHADOW
    )

    op.create_table(
        "holdout",
        sa.Column("image_id", sa.String(512), primary_key=True),
        sa.Column("side", sa.String(8), nullable=False),
        sa.Column("drawn_at", TIME, nullable=False),
    )
    op.create_table(
        "training_run",
        sa.Column("run_id", ROW_ID, primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("backbone", sa.Text(), nullable=False),
        sa.Column("parent", sa.String(16), sa.ForeignKey("prompt.prompt_id"), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("manifest", sa.LargeBinary(), nullable=False),
        sa.Column("manifest_sha256", sa.String(64), nullable=False),
        sa.Column("progress", sa.JSON(), nullable=False),
        sa.Column("checkpoint", sa.LargeBinary()),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("prompt_id", sa.String(16), sa.ForeignKey("prompt.prompt_id")),
        sa.Column("report", sa.LargeBinary()),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("claimed_by", sa.String(64)),
        sa.Column("lease_until", TIME),
        sa.Column("enqueued_at", TIME),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("started_at", TIME),
        sa.Column("finished_at", TIME),
    )
    op.create_index(
        "uq_training_run_open", "training_run", ["backbone"], unique=True,
        sqlite_where=UNFINISHED, postgresql_where=UNFINISHED,
    )  # fmt: skip
    op.create_index("ix_training_run_prompt_id", "training_run", ["prompt_id"])
    op.create_table(
        "rescore_run",
        sa.Column("run_id", ROW_ID, primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("prompt_id", sa.String(16), sa.ForeignKey("prompt.prompt_id"), nullable=False),
        sa.Column("scope", sa.JSON(), nullable=False),
        sa.Column("rate", sa.Double(), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("scored", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("failures", sa.JSON(), nullable=False),
        sa.Column("after", sa.String(512), nullable=False),
        sa.Column("crashes", sa.Integer(), nullable=False),
        sa.Column("alone", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("applied", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("claimed_by", sa.String(64)),
        sa.Column("lease_until", TIME),
        sa.Column("not_before", TIME, nullable=False),
        sa.Column("enqueued_at", TIME),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("finished_at", TIME),
    )
    op.create_index(
        "uq_rescore_run_open", "rescore_run", ["prompt_id"], unique=True,
        sqlite_where=UNFINISHED, postgresql_where=UNFINISHED,
    )  # fmt: skip
    op.create_table(
        "canary",
        sa.Column("prompt_id", sa.String(16), sa.ForeignKey("prompt.prompt_id"), primary_key=True),
        sa.Column("backbone_revision", sa.String(80), primary_key=True),
        sa.Column("device", sa.String(16), primary_key=True),
        sa.Column("dtype", sa.String(16), primary_key=True),
        sa.Column("pictures", sa.String(64), primary_key=True),
        sa.Column("answers", sa.JSON(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
    )
    op.create_table(
        "chore",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("taken_at", TIME, nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
    )


def downgrade() -> None:
    for table in ("chore", "canary", "rescore_run", "training_run", "holdout"):
        op.drop_table(table)
    op.drop_index("uq_prompt_shadow", "prompt")
    for table, column in (
        ("prompt", "manifest"),
        ("verdict", "scored_at"),
        ("image", "pdq"),
        ("submission", "uploader"),
    ):
        op.drop_column(table, column)
