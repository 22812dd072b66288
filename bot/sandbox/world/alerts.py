"""How the world announces itself: Alertmanager, GitHub and Argo CD as their receivers see them."""

import asyncio
import hashlib
import hmac
import logging
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any

import aiohttp
import orjson

from bot.sandbox.tokens import Tokens
from bot.sandbox.world.clockwork import rfc3339
from bot.sandbox.world.scenarios.table import Scenario
from bot.sandbox.world.services import BY_NAME

Json = dict[str, Any]
log = logging.getLogger(__name__)
RETRIES = (0.5, 1.0, 2.0, 4.0, 8.0)
DEADLINE = aiohttp.ClientTimeout(total=10)
GENERATOR = "http://prometheus.shared:9090/graph"


@dataclass
class Firing:
    """One alert of one scenario between its first notification and its end. Times in Unix seconds."""

    scenario: Scenario
    pod: str
    broken_at: float
    sent_at: float | None = None
    resolve_at: float | None = None


def labels_of(firing: Firing) -> dict[str, str]:
    scenario, service = firing.scenario, BY_NAME[firing.scenario.service]
    labels = {
        "alertname": scenario.alertname,
        "cluster": "sandbox",
        "namespace": service.namespace,
        "deployment": service.name,
        "service": service.name,
        "severity": scenario.severity,
        "environment": service.environment,
    }
    if scenario.alertname.startswith("KubePod") and firing.pod:
        labels |= {"pod": firing.pod, "container": service.name}
    return labels


def fingerprint(labels: dict[str, str]) -> str:
    """Sixteen hex digits of the labels, as Alertmanager identifies an alert."""
    text = "\xff".join(f"{k}\xff{v}" for k, v in sorted(labels.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def texts_of(firing: Firing) -> dict[str, str]:
    scenario, service = firing.scenario, BY_NAME[firing.scenario.service]
    text = scenario.alert_text.format(service=service.name, namespace=service.namespace)
    return {
        "summary": scenario.alertname,
        "description": text,
        "runbook_url": f"https://runbooks.acme.example/{scenario.alertname}",
    }


def alertmanager_body(firing: Firing, *, resolved_at: float | None = None) -> Json:
    """Alertmanager's webhook body, version 4."""
    labels, texts = labels_of(firing), texts_of(firing)
    status = "resolved" if resolved_at else "firing"
    group = {k: labels[k] for k in ("alertname", "namespace", "service")}
    key = ", ".join(f'{k}="{v}"' for k, v in group.items())
    return {
        "version": "4",
        "groupKey": f"{{}}:{{{key}}}",
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "codehealer",
        "groupLabels": group,
        "commonLabels": labels,
        "commonAnnotations": texts,
        "externalURL": "http://alertmanager.shared:9093",
        "alerts": [
            {
                "status": status,
                "labels": labels,
                "annotations": texts,
                "startsAt": rfc3339(firing.broken_at),
                "endsAt": rfc3339(resolved_at) if resolved_at else "0001-01-01T00:00:00Z",
                "generatorURL": f"{GENERATOR}?g0.expr={labels['alertname']}",
                "fingerprint": fingerprint(labels),
            }
        ],
    }


def alertmanager_attachments(firing: Firing, *, resolved: bool) -> list[Json]:
    """Alertmanager's own Slack message: everything in one attachment."""
    labels, texts = labels_of(firing), texts_of(firing)
    word = "RESOLVED" if resolved else "FIRING:1"
    title = f"[{word}] {labels['alertname']} {labels['service']} ({labels['namespace']} {labels['severity']})"
    fields = [
        {"title": k, "value": labels[k], "short": True} for k in ("service", "namespace", "severity", "environment")
    ]
    return [
        {
            "title": title,
            "title_link": "http://alertmanager.shared:9093/#/alerts?receiver=slack",
            "text": texts["description"],
            "fallback": f"{title} | {texts['description']}",
            "color": "good" if resolved else "danger",
            "fields": fields,
            "mrkdwn_in": ["fallback", "pretext", "text"],
        }
    ]


def argocd_attachments(app: str, revision: str, message: str, *, health: str = "") -> list[Json]:
    """Argo CD notifications' templates: app-sync-failed, and with a `health` app-health-degraded or app-deployed."""
    first = {"title": "Health Status", "value": health} if health else {"title": "Sync Status", "value": "OutOfSync"}
    fields = [
        {**first, "short": True},
        {"title": "Repository", "value": f"https://github.com/acme/{app}.git", "short": True},
        {"title": "Revision", "value": revision, "short": True},
    ]
    if message:
        fields.append({"title": "Message", "value": message, "short": False})
    return [
        {
            "title": app,
            "title_link": f"http://argocd.shared/applications/{app}{'' if health else '?operation=true'}",
            "color": {"": "#E96D76", "Degraded": "#f4c030"}.get(health, "#18be52"),
            "fields": fields,
            "fallback": f"{app}: {message or health}",
        }
    ]


@dataclass
class Sender:
    """Posts webhooks to the bot, with back-off while it is not there; owns its tasks and its connections."""

    bot_url: str
    tokens: Tokens
    clock: Callable[[], float] = time.time
    deliveries: list[Json] = field(default_factory=list)  # GitHub's, oldest first
    lost_github: int = 0  # how many of GitHub's next deliveries fail
    _session: aiohttp.ClientSession | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _of_group: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def start(self) -> None:
        self._session = aiohttp.ClientSession(timeout=DEADLINE)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def alertmanager(self, body: Json) -> None:
        """Until the bot takes it, or the group has something newer to say, as Alertmanager does."""
        if before := self._of_group.get(body["groupKey"]):
            before.cancel()
        headers = {"Authorization": f"Bearer {self.tokens.webhook}", "User-Agent": "Alertmanager/0.29.0"}
        task = self._spawn("alertmanager", orjson.dumps(body), headers, chain(RETRIES, repeat(RETRIES[-1])))
        self._of_group[body["groupKey"]] = task

    def github(self, event: str, body: Json) -> None:
        raw = orjson.dumps(body)
        digest = hmac.new(self.tokens.github_webhook_secret.encode(), raw, "sha256").hexdigest()
        headers = {
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": str(uuid.uuid4()),
            "X-GitHub-Hook-ID": "512087342",
            "X-GitHub-Hook-Installation-Target-Type": "organization",
            "X-Hub-Signature-256": f"sha256={digest}",
            "User-Agent": "GitHub-Hookshot/2f7a9c1",
        }
        delivery: Json = {
            "id": 12_000_000_000 + len(self.deliveries),
            "guid": headers["X-GitHub-Delivery"],
            "event": event,
            "action": body.get("action"),
            "repository": body.get("repository", {}).get("full_name", ""),
            "raw": raw,
            "headers": headers,
            "redelivery": False,
        }
        self._github(delivery)

    def redeliver(self, number: int) -> bool:
        """Send a delivery again as GitHub does: the same guid and body, another id. False for an unknown one."""
        known = next((one for one in self.deliveries if one["id"] == number), None)
        if known is None:
            return False
        self._github({**known, "id": 12_000_000_000 + len(self.deliveries), "redelivery": True})
        return True

    def _github(self, delivery: Json) -> None:
        if self.lost_github > 0:
            # As when the receiver is down: GitHub notes it, and never tries again by itself.
            self.lost_github -= 1
            self._note(delivery, 502)
            return
        self._note(delivery, 202)
        self._spawn("github", delivery["raw"], delivery["headers"], RETRIES)

    def _note(self, delivery: Json, status: int) -> None:
        at = rfc3339(self.clock())
        self.deliveries.append({**delivery, "status_code": status, "delivered_at": at})

    def _spawn(self, source: str, raw: bytes, headers: dict[str, str], pauses: Iterable[float]) -> "asyncio.Task[None]":
        task = asyncio.create_task(self._deliver(source, raw, headers, pauses), name=f"sandbox-webhook-{source}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _deliver(self, source: str, raw: bytes, headers: dict[str, str], pauses: Iterable[float]) -> None:
        """Tries again after each of `pauses`; the same delivery id each time, so that a receiver can tell repeats."""
        if self._session is None:
            return
        url = f"{self.bot_url}/webhooks/{source}"
        sent = {**headers, "Content-Type": "application/json"}
        for pause in chain(pauses, [None]):
            try:
                async with self._session.post(url, data=raw, headers=sent) as response:
                    if response.status < 500:
                        if response.status >= 400:
                            log.warning("the bot refused a %s webhook with %s", source, response.status)
                        return
            except (aiohttp.ClientError, TimeoutError):
                log.debug("the bot does not answer webhooks yet")
            if pause is None:
                log.warning("gave up on a %s webhook", source)
                return
            await asyncio.sleep(pause)
