"""Tells open pages that something changed. It sends hints, not content: a page fetches what it shows."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from .state import Channel

Json = dict[str, Any]
# Changes within this time are told once, so that an alert storm does not become a storm of page requests.
GATHER_SECONDS = 0.05
MAX_UNSENT = 200


@dataclass(eq=False)
class Page:
    """One open page of one person; ``unsent`` maps a frame to None, which keeps order and drops repeats."""

    user: str
    ws: web.WebSocketResponse
    unsent: dict[bytes, None] = field(default_factory=dict)
    wake: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Pages:
    """The open pages."""

    open: set[Page] = field(default_factory=set)

    def changed(self, channel: Channel, thread_ts: str | None) -> None:
        """Tell everybody who may see the channel."""
        frame = {"type": "changed", "channel": channel.id, "thread_ts": thread_ts}
        self.push(frame, lambda user: not channel.is_private or user in channel.members)

    def view(self, user: str, view: Json | None) -> None:
        """Show a person their open modal, or none."""
        self.push({"type": "view", "view": view}, lambda other: other == user)

    def home(self, user: str, view: Json) -> None:
        """Show a person their App Home."""
        self.push({"type": "home", "view": view}, lambda other: other == user)

    def toast(self, user: str, text: str) -> None:
        """Show a person a short notice."""
        self.push({"type": "toast", "text": text}, lambda other: other == user)

    def push(self, frame: Json, wanted: Callable[[str], bool] = lambda _user: True) -> None:
        """Queue a frame for the pages whose person is ``wanted``; a page that does not read loses frames."""
        if not self.open:
            return
        data = orjson.dumps(frame)
        for page in self.open:
            if wanted(page.user) and len(page.unsent) < MAX_UNSENT:
                page.unsent[data] = None
                page.wake.set()

    async def stop(self) -> None:
        """Close every page's WebSocket."""
        for page in list(self.open):
            with contextlib.suppress(TimeoutError, ConnectionError):
                await asyncio.wait_for(page.ws.close(code=1001), 1)

    async def serve(self, request: web.Request, user: str) -> web.WebSocketResponse:
        """Hold one page's WebSocket until it goes."""
        ws = web.WebSocketResponse(heartbeat=30, max_msg_size=4096)
        await ws.prepare(request)
        page = Page(user, ws)
        self.open.add(page)
        sending = asyncio.create_task(_send(page))
        try:
            async for _ in ws:
                pass  # a page has nothing to say here; reading notices that it went
        finally:
            self.open.discard(page)
            sending.cancel()
        return ws


async def _send(page: Page) -> None:
    with contextlib.suppress(ConnectionError):
        while True:
            await page.wake.wait()
            await asyncio.sleep(GATHER_SECONDS)
            page.wake.clear()
            frames, page.unsent = page.unsent, {}
            for frame in frames:
                await page.ws.send_str(frame.decode())
