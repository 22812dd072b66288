"""The time of an audit row is part of the chain; rows that were sealed before keep the link they have."""

import sqlalchemy as sa
from alembic import op

revision = "0020_audit_time"
down_revision = "0019_given_up"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("audit", sa.Column("timed", sa.Boolean(), server_default=sa.text("false"), nullable=False))


def downgrade() -> None:
    """What was sealed with its time no longer verifies with the version before."""
    op.drop_column("audit", "timed")
