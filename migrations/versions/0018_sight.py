"""Vectors are tied to more of their neighbours, so that a search among very many finds the right ones.

Only what is stored from now on: rebuilding the index of a million vectors takes a quarter of an hour, during which
nothing could be stored. `REINDEX INDEX CONCURRENTLY ix_item_vectors_384` does it for the others at any quiet time.
"""

from alembic import op

revision = "0018_sight"
down_revision = "0017_keeping"
branch_labels = None
depends_on = None

DIMENSIONS = (384, 1024, 2048)


def upgrade() -> None:
    for dimension in DIMENSIONS:
        op.execute(f"ALTER INDEX ix_item_vectors_{dimension} SET (ef_construction = 128)")


def downgrade() -> None:
    for dimension in DIMENSIONS:
        op.execute(f"ALTER INDEX ix_item_vectors_{dimension} RESET (ef_construction)")
