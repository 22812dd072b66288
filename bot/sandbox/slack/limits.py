"""Slack's rate limits: a token bucket for each method, and one a channel for posts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

POST_BURST = 5
POST_PER_SECOND = 1.0


@dataclass
class Bucket:
    """Holds up to ``burst`` calls and refills at ``per_second``."""

    burst: float
    per_second: float
    left: float
    at: float

    def take(self, now: float) -> int:
        """Take one call; return 0, or the whole seconds to wait (at least 1) as Retry-After gives them."""
        self.left = min(self.burst, self.left + (now - self.at) * self.per_second)
        self.at = now
        if self.left >= 1:
            self.left -= 1
            return 0
        return max(1, math.ceil((1 - self.left) / self.per_second))


@dataclass
class RateLimits:
    """Buckets by name; ``clock`` gives seconds and never goes back."""

    clock: Callable[[], float]
    buckets: dict[str, Bucket] = field(default_factory=dict)

    def method(self, name: str, per_minute: int) -> int:
        """Count a call of a method; a whole minute's worth may come at once, as Slack is tolerant of bursts."""
        return self._take(f"{name} {per_minute}", per_minute, per_minute / 60)

    def post(self, channel: str) -> int:
        """Count a post to a channel: one a second, with a short burst."""
        return self._take(f"post:{channel}", POST_BURST, POST_PER_SECOND)

    def _take(self, key: str, burst: float, per_second: float) -> int:
        now = self.clock()
        bucket = self.buckets.setdefault(key, Bucket(burst, per_second, burst, now))
        return bucket.take(now)
