"""Slack over Socket Mode, kept up: one link after the other, each with a fresh address.

slack_sdk's own client is not used for it (docs/decisions.md): it asks a refused address for ever, leaves the old link
before the new one is there, and tells a dead link by the wall clock. Envelopes go to bolt by bolt's own adapter.
"""

import asyncio
import json
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import aiohttp
import structlog
from slack_bolt.adapter.socket_mode.async_internals import run_async_bolt_app, send_async_response
from slack_bolt.async_app import AsyncApp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.socket_mode.async_client import AsyncBaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse
from sqlalchemy.exc import SQLAlchemyError

log = structlog.get_logger(__name__)

# Slack's envelopes hold a message of 40,000 characters and its blocks; a frame beyond this is nobody's.
MAX_FRAME = 4_000_000
CLOSE_S = 2.0
# Why a link is followed by another before it is closed; "old" is our own reason.
REPLACED = frozenset({"warning", "refresh_requested", "old"})
TOO_MANY = "too_many_websockets"
SWITCHED_OFF = "link_disabled"
# Answers of apps.connections.open that waiting alone does not mend.
LASTING = frozenset(
    {
        "invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "not_allowed_token_type",
        "missing_scope", "forbidden_team", SWITCHED_OFF,
    }
)  # fmt: skip
RETRIED = (SlackClientError, aiohttp.ClientError, OSError, ValueError)


class LinkRefused(ConnectionError):
    """Slack took the connection and said at once why it ends it; the text is Slack's reason."""


@dataclass(frozen=True, slots=True)
class LinkTiming:
    """Seconds, all by the monotonic clock. A PONG is waited for half a heartbeat: a dead link is left after 1.5."""

    connect: float = 10.0
    heartbeat: float = 10.0
    shortest_back_off: float = 0.25
    longest_back_off: float = 5.0
    # Between two tries where a person has to set something right.
    asleep: float = 30.0
    # A link that is up and brings nothing can't be told from a quiet workspace, so none gets older than this.
    renew: float = 1800.0
    # How long a link that is replaced may still bring what was on its way.
    overlap: float = 15.0
    drain: float = 3.0


@dataclass(eq=False)
class Link:
    """One open WebSocket. `reading` ends with it; `asked` gets the reason when Slack asks us to leave."""

    ws: aiohttp.ClientWebSocketResponse
    asked: "asyncio.Future[str]"
    opened_at: float = field(default_factory=time.monotonic)
    reading: "asyncio.Future[None] | None" = None
    logger: logging.Logger = field(default_factory=lambda: logging.getLogger(__name__))

    @property
    def alive(self) -> bool:
        return not self.ws.closed and self.reading is not None and not self.reading.done()


class SocketMode:
    """Keeps one link open. `problem` says what is wrong, None when nothing is.

    Args:
        count: told the name of what happened ("opened", "lost", "replaced", "refused"), for /metrics.
        address: of the first link, where Slack was asked for one already; one that is refused is not tried again.
        returned: told, when a link is open again after one was lost, how many seconds ago the lost one was surely good.
    """

    def __init__(
        self,
        app: AsyncApp,
        app_token: str,
        timing: LinkTiming | None = None,
        count: Callable[[str], None] = lambda _what: None,
        address: str = "",
        *,
        returned: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        self._app = app
        self._token = app_token
        self._timing = timing or LinkTiming()
        self._count = count
        self._address = address
        self._returned = returned
        self._links: list[Link] = []
        self._working: set[asyncio.Task[None]] = set()
        self._trouble = "not connected"
        self._lasting = False
        self._gap_from: float | None = None

    @property
    def problem(self) -> str | None:
        if self._lasting:
            return self._trouble
        return None if any(link.alive for link in self._links) else self._trouble

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Connect, stay connected, and on the way out let what is being handled end before the link is closed."""
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(aiohttp.ClientSession())
            group = await stack.enter_async_context(asyncio.TaskGroup())
            stack.push_async_callback(self._close_all)
            keeping = group.create_task(self._keep(session, group), name="socket mode")
            stack.callback(keeping.cancel)
            stack.push_async_callback(self._drain)
            yield

    # --- keeping one open

    async def _keep(self, session: aiohttp.ClientSession, group: asyncio.TaskGroup) -> None:
        back_off_s = 0.0
        while True:
            await asyncio.sleep(back_off_s * random.uniform(0.5, 1.0))  # noqa: S311  replicas must not come in step
            try:
                async with asyncio.timeout(self._timing.connect):
                    link = await self._open(session)
            except RETRIED as error:
                back_off_s = self._refused(error, back_off_s)
                continue
            self._lasting = False
            for former in self._links:
                group.create_task(self._leave(former, self._timing.overlap))
            self._links = [link, *self._links]
            if self._gap_from is not None:
                group.create_task(self._tell_of_gap(time.monotonic() - self._gap_from), name="missed mentions")
                self._gap_from = None
            why = await self._lived(link)
            log.info("socket_mode_link_ended", why=why)
            self._count("replaced" if why in REPLACED else "lost")
            if why not in REPLACED:
                self._note_gap(link)
                await self._close(link)
            if why in LASTING or why == TOO_MANY:
                back_off_s = self._refused(LinkRefused(why), back_off_s)
            elif why in REPLACED or time.monotonic() - link.opened_at > self._timing.longest_back_off:
                back_off_s = 0.0
            else:
                back_off_s = self._longer(back_off_s)

    def _note_gap(self, link: Link) -> None:
        """A link was lost: for as long as a dead one is not noticed it may have brought nothing."""
        good = max(link.opened_at, time.monotonic() - 2 * self._timing.heartbeat)
        self._gap_from = good if self._gap_from is None else min(self._gap_from, good)

    async def _tell_of_gap(self, away_s: float) -> None:
        if self._returned is None:
            return
        try:
            await self._returned(away_s)
        except (SQLAlchemyError, TimeoutError) as error:
            self._gap_from = time.monotonic() - away_s  # told with the next link
            log.warning("missed_mentions_not_looked_for", error=type(error).__name__)

    async def _open(self, session: aiohttp.ClientSession) -> Link:
        """A link that has said hello."""
        client = self._app.client
        address, self._address = self._address, ""
        ws = await session.ws_connect(
            address or str((await client.apps_connections_open(app_token=self._token))["url"]),
            heartbeat=self._timing.heartbeat,
            timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_S),
            max_msg_size=MAX_FRAME,
            proxy=client.proxy,
            ssl=client.ssl if client.ssl is not None else True,
        )
        link = Link(ws, asyncio.get_running_loop().create_future())
        try:
            await _greeted(ws)
            link.reading = asyncio.create_task(self._read(link), name="socket mode link")
        finally:
            if link.reading is None:
                await ws.close()
        self._count("opened")
        return link

    async def _lived(self, link: Link) -> str:
        """Wait for the end of a link; why it ended."""
        ends: set[asyncio.Future[Any]] = {link.asked, *([link.reading] if link.reading else [])}
        await asyncio.wait(ends, timeout=self._timing.renew, return_when=asyncio.FIRST_COMPLETED)
        if link.asked.done():
            return link.asked.result()
        return "old" if link.alive else "closed"

    def _refused(self, error: Exception, back_off_s: float) -> float:
        """Note what went wrong; seconds until the next try."""
        code, wait_s = _code(error)
        self._count("refused")
        self._lasting = code in LASTING
        self._trouble = f"not connected ({code})"
        if code == SWITCHED_OFF:
            self._trouble = "Socket Mode is switched off in the app's settings; switch it on there"
        elif code == TOO_MANY:
            self._trouble = "this app has ten connections already; for more replicas see HTTP mode in docs/install.md"
        elif self._lasting:
            self._trouble = f"Slack refuses SLACK_APP_TOKEN ({code})"
        log.warning("socket_mode_refused", error=code)
        if self._lasting or code == TOO_MANY:
            return self._timing.asleep
        return max(wait_s, self._longer(back_off_s))

    def _longer(self, back_off_s: float) -> float:
        return min(max(2 * back_off_s, self._timing.shortest_back_off), self._timing.longest_back_off)

    # --- leaving

    async def _leave(self, link: Link, within_s: float) -> None:
        """Read on what is still on its way over a link that is replaced, then close it."""
        if link.reading is not None:
            await asyncio.wait({link.reading}, timeout=within_s)
        await self._close(link)

    async def _close(self, link: Link) -> None:
        if link in self._links:
            self._links.remove(link)
        await link.ws.close()
        if link.reading is not None:
            link.reading.cancel()
            await asyncio.gather(link.reading, return_exceptions=True)

    async def _close_all(self) -> None:
        await asyncio.gather(*(self._close(link) for link in list(self._links)))

    async def _drain(self) -> None:
        if self._working:
            await asyncio.wait(set(self._working), timeout=self._timing.drain)
        for task in list(self._working):
            task.cancel()

    # --- frames

    async def _read(self, link: Link) -> None:
        async for frame in link.ws:
            if frame.type is not aiohttp.WSMsgType.TEXT:
                continue
            try:
                said = json.loads(frame.data)
            except ValueError:
                log.warning("socket_mode_frame_unreadable", length=len(frame.data))
                continue
            if not isinstance(said, dict):
                continue
            if said.get("type") == "disconnect":
                if not link.asked.done():
                    link.asked.set_result(str(said.get("reason")))
                continue
            request = SocketModeRequest.from_dict(said)
            if request is not None:
                self._begin(link, request)

    def _begin(self, link: Link, request: SocketModeRequest) -> None:
        """In a task of its own: one that waits for the database must not keep the next from being read."""
        task = asyncio.create_task(self._handle(link, request))
        self._working.add(task)
        task.add_done_callback(self._handled)

    def _handled(self, task: "asyncio.Task[None]") -> None:
        self._working.discard(task)
        # Unacknowledged: Slack delivers it again.
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("envelope_not_acknowledged", error=type(error).__name__)

    async def _handle(self, link: Link, request: SocketModeRequest) -> None:
        began = time.time()
        response = await run_async_bolt_app(self._app, request)
        answering = _Answering(link, self._links)
        await send_async_response(cast(AsyncBaseSocketModeClient, answering), request, response, began)


@dataclass(frozen=True, slots=True)
class _Answering:
    """What bolt's adapter asks of a client: send over the link that brought the envelope, else over the newest."""

    link: Link
    others: list[Link]

    @property
    def logger(self) -> logging.Logger:
        return self.link.logger

    async def send_socket_mode_response(self, response: SocketModeResponse) -> None:
        text = json.dumps(response.to_dict())
        link = self.link if not self.link.ws.closed else next((one for one in self.others if one.alive), self.link)
        await link.ws.send_str(text)


async def _greeted(ws: aiohttp.ClientWebSocketResponse) -> None:
    """Wait for Slack's hello, the first frame of a link that works."""
    frame = await ws.receive()
    if frame.type is not aiohttp.WSMsgType.TEXT:
        raise LinkRefused("closed before it began")
    said = json.loads(frame.data)
    kind = said.get("type") if isinstance(said, dict) else None
    if kind != "hello":
        raise LinkRefused(str(said.get("reason") or kind) if isinstance(said, dict) else "no hello")


def _code(error: Exception) -> tuple[str, float]:
    """A short name of what went wrong, and the seconds that Slack asks to wait."""
    if isinstance(error, LinkRefused):
        return str(error), 0.0
    if isinstance(error, SlackApiError):
        answer: Any = getattr(error.response, "data", None)
        headers: Any = getattr(error.response, "headers", None) or {}
        wait = str(headers.get("Retry-After", "0"))
        code = str(answer.get("error", "")) if isinstance(answer, dict) else ""
        return code or "no answer that could be read", float(wait) if wait.isdecimal() else 0.0
    return type(error).__name__, 0.0
