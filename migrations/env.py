"""Runs the revisions on the connection that the program hands over; there is no alembic.ini.

`config.attributes["connection"]` is an open synchronous SQLAlchemy connection, in no transaction.
Each revision is one of its own, so that it may build its indexes outside of any.
"""

from typing import Any

from alembic import context

from knowledge.store.tables import metadata


def belongs_to_us(name: str | None, kind: str, _parents: Any) -> bool:
    """Leave procrastinate's schema out of the comparison of tables with migrations: its SQL is not ours."""
    return not (kind == "schema" and name == "procrastinate")


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    include_schemas=True,
    include_name=belongs_to_us,
    compare_type=True,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
