"""Doctor's checks of the installation itself: clock, tables, what is stuck or given up, cache, and who is called."""

import asyncio
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.clock import database_time
from bot.finding import Finding
from bot.pause_file import paused_by
from bot.readiness import behind, stuck
from bot.settings import Settings
from knowledge.cache import reach_redis
from knowledge.store import measures

# Slack refuses nothing below five minutes, and people read times on cards.
CLOCK_OFF = timedelta(seconds=5)


async def standing(engine: AsyncEngine, settings: Settings) -> list[Finding]:
    """What one look into the database tells."""
    clock = _clock(datetime.now(UTC) - await database_time(engine))
    async with engine.connect() as db:
        if (await db.execute(text("SELECT to_regclass('alembic_version')"))).scalar_one() is None:
            return [clock, Finding("tables", True, "none yet", "`codehealer run` makes them, or: codehealer migrate")]
        at = (await db.execute(text("SELECT version_num FROM alembic_version"))).scalar_one_or_none()
        if late := behind(at):
            return [clock, Finding("tables", False, late, "Run: codehealer migrate")]
        found = await measures.measure(db)
    file = await asyncio.to_thread(paused_by, settings.pause_file)
    return [clock, Finding("tables", True, f"at revision {at}"), _work(file, found)]


def _clock(off: timedelta) -> Finding:
    seconds = off.total_seconds()
    said = f"{abs(seconds):.1f} s {'before' if seconds > 0 else 'behind'} the database's"
    remedy = "" if abs(off) <= CLOCK_OFF else "Set this machine's clock, or the database's, by NTP."
    return Finding("clock", not remedy, said, remedy)


def _work(file: str, found: measures.Measures) -> Finding:
    """What waits too long, what was given up, and what stops everything; `file` is what `paused_by` says."""
    # Nobody has to lead while doctor looks: the bot may be stopped.
    hangs = [f"{part}: {why}" for part, why in stuck(found).items() if why and part != "leader"]
    if hangs:
        return Finding("work", False, "; ".join(hangs), "Is the bot running? Its log and /readyz say what hangs.")
    if found.jobs_dead:
        remedy = "codehealer dead list says why; codehealer dead retry N gives one its attempts again."
        return Finding("work", False, f"{found.jobs_dead} jobs were given up", remedy)
    by = file or ("codehealer pause" if found.paused else "")
    if by:
        remedy = "Remove the file." if file else "codehealer resume ends it."
        return Finding("work", True, f"paused by {by}: nothing is carried out", remedy)
    return Finding("work", True, f"{found.incidents_open} open incidents, nothing waits too long")


async def cache(settings: Settings) -> Finding:
    if not settings.redis_url:
        return Finding("cache", True, "in each process' memory", "Set REDIS_URL where several replicas ask models.")
    problem = await reach_redis(settings.redis_url)
    return Finding("cache", not problem, problem or "Redis answers", "Check REDIS_URL." if problem else "")


async def calls(settings: Settings) -> Finding:
    """Who is called when a fix fails, and when the bot itself does: nobody is called to try it."""
    pager = bool(settings.pagerduty_routing_key.get_secret_value())
    switch = bool(settings.heartbeat_url.get_secret_value())
    said = f"{'PagerDuty' if pager else 'nobody but Slack'} for incidents, "
    said += "a dead-man's switch for the bot itself" if switch else "nobody for the bot itself"
    remedy = "" if switch else "Set CODEHEALER_HEARTBEAT_URL to a dead-man's switch that calls you when the POSTs end."
    return Finding("calls", True, said, remedy)
