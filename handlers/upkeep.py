"""What nobody triggers: an incident that went quiet is followed up once, and channels get their digest.

The clock only asks; the database's clock says what is due, and one compare-and-set who does it.
"""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import cards, reading, tending
from handlers.blocks import upkeep as wording
from handlers.blocks.card_view import Card
from handlers.services import Services
from handlers.view import card_view
from knowledge.periods import last_due
from knowledge.store import audit, incidents, outbox, personal, schedule

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
                view = await card_view(db, services, incident)
                said = wording.follow_up(view, hours, ends=await tending.ends_by_itself(db, incident))
                await cards.tell_thread(db, services, incident, "follow-up", said)
                await audit.record(db, schedule.FOLLOWED_UP, incident_id=incident_id, hours=hours)


async def send_digests(services: Services) -> None:
    """Write each channel its digest when one is due, and those people who want one; several missed become one."""
    period = services.timing.digest
    if period is None:
        return
    async with services.engine.connect() as db:
        due = last_due(period, await schedule.now(db))
        if not await schedule.is_due(db, DIGEST, due):
            return
        people = await personal.who_want_digests(db)
    # Who reads what is asked before the transaction: a rollback only asks again.
    channels = {user: await reading.channels_of(services, user) for user in people}
    async with services.engine.begin() as db:
        if not await schedule.take(db, DIGEST, due, at_most_ahead=period.length):
            return
        since, now = due - period.length, await schedule.now(db)
        found = await schedule.digests(db, since=since, until=due, channel=services.channel)
        told = [one for one in found if one.channel and (one.opened or one.healed or one.ended or one.open)]
        for one in told:
            if one.channel not in services.policy.slack.no_digest:
                oldest = [seen for number in one.oldest if (seen := await incidents.get(db, number))]
                card = wording.digest(one, oldest, since=since, now=now, zone=period.zone)
                await _send(db, "post", one.channel, due, card)
        for user, chosen in people.items():
            mine = [one for one in told if one.channel in channels[user]]
            if mine:
                card = wording.own_digest(mine, since=since, now=now)
                await _send(db, "direct", user, due, card, in_s=chosen.quiet_for(now).total_seconds())
        await audit.record(db, "digest", due=due.isoformat())


async def _send(  # noqa: PLR0917  whose digest it is and what it says
    db: AsyncConnection, kind: str, to: str, due: datetime, card: Card, in_s: float = 0
) -> None:
    await outbox.put(
        db,
        kind=kind,
        key=f"digest:{to}:{due.isoformat()}",
        channel=to,
        payload={"text": card.text, "blocks": card.blocks},
        in_s=in_s,
    )
