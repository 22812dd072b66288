"""What /readyz says: of each part what is wrong with it, None where nothing is."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.revisions import known
from knowledge.store import measures
from knowledge.store.measures import Measures

DEADLINE_S = 2.0
# What taking deliveries needs: the rest may be away, and deliveries wait for it.
INTAKE = ("database", "tables")
# Far beyond what is usual, and below what people would notice first. Slack takes about one message a second in a
# channel, so a storm's messages may wait for minutes through nobody's fault.
INBOX_STUCK_S, JOBS_STUCK_S, OUTBOX_STUCK_S = 60.0, 300.0, 900.0
# The leader says that it is there every half minute.
LEADER_GONE_S = 90.0

Checks = Mapping[str, str | None]


def readiness(
    engine: AsyncEngine, parts: Mapping[str, Callable[[], str | None]]
) -> Callable[[], Awaitable[dict[str, str | None]]]:
    """The checks behind /readyz: `parts` know by themselves, the rest is read from the database each time."""

    async def ready() -> dict[str, str | None]:
        checks: dict[str, str | None] = {name: check() for name, check in parts.items()}
        try:
            async with asyncio.timeout(DEADLINE_S), engine.connect() as db:
                at = (await db.execute(text("SELECT version_num FROM alembic_version"))).scalar_one_or_none()
                found = await measures.measure(db)
        except (SQLAlchemyError, TimeoutError) as error:
            checks["database"] = f"does not answer ({type(error).__name__})"
            return checks
        return {**checks, "database": None, "tables": behind(at), **stuck(found)}

    return ready


def behind(at: str | None) -> str | None:
    """What is wrong with tables of a revision. Those of a newer version are no fault: it is being rolled out."""
    *older, newest = known()
    if at is None or at in older:
        return f"are at revision {at or 'none'}, and this version needs {newest}; run: codehealer migrate"
    return None


def stuck(found: Measures) -> dict[str, str | None]:
    """By what waits, and for how long: pure."""

    def late(seconds: float, limit_s: float, what: str) -> str | None:
        return f"{what} for {seconds:.0f} s" if seconds > limit_s else None

    return {
        "inbox": late(found.inbox_oldest_s, INBOX_STUCK_S, "a delivery has waited"),
        "jobs": late(found.jobs_oldest_s, JOBS_STUCK_S, "a job has been due"),
        "outbox": late(found.outbox_oldest_s, OUTBOX_STUCK_S, "a message has been due"),
        "leader": late(found.leader_seen_s, LEADER_GONE_S, "no process has led"),
    }
