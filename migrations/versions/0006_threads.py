"""The channels whose Slack threads are remembered, and the channel of a knowledge item.

Revision ID: 0006_threads
Revises: 0005_search
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006_threads"
down_revision = "0005_search"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "slack_channels",
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("audience", sa.Text(), nullable=False),
        sa.Column("backfill", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("looked_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint("audience IN ('all', 'members', 'outside')", name=op.f("ck_slack_channels_audience")),
        sa.PrimaryKeyConstraint("channel", name=op.f("pk_slack_channels")),
    )
    op.add_column("knowledge_items", sa.Column("channel", sa.Text(), nullable=True))
    op.create_foreign_key(
        op.f("fk_knowledge_items_channel"),
        "knowledge_items",
        "slack_channels",
        ["channel"],
        ["channel"],
        ondelete="CASCADE",
    )
    op.create_index(
        "ix_knowledge_items_threads",
        "knowledge_items",
        ["channel", "occurred_at"],
        postgresql_where=sa.text("channel IS NOT NULL"),
    )


def downgrade() -> None:
    # Without its channel nobody could tell who may read a thread.
    op.execute("DELETE FROM knowledge_items WHERE channel IS NOT NULL")
    op.drop_index("ix_knowledge_items_threads", table_name="knowledge_items")
    op.drop_constraint(op.f("fk_knowledge_items_channel"), "knowledge_items", type_="foreignkey")
    op.drop_column("knowledge_items", "channel")
    op.drop_table("slack_channels")
