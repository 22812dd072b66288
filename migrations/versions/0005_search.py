"""Words as they are written instead of English stems, with finer statistics; indexes for the filters of a search."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005_search"
down_revision = "0004_vectors"
branch_labels = None
depends_on = None

TEXT = "coalesce(kind, '') || ' ' || cause || ' ' || fix || ' ' || left(excerpt, 20000)"
FILTERS = ("environment", "outcome", "source")


def upgrade() -> None:
    _replace_words(f"to_tsvector('simple', regexp_replace({TEXT}, '(\\W|_)+', ' ', 'g'))")
    # How rare a word is comes from here: 3,000 words rather than 1,000.
    op.execute("ALTER TABLE knowledge_items ALTER COLUMN words SET STATISTICS 300")
    for column in FILTERS:
        op.create_index(f"ix_knowledge_items_{column}", "knowledge_items", [column])


def downgrade() -> None:
    for column in FILTERS:
        op.drop_index(f"ix_knowledge_items_{column}", table_name="knowledge_items")
    _replace_words(f"to_tsvector('english', {TEXT})")


def _replace_words(expression: str) -> None:
    op.drop_index("ix_knowledge_items_words", table_name="knowledge_items", postgresql_using="gin")
    op.drop_column("knowledge_items", "words")
    op.add_column("knowledge_items", sa.Column("words", postgresql.TSVECTOR(), sa.Computed(expression, persisted=True)))
    op.create_index("ix_knowledge_items_words", "knowledge_items", ["words"], postgresql_using="gin")
