"""Approvals for later, snoozes and reminders, who asked, and incidents that a person has taken."""

import sqlalchemy as sa
from alembic import op

revision = "0008_deciding"
down_revision = "0007_memory"
branch_labels = None
depends_on = None

KINDS = ("card", "post", "edit", "direct", "ephemeral", "reaction")
STATES = ("open", "scheduled", "approved", "rejected", "expired", "withdrawn")
MOMENTS = ("run_at", "snoozed_until", "reminded_at", "paged_at")


def upgrade() -> None:
    empty = sa.text("''")
    for column in ("click", "requester", "snoozed_by"):
        op.add_column("approvals", sa.Column(column, sa.Text(), server_default=empty, nullable=False))
    op.add_column("approval_votes", sa.Column("click", sa.Text(), server_default=empty, nullable=False))
    for column in MOMENTS:
        op.add_column("approvals", sa.Column(column, sa.DateTime(timezone=True), nullable=True))
    _one_of("approvals", "state", STATES)
    op.create_index("ix_approvals_scheduled", "approvals", ["run_at"], postgresql_where=sa.text("state = 'scheduled'"))
    _one_of("outbox", "kind", KINDS)
    op.create_index(
        "ix_outbox_calls", "outbox", ["incident_id"], postgresql_where=sa.text("kind = 'post' AND key LIKE 'call:%'")
    )
    for column in ("assigned_to", "by_hand"):
        op.add_column("incidents", sa.Column(column, sa.Text(), server_default=empty, nullable=False))


def downgrade() -> None:
    for column in ("by_hand", "assigned_to"):
        op.drop_column("incidents", column)
    op.drop_index("ix_outbox_calls", table_name="outbox")
    op.execute("DELETE FROM outbox WHERE kind IN ('edit', 'direct')")
    _one_of("outbox", "kind", tuple(kind for kind in KINDS if kind not in {"edit", "direct"}))
    op.drop_index("ix_approvals_scheduled", table_name="approvals")
    # What waits for its hour cannot be told to the version before, and nothing else would end its incident: people do.
    op.execute(
        "UPDATE incidents SET state = 'escalated', revision = revision + 1 WHERE state = 'waiting'"
        " AND id IN (SELECT incident_id FROM approvals WHERE state = 'scheduled')"
    )
    op.execute("UPDATE approvals SET state = 'withdrawn', decided_at = now() WHERE state = 'scheduled'")
    _one_of("approvals", "state", tuple(state for state in STATES if state != "scheduled"))
    op.drop_column("approval_votes", "click")
    for column in (*reversed(MOMENTS), "snoozed_by", "requester", "click"):
        op.drop_column("approvals", column)


def _one_of(table: str, column: str, values: tuple[str, ...]) -> None:
    name = op.f(f"ck_{table}_{column}")
    op.drop_constraint(name, table)
    listed = ", ".join(f"'{value}'" for value in values)
    op.create_check_constraint(name, table, f"{column} IN ({listed})")
