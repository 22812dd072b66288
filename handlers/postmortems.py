"""A postmortem's draft in Slack: asked for from the card's menu or by a command, written once into the card's thread.

The file's name carries the incident and its revision, so asking again while nothing has changed writes nothing, and a
job that runs again after a crash finds what it had written.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import cards, uploads
from handlers.blocks import commands as wording
from handlers.blocks.card import Card, title_words
from handlers.looking import meant
from handlers.operating import Asked
from handlers.postmortem import draft
from handlers.services import Services
from handlers.slack_calls import Refusal
from knowledge.model import Incident
from knowledge.redaction import redact
from knowledge.store import audit, history, outbox
from remediation.approvals import Person

STAGE = "postmortem"
COMMENT = "📝 A draft of the postmortem: everything in it was looked up, nobody has checked it yet."
BEING_WRITTEN = "The draft of incident {number} is being written; it comes into its card's thread."
WHICH = "Say which incident: `/codehealer postmortem 12`. `/codehealer status` lists the open ones."
NO_CARD = "Incident {number} has no card whose thread could take a draft."
NOT_TAKEN = "The draft of incident {number} could not be put into its thread: {why}"
ONLY_MEMBERS = "Only full members of this workspace may ask for a draft."


async def ask(db: AsyncConnection, services: Services, asked: Asked) -> Card:
    """`/codehealer postmortem 12`: have it written, and say so."""
    query = asked.query
    incident, _ = await meant(db, services, query.words, query.reader, query.thread)
    if incident is None:
        return wording.said(STAGE, WHICH)
    if not _member(asked.person):
        return wording.said(STAGE, ONLY_MEMBERS)
    user = asked.person.id
    key = f"{STAGE}:{incident.id}:{incident.revision}:{user}"
    click = {"user": user, "channel": query.reader.channel, "incident_id": incident.id, "key": key}
    await services.jobs.enqueue(db, STAGE, lock=f"{STAGE}:{incident.id}", click=click)
    return wording.said(STAGE, BEING_WRITTEN.format(number=incident.id))


def _member(person: Person) -> bool:
    return not (person.is_bot or person.deleted or person.restricted or person.foreign)


async def write(services: Services, click: Mapping[str, Any]) -> None:
    """The draft, as a file in the thread. `click`: user, channel, incident_id, key.

    Asked again, it stands there once: what a crash left in doubt is looked for first. Where Slack does not take it,
    whoever asked is told why.
    """
    person = await services.people.look_up(click["user"])
    async with services.engine.connect() as db:
        place = await outbox.card_place(db, click["incident_id"])
        found = await history.of_incident(db, click["incident_id"])
    why = "" if _member(person) else ONLY_MEMBERS
    if not why and (found is None or place is None or not place.ts):
        why = NO_CARD.format(number=click["incident_id"])
    if not why and found and place:
        why = await _shared(services, found.incident, draft(found, now=services.now()), place)
    async with services.engine.begin() as db:
        if why:
            await cards.tell(db, key=click["key"], channel=click["channel"], user=click["user"], text=why)
        else:
            await audit.record(db, "incident.postmortem", actor=person.id, incident_id=click["incident_id"])


async def _shared(services: Services, incident: Incident, text: str, place: outbox.CardPlace) -> str:
    """ "" once the draft stands in the thread, else why it does not."""
    title = title_words(incident.title)[:100]
    try:
        await uploads.share(
            services,
            channel=place.channel,
            thread_ts=place.root or place.ts,
            name=f"postmortem-{incident.id}-{incident.revision}.md",
            title=f"Postmortem of incident {incident.id}: {title}",
            text=redact(text),
            comment=COMMENT,
            alt=f"Draft of the postmortem of incident {incident.id}: impact, timeline, cause, decisions and outcome.",
        )
    except Refusal as refusal:
        return NOT_TAKEN.format(number=incident.id, why=refusal)
    return ""
