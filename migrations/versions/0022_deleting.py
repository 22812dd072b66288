"""Indexes by which the rows that hang on a deleted incident are found.

Each row of an incident was looked for in the whole table otherwise, and again by the foreign key's cascade.
"""

from alembic import op

from migrations import indexes

revision = "0022_deleting"
down_revision = "0021_words_at_once"
branch_labels = None
depends_on = None


def upgrade() -> None:
    indexes.build("ix_outbox_incident_id", "outbox", ["incident_id"], where="incident_id IS NOT NULL")
    indexes.build("ix_decisions_incident_id", "decisions", ["incident_id"])
    indexes.build("ix_plans_diagnosis_id", "plans", ["diagnosis_id"])


def downgrade() -> None:
    op.drop_index("ix_plans_diagnosis_id", table_name="plans")
    op.drop_index("ix_decisions_incident_id", table_name="decisions")
    op.drop_index("ix_outbox_incident_id", table_name="outbox")
