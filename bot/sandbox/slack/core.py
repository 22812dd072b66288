"""What the Slack half is made of: the parts that methods, events and people share."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from bot.sandbox.tokens import Tokens

from .clock import Clock
from .errors import SlackError
from .faults import SlackFaults
from .limits import RateLimits
from .manifest import Manifest
from .pages import Pages
from .socket_mode import Sockets
from .state import Workspace

Json = dict[str, Any]
MAX_LOGGED = 5000
MAX_RESPONSES = 2000
RESPONSE_USES = 5


@dataclass
class RequestLog:
    """The last calls, numbered from 0 so that a reader can ask for what came since."""

    entries: deque[Json] = field(default_factory=lambda: deque(maxlen=MAX_LOGGED))
    next: int = 0

    def add(self, entry: Json) -> None:
        """Append one call."""
        self.entries.append(entry)
        self.next += 1

    def since(self, number: int) -> list[Json]:
        """Return the calls from ``number`` on, as far back as they are kept."""
        skip = max(0, number - (self.next - len(self.entries)))
        return list(self.entries)[skip:]


@dataclass
class ResponseUrl:
    """Where an interaction may be answered without a token: five times, for thirty minutes."""

    channel: str
    user: str
    ends: float
    message_ts: str = ""
    is_ephemeral: bool = False
    thread_ts: str = ""
    used: int = 0


@dataclass
class Slack:
    """One workspace with its doors: Web API, Socket Mode, pages."""

    workspace: Workspace
    sockets: Sockets
    pages: Pages
    faults: SlackFaults
    clock: Clock
    manifest: Manifest
    tokens: Tokens
    limits: RateLimits
    optional_scopes: bool = False
    # Slack's search is off, as on plans without it; a bot must get by with what it indexed itself.
    search: bool = False
    base_url: str = ""
    log: RequestLog = field(default_factory=RequestLog)
    triggers: dict[str, tuple[float, str]] = field(default_factory=dict)
    responses: dict[str, ResponseUrl] = field(default_factory=dict)
    uploads: dict[str, str] = field(default_factory=dict)
    # The ts of streams that a person has stopped.
    stopped_streams: set[str] = field(default_factory=set)
    publications: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def scopes(self) -> frozenset[str]:
        """Return the scopes of the bot's token."""
        granted = self.manifest.scopes | (self.manifest.optional_scopes if self.optional_scopes else frozenset())
        return granted - set(self.faults.without_scopes)

    async def home_published(self, user: str) -> None:
        """Wait until a person has an App Home."""
        async with self.publications:
            await self.publications.wait_for(lambda: user in self.workspace.homes)

    def new_trigger(self, user: str) -> str:
        """Make a trigger_id: good once, for three seconds."""
        now = self.clock.now()
        # Used ones stay a minute, to be told apart from unknown ones.
        self.triggers = {key: kept for key, kept in self.triggers.items() if kept[0] > now - 60}
        key = f"{time.time_ns() // 1000}.{secrets.randbelow(10**10)}.{secrets.token_hex(16)}"
        self.triggers[key] = (now + self.sockets.timing.trigger, user)
        return key

    def take_trigger(self, trigger: str) -> str:
        """Use up a trigger_id and return whose it was."""
        if trigger not in self.triggers:
            raise SlackError("invalid_trigger_id")
        ends, user = self.triggers[trigger]
        if not user:
            raise SlackError("exchanged_trigger_id")
        if ends < self.clock.now():
            raise SlackError("expired_trigger_id")
        self.triggers[trigger] = (ends, "")
        return user

    def new_response_url(self, channel: str, user: str, **about: Any) -> str:
        """Make a response_url."""
        while len(self.responses) >= MAX_RESPONSES:
            self.responses.pop(next(iter(self.responses)))
        key = secrets.token_urlsafe(18)
        ends = self.clock.now() + self.sockets.timing.response_url
        self.responses[key] = ResponseUrl(channel, user, ends, **about)
        return f"{self.base_url}/response/{key}"
