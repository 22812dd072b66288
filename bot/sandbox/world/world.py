"""The world as one object: what server.py starts, breaks, resets and shows."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from bot.sandbox.tokens import Tokens
from bot.sandbox.world.alertmanager_api import AlertmanagerApi
from bot.sandbox.world.alerts import Firing, Sender
from bot.sandbox.world.announcer import Announcer, is_well
from bot.sandbox.world.argocd_api import ArgoApi, health, sync_status
from bot.sandbox.world.clockwork import Timings
from bot.sandbox.world.cluster import Cluster
from bot.sandbox.world.cluster_seed import seed
from bot.sandbox.world.controller import reconcile
from bot.sandbox.world.door import Door
from bot.sandbox.world.github_api import GithubApi
from bot.sandbox.world.github_shapes import Shapes
from bot.sandbox.world.kubernetes_api import KubernetesApi
from bot.sandbox.world.objects import is_ready
from bot.sandbox.world.pagerduty_api import PagerdutyApi
from bot.sandbox.world.prometheus_api import PrometheusApi
from bot.sandbox.world.scenarios import BY_ID, SCENARIOS
from bot.sandbox.world.services import SERVICES
from bot.sandbox.world.state import State
from bot.sandbox.world.status_api import StatusApi

Json = dict[str, Any]
log = logging.getLogger(__name__)
SHORTEST_PAUSE = 0.005  # seconds; a pass over everything takes about as long


class World:
    """Cluster, GitHub, Argo CD and pager on one base URL, moved by a controller loop and by API calls alone.

    `passes` counts the controller's passes, so that a test can wait for the world to have had its turn.
    """

    def __init__(
        self,
        *,
        base_url: str,
        tokens: Tokens,
        bot_url: str,
        post_app_message: Callable[..., Awaitable[str]],
        clock: Callable[[], float] = time.time,
        timings: Timings | None = None,
        seed_number: int = 7,
        vault: Path | None = None,
    ) -> None:
        base = base_url.rstrip("/")
        self._clock, self._timings, self._rng = clock, timings or Timings(), random.Random(seed_number)
        self._door, self._vault = Door(clock), vault
        self._state = self._fresh()
        shapes = Shapes(api=f"{base}/github", html=f"{base}/github/html")
        self._sender = Sender(bot_url.rstrip("/"), tokens, clock)
        self.alertmanager = AlertmanagerApi(self._sent_alerts, clock)
        self._announcer = Announcer(self._sender, post_app_message, shapes, self.alertmanager.muting)
        self.kubernetes = KubernetesApi(self._state.cluster, tokens.kubernetes)
        self.github = GithubApi(self._state.hub, tokens.github, shapes, clock, self._sender)
        self.argocd = ArgoApi(self._state.argo, self._state.cluster, tokens.argocd, clock)
        self.pagerduty = PagerdutyApi(tokens.pagerduty_routing_key, tokens.pagerduty_token)
        self.prometheus = PrometheusApi(self._state.cluster, self._timings.of("scrape"))
        self.prometheus.look()
        self.status_pages = StatusApi(clock)
        self._loop_task: asyncio.Task[None] | None = None
        self.passes = 0

    @property
    def requests(self) -> list[Json]:
        return self._door.requests

    @property
    def faults(self) -> dict[str, Json]:
        return self._door.faults

    @property
    def sender(self) -> Sender:
        return self._sender

    def _sent_alerts(self) -> list[Firing]:
        return [one for one in self._announcer.firing if one.sent_at is not None]

    def _fresh(self) -> State:
        cluster = Cluster(self._clock, self._timings, self._rng)
        seed(cluster)
        return State(cluster, self._vault)

    def add_routes(self, app: web.Application) -> None:
        """Puts every API of the world under its prefix."""
        apis = (
            ("k8s", self.kubernetes),
            ("github", self.github),
            ("argocd", self.argocd),
            ("pagerduty", self.pagerduty),
            ("prometheus", self.prometheus),
            ("alertmanager", self.alertmanager),
            ("status", self.status_pages),
        )
        for name, api in apis:
            app.router.add_route("*", f"/{name}/{{tail:.*}}", self._door.guard(name, api.handle))

    async def start(self) -> None:
        """Starts the controller loop and the sender of webhooks."""
        self.kubernetes.closing.clear()
        await self._sender.start()
        self._loop_task = asyncio.create_task(self._run(), name="sandbox-controller")

    async def stop(self) -> None:
        """Ends the loop and every open watch."""
        self.kubernetes.closing.set()
        if self._loop_task is not None:
            self._loop_task.cancel()
            await asyncio.gather(self._loop_task, return_exceptions=True)
            self._loop_task = None
        await self._announcer.stop()
        await self._sender.stop()

    async def _run(self) -> None:
        pause = max(self._timings.of("tick"), SHORTEST_PAUSE)
        while True:
            try:
                reconcile(self._state.cluster)
                self._announcer.look(self._state)
                self.prometheus.look()
                self.passes += 1
            except Exception:
                log.exception("the controller loop stumbled over an object")
            await asyncio.sleep(pause)

    def scenarios(self) -> list[Json]:
        """The table that the page shows."""
        keys = ("id", "title", "summary", "service", "environment", "kind", "right_action", "group", "source")
        return [{key: getattr(s, key) for key in keys} for s in SCENARIOS]

    async def break_(self, scenario_id: str) -> Json:
        """Breaks something. KeyError for an unknown scenario."""
        scenario = BY_ID[scenario_id]
        scenario.begin(self._state, scenario)
        self._announcer.broken(self._state, scenario)
        return {"scenario": scenario.id, "service": scenario.service, "title": scenario.title}

    async def reset(self) -> None:
        """A fresh healthy world; open watches are told that their version is gone."""
        old = self._state
        self._state = self._fresh()
        store = self._state.cluster.store
        store.version += old.cluster.store.version
        store.compact()
        self._announcer.firing.clear()
        self._announcer.unsynced.clear()
        self.pagerduty.alerts.clear()
        self.pagerduty.incidents.clear()
        self.pagerduty.schedules.clear()
        self.alertmanager.silences.clear()
        self.status_pages.pages = StatusApi(self._clock).pages
        self.kubernetes.cluster = self.argocd.cluster = self.prometheus.cluster = self._state.cluster
        self.prometheus.samples.clear()
        self.prometheus.look()
        self.github.store, self.argocd.store = self._state.hub, self._state.argo
        old.cluster.store.changed.set()

    def snapshot(self) -> Json:
        """Services, runs and apps as the page draws them."""
        cluster = self._state.cluster
        services = []
        for service in SERVICES:
            status, reason = cluster.status(service.name)
            live = cluster.store.get("deployments", service.namespace, service.name) or {"spec": {"replicas": 0}}
            template = live["spec"].get("template", {"spec": {"containers": [{"image": ""}]}})
            services.append(
                {
                    "name": service.name,
                    "environment": service.environment,
                    "namespace": service.namespace,
                    "workload": f"Deployment/{service.name}",
                    "replicas": live["spec"].get("replicas", 1),
                    "ready": sum(map(is_ready, cluster.pods(service.name))),
                    "image": template["spec"]["containers"][0]["image"],
                    "status": status,
                    "reason": reason,
                }
            )
        return {"services": services, "runs": self._runs(), "apps": self._apps()}

    def _runs(self) -> list[Json]:
        """The newest run of each repository."""
        newest = [repository.runs[-1] for repository in self._state.hub.repositories.values()]
        return [
            {
                "repository": run.repository,
                "id": run.id,
                "name": f"CI: {run.title}",
                "status": run.last.status,
                "conclusion": run.last.conclusion,
                "attempt": run.last.number,
            }
            for run in newest
        ]

    def _apps(self) -> list[Json]:
        rows = []
        for name, app in self._state.argo.apps.items():
            synced, _ = sync_status(self._state.argo, self._state.cluster, app)
            word, _ = health(self._state.cluster, app)
            rows.append({"name": name, "sync": synced, "health": word, "operation": app.operation.phase})
        return rows

    def is_well(self, scenario_id: str) -> bool:
        """Whether what a scenario broke is well again, by looking at the world alone. KeyError for an unknown one."""
        return is_well(self._state, BY_ID[scenario_id])
