"""What is put into a card's thread as a file, once: a postmortem's draft, and the whole evidence that quotes are from.

Asked for from the card's menu or by a command. A file's name carries the incident and its revision, so asking again
while nothing has changed writes nothing, and a job that runs again after a crash finds what it had written.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import cards, uploads
from handlers.blocks import commands as wording
from handlers.blocks import mrkdwn as m
from handlers.blocks.actions import EVIDENCE, POSTMORTEM
from handlers.blocks.card_view import Card
from handlers.blocks.evidence import EVIDENCE_NAMES
from handlers.blocks.incident_words import title_words
from handlers.looking import meant
from handlers.operating import Asked
from handlers.postmortem import draft
from handlers.services import Services
from handlers.slack_calls import Refusal
from knowledge.model import Evidence
from knowledge.redaction import redact
from knowledge.store import audit, history, incidents, outbox
from knowledge.store.history import History
from knowledge.store.outbox import CardPlace
from remediation.approvals import Person

WHICH = "Say which incident: `/codehealer {name} 12`. `/codehealer status` lists the open ones."
NO_CARD = "Incident {number} has no card whose thread could take a file."
NOT_TAKEN = "The {what} of incident {number} could not be put into its thread: {why}"
ONLY_MEMBERS = "Only full members of this workspace may ask for that."
NOTHING = "Nothing was collected about incident {number}, so there is no file to show."


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of file: what it is called, how its name ends, what stands over and beside it, what is in it."""

    what: str
    suffix: str
    comment: str
    alt: str
    text: Callable[[History, datetime], str]


def evidence_text(found: History, _now: datetime) -> str:
    """All that was collected, as it is stored, with the line numbers that the quotes have; "" where there is none."""
    return "\n\n".join(part for item in found.evidence if (part := _item(item)))


def _item(item: Evidence) -> str:
    name = f"== {EVIDENCE_NAMES.get(item.kind, item.kind)}{f' · {item.source}' if item.source else ''} =="
    if item.could_not:
        return f"{name}\ncould not be had: {item.could_not}"
    lines = item.text.split("\n")
    width = len(str(len(lines)))
    left_out = [f"({item.truncated_chars:,} characters of this were not read)"] if item.truncated_chars else []
    return "\n".join([name, *(f"{number:>{width}}  {line}" for number, line in enumerate(lines, 1)), *left_out])


KINDS: Mapping[str, Kind] = {
    POSTMORTEM: Kind(
        "draft",
        ".md",
        "📝 A draft of the postmortem: everything in it was looked up, nobody has checked it yet.",
        "Draft of the postmortem of incident {number}: impact, timeline, cause, decisions and outcome.",
        lambda found, now: draft(found, now=now),
    ),
    EVIDENCE: Kind(
        "evidence",
        ".txt",
        "🗒️ All that was collected, with the numbers of the lines that are quoted above.",
        "Logs, events and states that were collected about incident {number}, as text with numbered lines.",
        evidence_text,
    ),
}


def asked_for(name: str) -> Callable[[AsyncConnection, Services, Asked], Awaitable[Card]]:
    """The command of a kind, such as `postmortem 12`: have it written, and say so."""

    async def ask(db: AsyncConnection, services: Services, asked: Asked) -> Card:
        query = asked.query
        incident, _ = await meant(db, services, query.words, query.reader, query.thread)
        if incident is None:
            return wording.said(name, WHICH.format(name=name))
        if not _member(asked.person):
            return wording.said(name, ONLY_MEMBERS)
        user = asked.person.id
        key = f"{name}:{incident.id}:{incident.revision}:{user}"
        click = {"user": user, "channel": query.reader.channel, "incident_id": incident.id, "key": key}
        await services.jobs.enqueue(db, name, lock=f"{name}:{incident.id}", click=click)
        words = f"The {KINDS[name].what} of incident {incident.id} is being written; it comes into its card's thread."
        return wording.said(name, words)

    return ask


def _member(person: Person) -> bool:
    return not (person.is_bot or person.deleted or person.restricted or person.foreign)


def writer(name: str) -> Callable[..., Awaitable[None]]:
    """The stage that writes a kind of file."""

    async def write(services: Services, click: Mapping[str, Any]) -> None:
        """As a file in the thread. `click`: user, channel, incident_id, key.

        Asked again, it stands there once: what a crash left in doubt is looked for first. Where Slack does not take it,
        whoever asked is told why.
        """
        number, person = click["incident_id"], await services.people.look_up(click["user"])
        async with services.engine.connect() as db:
            place = await outbox.card_place(db, number)
            found = await history.of_incident(db, number)
        why = "" if _member(person) else ONLY_MEMBERS
        if not why and (found is None or place is None or not place.ts):
            why = NO_CARD.format(number=number)
        if not why and found and place:
            why = await _shared(services, name, found, place)
        async with services.engine.begin() as db:
            if why:
                await cards.tell(db, key=click["key"], channel=click["channel"], user=click["user"], text=why)
            elif await incidents.get(db, number):
                await audit.record(db, f"incident.{name}", actor=person.id, incident_id=number)

    return write


async def _shared(services: Services, name: str, found: History, place: CardPlace) -> str:
    """ "" once the file stands in the thread, else why it does not."""
    kind, incident = KINDS[name], found.incident
    text = redact(kind.text(found, services.now()))
    if not text:
        return NOTHING.format(number=incident.id)
    try:
        await uploads.share(
            services,
            channel=place.channel,
            thread_ts=place.root or place.ts,
            name=f"{name}-{incident.id}-{incident.revision}{kind.suffix}",
            title=f"{kind.what.capitalize()} of incident {incident.id}: {m.plain(title_words(incident.title), 100)}",
            text=text,
            comment=kind.comment,
            alt=kind.alt.format(number=incident.id),
        )
    except Refusal as refusal:
        return NOT_TAKEN.format(what=kind.what, number=incident.id, why=refusal)
    return ""
