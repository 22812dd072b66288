"""The time by the database's clock: this machine's may be wrong, may jump, and may differ from other replicas'."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

log = structlog.get_logger(__name__)

SYNC_EVERY_S = 30.0
ASK_DEADLINE_S = 5.0
# More than this between the two clocks is worth a line in the log: signatures with a time stamp are refused beyond it.
WORTH_TELLING = timedelta(seconds=60)


class DatabaseClock:
    """`now` is the database's time when it was asked last, and what passed since by the monotonic clock.

    Until it was asked it is this machine's time. A database that does not answer leaves it running as it was.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._base = datetime.now(UTC)
        self._at = monotonic()

    def now(self) -> datetime:
        return self._base + timedelta(seconds=self._monotonic() - self._at)

    async def sync(self, ask: Callable[[], Awaitable[datetime]]) -> None:
        """`ask` gives the database's time; half of what the answer took is added."""
        began = self._monotonic()
        told = await ask()
        took = self._monotonic() - began
        self._base, self._at = told + timedelta(seconds=took / 2), began + took

    async def run(self, engine: AsyncEngine) -> None:
        """Ask now and then, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(ASK_DEADLINE_S):
                    await self.sync(lambda: database_time(engine))
            except (SQLAlchemyError, TimeoutError) as error:
                log.warning("clock_not_compared", error=type(error).__name__)
            else:
                off = datetime.now(UTC) - self.now()
                if abs(off) > WORTH_TELLING:
                    log.warning("clock_differs_from_the_database", seconds=round(off.total_seconds()))
            await asyncio.sleep(SYNC_EVERY_S)


async def database_time(engine: AsyncEngine) -> datetime:
    async with engine.connect() as db:
        told: datetime = (await db.execute(text("SELECT clock_timestamp()"))).scalar_one()
    return told
