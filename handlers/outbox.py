"""The outbox's sender: says in Slack what the database holds, once, within Slack's rate limits.

A crash between Slack's answer and our note of it is settled by looking: each message carries its key as metadata, and
whatever may have been posted before is searched for, once it would be seen, before it is posted again.
"""

import asyncio
import hashlib
import json
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

import aiohttp
import structlog
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from handlers import streaming
from handlers.blocks.card_buttons import plain_thumbs
from handlers.blocks.card_view import Card
from handlers.blocks.limits import validate_blocks
from handlers.blocks.placing import about_channel, goes_on, goes_on_from, kept_back, muted, out_of_reach, with_note
from handlers.heartbeat import HEARTBEAT
from knowledge import telemetry
from knowledge.errors import Unavailable
from knowledge.redaction import redact
from knowledge.store import outbox
from knowledge.store.database import autocommitting
from knowledge.store.outbox import CardPlace, Message

log = structlog.get_logger(__name__)

METADATA_EVENT = "codehealer_message"
MAX_ATTEMPTS = 8
# Slack that is away, or takes nothing of ours, says nothing about a message: for a day it is tried every half minute.
# Its age would not do: a card's row is as old as its incident.
LONGEST_WAIT_S, AWAY_ATTEMPTS = 30.0, 24 * 60 * 2
AWAY = frozenset(
    {
        "internal_error", "fatal_error", "service_unavailable", "request_timeout",
        "invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired",
        "not_allowed_token_type", "org_login_required", "team_added_to_org", "team_access_not_granted", "accesslimited",
        "ekm_access_denied", "two_factor_setup_required", "message_limit_exceeded",
    }
)  # fmt: skip
DATABASE_RETRY_S = 0.5
# chat.postMessage: one a second a channel with short bursts; chat.update: 50 a minute (facts of Slack's platform).
POST_BURST, POSTS_PER_S = 4.0, 1.0
EDIT_BURST, EDITS_PER_S = 30.0, 50 / 60
# Replies leave this much of a channel's burst to the cards of new incidents, and these leave one to people who wait.
RESERVED_FOR_CARDS, RESERVED_FOR_PEOPLE = 2.0, 1.0
CHANNEL_FAULTS = frozenset(
    {
        "channel_not_found", "not_in_channel", "is_archived", "user_not_in_channel", "user_not_found", "user_disabled",
        "user_not_visible", "restricted_action", "restricted_action_read_only_channel",
        "restricted_action_thread_only_channel", "restricted_action_non_threadable_channel",
    }
)  # fmt: skip
OUR_FAULTS = frozenset(
    {"invalid_blocks", "invalid_blocks_format", "invalid_arguments", "msg_blocks_too_long", "no_text"}
)
BENIGN = frozenset({"already_reacted", "no_reaction"})
CARD_GONE = frozenset({"message_not_found", "cant_update_message", "edit_window_closed"})

RenderCard = Callable[[AsyncConnection, int], Awaitable[Card | None]]


# Of several incidents: by the key of the message that tells of them.
RenderSummary = Callable[[AsyncConnection, str], Awaitable[Card | None]]


async def _nothing(_db: AsyncConnection, _incident_id: int) -> Card | None:
    return None


async def _no_summary(_db: AsyncConnection, _key: str) -> Card | None:
    return None


async def _no_sink(_message: Message) -> None:
    raise Unavailable("heartbeats go nowhere here")


class _TakenUp(Exception):
    """Another sender has it in hand, or has sent it: this one has lost its lead."""


@dataclass
class Bucket:
    """A token bucket: `capacity` at once, `per_s` after that."""

    capacity: float
    per_s: float
    tokens: float = math.inf
    at: float = field(default_factory=time.monotonic)

    def wait_s(self, keep: float = 0.0) -> float:
        """Seconds until one token may be taken that leaves `keep` in the bucket."""
        now = time.monotonic()
        held = min(self.capacity, self.tokens + (now - self.at) * self.per_s)
        self.tokens, self.at = held, now
        return max(0.0, (1.0 + keep - held) / self.per_s)

    def take(self) -> None:
        self.tokens -= 1.0

    def empty_for(self, seconds: float) -> None:
        """Slack said to wait: nothing more for that long."""
        self.tokens, self.at = 1.0 - seconds * self.per_s, time.monotonic()


class Sender:
    """The one sender of this installation; who it is, is decided by the caller (an advisory lock)."""

    def __init__(
        self,
        engine: AsyncEngine,
        slack: AsyncWebClient,
        render_card: RenderCard,
        render_settled: RenderCard = _nothing,
        render_summary: RenderSummary = _no_summary,
        *,
        home: str = "",
        count_refused: Callable[[str], None] = lambda _surface: None,
        beat: Callable[[Message], Awaitable[None]] = _no_sink,
    ) -> None:
        """`home` is the channel for cards whose own is out of reach; `count_refused` is told of blocks not sent."""
        self._engine = engine
        self._singly = autocommitting(engine)
        self._slack = slack
        self._render_card = render_card
        self._render_settled = render_settled
        self._render_summary = render_summary
        self._home = home
        self._count_refused = count_refused
        self._beat = beat
        # Why Slack took nothing at the last attempt, None where it answered: also where it refused that one message.
        self.problem: str | None = None
        self._posts: dict[str, Bucket] = {}
        self._edits = Bucket(EDIT_BURST, EDITS_PER_S)
        self._plain_thumbs = False  # since the workspace has refused Slack's feedback buttons

    async def run(self, wake: asyncio.Event) -> None:
        """Send until cancelled; `wake` is set when there may be something new."""
        while True:
            wake.clear()
            try:
                wait_s = await self.send_due()
            except (OperationalError, NoConnectionFree) as error:
                # Away, or chosen to resolve a deadlock: what was not noted as sent is looked for before it is repeated.
                log.warning("outbox_waits_for_database", error=type(getattr(error, "orig", None) or error).__name__)
                wait_s = DATABASE_RETRY_S
            try:
                async with asyncio.timeout(min(wait_s, 5.0)):
                    await wake.wait()
            except TimeoutError:
                continue

    async def send_due(self) -> float:
        """One round over what is due, channels side by side; seconds until the next round is worth it."""
        async with self._singly.connect() as db:
            messages = await outbox.due(db)
            about = {message.incident_id for message in messages if message.incident_id}
            places = await outbox.card_places(db, about) if about else {}
        by_channel: dict[str, list[Message]] = {}
        for message in messages:
            by_channel.setdefault(message.channel, []).append(message)
        # A channel that fails must not leave the others sending on unseen: the next round would say the same again.
        sending = (self._send_channel(batch, places) for batch in by_channel.values())
        rounds = await asyncio.gather(*sending, return_exceptions=True)
        waits = [_without_error(ended) for ended in rounds]
        async with self._singly.connect() as db:
            later = await outbox.next_due_s(db)
        blocked = [wait for wait in waits if wait > 0]
        if blocked:
            return max(0.02, min(blocked))
        return 5.0 if later is None else max(0.02, later)

    async def _send_channel(self, batch: list[Message], places: Mapping[int, CardPlace]) -> float:
        shortest = 0.0
        posted = False
        for number, message in enumerate(batch):
            place = places.get(message.incident_id or 0)
            # Its card, or the message that it stands under, may have been posted in this round.
            if posted and place and not (place.ts and (place.root or not place.storm_id)):
                about = {one.incident_id for one in batch[number:] if one.incident_id}
                async with self._singly.connect() as db:
                    places = await outbox.card_places(db, about)
                place, posted = places.get(message.incident_id or 0), False
            wait_s = self._wait_s(message, place)
            if wait_s > 0:
                shortest = min(shortest, wait_s) if shortest else wait_s
                continue
            await self._send_one(message, place)
            posted = posted or message.kind in {"card", "post"}
        return shortest

    def _bucket(self, message: Message, place: CardPlace | None) -> Bucket:
        if message.kind == "edit" or (message.kind == "card" and place and place.ts):
            return self._edits
        return self._posts.setdefault(message.channel, Bucket(POST_BURST, POSTS_PER_S))

    def _wait_s(self, message: Message, place: CardPlace | None) -> float:
        if message.kind == "post" and message.payload.get("in_thread") and not (place and place.ts):
            return 0.1  # the reply's card is not there yet
        if message.kind in {"reaction", "ephemeral"}:
            return 0.0
        if message.kind == "card" and place and not place.ts and place.storm_id and not place.root:
            return 0.1  # the storm's message is not there yet
        return self._bucket(message, place).wait_s(kept_free(message, place))

    async def _send_one(self, message: Message, place: CardPlace | None) -> None:
        bucket = self._bucket(message, place)
        try:
            if message.channel == HEARTBEAT:
                await self._beat(message)
                return  # by another way: it says nothing of Slack's
            if message.kind == "card":
                await self._send_card(message, place, bucket)
            elif message.kind == "edit":
                await self._send_edit(message, bucket)
            else:
                await self._send_message(message, place, bucket)
            _count(message, "sent")
        except _TakenUp:
            log.info("message_taken_up_by_another", key=message.key)
        except SlackApiError as error:
            await self._answered_no(message, error, bucket)
        except (SlackClientError, aiohttp.ClientError, TimeoutError, Unavailable) as error:
            # What did not connect has not left; anything else may still arrive, and is looked for when it has.
            at_least = 0.0 if isinstance(error, aiohttp.ClientConnectorError) else outbox.IN_FLIGHT.total_seconds()
            await self._try_later(message, redact(str(error)) or type(error).__name__, away=True, at_least_s=at_least)

    async def _send_card(self, message: Message, place: CardPlace | None, bucket: Bucket) -> None:
        incident_id = message.incident_id or 0
        async with self._singly.connect() as db:
            card = await self._render_card(db, incident_id)
        if card is None or place is None:
            await self._close(message, "")
            return
        card = with_note(card, place.note)
        body = named = self._checked({"text": card.text, "blocks": card.blocks})
        ts, up_to_date = place.ts, place.shown == _digest(body)
        # Who is named on a new card is not called by it: the reply that calls people does that, where it is wanted. So
        # the names come with the first edit.
        unnamed = body if ts else self._unnamed(body)
        if not ts:
            thread = {"thread_ts": place.root} if place.root else _thread(message.payload)
            ts, up_to_date = await self._post_once(message, {**unnamed, **thread}, bucket)
            body = unnamed if up_to_date else body
        if not up_to_date:
            if place.ts:
                bucket.take()
            await self._say(self._slack.chat_update, body, channel=place.channel, ts=ts)
        link = await self._link(place.channel, ts) if place.before else ""
        async with self._engine.begin() as db:
            took_s = await outbox.sent(db, message, ts)
            await outbox.card_shown(db, incident_id, channel=place.channel, ts=ts, shown=_digest(body))
            if body is unnamed and unnamed != named:
                await outbox.put_card(db, incident_id, place.channel, payload={})
            if place.before:
                payload = {"text": goes_on(link), "thread_ts": place.before}
                key = f"goes-on:{incident_id}:{place.before}"
                await outbox.put(db, kind="post", key=key, channel=place.channel, payload=payload)
        if not place.ts:
            telemetry.STAGE_LAG.labels("card").observe(took_s)

    async def _send_edit(self, message: Message, bucket: Bucket) -> None:
        """Say in a message of ours what has become of what it asked. Sending it twice changes nothing."""
        if ts := str(message.payload.get("ts") or ""):
            bucket.take()
            body = {"text": message.payload["text"], "blocks": message.payload.get("blocks") or []}
            await self._say(self._slack.chat_update, body, channel=message.channel, ts=ts)
            self.problem = None
            await self._close(message, ts)
            return
        async with self._singly.connect() as db:
            ts = await outbox.posted_ts(db, str(message.payload["of"]))
            summary = message.payload.get("summary")
            card = await (
                self._render_summary(db, summary) if summary else self._render_settled(db, message.incident_id or 0)
            )
        if ts and card:
            bucket.take()
            body = self._checked({"text": card.text, "blocks": card.blocks})
            await self._say(self._slack.chat_update, body, channel=message.channel, ts=ts)
        await self._close(message, ts)

    async def _send_message(self, message: Message, place: CardPlace | None, bucket: Bucket) -> None:
        payload = message.payload
        ts = ""
        named: dict[str, Any] = {}
        if message.kind == "post":
            body = await self._body(payload)
            if payload.get("calls") is False and (unnamed := self._unnamed(body)) != body:
                body, named = unnamed, body
            in_card = payload.get("in_thread") and place
            thread: dict[str, Any] = {"thread_ts": place.root or place.ts} if in_card and place else _thread(payload)
            if payload.get("broadcast"):
                thread["reply_broadcast"] = True
            if payload.get("reader") and body.get("blocks") and thread:
                ts = await self._answer_person(message, {**body, **thread}, bucket)
            else:
                ts, _ = await self._post_once(message, {**body, **thread}, bucket)
        elif message.kind == "direct":
            opened = await self._slack.conversations_open(users=message.channel)
            body = self._checked({"text": payload["text"], "blocks": payload.get("blocks")})
            ts, _ = await self._post_once(replace(message, channel=str(opened["channel"]["id"])), body, bucket)
        elif message.kind == "ephemeral":
            extra = _thread(payload)
            await self._slack.chat_postEphemeral(
                channel=message.channel, user=payload["user"], text=payload["text"], **extra
            )
        else:
            await self._slack.reactions_add(channel=message.channel, timestamp=payload["ts"], name=payload["name"])
        self.problem = None
        async with self._engine.begin() as db:
            await outbox.sent(db, message, ts)
            if named:
                edit = {**named, "ts": ts}
                await outbox.put(db, kind="edit", key=f"named:{message.key}", channel=message.channel, payload=edit)

    async def _body(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """What a post says; a summary is drawn when it is sent, as a card is."""
        card = None
        if payload.get("summary"):
            async with self._singly.connect() as db:
                card = await self._render_summary(db, payload["summary"])
        if card:
            return self._checked({"text": card.text, "blocks": card.blocks})
        return self._checked({"text": payload["text"], "blocks": payload.get("blocks")})

    async def _take(self, message: Message, ours_until: datetime | None = None) -> tuple[datetime, bool]:
        """Until when it is ours, and whether it may be in Slack already."""
        began = time.monotonic()
        async with self._singly.begin() as db:
            until = await outbox.sending(db, message, ours_until)
        if until is None:
            raise _TakenUp
        # Stopped meanwhile for so long, we may have been taken for dead, and another has sent it.
        stopped = time.monotonic() - began > outbox.IN_FLIGHT.total_seconds() / 2
        return until, message.uncertain or stopped

    async def _post_once(
        self, message: Message, body: Mapping[str, Any], bucket: Bucket, ours_until: datetime | None = None
    ) -> tuple[str, bool]:
        """The post's ts, and whether it says what `body` says: one that an earlier attempt made may be older."""
        _, uncertain = await self._take(message, ours_until)
        if uncertain:
            found = await self._posted_before(message, body.get("thread_ts"))
            if found:
                return found, False
        bucket.take()
        metadata = {"event_type": METADATA_EVENT, "event_payload": {"key": message.key}}
        answer = await self._say(
            self._slack.chat_postMessage,
            body,
            channel=message.channel,
            metadata=metadata,
            unfurl_links=False,
            unfurl_media=False,
        )
        return str(answer["ts"]), True

    async def _answer_person(self, message: Message, body: Mapping[str, Any], bucket: Bucket) -> str:
        """Stream an answer, or make whole what an earlier attempt left of it; the post's ts."""
        metadata = {"event_type": METADATA_EVENT, "event_payload": {"key": message.key}}
        ours_until, uncertain = await self._take(message)
        if uncertain:
            for ts in await self._begun_before(message, body["thread_ts"]):
                if await streaming.complete(self._slack, ts, body, channel=message.channel, metadata=metadata):
                    return ts
        else:
            bucket.take()
            try:
                return await streaming.say(
                    self._slack, body, channel=message.channel, reader=message.payload["reader"], metadata=metadata,
                    begun=lambda ts: self._begun(message, ts),
                )  # fmt: skip
            except streaming.NotBegun as refusal:
                log.info("answer_not_streamed", channel=message.channel, error=str(refusal))
        return (await self._post_once(message, body, bucket, ours_until))[0]

    async def _begun(self, message: Message, ts: str) -> None:
        async with self._engine.begin() as db:
            await outbox.begun(db, message, ts)

    async def _begun_before(self, message: Message, thread_ts: str) -> list[str]:
        """The stream that an earlier attempt began: as it noted, else what the thread shows as unfinished."""
        async with self._singly.connect() as db:
            if noted := await outbox.posted_ts(db, message.key):
                return [noted]
        oldest = f"{message.created_at.timestamp() - 60:.6f}"
        page = await self._slack.conversations_replies(channel=message.channel, ts=thread_ts, oldest=oldest, limit=200)
        return streaming.unfinished(page["messages"])

    async def _say(self, method: Callable[..., Awaitable[Any]], body: Mapping[str, Any], **where: Any) -> Any:
        """One call; with two plain buttons where the workspace refuses Slack's feedback buttons."""
        blocks = list(body.get("blocks") or ())
        plainer = {**body, "blocks": plain_thumbs(blocks)} if blocks else body
        try:
            answer = await method(**where, **(plainer if self._plain_thumbs else body))
        except SlackApiError as error:
            if self._plain_thumbs or plainer == body or _code(error) != "invalid_blocks":
                raise
            answer = await method(**where, **plainer)
            # Only now it is known that it was them.
            self._plain_thumbs = True
            log.warning("feedback_buttons_refused")
        self.problem = None
        return answer

    async def _posted_before(self, message: Message, thread_ts: str | None) -> str:
        """The ts of an earlier attempt that reached Slack, or ""."""
        window: dict[str, Any] = {
            "channel": message.channel,
            "oldest": f"{message.created_at.timestamp() - 60:.6f}",
            "include_all_metadata": True,
            "limit": 200,
        }
        cursor = ""
        while True:
            if thread_ts:
                page = await self._slack.conversations_replies(ts=thread_ts, cursor=cursor or None, **window)
            else:
                page = await self._slack.conversations_history(cursor=cursor or None, **window)
            for posted in page["messages"]:
                metadata = posted.get("metadata") or {}
                if (metadata.get("event_payload") or {}).get("key") == message.key:
                    return str(posted["ts"])
            cursor = (page.get("response_metadata") or {}).get("next_cursor") or ""
            if not cursor:
                return ""

    async def _close(self, message: Message, ts: str) -> None:
        async with self._singly.begin() as db:
            await outbox.sent(db, message, ts)

    async def _answered_no(self, message: Message, error: SlackApiError, bucket: Bucket) -> None:
        code = _code(error)
        status = getattr(error.response, "status_code", 0)
        self.problem = None  # it answers; where it does not take anything, `_try_later` says so
        if status == 429 or code == "ratelimited":
            retry_after = float(error.response.headers.get("Retry-After", 1))
            bucket.empty_for(retry_after)
            _count(message, "limited")
            async with self._engine.begin() as db:
                await outbox.again(db, message, in_s=retry_after, error=code, waited=True)
        elif code in BENIGN:
            await self._close(message, "")
        elif code in CARD_GONE and message.kind == "edit":
            await self._close(message, "")  # somebody deleted it: nothing is left to set right
        elif code in CARD_GONE and message.kind == "card":
            await self._post_anew(message, code)
        elif code in CHANNEL_FAULTS and await self._elsewhere(message, code):
            log.warning("channel_out_of_reach", key=message.key, channel=message.channel, error=code)
        elif code in CHANNEL_FAULTS | OUR_FAULTS:
            log.error("message_refused", key=message.key, channel=message.channel, error=code)
            _count(message, "refused")
            await self._give_up(message, code)
        else:
            # Without a word of Slack's the answer is somebody else's, such as a proxy's.
            away = code in AWAY or not code or status >= 500
            await self._try_later(message, code or f"HTTP {status}", away=away)

    async def _post_anew(self, message: Message, code: str) -> None:
        """A card that cannot be edited goes on in a new post; where the old one still stands, each links the other."""
        log.warning("card_gone", incident_id=message.incident_id, error=code)
        async with self._singly.connect() as db:
            place = await outbox.card_place(db, message.incident_id or 0)
        before = place.ts if place and code != "message_not_found" else ""
        note = goes_on_from(await self._link(message.channel, before)) if before else ""
        async with self._engine.begin() as db:
            await outbox.post_anew(db, message, error=code, before=before, note=note)

    async def _elsewhere(self, message: Message, code: str) -> bool:
        """Say what its channel does not take where it reaches people; False where there is no such place."""
        async with self._engine.begin() as db:
            if message.kind == "ephemeral":
                text = f"{about_channel(message.channel)}{message.payload['text']}"
                user = str(message.payload["user"])
                await outbox.say_instead(db, message, kind="direct", channel=user, payload={"text": text}, error=code)
                return True
            otherwise = message.payload.get("otherwise")
            if otherwise:
                channel, payload = otherwise["channel"], otherwise["payload"]
                await outbox.say_instead(db, message, kind="post", channel=channel, payload=payload, error=code)
                return True
            if message.kind != "card" or not self._home or message.channel == self._home:
                return False
            note = out_of_reach(message.channel, code)
            if await outbox.move_card(db, message, self._home, error=code, note=note):
                return True
            # It came from where not everybody reads: that there is one is all that is said.
            payload = {"text": kept_back(message.incident_id or 0, code)}
            key = f"out-of-reach:{message.incident_id}"
            await outbox.put(db, kind="post", key=key, channel=self._home, payload=payload)
            return False

    async def _link(self, channel: str, ts: str) -> str:
        """Slack's link to a message, "" where it does not say."""
        try:
            return str((await self._slack.chat_getPermalink(channel=channel, message_ts=ts))["permalink"])
        except (SlackApiError, aiohttp.ClientError, TimeoutError) as error:
            log.warning("no_permalink", channel=channel, error=type(error).__name__)
            return ""

    def _unnamed(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The same without mentions, as it is posted first: an edit that puts them in notifies nobody."""
        return self._checked(asdict(muted(Card(body["text"], body.get("blocks", [])))))

    def _checked(self, body: dict[str, Any]) -> dict[str, Any]:
        """The body without blocks that Slack would refuse: then the plain text goes out, and the fault is counted."""
        blocks = body.get("blocks")
        if not blocks:
            return {"text": body["text"]}
        faults = validate_blocks("message", blocks)
        if faults:
            log.error("blocks_refused_before_sending", faults=faults[:5])
            self._count_refused("message")
            return {"text": body["text"]}
        return body

    async def _try_later(self, message: Message, error: str, *, away: bool, at_least_s: float = 0.0) -> None:
        log.warning("message_not_sent", key=message.key, error=error, attempts=message.attempts + 1)
        tried = message.attempts + 1 >= (AWAY_ATTEMPTS if away else MAX_ATTEMPTS)
        # A heartbeat that is late says nothing any more, and ends by itself.
        last = tried and message.channel != HEARTBEAT
        if message.channel != HEARTBEAT:
            if away:
                self.problem = f"Slack's API: {error}"
            _count(message, "refused" if last else "later")
        if not last:
            wait_s = max(at_least_s, min(LONGEST_WAIT_S, 0.5 * 2 ** min(message.attempts, 6)))
            async with self._engine.begin() as db:
                await outbox.again(db, message, in_s=wait_s, error=error)
        elif away or not await self._elsewhere(message, error):
            await self._give_up(message, error)

    async def _give_up(self, message: Message, error: str) -> None:
        """Leave it unsaid; what waits for a storm's message must not wait for ever."""
        async with self._engine.begin() as db:
            if message.kind == "post" and message.key.startswith("storm:"):
                await outbox.disband(db, message)
            await outbox.gave_up(db, message, error)


def _count(message: Message, result: str) -> None:
    telemetry.SLACK_MESSAGES.labels(message.kind, result).inc()


def kept_free(message: Message, place: CardPlace | None) -> float:
    """How much of a channel's burst a message leaves to what is more urgent."""
    edit = message.kind == "edit" or (message.kind == "card" and place is not None and bool(place.ts))
    if edit or message.priority <= outbox.URGENT:
        return 0.0
    return RESERVED_FOR_PEOPLE if message.priority <= outbox.IN_STORM else RESERVED_FOR_CARDS


def _code(error: SlackApiError) -> str:
    """Slack's word for what is wrong; "" where there is none."""
    # An answer that is no JSON comes as aiohttp's response, without data.
    data = getattr(error.response, "data", None)
    return str(data.get("error", "")) if isinstance(data, dict) else ""


def _without_error(ended: float | BaseException) -> float:
    if isinstance(ended, BaseException):
        raise ended
    return ended


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _thread(payload: Mapping[str, Any]) -> dict[str, Any]:
    return {"thread_ts": payload["thread_ts"]} if payload.get("thread_ts") else {}
