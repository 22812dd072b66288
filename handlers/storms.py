"""Where the card of a new incident goes: the channel, a storm's thread, or that of the same failure before.

When many incidents open in a channel within minutes, the first have cards there; the others' are in the thread of one
message that tells of the storm and is edited. What comes back again and again the same day stands under its first
card. Neither calls anybody in the channel; what is critical always has a card of its own there.
"""

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from handlers.blocks.card_view import Card
from handlers.blocks.storm import storm_card
from handlers.mentions import QUESTION_SOURCE
from handlers.services import Services
from knowledge.model import Alert, Incident
from knowledge.severity import CRITICAL
from knowledge.store import grouping, outbox, storms

EDIT_EVERY_S = 5.0
# How often the same failure opens within a day before it is no news any more.
FLAPPING, FLAPPING_WITHIN = 3, timedelta(days=1)


def _loud(source: str, severity: str) -> bool:
    return severity in CRITICAL or source == QUESTION_SOURCE


async def flapping_thread(db: AsyncConnection, alert: Alert, channel: str) -> str:
    """The ts under which the card of a failure belongs that has come and gone before the same day; "" for a new one."""
    if _loud(alert.source, alert.severity):
        return ""
    return await grouping.earlier_card(db, alert.identity, channel, times=FLAPPING, within=FLAPPING_WITHIN)


async def joins(db: AsyncConnection, services: Services, incident: Incident) -> int | None:
    """The storm that an incident is part of, which begins with it where it is one too many."""
    if _loud(incident.source, incident.severity) or incident.thread_ts or not services.timing.storm_after:
        return None
    channel = incident.channel or services.channel
    opened, storm_id = await storms.weather(db, channel, most=services.timing.storm_after + 1)
    if opened <= services.timing.storm_after and (storm_id is None or opened <= services.timing.storm_after // 2):
        return None
    storm_id = storm_id or await storms.begin(db, channel)
    await storms.join(db, storm_id, incident.id)
    return storm_id


async def changed(db: AsyncConnection, services: Services, incident: Incident) -> None:
    """An incident of a storm has changed, and the storm's message tells so soon."""
    if incident.storm_id:
        key = outbox.storm_key(incident.storm_id)
        await outbox.show_summary(db, key, incident.channel or services.channel, in_s=EDIT_EVERY_S)


async def render(db: AsyncConnection, services: Services, key: str) -> Card | None:
    """The message of a storm, by its key."""
    storm = await storms.read(db, int(key.removeprefix("storm:")))
    return storm_card(storm, services.now()) if storm else None
