"""Opening PostgreSQL: the pool, and a connection that listens for news of other processes."""

import asyncio
import random
import re
import select as select_module
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import psycopg
from sqlalchemy import AsyncAdaptedQueuePool, NullPool, Select, event, func, select, text
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import DBAPIError, InvalidatePoolError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.expression import HasCTE

from knowledge.errors import SettingsError

CONNECT_TIMEOUT_S = 5
# A host that is gone without a word is noticed within half a minute, where the kernel takes a quarter of an hour. A
# server that only reads is none to work on: the former primary after a failover, or one whose disk is full.
_LASTING = {
    "tcp_user_timeout": "15000", "keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "3",
    "target_session_attrs": "read-write",
}  # fmt: skip
_READ_ONLY = psycopg.errors.ReadOnlySqlTransaction.sqlstate
PING_AFTER_S = 1.0
# When those look for work who have not brought it themselves, in seconds after its news. Who brought it was mostly
# killed where something still waits then.
OTHERS_LOOK_S = (0.25, 0.5)


def sqlalchemy_url(url: str) -> str:
    """Any PostgreSQL URL as one for SQLAlchemy with psycopg.

    Raises:
        SettingsError: not a PostgreSQL URL.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.split("+")[0] not in {"postgres", "postgresql"}:
        raise SettingsError(
            "DATABASE_URL is not a PostgreSQL URL; it looks like postgresql://user@host:5432/codehealer"
        )
    return f"postgresql+psycopg://{rest}"


def libpq_url(url: str) -> str:
    """The same database for psycopg and libpq's own tools."""
    return make_url(sqlalchemy_url(url)).set(drivername="postgresql").render_as_string(hide_password=False)


def lasting_url(url: str) -> str:
    """The same for a connection that stays; what the URL says of its upkeep itself holds."""
    return make_url(libpq_url(url)).update_query_dict(_lasting(url)).render_as_string(hide_password=False)


def _lasting(url: str) -> dict[str, str]:
    said = make_url(sqlalchemy_url(url)).query
    return {name: value for name, value in _LASTING.items() if name not in said}


def reason_of(error: DBAPIError) -> str:
    """PostgreSQL's own first line, without the statement and its values."""
    lines = str(error.orig).strip().splitlines() if error.orig else []
    return lines[0].rstrip(".") if lines else type(error).__name__


@dataclass(frozen=True, slots=True)
class Pool:
    """Connections that are kept, and how many more may be open in a burst and for half a minute after it."""

    size: int = 5
    overflow: int = 10


NO_POOL = Pool(0, 0)


class BurstPool(AsyncAdaptedQueuePool):
    """Keeps what a burst has opened until it has been over for a while.

    The plain pool closes what is beyond its size at each return: in a burst of clicks each statement or two opened a
    connection of its own, and none was prepared on the server twice.
    """

    CALM_AFTER_S = 30.0

    def __init__(self, creator: Any, pool_size: int = 5, max_overflow: int = 10, **more: Any) -> None:
        super().__init__(creator, pool_size=pool_size, max_overflow=max_overflow, **more)
        self._kept = pool_size
        self._pool = self._queue_class(pool_size + max_overflow, use_lifo=self._pool.use_lifo)
        self._calm_at = 0.0

    def _do_get(self) -> ConnectionPoolEntry:
        found = super()._do_get()
        if self._overflow > 0 and self._pool.qsize() < self._overflow:  # more are in use than are kept
            self._calm_at = time.monotonic() + self.CALM_AFTER_S
        return found

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        if self._pool.qsize() < self._kept or time.monotonic() < self._calm_at:
            super()._do_return_conn(record)
            return
        try:
            record.close()
        finally:
            self._dec_overflow()

    def checkedout(self) -> int:
        """How many are in use. The plain pool reckons from its queue's length, which is longer here."""
        return self._kept - self._pool.qsize() + self._overflow

    def recreate(self) -> "BurstPool":
        kept, self._pool.maxsize = self._pool.maxsize, self._kept  # which the plain pool takes for its size
        try:
            return cast("BurstPool", super().recreate())
        finally:
            self._pool.maxsize = kept


def open_engine(url: str, *, pool_size: int = 5, max_overflow: int = 10) -> AsyncEngine:
    """The engine of a long-lived process (5 connections and 10 more in a burst); the caller disposes of it.

    With `pool_size` 0, for short and serverless processes, none is kept: each use opens a connection and closes it, and
    statements are not prepared on the server, which poolers such as PgBouncer would not survive.
    """
    arguments: dict[str, Any] = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "options": "-c timezone=UTC -c statement_timeout=30000",
    }
    if not pool_size:
        arguments["prepare_threshold"] = None
        return create_async_engine(sqlalchemy_url(url), poolclass=NullPool, connect_args=arguments)
    engine = create_async_engine(
        sqlalchemy_url(url),
        poolclass=BurstPool,
        pool_size=pool_size,
        max_overflow=max_overflow,
        pool_timeout=10,
        connect_args=arguments | _lasting(url),
    )
    _ping_what_was_idle(engine)
    _leave_what_only_reads(engine)
    return engine


def autocommitting(engine: AsyncEngine) -> AsyncEngine:
    """The same engine and pool, each statement a transaction of its own: for looks, and for what one statement writes.

    BEGIN and ROLLBACK, or COMMIT, are two more round trips, and after a ROLLBACK psycopg forgets every statement that
    it has prepared. Nothing may be locked or SET LOCAL for a later statement.
    """
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def _leave_what_only_reads(engine: AsyncEngine) -> None:
    """A server that has come to refuse writes counts as away, and its connections are opened anew.

    To psycopg it is an error of the program's, after which a stage would be given up and a loop would end.
    """

    def away(context: ExceptionContext) -> OperationalError | None:
        error = context.original_exception
        if not isinstance(error, psycopg.Error) or error.sqlstate != _READ_ONLY:
            return None
        context.is_disconnect = True
        return OperationalError(context.statement, None, error, hide_parameters=True, connection_invalidated=True)

    event.listen(engine.sync_engine, "handle_error", away, retval=True)


def _ping_what_was_idle(engine: AsyncEngine) -> None:
    """Ask a connection whether it still lives before it is used, unless it was used a moment ago and is quiet.

    The pool's own ping asks each time, which is a fourth of all round trips when there is much to do.
    """

    def quiet(connection: Any) -> bool:
        # A server that ends a connection says so, and what it said waits to be read.
        waits = select_module.poll()
        waits.register(connection.driver_connection.pgconn.socket, select_module.POLLIN)
        return not waits.poll(0)

    def used(_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info["used_at"] = time.monotonic()

    def ping(connection: Any, record: ConnectionPoolEntry, _fairy: Any) -> None:
        used_at = record.info.get("used_at")
        if used_at is None:
            return
        try:
            if time.monotonic() - used_at < PING_AFTER_S and quiet(connection):
                return
            engine.dialect.do_ping(connection)
        except psycopg.Error as error:
            # One that has died is seldom alone: the pool opens all anew.
            raise InvalidatePoolError from error

    event.listen(engine.sync_engine, "checkin", used)
    event.listen(engine.sync_engine, "checkout", ping)


def is_of_the_data(error: DBAPIError | UnicodeError) -> bool:
    """Whether an error is of what was to be stored and not of the database's state: trying again changes nothing.

    PostgreSQL files a value that is too long for its index under the server's own troubles.
    """
    if isinstance(error, UnicodeError):
        return True
    return isinstance(error.orig, psycopg.errors.ProgramLimitExceeded | psycopg.DataError)


def read_pool(value: str) -> Pool:
    """`on` (5+10), `off`, or sizes such as `8` or `8+4`.

    Raises:
        ValueError: it is none of these.
    """
    word = value.strip().lower()
    if word in {"off", "false", "no", "0"}:
        return NO_POOL
    if word in {"on", "true", "yes", ""}:
        return Pool()
    found = re.fullmatch(r"([1-9]\d{0,2})(?:\+(\d{1,3}))?", word.replace(" ", ""))
    if found is None:
        raise ValueError("must be on, off, or a number of connections such as 5+10 (kept + more for a moment)")
    return Pool(int(found[1]), int(found[2] or 0))


_NOTIFY = text("SELECT pg_notify(:channel, '')")


async def notify(db: AsyncConnection, channel: str) -> None:
    """Wake the listeners of `channel` when this transaction commits."""
    await db.execute(_NOTIFY, {"channel": channel})


def announced(written: HasCTE, channel: str) -> Select[Any]:
    """An insert that returns its rows, as one statement with the notification that there are some."""
    return select(func.pg_notify(channel, "")).select_from(written.cte("written"))


async def listen(url: str, wake: Mapping[str, asyncio.Event], *, own: str = "", back_off_s: float = 1.0) -> None:
    """Set the event of each channel that is notified, until cancelled; a lost connection is opened again.

    All events are set after each (re)connection: what was notified in between is not lost. News that names another
    process than `own` sets its event a moment later: who brought it is the first to look, and mostly the last.
    """
    while True:
        later: dict[str, asyncio.TimerHandle] = {}
        try:
            async with _listening(url, tuple(wake)) as connection:
                for event in wake.values():
                    event.set()
                async for note in connection.notifies():
                    if note.payload in {"", own}:
                        wake[note.channel].set()
                    elif note.channel not in later or later[note.channel].when() <= asyncio.get_running_loop().time():
                        wait_s = random.uniform(*OTHERS_LOOK_S)  # noqa: S311  replicas must not come in step
                        later[note.channel] = asyncio.get_running_loop().call_later(wait_s, wake[note.channel].set)
        except psycopg.OperationalError:
            await asyncio.sleep(back_off_s)


@asynccontextmanager
async def _listening(url: str, channels: tuple[str, ...]) -> AsyncIterator[psycopg.AsyncConnection]:
    connection = await psycopg.AsyncConnection.connect(
        lasting_url(url), autocommit=True, connect_timeout=CONNECT_TIMEOUT_S
    )
    async with connection:
        for channel in channels:
            await connection.execute(psycopg.sql.SQL("LISTEN {}").format(psycopg.sql.Identifier(channel)))
        yield connection
