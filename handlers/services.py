"""What a handler is given, and how often the story's clocks tick."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from slack_sdk.web.async_client import AsyncWebClient
from sqlalchemy.ext.asyncio import AsyncEngine

from handlers.people import People
from knowledge.diagnosis import Answerer
from knowledge.ports import Embedder, Jobs
from knowledge.runbooks import Shelf
from knowledge.store.executions import StoredExecutions
from remediation.policy import Policy
from remediation.ports import Clients


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Timing:
    """Waits of the story, in seconds."""

    verify_every: float = 5.0
    count_edit: float = 15.0
    recheck_every: float = 15.0


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that the stages use, made once in bot/wiring.py."""

    engine: AsyncEngine
    jobs: Jobs
    slack: AsyncWebClient
    people: People
    clients: Clients
    policy: Policy
    answerers: Sequence[Answerer]
    embedder: Embedder
    executions: StoredExecutions
    channel: str
    bot_user: str
    holder: str
    actions: bool = True
    timing: Timing = field(default_factory=Timing)
    now: Callable[[], datetime] = utc_now
    connections: Callable[[], Sequence[str]] = tuple
    runbooks: Shelf = field(default_factory=Shelf)
