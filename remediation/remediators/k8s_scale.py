"""More replicas for an overloaded workload, within the service's limit and at most twice as many."""

# ruff: noqa: ARG001  entries of the catalogue are functions of one signature each

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from knowledge.model import Action, Outcome, Risk, Verification
from remediation import kube
from remediation.context import Context
from remediation.policy import Policy, service_of
from remediation.ports import Clients, Json
from remediation.registry import (
    Editable,
    NotOffered,
    Parameters,
    Preflight,
    Preview,
    Remediator,
    check,
    judged,
    parameters_as,
)
from remediation.remediators._workload import (
    fetch,
    health_checks,
    look,
    marked,
    patch,
    put_back,
    settled_by_mark,
    snapshot_of,
    unchanged,
    undone_by_value,
    workload_of,
)


class Scale(Parameters):
    """From `was` to `replicas`; `limit` is the service's max_replicas when it was proposed."""

    replicas: Annotated[int, Field(ge=1, le=1000)]
    was: Annotated[int, Field(ge=1, le=1000)]
    limit: Annotated[int, Field(ge=1, le=1000)]


def _propose(context: Context) -> Action | NotOffered:
    if context.workload is None:
        return NotOffered("the workload could not be looked at")
    if context.autoscalers:
        return NotOffered(f"autoscaler {kube.name_of(context.autoscalers[0])} sets the number of replicas")
    was = kube.replicas_of(context.workload)
    if was < 1:
        return NotOffered("it is scaled to zero on purpose")
    replicas = min(was * 2, context.max_replicas)
    if replicas <= was:
        return NotOffered(f"it has {was} replicas already and the service's max_replicas is {context.max_replicas}")
    return Action(NAME, context.target, {"replicas": replicas, "was": was, "limit": context.max_replicas})


def _preview(action: Action, context: Context) -> Preview:
    was, replicas = action.parameters["was"], action.parameters["replicas"]
    sentence = f"Scale {action.target.kind} {action.target.name} from {was} to {replicas} replicas."
    return Preview(sentence, f"- spec.replicas: {was}\n+ spec.replicas: {replicas}", f"{replicas - was} more pods")


def _editable(action: Action, policy: Policy) -> tuple[Editable, ...]:
    was, service = int(action.parameters["was"]), service_of(policy, action.target)
    limit = min(int(action.parameters["limit"]), service.max_replicas if service else 1)
    because = f"max_replicas of {action.target.service} is {limit}"
    if 2 * was < limit:
        because = f"there are {was} now, and at most twice as many may run"
    return (Editable("replicas", "Replicas", was + 1, min(limit, 2 * was), because),)


def _operations(snapshot: Mapping[str, Any], to: int, execution_id: int) -> Sequence[Json]:
    return [
        *unchanged(snapshot),
        {"op": "test", "path": "/spec/replicas", "value": snapshot["replicas"]},
        {"op": "replace", "path": "/spec/replicas", "value": to},
        *marked(bool(snapshot["annotated"]), execution_id),
    ]


async def _preflight(action: Action, clients: Clients) -> Preflight:
    wanted = parameters_as(Scale, action)
    state = await fetch(action, clients)
    now = kube.replicas_of(state["workload"])
    if state["autoscalers"]:
        name = kube.name_of(state["autoscalers"][0])
        return Preflight(False, {}, f"Autoscaler {name} sets the number of replicas by now; nothing was done.")
    if now != wanted.was:
        return Preflight(False, {}, f"It has {now} replicas by now, not {wanted.was}; nothing was done.")
    if not now < wanted.replicas <= min(wanted.limit, 2 * now):
        return Preflight(
            False, {}, f"{wanted.replicas} replicas are outside {now + 1} to {min(wanted.limit, 2 * now)}."
        )
    return Preflight(True, {**snapshot_of(state), "to": wanted.replicas}, "")


async def _dry_run(action: Action, clients: Clients) -> Outcome:
    ready = await _preflight(action, clients)
    if not ready.ok:
        return Outcome(False, False, ready.reason)
    await patch(action, _operations(ready.snapshot, int(ready.snapshot["to"]), 0), clients, dry_run=True)
    return Outcome(True, False, f"Dry run: the cluster would accept {ready.snapshot['to']} replicas.")


async def _execute(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome:
    to = int(snapshot["to"])
    await patch(action, _operations(snapshot, to, execution_id), clients)
    return _done(snapshot)


def _done(snapshot: Mapping[str, Any]) -> Outcome:
    to = int(snapshot["to"])
    return Outcome(True, True, f"Scaled from {snapshot['replicas']} to {to} replicas.", {"replicas": to})


async def _settled(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome | None:
    nothing = "The number of replicas was not changed."
    return await settled_by_mark(action, snapshot, execution_id, clients, done=_done(snapshot), nothing=nothing)


def _verify(action: Action, snapshot: Mapping[str, Any], state: Json) -> Verification:
    now = kube.replicas_of(state["workload"]) if state.get("workload") else 0
    ours = check("replicas", str(snapshot.get("to")), str(now), now == snapshot.get("to"), otherwise="not_verified")
    return judged([ours, *health_checks(snapshot, state)], f"All {now} replicas are ready.")


async def _undo(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome:
    was, to = int(snapshot["replicas"]), int(snapshot["to"])
    operations: list[Json] = [
        {"op": "test", "path": "/spec/replicas", "value": to},
        {"op": "replace", "path": "/spec/replicas", "value": was},
    ]
    return await put_back(action, snapshot, operations, clients, done=_back(was))


def _back(was: int) -> Outcome:
    return Outcome(True, True, f"Scaled back to {was} replicas.", {"replicas": was})


async def _undone(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome | None:
    found, was, to = await workload_of(action.target, clients), int(snapshot["replicas"]), int(snapshot["to"])
    still = f"It still has {to} replicas."
    return undone_by_value(found, snapshot, kube.replicas_of(found), was=was, ours=to, done=_back(was), still=still)


NAME = "k8s_scale"
REMEDIATOR = Remediator(
    name=NAME,
    title="Scale up",
    risk=Risk.LOW,
    expected_seconds=90,
    settle_seconds=10,
    deadline_seconds=900,
    parameters=Scale,
    permissions=(
        "deployments, statefulsets: get, patch",
        "horizontalpodautoscalers, scaledobjects, pods: list",
    ),
    target_kinds=frozenset({"Deployment", "StatefulSet"}),
    propose=_propose,
    preview=_preview,
    dry_run=_dry_run,
    preflight=_preflight,
    execute=_execute,
    settled=_settled,
    look=look,
    verify=_verify,
    undo=_undo,
    undone=_undone,
    undo_text="scales back to the number of replicas it had",
    needs_signal=True,
    editable=_editable,
    changes_spec=True,
)
