"""What is too old goes, a little at a time, by the clock."""

import structlog

from handlers.services import Services
from knowledge.store import audit, forgetting, incidents

log = structlog.get_logger(__name__)

# In one tick, each in a short transaction of its own: what a storm brings in a minute goes in a minute.
MOST_BATCHES = 20


async def tend(services: Services) -> None:
    """Delete some of what is older than the settings keep; the next tick goes on."""
    keep = services.keep
    if keep.deliveries_days:
        for _ in range(MOST_BATCHES):
            async with services.engine.begin() as db:
                gone = await forgetting.old_deliveries(db, days=keep.deliveries_days)
            if gone < forgetting.BATCH:
                break
        async with services.engine.begin() as db:
            given_up = await forgetting.old_dead_letters(db, days=keep.deliveries_days)
        if given_up:
            log.warning("dead_letters_deleted", count=given_up, older_than_days=keep.deliveries_days)
    if keep.incidents_days:
        async with services.looks.connect() as db:
            numbers = await forgetting.old_incidents(db, days=keep.incidents_days)
        for number in numbers:
            await _forget(services, number)


async def _forget(services: Services, number: int) -> None:
    async with services.engine.begin() as db:
        incident = await incidents.get(db, number, lock=True)
        if incident is None or incident.resolved_at is None:
            return  # deleted, or open again, since it was looked for
        rows = await forgetting.incident(db, number)
        await audit.record(db, "incident.deleted", incident_id=number, rows=rows, why="older than is kept")
