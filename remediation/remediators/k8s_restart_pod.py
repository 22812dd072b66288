"""Deletes one failing pod of several, so that its controller makes a new one. What the pod held in memory is gone."""

# ruff: noqa: ARG001  entries of the catalogue are functions of one signature each

from collections.abc import Mapping
from typing import Any

from knowledge.errors import NotFound, Unavailable
from knowledge.model import Action, Outcome, Risk, Verification
from remediation import kube
from remediation.context import WORKLOADS, Context
from remediation.ports import Clients, Json
from remediation.registry import (
    NotOffered,
    Parameters,
    Preflight,
    Preview,
    Remediator,
    check,
    judged,
    parameters_as,
)
from remediation.remediators._workload import cluster_of, fetch, health_checks, look, snapshot_of

START_SECONDS = 60


class RestartPod(Parameters):
    """The pod by name and uid: another pod that took the name is never touched."""

    pod: str
    uid: str


def _propose(context: Context) -> Action | NotOffered:
    failing = [p for p in context.pods if kube.is_failing(p) and not _starting(p, context)]
    if not failing:
        return NotOffered("no pod is failing now")
    if len(failing) == len(context.pods):
        return NotOffered("every pod fails, so a new one would meet the same cause")
    named = [p for p in failing if kube.name_of(p) == context.failing_pod]
    # Of several, the one that restarted most; the name decides a tie so that two looks propose the same.
    pod = named[0] if named else max(failing, key=lambda p: (kube.restarts(p), kube.name_of(p)))
    if kube.controller(pod) is None:
        return NotOffered("the pod has no controller that would make a new one")
    return Action(NAME, context.target, {"pod": kube.name_of(pod), "uid": kube.uid_of(pod)})


def _starting(pod: Json, context: Context) -> bool:
    """A young pod that nothing is known against is not failing yet."""
    born = kube.created_at(pod)
    young = born is not None and (context.looked_at - born).total_seconds() < START_SECONDS
    return young and not kube.failing_reason(pod) and kube.restarts(pod) == 0


def _preview(action: Action, context: Context) -> Preview:
    pod, target = action.parameters["pod"], action.target
    sentence = f"Delete pod {pod}; {target.kind} {target.name} makes a new one in its place."
    return Preview(sentence, f"- pod/{pod}\n+ pod/(a new one from the same template)", f"1 of {len(context.pods)} pods")


async def _preflight(action: Action, clients: Clients) -> Preflight:
    wanted = RestartPod.model_validate(dict(action.parameters))
    state = await fetch(action, clients)
    pod = next((p for p in state["pods"] if kube.uid_of(p) == wanted.uid), None)
    if pod is None:
        return Preflight(False, {}, f"Pod {wanted.pod} is gone already; nothing was done.")
    if kube.controller(pod) is None:
        return Preflight(False, {}, f"Pod {wanted.pod} has no controller, so deleting it would lose it for good.")
    if pod["metadata"].get("deletionTimestamp"):
        return Preflight(False, {}, f"Pod {wanted.pod} is being deleted already; nothing was done.")
    if not kube.is_failing(pod):
        return Preflight(False, {}, f"Pod {wanted.pod} is ready again; nothing was done.")
    if not any(kube.is_ready(p) for p in state["pods"]):
        return Preflight(False, {}, "No pod is ready any more, so one new pod would not help; nothing was done.")
    return Preflight(True, {**snapshot_of(state), "pod": wanted.pod, "pod_uid": wanted.uid}, "")


async def _dry_run(action: Action, clients: Clients) -> Outcome:
    wanted = parameters_as(RestartPod, action)
    target = action.target
    await cluster_of(clients).delete_pod(target.cluster, target.namespace, wanted.pod, uid=wanted.uid, dry_run=True)
    return Outcome(True, False, f"Dry run: the cluster would delete pod {wanted.pod}.")


async def _execute(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome:
    target, pod, uid = action.target, str(snapshot["pod"]), str(snapshot["pod_uid"])
    try:
        await cluster_of(clients).delete_pod(target.cluster, target.namespace, pod, uid=uid)
    except NotFound:
        return Outcome(True, True, f"Pod {pod} was gone already.", {"uid": uid})
    return Outcome(True, True, f"Pod {pod} was deleted.", {"uid": uid})


async def _settled(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome | None:
    target, pod, uid = action.target, str(snapshot["pod"]), str(snapshot["pod_uid"])
    happened = Outcome(True, True, f"Pod {pod} was deleted.", {"uid": uid})
    try:
        found = await cluster_of(clients).get(target.cluster, "Pod", target.namespace, pod)
    except NotFound:
        return happened
    except Unavailable:
        return None
    if kube.uid_of(found) != uid or found["metadata"].get("deletionTimestamp"):
        return happened
    return Outcome(False, False, f"Pod {pod} was not deleted.")


def _verify(action: Action, snapshot: Mapping[str, Any], state: Json) -> Verification:
    old = [p for p in state.get("pods", []) if kube.uid_of(p) == snapshot.get("pod_uid")]
    gone = check("old pod", "gone", "still there" if old else "gone", not old)
    return judged([gone, *health_checks(snapshot, state)], "The new pod is ready and nothing restarted since.")


NAME = "k8s_restart_pod"
REMEDIATOR = Remediator(
    name=NAME,
    title="Restart the failing pod",
    risk=Risk.LOW,
    expected_seconds=60,
    settle_seconds=10,
    deadline_seconds=600,
    parameters=RestartPod,
    permissions=("pods: get, list, delete", "deployments, replicasets, statefulsets, daemonsets: get"),
    target_kinds=frozenset(WORKLOADS),
    propose=_propose,
    preview=_preview,
    dry_run=_dry_run,
    preflight=_preflight,
    execute=_execute,
    settled=_settled,
    look=look,
    verify=_verify,
)
