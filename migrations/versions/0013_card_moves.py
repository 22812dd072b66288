"""Cards that go on elsewhere: after an edit that Slack does not take, and in place of a channel out of reach."""

import sqlalchemy as sa
from alembic import op

revision = "0013_card_moves"
down_revision = "0012_grouping"
branch_labels = None
depends_on = None

ADDED = (("cards", "before"), ("cards", "note"), ("incidents", "meant_channel"))


def upgrade() -> None:
    for table, name in ADDED:
        op.add_column(table, sa.Column(name, sa.Text(), server_default=sa.text("''"), nullable=False))


def downgrade() -> None:
    for table, name in reversed(ADDED):
        op.drop_column(table, name)
