"""Who may come in, and how fast: deliveries of each source, and connections that say nothing."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from socket import socket
from typing import Any

from aiohttp import web

# How long a new connection may take to send its first request's head.
HEAD_DEADLINE_S = 15.0
PER_MINUTE = 60_000
BACKLOG = 128
# Who wants to know that a connection has spoken.
SILENT = web.AppKey("silent", list[Callable[[Any], None]])


@dataclass
class Limits:
    """How many deliveries each source may make: a bucket of a minute's worth that fills evenly."""

    per_minute: int = PER_MINUTE
    clock: Callable[[], float] = time.monotonic
    _left: dict[str, tuple[float, float]] = field(default_factory=dict)

    def wait_s(self, source: str) -> int:
        """0 where one more may come now, and it is counted; else the seconds to wait."""
        now = self.clock()
        left, at = self._left.get(source, (float(self.per_minute), now))
        left = min(self.per_minute, left + (now - at) * self.per_minute / 60)
        self._left[source] = (left - 1 if left >= 1 else left, now)
        return 0 if left >= 1 else max(1, math.ceil((1 - left) * 60 / self.per_minute))


@web.middleware
async def spoke(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
    """The connection has sent a request's head."""
    for heard in request.app[SILENT]:
        heard(request.protocol)
    return await handler(request)


@asynccontextmanager
async def serving(runner: web.AppRunner, sock: socket, *, deadline_s: float = HEAD_DEADLINE_S) -> AsyncIterator[None]:
    """Serve on a socket, and hang up on connections that do not send the head of a request in time.

    aiohttp waits for the first one for ever; after it, its own keep-alive deadline holds.
    """
    loop = asyncio.get_running_loop()
    # By connection, and gone at its first word: what has spoken and hung up is not kept until the deadline.
    silent: dict[Any, asyncio.TimerHandle] = {}
    make: Any = runner.server

    def connected() -> Any:
        protocol = make()
        silent[protocol] = loop.call_later(deadline_s, give_up, protocol)
        return protocol

    def give_up(protocol: Any) -> None:
        if silent.pop(protocol, None):
            protocol.force_close()

    def heard(protocol: Any) -> None:
        if deadline := silent.pop(protocol, None):
            deadline.cancel()

    runner.app[SILENT].append(heard)
    server = await loop.create_server(connected, sock=sock, backlog=BACKLOG)
    try:
        yield
    finally:
        server.close()
