"""Approvals for later, snoozes and reminders, who asked, and incidents that a person has taken."""

import sqlalchemy as sa
from alembic import op

revision = "0008_deciding"
down_revision = "0007_memory"
branch_labels = None
depends_on = None

STATES = ("open", "scheduled", "approved", "rejected", "expired", "withdrawn")
MOMENTS = ("run_at", "snoozed_until", "reminded_at", "paged_at")


def upgrade() -> None:
    empty = sa.text("''")
    for column in ("requester", "snoozed_by"):
        op.add_column("approvals", sa.Column(column, sa.Text(), server_default=empty, nullable=False))
    for column in MOMENTS:
        op.add_column("approvals", sa.Column(column, sa.DateTime(timezone=True), nullable=True))
    _states(STATES)
    op.create_index(
        "ix_approvals_scheduled", "approvals", ["run_at"], postgresql_where=sa.text("state = 'scheduled'")
    )
    for column in ("assigned_to", "by_hand"):
        op.add_column("incidents", sa.Column(column, sa.Text(), server_default=empty, nullable=False))


def downgrade() -> None:
    for column in ("by_hand", "assigned_to"):
        op.drop_column("incidents", column)
    op.drop_index("ix_approvals_scheduled", table_name="approvals")
    # What waits for its hour cannot be told to the version before, so it is asked for again.
    op.execute("UPDATE approvals SET state = 'withdrawn', decided_at = now() WHERE state = 'scheduled'")
    _states(tuple(state for state in STATES if state != "scheduled"))
    for column in (*reversed(MOMENTS), "snoozed_by", "requester"):
        op.drop_column("approvals", column)


def _states(states: tuple[str, ...]) -> None:
    op.drop_constraint(op.f("ck_approvals_state"), "approvals")
    listed = ", ".join(f"'{state}'" for state in states)
    op.create_check_constraint(op.f("ck_approvals_state"), "approvals", f"state IN ({listed})")
