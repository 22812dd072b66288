"""Indexes on tables that are in use: built without holding up who writes there.

A revision that builds one does nothing else, since it is committed in parts: run again it goes on where it stopped.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa
from alembic import op


def build(name: str, table: str, columns: Sequence[str], *, where: str = "", unique: bool = False) -> None:
    """CREATE INDEX CONCURRENTLY, unless it is there. What an interrupted build left behind is dropped first.

    It waits for open transactions for as long as they last, since it holds up nobody meanwhile.
    """
    with op.get_context().autocommit_block(), _patience():
        left = sa.text("SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(:name) AND NOT indisvalid")
        if op.get_bind().execute(left, {"name": name}).first():
            op.drop_index(name, table_name=table, postgresql_concurrently=True)
        op.create_index(
            name, table, list(columns), unique=unique, postgresql_where=sa.text(where) if where else None,
            postgresql_concurrently=True, if_not_exists=True,
        )  # fmt: skip


@contextmanager
def _patience() -> Iterator[None]:
    bind, turn = op.get_bind(), sa.text("SELECT set_config('lock_timeout', :how_long, false)")
    before = bind.scalar(sa.text("SHOW lock_timeout"))
    bind.execute(turn, {"how_long": "0"})
    yield
    # After an error the whole connection is given up.
    bind.execute(turn, {"how_long": before})
