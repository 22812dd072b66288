"""What happens by the clock, in the leading process only. The clock forgets; the database decides what is due."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger
from sqlalchemy.exc import SQLAlchemyError

from handlers import (
    baseline,
    cards,
    comparing,
    decisions,
    home,
    hushing,
    keeping,
    later,
    redelivery,
    tending,
    thread_backfill,
    upkeep,
)
from handlers.services import Services
from knowledge.embedding.upkeep import HOSTED_BATCHES, embed_missing
from knowledge.errors import CodeHealerError
from knowledge.store import analytics, audit, vectors
from remediation.policy import sendable

log = structlog.get_logger(__name__)

CLOCK_EVERY_S = 1.0
# Clocks are disciplined by less than this in a second.
JUMP_S = 2.0

wall_clock = time.time
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


async def settle_figures(services: Services) -> None:
    """Count once and for all what ended long ago, some incidents at a time."""
    async with services.engine.begin() as db:
        await analytics.settle(db)


# Name → function, seconds between two runs.
TICKS: dict[str, tuple[Tick, float]] = {
    "seal audit": (seal_audit, 1.0),
    "note being alive": (baseline.keep_alive, 30.0),
    "expire approvals": (decisions.expire, 5.0),
    "start scheduled approvals": (later.start_due, 5.0),
    "give up overdue approvals": (later.give_up_overdue, 60.0),
    "ask again after a snooze": (later.ask_again, 5.0),
    "remind approvers": (later.remind, 10.0),
    "call after quiet hours": (cards.call_after_quiet, 30.0),
    "tell what was kept quiet": (hushing.tell_what_lasted, 15.0),
    "compare with Alertmanager": (comparing.with_alertmanager, 120.0),
    "compare with Argo CD": (comparing.with_argocd, 120.0),
    "ask for failed deliveries": (redelivery.ask, 900.0),
    "recheck incidents": (tending.recheck_open, 10.0),
    "keep vectors": (keep_vectors, 10.0),
    "rescue incidents left alone": (tending.rescue_left_alone, 20.0),
    "tend remembered threads": (thread_backfill.tend, 30.0),
    "keep Homes current": (home.keep_current, 3.0),
    "settle figures": (settle_figures, 60.0),
    "send digests": (upkeep.send_digests, 30.0),
    "follow up": (upkeep.follow_up, 60.0),
    "delete what is old": (keeping.tend, 60.0),
}


# What is done at once when a process takes over: something may have got lost while none was there.
AT_ONCE = frozenset({"compare with Alertmanager", "compare with Argo CD", "ask for failed deliveries"})


class Every(BaseTrigger):  # type: ignore[misc]
    """So many seconds after the last run. APScheduler's own interval counts through each run that a clock which was set
    has left out: a month of seconds would stop the event loop for a minute."""

    def __init__(self, seconds: float) -> None:
        self._interval = timedelta(seconds=seconds)

    def get_next_fire_time(self, _previous: datetime | None, now: datetime) -> datetime:
        return now + self._interval


async def run_schedule(services: Services, ticks: Mapping[str, tuple[Tick, float]] = TICKS) -> None:
    """Tick until cancelled. A run that was missed or is still going is not made up for."""
    scheduler = AsyncIOScheduler()
    for name, (tick, seconds) in ticks.items():
        at_once = {"next_run_time": datetime.now(UTC)} if name in AT_ONCE else {}
        # However late: by default what is a second late is left out, and a busy machine is often later.
        scheduler.add_job(_safely(name, tick, services), Every(seconds), id=name, max_instances=1,
                          misfire_grace_time=None, **at_once)  # fmt: skip
    scheduler.start()
    try:
        await _mind_the_clock(scheduler)
    finally:
        scheduler.shutdown(wait=False)


async def _mind_the_clock(scheduler: AsyncIOScheduler) -> None:
    """Have everything tick at once when the clock was set: the scheduler would wait until the old time comes again."""
    offset_s = wall_clock() - time.monotonic()
    while True:
        await asyncio.sleep(CLOCK_EVERY_S)
        now_s = wall_clock() - time.monotonic()
        if abs(now_s - offset_s) > JUMP_S:
            log.warning("clock_jumped", seconds=round(now_s - offset_s))
            offset_s = now_s
            for job in scheduler.get_jobs():
                job.modify(next_run_time=datetime.fromtimestamp(wall_clock(), UTC))


def _safely(name: str, tick: Tick, services: Services) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        try:
            await tick(services)
        except (SQLAlchemyError, CodeHealerError, TimeoutError) as error:
            log.warning("tick_failed", tick=name, error=f"{type(error).__name__}")
        except asyncio.CancelledError:
            # Another process leads from now on; the scheduler would tell of this as a failure.
            return

    return run
