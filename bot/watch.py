"""The Kubernetes watch as a source of alerts: what fails there becomes a delivery like any other."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from handlers import baseline, flow
from handlers.services import Services
from handlers.sources import kubernetes
from knowledge.errors import BadInput, CodeHealerError, NotFound
from knowledge.fingerprint import parse_time
from knowledge.model import Alert
from remediation.cluster import MENDED_S
from remediation.ports import Cluster

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 0.2
MOST_REMEMBERED = 5_000
# A pod that was well for as long and fails again has failed anew; a crash loop looks well between two crashes.
STEADY_S = 60.0
# A probe fails now and then while a pod starts, and an image is tried again before the kubelet backs off.
EVENT_REPEATS = 3
# Kubernetes says nothing of how bad a pod's trouble is; its events call such things warnings.
SEVERITY = "warning"
POD_RESTARTS = 2
PASSING_S = {
    "error": 20.0,
    "completed": 20.0,
    "notready": 20.0,
    "errimagepull": 10.0,
    "segfault": 10.0,
    "unschedulable": 10.0,
}


@dataclass(frozen=True, slots=True)
class Pending:
    """A trouble that has not lasted long enough to be told. `due` is by the monotonic clock, in seconds."""

    alert: Alert
    trouble: str
    uid: str
    due: float


class Watch:
    """One cluster's watch. The same trouble of the same thing is told once, until the thing is well again."""

    def __init__(self, services: Services, cluster: Cluster, name: str, namespaces: tuple[str, ...]) -> None:
        self._services = services
        self._cluster = cluster
        self._name = name
        self._namespaces = namespaces
        self._came = datetime.now(UTC)
        self._told: dict[str, str] = {}
        self._pending: dict[str, Pending] = {}
        self._well_since: dict[str, float] = {}
        self._began: dict[str, datetime] = {}

    async def run(self) -> None:
        """Watch until cancelled; the client resumes, relists and backs off by itself."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._observe_all())
            group.create_task(self._tell_what_lasts())

    async def _observe_all(self) -> None:
        while True:
            try:
                async with aclosing(self._cluster.watch_pods(self._name, self._namespaces)) as stream:
                    async for found in stream:
                        self._observe(found)
            except CodeHealerError as error:
                # Something that a person must mend, such as a missing permission; everything else goes on meanwhile.
                log.warning("watch_ended", cluster=self._name, error=str(error), again_in_s=MENDED_S)
            await asyncio.sleep(MENDED_S)

    def _observe(self, found: Mapping[str, Any]) -> None:
        try:
            (alert,) = kubernetes.parse({"clusterName": self._name, **found}, {})
        except BadInput as error:
            log.info("watch_object_unreadable", cluster=self._name, error=str(error))
            return
        thing = f"{alert.namespace}/{alert.target.get('kind')}/{alert.workload}/{found.get('kind')}"
        trouble = f"{alert.identity}:{alert.started_at}"
        wait_s = settle_s(alert, found)
        if wait_s is None or found.get("deleted"):
            self._pending.pop(thing, None)
            self._told.pop(thing, None)
            self._is_well(thing, found)
        elif self._told.get(thing) != trouble and not self._waits(thing, trouble):
            uid = str((found.get("metadata") or {}).get("uid"))
            placed = replace(
                alert,
                cluster=self._name,
                severity=alert.severity or SEVERITY,
                started_at=self._begin_of(thing) or alert.started_at,
                baseline=failing_since(alert, found) < self._came - baseline.BEFORE,
            )
            self._pending[thing] = Pending(placed, trouble, uid, time.monotonic() + wait_s)

    def _is_well(self, thing: str, found: Mapping[str, Any]) -> None:
        if found.get("deleted") or found.get("kind") != "Pod":
            self._well_since.pop(thing, None)
            self._began.pop(thing, None)
            return
        if len(self._well_since) >= MOST_REMEMBERED:
            self._well_since.clear()
            self._began.clear()
        self._well_since.setdefault(thing, time.monotonic())

    def _begin_of(self, thing: str) -> datetime | None:
        """When a pod that had been well for a while began to fail; None when it failed from its own start on."""
        since = self._well_since.pop(thing, None)
        if since is not None and time.monotonic() - since >= STEADY_S:
            self._began[thing] = datetime.now(UTC)
        return self._began.get(thing)

    def _waits(self, thing: str, trouble: str) -> bool:
        known = self._pending.get(thing)
        return known is not None and known.trouble == trouble

    async def _tell_what_lasts(self) -> None:
        while True:
            now = time.monotonic()
            for thing, pending in [one for one in self._pending.items() if one[1].due <= now]:
                try:
                    there = await self._still_there(pending)
                    if there:
                        await self._tell(pending)
                except (SQLAlchemyError, TimeoutError) as error:
                    # Nothing is known to be stored, so it stays pending and is told when the database is back.
                    log.warning("watch_waits_for_database", cluster=self._name, error=type(error).__name__)
                    break
                # What was seen of the thing meanwhile counts: another trouble, or that it is well.
                if self._pending.get(thing) is pending:
                    del self._pending[thing]
                    if there:
                        self._remember(thing, pending.trouble)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _still_there(self, pending: Pending) -> bool:
        """The watch says nothing of a pod's end, and a trouble that ended with its pod is none any more."""
        alert = pending.alert
        if alert.title not in PASSING_S:
            return True
        try:
            await self._cluster.get(self._name, "Pod", alert.namespace, alert.workload)
        except NotFound:
            return False
        except CodeHealerError as error:
            log.info("watch_could_not_look_again", cluster=self._name, error=str(error))
        return True

    async def _tell(self, pending: Pending) -> None:
        began = str(pending.alert.started_at)
        delivery_id = flow.delivery_key("kubernetes", self._name, pending.uid, pending.alert.identity, began)
        await flow.accept_alerts(self._services, [pending.alert], source="kubernetes", delivery_id=delivery_id)

    def _remember(self, thing: str, trouble: str) -> None:
        if len(self._told) >= MOST_REMEMBERED:
            self._told.clear()
        self._told[thing] = trouble


def failing_since(alert: Alert, found: Mapping[str, Any]) -> datetime:
    """Since when a thing fails, as Kubernetes tells it: a pod since it is not ready, others since their first event."""
    conditions = (found.get("status") or {}).get("conditions") or []
    unready = [
        parse_time(one.get("lastTransitionTime"))
        for one in conditions
        if isinstance(one, Mapping) and one.get("type") in {"Ready", "PodScheduled"} and one.get("status") == "False"
    ]
    known = [at for at in unready if at is not None]
    if found.get("kind") == "Pod":
        return max(known, default=datetime.now(UTC))
    return alert.started_at or datetime.now(UTC)


def settle_s(alert: Alert, found: Mapping[str, Any]) -> float | None:
    """How long a trouble must last before it is an incident, in seconds; None when there is none.

    One failed probe, one restart, a pod that waits a moment for its node: these pass. How a pod ends that is being
    deleted is none: most programs answer the signal to stop with an exit code that is not 0.
    """
    if not alert.actionable or (found.get("metadata") or {}).get("deletionTimestamp"):
        return None
    if found.get("kind") == "Event":
        count = (found.get("series") or {}).get("count") or found.get("count") or 1
        return 0.0 if int(count) >= EVENT_REPEATS else None
    restarts = alert.labels.get("restarts", "0")
    if restarts.isdecimal() and int(restarts) >= POD_RESTARTS:
        return 0.0
    return PASSING_S.get(alert.title, 0.0)
