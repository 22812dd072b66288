"""Alerts that a silence or maintenance keeps from opening a card, and those that their sender was seen to have."""

import sqlalchemy as sa
from alembic import op

revision = "0010_held_alerts"
down_revision = "0009_autonomy"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("alerts", sa.Column("held", sa.Text(), server_default=sa.text("''"), nullable=False))
    op.add_column("alerts", sa.Column("held_until", sa.DateTime(timezone=True), nullable=True))
    op.add_column("alerts", sa.Column("there_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_alerts_held", "alerts", ["id"], postgresql_where=sa.text("held <> ''"))


def downgrade() -> None:
    op.drop_index("ix_alerts_held", "alerts")
    op.drop_column("alerts", "there_at")
    op.drop_column("alerts", "held_until")
    op.drop_column("alerts", "held")
