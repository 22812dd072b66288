"""What surrounds a failing workload, looked at where the symptom points there: nodes, autoscaler, volumes, quota."""

import asyncio
import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from remediation import kube
from remediation.evidence import kubernetes_texts as texts
from remediation.evidence.kubernetes_place import Place
from remediation.ports import Json

MAX_NODES = 3
MAX_CLOSED_NODES = 20
MAX_CLAIMS = 5
MAX_EVENTS = 10
# A node's older events are of other failures.
NODE_EVENTS_WITHIN = timedelta(hours=1)
# What the kernel writes when one container reaches its own limit; the node itself has memory left.
_OWN_LIMIT = re.compile(r"\AMemory cgroup out of memory: Killed process \d+ \(([^)]*)\)")
_KILLED = 137


async def nodes(place: Place, pods: Sequence[Json]) -> str:
    """The nodes of the shown pods that fail; for a pod without a node those that take none."""
    failing = [pod for pod in pods if kube.is_failing(pod)]
    names = list(dict.fromkeys(str((pod.get("spec") or {}).get("nodeName") or "") for pod in failing))
    lines: list[str] = []
    if "" in names:
        lines += _closed(await place.cluster.list(place.name, "Node", ""))
    wanted = [name for name in names if name][:MAX_NODES]
    for part in await asyncio.gather(*(_node(place, name, pods) for name in wanted)):
        lines += part
    return "\n".join(lines)


def _closed(found: Sequence[Json]) -> list[str]:
    shut = [node for node in found if not texts.takes_pods(node)]
    lines = [f"{len(found)} nodes, {len(shut)} of them closed to new pods or unwell"]
    return lines + [line for node in shut[:MAX_CLOSED_NODES] for line in texts.node_lines(node)]


async def _node(place: Place, name: str, pods: Sequence[Json]) -> list[str]:
    node, events = await asyncio.gather(
        place.cluster.get(place.name, "Node", "", name),
        # The kubelet and the node controller write a node's events into the default namespace.
        place.cluster.list(
            place.name, "Event", "default", fields=f"involvedObject.kind=Node,involvedObject.name={name}"
        ),
    )
    # A node that is well is nothing to read about.
    recent = [
        event
        for event in events
        if event.get("type") == "Warning" and _recent(event, place.now) and not of_another(event, place, pods)
    ]
    if texts.takes_pods(node) and not recent:
        return []
    rows = texts.event_table(recent, place.now, most=MAX_EVENTS).split("\n") if recent else []
    return [*texts.node_lines(node), *(f"  {row}" for row in rows)]


def _recent(event: Json, now: datetime) -> bool:
    at = kube.when(texts.event_time(event))
    return at is not None and now - at <= NODE_EVENTS_WITHIN


def of_another(event: Json, place: Place, pods: Sequence[Json]) -> bool:
    """Whether a node's event is about a container that reached its own memory limit, and nothing says it is ours.

    A node tells of all that run on it: a neighbour's end would read as the cause of ours.
    """
    found = _OWN_LIMIT.match(str(event.get("message") or ""))
    if found is None:
        return False
    ours = {kube.name_of(place.workload)} if place.workload else set()
    for pod in pods:
        ours.update(str(one.get("name")) for one in (pod.get("spec") or {}).get("containers") or [])
        for status in (pod.get("status") or {}).get("containerStatuses") or []:
            before = {} if kube.ended_long_before(status, place.failing_since) else status.get("lastState") or {}
            for state in (status.get("state") or {}, before):
                ended = state.get("terminated") or {}
                if ended.get("reason") == "OOMKilled" or ended.get("exitCode") == _KILLED:
                    return False
    return found[1] not in ours


async def autoscalers(place: Place, pods: Sequence[Json]) -> str:  # noqa: ARG001  one of several parts of one signature
    """The autoscalers of the workload."""
    if place.workload is None:
        return ""
    found = await place.cluster.list(place.name, "HorizontalPodAutoscaler", place.namespace)
    mine = [one for one in found if kube.scales(one, place.workload)]
    return "\n".join(line for one in mine for line in texts.autoscaler_lines(one))


async def volumes(place: Place, pods: Sequence[Json]) -> str:
    """The claims of pods that fail, with their events."""
    names = list(dict.fromkeys(name for pod in pods if kube.is_failing(pod) for name in texts.claims_of(pod)))
    found = await asyncio.gather(*(_claim(place, name) for name in names[:MAX_CLAIMS]))
    return "\n".join(line for part in found for line in part)


async def _claim(place: Place, name: str) -> list[str]:
    fields = f"involvedObject.kind=PersistentVolumeClaim,involvedObject.name={name}"
    claims, events = await asyncio.gather(
        place.cluster.list(place.name, "PersistentVolumeClaim", place.namespace, fields=f"metadata.name={name}"),
        place.cluster.list(place.name, "Event", place.namespace, fields=fields),
    )
    if not claims:
        return [f'persistentvolumeclaim "{name}" not found']
    rows = texts.event_table(events, place.now, most=MAX_EVENTS).split("\n") if events else []
    return [*texts.claim_lines(claims[0]), *(f"  {row}" for row in rows)]


async def quotas(place: Place, pods: Sequence[Json]) -> str:  # noqa: ARG001  one of several parts of one signature
    """The namespace's quotas that are all but used up, where pods are missing."""
    if place.workload is None or len(place.pods) >= kube.replicas_of(place.workload):
        return ""
    found = await place.cluster.list(place.name, "ResourceQuota", place.namespace)
    return "\n".join(line for one in found for line in texts.quota_lines(one))
