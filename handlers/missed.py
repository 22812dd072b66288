"""Mentions that Slack gave up on: after an outage they are looked for where they stand, in the channels themselves.

Slack tries an event four times within six minutes. Where each try met a fault, nobody is told of it again. What is
found here and what came as an event are one delivery, by channel and ts, so looking twice, or beside Slack's own
repeats, asks nothing twice.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import structlog

from handlers import flow, slack_calls
from handlers.listeners import mention_of
from handlers.services import Services
from handlers.slack_calls import Refusal
from handlers.sources.slack_text import message_text
from knowledge.slack_threads import as_ts

log = structlog.get_logger(__name__)

# An event's first try may have been swallowed by a link that was dead already, and was not known to be.
OVERLAP = timedelta(minutes=5)
# Who asked longer ago than this does not wait any more.
LONGEST = timedelta(hours=6)
# A question in a thread stands under a message of before the outage.
THREADS_FROM = timedelta(hours=12)
MOST_CHANNELS, MOST_MESSAGES, MOST_THREADS = 50, 200, 20
# What people write; every other kind tells of something that happened.
SAID = frozenset({"", "thread_broadcast", "file_share", "me_message"})


async def ask(services: Services, away_s: float) -> None:
    """Have the channels looked at for what was said since `away_s` seconds ago, as a job: Slack may still be busy."""
    since = services.now() - min(timedelta(seconds=away_s) + OVERLAP, LONGEST)
    async with services.engine.begin() as db:
        await services.jobs.enqueue(
            db, "find_missed", lock="missed", once=f"missed:{services.holder}", since=as_ts(since)
        )


async def find(services: Services, since: str) -> None:
    """One job for each channel that the bot is in; those beyond the first fifty are left, and said so."""
    try:
        page = await slack_calls.read(
            services.slack.users_conversations, types="public_channel,private_channel", limit=200, exclude_archived=True
        )
    except Refusal as refusal:
        log.warning("missed_mentions_not_looked_for", error=str(refusal))
        return
    places: Sequence[Mapping[str, Any]] = page["channels"]
    if len(places) > MOST_CHANNELS or slack_calls.next_cursor(page):
        log.warning("missed_mentions_not_looked_for_everywhere", channels=MOST_CHANNELS)
    async with services.engine.begin() as db:
        for place in places[:MOST_CHANNELS]:
            channel = str(place["id"])
            await services.jobs.enqueue(
                db,
                "find_missed_in",
                lock="missed",
                once=f"missed:{services.holder}:{channel}",
                channel=channel,
                since=since,
                outside=place.get("is_ext_shared") is True,
            )


async def find_in(services: Services, channel: str, since: str, outside: bool) -> None:
    """Take up the mentions of one channel and of its threads since `since` (a ts), oldest first.

    Raises:
        Unavailable: Slack does not answer; nothing is lost.
    """
    oldest = as_ts(services.now() - THREADS_FROM)
    try:
        page = await slack_calls.read(
            services.slack.conversations_history, channel=channel, oldest=min(since, oldest), limit=MOST_MESSAGES
        )
        messages: list[Mapping[str, Any]] = list(page["messages"])
        for ts in _threads_with_news(messages, since):
            answer = await slack_calls.read(
                services.slack.conversations_replies, channel=channel, ts=ts, oldest=since, limit=MOST_MESSAGES
            )
            messages += answer["messages"]
    except Refusal as refusal:
        log.warning("missed_mentions_not_looked_for", channel=channel, error=str(refusal))
        return
    for ts, message in sorted({str(one["ts"]): one for one in messages}.items()):
        if ts < since or not asks(message, services.bot_user):
            continue
        delivery_id, event, body = mention_of({**message, "channel": channel, "is_ext_shared_channel": outside})
        if await flow.accept(services, source="slack", delivery_id=delivery_id, event=event, body=body):
            log.info("missed_mention_found", channel=channel, ts=ts)


def _threads_with_news(messages: Sequence[Mapping[str, Any]], since: str) -> list[str]:
    """The ts of threads with a reply since then, the newest of them first."""
    newest = {str(one["ts"]): str(one["latest_reply"]) for one in messages if one.get("latest_reply")}
    return sorted((ts for ts, last in newest.items() if last >= since), key=newest.__getitem__)[
        : -MOST_THREADS - 1 : -1
    ]


def asks(message: Mapping[str, Any], bot_user: str) -> bool:
    """Whether a message is a person's that mentions the bot: pure."""
    if message.get("bot_id") or message.get("user") in {None, bot_user} or (message.get("subtype") or "") not in SAID:
        return False
    said = f"{message.get('text') or ''}\n{message_text(message, quoted=False)}"
    return f"<@{bot_user}>" in said or f"<@{bot_user}|" in said
