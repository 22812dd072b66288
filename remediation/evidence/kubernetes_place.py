"""Finding what an incident is about in a cluster: the workload, its pods and its revisions."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from knowledge.errors import NotFound
from knowledge.model import Incident
from remediation import kube
from remediation.ports import Cluster, Json

KINDS = ("Deployment", "StatefulSet", "DaemonSet")


@dataclass(frozen=True, slots=True)
class Place:
    """Where to look: a cluster by `name`, a namespace, and what was found there. `now` is when.

    `failing_since` is when the incident began.
    """

    cluster: Cluster
    name: str
    namespace: str
    workload: Json | None
    pods: tuple[Json, ...]
    replica_sets: tuple[Json, ...]
    now: datetime
    failing_since: datetime

    @property
    def source(self) -> str:
        """The workload as evidence names it."""
        return f"{self.namespace}/{kube.name_of(self.workload)}" if self.workload else self.namespace


async def find(incident: Incident, cluster: Cluster, namespace: str, now: datetime) -> Place | None:
    """None when nothing of that name is there."""
    name = incident.target.cluster if incident.target else incident.cluster
    if name not in cluster.names:
        name = ""
    workload, pods = await _workload(incident, cluster, name, namespace)
    if workload is None:
        return Place(cluster, name, namespace, None, tuple(pods), (), now, incident.opened_at) if pods else None
    found, sets = await asyncio.gather(
        cluster.list(name, "Pod", namespace, labels=kube.selector(workload)),
        cluster.list(name, "ReplicaSet", namespace, labels=kube.selector(workload)),
    )
    owned = tuple(r for r in sets if kube.controller_uid(r) == kube.uid_of(workload))
    mine = kube.pods_of(workload, found, owned) or tuple(pods)
    return Place(cluster, name, namespace, workload, mine, owned, now, incident.opened_at)


async def _workload(
    incident: Incident, cluster: Cluster, name: str, namespace: str
) -> tuple[Json | None, Sequence[Json]]:  # fmt: skip
    """The workload, by the target, or by the alert's word for it: a controller's name or a pod's."""
    target = incident.target
    if target is not None and target.kind in KINDS:
        return await _get(cluster, name, target.kind, namespace, target.name), ()
    # What an application deploys often bears its name; it is only looked at.
    wanted = incident.workload or (target.name if target else "")
    for kind in KINDS:
        found = await _get(cluster, name, kind, namespace, wanted)
        if found is not None:
            return found, ()
    pod = await _get(cluster, name, "Pod", namespace, wanted)
    body = pod
    while body is not None and (owner := kube.controller(body)) is not None:
        kind = str(owner.get("kind", ""))
        if kind not in {*KINDS, "ReplicaSet"}:
            break
        body = await _get(cluster, name, kind, namespace, str(owner.get("name", "")))
        if kind in KINDS:
            return body, [pod] if pod else []
    return None, [pod] if pod else []


async def _get(cluster: Cluster, name: str, kind: str, namespace: str, wanted: str) -> Json | None:
    try:
        return await cluster.get(name, kind, namespace, wanted)
    except NotFound:
        return None
