"""What is too old goes, a little at a time, by the clock."""

from handlers.services import Services
from knowledge.store import audit, forgetting


async def tend(services: Services) -> None:
    """Delete some of what is older than the settings keep; the next tick goes on."""
    keep = services.keep
    async with services.engine.begin() as db:
        if keep.deliveries_days:
            await forgetting.old_deliveries(db, days=keep.deliveries_days)
        if keep.incidents_days:
            for number in await forgetting.old_incidents(db, days=keep.incidents_days):
                rows = await forgetting.incident(db, number)
                await audit.record(db, "incident.deleted", incident_id=number, rows=rows, why="older than is kept")
