"""What a decision rested on, what would have run by itself, and the trust that fixes have earned."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009_autonomy"
down_revision = "0008_deciding"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("decisions", sa.Column("facts", postgresql.JSONB(), nullable=True))
    op.add_column("decisions", sa.Column("shadow", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_index("ix_decisions_created_at", "decisions", ["created_at"])
    op.create_table(
        "trust",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("set_by", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("state IN ('proposed', 'granted', 'withdrawn', 'demoted')", name=op.f("ck_trust_state")),
        sa.PrimaryKeyConstraint("kind", "action", "service", "environment", name=op.f("pk_trust")),
    )


def downgrade() -> None:
    op.drop_table("trust")
    op.drop_index("ix_decisions_created_at", "decisions")
    op.drop_column("decisions", "shadow")
    op.drop_column("decisions", "facts")
