"""Answers that are kept for a short while in this process, so that what is drawn often does not ask for them anew."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

MOST_KEPT = 1_000


@dataclass(slots=True)
class Kept:
    """By a key, until a moment of the monotonic clock."""

    values: dict[object, tuple[float, Any]] = field(default_factory=dict)

    async def get(self, key: object, for_s: float, ask: Callable[[], Awaitable[Any]]) -> Any:
        """What `ask` answered for this key less than `for_s` seconds ago, else what it answers now.

        An empty answer is not kept: it may stand for one that could not be had.
        """
        known = self.values.get(key)
        if known and known[0] > time.monotonic():
            return known[1]
        value = await ask()
        if value:
            if len(self.values) >= MOST_KEPT:
                self.values.clear()
            self.values[key] = (time.monotonic() + for_s, value)
        return value
