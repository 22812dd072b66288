"""The earlier versions of a workload, in one shape: ReplicaSets as they are, ControllerRevisions made to look alike."""

from collections.abc import Sequence

from knowledge.errors import NotFound, Refused
from knowledge.model import Target
from remediation import kube
from remediation.ports import Cluster, Json


def kind_of(target: Target) -> str:
    """What keeps the workload's earlier versions."""
    return "ReplicaSet" if target.kind == "Deployment" else "ControllerRevision"


async def kept(cluster: Cluster, target: Target, workload: Json) -> list[Json]:
    """The workload's own revisions, as the cluster has them."""
    found = await cluster.list(target.cluster, kind_of(target), target.namespace, labels=kube.selector(workload))
    return [body for body in found if kube.controller_uid(body) == kube.uid_of(workload)]


def alike(found: Sequence[Json], pods: Sequence[Json]) -> list[Json]:
    """Revisions that all of kube.py's readings of ReplicaSets understand. Pure."""
    return [as_replica_set(body, pods) if "data" in body else body for body in found]


def as_replica_set(revision: Json, pods: Sequence[Json]) -> Json:
    """A ControllerRevision with its number, its template, and how many ready pods of it there are."""
    data = (revision.get("data") or {}).get("spec") or {}
    template = {key: value for key, value in (data.get("template") or {}).items() if key != "$patch"}
    meta = revision["metadata"]
    numbered = {**kube.annotations(revision), kube.REVISION: str(revision.get("revision", 0))}
    ready = sum(1 for pod in pods if kube.of_revision(pod, revision) and kube.is_ready(pod))
    return {
        "kind": revision.get("kind", "ControllerRevision"),
        "metadata": {**meta, "annotations": numbered},
        "spec": {"template": template},
        "status": {"readyReplicas": ready},
    }


async def autoscalers(cluster: Cluster, target: Target, workload: Json) -> list[Json]:
    """What sets the number of the workload's replicas: HorizontalPodAutoscalers, and KEDA where there is one."""
    found = await cluster.list(target.cluster, "HorizontalPodAutoscaler", target.namespace)
    found += await optional(cluster, target, "ScaledObject")
    return [body for body in found if kube.scales(body, workload)]


async def optional(cluster: Cluster, target: Target, kind: str) -> list[Json]:
    """Objects of an operator that the cluster may not have, or whose kind is closed to us: none then."""
    try:
        return await cluster.list(target.cluster, kind, target.namespace)
    except (NotFound, Refused):
        return []
