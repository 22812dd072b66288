"""Was it right? Thumbs as buttons and reactions, changeable, with an optional comment."""

from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import cards
from handlers.services import Services
from knowledge.redaction import redact
from knowledge.store import audit, incidents, memory, outbox

THUMBS = {"+1": 1, "thumbsup": 1, "-1": -1, "thumbsdown": -1}
MAX_COMMENT = 1_000


def thumb_of(reaction: str) -> int:
    """+1 or -1 for a thumb in any skin tone, 0 for any other reaction."""
    return THUMBS.get(reaction.split("::", maxsplit=1)[0], 0)


async def give(
    db: AsyncConnection, services: Services, *, incident_id: int, user: str, value: int, comment: str = ""
) -> None:
    """Store an opinion and show the new count; the ranking of precedents reads it from now on."""
    incident = await incidents.get(db, incident_id)
    if incident is None:
        return
    await memory.put_feedback(db, incident_id, user, value, redact(comment)[:MAX_COMMENT])
    await audit.record(db, "feedback", actor=user, incident_id=incident_id, value=value)
    await cards.show(db, services, incident)


async def react(
    db: AsyncConnection, services: Services, *, channel: str, ts: str, user: str, reaction: str, removed: bool
) -> None:
    """A reaction on a card counts as a thumb; taking it back takes the opinion back."""
    value = thumb_of(reaction)
    incident_id = await incidents.by_message(db, channel, ts) if value else None
    if incident_id is None:
        return
    place = await outbox.card_place(db, incident_id)
    if place is None or place.ts != ts:
        return  # a thumb on another app's alert says nothing about our answer
    if removed:
        await memory.drop_feedback(db, incident_id, user, value)
        incident = await incidents.get(db, incident_id)
        if incident:
            await cards.show(db, services, incident)
        return
    await give(db, services, incident_id=incident_id, user=user, value=value)
