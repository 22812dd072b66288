"""Vectors beside the items, of several models and lengths at once."""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import HALFVEC, Vector

revision = "0004_vectors"
down_revision = "0003_model_calls"
branch_labels = None
depends_on = None

DIMENSIONS = (384, 1024, 2048)


def upgrade() -> None:
    op.create_table(
        "item_vectors",
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("vector", HALFVEC(), nullable=False),
        sa.Column("made_of", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("dimension = vector_dims(vector)", name=op.f("ck_item_vectors_dimension")),
        sa.ForeignKeyConstraint(
            ["item_id"], ["knowledge_items.id"], name=op.f("fk_item_vectors_item_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("item_id", "model", name=op.f("pk_item_vectors")),
    )
    op.create_table(
        "vector_models",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("embedded", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("waiting", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("reach", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("slope", sa.Float(), server_default=sa.text("1"), nullable=False),
        sa.Column("shift", sa.Float(), server_default=sa.text("0"), nullable=False),
        sa.Column("measured", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("ready_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("problem", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("looked_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("model", name=op.f("pk_vector_models")),
    )
    op.execute(
        "INSERT INTO item_vectors (item_id, model, dimension, vector, made_of) "
        "SELECT id, vector_model, vector_dims(vector), vector::halfvec, updated_at FROM knowledge_items "
        "WHERE vector IS NOT NULL AND vector_model IS NOT NULL"
    )
    # After the rows: one by one they would take five times as long.
    op.create_index("ix_item_vectors_model", "item_vectors", ["model", "item_id", "made_of"])
    for dimension in DIMENSIONS:
        op.create_index(
            f"ix_item_vectors_{dimension}",
            "item_vectors",
            [sa.literal_column(f"(vector::halfvec({dimension}))").label("of_one_length")],
            postgresql_using="hnsw",
            postgresql_ops={"of_one_length": "halfvec_cosine_ops"},
            postgresql_where=sa.text(f"dimension = {dimension}"),
        )
    op.drop_index("ix_knowledge_items_vector", table_name="knowledge_items")
    op.drop_column("knowledge_items", "vector")
    op.drop_column("knowledge_items", "vector_model")
    op.create_index("ix_knowledge_items_updated_at", "knowledge_items", ["updated_at"])


def downgrade() -> None:
    """The older program knows one vector an item, of 384 numbers; others are made again from the text when needed."""
    op.add_column("knowledge_items", sa.Column("vector", Vector(384), nullable=True))
    op.add_column("knowledge_items", sa.Column("vector_model", sa.Text(), nullable=True))
    op.execute(
        "UPDATE knowledge_items SET vector = v.vector::vector(384), vector_model = v.model "
        "FROM item_vectors v WHERE v.item_id = knowledge_items.id AND v.dimension = 384"
    )
    op.create_index(
        "ix_knowledge_items_vector",
        "knowledge_items",
        ["vector"],
        postgresql_using="hnsw",
        postgresql_ops={"vector": "vector_cosine_ops"},
    )
    op.drop_index("ix_knowledge_items_updated_at", table_name="knowledge_items")
    for dimension in DIMENSIONS:
        op.drop_index(f"ix_item_vectors_{dimension}", table_name="item_vectors")
    op.drop_table("vector_models")
    op.drop_table("item_vectors")
