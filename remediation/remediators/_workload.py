"""What the Kubernetes remediators share: fetching a workload's state, and judging whether it is healthy again."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from knowledge.errors import Conflict, Refused, Unavailable
from knowledge.model import Action, Outcome, RuleResult, Target
from remediation import kube, revisions
from remediation.ports import EXECUTION_ANNOTATION, Clients, Cluster, Json
from remediation.registry import check


def cluster_of(clients: Clients) -> Cluster:
    """The connected clusters. Refused when none is configured."""
    if clients.cluster is None:
        raise Refused("No cluster is connected. Set KUBECONFIG, or list clusters in policy.yaml.")
    return clients.cluster


async def workload_of(target: Target, clients: Clients) -> Json:
    """The workload alone. NotFound where it is gone."""
    return await cluster_of(clients).get(target.cluster, target.kind, target.namespace, target.name)


async def fetch(action: Action, clients: Clients) -> Json:
    """The target as it is now: `{"workload", "pods", "replica_sets", "autoscalers"}`."""
    cluster, target = cluster_of(clients), action.target
    workload = await cluster.get(target.cluster, target.kind, target.namespace, target.name)
    found, kept, autoscalers = await asyncio.gather(
        cluster.list(target.cluster, "Pod", target.namespace, labels=kube.selector(workload)),
        revisions.kept(cluster, target, workload),
        revisions.autoscalers(cluster, target, workload),
    )
    pods = kube.without_ended(kube.pods_of(workload, found, kept))
    return {
        "workload": workload,
        "pods": list(pods),
        "replica_sets": revisions.alike(kept, pods),
        "autoscalers": autoscalers,
    }


async def look(action: Action, _snapshot: Mapping[str, Any], clients: Clients) -> Json:
    """What an entry of the catalogue verifies by: the state of `fetch`."""
    return await fetch(action, clients)


def snapshot_of(state: Json) -> dict[str, Any]:
    """What undo and verification compare with: identity, size and how many pods were ready. No environment values.

    `annotated` is for `marked`.
    """
    workload, pods = state["workload"], state["pods"]
    return {
        "uid": kube.uid_of(workload),
        "generation": workload["metadata"].get("generation", 0),
        "annotated": bool(kube.annotations(workload)),
        "replicas": kube.replicas_of(workload),
        "ready": sum(1 for p in pods if kube.is_ready(p)),
        "failing": sum(1 for p in pods if kube.failing_reason(p)),
        "restarts": {kube.uid_of(p): kube.restarts(p) for p in pods},
    }


def unchanged(snapshot: Mapping[str, Any]) -> list[Json]:
    """JSON-patch tests that the workload is the one that was looked at, its spec unchanged since.

    The generation, not the resource version: status updates of a failing workload raise the latter every second.
    """
    return [
        {"op": "test", "path": "/metadata/uid", "value": snapshot["uid"]},
        {"op": "test", "path": "/metadata/generation", "value": snapshot["generation"]},
    ]


def marked(workload_has_annotations: bool, execution_id: int) -> list[Json]:
    """JSON-patch operations that leave the execution's number on the workload."""
    key = EXECUTION_ANNOTATION.replace("~", "~0").replace("/", "~1")
    operations: list[Json] = []
    if not workload_has_annotations:
        operations.append({"op": "add", "path": "/metadata/annotations", "value": {}})
    operations.append({"op": "add", "path": f"/metadata/annotations/{key}", "value": str(execution_id)})
    return operations


def mark_of(workload: Json) -> str:
    return kube.annotations(workload).get(EXECUTION_ANNOTATION, "")


async def patch(action: Action, operations: Sequence[Json], clients: Clients, *, dry_run: bool = False) -> Json:
    """A JSON patch of the target's workload; its tests are the preconditions."""
    target = action.target
    return await cluster_of(clients).patch(
        target.cluster, target.kind, target.namespace, target.name, operations, dry_run=dry_run
    )


async def settled_by_mark(
    action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients, *, done: Outcome, nothing: str
) -> Outcome | None:
    """What the workload shows after a lost answer: `done` with our mark on it, `nothing` while it is as it was."""
    target = action.target
    try:
        found = await workload_of(target, clients)
    except Unavailable:
        return None
    if kube.uid_of(found) == snapshot["uid"] and mark_of(found) == str(execution_id):
        return done
    if kube.uid_of(found) == snapshot["uid"] and found["metadata"].get("generation", 0) == snapshot["generation"]:
        return Outcome(False, False, nothing)
    return None


async def put_back(
    action: Action, snapshot: Mapping[str, Any], operations: Sequence[Json], clients: Clients, *, done: Outcome
) -> Outcome:
    """An undo by a JSON patch that tests that what we set is still there; `left_alone` where it is not."""
    same: Json = {"op": "test", "path": "/metadata/uid", "value": snapshot["uid"]}
    try:
        await patch(action, [same, *operations], clients)
    except Conflict:
        return left_alone(action)
    return done


def undone_by_value(
    workload: Json, snapshot: Mapping[str, Any], now: object, *, was: object, ours: object, done: Outcome, still: str
) -> Outcome | None:
    """What a value shows of an undo: `done` where it is what it was, `still` where it is what we set.

    By the value alone: whoever set it back, there is nothing left to undo. None where it is a third one, or the
    workload another.
    """
    if kube.uid_of(workload) != snapshot["uid"] or now not in {was, ours}:
        return None
    return done if now == was else Outcome(False, False, still)


def left_alone(action: Action) -> Outcome:
    """The answer of an undo that found somebody else's change."""
    target = action.target
    return Outcome(
        False, False, f"{target.kind} {target.name} was changed by somebody else since; it was left as it is."
    )


def health_checks(snapshot: Mapping[str, Any], state: Json) -> list[RuleResult]:
    """Rollout complete, all wanted pods ready, none restarting since, and nothing worse than before."""
    workload, pods = state.get("workload"), state.get("pods", [])
    if not workload:
        return [check("target", "there", "it could not be looked at", False)]
    same = kube.uid_of(workload) == snapshot.get("uid")
    wanted = kube.replicas_of(workload)
    ready = sum(1 for p in pods if kube.is_ready(p))
    checks = [
        check(
            "target",
            "the same object",
            "the same" if same else "another one of this name",
            same,
            otherwise="not_verified",
        ),
        rollout_check(workload),
        check("pods ready", str(wanted), str(ready), wanted > 0 and ready >= wanted),
        _no_new_restarts(snapshot, pods),
    ]
    return [*checks, *_not_worse(snapshot, pods, ready)]


def rollout_check(workload: Json) -> RuleResult:
    """The template of now has reached every wanted pod, and no other is left."""
    status = workload.get("status") or {}
    generation = workload["metadata"].get("generation", 0)
    seen = int(status.get("observedGeneration", 0))
    wanted = kube.replicas_of(workload)
    updated = int(status.get("updatedReplicas", status.get("updatedNumberScheduled", 0)) or 0)
    total = int(status.get("replicas", status.get("currentNumberScheduled", 0)) or 0)
    done = seen >= generation and updated >= wanted and total <= wanted
    return check("rollout", f"{wanted} updated, none left over", f"{updated} updated of {total}", done)


def _no_new_restarts(snapshot: Mapping[str, Any], pods: Sequence[Json]) -> RuleResult:
    before: Mapping[str, int] = snapshot.get("restarts") or {}
    more = sum(max(0, kube.restarts(p) - int(before.get(kube.uid_of(p), 0))) for p in pods)
    return check("new container restarts", "0", str(more), more == 0)


def _not_worse(snapshot: Mapping[str, Any], pods: Sequence[Json], ready: int) -> list[RuleResult]:
    """Worse means: fewer pods are ready than before, and new ones are failing for good rather than starting."""
    reasons = sorted({kube.failing_reason(p) for p in pods} - {""})
    failing = sum(1 for p in pods if kube.failing_reason(p))
    before_ready, before_failing = int(snapshot.get("ready", 0)), int(snapshot.get("failing", 0))
    worse = ready < before_ready and failing > before_failing
    if not worse:
        return []
    actual = f"{ready} ready, {failing} failing ({', '.join(reasons)})"
    return [
        check(
            "no worse than before", f"{before_ready} ready, {before_failing} failing", actual, False, otherwise="worse"
        )
    ]
