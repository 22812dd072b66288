"""Figures of incidents that have settled, people's own settings, and the Homes that are kept up to date."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016_home"
down_revision = "0015_feedback"
branch_labels = None
depends_on = None

COUNTS = (
    "fixes", "verified", "running", "wrong_actions", "seen_verified", "false_resolves", "approved_fixes",
    "unsafe_approvals", "turned_down",
)  # fmt: skip


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), server_default=sa.text("''"), nullable=False)


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)


def upgrade() -> None:
    op.create_table(
        "settled_figures",
        sa.Column("incident_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("ending", sa.Text(), nullable=True),
        sa.Column("detect_s", sa.Float(), nullable=True),
        sa.Column("resolve_s", sa.Float(), nullable=True),
        sa.Column("usd", sa.Float(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in COUNTS),
        sa.ForeignKeyConstraint(
            ["incident_id"], ["incidents.id"], name=op.f("fk_settled_figures_incident_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("incident_id", "action", name=op.f("pk_settled_figures")),
    )
    op.create_index("ix_settled_figures_opened_at", "settled_figures", ["opened_at"])
    op.create_table(
        "person_settings",
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("payload", postgresql.JSONB(), nullable=False),
        _now("changed_at"),
        sa.PrimaryKeyConstraint("user", name=op.f("pk_person_settings")),
    )
    op.create_table(
        "homes",
        sa.Column("user", sa.Text(), nullable=False),
        _now("opened_at"),
        _text("view_hash"),
        _text("shown"),
        sa.Column("charts", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("tended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("user", name=op.f("pk_homes")),
    )
    op.create_index("ix_homes_opened_at", "homes", ["opened_at"])


def downgrade() -> None:
    op.drop_table("homes")
    op.drop_table("person_settings")
    op.drop_table("settled_figures")
