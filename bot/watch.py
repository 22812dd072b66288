"""The Kubernetes watch as a source of alerts: what fails there becomes a delivery like any other."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from handlers import flow
from handlers.services import Services
from handlers.sources import kubernetes
from knowledge.errors import BadInput
from knowledge.model import Alert
from remediation.ports import Cluster

log = structlog.get_logger(__name__)

RETRY_S = 2.0
MOST_REMEMBERED = 5_000
# A probe fails now and then while a pod starts, and an image is tried again before the kubelet backs off.
EVENT_REPEATS = 3
POD_RESTARTS = 2
PASSING_TROUBLES = frozenset({"error", "completed", "notready", "errimagepull", "segfault"})


class Watch:
    """One cluster's watch. The same trouble of the same pod is told once, until the pod is well again."""

    def __init__(self, services: Services, cluster: Cluster, name: str, namespaces: tuple[str, ...]) -> None:
        self._services = services
        self._cluster = cluster
        self._name = name
        self._namespaces = namespaces
        self._told: dict[str, str] = {}

    async def run(self) -> None:
        """Watch until cancelled; the client resumes, relists and backs off by itself."""
        while True:
            try:
                async for found in self._cluster.watch_pods(self._name, self._namespaces):
                    await self._observe(found)
            except SQLAlchemyError as error:
                # Nothing was stored, so nothing is remembered as told: the relist brings it again.
                log.warning("watch_waits_for_database", cluster=self._name, error=type(error).__name__)
                self._told.clear()
                await asyncio.sleep(RETRY_S)

    async def _observe(self, found: Mapping[str, Any]) -> None:
        try:
            (alert,) = kubernetes.parse({"clusterName": self._name, **found}, {})
        except BadInput as error:
            log.info("watch_object_unreadable", cluster=self._name, error=str(error))
            return
        thing, trouble = f"{alert.namespace}/{alert.target.get('kind')}/{alert.workload}", _trouble(alert, found)
        if not alert.actionable:
            self._told.pop(thing, None)
        if not alert.actionable or not settled(alert, found) or self._told.get(thing) == trouble:
            return
        metadata = found.get("metadata") or {}
        delivery_id = flow.delivery_key("kubernetes", str(metadata.get("uid")), trouble)
        placed = alert if alert.cluster else replace(alert, cluster=self._name)
        await flow.accept_alerts(self._services, [placed], source="kubernetes", delivery_id=delivery_id)
        if len(self._told) >= MOST_REMEMBERED:
            self._told.clear()
        self._told[thing] = trouble


def _trouble(alert: Alert, found: Mapping[str, Any]) -> str:
    """What is new about it: a warning event's count grows while nothing new happens."""
    return f"{alert.identity}:{alert.started_at}:{found.get('kind')}"


def settled(alert: Alert, found: Mapping[str, Any]) -> bool:
    """Whether a trouble has lasted: one failed probe or one restart is no incident."""
    if found.get("kind") == "Event":
        count = (found.get("series") or {}).get("count") or found.get("count") or 1
        return int(count) >= EVENT_REPEATS
    restarts = alert.labels.get("restarts", "0")
    passing = alert.title in PASSING_TROUBLES
    return not passing or (restarts.isdecimal() and int(restarts) >= POD_RESTARTS)
