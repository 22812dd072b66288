"""Tables and migrations are the same thing told twice; this holds them together."""

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from psycopg import sql
from sqlalchemy import create_engine, make_url, text

from bot.migrating import NO_EXTENSION, migrate
from bot.postgres import libpq_conninfo
from knowledge.errors import SettingsError
from knowledge.store.tables import metadata

REVISIONS = ["0001_procrastinate", "0002_main", "0006_threads"]


def _ours(name: str | None, kind: str, _parents: object) -> bool:
    return not (kind == "schema" and name == "procrastinate")


def differences(url: str) -> list[object]:
    """What autogenerate would still write."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            options = {"include_schemas": True, "include_name": _ours, "compare_type": True}
            found = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
    finally:
        engine.dispose()
    return [one for one in found if "alembic_version" not in str(one)]


def scalars(url: str, query: str) -> list[object]:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return list(connection.execute(text(query)).scalars())
    finally:
        engine.dispose()


def test_the_migrations_make_the_tables(database_url: str) -> None:
    assert differences(database_url) == []


def test_vectors_and_words_are_indexed_and_tokens_have_their_sequence(database_url: str) -> None:
    indexes = scalars(database_url, "SELECT indexdef FROM pg_indexes WHERE tablename = 'knowledge_items'")
    assert any("USING hnsw (vector vector_cosine_ops)" in str(index) for index in indexes)
    assert any("USING gin (words)" in str(index) for index in indexes)
    assert scalars(database_url, "SELECT sequencename FROM pg_sequences WHERE sequencename = 'fencing_tokens'")


def test_up_down_and_up_again(empty_database_url: str) -> None:
    assert migrate(empty_database_url) == REVISIONS
    assert migrate(empty_database_url) == []
    assert migrate(empty_database_url, to="base", down=True) == REVISIONS[::-1]
    left = "SELECT tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    assert scalars(empty_database_url, left) == ["alembic_version"]
    assert migrate(empty_database_url) == REVISIONS
    assert differences(empty_database_url) == []


def test_an_unknown_revision_is_named(empty_database_url: str) -> None:
    with pytest.raises(SettingsError, match="no revision 'nonsense'; known are 0001_procrastinate, 0002_main"):
        migrate(empty_database_url, to="nonsense")


def test_a_database_that_refuses_the_extension_gets_an_instruction(empty_database_url: str) -> None:
    role = f"plain_{make_url(empty_database_url).database}"
    conninfo = libpq_conninfo(empty_database_url)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
        connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    try:
        with pytest.raises(SettingsError) as refused:
            migrate(make_url(empty_database_url).set(username=role).render_as_string(hide_password=False))
        assert str(refused.value) == NO_EXTENSION
    finally:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
