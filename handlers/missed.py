"""Questions that Slack gave up on: after an outage they are looked for where they stand, in channels and directly.

Slack tries an event four times within six minutes. Where each try met a fault, nobody is told of it again. What is
found here and what came as an event are one delivery, by channel and ts, so looking twice, or beside Slack's own
repeats, asks nothing twice.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import structlog

from handlers import flow, slack_calls
from handlers.listeners import ASKED_AS, mention_of
from handlers.services import Services
from handlers.slack_calls import Refusal
from handlers.sources.slack_text import message_text
from knowledge.slack_threads import as_ts
from knowledge.store import threads

log = structlog.get_logger(__name__)

# An event's first try may have been swallowed by a link that was dead already, and was not known to be.
OVERLAP = timedelta(minutes=5)
# Who asked longer ago than this does not wait any more.
LONGEST = timedelta(hours=6)
# A question in a thread stands under a message of before the outage.
THREADS_FROM = timedelta(hours=12)
MOST_PLACES, MOST_MESSAGES, MOST_THREADS = 50, 200, 20
# Asked for apart: an app that was installed before it had the scope for the second still has its channels looked at.
KINDS = ("public_channel,private_channel", "im")
DIRECT = "D"
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
    """One job for each channel and direct message of the bot; those beyond fifty of a kind are left, and said so."""
    places = [place for kinds in KINDS for place in await _places(services, kinds)]
    async with services.engine.begin() as db:
        for place in places:
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


async def _places(services: Services, kinds: str) -> Sequence[Mapping[str, Any]]:
    try:
        page = await slack_calls.read(services.slack.users_conversations, types=kinds, limit=200, exclude_archived=True)
    except Refusal as refusal:
        log.warning("missed_mentions_not_looked_for", kinds=kinds, error=str(refusal))
        return []
    places = [one for one in page["channels"] if not one.get("is_user_deleted")]
    if len(places) > MOST_PLACES or slack_calls.next_cursor(page):
        log.warning("missed_mentions_not_looked_for_everywhere", kinds=kinds, most=MOST_PLACES)
    return places[:MOST_PLACES]


async def find_in(services: Services, channel: str, since: str, outside: bool) -> None:
    """Take up what one channel and its threads ask the bot since `since` (a ts), oldest first.

    Raises:
        Unavailable: Slack does not answer; nothing is lost.
    """
    async with services.looks.connect() as db:
        # What was asked before the channel was forgotten is known of no more, and would be taken for news.
        since = max(since, await threads.forgotten_up_to(db, channel))
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
        if ts < since or not asks(message, services.bot_user, direct=channel.startswith(DIRECT)):
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


def asks(message: Mapping[str, Any], bot_user: str, *, direct: bool = False) -> bool:
    """Whether a message is a person's that mentions the bot, or in a direct message any of a person's: pure."""
    if message.get("bot_id") or message.get("user") in {None, bot_user} or (message.get("subtype") or "") not in SAID:
        return False
    if direct:
        return message.get("subtype") in ASKED_AS
    said = f"{message.get('text') or ''}\n{message_text(message, quoted=False)}"
    return f"<@{bot_user}>" in said or f"<@{bot_user}|" in said
