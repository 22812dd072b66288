"""The time that Slack's deadlines go by: tickets, triggers, response URLs, limits, statuses, redelivery."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field


@dataclass
class Clock:
    """A monotonic clock in seconds that can be put forward.

    The ``ts`` of messages does not follow: a bot reads those by its own clock.
    """

    ahead: float = 0.0
    _moved: asyncio.Event = field(default_factory=asyncio.Event)

    def now(self) -> float:
        """Return seconds that never go back; only differences mean something."""
        return time.monotonic() + self.ahead

    def forward(self, seconds: float) -> None:
        """Let ``seconds`` pass at once, for those who sleep too."""
        self.ahead += seconds
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def sleep(self, seconds: float) -> None:
        """Wait until so much time has passed, or was put forward."""
        ends = self.now() + seconds
        while (left := ends - self.now()) > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._moved.wait(), left)
