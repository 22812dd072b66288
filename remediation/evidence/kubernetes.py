"""What a cluster says about a failing workload: status, events, logs and rollout history, in kubectl's words."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from knowledge.errors import CodeHealerError, NotFound, Refused
from knowledge.model import EvidenceKind, Incident
from remediation import kube
from remediation.evidence.piece import Piece, Pieces
from remediation.ports import Clients, Cluster, Json

PART_DEADLINE_S = 8.0
MAX_PODS = 3
MAX_EVENTS = 40
LOG_LINES = 300
KINDS = ("Deployment", "StatefulSet", "DaemonSet")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where to look: a cluster, a namespace, and what was found there."""

    cluster: Cluster
    name: str
    namespace: str
    workload: Json | None
    pods: tuple[Json, ...]
    replica_sets: tuple[Json, ...]


async def collect(incident: Incident, clients: Clients) -> Pieces:
    """Nothing for incidents that are not of a cluster."""
    namespace = incident.target.namespace if incident.target else incident.namespace
    if not namespace or not (incident.workload or incident.target):
        return []
    if clients.cluster is None:
        return [Piece(EvidenceKind.POD_STATUS, "cluster", could_not="no cluster is connected")]
    place = await _find(incident, clients.cluster, namespace)
    if place is None:
        missing = f"nothing named {incident.workload} was found in namespace {namespace}"
        return [Piece(EvidenceKind.POD_STATUS, namespace, could_not=missing)]
    pods = _most_telling(place.pods, incident.workload)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_part(EvidenceKind.POD_STATUS, place, pods, _pod_status)),
            group.create_task(_part(EvidenceKind.EVENTS, place, pods, _events)),
            *(group.create_task(_logs(place, pod, previous)) for pod in pods[:1] for previous in (True, False)),
            group.create_task(_part(EvidenceKind.ROLLOUT, place, pods, _rollout)),
        ]
    return [piece for task in tasks for piece in task.result()]


# --- finding ----------------------------------------------------------------------------------------------------


async def _find(incident: Incident, cluster: Cluster, namespace: str) -> _Place | None:
    name = incident.target.cluster if incident.target else incident.cluster
    if name not in cluster.names:
        name = ""
    workload, pods = await _workload(incident, cluster, name, namespace)
    if workload is None:
        return _Place(cluster, name, namespace, None, tuple(pods), ()) if pods else None
    found, sets = await asyncio.gather(
        cluster.list(name, "Pod", namespace, labels=kube.selector(workload)),
        cluster.list(name, "ReplicaSet", namespace, labels=kube.selector(workload)),
    )
    owned = tuple(r for r in sets if kube.controller_uid(r) == kube.uid_of(workload))
    return _Place(cluster, name, namespace, workload, kube.pods_of(workload, found, owned) or tuple(pods), owned)


async def _workload(
    incident: Incident, cluster: Cluster, name: str, namespace: str
) -> tuple[Json | None, Sequence[Json]]:  # fmt: skip
    """The workload, by the target, or by the alert's word for it: a controller's name or a pod's."""
    target = incident.target
    if target is not None:
        return await _get(cluster, name, target.kind, namespace, target.name), ()
    for kind in KINDS:
        found = await _get(cluster, name, kind, namespace, incident.workload)
        if found is not None:
            return found, ()
    pod = await _get(cluster, name, "Pod", namespace, incident.workload)
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


def _most_telling(pods: Iterable[Json], named: str) -> list[Json]:
    """The alert's own pod first, then failing ones, the most restarted first."""
    ordered = sorted(
        pods, key=lambda p: (kube.name_of(p) != named, not kube.is_failing(p), -kube.restarts(p), kube.name_of(p))
    )
    return ordered[:MAX_PODS]


# --- parts ------------------------------------------------------------------------------------------------------

_Part = Callable[[_Place, Sequence[Json]], Awaitable[str]]


async def _part(kind: EvidenceKind, place: _Place, pods: Sequence[Json], part: _Part) -> Pieces:
    source = f"{place.namespace}/{kube.name_of(place.workload) if place.workload else kube.name_of(pods[0])}"
    try:
        async with asyncio.timeout(PART_DEADLINE_S):
            text = await part(place, pods)
    except TimeoutError:
        return [Piece(kind, source, could_not=f"no answer within {PART_DEADLINE_S:.0f} s")]
    except CodeHealerError as error:
        return [Piece(kind, source, could_not=str(error))]
    return [Piece(kind, source, text)] if text else []


async def _pod_status(place: _Place, pods: Sequence[Json]) -> str:
    lines = [_workload_line(place.workload)] if place.workload else []
    if not pods:
        lines.append("No pods.")
    for pod in pods:
        lines += _pod_lines(pod)
    more = len(place.pods) - len(pods)
    if more > 0:
        ready = sum(1 for p in place.pods if kube.is_ready(p))
        lines.append(f"... {more} more pods; {ready} of {len(place.pods)} ready")
    return "\n".join(lines)


def _workload_line(workload: Json) -> str:
    status = workload.get("status") or {}
    line = (
        f"{workload['kind']} {kube.name_of(workload)}: {kube.replicas_of(workload)} desired, "
        f"{status.get('updatedReplicas', 0)} updated, {status.get('readyReplicas', 0) or 0} ready, "
        f"{status.get('unavailableReplicas', 0) or 0} unavailable"
    )
    bad = [
        c
        for c in status.get("conditions") or []
        if c.get("status") == "False" or c.get("reason", "").endswith("Exceeded")
    ]
    return line + "".join(f"\n  {c['type']}: {c.get('reason', '')}: {c.get('message', '')}" for c in bad)


def _pod_lines(pod: Json) -> list[str]:
    status = pod.get("status") or {}
    statuses = kube.container_statuses(pod)
    ready = sum(1 for c in statuses if c.get("ready"))
    node = (pod.get("spec") or {}).get("nodeName", "<none>")
    head = (
        f"Pod {kube.name_of(pod)}: {status.get('phase', 'Unknown')}, {ready}/{len(statuses)} ready, "
        f"{kube.restarts(pod)} restarts, node {node}"
    )
    lines = [head]
    if status.get("reason"):
        lines.append(f"  Reason: {status['reason']}: {status.get('message', '')}")
    for container in statuses:
        lines.append(f"  Container {container.get('name')}: image {container.get('image')}")
        lines += [f"    {title}: {_state(container.get(key))}" for title, key in _STATES if container.get(key)]
    lines += [f"    Limits: {_resources(c)}" for c in (pod.get("spec") or {}).get("containers") or [] if _resources(c)]
    bad = [c for c in status.get("conditions") or [] if c.get("status") != "True"]
    lines += [f"  Condition {c['type']}: {c['status']} {c.get('reason', '')}: {c.get('message', '')}" for c in bad]
    return lines


_STATES = (("State", "state"), ("Last State", "lastState"))


def _resources(container: Json) -> str:
    limits = (container.get("resources") or {}).get("limits") or {}
    return ", ".join(f"{k} {v}" for k, v in sorted(limits.items()))


def _state(state: Any) -> str:
    for name in ("waiting", "terminated", "running"):
        body = (state or {}).get(name)
        if body is None:
            continue
        parts = [body.get("reason", "")]
        if "exitCode" in body:
            parts.append(f"exit code {body['exitCode']}")
        since = body.get("startedAt") if name == "running" else None
        parts += [body.get("message", ""), f"since {since}" if since else ""]
        return f"{name.capitalize()} {'; '.join(p for p in parts if p)}".strip()
    return "Unknown"


async def _events(place: _Place, pods: Sequence[Json]) -> str:
    names = [kube.name_of(p) for p in pods]
    if place.workload:
        names.append(kube.name_of(place.workload))
        current = kube.current_replica_set(place.workload, place.replica_sets)
        names += [kube.name_of(current)] if current else []
    found = await asyncio.gather(
        *(
            place.cluster.list(place.name, "Event", place.namespace, fields=f"involvedObject.name={name}")
            for name in dict.fromkeys(names)
        )
    )
    events = sorted((e for part in found for e in part), key=_event_time)[-MAX_EVENTS:]
    if not events:
        return "No events."
    now = datetime.now(UTC)
    rows = [_event_row(e, now) for e in events]
    return "\n".join(["LAST SEEN   TYPE      REASON              OBJECT   COUNT   MESSAGE", *rows])


def _event_time(event: Json) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")


def _event_row(event: Json, now: datetime) -> str:
    about = event.get("involvedObject") or {}
    at = kube.when(_event_time(event))
    seen = _ago((now - at).total_seconds()) if at else "unknown"
    name = f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"
    message = " ".join(str(event.get("message", "")).split())
    count = event.get("count") or (event.get("series") or {}).get("count") or 1
    return f"{seen:<11} {event.get('type', ''):<9} {event.get('reason', ''):<19} {name}   x{count}   {message}"


def _ago(seconds: float) -> str:
    seconds = max(0.0, seconds)
    if seconds < 120:
        return f"{seconds:.0f}s"
    return f"{seconds / 60:.0f}m" if seconds < 7200 else f"{seconds / 3600:.0f}h"


async def _logs(place: _Place, pod: Json, previous: bool) -> Pieces:
    """The worst container's log. That there is no previous one is normal and not worth a word."""
    kind = EvidenceKind.PREVIOUS_LOGS if previous else EvidenceKind.LOGS
    source = f"{place.namespace}/{kube.name_of(pod)}"
    container = _worst_container(pod)
    try:
        async with asyncio.timeout(PART_DEADLINE_S):
            text = await place.cluster.logs(
                place.name, place.namespace, kube.name_of(pod), container, previous=previous, tail_lines=LOG_LINES
            )
    except TimeoutError:
        return [Piece(kind, source, could_not=f"no answer within {PART_DEADLINE_S:.0f} s")]
    except Refused as error:
        return [] if previous and "not found" in str(error) else [Piece(kind, source, could_not=str(error))]
    except CodeHealerError as error:
        return [Piece(kind, source, could_not=str(error))]
    return [Piece(kind, source, text)] if text.strip() else []


def _worst_container(pod: Json) -> str:
    statuses = kube.container_statuses(pod)
    if not statuses:
        return ""
    worst = max(statuses, key=lambda c: (not c.get("ready", False), int(c.get("restartCount", 0))))
    return str(worst.get("name", ""))


async def _rollout(place: _Place, pods: Sequence[Json]) -> str:  # noqa: ARG001  one of several parts of one signature
    if place.workload is None or not place.replica_sets:
        return ""
    current = kube.current_replica_set(place.workload, place.replica_sets)
    lines = [f"Rollout history of {place.workload['kind'].lower()}/{kube.name_of(place.workload)}"]
    for revision in sorted(place.replica_sets, key=kube.revision_of)[-6:]:
        status = revision.get("status") or {}
        made = kube.created_at(revision)
        lines.append(
            f"  revision {kube.revision_of(revision)}{' (current)' if revision is current else ''}: "
            f"{', '.join(kube.images(kube.template_of(revision)))}; "
            f"{status.get('readyReplicas', 0) or 0}/{(revision.get('spec') or {}).get('replicas', 0)} ready; "
            f"created {made.strftime('%Y-%m-%d %H:%M:%S UTC') if made else 'unknown'}"
            f"{'; ' + cause if (cause := kube.annotations(revision).get('kubernetes.io/change-cause', '')) else ''}"
        )
    return "\n".join(lines)
