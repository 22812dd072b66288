"""What nobody triggers: an incident that went quiet is followed up once, and channels get their digest.

The clock only asks; the database's clock says what is due, and one compare-and-set who does it.
"""

from handlers import cards
from handlers.blocks import upkeep as wording
from handlers.services import Services
from knowledge.periods import last_due
from knowledge.store import audit, incidents, outbox, schedule

DIGEST = "digest"


async def follow_up(services: Services) -> None:
    """Remind the thread of each open incident that has had no news for a while."""
    hours = services.timing.follow_up_hours
    if not hours:
        return
    async with services.engine.connect() as db:
        silent = await schedule.quiet(db, quiet_s=hours * 3600)
    for incident_id in silent:
        async with services.engine.begin() as db:
            incident = await incidents.get(db, incident_id, lock=True)
            # Looked at again under the lock: what another process has said meanwhile is in the audit log by now.
            if incident and incident_id in await schedule.quiet(db, quiet_s=hours * 3600, most=1000):
                await cards.tell_thread(db, services, incident, "follow-up", wording.follow_up(incident, hours))
                await audit.record(db, schedule.FOLLOWED_UP, incident_id=incident_id, hours=hours)


async def send_digests(services: Services) -> None:
    """Write each channel its digest when one is due; several that were missed become one."""
    period = services.timing.digest
    if period is None:
        return
    async with services.engine.begin() as db:
        now = await schedule.now(db)
        due = last_due(period, now)
        if not await schedule.take(db, DIGEST, due, at_most_ahead=period.length):
            return
        since = due - period.length
        for found in await schedule.digests(db, since=since, until=due, channel=services.channel):
            if not found.channel or not (found.opened or found.healed or found.ended or found.open):
                continue
            oldest = [one for number in found.oldest if (one := await incidents.get(db, number))]
            card = wording.digest(found, oldest, since=since, now=now)
            await outbox.put(
                db,
                kind="post",
                key=f"digest:{found.channel}:{due.isoformat()}",
                channel=found.channel,
                payload={"text": card.text, "blocks": card.blocks},
            )
        await audit.record(db, "digest", due=due.isoformat())
