"""Pure: Kubernetes objects as a watch delivers them: Events (core/v1 and events.k8s.io/v1) and Pods."""

import re
from collections.abc import Mapping

from handlers.sources import fields
from handlers.sources.fields import Json
from knowledge.errors import BadInput
from knowledge.fingerprint import (
    identity,
    normal_severity,
    owner_of_job,
    owner_of_pod,
    owner_of_replica_set,
    parse_time,
)
from knowledge.model import Alert, AlertStatus
from remediation.kube import ENDED_WITHIN

_IMAGE = re.compile(r'image "([^"\s]{1,400})"')
_CONTAINER = re.compile(r"\{([a-z0-9-]{1,63})\}")
# Waiting is normal while a container is being made.
_STARTING = frozenset({"", "ContainerCreating", "PodInitializing"})
_SEGMENTATION_FAULT = 139
_SIGSEGV = 11
_SCALED = frozenset({"Deployment", "StatefulSet", "DaemonSet", "CronJob", "HorizontalPodAutoscaler"})


def parse(body: Json, _headers: Mapping[str, str]) -> tuple[Alert, ...]:
    """One alert. Takes the object itself, a watch line `{"type", "object"}` or eventrouter's `{"verb", "event"}`."""
    found = _object(body)
    kind = found.get("kind")
    if kind == "Event":
        return (_event(found),)
    if kind == "Pod":
        return (_pod(found),)
    raise BadInput("The field `kind` must be Event or Pod.")


def event_of(_headers: Mapping[str, str], body: Json) -> str:
    return fields.name(_object(body).get("kind"))


def _object(body: Json) -> Json:
    return fields.child(body, "object") or (fields.child(body, "event") if "verb" in body else {}) or body


def delivery_id(_headers: Mapping[str, str], body: Json) -> str | None:
    """An object's version: a watch that resumes sends the same one again."""
    metadata = fields.child(_object(body), "metadata")
    uid, version = fields.name(metadata.get("uid")), fields.name(metadata.get("resourceVersion"))
    return f"{uid}:{version}" if uid and version else None


def _event(event: Json) -> Alert:
    about = fields.child(event, "involvedObject") or fields.child(event, "regarding")
    kind, name = fields.name(about.get("kind")), fields.name(about.get("name"))
    if not name:
        raise BadInput("The field `involvedObject.name` (or `regarding.name`) is missing.")
    namespace = fields.name(about.get("namespace")) or fields.name(fields.child(event, "metadata").get("namespace"))
    cluster, reason = fields.name(event.get("clusterName")), fields.title(event.get("reason"))
    message = fields.text(event.get("message") or event.get("note"))
    node = _node_of_event(event, kind, name)
    owner = _owner(about, kind, name, node)
    kind_of_event = normal_severity(event.get("type"))
    status = AlertStatus.FIRING if kind_of_event == "warning" else AlertStatus.INFO
    image, container = _IMAGE.search(message), _CONTAINER.search(fields.name(about.get("fieldPath")))
    return Alert(
        source="kubernetes",
        status=status,
        title=reason,
        identity=identity(reason, cluster=cluster, namespace=namespace, owner=owner or name, marks=[kind]),
        actionable=status is AlertStatus.FIRING,
        severity=kind_of_event,
        summary=message,
        namespace=namespace,
        workload=name,
        owner=owner,
        service=owner,
        cluster=cluster,
        started_at=parse_time(
            event.get("firstTimestamp") or event.get("deprecatedFirstTimestamp") or event.get("eventTime")
        ),
        target=fields.hints(kind=kind, namespace=namespace, name=name, cluster=cluster, owner=owner),
        labels=fields.hints(
            kind=kind,
            reason=reason,
            node=node,
            container=container[1] if container else "",
            image=image[1] if image else "",
            count=fields.name(event.get("count") or event.get("deprecatedCount")),
            persistentvolumeclaim=name if kind == "PersistentVolumeClaim" else "",
        ),
    )


def _node_of_event(event: Json, kind: str, name: str) -> str:
    if kind == "Node":
        return name
    source = fields.child(event, "source") or fields.child(event, "deprecatedSource")
    # Only the kubelet's host is where the pod runs; the scheduler and the controllers sit elsewhere.
    return fields.name(source.get("host")) if source.get("component") == "kubelet" else ""


def _owner(about: Json, kind: str, name: str, node: str = "") -> str:
    """The controller: by ownerReferences where they are given, else by the name's own form."""
    for reference in fields.children(about.get("ownerReferences"), 10):
        owner, owner_kind = fields.name(reference.get("name")), reference.get("kind")
        if owner and reference.get("controller"):
            by_kind = {"ReplicaSet": owner_of_replica_set, "Job": owner_of_job}
            return by_kind.get(str(owner_kind), str)(owner)
    if kind == "Pod":
        return owner_of_pod(name, node)
    if kind == "ReplicaSet":
        return owner_of_replica_set(name)
    if kind == "Job":
        return owner_of_job(name)
    return name if kind in _SCALED else ""


def _pod(pod: Json) -> Alert:
    metadata, status = fields.child(pod, "metadata"), fields.child(pod, "status")
    name, namespace = fields.name(metadata.get("name")), fields.name(metadata.get("namespace"))
    if not name:
        raise BadInput("The field `metadata.name` is missing.")
    node = fields.name(fields.child(pod, "spec").get("nodeName"))
    owner, cluster = _owner(metadata, "Pod", name, node), fields.name(metadata.get("clusterName"))
    title, detail, container = _trouble(status)
    failing = AlertStatus.FIRING if title else AlertStatus.INFO
    title = title or fields.name(status.get("phase")).lower()
    labels = fields.labels(metadata.get("labels"))
    service = labels.get("app.kubernetes.io/name") or labels.get("app") or owner
    return Alert(
        source="kubernetes",
        status=failing,
        title=title,
        identity=identity(title, cluster=cluster, namespace=namespace, owner=owner, marks=["Pod"]),
        actionable=failing is AlertStatus.FIRING,
        summary=detail,
        namespace=namespace,
        workload=name,
        owner=owner,
        service=service,
        cluster=cluster,
        started_at=parse_time(status.get("startTime")),
        target=fields.hints(kind="Pod", namespace=namespace, name=name, cluster=cluster, owner=owner),
        labels=fields.hints(
            kind="Pod",
            node=node,
            container=fields.name(container.get("name")),
            image=fields.text(container.get("image"), 400),
            restarts=fields.name(container.get("restartCount")),
        ),
    )


def _trouble(status: Json) -> tuple[str, str, Json]:
    """(name of what is wrong in lower case, sentence, the container's status); three times empty if nothing is."""
    for container in [*_containers(status, "initContainerStatuses"), *_containers(status, "containerStatuses")]:
        waiting = fields.child(container, "state", "waiting")
        ended = fields.child(container, "state", "terminated")
        before = fields.child(container, "lastState", "terminated")
        reason = fields.name(waiting.get("reason"))
        if reason == "CrashLoopBackOff":
            return _crash(before), _sentence(reason, waiting, before), container
        if reason not in _STARTING:
            return reason.lower(), _sentence(reason, waiting, before), container
        if ended.get("exitCode") not in (None, 0) or ended.get("reason") == "OOMKilled":
            return _ending(ended) or "error", _sentence(_ending(ended) or "error", ended), container
        # Running again, but not ready and with a crash behind it: neither healthy nor merely starting.
        if "running" in fields.child(container, "state") and container.get("ready") is False and before:
            return "notready", _sentence("not ready", {}, _lately(container, status)), container
    return *_pod_trouble(status), {}


def _lately(container: Json, status: Json) -> Json:
    """How a running container ended before; empty where it has been well for long since: that was another failure."""
    before, running = fields.child(container, "lastState", "terminated"), fields.child(container, "state", "running")
    ready = next((one for one in fields.children(status.get("conditions"), 20) if one.get("type") == "Ready"), {})
    unready_since, ended = parse_time(ready.get("lastTransitionTime")), parse_time(before.get("finishedAt"))
    if unready_since is None or ended is None:
        return before
    again = max(ended, parse_time(running.get("startedAt")) or ended)
    return {} if unready_since - again > ENDED_WITHIN else before


def _pod_trouble(status: Json) -> tuple[str, str]:
    reason, message = fields.name(status.get("reason")), fields.text(status.get("message"))
    if status.get("phase") == "Failed":
        # The kubelet clears the containers' states of a pod that it evicts.
        return (reason or "evicted").lower(), message or "The pod has failed and its containers are gone."
    if status.get("phase") == "Unknown":
        return (reason or "unknown").lower(), message or "The pod's node does not tell how the pod is."
    for condition in fields.children(status.get("conditions"), 20):
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return "unschedulable", fields.text(condition.get("message"))
    return "", ""


def _containers(status: Json, key: str) -> list[Json]:
    return fields.children(status.get(key), 50)


def _crash(before: Json) -> str:
    ending = _ending(before)
    return f"crashloop-{ending}" if ending in ("error", "completed") else ending or "crashloop"


def _ending(ended: Json) -> str:
    """oomkilled, segfault, or the reason in lower case."""
    if ended.get("signal") == _SIGSEGV or ended.get("exitCode") == _SEGMENTATION_FAULT:
        return "segfault"
    return fields.name(ended.get("reason")).lower()


def _sentence(reason: str, state: Json, before: Json | None = None) -> str:
    parts = [reason, fields.text(state.get("message"), 1_000)]
    if before:
        code = fields.name(before.get("exitCode"))
        parts.append(f"last exit: {fields.name(before.get('reason'))} {code}".rstrip())
        parts.append(fields.text(before.get("message"), 1_000))
    return "; ".join(part for part in parts if part)
