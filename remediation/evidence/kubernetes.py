"""What a cluster says about a failing workload: status, events, logs, rollout history and what surrounds it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

from knowledge.errors import Refused
from knowledge.model import EvidenceKind
from remediation import kube
from remediation.evidence import kubernetes_around
from remediation.evidence import kubernetes_texts as texts
from remediation.evidence.kubernetes_history import history
from remediation.evidence.kubernetes_place import Place, find
from remediation.evidence.piece import Piece, Pieces, Subject, within
from remediation.ports import Json

PART_DEADLINE_S = 8.0
MAX_PODS = 3
MAX_EVENTS = 40
LOG_LINES = 300


async def collect(subject: Subject) -> Pieces:
    """Nothing for incidents that are not of a cluster."""
    incident, cluster = subject.incident, subject.clients.cluster
    namespace = incident.target.namespace if incident.target else incident.namespace
    if not namespace or not (incident.workload or incident.target):
        return []
    if cluster is None:
        return [Piece(EvidenceKind.POD_STATUS, "cluster", could_not="no cluster is connected")]
    place = await find(incident, cluster, namespace, subject.now)
    if place is None:
        missing = f"nothing named {incident.workload} was found in namespace {namespace}"
        return [Piece(EvidenceKind.POD_STATUS, namespace, could_not=missing)]
    pods = _most_telling(place.pods, incident.workload)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_part(EvidenceKind.POD_STATUS, place, pods, _pod_status)),
            group.create_task(_part(EvidenceKind.EVENTS, place, pods, _events)),
            *(group.create_task(_logs(place, pod, previous)) for pod in pods[:1] for previous in (True, False)),
            group.create_task(within(PART_DEADLINE_S, history(place, subject), EvidenceKind.ROLLOUT, place.source)),
            *(group.create_task(_part(kind, place, pods, part)) for kind, part in _AROUND),
        ]
    return [piece for task in tasks for piece in task.result()]


def _most_telling(pods: Iterable[Json], named: str) -> list[Json]:
    """The alert's own pod first, then failing ones, the most restarted first."""
    ordered = sorted(
        pods, key=lambda p: (kube.name_of(p) != named, not kube.is_failing(p), -kube.restarts(p), kube.name_of(p))
    )
    return ordered[:MAX_PODS]


# --- parts ------------------------------------------------------------------------------------------------------

_Part = Callable[[Place, Sequence[Json]], Awaitable[str]]
_AROUND: tuple[tuple[EvidenceKind, _Part], ...] = (
    (EvidenceKind.NODE, kubernetes_around.nodes),
    (EvidenceKind.AUTOSCALER, kubernetes_around.autoscalers),
    (EvidenceKind.VOLUMES, kubernetes_around.volumes),
    (EvidenceKind.QUOTA, kubernetes_around.quotas),
)


async def _part(kind: EvidenceKind, place: Place, pods: Sequence[Json], part: _Part) -> Pieces:
    source = place.source if place.workload else f"{place.namespace}/{kube.name_of(pods[0])}"

    async def told() -> Pieces:
        text = await part(place, pods)
        return [Piece(kind, source, text)] if text else []

    return await within(PART_DEADLINE_S, told(), kind, source)


async def _pod_status(place: Place, pods: Sequence[Json]) -> str:
    lines = [texts.workload_line(place.workload)] if place.workload else []
    if not pods:
        lines.append("No pods.")
    for pod in pods:
        lines += texts.pod_lines(pod, place.failing_since)
    more = len(place.pods) - len(pods)
    if more > 0:
        ready = sum(1 for p in place.pods if kube.is_ready(p))
        lines.append(f"... {more} more pods; {ready} of {len(place.pods)} ready")
    return "\n".join(lines)


async def _events(place: Place, pods: Sequence[Json]) -> str:
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
    events = [event for part in found for event in part]
    return texts.event_table(events, place.now, most=MAX_EVENTS) if events else "No events."


async def _logs(place: Place, pod: Json, previous: bool) -> Pieces:
    """The worst container's log. That there is no previous one, or one of long ago, is normal and not worth a word."""
    kind = EvidenceKind.PREVIOUS_LOGS if previous else EvidenceKind.LOGS
    source = f"{place.namespace}/{kube.name_of(pod)}"
    worst = _worst_container(pod)
    container = str(worst.get("name", ""))
    if previous and kube.ended_long_before(worst, place.failing_since):
        return []

    async def told() -> Pieces:
        try:
            text, left_out = await place.cluster.logs(
                place.name, place.namespace, kube.name_of(pod), container, previous=previous, tail_lines=LOG_LINES
            )
        except Refused as error:
            if previous and "not found" in str(error):
                return []
            raise
        return [Piece(kind, source, text, left_out=left_out)] if text.strip() else []

    return await within(PART_DEADLINE_S, told(), kind, source)


def _worst_container(pod: Json) -> Json:
    """Its status, empty where the pod has none yet."""
    statuses = kube.container_statuses(pod)
    return max(statuses, key=lambda c: (not c.get("ready", False), int(c.get("restartCount", 0))), default={})
