"""Bringing a database to this program's tables, and the vector extension with them."""

import time

import sqlalchemy as sa
import stamina
import structlog
from sqlalchemy.exc import DBAPIError, OperationalError

from bot import revisions
from knowledge.errors import SettingsError
from knowledge.store.database import CONNECT_TIMEOUT_S, reason_of, sqlalchemy_url

log = structlog.get_logger(__name__)

NO_EXTENSION = (
    "The user {user} may not install pgvector in the database {database}. Have an administrator run once, connected to "
    "{database}: CREATE EXTENSION vector; (on a managed server its administrator's account may, such as rds_superuser, "
    "cloudsqlsuperuser or azure_pg_admin; Azure wants VECTOR in azure.extensions first). Then start again."
)
NOT_INSTALLED = (
    "The database server has no pgvector. Install it there (Debian and Ubuntu: postgresql-{version}-pgvector; "
    "elsewhere see github.com/pgvector/pgvector), then start again."
)
NEWER = (
    "The database's tables are of another version of CodeHealer (revision {revision}), most likely a newer one. Run "
    "that version, or with it `codehealer migrate --down --to REVISION`, or set DATABASE_URL or CODEHEALER_DATA_DIR to "
    "another place."
)
OLDER = (
    "The database's tables are of an older version (revision {revision}; this one's is {newest}). `codehealer migrate` "
    "or a start brings them to this version's; until then only `backup`, `doctor` and `pause` work on them. Take a "
    "backup before."
)
IN_USE = (
    "The database's tables are held by another session, and the migration's turn never came: {reason}. Nothing is half "
    "done. End what holds them, most likely a long transaction in pg_stat_activity such as a backup, and start again."
)
# Older ones are not tried.
OLDEST_POSTGRES = 15
# Any constant: replicas that start together migrate one after the other.
_MIGRATION_LOCK = 7_305_003
TURN_EVERY_S = 0.2
# Who waits for a table holds up all who come after, so a revision waits briefly, steps back, and tries again.
LOCK_TIMEOUT_MS, TRIED_FOR_S, LONGEST_PAUSE_S = 2_000, 600.0, 5.0
# deadlock_detected and lock_not_available: the revision was rolled back, for the sake of somebody else's work.
_HELD = frozenset({"40P01", "55P03"})


class NewerTables(SettingsError):
    """The tables are at a revision that this version does not know."""


def migrate(url: str, *, to: str = "head", down: bool = False, only_new: bool = False) -> list[str]:
    """Move the database's tables to revision `to`; the revisions that were applied, in order.

    With `only_new` an empty database gets its tables, and those of an older version are left as they are.

    Each revision is committed by itself: after a failure or a kill the next start goes on with the one that was left.
    One that meets others at the tables, as an older version's replicas, is tried again for ten minutes.

    With `down`, `to` may also be "-1": back by one, which is nothing where nothing is left.

    Raises:
        NewerTables: they are of a newer version.
        SettingsError: the database cannot be reached, refuses the vector extension, or there is no such revision; with
            `only_new` its tables are of an older version.
    """
    known = revisions.known()
    if to not in {*known, "head", "base"} | ({"-1"} if down else set()):
        raise SettingsError(f"There is no revision {to!r}; known are {', '.join(known)}.")
    engine = _engine(url)
    applied: list[str] = []
    try:
        for attempt in stamina.retry_context(
            on=_is_held, attempts=None, timeout=TRIED_FOR_S, wait_initial=0.2, wait_max=LONGEST_PAUSE_S
        ):
            with attempt, engine.connect() as connection:
                if to == "head" and _at(connection) == known[-1]:
                    return applied  # who has nothing to do waits for nobody's turn
                _take_turn(connection)
                _ensure_vector(connection)
                before = _at(connection)
                if before is None and to == "-1":
                    return []
                if before is not None and before not in known:
                    raise NewerTables(NEWER.format(revision=before))
                if before == known[-1] and to == "head":
                    return applied
                if only_new and before is not None:
                    raise SettingsError(OLDER.format(revision=before, newest=known[-1]))
                from bot.altering import alter  # noqa: PLC0415  most starts alter nothing

                connection.execute(sa.text(f"SET lock_timeout = {LOCK_TIMEOUT_MS}"))
                connection.commit()
                try:
                    alter(connection, to, down=down)
                finally:
                    connection.rollback()
                    applied += revisions.between(before, _at(connection))
        return applied
    except OperationalError as error:
        if _is_held(error):
            raise SettingsError(IN_USE.format(reason=reason_of(error))) from None
        raise SettingsError(f"The database cannot be reached: {reason_of(error)}. Check DATABASE_URL.") from None
    except DBAPIError as error:
        raise SettingsError(
            f"The database refuses this program's tables: {reason_of(error)}. Check DATABASE_URL and its user's rights."
        ) from None
    finally:
        engine.dispose()


def _engine(url: str) -> sa.Engine:
    return sa.create_engine(
        sqlalchemy_url(url), connect_args={"connect_timeout": CONNECT_TIMEOUT_S}, poolclass=sa.NullPool
    )


def _is_held(error: Exception) -> bool:
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", "") in _HELD


def _take_turn(connection: sa.Connection) -> None:
    """Wait until no other replica migrates; the turn ends with the connection.

    By asking again: a statement that waits for the lock has a snapshot, and an index that is built concurrently waits
    for the end of all of those.
    """
    turn = sa.text("SELECT pg_try_advisory_lock(:key)")
    waits = False
    while not connection.scalar(turn, {"key": _MIGRATION_LOCK}):
        connection.commit()
        if not waits:
            log.info("migration_waits_for_another_replica")
            waits = True
        time.sleep(TURN_EVERY_S)
    connection.commit()


def _at(connection: sa.Connection) -> str | None:
    """The revision that the tables are at; None where there are none."""
    there = connection.scalar(sa.text("SELECT to_regclass('alembic_version')"))
    at = connection.scalar(sa.text("SELECT version_num FROM alembic_version")) if there else None
    connection.commit()
    return at


def standing(url: str) -> str | None:
    """The revision that the tables are at; None where there are none. Nothing is changed.

    Raises SettingsError: the database cannot be reached, or would refuse the vector extension.
    """
    engine = _engine(url)
    try:
        with engine.connect() as connection:
            _ensure_vector(connection)
            connection.rollback()
            return _at(connection)
    except DBAPIError as error:
        raise SettingsError(f"The database cannot be reached: {reason_of(error)}. Check DATABASE_URL.") from None
    finally:
        engine.dispose()


def ensure_vector(url: str) -> None:
    """Have the extension there. Raises SettingsError: it cannot be installed, or the server is too old."""
    engine = _engine(url)
    try:
        with engine.begin() as connection:
            _ensure_vector(connection)
    finally:
        engine.dispose()


def _ensure_vector(connection: sa.Connection) -> None:
    version = int(str(connection.scalar(sa.text("SHOW server_version_num")))) // 10_000
    if version < OLDEST_POSTGRES:
        raise SettingsError(f"The database is PostgreSQL {version}; CodeHealer needs {OLDEST_POSTGRES} or newer.")
    if connection.scalar(sa.text("SELECT 1 FROM pg_extension WHERE extname = 'vector'")):
        return
    user, database = connection.execute(sa.text("SELECT current_user, current_database()")).one()
    try:
        with connection.begin_nested():
            connection.execute(sa.text("CREATE EXTENSION vector"))
    except DBAPIError as error:
        # feature_not_supported: no such extension on this server (its control file is missing).
        if getattr(error.orig, "sqlstate", "") in {"0A000", "58P01"}:
            raise SettingsError(NOT_INSTALLED.format(version=version)) from None
        raise SettingsError(NO_EXTENSION.format(user=user, database=database)) from None
