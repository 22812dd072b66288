"""Reading the past of the channels that the bot is in, a page at a time, from where the last page ended.

The place in each channel is in the database, and reading a page twice changes nothing: a run that was killed goes on.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import structlog

from handlers import slack_calls
from handlers.services import Services
from handlers.slack_calls import Refusal
from handlers.sources.slack_text import message_text
from handlers.threads import GONE, WORDS, Body, Kept, keep, look_at, may_keep, note_channel, replies_of
from knowledge.backfill import Backfill, after_page, share_read, with_window, without_cursor
from knowledge.errors import Unavailable
from knowledge.slack_threads import about_something, as_ts, item_id, moment
from knowledge.store import audit, switches, threads
from knowledge.store.threads import Channel

log = structlog.get_logger(__name__)

LOOKED, TURN = "threads.looked_at", timedelta(hours=1)
NIGHTLY = timedelta(hours=24)
# Small enough that a page with all its threads is read within a job's patience.
JOB_PAGE, COMMAND_PAGE = 20, 100
CHANNELS_PAGE = 200
MOST_WAITS = 20


@dataclass
class Pace:
    """Spaces calls out, and waits as long as Slack asks. `sleep` is asyncio's, but for tests."""

    every_s: float
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    patient: bool = False
    waited: list[float] = field(default_factory=list)

    async def __call__(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """One paced call. A patient pace obeys Retry-After itself; else Unavailable goes to the job, which does."""
        for _ in range(MOST_WAITS):
            await self.sleep(self.every_s)
            try:
                return await call()
            except Unavailable as busy:
                if not self.patient:
                    raise
                self.waited.append(busy.retry_after_s or slack_calls.DEFAULT_WAIT_S)
                log.info("slack_says_wait", seconds=self.waited[-1])
                await self.sleep(self.waited[-1])
        raise Unavailable(f"Slack was busy {MOST_WAITS} times in a row; run this again later, it goes on from here.")


@dataclass(frozen=True, slots=True)
class Page:
    """What one page came to: threads by what became of them, and how much of the channel's window is read (0 to 1)."""

    channel: str
    threads: Counter[Kept]
    share: float


# --- one page ----------------------------------------------------------------------------------------------------


async def read_page(services: Services, channel: str, *, since: str, now: str, pace: Pace, size: int) -> Page | None:
    """Read the next page of what `since` (a ts) to `now` has; None when all of it is read, or may not be.

    Raises:
        Unavailable: Slack does not answer; nothing is lost.
    """
    async with services.engine.connect() as db:
        place = await threads.channel(db, channel)
        forgotten = await threads.forgotten_up_to(db, channel)
    # What was asked for before the channel was forgotten has nothing left to read.
    state = with_window(place.backfill, max(since, forgotten), now) if place and forgotten < now else None
    if state is None or not await may_keep(services, channel):
        return None
    try:
        page = await pace(partial(_history, services, channel, state, size))
    except Refusal as refusal:
        if refusal.code == "invalid_cursor":
            await _save(services, channel, without_cursor(state))
            return Page(channel, Counter(), share_read(state))
        if refusal.code in GONE:
            await look_at(services, channel)
            return None
        raise
    found: Counter[Kept] = Counter()
    parents = [one for one in page["messages"] if one.get("thread_ts", one.get("ts")) == one.get("ts")]
    for parent in parents:
        if str(parent["ts"]) >= forgotten and _worth_reading(parent, services):
            found[await _read(services, channel, parent, pace)] += 1
    cursor, reached = slack_calls.next_cursor(page), min((str(one["ts"]) for one in page["messages"]), default="")
    after = after_page(state, cursor=cursor, reached=reached, more=bool(page.get("has_more")))
    down_to = reached if after.under_way else state.oldest
    found["dropped"] += await _drop_missing(services, channel, state, down_to, parents)
    await _save(services, channel, after)
    return Page(channel, found, share_read(after) if after.under_way else 1.0)


async def _history(services: Services, channel: str, state: Backfill, size: int) -> Any:
    return await slack_calls.read(
        services.slack.conversations_history,
        channel=channel,
        oldest=state.oldest,
        latest=state.asked,
        inclusive=True,
        limit=size,
        cursor=state.cursor or None,
    )


def _worth_reading(parent: Body, services: Services) -> bool:
    """A thread is known by its first message; reading all replies of a busy channel would take days."""
    if parent.get("user") == services.bot_user or (parent.get("subtype") or "") not in WORDS:
        return False
    return about_something(message_text(parent, quoted=False))


async def _read(services: Services, channel: str, parent: Body, pace: Pace) -> Kept:
    ts = str(parent["ts"])
    messages: Sequence[Body] = [parent]
    if parent.get("reply_count"):
        messages = await pace(partial(replies_of, services, channel, ts))
    return await keep(services, channel, ts, messages)


async def _drop_missing(
    services: Services, channel: str, state: Backfill, down_to: str, parents: Sequence[Body]
) -> int:
    """Threads that are kept and no longer in the part of the history that this page covers: their deletion was missed.

    The page covers what is older than the last one, down to `down_to`; "" is an empty page, which covers nothing.
    """
    if not down_to:
        return 0
    still = [item_id(channel, str(one["ts"])) for one in parents if one.get("subtype") != "tombstone"]
    async with services.engine.begin() as db:
        return await threads.drop_between(db, channel, after=down_to, before=state.reached or state.asked, but=still)


async def _save(services: Services, channel: str, state: Backfill) -> None:
    async with services.engine.begin() as db:
        await threads.put_backfill(db, channel, state)


# --- all channels ------------------------------------------------------------------------------------------------


async def look_at_channels(services: Services, pace: Pace) -> Sequence[Channel]:
    """Note every channel that the bot is in and forget the others; the channels whose threads may be kept."""
    found: list[Body] = []
    cursor = ""
    while True:
        page = await pace(
            partial(
                slack_calls.read,
                services.slack.users_conversations,
                types="public_channel,private_channel",
                limit=CHANNELS_PAGE,
                cursor=cursor or None,
            )
        )
        found += page["channels"]
        cursor = slack_calls.next_cursor(page)
        if not cursor:
            break
    async with services.engine.begin() as db:
        for one in found:
            await note_channel(db, services, one)
        for gone in await threads.forget_other_channels(db, [str(one["id"]) for one in found]):
            await audit.record(db, "threads.forgotten", channel=gone)
        known = await threads.channels(db)
        for place in known:
            if not services.threads.wants(place.id):
                await threads.drop_threads(db, place.id)
        await threads.drop_older(db, services.threads.oldest(services.now()))
        await threads.drop_forgotten(db)
    return [place for place in known if place.audience != "outside" and services.threads.wants(place.id)]


def first_of(services: Services, since: datetime | None = None) -> str:
    """The ts from which on a channel is read: not before what retention keeps."""
    wanted = since or services.now() - timedelta(days=services.threads.since_days)
    return as_ts(max(wanted, services.threads.oldest(services.now())))


async def tend(services: Services) -> None:
    """By the clock: look at the channels every hour, and read what is new, or was never read, once a day."""
    now = services.now()
    async with services.engine.connect() as db:
        looked = await switches.read(db, LOOKED)
    if looked and now - datetime.fromisoformat(str(looked.value)) < TURN:
        return
    try:
        wanted = await look_at_channels(services, Pace(0.0))
    except Refusal:
        # Asking again soon changes nothing; a busy Slack is asked again at the next tick.
        async with services.engine.begin() as db:
            await switches.write(db, LOOKED, now.isoformat(), by="clock")
        raise
    async with services.engine.begin() as db:
        await switches.write(db, LOOKED, now.isoformat(), by="clock")
        for channel in wanted:
            read_to = channel.backfill.read_to
            if channel.backfill.under_way or not read_to or now - moment(read_to) > NIGHTLY:
                await _ask(db, services, channel.id, since=first_of(services), now=as_ts(now))


async def _ask(db: Any, services: Services, channel: str, *, since: str, now: str) -> None:
    # One lock for all channels: reading slowly must not keep the workers from incidents.
    await services.jobs.enqueue(
        db, "index_channel", lock="thread-index", once=f"index:{channel}", channel=channel, since=since, now=now
    )


async def look_at_channel(services: Services, channel: str) -> None:
    """The bot was invited: find out who reads the channel, and begin to read its past."""
    if await look_at(services, channel) in {"all", "members"} and services.threads.wants(channel):
        async with services.engine.begin() as db:
            await _ask(db, services, channel, since=first_of(services), now=as_ts(services.now()))


async def index_channel(services: Services, channel: str, since: str, now: str) -> None:
    """One page of a channel as a job, and the next page as the next job."""
    pace = Pace(services.threads.pace_s)
    try:
        page = await read_page(services, channel, since=since, now=now, pace=pace, size=JOB_PAGE)
    except Refusal as refusal:
        log.warning("channel_not_read", channel=channel, error=str(refusal))
        return
    if page is not None:
        async with services.engine.begin() as db:
            await _ask(db, services, channel, since=since, now=now)


async def index_all(
    services: Services, *, since: datetime | None, pace: Pace, told: Callable[[Channel, Page], None]
) -> Counter[str]:
    """Read every channel to its end, as the command does; `told` hears of each page. Counts what became of threads."""
    total: Counter[str] = Counter()
    now, first = as_ts(datetime.now(UTC)), first_of(services, since)
    for channel in await look_at_channels(services, pace):
        total["channels"] += 1
        while page := await read_page(services, channel.id, since=first, now=now, pace=pace, size=COMMAND_PAGE):
            total.update(page.threads)
            told(channel, page)
    return total
