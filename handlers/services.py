"""What a handler is given, and how often the story's clocks tick."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from slack_sdk.web.async_client import AsyncWebClient
from sqlalchemy.ext.asyncio import AsyncEngine

from handlers.kept import Kept
from handlers.on_call import Rota
from handlers.people import People
from knowledge.diagnosis import Answerer
from knowledge.model import Incident
from knowledge.periods import Period
from knowledge.ports import Embedder, Jobs, Reranker
from knowledge.recall import Means
from knowledge.runbooks import Shelf
from knowledge.slack_threads import ThreadRules
from knowledge.store.accepting import Accepting
from knowledge.store.database import autocommitting
from knowledge.store.executions import StoredExecutions
from knowledge.store.model_calls import Ledger
from remediation.policy import Policy, outside_forbidden, sendable
from remediation.ports import Clients, Silence
from remediation.remediators import adopt
from remediation.rotation import PolicySources
from remediation.sealing import PolicyRepositorySecrets


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Timing:
    """Waits of the story, in seconds where nothing else is said; `digest` is when channels get theirs, None: never."""

    verify_every: float = 5.0
    count_edit: float = 15.0
    recheck_every: float = 15.0
    follow_up_hours: float = 8.0
    digest: Period | None = None
    storm_after: int = 10  # incidents within five minutes in one channel; 0: there are no storms


@dataclass(frozen=True, slots=True)
class Keep:
    """For how many days things are kept after they are done; 0: for ever."""

    deliveries_days: int = 30
    incidents_days: int = 0


@dataclass(slots=True)
class Hush:
    """What Alertmanager said last of its silences, by the alert's fingerprint."""

    muted: Mapping[str, Silence] = field(default_factory=dict)
    ask_again_at: float = 0.0  # by the monotonic clock


@dataclass(slots=True)
class Services:
    """Everything that the stages use, made once in bot/wiring.py; only `obey` and rotated tokens change it."""

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
    hosted_embedder: Embedder | None = None
    reranker: Reranker | None = None
    actions: bool = True
    timing: Timing = field(default_factory=Timing)
    threads: ThreadRules = field(default_factory=ThreadRules)
    # Slack's own search, as the user whose token this is; None: not asked.
    searcher: AsyncWebClient | None = None
    now: Callable[[], datetime] = utc_now
    ledger: Ledger | None = None  # without one, calls of hosted models are not counted
    connections: Callable[[], Sequence[str]] = tuple
    runbooks: Shelf = field(default_factory=Shelf)
    hush: Hush = field(default_factory=Hush)
    count_refused: Callable[[str], None] = lambda _surface: None  # told of blocks that Slack would not take
    rota: Rota = field(default_factory=Rota)
    compare: frozenset[str] = frozenset({"alertmanager", "argocd", "github"})
    alertmanager_receiver: str = "codehealer"
    github_hooks: Sequence[str] = ()  # empty: the policy's repositories
    kept: Kept = field(default_factory=Kept)
    # When the run of an open incident was looked at last, by the incident's number.
    run_looks: dict[int, datetime] = field(default_factory=dict)
    keep: Keep = field(default_factory=Keep)
    # Why nothing may start by the pause file or ConfigMap that this process sees, "" while it may.
    halted: Callable[[], str] = str
    accepting: Accepting = field(init=False)
    looks: AsyncEngine = field(init=False)  # the engine, for what only reads

    def __post_init__(self) -> None:
        self.accepting = Accepting(self.engine, name=self.holder, now=self.now)
        self.looks = autocommitting(self.engine)

    def stopped(self) -> bool:
        """Whether nothing may start here, whatever the database says."""
        return not self.actions or bool(self.halted())

    def means_for(self, incident: Incident) -> Means:
        """What the memory is searched with for an incident: the built-in model alone where the policy says so."""
        if outside_forbidden(self.policy, incident):
            return Means(self.embedder)
        return Means(self.embedder, self.hosted_embedder, self.reranker, sendable(self.policy))

    def obey(self, policy: Policy) -> None:
        """Take another policy from now on, and what is made from one: all that changes here while the program runs."""
        sources, secrets = PolicySources(policy), PolicyRepositorySecrets(policy)
        self.clients = replace(self.clients, secret_sources=sources, repository_secrets=secrets)
        self.policy = self.people.policy = policy
        adopt(policy.workflows)
