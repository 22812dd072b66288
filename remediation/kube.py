"""Pure readings of Kubernetes objects as JSON dictionaries; nothing here talks to a cluster."""

import copy
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

Json = dict[str, Any]

REVISION = "deployment.kubernetes.io/revision"
HASH_LABEL = "pod-template-hash"
RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"

# A revision that was replaced sooner than this is not known to have run well (nothing in a cluster records health).
STOOD_SECONDS = 300

# What ended longer before a failure began, and has run since, ended of another one.
ENDED_WITHIN = timedelta(hours=1)

# Waiting and terminated reasons with which a container will not get ready by waiting.
FAILING_REASONS = frozenset(
    {
        "CrashLoopBackOff",
        "ImagePullBackOff",
        "ErrImagePull",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "OOMKilled",
        "Error",
        "ContainerCannotRun",
        "StartError",
        "DeadlineExceeded",
    }
)


_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


def valid_name(text: str) -> bool:
    """An RFC 1123 subdomain, as the API server asks of every kind that is used here."""
    return bool(_NAME.fullmatch(text))


def name_of(body: Json) -> str:
    name: str = (body.get("metadata") or {}).get("name", "")
    return name


def uid_of(body: Json) -> str:
    uid: str = (body.get("metadata") or {}).get("uid", "")
    return uid


def annotations(body: Json) -> Mapping[str, str]:
    found: Mapping[str, str] = (body.get("metadata") or {}).get("annotations") or {}
    return found


def labels(body: Json) -> Mapping[str, str]:
    found: Mapping[str, str] = (body.get("metadata") or {}).get("labels") or {}
    return found


def when(text: str | None) -> datetime | None:
    """An RFC 3339 stamp as an aware datetime; None where absent or unreadable."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None


def created_at(body: Json) -> datetime | None:
    return when((body.get("metadata") or {}).get("creationTimestamp"))


def changed_at(body: Json) -> datetime | None:
    """When the object was last written, as its managed fields say; else when it was made."""
    fields = (body.get("metadata") or {}).get("managedFields") or []
    times = [at for at in (when(entry.get("time")) for entry in fields) if at]
    return max(times, default=None) or created_at(body)


def running_since(pod: Json) -> datetime | None:
    """When the pod's running containers were started, the oldest of them; None where none runs."""
    states = [(status.get("state") or {}).get("running") or {} for status in container_statuses(pod)]
    return min((at for at in (when(state.get("startedAt")) for state in states) if at), default=None)


def config_maps(template: Json) -> tuple[str, ...]:
    """The names of the ConfigMaps that pods of a template read."""
    spec = template.get("spec") or {}
    found: list[str] = []
    for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]:
        found += [(source.get("configMapRef") or {}).get("name", "") for source in container.get("envFrom") or []]
        values = [variable.get("valueFrom") or {} for variable in container.get("env") or []]
        found += [(value.get("configMapKeyRef") or {}).get("name", "") for value in values]
    for volume in spec.get("volumes") or []:
        sources = [volume, *((volume.get("projected") or {}).get("sources") or [])]
        found += [(source.get("configMap") or {}).get("name", "") for source in sources]
    return tuple(dict.fromkeys(filter(None, found)))


def selector(workload: Json) -> Mapping[str, str]:
    """The label selector's equality part; other expressions are checked by ownership afterwards."""
    found: Mapping[str, str] = ((workload.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
    return found


def controller(body: Json) -> Json | None:
    """The owner reference that controls the object."""
    owners: list[Json] = (body.get("metadata") or {}).get("ownerReferences") or []
    return next((o for o in owners if o.get("controller")), None)


def controller_uid(body: Json) -> str:
    owner = controller(body)
    return str(owner["uid"]) if owner else ""


def pods_of(workload: Json, pods: Iterable[Json], replica_sets: Iterable[Json]) -> tuple[Json, ...]:
    """The pods that the workload controls, directly or by its replica sets; labels alone prove nothing."""
    owners = {uid_of(workload), *(uid_of(r) for r in replica_sets)}
    return tuple(p for p in pods if controller_uid(p) in owners)


def without_ended(pods: Iterable[Json]) -> tuple[Json, ...]:
    """Those of a workload that have not ended: its controller puts others in the place of the evicted, which stay."""
    return tuple(p for p in pods if (p.get("status") or {}).get("phase") not in {"Succeeded", "Failed"})


def of_revision(pod: Json, revision: Json) -> bool:
    """Whether a pod was made from a revision: owned by its ReplicaSet, or labelled with its ControllerRevision."""
    mark = labels(pod).get("controller-revision-hash")
    return controller_uid(pod) == uid_of(revision) or (
        mark is not None and mark in {name_of(revision), labels(revision).get("controller-revision-hash")}
    )


def is_ready(pod: Json) -> bool:
    if (pod.get("metadata") or {}).get("deletionTimestamp"):
        return False
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def container_statuses(pod: Json) -> list[Json]:
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def restarts(pod: Json) -> int:
    return sum(int(c.get("restartCount", 0)) for c in container_statuses(pod))


def failing_reason(pod: Json) -> str:
    """Why the pod will not get ready by waiting, e.g. "CrashLoopBackOff"; "" when nothing says so."""
    for status in container_statuses(pod):
        state = status.get("state") or {}
        reason = (state.get("waiting") or {}).get("reason") or (state.get("terminated") or {}).get("reason") or ""
        if reason in FAILING_REASONS:
            return str(reason)
    return ""


def waiting_messages(pods: Iterable[Json]) -> list[str]:
    """Why containers wait, in the kubelet's words."""
    states = [(status.get("state") or {}).get("waiting") or {} for pod in pods for status in container_statuses(pod)]
    return [str(state["message"]) for state in states if state.get("message")]


def is_failing(pod: Json) -> bool:
    """Not ready although it runs, or failing for good; pods that are being deleted or finished do not count."""
    if (pod.get("metadata") or {}).get("deletionTimestamp"):
        return False
    phase = (pod.get("status") or {}).get("phase", "")
    if phase == "Succeeded":
        return False
    return not is_ready(pod)


def replicas_of(workload: Json) -> int:
    if workload.get("kind") == "DaemonSet":
        return int((workload.get("status") or {}).get("desiredNumberScheduled", 0))
    return int((workload.get("spec") or {}).get("replicas", 1))


def scales(autoscaler: Json, workload: Json) -> bool:
    """Of a HorizontalPodAutoscaler, a KEDA ScaledObject (whose kind defaults to Deployment) or a vertical one."""
    spec = autoscaler.get("spec") or {}
    reference = spec.get("scaleTargetRef") or spec.get("targetRef") or {}
    return reference.get("kind", "Deployment") == workload.get("kind") and reference.get("name") == name_of(workload)


def surges(workload: Json) -> bool:
    """Whether a rollout may run a pod more than wanted: Deployments do unless they are told not to."""
    strategy = (workload.get("spec") or {}).get("strategy") or {}
    if workload.get("kind") != "Deployment" or strategy.get("type") == "Recreate":
        return False
    return str((strategy.get("rollingUpdate") or {}).get("maxSurge", "25%")) not in {"0", "0%"}


def rollout_hindrance(workload: Json, *, failing: bool = True) -> str:
    """Why a changed template would not reach the pods by itself, "" when it would. `failing`: a pod is not ready."""
    spec = workload.get("spec") or {}
    if spec.get("paused"):
        return "its rollout is paused by somebody"
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return "its update strategy is OnDelete: pods change only when somebody deletes them"
    if (strategy.get("rollingUpdate") or {}).get("partition"):
        return "its rollout is held by a partition"
    ordered = spec.get("podManagementPolicy", "OrderedReady") == "OrderedReady"
    if failing and workload.get("kind") == "StatefulSet" and ordered:
        # https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#forced-rollback
        return "a StatefulSet that starts its pods in order waits for the broken one, whatever its template says"
    return "it is scaled to zero" if replicas_of(workload) < 1 else ""


def containers(template: Json) -> list[Json]:
    """The app containers of a pod template (or of a pod's own `{"spec": …}`)."""
    return list((template.get("spec") or {}).get("containers") or [])


def container_place(template: Json, name: str) -> int | None:
    """The index of the app container with that name."""
    return next((i for i, c in enumerate(containers(template)) if c.get("name") == name), None)


def memory_of(container: Json, kind: str) -> str:
    """A container's memory limit or request as it is written; "" where it states none. `kind`: limits or requests."""
    return str((((container.get("resources") or {}).get(kind)) or {}).get("memory", ""))


def ended_long_before(status: Json, moment: datetime | None) -> bool:
    """Whether a container's last end is of another failure than one that began at `moment`: it has run again since."""
    running = (status.get("state") or {}).get("running")
    ended = when(((status.get("lastState") or {}).get("terminated") or {}).get("finishedAt"))
    if running is None or ended is None or moment is None:
        return False
    return moment - max(ended, when(running.get("startedAt")) or ended) > ENDED_WITHIN


def memory_killed(pods: Iterable[Json], since: datetime | None = None) -> str:
    """The app container that was killed most often for its memory, "" when none was. `since`: when it began to fail."""
    found: dict[str, int] = {}
    for pod in pods:
        for status in (pod.get("status") or {}).get("containerStatuses") or []:
            keys = ("state",) if ended_long_before(status, since) else ("state", "lastState")
            ends = [(status.get(key) or {}).get("terminated") or {} for key in keys]
            if any(end.get("reason") == "OOMKilled" for end in ends):
                name = str(status.get("name", ""))
                found[name] = found.get(name, 0) + max(int(status.get("restartCount", 0)), 1)
    return max(sorted(found), key=lambda name: found[name], default="")


def revision_of(body: Json) -> int:
    text = annotations(body).get(REVISION, "")
    return int(text) if text.isdigit() else 0


def images(template: Json) -> tuple[str, ...]:
    return tuple(str(c.get("image", "")) for c in (template.get("spec") or {}).get("containers") or [])


def template_of(body: Json) -> Json:
    """The pod template without what the controller and restarts add to it: what makes a revision *different*."""
    template: Json = copy.deepcopy((body.get("spec") or {}).get("template") or {})
    meta = template.setdefault("metadata", {})
    meta.pop("creationTimestamp", None)
    for holder, key in (("labels", HASH_LABEL), ("annotations", RESTARTED_AT)):
        kept = {k: v for k, v in (meta.get(holder) or {}).items() if k != key}
        meta.pop(holder, None)
        if kept:
            meta[holder] = kept
    return template


def same_template(one: Json, other: Json) -> bool:
    return json.dumps(template_of(one), sort_keys=True) == json.dumps(template_of(other), sort_keys=True)


def current_replica_set(workload: Json, replica_sets: Sequence[Json]) -> Json | None:
    """The replica set of the deployment's present template (else the highest revision)."""
    matching = [r for r in replica_sets if same_template(r, workload)]
    return max(matching or list(replica_sets), key=revision_of, default=None)


def older_revisions(workload: Json, replica_sets: Sequence[Json]) -> list[Json]:
    """Replica sets of earlier revisions with a different template, newest first."""
    current = current_replica_set(workload, replica_sets)
    if current is None:
        return []
    older = [r for r in replica_sets if revision_of(r) < revision_of(current) and not same_template(r, current)]
    return sorted(older, key=revision_of, reverse=True)


def serves(revision: Json) -> bool:
    """Whether pods of a revision are available, or ready, now."""
    status = revision.get("status") or {}
    return int(status.get("availableReplicas", 0) or status.get("readyReplicas", 0) or 0) > 0


def best_known(older: Sequence[Json]) -> list[Json]:
    """Those that serve now, if any: beside them, one that merely stood may have been stuck all the while."""
    return [one for one in older if serves(one)] or list(older)


def ran_healthy(revision: Json, newer: Iterable[Json], *, least_seconds: int) -> bool:
    """Whether a revision served: it serves now, or it stood `least_seconds` before it was replaced.

    A cluster keeps no history of health; a revision that was replaced within minutes was likely replaced for cause.
    """
    if serves(revision):
        return True
    born = created_at(revision)
    later = [at for at in (created_at(r) for r in newer if r is not revision) if at and born and at >= born]
    if born is None or not later:
        return False
    return (min(later) - born).total_seconds() >= least_seconds


def last_healthy(workload: Json, replica_sets: Sequence[Json]) -> Json | None:
    """The newest older revision with another template that is known to have run well."""
    for revision in best_known(older_revisions(workload, replica_sets)):
        newer = [r for r in replica_sets if revision_of(r) > revision_of(revision)]
        if ran_healthy(revision, newer, least_seconds=STOOD_SECONDS):
            return revision
    return None


def argocd_app_name(workload: Json) -> str:
    """The application's name in Argo CD's tracking annotation ("app:group/kind:ns/name") or label."""
    tracking = annotations(workload).get("argocd.argoproj.io/tracking-id", "")
    return tracking.split(":", 1)[0] or labels(workload).get("argocd.argoproj.io/instance", "")


_FIELD_MANAGERS = {
    "argocd-controller": "Argo CD",
    "argocd-application-controller": "Argo CD",
    "kustomize-controller": "Flux",
    "helm-controller": "Flux",
    "helm": "Helm",
}


def manager_names(workload: Json) -> tuple[str, ...]:
    """Who owns the manifest: Argo CD, Flux, Helm, or an operator named by its owner reference."""
    found: list[str] = []
    label, note = labels(workload), annotations(workload)
    managed_by = label.get("app.kubernetes.io/managed-by", "").lower()
    if argocd_app_name(workload) or managed_by in {"argocd", "argo-cd"}:
        found.append("Argo CD")
    if any(key.startswith(("kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/")) for key in (*label, *note)):
        found.append("Flux")
    if managed_by == "helm" or "meta.helm.sh/release-name" in note:
        found.append("Helm")
    owner = controller(workload)
    if owner:
        found.append(f"{owner.get('kind', 'an operator')} {owner.get('name', '')}".strip())
    for entry in (workload.get("metadata") or {}).get("managedFields") or []:
        name = _FIELD_MANAGERS.get(str(entry.get("manager", "")).lower())
        # Status is written by controllers of every kind; only the spec's writer owns the manifest.
        if name and entry.get("subresource") != "status":
            found.append(name)
    return tuple(dict.fromkeys(found))
