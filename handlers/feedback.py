"""Was it right? Thumbs as buttons and reactions, changeable, with an optional comment."""

from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import cards
from handlers.services import Services
from knowledge.model import FeedbackReason
from knowledge.redaction import redact
from knowledge.store import answers, audit, incidents, memory, outbox

THUMBS = {"+1": 1, "thumbsup": 1, "-1": -1, "thumbsdown": -1}
MAX_COMMENT = 1_000


def thumb_of(reaction: str) -> int:
    """+1 or -1 for a thumb in any skin tone, 0 for any other reaction."""
    return THUMBS.get(reaction.split("::", maxsplit=1)[0], 0)


async def give(
    db: AsyncConnection,
    services: Services,
    *,
    incident_id: int,
    user: str,
    value: int,
    comment: str = "",
    reason: str = "",
    answer_id: int | None = None,
) -> None:
    """Store an opinion and show the new count; the ranking of precedents reads it from now on.

    `answer_id` is the answer that the person saw, None where that is the newest. An opinion of a first look, or of
    another cause than the one that stands, is kept for the record of who answered, and counts for nothing else.
    """
    incident = await incidents.get(db, incident_id)
    if incident is None:
        return
    judged, stands = await answers.judged(db, incident_id, answer_id)
    await memory.put_feedback(
        db,
        incident_id,
        user,
        value,
        redact(comment)[:MAX_COMMENT],
        reason=reason if reason in set(FeedbackReason) else "",
        diagnosis_id=judged,
        stands=stands,
    )
    await audit.record(db, "feedback", actor=user, incident_id=incident_id, value=value, reason=reason)
    await cards.show(db, services, incident)


async def take_back(
    db: AsyncConnection, services: Services, *, incident_id: int, user: str, value: int | None = None
) -> None:
    """Forget a person's opinion; of this value alone where one is given."""
    await memory.drop_feedback(db, incident_id, user, value)
    await audit.record(db, "feedback.taken_back", actor=user, incident_id=incident_id)
    incident = await incidents.get(db, incident_id)
    if incident:
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
        await take_back(db, services, incident_id=incident_id, user=user, value=value)
        return
    await give(db, services, incident_id=incident_id, user=user, value=value)
