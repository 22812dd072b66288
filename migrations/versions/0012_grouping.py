"""Incidents that people split and merge, what they are linked with, and what failed before the bot came."""

import sqlalchemy as sa
from alembic import op

revision = "0012_grouping"
down_revision = "0011_queue"
branch_labels = None
depends_on = None


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), server_default=sa.text("''"), nullable=False)


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)


def upgrade() -> None:
    op.create_table(
        "storms",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        _now("began_at"),
        _now("last_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_storms")),
    )
    op.create_index("ix_storms_channel", "storms", ["channel", "last_at"])
    op.add_column("incidents", sa.Column("storm_id", sa.BigInteger(), nullable=True))
    op.create_foreign_key(
        op.f("fk_incidents_storm_id"), "incidents", "storms", ["storm_id"], ["id"], ondelete="SET NULL"
    )
    stormy = sa.text("storm_id IS NOT NULL")
    op.create_index("ix_incidents_storm_id", "incidents", ["storm_id"], postgresql_where=stormy)
    op.create_index("ix_incidents_channel", "incidents", ["channel", "opened_at"])
    people = sa.text("state = 'new' AND event <> 'alerts'")
    op.create_index("ix_deliveries_people", "deliveries", ["id"], postgresql_where=people)
    op.add_column("incidents", sa.Column("merged_into", sa.BigInteger(), nullable=True))
    op.create_foreign_key(
        op.f("fk_incidents_merged_into"), "incidents", "incidents", ["merged_into"], ["id"], ondelete="SET NULL"
    )
    merged = sa.text("merged_into IS NOT NULL")
    op.create_index("ix_incidents_merged_into", "incidents", ["merged_into"], postgresql_where=merged)
    op.create_index("ix_incidents_identity", "incidents", ["identity", "opened_at"])
    op.create_table(
        "incident_links",
        sa.Column("incident_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("other", sa.Text(), nullable=False),
        _text("link"),
        _text("set_by"),
        _text("click"),
        _now("at"),
        sa.CheckConstraint(
            "kind IN ('merged', 'took', 'split', 'from', 'like', 'post', 'page')", name=op.f("ck_incident_links_kind")
        ),
        sa.ForeignKeyConstraint(
            ["incident_id"], ["incidents.id"], name=op.f("fk_incident_links_incident_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("incident_id", "kind", "other", name=op.f("pk_incident_links")),
    )
    op.create_table(
        "key_choices",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        _text("value"),
        _text("set_by"),
        _now("set_at"),
        sa.CheckConstraint("verdict IN ('apart', 'together', 'baseline')", name=op.f("ck_key_choices_verdict")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_key_choices")),
    )


def downgrade() -> None:
    op.drop_index("ix_deliveries_people", "deliveries")
    op.drop_index("ix_incidents_channel", "incidents")
    op.drop_index("ix_incidents_storm_id", "incidents")
    op.drop_constraint(op.f("fk_incidents_storm_id"), "incidents", type_="foreignkey")
    op.drop_column("incidents", "storm_id")
    op.drop_table("storms")
    op.drop_table("key_choices")
    op.drop_table("incident_links")
    op.drop_index("ix_incidents_identity", "incidents")
    op.drop_index("ix_incidents_merged_into", "incidents", postgresql_where=sa.text("merged_into IS NOT NULL"))
    op.drop_constraint(op.f("fk_incidents_merged_into"), "incidents", type_="foreignkey")
    op.drop_column("incidents", "merged_into")
