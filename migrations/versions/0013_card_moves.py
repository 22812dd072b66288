"""Cards that go on elsewhere: after an edit that Slack does not take, and in place of a channel out of reach."""

import sqlalchemy as sa
from alembic import op

revision = "0013_card_moves"
down_revision = "0012_grouping"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("before", "note"):
        op.add_column("cards", sa.Column(name, sa.Text(), server_default=sa.text("''"), nullable=False))


def downgrade() -> None:
    for name in ("note", "before"):
        op.drop_column("cards", name)
