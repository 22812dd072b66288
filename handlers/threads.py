"""Keeping the index of Slack threads true: what an event says has changed is read again from Slack, and kept or not.

Events name a thread and nothing more, so their order and their repeats do not matter and no talk is stored on the way.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Literal

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import slack_calls
from handlers.mentions import QUESTION_SOURCE, channels_named
from handlers.reading import closed_by
from handlers.services import Services
from handlers.slack_calls import Refusal
from handlers.sources.slack_text import message_text
from knowledge.errors import CodeHealerError
from knowledge.model import Alert, Incident, KnowledgeItem
from knowledge.passages import passage_of
from knowledge.ports import Vector
from knowledge.slack_threads import Said, Thread, adds, item_id, lesson_of, same_lesson, tells
from knowledge.store import audit, memory, threads
from knowledge.store.threads import Asked, Audience

log = structlog.get_logger(__name__)

Body = Mapping[str, Any]
# (kind, body) as the inbox keeps it; None for what is not kept.
Stored = tuple[str, dict[str, Any]] | None
Kept = Literal["new", "changed", "same", "dropped", "not kept"]

THREAD, CHANNEL = "thread", "slack_channel"
# Messages of these kinds are somebody's words; the others are Slack's own notices.
WORDS = frozenset({"", "bot_message", "file_share", "thread_broadcast", "me_message"})
INDEXED = frozenset({"channel", "group"})
# A discussion comes in bursts: read it once it pauses.
SETTLE_S = 10.0
REPLIES_PAGE, MOST_REPLIES = 200, 1_000
# A channel's audience is believed this long.
LOOKED_AT_FOR = timedelta(minutes=10)
GONE = frozenset({"channel_not_found", "not_in_channel", "is_archived", "channel_is_limited_access"})
NO_THREAD = frozenset({"thread_not_found", "message_not_found"})


# --- pure: from an event to what is stored of it -----------------------------------------------------------------


def read_message(event: Body, services: Services) -> Stored:
    """The thread that a message event is about, where it may have become, or ceased to be, worth remembering.

    Where other companies read along, that is all there is to know: nothing of the channel may be kept.
    """
    if event.get("channel_type") not in INDEXED:
        return None
    if event.get("is_ext_shared_channel"):
        return CHANNEL, {CHANNEL: {"id": str(event["channel"]), "now": "shared"}}
    thread = touched(event, services)
    return (THREAD, {THREAD: thread}) if thread else None


def touched(event: Body, services: Services) -> dict[str, Any] | None:
    if not services.threads.wants(str(event.get("channel", ""))):
        return None
    subtype = event.get("subtype") or ""
    if subtype == "message_deleted":
        old = event.get("previous_message") or {}
        return _thread(event, old | {"ts": event.get("deleted_ts") or old.get("ts")}, gone=True)
    if subtype == "message_changed":
        return _edited(event, services)
    if subtype not in WORDS or event.get("user") == services.bot_user:
        return None
    telling = _telling(event)
    return _thread(event, event, telling=telling) if telling or _is_reply(event) else None


def _telling(message: Body) -> bool:
    """A first message has to tell of a failure or a fix; a reply only adds something: its thread tells the rest."""
    said = message_text(message, quoted=False)
    return adds(said) if _is_reply(message) else tells(said)


def _is_reply(message: Body) -> bool:
    return bool(message.get("thread_ts")) and message.get("thread_ts") != message.get("ts")


def _edited(event: Body, services: Services) -> dict[str, Any] | None:
    new, old = event.get("message"), event.get("previous_message")
    if not isinstance(new, Mapping) or not isinstance(old, Mapping) or new.get("user") == services.bot_user:
        return None
    if new.get("subtype") == "tombstone":
        return _thread(event, new, gone=True)
    # Slack also sends this for link previews and reply counts.
    if message_text(new, quoted=False) == message_text(old, quoted=False):
        return None
    return _thread(event, new, telling=_telling(new))


def _thread(event: Body, message: Body, *, gone: bool = False, telling: bool = False) -> dict[str, Any] | None:
    ts = str(message.get("thread_ts") or message.get("ts") or "")
    return {"channel": str(event["channel"]), "ts": ts, "gone": gone, "telling": telling} if ts else None


def read_channel(event: Body, services: Services) -> Stored:
    """That the bot came into a channel or is out of one, or of all ("")."""
    kind = event.get("type")
    if kind == "member_joined_channel":
        if event.get("user") != services.bot_user:
            return None
        return CHANNEL, {CHANNEL: {"id": str(event["channel"]), "now": "joined"}}
    if kind == "tokens_revoked" and not (event.get("tokens") or {}).get("bot"):
        return None
    return CHANNEL, {CHANNEL: {"id": str(event.get("channel") or ""), "now": "left"}}


def asked_by(services: Services, incident: Incident, alerts: Sequence[Alert]) -> Asked:
    """Where an incident is shown, which says whose threads may be read for it; not those that it is about itself."""
    own = {(incident.channel, incident.thread_ts), *((one.channel, one.message_ts) for one in alerts)}
    question = incident.source == QUESTION_SOURCE
    return Asked(
        channel=incident.channel or services.channel,
        only_in=channels_named(part for one in alerts for part in (one.summary, one.log)) if question else frozenset(),
        not_items=frozenset(item_id(channel, ts) for channel, ts in own if channel and ts),
        closed=closed_by(services.policy, service=incident.service),
    )


# --- the inbox ---------------------------------------------------------------------------------------------------


async def on_thread(db: AsyncConnection, services: Services, thread: Body) -> None:
    """What was deleted goes at once; then the thread is read again, where it is known or tells of something."""
    channel, ts = str(thread["channel"]), str(thread["ts"])
    dropped = thread["gone"] and await threads.drop(db, channel, ts)
    if dropped or thread["telling"] or await threads.known(db, channel, ts):
        name = f"thread:{item_id(channel, ts)}"
        await services.jobs.enqueue(db, "read_thread", lock=name, once=name, delay_s=SETTLE_S, channel=channel, ts=ts)


async def on_channel(db: AsyncConnection, services: Services, channel: Body) -> None:
    """The bot was invited, or is out: then nothing of the channel is left. Without an id it is out of all."""
    if channel["now"] == "shared":
        place = await threads.channel(db, channel["id"])
        if place is None or place.audience != "outside":
            name = place.name if place else ""
            await threads.put_channel(db, channel["id"], name=name, audience="outside", now=services.now())
        return
    if channel["now"] == "joined":
        await services.jobs.enqueue(
            db, "look_at_channel", lock=f"channel:{channel['id']}", once=f"look:{channel['id']}", channel=channel["id"]
        )
        return
    if channel["id"]:
        await threads.forget_channel(db, channel["id"])
    else:
        await threads.forget_other_channels(db, ())
    await audit.record(db, "threads.forgotten", channel=channel["id"] or "all")


# --- reading -----------------------------------------------------------------------------------------------------


async def read_thread(services: Services, channel: str, ts: str) -> Kept:
    """Read a thread from Slack and keep what of it is worth it, or drop it.

    Raises:
        Unavailable: Slack did not answer, or said when to ask again.
    """
    if not await may_keep(services, channel):
        return "not kept"
    async with services.engine.connect() as db:
        if ts < await threads.forgotten_up_to(db, channel):
            return "not kept"
    try:
        messages = await replies_of(services, channel, ts)
    except Refusal as refusal:
        if refusal.code in GONE:
            await look_at(services, channel)
            return "not kept"
        if refusal.code not in NO_THREAD:
            raise
        messages = []
    return await keep(services, channel, ts, messages)


async def replies_of(services: Services, channel: str, ts: str) -> list[Body]:
    """The thread's messages, its parent first; at most the first thousand."""
    return [one async for page in pages_of(services, channel, ts) for one in page]


async def pages_of(services: Services, channel: str, ts: str) -> AsyncIterator[list[Body]]:
    """The same, a page at a time, for who can do with the beginning where the rest cannot be had."""
    read, parent, cursor = 0, None, ""
    while True:
        page = await slack_calls.read(
            services.slack.conversations_replies, channel=channel, ts=ts, limit=REPLIES_PAGE, cursor=cursor or None
        )
        # Each page begins with the parent.
        new = [one for one in page["messages"] if parent is None or one.get("ts") != parent]
        if new and parent is None:
            parent = new[0].get("ts")
        yield new[: MOST_REPLIES - read]
        read += len(new)
        cursor = slack_calls.next_cursor(page)
        if not cursor or read >= MOST_REPLIES:
            return


def thread_of(messages: Sequence[Body], channel: str, ts: str, bot_user: str) -> Thread | None:
    """A thread's messages as knowledge reads them; None for the bot's own threads and those whose beginning is gone."""
    parent = messages[0] if messages else {}
    if parent.get("ts") != ts or parent.get("subtype") == "tombstone" or parent.get("user") == bot_user:
        return None
    said = [
        Said(str(one["ts"]), message_text(one, quoted=False), by_person=not one.get("bot_id"))
        for one in messages
        if one.get("user") != bot_user and (one.get("subtype") or "") in WORDS
    ]
    return Thread(channel, ts, tuple(one for one in said if one.text))


async def keep(services: Services, channel: str, ts: str, messages: Sequence[Body]) -> Kept:
    """Remember a thread by what it says now, or forget it. Doing so again changes nothing."""
    thread = thread_of(messages, channel, ts, services.bot_user)
    names = [row.name for row in services.policy.services]
    lesson = await asyncio.to_thread(lesson_of, thread, services=names) if thread else None
    if lesson and lesson.occurred_at < services.threads.oldest(services.now()):
        lesson = None
    async with services.engine.begin() as db:
        if lesson is None:
            return "dropped" if await threads.drop(db, channel, ts) else "not kept"
        old = await memory.get(db, lesson.id)
    if old and same_lesson(old, lesson):
        return "same"
    link = old.link if old and old.link else await slack_calls.permalink(services.slack, channel, ts)
    vector = await _vector_of(services, lesson)
    async with services.engine.begin() as db:
        # The bot may be out of the channel by now, or other companies in it, or it was forgotten.
        place = await threads.channel(db, channel, share=True)
        if place is None or place.audience == "outside" or ts < await threads.forgotten_up_to(db, channel):
            return "not kept"
        await memory.remember(db, replace(lesson, link=link), vector=vector, vector_model=services.embedder.name)
    return "changed" if old else "new"


async def _vector_of(services: Services, lesson: KnowledgeItem) -> Vector | None:
    """The built-in vector; None where it cannot be had now: the clock makes it up later."""
    try:
        return (await services.embedder.embed_passages([passage_of(lesson)]))[0]
    except CodeHealerError as error:
        log.warning("thread_without_vector", thread=lesson.id, error=str(error))
        return None


# --- channels ----------------------------------------------------------------------------------------------------


async def asked_privately(db: AsyncConnection, incident: Incident) -> bool:
    """Whether an incident is a question from where not everybody reads: a private channel, a direct message."""
    if incident.source != QUESTION_SOURCE:
        return False
    place = await threads.channel(db, incident.channel)
    return place is None or place.audience != "all"


async def may_keep(services: Services, channel: str) -> bool:
    """Whether a channel's threads may be kept now; asks Slack who reads it when that was long ago."""
    if not services.threads.wants(channel):
        return False
    async with services.engine.connect() as db:
        place = await threads.channel(db, channel)
    if place is None or services.now() - place.looked_at > LOOKED_AT_FOR:
        return await look_at(services, channel) in {"all", "members"}
    return place.audience != "outside"


async def look_at(services: Services, channel: str) -> Audience | None:
    """Ask Slack who reads a channel, and note it; None when the bot is not in it: then nothing of it is kept."""
    try:
        answer = await slack_calls.read(services.slack.conversations_info, channel=channel)
    except Refusal as refusal:
        if refusal.code not in GONE:
            raise
        answer = {"channel": {}}
    found = answer["channel"]
    async with services.engine.begin() as db:
        if not found.get("is_member"):
            await threads.forget_channel(db, channel)
            return None
        await note_channel(db, services, found)
    return audience_of(found)


def audience_of(channel: Body) -> Audience:
    """Who reads a channel, from conversations.info: pure. What other companies may soon see counts as theirs."""
    if any(channel.get(flag) for flag in ("is_ext_shared", "is_pending_ext_shared", "is_shared")):
        return "outside"
    return "members" if channel.get("is_private") else "all"


async def note_channel(db: AsyncConnection, services: Services, found: Body) -> None:
    await threads.put_channel(
        db, str(found["id"]), name=str(found.get("name", "")), audience=audience_of(found), now=services.now()
    )
