"""When a service that keeps failing is left alone, and how fast any may be asked: pure."""

from collections.abc import Sequence
from dataclasses import dataclass

FAILURES = 3
OPEN_S = 120.0


@dataclass(frozen=True, slots=True)
class Breaker:
    """`failures` in a row; from `FAILURES` on it is open since `opened_at` (monotonic seconds)."""

    failures: int = 0
    opened_at: float = 0.0


def seconds_left(breaker: Breaker, now: float) -> float:
    """How long the service is still left alone; 0 when it may be asked."""
    if breaker.failures < FAILURES:
        return 0.0
    return max(0.0, breaker.opened_at + OPEN_S - now)


def on_trial(breaker: Breaker, now: float) -> Breaker:
    """As one call goes out: half open, a single one tries while the others still wait."""
    return Breaker(breaker.failures, now) if breaker.failures >= FAILURES else breaker


def after_call(breaker: Breaker, ok: bool, now: float) -> Breaker:
    return Breaker() if ok else Breaker(breaker.failures + 1, now)


def next_slot(taken: Sequence[float], per_minute: int, now: float) -> float:
    """When the next request may start; `taken` are the starts that are past or promised, in order."""
    return max(now, taken[-per_minute] + 60.0) if len(taken) >= per_minute else now
