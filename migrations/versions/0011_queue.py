"""Jobs that SQS hands out, and what happens once in each period."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011_queue"
down_revision = "0010_held_alerts"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "queued_jobs",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("lock", sa.Text(), nullable=False),
        sa.Column("once", sa.Text(), nullable=True),
        sa.Column("arguments", postgresql.JSONB(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'todo'"), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("rank_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("token", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("died_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('todo', 'doing', 'dead')", name=op.f("ck_queued_jobs_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_queued_jobs")),
    )
    waiting = sa.text("state = 'todo'")
    op.create_index("uq_queued_jobs_once", "queued_jobs", ["once"], unique=True, postgresql_where=waiting)
    op.create_index("ix_queued_jobs_lock", "queued_jobs", ["lock"])
    op.create_index("ix_queued_jobs_due_at", "queued_jobs", ["due_at"], postgresql_where=waiting)
    op.create_table(
        "schedule_runs",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_schedule_runs")),
    )


def downgrade() -> None:
    op.drop_table("schedule_runs")
    op.drop_table("queued_jobs")
