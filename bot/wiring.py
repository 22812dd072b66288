"""Where settings become clients: the one place that knows what the program is made of."""

import os
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import httpx
from pydantic import SecretStr
from slack_bolt.async_app import AsyncApp

from bot.jobs import DurableJobs
from bot.settings import SOURCE_TOKEN, Settings, split_secrets
from bot.slack_app import SocketMode, make_app, make_client, preflight
from handlers import flow, inbox
from handlers.people import People
from handlers.services import Services, Timing
from handlers.sources import SOURCES
from knowledge.diagnosis import Answerer, BuiltinAnswerer
from knowledge.embedding.child import ChildEmbedder
from knowledge.errors import SettingsError
from knowledge.language_models.nvidia import NvidiaAnswerer
from knowledge.ports import Embedder
from knowledge.runbooks import Shelf
from knowledge.store.database import libpq_url, open_engine
from knowledge.store.executions import StoredExecutions
from remediation.alertmanager import AlertmanagerServer
from remediation.argocd import ArgoCdServer
from remediation.cluster import ClusterAccess, KubernetesCluster, check_access
from remediation.code_host import GitHubHost
from remediation.pager import PagerDuty
from remediation.policy import Policy, default_policy, load_policy
from remediation.ports import ArgoCd, Clients, CodeHost, Pager
from remediation.prometheus import PrometheusServer
from remediation.status_pages import StatusPageReader, parse_pages

HTTP_TIMEOUT_S = 15.0


@dataclass
class Health:
    """Named checks: each says what is wrong, None when nothing is."""

    checks: dict[str, Callable[[], str | None]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        return [f"{name}: {check() or 'connected'}" for name, check in self.checks.items()]


@dataclass(frozen=True, slots=True)
class Program:
    """Everything that `run` starts."""

    services: Services
    jobs: DurableJobs
    app: AsyncApp
    socket: SocketMode
    health: Health
    database_url: str


# Stage name → function of flow or inbox; the jobs' arguments are passed by name.
STAGES: Mapping[str, Callable[..., Awaitable[None]]] = {
    "gather_evidence": flow.gather_evidence,
    "diagnose": flow.diagnose,
    "execute": flow.execute,
    "verify": flow.verify,
    "learn": flow.learn,
    "page": flow.page,
    "stand_down": flow.stand_down,
    "approve": inbox.on_approve,
    "reject": inbox.on_reject,
}


@asynccontextmanager
async def open_services(settings: Settings, database_url: str) -> AsyncIterator[Program]:
    """Open every client on one stack; what was opened is closed, in reverse."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        slack = make_client(settings, session)
        me = await preflight(settings, slack)
        policy = read_policy(settings)
        engine = open_engine(database_url)
        stack.push_async_callback(engine.dispose)
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=HTTP_TIMEOUT_S))
        await check_access(cluster_access(settings, policy))
        clients = make_clients(settings, policy, http)
        stack.push_async_callback(_close, clients)
        embedder = await stack.enter_async_context(ChildEmbedder())

        def bound(stage: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
            async def run(**arguments: Any) -> None:
                await stage(services, **arguments)

            return run

        jobs = DurableJobs(libpq_url(database_url), {name: bound(stage) for name, stage in STAGES.items()})
        health = Health()
        services = Services(
            engine=engine,
            jobs=jobs,
            slack=slack,
            people=People(slack, me["team_id"], policy),
            clients=clients,
            policy=policy,
            answerers=make_answerers(settings, http, embedder),
            embedder=embedder,
            executions=StoredExecutions(engine),
            channel=settings.channel,
            bot_user=me["user_id"],
            holder=f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}",
            actions=settings.actions,
            timing=Timing(verify_every=settings.verify_every_seconds),
            connections=health.lines,
            runbooks=open_shelf(settings),
        )
        app, link = make_app(services, settings)
        health.checks["Slack"] = lambda: link.problem
        yield Program(services, jobs, app, link, health, database_url)


def read_policy(settings: Settings) -> Policy:
    """The policy in force.

    Raises:
        SettingsError: the file is missing, or says something that is not understood: which line, and the remedy.
    """
    return load_policy(Path(settings.policy)) if settings.policy else default_policy()


def make_clients(settings: Settings, policy: Policy, http: httpx.AsyncClient) -> Clients:
    """The systems that are configured; the others are None, and what needs them says so."""
    argocd: ArgoCd | None = None
    code_host: CodeHost | None = None
    pager: Pager | None = None
    if settings.argocd_server:
        argocd = ArgoCdServer(http, settings.argocd_server, settings.argocd_token.get_secret_value())
    if token := settings.github_token.get_secret_value():
        code_host = GitHubHost(token, http, settings.github_base_url)
    if key := settings.pagerduty_routing_key.get_secret_value():
        pager = PagerDuty(http, key, settings.pagerduty_base_url)
    access = cluster_access(settings, policy)
    return Clients(
        cluster=KubernetesCluster(access) if access else None,
        code_host=code_host,
        argocd=argocd,
        pager=pager,
        metrics=_metrics(settings, http),
        silences=_silences(settings, http),
        status_pages=StatusPageReader(http, parse_pages(settings.status_pages)),
    )


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


def make_answerers(settings: Settings, http: httpx.AsyncClient, embedder: Embedder) -> tuple[Answerer, ...]:
    """Who is asked for a diagnosis, in order; the built-in one is always the last."""
    builtin = BuiltinAnswerer(embedder)
    key = settings.nvidia_api_key.get_secret_value()
    if not key:
        return (builtin,)
    nvidia = NvidiaAnswerer(http, api_key=key, models=settings.nvidia_models, base_url=settings.nvidia_base_url)
    return (nvidia, builtin)


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
        if valid:
            secrets[source] = valid
    return secrets


async def _close(clients: Clients) -> None:
    for client in (clients.cluster, clients.code_host, clients.argocd, clients.pager):
        if client is not None:
            await client.aclose()
