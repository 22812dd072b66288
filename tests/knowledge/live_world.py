"""From a scenario of the sandbox to its diagnosis and plan, stage by stage as the bot does it, without Slack."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import orjson

from bot.sandbox.world.scenarios.table import Scenario
from bot.sandbox.world.services import BY_NAME
from bot.watch import settle_s
from handlers.sources import SOURCES, kubernetes
from knowledge.diagnosis import Answerer, diagnose
from knowledge.errors import BadInput
from knowledge.model import Alert, Diagnosis, Evidence, EvidenceKind, Incident, IncidentState, Plan, Unsure
from remediation import context, evidence, planning, recovery, targets
from remediation.policy import Policy, load_policy
from remediation.ports import Clients
from remediation.remediators import REMEDIATORS, adopt
from tests.remediation.site import POLICY, sandbox_clients
from tests.sandbox.world_fixtures import Running, running_world

Json = dict[str, Any]
SCALE = 0.02
# Slower than the slowest machine that has to pass.
PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What the bot makes of one alert at one moment."""

    alert: Alert
    collected: tuple[Evidence, ...]
    answer: Diagnosis | Unsure
    plan: Plan

    @property
    def kind(self) -> str:
        return self.answer.kind.value if isinstance(self.answer, Diagnosis) else "unsure"

    @property
    def action(self) -> str:
        return self.plan.action.name if self.plan.action else ""


@dataclass
class LiveWorld:
    """One running world and the bot's own clients on it."""

    running: Running
    clients: Clients
    policy: Policy

    async def until(self, true: Callable[[], Any], what: str) -> Any:
        """Waits for a condition on the world; fails by name when it never holds."""
        end = time.monotonic() + PATIENCE_S
        while not (found := true()):
            assert time.monotonic() < end, f"waited in vain until {what}: {self.running.world.snapshot()}"
            await asyncio.sleep(0.01)
        return found

    async def break_(self, scenario: Scenario) -> Alert:
        """A fresh world, broken; returns the alert with which it announces itself, as the intake reads it."""
        await self.running.world.reset()
        self.running.webhooks.clear()
        self.running.posts.clear()
        await self.running.world.break_(scenario.id)
        read = {"alertmanager": self._webhook, "github": self._webhook, "slack": self._post, "argocd": self._post}
        find = read.get(scenario.source, self._object)
        alert: Alert = await self.until(lambda: find(scenario), f"{scenario.id} is announced")
        return alert

    def _webhook(self, scenario: Scenario) -> Alert | None:
        found = (a for s, _, headers, raw in self.running.webhooks for a in _read(s, raw, headers))
        return next((a for a in found if a.actionable and _about(a, scenario)), None)

    def _post(self, scenario: Scenario) -> Alert | None:
        for _channel, app, text, attachments, _blocks in self.running.posts:
            event = {
                "type": "message", "subtype": "bot_message", "bot_id": "B0ALERTS", "username": app, "text": text,
                "attachments": attachments, "channel": "C0ALERTS", "ts": "1700000000.000100",
            }  # fmt: skip
            for alert in SOURCES["slack"].parse(event, {}):
                if alert.actionable and _about(alert, scenario):
                    return replace(alert, trusted=True)
        return None

    def _object(self, scenario: Scenario) -> Alert | None:
        return next(iter(self.watched(scenario)), None)

    def watched(self, scenario: Scenario) -> list[Alert]:
        """The alerts that the watch would tell of at once for the scenario's service, one a title.

        What it only tells of when it lasts is left out: at this speed nothing lasts that long.
        """
        store = self.running.world.kubernetes.cluster.store
        namespace = BY_NAME[scenario.service].namespace
        objects: Iterable[tuple[str, Json]] = [
            *(("Event", one) for one in store.all("events", namespace)),
            *(("Pod", one) for one in store.all("pods", namespace)),
        ]
        told: dict[str, Alert] = {}
        for kind, body in objects:
            found = {**body, "kind": kind, "clusterName": "sandbox"}
            try:
                (alert,) = kubernetes.parse(found, {})
            except BadInput:
                continue
            if settle_s(alert, found) == 0 and _about(alert, scenario):
                told.setdefault(alert.title, replace(alert, severity=alert.severity or "warning"))
        return list(told.values())

    async def look(self, alert: Alert, answerers: list[Answerer]) -> Seen:
        """The stages gather_evidence and diagnose of handlers/flow.py on an incident that this alert opened."""
        incident = incident_of(alert)
        target = await targets.resolve(targets.hints_of(incident), self.policy, self.clients)
        incident = replace(incident, target=target)
        words = "\n".join(part for part in (alert.title, alert.summary) if part)
        collected = [Evidence(EvidenceKind.ALERT, alert.source, words)]
        if alert.log:
            collected.append(Evidence(EvidenceKind.MESSAGE, alert.source, alert.log))
        collected += await evidence.collect(incident, self.clients, policy=self.policy, alerts=[alert])
        answer = await diagnose(
            incident.title, collected, answerers=answerers, permitted_actions=tuple(REMEDIATORS)
        )  # fmt: skip
        seen = None
        if target is not None:
            log = "\n".join(item.text for item in collected if item.kind == EvidenceKind.JOB_LOG)
            seen = await context.gather(
                incident, target, self.policy, self.clients, now=datetime.now(UTC), job_log=log
            )  # fmt: skip
        answer = recovery.believed(answer, seen)
        return Seen(alert, tuple(collected), answer, planning.plan(answer, target, seen))


def _about(alert: Alert, scenario: Scenario) -> bool:
    names = (alert.owner, alert.workload, alert.service, alert.repository.rpartition("/")[2])
    return any(name == scenario.service or name.startswith(f"{scenario.service}-") for name in names if name)


def _read(source: str, raw: bytes, headers: dict[str, str]) -> tuple[Alert, ...]:
    return SOURCES[source].parse(orjson.loads(raw), {name.lower(): value for name, value in headers.items()})


def incident_of(alert: Alert) -> Incident:
    """As the store opens it."""
    now = datetime.now(UTC)
    return Incident(
        id=1, identity=alert.identity, title=alert.title, state=IncidentState.DIAGNOSING, source=alert.source,
        severity=alert.severity, service=alert.service, environment=alert.environment, namespace=alert.namespace,
        workload=alert.owner or alert.workload, cluster=alert.cluster, repository=alert.repository,
        run_id=alert.run_id, channel="C1", thread_ts="", trusted=alert.trusted, flagged=False, target=None, kind=None,
        alert_count=1, opened_at=now, last_alert_at=now, resolved_at=None, revision=1, commit=alert.commit,
    )  # fmt: skip


@contextlib.asynccontextmanager
async def live_world(folder: Path, scale: float = SCALE) -> AsyncIterator[LiveWorld]:
    """One world for many scenarios, with the clients that the bot itself uses."""
    async with running_world(scale) as running, httpx.AsyncClient() as http:
        clients = sandbox_clients(running.url, running.tokens, http, folder)
        policy = load_policy(POLICY)
        adopt(policy.workflows)
        yield LiveWorld(running, clients, policy)
        adopt(())
        for client in (clients.cluster, clients.code_host, clients.argocd):
            assert client is not None
            await client.aclose()
