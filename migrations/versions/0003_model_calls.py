"""What asking hosted models took, call by call."""

import sqlalchemy as sa
from alembic import op

revision = "0003_model_calls"
down_revision = "0002_main"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "model_calls",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("incident_id", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.Column("hop", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("input_tokens", sa.Integer(), nullable=False),
        sa.Column("output_tokens", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("usd", sa.Float(), nullable=False),
        sa.Column("ms", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("outcome", sa.Text(), server_default=sa.text("'reserved'"), nullable=False),
        sa.Column("called_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        # A deleted incident takes nothing back of what was spent: its calls stay in the month's sum.
        sa.ForeignKeyConstraint(
            ["incident_id"], ["incidents.id"], name=op.f("fk_model_calls_incident_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_calls")),
    )
    op.create_index("ix_model_calls_called_at", "model_calls", ["called_at"], unique=False)
    op.create_index("ix_model_calls_incident_id", "model_calls", ["incident_id"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_model_calls_incident_id", table_name="model_calls")
    op.drop_index("ix_model_calls_called_at", table_name="model_calls")
    op.drop_table("model_calls")
