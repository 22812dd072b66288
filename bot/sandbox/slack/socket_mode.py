"""Socket Mode: tickets, links, envelopes, acknowledgements and redelivery."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
import time
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
from aiohttp import WSMsgType, web

from .clock import Clock
from .faults import SlackFaults
from .http_mode import RequestUrl
from .state import APP_ID

Json = dict[str, Any]
log = logging.getLogger(__name__)

MAX_LINKS = 10
TICKET_SECONDS = 30
PING_SECONDS = 15
DEBUG_RECONNECT_SECONDS = 360
# An outage of the bot must not let the backlog grow without end; Slack drops events too, after an hourly ceiling.
MAX_WAITING = 20_000
KEPT_ACKS = 10_000
DISCONNECT_REASONS = ("warning", "refresh_requested", "link_disabled", "too_many_websockets")


@dataclass(frozen=True)
class Timing:
    """Seconds. ``retries`` are the waits before the second, third and fourth delivery of an event."""

    ack: float = 3.0
    trigger: float = 3.0
    response_url: float = 30 * 60
    retries: tuple[float, ...] = (0.0, 60.0, 300.0)
    warning: float = 10.0

    def scaled(self, factor: float) -> Timing:
        """Shorten or stretch the waits between deliveries, and nothing that a bot has to keep to."""
        return Timing(
            self.ack,
            self.trigger,
            self.response_url,
            tuple(seconds * factor for seconds in self.retries),
            self.warning * factor,
        )


@dataclass(frozen=True, eq=False)
class Link:
    """One open WebSocket of the app and the TCP connection under it; ``ending`` asks for its CLOSE."""

    ws: web.WebSocketResponse
    transport: asyncio.Transport | None
    ending: asyncio.Event


@dataclass
class Sockets:
    """The open links of the app and what was sent over them.

    ``counts`` has delivered, unacknowledged, redelivered, dropped. ``ack_ms`` has, by type of envelope, how long the
    newest acknowledgements took from the frame that was sent to the frame that came back.
    """

    timing: Timing
    faults: SlackFaults
    random: random.Random
    clock: Clock
    on_link_change: Callable[[], None] = lambda: None
    # Set, everything goes there and nothing over links.
    request_url: RequestUrl | None = None
    links: list[Link] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    ack_ms: defaultdict[str, deque[float]] = field(default_factory=lambda: defaultdict(lambda: deque(maxlen=KEPT_ACKS)))
    # {"id", "type", "channel", "ts"} of events that were acknowledged: what a bot said it has.
    acknowledged: deque[Json] = field(default_factory=lambda: deque(maxlen=MAX_WAITING))
    # The same of events that nobody acknowledged at any try: Slack sends them no more.
    given_up: deque[Json] = field(default_factory=lambda: deque(maxlen=MAX_WAITING))
    _tickets: dict[str, float] = field(default_factory=dict)
    _waiting: dict[str, asyncio.Future[Json]] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _held: list[Json] = field(default_factory=list)
    _connected: asyncio.Event = field(default_factory=asyncio.Event)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something in the background until it is done or the sandbox stops."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Close every link and end every delivery."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for link in list(self.links):
            link.ending.set()

    def new_ticket(self) -> str:
        """Make a ticket that opens one link, once, soon."""
        now = self.clock.now()
        self._tickets = {ticket: end for ticket, end in self._tickets.items() if end > now}
        ticket = secrets.token_urlsafe(18)
        self._tickets[ticket] = now + TICKET_SECONDS
        return ticket

    # Links

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer ``/link/?ticket=``: 408 for a stale ticket, else a link until one side ends it."""
        if self.faults.refuse_connections or await swallowed(self.faults, "hang_links"):
            return dropped(request)
        stale = self._tickets.pop(request.query.get("ticket", ""), 0.0) < self.clock.now()
        if stale or self.faults.link_disabled or self._too_old():
            return web.Response(status=408, text="Request Timeout")
        ws = web.WebSocketResponse(autoping=False, max_msg_size=1 << 20)
        await ws.prepare(request)
        if len(self.links) >= MAX_LINKS:
            await ws.send_json({"type": "disconnect", "reason": "too_many_websockets", **self._link_info()})
            await ws.close()
            return ws
        link = Link(ws, request.transport, asyncio.Event())
        self.links.append(link)
        self._connected.set()
        self.on_link_change()
        if request.query.get("debug_reconnects") == "true":
            self.spawn(self._disconnect_later(link, DEBUG_RECONNECT_SECONDS))
        tasks = [asyncio.create_task(work) for work in (self._ping(link), self._listen(ws), _asked(link.ending))]
        try:
            await ws.send_json({"type": "hello", **self._link_info()})
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._forget(link)
        # Closed by whoever served it, with nobody else reading: only then is the other side's CLOSE waited for, and
        # nothing that was sent before is lost with the connection.
        await ws.close()
        return ws

    def _too_old(self) -> bool:
        hit = self.faults.stale_tickets_next > 0
        self.faults.stale_tickets_next -= int(hit)
        return hit

    def _link_info(self) -> Json:
        return {
            "num_connections": len(self.links),
            "connection_info": {"app_id": APP_ID},
            "debug_info": {"host": "applink-sandbox", "build_number": 1, "approximate_connection_time": 18060},
        }

    async def _listen(self, ws: web.WebSocketResponse) -> None:
        async for frame in ws:
            if self.faults.black_hole:
                continue
            if frame.type is WSMsgType.PING:
                if not self.faults.no_pong:
                    await ws.pong(frame.data)
            elif frame.type is WSMsgType.TEXT:
                self._acknowledged(frame.data)

    async def _ping(self, link: Link) -> None:
        with contextlib.suppress(ConnectionError):
            while not link.ws.closed:
                await self.clock.sleep(PING_SECONDS)
                if self.faults.black_hole:
                    continue
                await link.ws.ping(b"Ping from applink-sandbox")

    def _forget(self, link: Link) -> None:
        if link in self.links:
            self.links.remove(link)
            if not self.links:
                self._connected.clear()
            self.on_link_change()

    def _acknowledged(self, frame: str) -> None:
        try:
            answer = orjson.loads(frame)
        except orjson.JSONDecodeError:
            log.warning("a frame that is no JSON came from the bot")
            return
        waiting = self._waiting.get(answer.get("envelope_id", "")) if isinstance(answer, dict) else None
        if waiting is not None and not waiting.done():
            waiting.set_result(answer.get("payload") or {})

    # Envelopes

    async def send(self, kind: str, payload: Json, **more: Any) -> Json | None:
        """Send one envelope to one link and wait for its ack.

        Returns the ack's payload ({} when it has none), None when no ack came within the window.
        """
        if self.request_url:
            return await self._post(self.request_url, kind, payload, more)
        link = await self._link_soon()
        if link is None:
            return None
        envelope_id = str(uuid.uuid4())
        waiting: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._waiting[envelope_id] = waiting
        envelope = {"envelope_id": envelope_id, "type": kind, "payload": payload, **more}
        try:
            async with asyncio.timeout(self.timing.ack):
                sent_at = time.perf_counter()
                if not self.faults.black_hole:
                    await link.ws.send_str(orjson.dumps(envelope).decode())
                self.counts["delivered"] += 1
                answer = await waiting
                self.ack_ms[kind].append(round(1000 * (time.perf_counter() - sent_at), 2))
                return answer
        except TimeoutError:
            self.counts["unacknowledged"] += 1
            return None
        except ConnectionError:
            # The link went while we wrote; Slack learns of it as a delivery that nobody acknowledged.
            self._forget(link)
            await asyncio.sleep(self.timing.ack)
            return None
        finally:
            del self._waiting[envelope_id]

    async def _post(self, request_url: RequestUrl, kind: str, payload: Json, more: Json) -> Json | None:
        """The same over HTTP: what is not answered with 200 in time counts as unacknowledged."""
        answer = None
        try:
            async with asyncio.timeout(self.timing.ack):
                sent_at = time.perf_counter()
                self.counts["delivered"] += 1
                answer = await request_url.deliver(kind, payload, more)
        except (TimeoutError, aiohttp.ClientError):
            pass
        if answer is None:
            self.counts["unacknowledged"] += 1
        else:
            self.ack_ms[kind].append(round(1000 * (time.perf_counter() - sent_at), 2))
        return answer

    async def _link_soon(self) -> Link | None:
        """Return a link, waiting one ack window for a bot that is just connecting."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.timing.ack):
                while (link := self._pick()) is None:
                    await self._connected.wait()
                    # A link that just closed still counts as connected until its handler has noticed.
                    await asyncio.sleep(0.02)
                return link
        return None

    def _pick(self) -> Link | None:
        usable = [link for link in self.links if not link.ws.closed]
        return self.random.choice(usable) if usable else None

    async def interact(self, kind: str, payload: Json, accepts_response: bool) -> Json | None:
        """Send a click, a submission or a command: delivered once, never again. Without a link it fails at once."""
        if self._pick() is None and self.request_url is None:
            return None
        return await self.send(kind, payload, accepts_response_payload=accepts_response)

    def deliver_event(self, body: Json) -> None:
        """Deliver an event in the background, again while it stays unacknowledged."""
        if len(self._tasks) >= MAX_WAITING:
            self.counts["dropped"] += 1
            return
        if self.faults.reorder:
            if not self._held:
                self.spawn(self._release())
            self._held.append(body)
            return
        self._start(body)

    def _start(self, body: Json) -> None:
        for _ in range(2 if self.faults.duplicate_events else 1):
            self.spawn(self._deliver(body))

    async def _release(self) -> None:
        await asyncio.sleep(0.2)
        held, self._held = self._held, []
        for body in reversed(held):
            self._start(body)

    async def _deliver(self, body: Json) -> None:
        for attempt, wait in enumerate((0.0, *self.timing.retries)):
            if wait:
                await self.clock.sleep(wait)
            if attempt:
                self.counts["redelivered"] += 1
            acknowledged = await self.send(
                "events_api",
                body,
                accepts_response_payload=False,
                retry_attempt=attempt,
                retry_reason="timeout" if attempt else "",
            )
            if acknowledged is not None:
                self.acknowledged.append(_named(body))
                return
        self.given_up.append(_named(body))

    # Faults that strike once

    def drop_links(self) -> None:
        """End every link's TCP connection without a CLOSE frame."""
        for link in list(self.links):
            if link.transport is not None:
                link.transport.abort()
            self._forget(link)

    def disconnect(self, reason: str) -> None:
        """Send a disconnect frame to every link, and close it: at once, or after ten seconds for a routine one."""
        if reason == "link_disabled":
            self.faults.link_disabled = True
        for link in list(self.links):
            self.spawn(self._disconnect(link, reason))

    async def _disconnect_later(self, link: Link, seconds: float) -> None:
        await self.clock.sleep(seconds)
        await self._disconnect(link, "warning")

    async def _disconnect(self, link: Link, reason: str) -> None:
        with contextlib.suppress(ConnectionError):
            await link.ws.send_json({"type": "disconnect", "reason": reason, "debug_info": {"host": "applink-sandbox"}})
        self._forget(link)
        if reason in ("warning", "refresh_requested"):
            await self.clock.sleep(self.timing.warning)
        link.ending.set()


async def _asked(ending: asyncio.Event) -> None:
    await ending.wait()


async def swallowed(faults: SlackFaults, *also: str) -> bool:
    """Hold what came for as long as it vanishes in a black hole, or another named fault is on; whether it was held."""
    held = False
    while faults.black_hole or any(getattr(faults, name) for name in also):
        held = True
        await asyncio.sleep(0.1)
    return held


async def hung_up(request: web.Request) -> None:
    """Wait until the other side has given up waiting for an answer."""
    while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110 - it has no event
        await asyncio.sleep(0.05)


def dropped(request: web.Request) -> web.Response:
    """End the TCP connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)


def _named(body: Json) -> Json:
    """What tells an event from others; "" for what its type does not have."""
    event = body.get("event") or {}
    return {
        "id": str(body.get("event_id", "")),
        **{name: str(event.get(name, "")) for name in ("type", "channel", "ts")},
    }
