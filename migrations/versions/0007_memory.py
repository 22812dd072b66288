"""Corrections by people, the digest of an imported line, and the audit log's head in a place of its own."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007_memory"
down_revision = "0006_threads"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_head",
        sa.Column("one", sa.Boolean(), server_default=sa.text("true"), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("chain", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("one", name=op.f("ck_audit_head_one")),
        sa.PrimaryKeyConstraint("one", name=op.f("pk_audit_head")),
    )
    # A database that has a chain already: from now on its end is known.
    op.execute(
        "INSERT INTO audit_head (number, chain) "
        "SELECT number, chain FROM audit WHERE number IS NOT NULL ORDER BY number DESC LIMIT 1"
    )
    empty = sa.text("''")
    op.add_column("knowledge_items", sa.Column("status", sa.Text(), server_default=empty, nullable=False))
    op.add_column(
        "knowledge_items",
        sa.Column("corrected", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    )
    op.add_column("knowledge_items", sa.Column("digest", sa.Text(), server_default=empty, nullable=False))
    op.create_check_constraint(op.f("ck_knowledge_items_status"), "knowledge_items", "status IN ('', 'old', 'wrong')")


def downgrade() -> None:
    op.drop_constraint(op.f("ck_knowledge_items_status"), "knowledge_items")
    for column in ("digest", "corrected", "status"):
        op.drop_column("knowledge_items", column)
    op.drop_table("audit_head")
