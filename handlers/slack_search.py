"""Slack's own search, for questions only. What it finds is shown as links and never kept.

Slack forbids storing or copying results, and an answer waits in the outbox: so of each result only its permalink goes
on, and even the date and the channel that people see are read out of that address.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from slack_sdk.web.async_client import AsyncWebClient
from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import slack_calls
from handlers.blocks import mrkdwn as m
from handlers.mentions import QUESTION_SOURCE
from handlers.services import Services
from handlers.slack_calls import Refusal
from knowledge.errors import Unavailable
from knowledge.model import Evidence, Incident
from knowledge.slack_threads import moment
from knowledge.store import incidents, outbox, threads

METHOD = "assistant.search.context"
MOST_RESULTS, MOST_SHOWN = 20, 5
MOST_WORDS, LONGEST_QUERY = 8, 300
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{3,40}")
# A question made of these alone says nothing that could be searched for.
_COMMON = re.compile(
    r"(?i)(?:about|after|again|alright|also|anybody|anyone|been|before|could|does|doing|done|error|errors|"
    r"from|happened|happens|have|hello|here|idea|know|last|look|need|please|problem|some|somebody|"
    r"someone|team|than|thanks|that|their|them|then|there|these|they|thing|think|this|time|what|"
    r"when|where|which|while|will|with|would|wrong|your)"
)
_REDACTED = re.compile(r"\[redacted:\w+\]|<[^<>\n]{1,200}>|https?://\S+")
_PERMALINK = re.compile(
    r"https://[a-z0-9.-]{1,100}/archives/(?P<channel>[CG][A-Z0-9]{5,20})/p(?P<ts>\d{16})(?:\?[\w=.&-]*)?"
)


@dataclass(frozen=True, slots=True)
class Link:
    """One result: its address, and the channel and message that the address names."""

    url: str
    channel: str
    ts: str


@dataclass(frozen=True, slots=True)
class Results:
    """What Slack's search came to; `could_not` is the reason why there is nothing."""

    links: tuple[Link, ...] = ()
    could_not: str = ""


async def search(searcher: AsyncWebClient, query: str, *, only_in: frozenset[str] = frozenset()) -> Results:
    """Ask Slack's search about public channels: one call, within the client's deadline; results' texts are dropped."""
    try:
        answer = await slack_calls.read(
            searcher.api_call,
            api_method=METHOD,
            json={
                "query": query,
                "channel_types": ["public_channel"],
                "content_types": ["messages"],
                "limit": MOST_RESULTS,
            },
        )
    except Refusal as refusal:
        return Results(could_not=str(refusal))
    except Unavailable as away:
        return Results(could_not=str(away))
    found = (answer.get("results") or {}).get("messages") or ()
    links = (link_of(str(one.get("permalink", ""))) for one in found)
    return Results(tuple(link for link in links if link and (not only_in or link.channel in only_in)))


def link_of(permalink: str) -> Link | None:
    """A message's permalink taken apart; None for any other address."""
    match = _PERMALINK.fullmatch(permalink)
    return Link(permalink, match["channel"], f"{match['ts'][:10]}.{match['ts'][10:]}") if match else None


def query_of(said: str, evidence: Sequence[Evidence] = ()) -> str:
    """What to search for: the telling words of the question and of what it is about; "" when there are none."""
    words: dict[str, None] = {}
    for text in (said, *(item.text for item in evidence)):
        words.update(dict.fromkeys(word.strip(".-") for word in _WORD.findall(_REDACTED.sub(" ", text[:4_000]))))
    telling = [word for word in words if not _COMMON.fullmatch(word)]
    longest = sorted(telling, key=len, reverse=True)[:MOST_WORDS]
    return " ".join(word for word in telling if word in longest)[:LONGEST_QUERY]


async def ask(db: AsyncConnection, services: Services, incident: Incident) -> None:
    """In the transaction that ends the looking: have Slack's search asked too, where a person asked and a token is."""
    if services.searcher is None or incident.source != QUESTION_SOURCE:
        return
    name = f"search:{incident.id}"
    await services.jobs.enqueue(db, "search_slack", lock=name, once=name, incident_id=incident.id)


async def answer(services: Services, incident_id: int) -> None:
    """Search Slack for what a question is about and answer with links in its thread."""
    async with services.looks.connect() as db:
        incident = await incidents.get(db, incident_id)
        collected = await incidents.evidence_of(db, incident_id)
        alerts = await incidents.alerts_of(db, incident_id, limit=1)
        place = await threads.channel(db, incident.channel) if incident else None
    if incident is None or services.searcher is None:
        return
    said = "\n".join(part for alert in alerts for part in (alert.summary, alert.log) if part)
    query = query_of(said, [] if alerts and alerts[0].service else collected)
    if not query or not await _may_see(services, incident, place):
        return
    found = await search(services.searcher, query, only_in=services.threads.channels)
    lines = lines_of(found, not_in=(incident.channel, incident.thread_ts))
    if not lines:
        return
    text = "\n".join(lines)
    async with services.engine.begin() as db:
        await outbox.put(
            db,
            kind="post",
            key=f"search:{incident.id}",
            channel=incident.channel,
            payload={
                "text": m.without_markup(text),
                "blocks": m.sections(f"search-{incident.id}", lines),
                "thread_ts": incident.thread_ts,
            },
        )


async def _may_see(services: Services, incident: Incident, place: Any) -> bool:
    """Not where other companies read along, and not for guests: Slack's own search refuses them too."""
    direct = incident.channel.startswith(threads.DIRECT_MESSAGE)
    if not direct and (place is None or place.audience == "outside"):
        return False
    person = await services.people.look_up(incident.asked_by)
    return not (person.restricted or person.foreign or person.deleted)


def lines_of(found: Results, *, not_in: tuple[str, str]) -> list[str]:
    """The answer's lines, made of the links alone; none where nothing was found beside the asking thread: pure."""
    if found.could_not:
        return [f"*Could not look at* Slack's search: {m.inline(found.could_not, 200)}"]
    links = [
        link for link in found.links if (link.channel, link.ts) != not_in and f"thread_ts={not_in[1]}" not in link.url
    ]
    once = list({(link.channel, link.ts): link for link in links}.values())
    if not once:
        return []
    shown = [f"• {m.link(link.url, f'{moment(link.ts):%d %b %Y}')} in <#{link.channel}>" for link in once[:MOST_SHOWN]]
    return ["*Slack's search also finds*", *shown]
