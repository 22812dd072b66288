"""Indexes by which old rows are found and deleted, and alerts without an incident by what failed."""

import sqlalchemy as sa
from alembic import op

revision = "0017_keeping"
down_revision = "0016_home"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_deliveries_done", "deliveries", ["received_at"], postgresql_where=sa.text("state = 'done'"))
    alone = sa.text("incident_id IS NULL")
    op.create_index("ix_alerts_alone_received_at", "alerts", ["received_at"], postgresql_where=alone)
    op.create_index("ix_alerts_alone_identity", "alerts", ["identity"], postgresql_where=alone)
    op.create_index(
        "ix_outbox_sent", "outbox", ["sent_at"], postgresql_where=sa.text("state = 'sent' AND incident_id IS NULL")
    )
    for table, column in (("knowledge_items", "incident_id"), ("feedback", "diagnosis_id")):
        there = sa.text(f"{column} IS NOT NULL")
        op.create_index(f"ix_{table}_{column}", table, [column], postgresql_where=there)
    op.create_index(
        "ix_incidents_resolved_at", "incidents", ["resolved_at"], postgresql_where=sa.text("resolved_at IS NOT NULL")
    )


def downgrade() -> None:
    for table, name in (
        ("incidents", "ix_incidents_resolved_at"),
        ("feedback", "ix_feedback_diagnosis_id"),
        ("knowledge_items", "ix_knowledge_items_incident_id"),
        ("outbox", "ix_outbox_sent"),
        ("alerts", "ix_alerts_alone_identity"),
        ("alerts", "ix_alerts_alone_received_at"),
        ("deliveries", "ix_deliveries_done"),
    ):
        op.drop_index(name, table_name=table)
