"""The world as one object: what server.py starts, breaks, resets and shows."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from bot.sandbox.tokens import Tokens
from bot.sandbox.world.clockwork import Timings
from bot.sandbox.world.cluster import Cluster
from bot.sandbox.world.cluster_seed import seed
from bot.sandbox.world.controller import reconcile
from bot.sandbox.world.door import Door
from bot.sandbox.world.kubernetes_api import KubernetesApi
from bot.sandbox.world.objects import is_ready
from bot.sandbox.world.scenarios import BY_ID, SCENARIOS
from bot.sandbox.world.services import SERVICES
from bot.sandbox.world.state import State

Json = dict[str, Any]
log = logging.getLogger(__name__)


class World:
    """Cluster, GitHub, Argo CD and pager on one base URL, moved by a controller loop and by API calls alone."""

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
    ) -> None:
        self._base_url, self._tokens, self._bot_url = base_url.rstrip("/"), tokens, bot_url.rstrip("/")
        self._post, self._clock = post_app_message, clock
        self._timings, self._rng = timings or Timings(), random.Random(seed_number)
        self._door = Door(clock)
        self._state = self._fresh()
        self.kubernetes = KubernetesApi(self._state.cluster, tokens.kubernetes)
        self._loop_task: asyncio.Task[None] | None = None

    @property
    def requests(self) -> list[Json]:
        return self._door.requests

    @property
    def faults(self) -> dict[str, Json]:
        return self._door.faults

    def _fresh(self) -> State:
        cluster = Cluster(self._clock, self._timings, self._rng)
        seed(cluster)
        return State(cluster)

    def add_routes(self, app: web.Application) -> None:
        """Puts every API of the world under its prefix."""
        app.router.add_route("*", "/k8s/{tail:.*}", self._door.guard("k8s", self.kubernetes.handle))

    async def start(self) -> None:
        """Starts the controller loop."""
        self.kubernetes.closing.clear()
        self._loop_task = asyncio.create_task(self._run(), name="sandbox-controller")

    async def stop(self) -> None:
        """Ends the loop and every open watch."""
        self.kubernetes.closing.set()
        if self._loop_task is not None:
            self._loop_task.cancel()
            await asyncio.gather(self._loop_task, return_exceptions=True)
            self._loop_task = None

    async def _run(self) -> None:
        pause = min(self._timings.tick, max(self._timings.of("tick"), 0.02))
        while True:
            try:
                reconcile(self._state.cluster)
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
        return {"scenario": scenario.id, "service": scenario.service, "title": scenario.title}

    async def reset(self) -> None:
        """A fresh healthy world; open watches are told that their version is gone."""
        old = self._state
        self._state = self._fresh()
        store = self._state.cluster.store
        store.version += old.cluster.store.version
        store.compact()
        self.kubernetes.cluster = self._state.cluster
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
        return {"services": services, "runs": [], "apps": []}
