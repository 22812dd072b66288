"""What people say in an incident's thread: what fixed it, and where the diagnosis should look."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0014_talk"
down_revision = "0013_card_moves"
branch_labels = None
depends_on = None


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), server_default=sa.text("''"), nullable=False)


def _moment(name: str, *, now: bool = False) -> sa.Column[object]:
    default = sa.text("now()") if now else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=not now)


def upgrade() -> None:
    op.create_table(
        "fix_offers",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("incident_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("told_by", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'open'"), nullable=False),
        _text("decided_by"),
        _moment("told_at", now=True),
        _moment("decided_at"),
        sa.CheckConstraint("state IN ('open', 'remembered', 'declined')", name=op.f("ck_fix_offers_state")),
        sa.ForeignKeyConstraint(
            ["incident_id"], ["incidents.id"], name=op.f("fk_fix_offers_incident_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fix_offers")),
    )
    op.create_index("uq_fix_offers_key", "fix_offers", ["key"], unique=True)
    op.create_index("ix_fix_offers_incident_id", "fix_offers", ["incident_id"])
    op.create_table(
        "steers",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("incident_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("payload", JSONB(), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        _moment("set_at", now=True),
        sa.ForeignKeyConstraint(
            ["incident_id"], ["incidents.id"], name=op.f("fk_steers_incident_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_steers")),
    )
    op.create_index("uq_steers_key", "steers", ["key"], unique=True)
    op.create_index("ix_steers_incident_id", "steers", ["incident_id"])


def downgrade() -> None:
    op.drop_table("steers")
    op.drop_table("fix_offers")
