"""Questions in people's words, answered from what is stored: incidents, decisions, approvals, timelines, precedents.

Which incident is meant: the one whose thread it is, the one whose number is named, the newest of a named service, else
the newest of all, and then the answer says so. Nothing is told that may not be read where it is asked (reading.py).
An answer is one row of the outbox under the question's key, so a job that runs twice answers once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import assistant, cards, commands, flow, looking, remembering, steering
from handlers.blocks import answers as wording
from handlers.blocks.answers import About, Answer
from handlers.blocks.card_view import Card
from handlers.intents import Intent, When, fix_told, incident_named, intent_of, named_in, of_now, when_in
from handlers.mentions import QUESTION_SOURCE, Question
from handlers.reading import Reader, readable, reader_of
from handlers.services import Services
from handlers.slack_search import query_of
from handlers.threads import look_at
from handlers.view import card_view
from knowledge.errors import CodeHealerError, Unavailable
from knowledge.model import Incident
from knowledge.steering import steer_of
from knowledge.store import grouping, history, incidents, outbox, threads

log = structlog.get_logger(__name__)

MOST_PLACES = 5
# Of these the one that is meant is looked for; a question about a time looks further back.
RECENT, MOST_LOOKED_AT = timedelta(days=30), 300
EARLIER = timedelta(days=30)
STAGE = "answer_question"
# What is said in a thread about its own incident, whatever else it names.
OF_THE_THREAD = frozenset({Intent.FIXED, Intent.OTHER})


@dataclass(frozen=True, slots=True)
class Meant:
    """What a question is about: one incident, or those of a service or a time (`found`); `service` as it was named."""

    incident: Incident | None = None
    guessed: bool = False
    found: Sequence[Incident] = ()
    looked: int = 0
    service: str = ""
    when: When | None = None


def wants_answer(question: Question) -> bool:
    """Whether a mention that is no command asks about what is stored, and is not one for the diagnosis: pure."""
    said = question.said
    if fix_told(said) and not question.files:
        return True
    if question.thread_ts and question.sentence and steer_of(said):
        return True
    return bool(said) and question.sentence and intent_of(said) is not Intent.OTHER


async def ask(db: AsyncConnection, services: Services, question: Question) -> None:
    """In the transaction that takes the mention in: have it answered next."""
    name = f"answer:{question.channel}:{question.ts}"
    await services.jobs.enqueue(
        db, STAGE, lock=name, once=name, head_start_s=flow.ASKED_HEAD_START_S, question=_plain(question)
    )


def _plain(question: Question) -> dict[str, Any]:
    return {name: getattr(question, name) for name in Question.__slots__}


async def where_it_went(db: AsyncConnection, services: Services, question: Question) -> None:
    """A question about a failure that has its incident already joins it: then the asker is told of that one."""
    number = await incidents.by_message(db, question.channel, question.ts)
    incident = await incidents.get(db, number) if number else None
    if incident is None or incident.source == QUESTION_SOURCE:
        return
    joined = await incidents.alerts_of(db, incident.id, source=QUESTION_SOURCE)
    if any(one.message_ts == question.ts for one in joined):
        name = f"answer:{question.channel}:{question.ts}"
        await services.jobs.enqueue(
            db, STAGE, lock=name, head_start_s=flow.ASKED_HEAD_START_S, question=_plain(question), about=incident.id
        )


async def answer(services: Services, question: Mapping[str, Any], about: int | None = None) -> None:
    """Answer a mention where it stands; `about` is the incident that it is about, where that is known."""
    asked = Question(**question)
    async with services.engine.connect() as db:
        if await outbox.known(db, cards.answer_key(asked)):
            return
    reader = await reader_of(services, asked.channel, asked.user)
    if about is not None:
        await _tell_of(services, asked, about, reader)
        return
    said = asked.said
    intent = intent_of(said)
    if intent is Intent.THANKS:
        return
    await assistant.begin(services, asked, intent)
    try:
        await _answer_question(services, asked, intent, reader)
    finally:
        # In some clients what the bot is doing would hide the answer that it streams.
        await assistant.end(services, asked)


async def _answer_question(services: Services, asked: Question, intent: Intent, reader: Reader) -> None:
    said = asked.said
    await _look_at_places(services)
    if intent in {Intent.OVERVIEW, Intent.HELP}:
        word = "status" if intent is Intent.OVERVIEW else "help"
        async with services.engine.connect() as db:
            card = await commands.answer(db, services, word, reader)
        await _say(services, asked, card)
        return
    meant = await _meant(services, asked, reader, thread_first=intent in OF_THE_THREAD)
    # A service that is named elsewhere is looked at now; its last incident's diagnosis is another's.
    named = meant.guessed or meant.service
    if intent is Intent.OTHER and meant.incident and not named and steer_of(said):
        await steering.steer(services, meant.incident, asked)
        return
    if intent is Intent.FIXED:
        await _take_fix(services, asked, meant)
        return
    if (meant.incident is None or intent is Intent.OTHER) and await _left_to_diagnosis(services, asked, intent, meant):
        return
    found = await _answer(services, asked, intent, meant, reader)
    await _say(services, asked, found.card, incident_id=meant.incident.id if meant.incident else None)


async def _say(services: Services, asked: Question, card: Card, *, incident_id: int | None = None) -> None:
    async with services.engine.begin() as db:
        await cards.answer_question(db, asked, card, team=services.people.team_id, incident_id=incident_id)


async def _left_to_diagnosis(services: Services, asked: Question, intent: Intent, meant: Meant) -> bool:
    """Where nothing stored answers it, what fails is looked at now: people's own thread, or the service they name."""
    in_thread = bool(asked.thread_ts) and not meant.service
    stored = intent not in {Intent.WHY, Intent.WHAT} or meant.when or not (in_thread or meant.service) or meant.found
    if stored and intent is not Intent.OTHER:
        return False
    async with services.engine.begin() as db:
        await incidents.lock_correlation(db)
        # A job that runs again finds the question that it has made.
        if await incidents.by_message(db, asked.channel, asked.ts) is None:
            await flow.on_question(db, services, asked)
            await where_it_went(db, services, asked)
    return True


async def _tell_of(services: Services, asked: Question, number: int, reader: Reader) -> None:
    await _look_at_places(services)
    async with services.engine.connect() as db:
        incident = await _readable(db, services, number, reader)
    found = await _about_one(services, Intent.WHY, Meant(incident), incident) if incident else wording.NOTHING_HERE
    await _say(services, asked, found.card, incident_id=number if incident else None)


async def _take_fix(services: Services, asked: Question, meant: Meant) -> None:
    """Offer to remember what a person says has fixed it; a service in their words does not say of which incident."""
    if meant.incident is None or meant.guessed or meant.service:
        await _say(services, asked, wording.which_was_fixed().card)
        return
    async with services.engine.begin() as db:
        await remembering.offer(
            db, meant.incident, text=fix_told(asked.said), by=asked.user, channel=asked.channel, ts=asked.ts,
            root=asked.thread_ts or asked.ts,
        )  # fmt: skip


# --- what is meant ------------------------------------------------------------------------------------------------


async def _meant(services: Services, asked: Question, reader: Reader, *, thread_first: bool = False) -> Meant:
    said, now = asked.said, services.now()
    when = when_in(said, now, await _zone(services, asked.user))
    async with services.engine.connect() as db:
        there = await _of_thread(db, services, asked, reader)
        if there and thread_first:
            return Meant(there)
        if number := incident_named(said):
            return Meant(await _readable(db, services, number, reader), when=when)
        since = min(when.since, now - RECENT) if when else now - RECENT
        recent = await incidents.listed(db, since=since, limit=MOST_LOOKED_AT)
        told = [one for one in await readable(db, services, recent, reader) if one.source != QUESTION_SOURCE]
        names = [row.name for row in services.policy.services]
        names += [name for one in told for name in (one.service, one.workload)]
        named = named_in(said, names)
        if there and (not named or {there.service, there.workload} & {*named}):
            return Meant(there, when=when)
    found = [one for one in told if _during(one, when) and (not named or {one.service, one.workload} & {*named})]
    service = named[0] if named else ""
    if when:
        return Meant(found=found, looked=len(told), service=service, when=when)
    if named and of_now(said):
        found = [one for one in found if one.open]
    if asked.thread_ts and not named:
        return Meant(looked=len(told))
    newest = found[0] if found else None
    return Meant(newest, newest is not None and not named, found, len(told), service)


async def _look_at_places(services: Services) -> None:
    """Ask Slack who reads the channels of incidents that could be meant, where that is not known yet."""
    async with services.engine.connect() as db:
        recent = await incidents.listed(db, since=services.now() - RECENT, limit=MOST_LOOKED_AT)
        known = {place.id for place in await threads.channels(db)}
    channels = {one.channel or services.channel for one in recent}
    unknown = sorted(one for one in channels - known if not one.startswith(threads.DIRECT_MESSAGE))
    for channel in unknown[:MOST_PLACES]:
        try:
            await look_at(services, channel)
        except CodeHealerError as error:
            log.info("channel_not_looked_at", channel=channel, error=str(error))


async def _zone(services: Services, user: str) -> str:
    try:
        return (await services.people.look_up(user)).timezone
    except Unavailable:
        return "UTC"


async def _readable(db: AsyncConnection, services: Services, number: int, reader: Reader) -> Incident | None:
    incident = await incidents.get(db, number)
    return incident if incident and await readable(db, services, [incident], reader) else None


async def _of_thread(db: AsyncConnection, services: Services, asked: Question, reader: Reader) -> Incident | None:
    """The incident whose thread it is, or that the thread's question was answered about."""
    if not asked.thread_ts:
        return None
    number = await incidents.by_message(db, asked.channel, asked.thread_ts)
    number = number or await outbox.about(db, cards.answer_key(replace(asked, ts=asked.thread_ts)))
    return await _readable(db, services, number, reader) if number else None


def _during(incident: Incident, when: When | None) -> bool:
    """Whether an incident was open at any moment of the span."""
    return when is None or (
        incident.opened_at < when.until and (incident.resolved_at is None or incident.resolved_at >= when.since)
    )


# --- answering ----------------------------------------------------------------------------------------------------

ABOUT_ONE: Mapping[Intent, Callable[[About], Answer]] = {
    Intent.WHY: wording.why,
    Intent.WHAT: wording.what,
    Intent.WHO: wording.who,
    Intent.NOT_AUTO: wording.not_auto,
    Intent.DONE: wording.done,
}


async def _answer(services: Services, asked: Question, intent: Intent, meant: Meant, reader: Reader) -> Answer:
    number = incident_named(asked.said)
    if meant.when and len(meant.found) == 1:
        meant = replace(meant, incident=meant.found[0])
    if intent is Intent.SIMILAR and meant.guessed and query_of(asked.said):
        return await _alike(services, asked, reader)  # it says what it is like, and names no incident
    if meant.incident is not None:
        return await _about_one(services, intent, meant, meant.incident)
    if number:
        return wording.unknown_incident(number)
    if intent is Intent.SIMILAR:
        return await _alike(services, asked, reader)
    if meant.when or meant.service:
        when = meant.when.words if meant.when else "in the last 30 days"
        return wording.several(meant.found, services.now(), subject=meant.service, when=when, looked=meant.looked)
    return wording.nothing_meant(intent)


async def _about_one(services: Services, intent: Intent, meant: Meant, incident: Incident) -> Answer:
    link = await cards.link_of(services, incident.id)
    async with services.engine.connect() as db:
        stored = await history.of_incident(db, incident.id)
        view = await card_view(db, services, incident)
        earlier = await grouping.times_before(db, incident.id, incident.identity, within=EARLIER)
    if stored is None:
        return wording.unknown_incident(incident.id)
    about = About(view, stored, link, meant.guessed)
    if intent is Intent.SIMILAR:
        return wording.similar(about, earlier=earlier)
    return ABOUT_ONE[intent](about)


async def _alike(services: Services, asked: Question, reader: Reader) -> Answer:
    """What is remembered that is like the sentence itself, as `search` finds it for this reader."""
    async with services.engine.connect() as db:
        found = await looking.recalled(db, services, reader, asked.said)
    return wording.found_alike(found.precedents[: wording.MOST_ALIKE], services.now(), found.note)
