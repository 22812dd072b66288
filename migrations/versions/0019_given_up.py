"""Indexes by which what was given up is found and deleted when it is old."""

from alembic import op

from migrations import indexes

revision = "0019_given_up"
down_revision = "0018_sight"
branch_labels = None
depends_on = None


def upgrade() -> None:
    indexes.build("ix_deliveries_failed", "deliveries", ["received_at"], where="state = 'failed'")
    indexes.build("ix_outbox_failed", "outbox", ["created_at"], where="state = 'failed' AND incident_id IS NULL")


def downgrade() -> None:
    op.drop_index("ix_outbox_failed", table_name="outbox")
    op.drop_index("ix_deliveries_failed", table_name="deliveries")
