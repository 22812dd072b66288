"""One process at a time does what must not be done twice: the outbox, the watch, the clock.

The advisory lock belongs to a connection, so PostgreSQL drops it with the process that held it.
"""

import asyncio
from collections.abc import Awaitable, Callable

import psycopg
import structlog
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from knowledge.store.database import CONNECT_TIMEOUT_S, lasting_url

log = structlog.get_logger(__name__)

LEADER_LOCK = 7_305_004
RETRY_S = 0.5
HEARTBEAT_S = 2.0


async def lead(url: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` while this process is the leader, again whenever it becomes one; until cancelled."""
    while True:
        try:
            connection = await psycopg.AsyncConnection.connect(
                lasting_url(url), autocommit=True, connect_timeout=CONNECT_TIMEOUT_S
            )
            async with connection:
                await _elected(connection)
                log.info("leading")
                await _work_while_connected(connection, work)
        except* (psycopg.OperationalError, OperationalError, NoConnectionFree) as group:
            log.warning("leadership_lost", errors=[type(error).__name__ for error in group.exceptions])
            await asyncio.sleep(RETRY_S)


async def _elected(connection: psycopg.AsyncConnection) -> None:
    while True:
        answer = await connection.execute("SELECT pg_try_advisory_lock(%s)", (LEADER_LOCK,))
        row = await answer.fetchone()
        if row and row[0]:
            return
        await asyncio.sleep(RETRY_S)


async def _work_while_connected(connection: psycopg.AsyncConnection, work: Callable[[], Awaitable[None]]) -> None:
    """Stop working at once when the connection, and with it the lock, is lost."""
    working = asyncio.ensure_future(work())
    holding = asyncio.create_task(_hold(connection))
    try:
        done, _ = await asyncio.wait({working, holding}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        working.cancel()
        holding.cancel()
        await asyncio.gather(working, holding, return_exceptions=True)


async def _hold(connection: psycopg.AsyncConnection) -> None:
    """Raises when the connection is lost: at once where the server says so, else at the next heartbeat."""
    while True:
        await connection.execute("SELECT 1")
        # Reading rather than sleeping: another process leads as soon as the server has dropped this connection.
        async for _ in connection.notifies(timeout=HEARTBEAT_S):
            pass
