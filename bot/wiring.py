"""Where settings become clients: the one place that knows what the program is made of."""

import asyncio
import os
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import httpx
from pydantic import SecretStr
from slack_bolt.async_app import AsyncApp
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine

from bot import tracing
from bot.clock import DatabaseClock, database_time
from bot.jobs import DurableJobs, Stage
from bot.metrics import Metrics
from bot.pause_file import paused_by
from bot.pause_map import PauseMap, open_pause_map
from bot.policy_watch import PolicyWatch
from bot.queues.intake import QueueIntake
from bot.queues.opening import make_jobs, open_sqs
from bot.queues.sqs_jobs import SqsJobQueue
from bot.queues.worker import QueuedJobs
from bot.settings import SOURCE_TOKEN, Settings, split_secrets
from bot.slack_app import make_app, make_client, make_searcher, preflight
from bot.socket_mode import SocketMode
from handlers import (
    answering,
    assistant,
    changing,
    commands,
    due,
    flow,
    heartbeat,
    inbox,
    learning,
    missed,
    paging,
    regrouping,
    remembering,
    shortcuts,
    slack_search,
    taking,
    thread_backfill,
    thread_files,
    threads,
)
from handlers.heartbeat import Heartbeat
from handlers.people import People
from handlers.services import Keep, Services, Timing
from handlers.sources import SOURCES
from knowledge.cache import Cache, MemoryCache, open_cache
from knowledge.diagnosis import Answerer, BuiltinAnswerer
from knowledge.embedding.cached import CachedEmbedder
from knowledge.embedding.child import ChildEmbedder
from knowledge.embedding.nvidia import NvidiaEmbedder
from knowledge.environment import environment
from knowledge.errors import SettingsError
from knowledge.language_models.anthropic import ANTHROPIC
from knowledge.language_models.hosted import HostedAnswerer, Options
from knowledge.language_models.nvidia import NVIDIA
from knowledge.language_models.openai import OPENAI
from knowledge.language_models.wire import Wire
from knowledge.network import certificates
from knowledge.periods import parse_period
from knowledge.ports import Embedder, Reranker
from knowledge.recall import Means
from knowledge.reranking import NvidiaReranker
from knowledge.runbooks import Shelf
from knowledge.slack_threads import ThreadRules
from knowledge.store import incidents, switches
from knowledge.store.database import open_engine, read_pool, reason_of
from knowledge.store.executions import StoredExecutions
from knowledge.store.model_calls import Ledger
from remediation.alertmanager import AlertmanagerServer
from remediation.argocd import ArgoCdServer
from remediation.argocd_servers import ArgoCdServers
from remediation.cluster import ClusterAccess, KubernetesCluster, check_access
from remediation.code_host import GitHubHost
from remediation.github_auth import AppKey, SignIn
from remediation.pager import PagerDuty
from remediation.pager_incidents import BASE_URL as PAGERDUTY_API
from remediation.pager_incidents import PagerDutyIncidents
from remediation.policy import Policy, default_policy, load_policy, sendable
from remediation.ports import ArgoCd, Clients, CodeHost, Pager
from remediation.prometheus import PrometheusServer
from remediation.remediators import adopt
from remediation.rotation import PolicySources
from remediation.sealing import PolicyRepositorySecrets
from remediation.sns import Sns
from remediation.status_pages import StatusPageReader, parse_pages
from remediation.webhooks import WebhookSender

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
    pause_map: PauseMap
    intake: QueueIntake | None = None
    jobs_wake: asyncio.Event | None = None


# Stage name → function of flow or inbox; the jobs' arguments are passed by name.
STAGES: Mapping[str, Callable[..., Awaitable[object]]] = {
    "gather_evidence": flow.gather_evidence,
    "diagnose": flow.diagnose,
    "execute": flow.execute,
    "after_execution": flow.after_execution,
    "verify": flow.verify,
    "learn": learning.learn,
    "page": paging.page,
    "stand_down": paging.stand_down,
    "approve": inbox.on_approve,
    "reject": inbox.on_reject,
    "edit": changing.edit,
    "snooze": changing.snooze,
    "take": taking.take,
    "give_back": taking.give_back,
    "regroup": regrouping.regroup,
    **{name: thread_files.writer(name) for name in thread_files.KINDS},
    "open_baseline": flow.open_baseline,
    "link_cards": regrouping.link_cards,
    "run_scheduled": due.run_scheduled,
    "acknowledge": paging.acknowledge,
    "read_thread": threads.read_thread,
    "look_at_channel": thread_backfill.look_at_channel,
    "index_channel": thread_backfill.index_channel,
    "search_slack": slack_search.answer,
    answering.STAGE: answering.answer,
    assistant.STAGE: assistant.suggest,
    remembering.STAGE: remembering.decide,
    "heartbeat": heartbeat.relay,
    "answer_command": commands.on_mention,
    shortcuts.DIAGNOSE: shortcuts.take_up,
    "remember_fix": shortcuts.remember,
    "find_missed": missed.find,
    "find_missed_in": missed.find_in,
}


@asynccontextmanager
async def open_services(settings: Settings, database_url: str) -> AsyncIterator[Program]:
    """Open every client on one stack; what was opened is closed, in reverse."""
    # The clients below would tell of a wrong file by an error that does not name it.
    certificates()
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        slack = make_client(settings, session)
        me = await preflight(settings, slack)
        policy = read_policy(settings)
        pool = read_pool(settings.db_pool)
        engine = open_engine(database_url, pool_size=pool.size, max_overflow=pool.overflow)
        stack.push_async_callback(engine.dispose)
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=HTTP_TIMEOUT_S))
        await check_access(cluster_access(settings, policy))
        clients = make_clients(settings, policy, http)
        stack.push_async_callback(_close, clients)
        pause_map = await stack.enter_async_context(open_pause_map(settings.kubeconfig, settings.pause_configmap))
        hosted = make_hosted_embedder(settings, http)
        cache = await stack.enter_async_context(open_cache(settings.redis_url, settings.cache_seconds))
        embedder = CachedEmbedder(await stack.enter_async_context(ChildEmbedder()), cache)
        sqs = open_sqs(settings, http)
        jobs_wake = asyncio.Event()
        job_queue = SqsJobQueue(engine, sqs, jobs_wake) if sqs and settings.queue == "sqs" else None
        stages = {name: _bound(stage, lambda: services) for name, stage in STAGES.items()}
        if settings.otlp_endpoint:
            stages["learn"] = _told_as_over(stages["learn"], engine)
            tracing.start(settings.otlp_endpoint, await _installation(engine))
            stack.push_async_callback(tracing.stop)
        jobs = make_jobs(settings, database_url, stages, job_queue)
        health = Health(notes=[pause_map.lines])
        clock = await _clock(engine)
        watch = PolicyWatch(Path(settings.policy) if settings.policy else None)
        metrics = Metrics.make()
        services = Services(
            engine=engine,
            jobs=jobs,
            slack=slack,
            people=People(slack, me["team_id"], policy),
            clients=clients,
            policy=policy,
            answerers=make_answerers(settings, http, embedder, cache),
            ledger=Ledger(engine, settings.model_limits, settings.prices),
            embedder=embedder,
            hosted_embedder=CachedEmbedder(hosted, cache) if hosted else None,
            reranker=make_reranker(settings, http),
            executions=StoredExecutions(engine),
            channel=settings.channel,
            bot_user=me["user_id"],
            holder=f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}",
            actions=settings.actions,
            keep=Keep(settings.delivery_retention_days, settings.incident_retention_days),
            halted=lambda: paused_by(settings.pause_file) or pause_map.word(),
            timing=_timing(settings),
            threads=thread_rules(settings),
            searcher=make_searcher(settings, session),
            connections=lambda: [*health.lines(), *watch.lines(), *_paused_lines(settings)],
            runbooks=open_shelf(settings),
            compare=frozenset(settings.compare),
            alertmanager_receiver=settings.alertmanager_receiver,
            github_hooks=settings.github_hooks,
            now=clock.now,
            count_refused=lambda surface: metrics.refused_blocks.labels(surface).inc(),
        )
        app = make_app(services, lambda result: metrics.envelopes.labels(result).inc(), me)
        link = _link(settings, services, app, metrics, me["link"])
        # In HTTP mode it is Slack that connects: there is nothing here that could be down.
        health.checks["Slack"] = lambda: link.problem if link else None
        intake: QueueIntake | None = None
        if sqs:
            offer = job_queue.offer if job_queue else None
            intake = received = QueueIntake(services, sqs, settings.sqs_sources, offer=offer)
            health.checks["SQS"] = lambda: received.problem

        url = settings.heartbeat_url.get_secret_value()
        # Past any proxy: it is this very process that is asked.
        own = await stack.enter_async_context(httpx.AsyncClient(trust_env=False, timeout=HTTP_TIMEOUT_S))
        beat = Heartbeat(http, own, url, metrics.beat)

        renewal = Renewal(services, settings, http, embedder, cache)
        watch.connect = renewal.connect
        yield Program(
            services, jobs, app, link, metrics, health, watch, clock, database_url, Sns(http), renewal.renew, beat,
            pause_map, intake, jobs_wake,
        )  # fmt: skip


def _link(settings: Settings, services: Services, app: AsyncApp, metrics: Metrics, first: str) -> SocketMode | None:
    """The link to Slack, or None in HTTP mode; `first` is the address that the preflight was given."""
    app_token = settings.slack_app_token.get_secret_value()
    if not app_token:
        return None
    return SocketMode(app, app_token, None, lambda what: metrics.links.labels(what).inc(), first,
                      returned=lambda away_s: missed.ask(services, away_s))  # fmt: skip


def _bound(stage: Callable[..., Awaitable[object]], services: Callable[[], Services]) -> Callable[..., Awaitable[None]]:
    """A stage as a job runs it; the services hold the jobs, so they are there only when it runs."""

    async def run(**arguments: Any) -> None:
        await stage(services(), **arguments)

    return run


def _paused_lines(settings: Settings) -> list[str]:
    """For people who ask for the status."""
    why = paused_by(settings.pause_file)
    return [f"paused by {why} on this machine: nothing is carried out"] if why else []


def _told_as_over(learn: Stage, engine: AsyncEngine) -> Stage:
    """The last stage of an incident, and then the span that the others hang on."""

    async def run(**arguments: Any) -> None:
        await learn(**arguments)
        async with engine.connect() as db:
            incident = await incidents.get(db, arguments["incident_id"])
        if incident is not None:
            tracing.incident_span(incident.id, incident.opened_at, incident.state)

    return run


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


def renew_clients(
    services: Services, again: Settings, http: httpx.AsyncClient, embedder: Embedder, cache: Cache
) -> None:
    """Make anew what has a token. Raises SettingsError, and then all of it is as it was."""
    clients = replace(services.clients, **clients_with_tokens(again, http, services.policy))
    answerers = make_answerers(again, http, embedder, cache)
    hosted, reranker = make_hosted_embedder(again, http), make_reranker(again, http)
    services.clients, services.answerers, services.reranker = clients, answerers, reranker
    services.hosted_embedder = CachedEmbedder(hosted, cache) if hosted else None


@dataclass
class Renewal:
    """Makes clients anew while the program runs, for other secrets and for another policy."""

    services: Services
    settings: Settings
    http: httpx.AsyncClient
    embedder: Embedder
    cache: Cache

    def renew(self, again: Settings) -> None:
        """Raises SettingsError, and then all of it is as it was."""
        renew_clients(self.services, again, self.http, self.embedder, self.cache)
        self.settings = again

    def connect(self, policy: Policy) -> None:
        """Raises SettingsError for a token of the policy's that is not set."""
        made = clients_with_tokens(self.settings, self.http, policy)
        self.services.clients = replace(self.services.clients, **made)


def thread_rules(settings: Settings) -> ThreadRules:
    return ThreadRules(settings.thread_retention_days, frozenset(settings.thread_channels))


def read_policy(settings: Settings) -> Policy:
    """The policy in force; its workflows are in the catalogue from then on.

    Raises:
        SettingsError: the file is missing, or says something that is not understood: which line, and the remedy.
    """
    policy = load_policy(Path(settings.policy)) if settings.policy else default_policy()
    adopt(policy.workflows)
    return policy


def _pager_incidents(settings: Settings, http: httpx.AsyncClient) -> PagerDutyIncidents | None:
    token, usual = settings.pagerduty_token.get_secret_value(), Settings.model_fields["pagerduty_base_url"].default
    if not token:
        return None
    moved = settings.pagerduty_base_url if settings.pagerduty_base_url != usual else ""
    url = settings.pagerduty_api_url or moved or PAGERDUTY_API
    return PagerDutyIncidents(http, token, settings.pagerduty_from, url)


def make_clients(settings: Settings, policy: Policy, http: httpx.AsyncClient) -> Clients:
    """The systems that are configured; the others are None, and what needs them says so."""
    access = cluster_access(settings, policy)
    return Clients(
        cluster=KubernetesCluster(access) if access else None,
        **clients_with_tokens(settings, http, policy),
        status_pages=StatusPageReader(http, parse_pages(settings.status_pages)),
        secret_sources=PolicySources(policy),
        webhooks=WebhookSender(http, environment()),
        repository_secrets=PolicyRepositorySecrets(policy),
    )


def clients_with_tokens(settings: Settings, http: httpx.AsyncClient, policy: Policy) -> dict[str, Any]:
    """Those clients, by their field in Clients, that have a token which may be rotated."""
    argocd: ArgoCd | None = None
    usual: ArgoCdServer | None = None
    code_host: CodeHost | None = None
    pager: Pager | None = None
    if settings.argocd_server:
        argocd = usual = ArgoCdServer(http, settings.argocd_server, settings.argocd_token.get_secret_value())
    if policy.argocd_servers:
        argocd = ArgoCdServers(usual, _further_argocd(policy, http))
    app, token = _github_app(settings), settings.github_token.get_secret_value()
    if app or token or policy.github_hosts:
        code_host = GitHubHost(token, http, settings.github_base_url, app, _further_github(policy))
    if key := settings.pagerduty_routing_key.get_secret_value():
        pager = PagerDuty(http, key, settings.pagerduty_base_url)
    rest = _pager_incidents(settings, http)
    return {
        "code_host": code_host,
        "argocd": argocd,
        "pager": pager,
        "pager_incidents": rest,
        "schedules": rest,
        "metrics": _metrics(settings, http),
        "silences": _silences(settings, http),
    }


def _further_argocd(policy: Policy, http: httpx.AsyncClient) -> dict[str, ArgoCdServer]:
    """Application → its server of the policy. Raises SettingsError for a token that is not set."""
    made = {name: ArgoCdServer(http, one.url, _token_of(one.token_env)) for name, one in policy.argocd_servers.items()}
    return {app: made[name] for name, one in policy.argocd_servers.items() for app in one.applications}


def _further_github(policy: Policy) -> dict[str, SignIn]:
    """Owner in lower case → who we are on its host of the policy. Raises SettingsError for a token that is not set."""
    made = {name: SignIn(one.url, _token_of(one.token_env)) for name, one in policy.github_hosts.items()}
    return {owner.lower(): made[name] for name, one in policy.github_hosts.items() for owner in one.owners}


def policy_tokens(policy: Policy) -> dict[str, str]:
    """The tokens of its servers and hosts as they are now, by their variables. Raises SettingsError: one is not set."""
    servers = (*policy.argocd_servers.values(), *policy.github_hosts.values())
    return {one.token_env: _token_of(one.token_env) for one in servers}


def _token_of(variable: str) -> str:
    """The value of a variable that the policy names, or of the file that it names with _FILE appended."""
    variables = environment()
    token = variables.get(variable, "")
    if not token and (path := variables.get(f"{variable}_FILE", "")):
        try:
            token = Path(path).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            text = f"{variable}_FILE names {path}, which cannot be read ({type(error).__name__})."
            raise SettingsError(text) from None
    if not token.strip():
        raise SettingsError(f"The policy names the variable {variable} as a token_env, which is not set. Set it.")
    return token.strip()


def _github_app(settings: Settings) -> AppKey | None:
    """The App that we are on GitHub. Raises SettingsError for half of one."""
    app_id, key = settings.github_app_id.strip(), settings.github_app_private_key.get_secret_value()
    if bool(app_id) != bool(key):
        raise SettingsError("GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY belong together: set both, or neither.")
    if key and not key.startswith("-----BEGIN "):
        text = "GITHUB_APP_PRIVATE_KEY is no private key in PEM. Paste the whole file that GitHub gave you."
        raise SettingsError(text)
    return AppKey(app_id, key) if app_id else None


def _metrics(settings: Settings, http: httpx.AsyncClient) -> PrometheusServer | None:
    token = settings.prometheus_token.get_secret_value()
    return PrometheusServer(http, settings.prometheus_url, token) if settings.prometheus_url else None


def _silences(settings: Settings, http: httpx.AsyncClient) -> AlertmanagerServer | None:
    token = settings.alertmanager_token.get_secret_value()
    return AlertmanagerServer(http, settings.alertmanager_url, token) if settings.alertmanager_url else None


def open_shelf(settings: Settings) -> Shelf:
    """The team's runbooks.

    Raises:
        SettingsError: the folder is not there.
    """
    if not settings.runbooks:
        return Shelf()
    folder = Path(settings.runbooks)
    if not folder.is_dir():
        raise SettingsError(f"CODEHEALER_RUNBOOKS: there is no folder {folder}. Name one, or unset it.")
    shelf = Shelf(folder, settings.runbooks_url)
    shelf.refresh()
    return shelf


def cluster_access(settings: Settings, policy: Policy) -> dict[str, ClusterAccess]:
    """The clusters by name: those of the policy, or one named "default" where only KUBECONFIG is set."""
    access = {
        name: ClusterAccess(Path(entry.kubeconfig or settings.kubeconfig), entry.context)
        for name, entry in policy.clusters.items()
        if entry.kubeconfig or settings.kubeconfig
    }
    return access or ({"default": ClusterAccess(Path(settings.kubeconfig))} if settings.kubeconfig else {})


def make_answerers(
    settings: Settings,
    http: httpx.AsyncClient,
    embedder: Embedder,
    cache: Cache | None = None,
    *,
    per_minute: int | None = None,
) -> tuple[Answerer, ...]:
    """Who is asked for a diagnosis, in order; the built-in one is always the last."""
    return (*make_hosted(settings, http, cache, per_minute=per_minute), BuiltinAnswerer(embedder))


def make_hosted(
    settings: Settings, http: httpx.AsyncClient, cache: Cache | None = None, *, per_minute: int | None = None
) -> tuple[HostedAnswerer, ...]:
    """The services of models that a key is set for, in the order of asking."""
    options = Options(
        temperature=settings.model_temperature,
        max_tokens=settings.model_max_tokens,
        deadline_s=settings.model_deadline_seconds,
        per_minute=per_minute or settings.model_requests_per_minute,
        second_look=settings.model_second_look,
        prices=settings.prices,
    )
    cache = cache or MemoryCache(settings.cache_seconds)
    return tuple(
        HostedAnswerer(wire, http, key, models, base_url, options, cache)
        for wire, key, models, base_url in model_services(settings)
    )


def model_services(settings: Settings) -> list[tuple[Wire, str, tuple[str, ...], str]]:
    """(service, key, models, base address) of the hosted models that a key is set for, in the order of asking."""
    services = [
        (NVIDIA, settings.nvidia_api_key, settings.nvidia_models, settings.nvidia_base_url),
        (OPENAI, settings.openai_api_key, settings.openai_models, settings.openai_base_url),
        (ANTHROPIC, settings.anthropic_api_key, settings.anthropic_models, settings.anthropic_base_url),
    ]
    return [
        (wire, key.get_secret_value(), models, base_url)
        for wire, key, models, base_url in services
        if key.get_secret_value()
    ]


def make_hosted_embedder(settings: Settings, http: httpx.AsyncClient) -> Embedder | None:
    """The embedder beside the built-in one; None where none is set.

    Raises:
        SettingsError: it is set without a key, or the length of its vectors is not known.
    """
    if not settings.embedding_model:
        return None
    return NvidiaEmbedder(
        http,
        api_key=_nvidia_key(settings, "CODEHEALER_EMBEDDING_MODEL"),
        model=settings.embedding_model,
        base_url=settings.nvidia_base_url,
        dimension=settings.embedding_dimension,
    )


def make_reranker(settings: Settings, http: httpx.AsyncClient) -> Reranker | None:
    """Who looks closer at what a search found; None where none is set. Raises SettingsError without a key."""
    if not settings.rerank_model:
        return None
    key = _nvidia_key(settings, "CODEHEALER_RERANK_MODEL")
    return NvidiaReranker(http, api_key=key, model=settings.rerank_model, base_url=settings.nvidia_base_url)


def make_means(settings: Settings, http: httpx.AsyncClient, builtin: Embedder) -> Means:
    """What a search of the memory has at its disposal outside of the running bot."""
    policy = read_policy(settings)
    if not policy.outside_models:
        return Means(builtin)
    hosted, reranker = make_hosted_embedder(settings, http), make_reranker(settings, http)
    return Means(builtin, hosted, reranker, sendable(policy))


def _nvidia_key(settings: Settings, needed_by: str) -> str:
    key = settings.nvidia_api_key.get_secret_value()
    if not key:
        raise SettingsError(f"{needed_by} names a model of NVIDIA's: set NVIDIA_API_KEY, or leave {needed_by} empty.")
    return key


def webhook_secrets(settings: Settings, environment: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Secrets by source. A source without one is off."""
    own = {"github": settings.github_webhook_secret, "pagerduty": settings.pagerduty_webhook_secret}
    secrets = {}
    for source in SOURCES:
        if source == "slack":
            continue  # Slack's own requests come over Socket Mode
        named = SecretStr(environment.get(f"{SOURCE_TOKEN}{source.upper()}", ""))
        valid = (
            split_secrets(own[source])
            if source in own
            else split_secrets(named) or split_secrets(settings.webhook_token)
        )
        if valid or (source == "cloudwatch" and settings.sns_topics):
            secrets[source] = valid
    return secrets


async def _close(clients: Clients) -> None:
    for client in (clients.cluster, clients.code_host, clients.argocd, clients.pager):
        if client is not None:
            await client.aclose()
