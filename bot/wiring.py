"""Where settings become clients: the one place that knows what the program is made of.

How one part is made of its settings is beside it: bot/slack_app.py, clients.py, models.py, queues/opening.py.
"""

import asyncio
import os
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from slack_bolt.async_app import AsyncApp
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine

from bot import tracing
from bot.clients import open_clients
from bot.clock import DatabaseClock, database_time
from bot.jobs import DurableJobs
from bot.metrics import Metrics
from bot.models import open_models
from bot.pause_file import PauseFile
from bot.pause_map import PauseMap, open_pause_map
from bot.policy_watch import PolicyWatch
from bot.queues.intake import QueueIntake
from bot.queues.opening import open_queues
from bot.queues.worker import QueuedJobs
from bot.renewal import Renewal
from bot.settings import Settings
from bot.slack_app import make_app, open_slack
from bot.socket_mode import SocketMode
from bot.stages import bound_stages, told_as_over
from bot.team_files import open_shelf, read_policy
from handlers import missed
from handlers.heartbeat import Heartbeat
from handlers.people import People
from handlers.services import Keep, Services, Timing
from knowledge.errors import SettingsError
from knowledge.network import certificates
from knowledge.periods import parse_period
from knowledge.slack_threads import ThreadRules
from knowledge.store import switches
from knowledge.store.database import open_engine, read_pool, reason_of
from knowledge.store.executions import StoredExecutions
from knowledge.store.model_calls import Ledger
from remediation.sns import Sns

HTTP_TIMEOUT_S = 15.0


@dataclass
class Health:
    """Named checks: each says what is wrong, None when nothing is. `notes` give further lines."""

    checks: dict[str, Callable[[], str | None]] = field(default_factory=dict)
    notes: list[Callable[[], list[str]]] = field(default_factory=list)

    def lines(self) -> list[str]:
        found = [f"{name}: {check() or 'connected'}" for name, check in self.checks.items()]
        return found + [line for note in self.notes for line in note()]

    @contextmanager
    def also(self, name: str, check: Callable[[], str | None]) -> Iterator[None]:
        """A further check for a while."""
        self.checks[name] = check
        try:
            yield
        finally:
            del self.checks[name]


@dataclass(frozen=True, slots=True)
class Program:
    """Everything that `run` starts."""

    services: Services
    jobs: DurableJobs | QueuedJobs
    app: AsyncApp
    socket: SocketMode | None
    metrics: Metrics
    health: Health
    policy_watch: PolicyWatch
    clock: DatabaseClock
    database_url: str
    sns: Sns
    renew: Callable[[Settings], None]
    heartbeat: Heartbeat
    pause_file: PauseFile
    pause_map: PauseMap
    intake: QueueIntake | None
    jobs_wake: asyncio.Event


@asynccontextmanager
async def open_services(settings: Settings, database_url: str, *, changing: bool = True) -> AsyncIterator[Program]:
    """Open every client on one stack; what was opened is closed, in reverse.

    Without `changing` nothing is written to the database, which may have no tables yet.
    """
    # The clients below would tell of a wrong file by an error that does not name it.
    certificates()
    async with AsyncExitStack() as stack:
        slack = await stack.enter_async_context(open_slack(settings))
        policy = read_policy(settings)
        engine = await stack.enter_async_context(_engine(settings, database_url))
        trusted = httpx.create_ssl_context()  # takes as long to make as all else of a client
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=HTTP_TIMEOUT_S, verify=trusted))
        clients = await stack.enter_async_context(open_clients(settings, policy, http, read_access=True))
        models = await stack.enter_async_context(open_models(settings, http))
        stages = bound_stages(lambda: services)
        if settings.otlp_endpoint and changing:
            stages["learn"] = told_as_over(stages["learn"], engine)
            tracing.start(settings.otlp_endpoint, await _installation(engine))
            stack.push_async_callback(tracing.stop)
        queues = open_queues(settings, database_url, engine, http, stages)
        pause_file = PauseFile(settings.pause_file)
        await pause_file.look()
        pause_map = await stack.enter_async_context(open_pause_map(settings.kubeconfig, settings.pause_configmap))
        health = Health(notes=[pause_map.lines])
        clock = await _clock(engine)
        watch = PolicyWatch(Path(settings.policy) if settings.policy else None)
        metrics = Metrics.make()
        services = Services(
            engine=engine,
            jobs=queues.jobs,
            slack=slack.client,
            people=People(slack.client, slack.me["team_id"], policy),
            clients=clients,
            policy=policy,
            answerers=models.answerers,
            ledger=Ledger(engine, settings.model_limits, settings.prices),
            embedder=models.embedder,
            hosted_embedder=models.hosted_embedder,
            reranker=models.reranker,
            executions=StoredExecutions(engine),
            channel=settings.channel,
            bot_user=slack.me["user_id"],
            holder=f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}",
            actions=settings.actions,
            keep=Keep(settings.delivery_retention_days, settings.incident_retention_days),
            halted=lambda: pause_file.word() or pause_map.word(),
            timing=_timing(settings),
            threads=ThreadRules(settings.thread_retention_days, frozenset(settings.thread_channels)),
            searcher=slack.searcher,
            connections=lambda: [*health.lines(), *watch.lines(), *_paused_lines(pause_file)],
            runbooks=open_shelf(settings),
            compare=frozenset(settings.compare),
            alertmanager_receiver=settings.alertmanager_receiver,
            github_hooks=settings.github_hooks,
            now=clock.now,
            count_refused=lambda surface: metrics.refused_blocks.labels(surface).inc(),
        )
        app = make_app(services, lambda result: metrics.envelopes.labels(result).inc(), slack.me)
        link = _link(settings, services, app, metrics, slack.me["link"])
        # In HTTP mode it is Slack that connects: there is nothing here that could be down.
        health.checks["Slack"] = lambda: link.problem if link else None
        intake = queues.intake(settings, services)
        if intake:
            health.checks["SQS"] = lambda: intake.problem
        # Past any proxy: it is this very process that is asked.
        own = await stack.enter_async_context(
            httpx.AsyncClient(trust_env=False, timeout=HTTP_TIMEOUT_S, verify=trusted)
        )
        beat = Heartbeat(http, own, settings.heartbeat_url.get_secret_value(), metrics.beat)
        renewal = Renewal(services, settings, http, models, beat)
        watch.connect = renewal.connect
        yield Program(
            services, queues.jobs, app, link, metrics, health, watch, clock, database_url, Sns(http), renewal.renew,
            beat, pause_file, pause_map, intake, queues.wake,
        )  # fmt: skip


@asynccontextmanager
async def _engine(settings: Settings, database_url: str) -> AsyncIterator[AsyncEngine]:
    pool = read_pool(settings.db_pool)
    engine = open_engine(database_url, pool_size=pool.size, max_overflow=pool.overflow)
    try:
        yield engine
    finally:
        await engine.dispose()


async def _installation(engine: AsyncEngine) -> str:
    """This installation's own id, the same for all replicas."""
    async with engine.begin() as db:
        return str(await switches.kept(db, switches.INSTALLATION, uuid.uuid4().hex))


async def _clock(engine: AsyncEngine) -> DatabaseClock:
    """Raises SettingsError: the database, which was there a moment ago for its tables, is away."""
    clock = DatabaseClock()
    try:
        await clock.sync(lambda: database_time(engine))
    except OperationalError as error:
        raise SettingsError(f"The database cannot be reached: {reason_of(error)}. Check DATABASE_URL.") from None
    return clock


def _timing(settings: Settings) -> Timing:
    return Timing(
        verify_every=settings.verify_every_seconds,
        follow_up_hours=settings.follow_up_hours,
        digest=parse_period(settings.digest),
        storm_after=settings.storm_incidents,
    )


def _link(settings: Settings, services: Services, app: AsyncApp, metrics: Metrics, first: str) -> SocketMode | None:
    """The link to Slack, or None in HTTP mode; `first` is the address that the preflight was given."""
    app_token = settings.slack_app_token.get_secret_value()
    if not app_token:
        return None
    return SocketMode(app, app_token, None, lambda what: metrics.links.labels(what).inc(), first,
                      returned=lambda away_s: missed.ask(services, away_s))  # fmt: skip


def _paused_lines(file: PauseFile) -> list[str]:
    """For people who ask for the status."""
    why = file.word()
    return [f"paused by {why} on this machine: nothing is carried out"] if why else []
