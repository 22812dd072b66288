"""Kubernetes objects in kubectl's words: pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from remediation import kube
from remediation.ports import Json

_STATES = (("State", "state"), ("Last State", "lastState"))


def workload_line(workload: Json) -> str:
    """The counts of a workload, and its conditions that are not as they should be."""
    status = workload.get("status") or {}
    line = (
        f"{workload['kind']} {kube.name_of(workload)}: {kube.replicas_of(workload)} desired, "
        f"{status.get('updatedReplicas', 0)} updated, {status.get('readyReplicas', 0) or 0} ready, "
        f"{status.get('unavailableReplicas', 0) or 0} unavailable"
    )
    bad = [
        c
        for c in status.get("conditions") or []
        if c.get("status") == "False" or c.get("reason", "").endswith("Exceeded") or c.get("type") == "ReplicaFailure"
    ]
    return line + "".join(f"\n  {c['type']}: {c.get('reason', '')}: {c.get('message', '')}" for c in bad)


def pod_lines(pod: Json, failing_since: datetime) -> list[str]:
    """A pod's phase, its containers' states and limits, and its conditions that are not true.

    Why a container ended long before the failure is left out: it would read as the cause.
    """
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
        shown = _STATES[:1] if kube.ended_long_before(container, failing_since) else _STATES
        lines += [f"    {title}: {_state(container.get(key))}" for title, key in shown if container.get(key)]
    lines += [f"    Limits: {_resources(c)}" for c in (pod.get("spec") or {}).get("containers") or [] if _resources(c)]
    bad = [c for c in status.get("conditions") or [] if c.get("status") != "True"]
    lines += [f"  Condition {c['type']}: {c['status']} {c.get('reason', '')}: {c.get('message', '')}" for c in bad]
    return lines


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
        if body.get("signal"):
            parts.append(f"signal {body['signal']}")
        since = body.get("startedAt") if name == "running" else None
        parts += [body.get("message", ""), f"since {since}" if since else "", _lasted(body)]
        return f"{name.capitalize()} {'; '.join(p for p in parts if p)}".strip()
    return "Unknown"


def _lasted(body: Json) -> str:
    """How long a terminated container ran, and until when."""
    began, ended = kube.when(body.get("startedAt")), kube.when(body.get("finishedAt"))
    if ended is None:
        return ""
    ran = f"ran {(ended - began).total_seconds():.0f} s, " if began else ""
    return f"{ran}ended {body['finishedAt']}"


# --- events -----------------------------------------------------------------------------------------------------------

EVENT_HEAD = "LAST SEEN   TYPE      REASON              OBJECT   COUNT   MESSAGE"


def event_time(event: Json) -> str:
    """When it was seen last, RFC 3339; "" if it does not say."""
    series = event.get("series") or {}
    stated = event.get("lastTimestamp") or series.get("lastObservedTime") or event.get("eventTime")
    return str(stated or (event.get("metadata") or {}).get("creationTimestamp") or "")


def event_table(events: Sequence[Json], now: datetime, *, most: int) -> str:
    """The newest events as kubectl prints them, oldest first."""
    rows = [_event_row(event, now) for event in sorted(events, key=event_time)[-most:]]
    return "\n".join([EVENT_HEAD, *rows])


def _event_row(event: Json, now: datetime) -> str:
    about = event.get("involvedObject") or {}
    at = kube.when(event_time(event))
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


# --- what surrounds a workload ----------------------------------------------------------------------------------------

# Of these a node's "False" is good; of Ready "True" is.
_PRESSURES = frozenset({"MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable"})


def node_lines(node: Json) -> list[str]:
    """A node in one line, and what is wrong with it."""
    conditions = {c.get("type"): c for c in (node.get("status") or {}).get("conditions") or []}
    ready = (conditions.get("Ready") or {}).get("status", "Unknown")
    words = ["ready" if ready == "True" else f"Ready {ready}"]
    if (node.get("spec") or {}).get("unschedulable"):
        words.append("cordoned: takes no new pods")
    words += [f"taint {_taint(t)}" for t in (node.get("spec") or {}).get("taints") or []]
    capacity = (node.get("status") or {}).get("allocatable") or {}
    words += [f"{key} {capacity[key]}" for key in ("cpu", "memory", "pods") if capacity.get(key)]
    return [
        f"Node {kube.name_of(node)}: {', '.join(words)}",
        *(
            f"  Condition {kind}: {c.get('status')} {c.get('reason', '')}: {c.get('message', '')}".rstrip(": ")
            for kind, c in conditions.items()
            if is_bad(c)
        ),
    ]


def is_bad(condition: Json) -> bool:
    """Whether a node's condition is not as it should be; those of extensions count by their "Problem" names alone."""
    kind, status = str(condition.get("type", "")), condition.get("status")
    if kind == "Ready":
        return status != "True"
    return status == "True" and (kind in _PRESSURES or kind.endswith("Problem"))


def takes_pods(node: Json) -> bool:
    """Whether nothing but room keeps a pod off the node."""
    spec = node.get("spec") or {}
    closed = [t for t in spec.get("taints") or [] if t.get("effect") in {"NoSchedule", "NoExecute"}]
    bad = any(is_bad(c) for c in (node.get("status") or {}).get("conditions") or [])
    return not (spec.get("unschedulable") or closed or bad)


def _taint(taint: Json) -> str:
    value = f"={taint['value']}" if taint.get("value") else ""
    return f"{taint.get('key', '')}{value}:{taint.get('effect', '')}"


def autoscaler_lines(autoscaler: Json) -> list[str]:
    """An autoscaler's counts, its metrics, and its conditions that limit it."""
    spec, status = autoscaler.get("spec") or {}, autoscaler.get("status") or {}
    bounds = f"from {spec.get('minReplicas', 1)} to {spec.get('maxReplicas', '?')}"
    head = (
        f"HorizontalPodAutoscaler {kube.name_of(autoscaler)}: {status.get('currentReplicas', 0)} now, "
        f"{status.get('desiredReplicas', 0)} wanted, {bounds}"
    )
    current = {_metric_name(m): _metric_value(m, "current") for m in status.get("currentMetrics") or []}
    lines = [head]
    for metric in spec.get("metrics") or []:
        name = _metric_name(metric)
        lines.append(f"  {name} target {_metric_value(metric, 'target')}, now {current.get(name) or 'unknown'}")
    for condition in status.get("conditions") or []:
        limits = condition.get("type") == "ScalingLimited"
        if (condition.get("status") == "True") is limits:
            lines.append(f"  {condition.get('type')}: {condition.get('reason', '')}: {condition.get('message', '')}")
    return lines


def _metric_body(metric: Json) -> Json:
    for key in ("resource", "containerResource", "pods", "object", "external"):
        if isinstance(metric.get(key), dict):
            body: Json = metric[key]
            return body
    return {}


def _metric_name(metric: Json) -> str:
    body = _metric_body(metric)
    return str(body.get("name") or (body.get("metric") or {}).get("name") or metric.get("type", "metric"))


def _metric_value(metric: Json, key: str) -> str:
    value = _metric_body(metric).get(key) or {}
    if "averageUtilization" in value:
        return f"{value['averageUtilization']} %"
    return str(value.get("averageValue") or value.get("value") or "unknown")


def claim_lines(claim: Json) -> list[str]:
    """A persistent volume claim: its phase, size, class and volume."""
    spec, status = claim.get("spec") or {}, claim.get("status") or {}
    size = (status.get("capacity") or {}).get("storage") or ((spec.get("resources") or {}).get("requests") or {}).get(
        "storage", "?"
    )
    volume = f"volume {spec['volumeName']}" if spec.get("volumeName") else "not bound to a volume"
    head = (
        f"PersistentVolumeClaim {kube.name_of(claim)}: {status.get('phase', 'Unknown')}, {size}, "
        f"class {spec.get('storageClassName') or 'default'}, {volume}"
    )
    conditions = [c for c in status.get("conditions") or [] if c.get("status") == "True"]
    return [head, *(f"  {c.get('type')}: {c.get('message', '')}" for c in conditions)]


def claims_of(pod: Json) -> list[str]:
    """The names of the claims that a pod mounts."""
    volumes = (pod.get("spec") or {}).get("volumes") or []
    return [str(v["persistentVolumeClaim"].get("claimName", "")) for v in volumes if v.get("persistentVolumeClaim")]


def quota_lines(quota: Json) -> list[str]:
    """A quota's limits that are used to nine tenths or more."""
    status = quota.get("status") or {}
    hard = status.get("hard") or (quota.get("spec") or {}).get("hard") or {}
    used = status.get("used") or {}
    full = [f"{key} {used[key]} of {hard[key]}" for key in sorted(hard) if _full(used.get(key), hard[key])]
    return [f"ResourceQuota {kube.name_of(quota)}: {', '.join(full)}"] if full else []


def _full(used: Any, hard: Any) -> bool:
    one, other = quantity(str(used or "0")), quantity(str(hard))
    return one is not None and other is not None and one >= 0.9 * other


_FACTORS = {
    "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50,
}  # fmt: skip


def quantity(text: str) -> float | None:
    """A Kubernetes quantity such as "250m" or "1Gi" as a number; None for what is none."""
    number = text.rstrip("kKMGTPim")
    factor = _FACTORS.get(text[len(number) :])
    try:
        return float(number) * factor if factor is not None else None
    except ValueError:
        return None
