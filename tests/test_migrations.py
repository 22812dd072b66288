"""Tables and migrations are the same thing told twice; this holds them together."""

import ast
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

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
from tests.database import REVISIONS, ROOT, run_migrations
from tests.rows import S, an_approval, an_incident, opened


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
    query = "SELECT indexdef FROM pg_indexes WHERE tablename IN ('knowledge_items', 'item_vectors')"
    indexes = "\n".join(map(str, scalars(database_url, query)))
    for dimension in (384, 2048):
        assert (
            f"USING hnsw (((vector)::halfvec({dimension})) halfvec_cosine_ops) WITH (ef_construction='128')"
            f" WHERE (dimension = {dimension})" in indexes
        )
    assert "USING gin (words)" in indexes
    assert scalars(database_url, "SELECT sequencename FROM pg_sequences WHERE sequencename = 'fencing_tokens'")


def test_what_hangs_on_a_deleted_row_is_found_by_an_index(database_url: str) -> None:
    covered = """
        SELECT FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
        WHERE indrelid = conrelid AND indisvalid AND attnum = conkey[1]
            AND (indpred IS NULL OR pg_get_expr(indpred, indrelid) = format('(%I IS NOT NULL)', attname))
    """
    keys = """
        SELECT conrelid::regclass || '.' || conname FROM pg_constraint
        WHERE contype = 'f' AND confdeltype IN ('c', 'n') AND connamespace = 'public'::regnamespace
    """
    assert scalars(database_url, keys)
    assert scalars(database_url, f"{keys} AND NOT EXISTS ({covered}) ORDER BY 1") == []


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
        database = make_url(empty_database_url).database
        assert str(refused.value) == NO_EXTENSION.format(user=role, database=database)
        assert f"connected to {database}: CREATE EXTENSION vector;" in str(refused.value)
    finally:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def test_vectors_that_were_kept_in_the_items_are_kept_beside_them_and_go_back(empty_database_url: str) -> None:
    run_migrations(empty_database_url, to="0003_model_calls")
    engine = create_engine(empty_database_url)
    numbers = str([0.5] + [0.0] * 383)
    with engine.begin() as db:
        for name, vector in (("with", numbers), ("without", None)):
            db.execute(
                text(
                    "INSERT INTO knowledge_items (id, source, occurred_at, vector, vector_model)"
                    " VALUES (:id, 'incident', now(), CAST(:vector AS vector), :model)"
                ),
                {"id": name, "vector": vector, "model": "minilm-l6-int8" if vector else None},
            )
    engine.dispose()
    run_migrations(empty_database_url, to="0004_vectors")
    beside = "SELECT concat_ws(' ', item_id, model, dimension, made_of IS NOT NULL, l2_norm(vector)) FROM item_vectors"
    assert scalars(empty_database_url, beside) == ["with minilm-l6-int8 384 t 0.5"]
    run_migrations(empty_database_url, to="0003_model_calls", down=True)
    inside = "SELECT concat_ws(' ', id, vector_model, vector_norm(vector)) FROM knowledge_items ORDER BY id"
    assert scalars(empty_database_url, inside) == ["with minilm-l6-int8 0.5", "without"]


async def test_what_waits_for_its_hour_is_handed_to_people_by_a_downgrade(empty_database_url: str) -> None:
    run_migrations(empty_database_url)
    async with opened(empty_database_url) as engine, engine.begin() as db:
        for title, state in (("Later", "scheduled"), ("Asked", "open")):
            approval = await an_approval(db, await an_incident(db, state=S.WAITING, title=title))
            await db.execute(
                text("UPDATE approvals SET state = :state WHERE id = :id"), {"state": state, "id": approval}
            )
    run_migrations(empty_database_url, to="0007_memory", down=True)
    states = (
        "SELECT concat_ws(' ', i.state, a.state) FROM incidents i JOIN approvals a ON a.incident_id = i.id ORDER BY 1"
    )
    assert scalars(empty_database_url, states) == ["escalated withdrawn", "waiting open"]


# Up to this one the tables were new, or no version was in use that wrote to them meanwhile.
FIRST_WITH_TABLES_IN_USE = "0017_keeping"


def locking_indexes(path: Path) -> list[str]:
    """The indexes that a revision builds on a table that it did not make, holding up whoever writes there."""
    tree = ast.parse(path.read_text("utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    made = {ast.unparse(call.args[0]) for call in calls if call.func.attr == "create_table"}  # type: ignore[attr-defined]
    found = [
        ast.unparse(call)
        for call in calls
        if call.func.attr == "create_index" and ast.unparse(call.args[1]) not in made  # type: ignore[attr-defined]
    ]
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return found + [one for one in texts if re.search(r"CREATE\s+(UNIQUE\s+)?INDEX(?!\s+CONCURRENTLY)", one, re.I)]


def test_no_migration_holds_up_writers_while_it_builds_an_index() -> None:
    paths = [ROOT / "migrations" / "versions" / f"{name}.py" for name in REVISIONS]
    found = {path.stem: locking_indexes(path) for path in paths}
    late = {name: calls for name, calls in found.items() if name >= FIRST_WITH_TABLES_IN_USE and calls}
    assert late == {}, "build it by migrations.indexes.build"
    assert found["0012_grouping"], "or what this looks for is not what builds indexes"


def test_an_index_that_was_interrupted_is_built_anew_and_writers_are_not_held_up(empty_database_url: str) -> None:
    run_migrations(empty_database_url, to="0016_home")
    conninfo = libpq_conninfo(empty_database_url)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        # As a build leaves it that was killed while it ran.
        connection.execute("CREATE INDEX ix_deliveries_done ON deliveries (received_at) WHERE state = 'done'")
        connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_deliveries_done'::regclass")
    with psycopg.connect(conninfo) as writer:
        # While it holds the table an index can only wait, and so would all that come after an ordinary one.
        writer.execute("LOCK deliveries IN ROW EXCLUSIVE MODE")
        with ThreadPoolExecutor(1) as pool:
            migrating = pool.submit(migrate, empty_database_url)
            with psycopg.connect(conninfo, autocommit=True) as connection:
                waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s"
                while not connection.execute(waiting, ("%INDEX CONCURRENTLY%",)).fetchone():
                    assert not migrating.done(), migrating.exception()
                connection.execute("SET statement_timeout = '5s'")
                connection.execute("UPDATE deliveries SET state = state")
            writer.commit()
            assert migrating.result() == [name for name in REVISIONS if name > "0016_home"]
    assert differences(empty_database_url) == []
    invalid = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
    assert scalars(empty_database_url, invalid) == []
