"""Opening PostgreSQL: the pool, and a connection that listens for news of other processes."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import psycopg
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from knowledge.errors import SettingsError

CONNECT_TIMEOUT_S = 5


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


def open_engine(url: str, *, pool_size: int = 5, max_overflow: int = 10) -> AsyncEngine:
    """The pool of a long-lived process (row K1: 5 and 10 more); the caller disposes of it."""
    return create_async_engine(
        sqlalchemy_url(url),
        pool_size=pool_size,
        max_overflow=max_overflow,
        pool_pre_ping=True,
        pool_timeout=10,
        connect_args={"connect_timeout": CONNECT_TIMEOUT_S, "options": "-c timezone=UTC -c statement_timeout=30000"},
    )


async def notify(db: AsyncConnection, channel: str) -> None:
    """Wake the listeners of `channel` when this transaction commits."""
    await db.execute(text("SELECT pg_notify(:channel, '')"), {"channel": channel})


async def listen(url: str, wake: Mapping[str, asyncio.Event], *, back_off_s: float = 1.0) -> None:
    """Set the event of each channel that is notified, until cancelled; a lost connection is opened again.

    All events are set after each (re)connection: what was notified in between is not lost.
    """
    while True:
        try:
            async with _listening(url, tuple(wake)) as connection:
                for event in wake.values():
                    event.set()
                async for note in connection.notifies():
                    wake[note.channel].set()
        except psycopg.OperationalError:
            await asyncio.sleep(back_off_s)


@asynccontextmanager
async def _listening(url: str, channels: tuple[str, ...]) -> AsyncIterator[psycopg.AsyncConnection]:
    connection = await psycopg.AsyncConnection.connect(
        libpq_url(url), autocommit=True, connect_timeout=CONNECT_TIMEOUT_S
    )
    async with connection:
        for channel in channels:
            await connection.execute(psycopg.sql.SQL("LISTEN {}").format(psycopg.sql.Identifier(channel)))
        yield connection
