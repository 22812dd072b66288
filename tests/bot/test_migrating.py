"""What Alembic's own comparison leaves out, and migrations as people and replicas run them."""

import asyncio
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor

import psycopg
import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory
from structlog.testing import capture_logs

from bot import migrating as migrating_module
from bot import revisions
from bot.migrating import migrate, standing
from bot.postgres import libpq_conninfo
from knowledge.errors import SettingsError
from knowledge.store.tables import metadata
from tests.database import REVISIONS, ROOT
from tests.waiting import until

INDEXES = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
CHECKS = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1"
COLUMNS = (
    "SELECT concat_ws(' ', table_name, column_name, udt_name, is_nullable, column_default, generation_expression) "
    "FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1"
)
# The only column, index and key of Alembic's own table.
ALEMBICS_OWN = "version_num"


def one_column(url: str, query: str) -> list[str]:
    engine = sa.create_engine(url)
    try:
        with engine.connect() as db:
            return [str(row[0]) for row in db.execute(sa.text(query))]
    finally:
        engine.dispose()


@pytest.mark.parametrize("query", [INDEXES, CHECKS, COLUMNS], ids=["indexes", "constraints", "columns"])
def test_migrations_and_tables_are_equal_in_postgresqls_own_words(
    database_url: str, empty_database_url: str, query: str
) -> None:
    """Index methods, operator classes, partial indexes, checks, defaults and generated columns too."""
    engine = sa.create_engine(empty_database_url)
    with engine.begin() as db:
        db.execute(sa.text("CREATE EXTENSION vector"))
        metadata.create_all(db)
    engine.dispose()
    migrated = [row for row in one_column(database_url, query) if ALEMBICS_OWN not in row]
    assert migrated == one_column(empty_database_url, query)


def test_the_revisions_are_known_without_alembic_as_it_knows_them() -> None:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    chain = [one.revision for one in ScriptDirectory.from_config(config).walk_revisions()]
    assert list(revisions.known()) == list(reversed(chain)) == REVISIONS
    first, *_, last = REVISIONS
    assert revisions.between(None, last) == REVISIONS
    assert revisions.between(first, last) == REVISIONS[1:]
    assert revisions.between(last, first) == list(reversed(REVISIONS[1:]))


def test_a_start_that_has_nothing_to_migrate_does_not_read_alembic(database_url: str) -> None:
    start = (
        "import sys, bot.program, bot.migrating; print(bot.migrating.migrate(sys.argv[1]), 'alembic' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", start, database_url], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["[]", "False"]


def test_going_down_by_one_ends_where_nothing_is_left(empty_database_url: str) -> None:
    migrate(empty_database_url)
    steps = [migrate(empty_database_url, to="-1", down=True) for _ in [*REVISIONS, "one more"]]
    assert steps == [*([one] for one in reversed(REVISIONS)), []]
    assert migrate(empty_database_url) == REVISIONS


def test_tables_of_a_newer_version_are_left_alone_and_named(empty_database_url: str) -> None:
    migrate(empty_database_url)
    engine = sa.create_engine(empty_database_url)
    with engine.begin() as db:
        db.execute(sa.text("UPDATE alembic_version SET version_num = '9999_tomorrow'"))
    engine.dispose()
    with pytest.raises(SettingsError, match=r"9999_tomorrow.*newer"):
        migrate(empty_database_url)
    assert one_column(empty_database_url, "SELECT version_num FROM alembic_version") == ["9999_tomorrow"]


async def test_replicas_that_start_together_migrate_one_after_the_other(empty_database_url: str) -> None:
    applied = await asyncio.gather(*(asyncio.to_thread(migrate, empty_database_url) for _ in range(4)))
    assert sorted(applied) == [[], [], [], REVISIONS]


def test_who_has_nothing_to_do_waits_for_nobodys_turn(database_url: str) -> None:
    """A pause in a pod whose tables are right, while another's migration waits for a backup to end."""
    with psycopg.connect(libpq_conninfo(database_url), autocommit=True) as another:
        another.execute("SELECT pg_advisory_lock(%s)", (migrating_module._MIGRATION_LOCK,))
        with ThreadPoolExecutor(1) as thread:
            assert thread.submit(migrate, database_url).result(timeout=20) == []


async def test_who_waits_for_another_replicas_migration_says_so_once(empty_database_url: str) -> None:
    engine = sa.create_engine(empty_database_url)
    with capture_logs() as logs:
        with engine.connect() as other:
            other.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": migrating_module._MIGRATION_LOCK})
            other.commit()
            migrating = asyncio.create_task(asyncio.to_thread(migrate, empty_database_url))
            try:
                await until(lambda: logs)
            finally:
                other.invalidate()
        assert await migrating == REVISIONS
    engine.dispose()
    assert [one["event"] for one in logs] == ["migration_waits_for_another_replica"]


def test_a_user_without_rights_is_told_in_one_sentence(empty_database_url: str) -> None:
    engine = sa.create_engine(empty_database_url)
    name = engine.url.database
    with engine.begin() as db:
        db.execute(sa.text("CREATE EXTENSION vector"))
        db.execute(sa.text("REVOKE ALL ON SCHEMA public FROM PUBLIC"))
        db.execute(sa.text(f'CREATE ROLE "{name}" LOGIN'))
    try:
        poor = engine.url.set(username=name, password=None).render_as_string(hide_password=False)
        with pytest.raises(SettingsError, match="no schema has been selected to create in") as told:
            migrate(poor)
        assert "\n" not in str(told.value)
    finally:
        with engine.begin() as db:
            db.execute(sa.text(f'DROP OWNED BY "{name}"'))
            db.execute(sa.text(f'DROP ROLE "{name}"'))
        engine.dispose()


IN_USE = "0012_grouping"
WAITS = """
    SELECT 1 FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
    WHERE relation = '{table}'::regclass AND NOT granted AND datname = current_database()
"""


def waited_for(url: str, table: str, migrating: "Future[list[str]]") -> None:
    """Until the migration waits for the table."""
    while not one_column(url, WAITS.format(table=table)):
        assert not migrating.done(), migrating.exception()


def test_a_table_in_use_is_waited_for_in_turns_that_let_others_through(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrating_module, "LOCK_TIMEOUT_MS", 200)
    migrate(empty_database_url, to=IN_USE)
    engine = sa.create_engine(empty_database_url)
    with engine.connect() as reader, engine.connect() as other, ThreadPoolExecutor(1) as pool:
        reader.execute(sa.text("SELECT 1 FROM cards"))
        migrating = pool.submit(migrate, empty_database_url)
        waited_for(empty_database_url, "cards", migrating)
        # Behind the migration, which would keep it waiting for as long as the reader's transaction lasts.
        other.execute(sa.text("SET statement_timeout = '30s'"))
        other.execute(sa.text("SELECT 1 FROM cards"))
        reader.rollback()
        other.rollback()
        assert migrating.result() == [name for name in REVISIONS if name > IN_USE]
    engine.dispose()


def test_a_migration_and_a_replica_that_wait_for_each_other_both_go_on(empty_database_url: str) -> None:
    migrate(empty_database_url, to=IN_USE)
    engine = sa.create_engine(empty_database_url)
    with engine.connect() as replica, ThreadPoolExecutor(1) as pool:
        # That it is the migration that the database ends.
        replica.execute(sa.text("SET deadlock_timeout = '1h'"))
        replica.execute(sa.text("SELECT 1 FROM incidents"))
        migrating = pool.submit(migrate, empty_database_url)
        waited_for(empty_database_url, "incidents", migrating)
        # The migration has altered `cards` already, in the same transaction.
        replica.execute(sa.text("SELECT 1 FROM cards"))
        replica.commit()
        assert migrating.result() == [name for name in REVISIONS if name > IN_USE]
    engine.dispose()


def test_a_table_that_is_never_let_go_is_said_and_nothing_is_half_done(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrating_module, "LOCK_TIMEOUT_MS", 50)
    monkeypatch.setattr(migrating_module, "TRIED_FOR_S", 0.5)
    migrate(empty_database_url, to=IN_USE)
    engine = sa.create_engine(empty_database_url)
    with engine.connect() as reader:
        reader.execute(sa.text("SELECT 1 FROM incidents"))
        with pytest.raises(SettingsError, match=r"held by another session.*pg_stat_activity"):
            migrate(empty_database_url)
        reader.rollback()
    assert one_column(empty_database_url, "SELECT version_num FROM alembic_version") == [IN_USE]
    assert migrate(empty_database_url) == [name for name in REVISIONS if name > IN_USE]
    engine.dispose()


def test_who_only_looks_leaves_an_older_versions_tables_as_they_are(empty_database_url: str) -> None:
    migrate(empty_database_url, to=IN_USE)
    with pytest.raises(SettingsError, match=rf"older version \(revision {IN_USE}.*codehealer migrate"):
        migrate(empty_database_url, only_new=True)
    assert standing(empty_database_url) == IN_USE


def test_who_only_looks_makes_the_tables_of_an_empty_database(empty_database_url: str) -> None:
    assert standing(empty_database_url) is None
    assert migrate(empty_database_url, only_new=True) == REVISIONS
    assert migrate(empty_database_url, only_new=True) == []
