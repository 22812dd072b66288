"""The cluster's memory: objects with resource versions, and the history that watches read.

Objects are plain JSON dictionaries that are never changed once stored: every write stores a copy, so that a reader and
the watch history can share them.
"""

import asyncio
import copy
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from bot.sandbox.world.clockwork import rfc3339

Json = dict[str, Any]
HISTORY_LENGTH = 4000


@dataclass(frozen=True, slots=True)
class Resource:
    """One row of the discovery table: how a kind is addressed."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


RESOURCES: tuple[Resource, ...] = (
    Resource("", "v1", "pods", "Pod"),
    Resource("", "v1", "events", "Event"),
    Resource("", "v1", "namespaces", "Namespace", namespaced=False),
    Resource("", "v1", "nodes", "Node", namespaced=False),
    Resource("", "v1", "configmaps", "ConfigMap"),
    Resource("", "v1", "secrets", "Secret"),
    Resource("", "v1", "services", "Service"),
    Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim"),
    Resource("", "v1", "resourcequotas", "ResourceQuota"),
    Resource("", "v1", "limitranges", "LimitRange"),
    Resource("apps", "v1", "deployments", "Deployment"),
    Resource("apps", "v1", "replicasets", "ReplicaSet"),
    Resource("apps", "v1", "statefulsets", "StatefulSet"),
    Resource("apps", "v1", "daemonsets", "DaemonSet"),
    Resource("apps", "v1", "controllerrevisions", "ControllerRevision"),
    Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
    Resource("keda.sh", "v1alpha1", "scaledobjects", "ScaledObject"),
    Resource("autoscaling.k8s.io", "v1", "verticalpodautoscalers", "VerticalPodAutoscaler"),
    Resource("kustomize.toolkit.fluxcd.io", "v1", "kustomizations", "Kustomization"),
    Resource("helm.toolkit.fluxcd.io", "v2", "helmreleases", "HelmRelease"),
    Resource("batch", "v1", "jobs", "Job"),
    Resource("rbac.authorization.k8s.io", "v1", "roles", "Role"),
    Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding"),
    Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget"),
)
# Kinds whose managed fields are kept, as far as anybody here reads them: when they were last written.
STAMPED = frozenset({"configmaps", "secrets"})
BY_PLURAL = {r.plural: r for r in RESOURCES}
BY_ADDRESS = {(r.group, r.version, r.plural): r for r in RESOURCES}


class ConflictError(Exception):
    """The writer saw an older version of the object."""


class GoneError(Exception):
    """The asked resource version is older than the history."""


@dataclass(frozen=True, slots=True)
class Change:
    """One write: `before` and `after` are None for an addition and a deletion."""

    version: int
    plural: str
    before: Json | None
    after: Json | None

    @property
    def namespace(self) -> str:
        body = self.after or self.before or {}
        name: str = body["metadata"].get("namespace", "")
        return name


@dataclass
class Store:
    """All objects by (plural, namespace, name); `clock` gives Unix seconds."""

    clock: Callable[[], float]
    objects: dict[str, dict[tuple[str, str], Json]] = field(default_factory=lambda: {r.plural: {} for r in RESOURCES})
    history: deque[Change] = field(default_factory=lambda: deque(maxlen=HISTORY_LENGTH))
    owned_by: dict[tuple[str, str], dict[tuple[str, str], None]] = field(default_factory=dict)
    version: int = 1000
    compacted: int = 1000
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def get(self, plural: str, namespace: str, name: str) -> Json | None:
        return self.objects[plural].get((namespace, name))

    def all(self, plural: str, namespace: str = "") -> Iterator[Json]:
        """Every object of a kind, of all namespaces when `namespace` is empty."""
        for (ns, _), body in list(self.objects[plural].items()):
            if not namespace or ns == namespace:
                yield body

    def owned(self, plural: str, uid: str) -> list[Json]:
        """What the object with that uid controls, oldest first: the controllers ask for it on every pass."""
        return [self.objects[plural][key] for key in self.owned_by.get((plural, uid), ())]

    def create(self, plural: str, body: Json, *, created_at: float | None = None) -> Json:
        """Stores a new object and fills in what the API server fills in. ConflictError when the name is taken."""
        resource = BY_PLURAL[plural]
        new = copy.deepcopy(body)
        meta = new.setdefault("metadata", {})
        key = (meta.get("namespace", ""), meta["name"])
        if key in self.objects[plural]:
            raise ConflictError(f'{plural} "{meta["name"]}" already exists')
        meta["uid"] = str(uuid.uuid4())
        meta["creationTimestamp"] = rfc3339(created_at if created_at is not None else self.clock())
        if "spec" in new and plural != "pods":
            meta["generation"] = 1
        new["apiVersion"], new["kind"] = resource.api_version, resource.kind
        return self._commit(plural, None, new)

    def update(self, plural: str, body: Json, *, expected_version: str | None = None) -> Json:
        """Replaces an object; the generation rises when the spec changed. ConflictError on a stale version."""
        meta = body["metadata"]
        before = self.objects[plural].get((meta.get("namespace", ""), meta["name"]))
        if before is None:
            raise KeyError(meta["name"])
        if expected_version and expected_version != before["metadata"]["resourceVersion"]:
            raise ConflictError(meta["name"])
        new = with_generation(before, copy.deepcopy(body))
        if {**new, "metadata": {**new["metadata"], "resourceVersion": ""}} == {
            **before,
            "metadata": {**before["metadata"], "resourceVersion": ""},
        }:
            return before
        return self._commit(plural, before, new)

    def set_status(self, plural: str, body: Json, status: Json) -> Json:
        """Writes only the status of the stored object with that name; nothing when it is gone or unchanged."""
        meta = body["metadata"]
        current = self.get(plural, meta.get("namespace", ""), meta["name"])
        if current is None or current["metadata"]["uid"] != meta["uid"]:
            return body
        # The controller writes every status on every pass: what is the same is not even copied.
        if current.get("status") == status:
            return current
        return self._commit(
            plural, current, {**current, "metadata": {**current["metadata"]}, "status": copy.deepcopy(status)}
        )

    def delete(self, plural: str, namespace: str, name: str) -> Json | None:
        body = self.objects[plural].get((namespace, name))
        if body is not None:
            self._commit(plural, body, None)
        return body

    def _commit(self, plural: str, before: Json | None, after: Json | None) -> Json:
        self.version += 1
        body = after if after is not None else before
        assert body is not None  # noqa: S101  one of the two is always given
        meta = body["metadata"]
        key = (meta.get("namespace", ""), meta["name"])
        self._index(plural, key, before, after)
        if after is None:
            gone = {**body, "metadata": {**meta, "resourceVersion": str(self.version)}}
            self.objects[plural].pop(key)
            self._remember(Change(self.version, plural, gone, None))
            return gone
        meta["resourceVersion"] = str(self.version)
        if plural in STAMPED and before is not None:
            entry = {
                "manager": "client",
                "operation": "Update",
                "time": rfc3339(self.clock()),
                "fieldsType": "FieldsV1",
            }
            meta["managedFields"] = [entry]
        self.objects[plural][key] = after
        self._remember(Change(self.version, plural, before, after))
        return after

    def _index(self, plural: str, key: tuple[str, str], before: Json | None, after: Json | None) -> None:
        old, new = (controller_of(body) if body else "" for body in (before, after))
        if old != new:
            if old:
                self.owned_by.get((plural, old), {}).pop(key, None)
            if new:
                self.owned_by.setdefault((plural, new), {})[key] = None

    def _remember(self, change: Change) -> None:
        if len(self.history) == self.history.maxlen:
            self.compacted = self.history[0].version
        self.history.append(change)
        self.changed.set()
        self.changed = asyncio.Event()

    def compact(self) -> None:
        """Forgets the watch history, as etcd does every few minutes; older versions then answer 410."""
        self.history.clear()
        self.compacted = self.version

    def since(self, version: int, plural: str) -> list[Change]:
        """The changes of a kind after `version`. GoneError when part of them is forgotten."""
        if version < self.compacted:
            raise GoneError(f"too old resource version: {version} ({self.compacted})")
        if not self.history or self.history[-1].version <= version:
            return []
        return [c for c in self.history if c.version > version and c.plural == plural]


def controller_of(body: Json) -> str:
    """The uid of the object's controller, "" where it has none."""
    for owner in body["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            uid: str = owner["uid"]
            return uid
    return ""


def with_generation(before: Json, after: Json) -> Json:
    """`after` with the identity of `before`, its generation one higher when the spec differs."""
    old = before["metadata"]
    kept = {k: old[k] for k in ("uid", "creationTimestamp", "resourceVersion", "generation") if k in old}
    if "generation" in old and after.get("spec") != before.get("spec"):
        kept["generation"] = old["generation"] + 1
    after["metadata"] = {**after["metadata"], **kept}
    return after
