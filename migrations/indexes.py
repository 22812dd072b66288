"""Indexes on tables that are in use: built without holding up who writes there.

A revision that builds one does nothing else, since it is committed in parts: run again it goes on where it stopped.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op


def build(name: str, table: str, columns: Sequence[str], *, where: str = "", unique: bool = False) -> None:
    """CREATE INDEX CONCURRENTLY, unless it is there. What an interrupted build left behind is dropped first."""
    with op.get_context().autocommit_block():
        left = sa.text("SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(:name) AND NOT indisvalid")
        if op.get_bind().execute(left, {"name": name}).first():
            op.drop_index(name, table_name=table, postgresql_concurrently=True)
        op.create_index(
            name, table, list(columns), unique=unique, postgresql_where=sa.text(where) if where else None,
            postgresql_concurrently=True, if_not_exists=True,
        )  # fmt: skip
