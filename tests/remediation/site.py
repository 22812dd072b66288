"""The sandbox's world in this process, the bot's real clients on it, and values that the tests need."""

import asyncio
import atexit
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from bot.sandbox.server import VAULT_IN_POLICY
from bot.sandbox.tokens import Tokens
from bot.sandbox.world import World
from bot.sandbox.world.scenarios import BY_ID
from bot.sandbox.world.services import BY_NAME
from knowledge.model import (
    Action,
    AnswerSource,
    Diagnosis,
    Execution,
    ExecutionState,
    FailureKind,
    Fixability,
    Incident,
    IncidentState,
    Outcome,
    Quote,
    Target,
)
from knowledge.signs import Sign, signs_in
from remediation import context as contexts
from remediation import planning, targets
from remediation.alertmanager import AlertmanagerServer
from remediation.argocd import ArgoCdServer
from remediation.cluster import ClusterAccess, KubernetesCluster
from remediation.code_host import GitHubHost
from remediation.evidence import collect
from remediation.execution import ExecutionServices
from remediation.pager import PagerDuty
from remediation.pager_incidents import PagerDutyIncidents
from remediation.policy import Policy, parse_policy
from remediation.ports import Clients
from remediation.prometheus import PrometheusServer
from remediation.rotation import PolicySources
from remediation.sealing import PolicyRepositorySecrets
from remediation.status_pages import StatusPageReader, parse_pages
from remediation.webhooks import WebhookSender

POLICY = Path("bot/sandbox/policy.yaml")
SCALE = 0.05
# Slower than the slowest machine that has to pass.
DEADLINE_S = 60.0


@dataclass
class Site:
    """A world to break and the clients that see it."""

    world: World
    clients: Clients
    policy: Policy
    tokens: Tokens

    def service(self, name: str) -> dict[str, Any]:
        return next(s for s in self.world.snapshot()["services"] if s["name"] == name)

    def store(self) -> Any:
        return self.world.kubernetes.cluster.store

    async def until(self, what: Callable[[], bool | Awaitable[bool]], why: str = "condition") -> None:
        """Waits until the condition holds. Fails by name when it never does."""
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            answer = what()
            if await answer if isinstance(answer, Awaitable) else answer:
                return
            await asyncio.sleep(0.03)
        pytest.fail(f"never came true: {why}")

    async def broken(self, scenario_id: str) -> None:
        """Breaks something and waits until its service shows it."""
        await self.world.break_(scenario_id)
        name = BY_ID[scenario_id].service
        await self.until(lambda: self.service(name)["status"] != "healthy", f"{scenario_id} shows")

    def target(self, name: str) -> Target:
        row = next(s for s in self.policy.services if s.name == name)
        return Target("Deployment", name, row.namespace, row.cluster, row.repository, name, row.environment)

    def incident(self, name: str, **changes: Any) -> Incident:
        now = datetime.now(UTC)
        service = BY_NAME[name]
        base = Incident(
            id=1, identity="i", title="t", state=IncidentState.DIAGNOSING, source="alertmanager", severity="critical",
            service=name, environment="", namespace=service.namespace, workload=name, cluster="", repository="",
            run_id="", channel="", thread_ts="", trusted=True, flagged=False, target=None, kind=None, alert_count=1,
            opened_at=now, last_alert_at=now, resolved_at=None, revision=1,
        )  # fmt: skip
        return replace(base, **changes)

    async def context(self, incident: Incident, target: Target | None = None, job_log: str = "") -> contexts.Context:
        target = target or await targets.resolve(targets.hints_of(incident), self.policy, self.clients)
        assert target is not None
        return await contexts.gather(
            incident, target, self.policy, self.clients, now=datetime.now(UTC), job_log=job_log
        )

    async def plan(self, kind: FailureKind, incident: Incident, **more: Any) -> Any:
        context = await self.context(incident, job_log=more.pop("job_log", ""))
        quotes = await self.quotes(incident)
        return planning.plan(diagnosis(kind, quotes=quotes), context.target, context, **more)

    async def quotes(self, incident: Incident) -> tuple[Quote, ...]:
        """A line for each sign in the evidence, as every diagnosis quotes them."""
        found: dict[Sign, Quote] = {}
        for index, item in enumerate(await collect(incident, self.clients)):
            lines = item.text.split("\n")
            for seen in signs_in(item.text):
                found.setdefault(seen.sign, Quote(index, seen.line, lines[seen.line - 1].strip()))
        return tuple(found.values())


def diagnosis(kind: FailureKind, confidence: float = 0.97, **changes: Any) -> Diagnosis:
    base = Diagnosis(kind, confidence, "cause", "summary", Fixability.AUTO, (), AnswerSource("built-in"))
    return replace(base, **changes)


def execution(action: Action, **changes: Any) -> Execution:
    base = Execution(7, 1, 1, action, ExecutionState.QUEUED, 0, {}, None, None, None)
    return replace(base, **changes)


class MemoryStore:
    """The execution store as its Protocol describes it, for one process. The real one is tested with the database."""

    def __init__(self, *executions: Execution) -> None:
        self.rows = {e.id: e for e in executions}
        self.leases: dict[str, tuple[str, int, float]] = {}
        self.tokens = 0
        self.undone: set[int] = set()
        self.now = 0.0
        self.die_after: str = ""

    def _killed(self, point: str) -> None:
        if self.die_after == point:
            self.die_after = ""
            raise KeyboardInterrupt(point)

    async def lease_acquire(self, key: str, holder: str, ttl_s: float) -> int | None:
        held = self.leases.get(key)
        if held and held[2] > self.now and held[0] != holder:
            return None
        self.tokens += 1
        self.leases[key] = (holder, self.tokens, self.now + ttl_s)
        return self.tokens

    async def lease_renew(self, key: str, token: int, ttl_s: float) -> bool:
        held = self.leases.get(key)
        if held is None or held[1] != token or held[2] <= self.now:
            return False
        self.leases[key] = (held[0], token, self.now + ttl_s)
        return True

    async def lease_release(self, key: str, token: int) -> None:
        if self.leases.get(key, ("", 0, 0.0))[1] == token:
            del self.leases[key]

    async def take_execution(self, execution_id: int, *, fencing_token: int) -> Execution | None:
        row = self.rows[execution_id]
        if fencing_token < row.fencing_token:
            return None
        self.rows[execution_id] = replace(row, fencing_token=fencing_token)
        return self.rows[execution_id]

    async def start_execution(self, execution_id: int, *, snapshot: Any, fencing_token: int) -> bool:
        row = self.rows[execution_id]
        if row.state is not ExecutionState.QUEUED or fencing_token < row.fencing_token:
            return False
        self.rows[execution_id] = replace(
            row, state=ExecutionState.STARTED, snapshot=snapshot, started_at=datetime.now(UTC)
        )
        self._killed("started")
        return True

    async def finish_execution(
        self, execution_id: int, *, state: ExecutionState, outcome: Outcome, fencing_token: int
    ) -> bool:
        self._killed("acted")
        row = self.rows[execution_id]
        if fencing_token < row.fencing_token:
            return False
        self.rows[execution_id] = replace(row, state=state, outcome=outcome, finished_at=datetime.now(UTC))
        return True

    async def begin_undo(self, execution_id: int, *, fencing_token: int) -> bool:
        if execution_id in self.undone or fencing_token < self.rows[execution_id].fencing_token:
            return False
        self.undone.add(execution_id)
        self._killed("undo begun")
        return True


def services(site: Site, store: MemoryStore, **changes: Any) -> ExecutionServices:
    return replace(ExecutionServices(store, site.clients, "worker-1"), **changes)


def with_an_evicted_pod(clients: Clients) -> Clients:
    """The same cluster, where beside each workload's first pod one lies that its node threw out days ago."""
    real: Any = clients.cluster

    class Cluster:
        def __getattr__(self, attribute: str) -> Any:
            return getattr(real, attribute)

        async def list(self, cluster: str, kind: str, namespace: str, **more: Any) -> Any:
            found = await real.list(cluster, kind, namespace, **more)
            if kind != "Pod" or not found:
                return found
            meta = {**found[0]["metadata"], "name": "evicted", "uid": "evicted"}
            status = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}
            return [*found, {**found[0], "metadata": meta, "status": status}]

    return replace(clients, cluster=Cluster())


def sandbox_clients(base: str, tokens: Tokens, http: httpx.AsyncClient, folder: Path) -> Clients:
    """The bot's own clients on a sandbox's world at `base`."""
    pages = [f"GitHub:ci+registry={base}/status/github", f"Cloud:network={base}/status/cloud"]
    rest = PagerDutyIncidents(http, tokens.pagerduty_token, "bot@acme.example", f"{base}/pagerduty")
    return Clients(
        cluster=KubernetesCluster({"sandbox": ClusterAccess(kubeconfig(folder, f"{base}/k8s", tokens.kubernetes))}),
        code_host=GitHubHost(tokens.github, http, f"{base}/github"),
        argocd=ArgoCdServer(http, f"{base}/argocd", tokens.argocd),
        pager=PagerDuty(http, tokens.pagerduty_routing_key, f"{base}/pagerduty"),
        pager_incidents=rest,
        schedules=rest,
        metrics=PrometheusServer(http, f"{base}/prometheus"),
        silences=AlertmanagerServer(http, f"{base}/alertmanager"),
        status_pages=StatusPageReader(http, parse_pages(pages)),
        secret_sources=PolicySources(site_policy()),
        webhooks=WebhookSender(http),
        repository_secrets=PolicyRepositorySecrets(site_policy()),
    )


@cache
def vault() -> Path:
    """Where this process's worlds keep the secrets that the policy names as sources; each world fills it anew."""
    folder = tempfile.TemporaryDirectory(prefix="codehealer-vault-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


@cache
def site_policy() -> Policy:
    """The sandbox's policy with its sources of secrets in the vault; reading it takes longer than most tests."""
    return parse_policy(POLICY.read_text().replace(VAULT_IN_POLICY, str(vault())))


def kubeconfig(folder: Path, server: str, token: str) -> Path:
    body = {
        "apiVersion": "v1", "kind": "Config", "current-context": "sandbox",
        "clusters": [{"name": "sandbox", "cluster": {"server": server}}],
        "users": [{"name": "bot", "user": {"token": token}}],
        "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": "bot"}}],
    }  # fmt: skip
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(body))
    return path
