"""Indexes by which old rows are found and deleted, and alerts without an incident by what failed."""

from alembic import op

from migrations import indexes

revision = "0017_keeping"
down_revision = "0016_home"
branch_labels = None
depends_on = None


def upgrade() -> None:
    indexes.build("ix_deliveries_done", "deliveries", ["received_at"], where="state = 'done'")
    indexes.build("ix_alerts_alone_received_at", "alerts", ["received_at"], where="incident_id IS NULL")
    indexes.build("ix_alerts_alone_identity", "alerts", ["identity"], where="incident_id IS NULL")
    indexes.build("ix_outbox_sent", "outbox", ["sent_at"], where="state = 'sent' AND incident_id IS NULL")
    for table, column in (("knowledge_items", "incident_id"), ("feedback", "diagnosis_id")):
        indexes.build(f"ix_{table}_{column}", table, [column], where=f"{column} IS NOT NULL")
    indexes.build("ix_incidents_resolved_at", "incidents", ["resolved_at"], where="resolved_at IS NOT NULL")


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
