"""What /codehealer and the same words in a mention look up: answers from the database that change nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import cards, joining, learning, reading, typed
from handlers.blocks import commands as wording
from handlers.blocks import listing
from handlers.blocks import mrkdwn as m
from handlers.blocks.card_view import Card
from handlers.blocks.incident_words import title_words
from handlers.reading import Reader, closed_by, readable
from handlers.services import Services
from handlers.timeline import timeline
from handlers.view import card_view
from knowledge.likeness import excerpt
from knowledge.model import ApprovalState, Diagnosis, Incident, IncidentState, Precedent
from knowledge.passages import passage
from knowledge.periods import whole_days
from knowledge.recall import Means, Recalled, recall
from knowledge.redaction import redact
from knowledge.retrieval import searched_for
from knowledge.store import analytics, answers, approvals, held, history, incidents, mutes, outbox, switches, threads
from knowledge.store.outbox import CardPlace
from knowledge.store.threads import Asked

MOST_INCIDENTS = 50
STATS_DAYS = 30
PAGE = 10
# How far a list is searched for what the reader may be told of.
BATCH, MOST_SCANNED = 200, 5_000
MOST_SEARCHED = 2_000
LINKS_S = 1.5


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked: the words after the subcommand, who reads the answer, and where it stands.

    `thread` is (channel, ts) of the thread that a mention stands in. An answer that is not `private` is a post, whose
    mentions would ping.
    """

    reader: Reader
    words: tuple[str, ...] = ()
    thread: tuple[str, str] = ("", "")
    private: bool = True


async def meant(
    db: AsyncConnection, services: Services, words: tuple[str, ...], reader: Reader, thread: tuple[str, str]
) -> tuple[Incident | None, tuple[str, ...]]:
    """The incident that the first words name and the other words; in a thread without such words, the thread's.

    One that the reader may not be told of is as one that is not there.
    """
    found, rest = typed.reference(words)
    number: int | None = None
    if found is None:
        number = await incidents.by_message(db, *thread) if thread[1] else None
    elif found.newest:
        newest = await recent(db, services, reader, 1)
        return (newest[0] if newest else None), rest
    elif found.number:
        number = found.number
    else:
        for ts in (found.ts, found.thread_ts):
            number = number or (await incidents.by_message(db, found.channel, ts) if ts else None)
    incident = await incidents.get(db, number) if number else None
    if incident is None or not await readable(db, services, [incident], reader):
        return None, rest
    return incident, rest


async def recent(db: AsyncConnection, services: Services, reader: Reader, most: int) -> Sequence[Incident]:
    """The newest incidents that the reader may be told of."""
    return await _page(db, services, reader, typed.Filters(), most)


# --- one by one ------------------------------------------------------------------------------------------------------


async def _status(db: AsyncConnection, services: Services, query: Query) -> Card:
    every = await incidents.listed(db, only_open=True, limit=MOST_INCIDENTS)
    open_ones = await readable(db, services, every, query.reader)
    waiting = []
    for incident in open_ones:
        approval = await approvals.latest(db, incident.id)
        if approval and approval.state is ApprovalState.OPEN:
            waiting.append((approval, incident))
    shows = await reading.open_alerts(db, services, query.reader)
    recent = await held.informational(db, since=services.now() - timedelta(days=1))
    kept = [one for one in await held.listed(db) if shows(joining.placed(services, one.alert))]
    known = [one for one in recent if shows(joining.placed(services, one))]
    paused = await switches.read(db, switches.PAUSED)
    breaker = await switches.read(db, switches.BREAKER)
    return wording.status_answer(
        wording.StatusView(
            now=services.now(),
            incidents=tuple(open_ones),
            waiting=tuple(waiting),
            mode=services.policy.mode,
            paused_by=paused.set_by if paused and paused.value else "",
            breaker=str(breaker.value) if breaker and breaker.value else "",
            modes=len(await switches.beginning_with(db, switches.MODE)),
            connections=tuple(services.connections()),
            held=tuple(kept),
            informational=tuple(known),
            muted=tuple(
                listing.mute_lines(await muted_for(db, services, query.reader), services.now(), private=query.private)
            ),
        )
    )


async def muted_for(db: AsyncConnection, services: Services, reader: Reader) -> Sequence[mutes.Mute]:
    """What is muted, as far as the reader may be told of it."""
    closed = closed_by(services.policy).services
    found = []
    for one in await mutes.in_force(db, now=services.now()):
        kind, _, name = one.scope.partition(":")
        if f"{kind}:" == mutes.SERVICE:
            shown = reader.member and name not in closed
        else:
            incident = await incidents.get(db, int(name))
            shown = incident is not None and bool(await readable(db, services, [incident], reader))
        if shown:
            found.append(one)
    return found


async def _incidents(db: AsyncConnection, services: Services, query: Query) -> Card:
    rows = services.policy.services
    wanted = typed.filters(
        query.words,
        services=[row.name for row in rows],
        environments={*services.policy.environments, *(row.environment for row in rows), "prod"},
        now=services.now(),
        timezone=query.reader.timezone,
    )
    if wanted.problem:
        return wording.said("incidents", wanted.problem)
    return await _listed(db, services, query.reader, wanted)


async def _listed(db: AsyncConnection, services: Services, reader: Reader, wanted: typed.Filters) -> Card:
    found = await _page(db, services, reader, wanted, PAGE + 1)
    words = wanted.words()
    # By the last one's number, so that the next page is right whatever has opened meanwhile.
    more = f"incidents {words} before {found[PAGE - 1].id}".replace("  ", " ") if len(found) > PAGE else ""
    which = {"open": "Open incidents", "closed": "Closed incidents", "": "Incidents"}
    title = which.get(wanted.state, f"Incidents, {wanted.state.replace('_', ' ')}")
    details = words.removeprefix(wanted.state).strip()
    title += f", {m.inline(details, 120)}" if details else ""
    empty = wording.NO_INCIDENTS if wanted.state == "open" and not details else "No such incident."
    return listing.incidents_answer(
        found[:PAGE], services.now(), title=title, page=wanted.page, more=more, empty=empty
    )  # fmt: skip


async def _page(
    db: AsyncConnection, services: Services, reader: Reader, wanted: typed.Filters, most: int
) -> Sequence[Incident]:
    """The readable incidents of a page, newest first, and so many of the next that there are `most`."""
    states = {"state": wanted.state} if wanted.state not in {"", "open", "closed"} else {}
    named = {"service": wanted.service, "environment": wanted.environment, **states}
    skip = (wanted.page - 1) * PAGE
    found: list[Incident] = []
    before = wanted.before or None
    for _ in range(0, MOST_SCANNED, BATCH):
        rows = await incidents.listed(
            db,
            only_open=wanted.state == "open",
            only_closed=wanted.state == "closed",
            limit=BATCH,
            offset=0,
            before_id=before,
            since=wanted.since,
            until=None,
            **{name: value for name, value in named.items() if value},
        )
        found += await readable(db, services, rows, reader)
        if len(rows) < BATCH or len(found) >= skip + most:
            break
        before = rows[-1].id
    return found[skip : skip + most]


async def _show(db: AsyncConnection, services: Services, query: Query) -> Card:
    incident, _ = await meant(db, services, query.words, query.reader, query.thread)
    if incident is None:
        return wording.which_answer("show", " ".join(query.words))
    view = await card_view(db, services, incident)
    link = (await _links(db, services, [incident])).get(incident.id, "")
    return wording.show_answer(view, link=link)


async def _links(db: AsyncConnection, services: Services, found: Sequence[Incident]) -> Mapping[int, str]:
    """Slack's links to the incidents' cards, "" for those that cannot be had in time."""
    places = await outbox.card_places(db, [one.id for one in found])

    async def link(place: CardPlace) -> str:
        try:
            async with asyncio.timeout(LINKS_S):
                return await cards.permalink(services, place)
        except TimeoutError:
            return ""

    return dict(zip(places, await asyncio.gather(*map(link, places.values())), strict=True))


async def _queue(db: AsyncConnection, services: Services, query: Query) -> Card:
    asked = await incidents.in_states(db, [IncidentState.WAITING])
    waiting = []
    for incident in await readable(db, services, asked, query.reader):
        approval = await approvals.latest(db, incident.id)
        if approval and approval.state is ApprovalState.OPEN:
            waiting.append((approval, incident))
    shown = waiting[:PAGE]
    links = await _links(db, services, [incident for _, incident in shown])
    return listing.queue_answer(
        [(approval, incident, links.get(incident.id, "")) for approval, incident in shown],
        services.now(),
        left_out=len(waiting) - len(shown),
        note=listing.NO_TYPING if query.words else "",
        private=query.private,
    )


async def _history(db: AsyncConnection, services: Services, query: Query) -> Card:
    """A service's incidents, or what happened in one."""
    incident, _ = await meant(db, services, query.words, query.reader, query.thread)
    if incident is not None:
        told = await history.of_incident(db, incident.id)
        people = {one.value.actor for one in told.audit} if told else set()
        return listing.steps_answer(incident, timeline(told) if told else [], people)
    words = tuple(word for word in query.words if word.lower() not in {"of", "for", "service", "the"})
    if len(words) != 1 or typed.reference(words)[0] is not None:
        return wording.which_answer("history", " ".join(query.words))
    known = next((row.name for row in services.policy.services if row.name.lower() == words[0].lower()), words[0])
    return await _listed(db, services, query.reader, typed.Filters(service=known[:253]))


# --- by likeness -----------------------------------------------------------------------------------------------------


async def _search(db: AsyncConnection, services: Services, query: Query) -> Card:
    text = redact(" ".join(query.words))[:MOST_SEARCHED]
    if not text.strip():
        example = wording.SUBCOMMANDS["search"].typed
        return wording.said("search", f"What for? `{wording.COMMAND} {example}` takes a few words or an error line.")
    found = await recalled(db, services, query.reader, text)
    title = "Past incidents like that"
    return listing.precedents_answer(
        "search", title, found.precedents, services.now(), note=found.note, empty=found.empty
    )  # fmt: skip


async def recalled(db: AsyncConnection, services: Services, reader: Reader, text: str) -> Recalled:
    """Past incidents that resemble a redacted text, as far as the reader may be told of them; at most PAGE.

    What is typed is shown to no outside model.
    """
    found = await recall(
        services.engine,
        searched_for(text),
        means=Means(services.embedder),
        now=services.now(),
        limit=PAGE if reader.member else MOST_INCIDENTS,
        asked=await _asked(db, services, reader),
    )
    return replace(found, precedents=await _told(db, services, reader, found.precedents))


async def _similar(db: AsyncConnection, services: Services, query: Query) -> Card:
    """Precedents of an incident, ranked with what people have said by now; of a text, as `search`."""
    incident, _ = await meant(db, services, query.words, query.reader, query.thread)
    if incident is None:
        if typed.reference(query.words)[0] is not None or not query.words:
            return wording.which_answer("similar", " ".join(query.words))
        return await _search(db, services, query)
    answer = await answers.latest_diagnosis(db, incident.id, final=True)
    known = answer.answer if answer and isinstance(answer.answer, Diagnosis) else None
    evidence = learning.excerpt_of(await incidents.evidence_of(db, incident.id), incident)
    found = await recall(
        services.engine,
        passage(known.kind, evidence) if known else excerpt(evidence),
        means=Means(services.embedder),
        now=services.now(),
        kind=known.kind if known else None,
        service=incident.service,
        limit=PAGE if query.reader.member else MOST_INCIDENTS,
        not_incident=incident.id,
        identity=incident.identity,
        asked=await _asked(db, services, query.reader, service=incident.service),
    )
    title = f"Incidents like {incident.id} ({m.inline(title_words(incident.title), 80)})"
    shown = await _told(db, services, query.reader, found.precedents)
    return listing.precedents_answer("similar", title, shown, services.now(), note=found.note, empty=found.empty)


async def _asked(db: AsyncConnection, services: Services, reader: Reader, *, service: str = "") -> Asked:
    """Where the answer is read. From a channel that is not known, a member is told what everybody may read."""
    place = await threads.channel(db, reader.channel)
    known = place is not None and place.audience != "outside"
    return Asked(channel=reader.channel if known else "", closed=closed_by(services.policy, service=service))


async def _told(
    db: AsyncConnection, services: Services, reader: Reader, found: Sequence[Precedent]
) -> tuple[Precedent, ...]:
    """A guest is told of what happened in this channel alone."""
    if reader.member:
        return tuple(found[:PAGE])
    shown = []
    for one in found:
        incident = await incidents.get(db, one.item.incident_id) if one.item.incident_id else None
        here = incident is not None and bool(await readable(db, services, [incident], reader))
        if here or (one.item.channel and one.item.channel == reader.channel):
            shown.append(one)
    return tuple(shown[:PAGE])


# --- policy, figures, help -------------------------------------------------------------------------------------------


async def _policy(db: AsyncConnection, services: Services, query: Query) -> Card:
    words = query.words[1:] if query.words and query.words[0].lower() in {"why", "explain"} else query.words
    incident, _ = await meant(db, services, words, query.reader, query.thread)
    if incident is None:
        return wording.which_answer("policy", " ".join(words))
    planned = await answers.latest_plan(db, incident.id)
    if planned is None:
        return wording.said("policy", f"Nothing has been decided about incident {incident.id} yet.")
    return listing.policy_answer(incident, planned.plan, planned.decision, services.now())


async def _stats(db: AsyncConnection, services: Services, query: Query) -> Card:
    number = typed.days(query.words, STATS_DAYS)
    if number is None:
        return wording.said("stats", "days: give a number from 1 to 999, such as `stats 7`, or `stats 2 weeks`.")
    if not query.reader.member:
        return wording.said("stats", "The figures are over all channels, so they are for full members.")
    now = services.now()
    (found,) = await analytics.figures(db, since=whole_days(now, number), until=now)  # as on Home
    return wording.stats_answer(found, number, services.keep.incidents_days)


async def _help(_db: AsyncConnection, _services: Services, query: Query) -> Card:
    topic = query.words[0].lower() if query.words else ""
    return wording.help_answer(typed.ALSO.get(topic, topic))


LOOKS: Mapping[str, Callable[[AsyncConnection, Services, Query], Awaitable[Card]]] = {
    "status": _status,
    "incidents": _incidents,
    "show": _show,
    "search": _search,
    "approve-queue": _queue,
    "history": _history,
    "similar": _similar,
    "policy": _policy,
    "stats": _stats,
    "help": _help,
}
