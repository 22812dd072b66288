"""What happens by the clock, in the leading process only. The clock forgets; the database decides what is due."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from sqlalchemy.exc import SQLAlchemyError

from handlers import baseline, decisions, flow, later, thread_backfill
from handlers.services import Services
from knowledge.embedding.upkeep import HOSTED_BATCHES, embed_missing
from knowledge.errors import CodeHealerError
from knowledge.store import audit, vectors
from remediation.policy import sendable

log = structlog.get_logger(__name__)

Tick = Callable[[Services], Awaitable[None]]


async def seal_audit(services: Services) -> None:
    """Number and chain what was written since the last second."""
    async with services.engine.begin() as db:
        await audit.seal(db)


async def keep_vectors(services: Services) -> None:
    """Give the items that lack one their vectors, some each turn; what an earlier hosted model left goes at the end."""
    await embed_missing(services.engine, services.embedder)
    hosted = services.hosted_embedder
    if hosted is None:
        return  # vectors of a hosted model that is switched off stay: they were paid for
    progress = await embed_missing(services.engine, hosted, may=sendable(services.policy), batches=HOSTED_BATCHES)
    if progress is not None and progress.ready:
        async with services.engine.begin() as db:
            await vectors.drop_others(db, (services.embedder.name, hosted.name))


# Name → function, seconds between two runs.
TICKS: dict[str, tuple[Tick, float]] = {
    "seal audit": (seal_audit, 1.0),
    "note being alive": (baseline.keep_alive, 30.0),
    "expire approvals": (decisions.expire, 5.0),
    "start scheduled approvals": (later.start_due, 5.0),
    "give up overdue approvals": (later.give_up_overdue, 60.0),
    "ask again after a snooze": (later.ask_again, 5.0),
    "remind approvers": (later.remind, 10.0),
    "recheck incidents": (flow.recheck_open, 10.0),
    "keep vectors": (keep_vectors, 10.0),
    "rescue incidents left alone": (flow.rescue_left_alone, 20.0),
    "tend remembered threads": (thread_backfill.tend, 30.0),
}


async def run_schedule(services: Services) -> None:
    """Tick until cancelled. A run that was missed or is still going is not made up for."""
    scheduler = AsyncIOScheduler()
    for name, (tick, seconds) in TICKS.items():
        scheduler.add_job(
            _safely(name, tick, services), "interval", seconds=seconds, id=name, coalesce=True, max_instances=1
        )
    scheduler.start()
    try:
        await asyncio.Event().wait()
    finally:
        scheduler.shutdown(wait=False)


def _safely(name: str, tick: Tick, services: Services) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        try:
            await tick(services)
        except (SQLAlchemyError, CodeHealerError) as error:
            log.warning("tick_failed", tick=name, error=f"{type(error).__name__}")

    return run
