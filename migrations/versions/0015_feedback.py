"""Which answer a vote is about, whether that answer stands, and what was wrong with it."""

import sqlalchemy as sa
from alembic import op

revision = "0015_feedback"
down_revision = "0014_talk"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("feedback", sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False))
    op.add_column("feedback", sa.Column("diagnosis_id", sa.BigInteger(), nullable=True))
    op.add_column("feedback", sa.Column("stands", sa.Boolean(), server_default=sa.text("true"), nullable=False))
    op.create_foreign_key(
        op.f("fk_feedback_diagnosis_id"), "feedback", "diagnoses", ["diagnosis_id"], ["id"], ondelete="SET NULL"
    )


def downgrade() -> None:
    op.drop_constraint(op.f("fk_feedback_diagnosis_id"), "feedback", type_="foreignkey")
    op.drop_column("feedback", "stands")
    op.drop_column("feedback", "diagnosis_id")
    op.drop_column("feedback", "reason")
