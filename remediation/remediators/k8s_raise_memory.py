"""A higher memory limit for the container that was killed for its memory: one step, never above the policy's cap."""

# ruff: noqa: ARG001  entries of the catalogue are functions of one signature each

from collections.abc import Mapping
from typing import Any

from knowledge.model import Action, Outcome, Risk, Verification
from remediation import budgets, kube
from remediation.context import WORKLOADS, Context
from remediation.policy import Policy, service_of
from remediation.ports import Clients, Json
from remediation.quantities import MI, amount_of, memory_text
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

# Half as much again: enough for ordinary growth, and a leak is not hidden for long.
STEP_NUMERATOR, STEP_DENOMINATOR = 3, 2
ROUND_TO = 64 * MI


class RaiseMemory(Parameters):
    """A container's limit from `was` to `limit`, at most `cap` (the policy's when it was proposed).

    `request` and `request_was` are equal where the request stays as it is, "" where the container states none.
    """

    container: str
    was: str
    limit: str
    request_was: str
    request: str
    cap: str


def _propose(context: Context) -> Action | NotOffered:
    workload = context.workload
    if workload is None:
        return NotOffered("the workload could not be looked at")
    if not amount_of(context.memory_cap):
        return NotOffered("policy.yaml names no max_memory for the service and no limits.memory_cap")
    if context.memory_setters:
        return NotOffered(f"the vertical autoscaler {context.memory_setters[0]} sets its memory")
    hindrance = kube.rollout_hindrance(workload)
    if hindrance:
        return NotOffered(hindrance)
    name = kube.memory_killed(context.pods, context.failing_since)
    template = kube.template_of(workload)
    place = kube.container_place(template, name)
    if place is None:
        return NotOffered("no container of its pods was killed for its memory lately")
    container = kube.containers(template)[place]
    was = amount_of(kube.memory_of(container, "limits"))
    if not was:
        return NotOffered(f"container {name} states no memory limit of its own, so the node or a LimitRange ended it")
    if _killed_with_less(context, name, was):
        return NotOffered("the pods that were killed had less than its limit is by now")
    parameters = _raised(container, was, context.memory_cap)
    if parameters is None:
        return NotOffered(
            f"its memory limit is {memory_text(was)} already and the policy's cap is {context.memory_cap}"
        )
    refusal = budgets.refusal(template, _growth(parameters), workload, context.budgets)
    if refusal:
        return NotOffered(refusal)
    return Action(NAME, context.target, parameters.model_dump())


def _killed_with_less(context: Context, name: str, limit: int) -> bool:
    """Whether the limit was raised since: no killed pod had the present one."""
    killed = [pod for pod in context.pods if kube.memory_killed([pod], context.failing_since) == name]
    own = [amount_of(kube.memory_of(c, "limits")) for pod in killed for c in kube.containers(pod) if c["name"] == name]
    return bool(own) and all(size is not None and size < limit for size in own)


def _raised(container: Json, was: int, cap: str) -> RaiseMemory | None:
    """One step up, at most twice as much and at most the cap; None where the cap leaves no room for one."""
    step = -(-was * STEP_NUMERATOR // STEP_DENOMINATOR // ROUND_TO) * ROUND_TO
    # In whole Mi, as it is written, so that writing it does not round it up past either bound.
    limit = min(max(step, was + ROUND_TO), 2 * was, amount_of(cap) or 0) // MI * MI
    if limit <= was:
        return None
    request_was = kube.memory_of(container, "requests")
    # Equal ones are kept equal: the pod would lose its guaranteed class otherwise.
    request = memory_text(limit) if amount_of(request_was) == was else request_was
    return RaiseMemory(
        container=str(container["name"]),
        was=kube.memory_of(container, "limits"),
        limit=memory_text(limit),
        request_was=request_was,
        request=request,
        cap=cap,
    )


def _growth(wanted: RaiseMemory) -> budgets.Growth:
    was, limit = amount_of(wanted.was) or 0, amount_of(wanted.limit) or 0
    # Without a request of its own the limit counts as one.
    request_was, request = (amount_of(text) if text else None for text in (wanted.request_was, wanted.request))
    return budgets.Growth(wanted.container, was, limit, request_was or was, request or limit)


def _preview(action: Action, context: Context) -> Preview:
    wanted, target = parameters_as(RaiseMemory, action), action.target
    sentence = (
        f"Raise the memory limit of container {wanted.container} of {target.kind} {target.name} "
        f"from {wanted.was} to {wanted.limit} (cap {wanted.cap}); its pods are replaced one after the other."
    )
    lines = [f"- limits.memory: {wanted.was}", f"+ limits.memory: {wanted.limit}"]
    if wanted.request != wanted.request_was:
        lines += [f"- requests.memory: {wanted.request_was}", f"+ requests.memory: {wanted.request}"]
    return Preview(sentence, "\n".join(lines), f"all {len(context.pods)} pods, one after the other")


def _editable(action: Action, policy: Policy) -> tuple[Editable, ...]:
    wanted, service = parameters_as(RaiseMemory, action), service_of(policy, action.target)
    was, limit = amount_of(wanted.was) or 0, amount_of(wanted.limit)
    allowed = amount_of((service.max_memory if service else "") or policy.limits.memory_cap) or 0
    cap = min(amount_of(wanted.cap) or 0, allowed)
    because = f"the policy's cap is {memory_text(cap)}"
    if 2 * was < cap:
        because = f"it is {wanted.was} now, and at most twice as much is given"
    # Where the request is the limit, it stays so.
    also = ("request",) if wanted.request != wanted.request_was and amount_of(wanted.request) == limit else ()
    high = min(cap, 2 * was) // MI
    return (Editable("limit", "Memory limit in Mi", was // MI + 1, high, because, unit="Mi", also=also),)


async def _preflight(action: Action, clients: Clients) -> Preflight:
    wanted = parameters_as(RaiseMemory, action)
    was, limit, cap = (amount_of(text) or 0 for text in (wanted.was, wanted.limit, wanted.cap))
    if not was < limit <= min(cap, 2 * was):
        allowed = memory_text(min(cap, 2 * was))
        return Preflight(False, {}, f"A limit of {wanted.limit} is not between {wanted.was} and {allowed}.")
    state = await fetch(action, clients)
    workload = state["workload"]
    hindrance = kube.rollout_hindrance(workload)
    if hindrance:
        return Preflight(False, {}, f"Nothing was done: {hindrance}.")
    template = kube.template_of(workload)
    place = kube.container_place(template, wanted.container)
    if place is None:
        return Preflight(False, {}, f"There is no container {wanted.container} any more; nothing was done.")
    container = kube.containers(template)[place]
    now = (kube.memory_of(container, "limits"), kube.memory_of(container, "requests"))
    if now != (wanted.was, wanted.request_was):
        return Preflight(False, {}, f"Its memory limit is {now[0] or 'gone'} by now, not {wanted.was}.")
    return Preflight(True, {**snapshot_of(state), "place": place, **wanted.model_dump()}, "")


def _operations(snapshot: Mapping[str, Any], *, back: bool = False) -> list[Json]:
    """Tests and replacements of limit and request; `back` exchanges their directions."""
    here = f"/spec/template/spec/containers/{snapshot['place']}"
    pairs = [("limits", snapshot["was"], snapshot["limit"])]
    if snapshot["request"] != snapshot["request_was"]:
        pairs.append(("requests", snapshot["request_was"], snapshot["request"]))
    operations: list[Json] = [{"op": "test", "path": f"{here}/name", "value": snapshot["container"]}]
    for kind, was, to in pairs:
        old, new = (to, was) if back else (was, to)
        path = f"{here}/resources/{kind}/memory"
        operations += [{"op": "test", "path": path, "value": old}, {"op": "replace", "path": path, "value": new}]
    return operations


async def _dry_run(action: Action, clients: Clients) -> Outcome:
    ready = await _preflight(action, clients)
    if not ready.ok:
        return Outcome(False, False, ready.reason)
    await patch(action, [*unchanged(ready.snapshot), *_operations(ready.snapshot)], clients, dry_run=True)
    return Outcome(True, False, f"Dry run: the cluster would accept a limit of {ready.snapshot['limit']}.")


async def _execute(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome:
    marks = marked(bool(snapshot["annotated"]), execution_id)
    await patch(action, [*unchanged(snapshot), *_operations(snapshot), *marks], clients)
    return _done(snapshot)


def _done(snapshot: Mapping[str, Any]) -> Outcome:
    detail = f"Raised the memory limit of {snapshot['container']} from {snapshot['was']} to {snapshot['limit']}."
    return Outcome(True, True, detail, {"limit": snapshot["limit"]})


async def _settled(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome | None:
    nothing = "The memory limit was not changed."
    return await settled_by_mark(action, snapshot, execution_id, clients, done=_done(snapshot), nothing=nothing)


def _limit_now(snapshot: Mapping[str, Any], workload: Json) -> str:
    limits = {c["name"]: kube.memory_of(c, "limits") for c in kube.containers(kube.template_of(workload))}
    return limits.get(snapshot["container"], "gone")


def _verify(action: Action, snapshot: Mapping[str, Any], state: Json) -> Verification:
    now = _limit_now(snapshot, state.get("workload") or {})
    same = amount_of(now) == amount_of(snapshot["limit"])
    ours = check("memory limit", str(snapshot["limit"]), now, same, otherwise="not_verified")
    return judged([ours, *health_checks(snapshot, state)], f"All pods are ready with a limit of {now}.")


async def _undo(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome:
    return await put_back(action, snapshot, _operations(snapshot, back=True), clients, done=_back(snapshot))


def _back(snapshot: Mapping[str, Any]) -> Outcome:
    return Outcome(True, True, f"The memory limit is {snapshot['was']} again.", {"limit": snapshot["was"]})


async def _undone(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome | None:
    found = await workload_of(action.target, clients)
    now, was, ours = (amount_of(text) for text in (_limit_now(snapshot, found), snapshot["was"], snapshot["limit"]))
    still = f"The memory limit is still {snapshot['limit']}."
    return undone_by_value(found, snapshot, now, was=was, ours=ours, done=_back(snapshot), still=still)


NAME = "k8s_raise_memory"
REMEDIATOR = Remediator(
    name=NAME,
    title="Raise the memory limit",
    risk=Risk.MEDIUM,
    expected_seconds=120,
    settle_seconds=15,
    deadline_seconds=900,
    parameters=RaiseMemory,
    permissions=(
        "deployments, statefulsets, daemonsets: get, patch",
        "replicasets, controllerrevisions, pods, limitranges, resourcequotas, verticalpodautoscalers: list",
    ),
    target_kinds=frozenset(WORKLOADS),
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
    undo_text="puts the memory limit back to what it was",
    editable=_editable,
    changes_spec=True,
    replaces_pods=True,
)
