"""Puts a deployment back to the previous different revision that ran, by that revision's own pod template."""

# ruff: noqa: ARG001  entries of the catalogue are functions of one signature each

import difflib
from collections.abc import Mapping
from typing import Annotated, Any

import yaml
from pydantic import Field

from knowledge.errors import Conflict, NotFound
from knowledge.model import Action, Outcome, Risk, Verification
from knowledge.redaction import redact
from remediation import kube
from remediation.context import Context
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
from remediation.remediators._workload import (
    cluster_of,
    fetch,
    health_checks,
    left_alone,
    look,
    marked,
    patch,
    settled_by_mark,
    snapshot_of,
    unchanged,
    workload_of,
)

MAX_DIFF_LINES = 40


class Rollback(Parameters):
    """To one replica set by name and uid; the images are what a person reads and approves."""

    to_revision: Annotated[int, Field(ge=1)]
    from_revision: Annotated[int, Field(ge=1)]
    replica_set: str
    replica_set_uid: str
    images: list[str]


def _propose(context: Context) -> Action | NotOffered:
    if context.workload is None:
        return NotOffered("the workload could not be looked at")
    hindrance = kube.rollout_hindrance(context.workload)
    if hindrance:
        return NotOffered(hindrance)
    replica_sets = list(context.replica_sets)
    current = kube.current_replica_set(context.workload, replica_sets)
    goal = kube.last_healthy(context.workload, replica_sets)
    if current is None or goal is None:
        return NotOffered("there is no earlier, different revision that is known to have run")
    parameters = {
        "to_revision": kube.revision_of(goal),
        "from_revision": kube.revision_of(current),
        "replica_set": kube.name_of(goal),
        "replica_set_uid": kube.uid_of(goal),
        "images": list(kube.images(kube.template_of(goal))),
    }
    return Action(NAME, context.target, parameters)


def _preview(action: Action, context: Context) -> Preview:
    target, parameters = action.target, action.parameters
    goal = next((r for r in context.replica_sets if kube.uid_of(r) == parameters["replica_set_uid"]), None)
    # The registry is in the diff; a card has few lines.
    back = ", ".join(image.rpartition("/")[2] for image in parameters["images"])
    sentence = (
        f"Roll {target.kind} {target.name} back from revision {parameters['from_revision']} "
        f"to {parameters['to_revision']} ({back})."
    )
    lies = context.between
    diff = template_diff(context.workload, goal) if context.workload and goal else ""
    return Preview(
        " ".join(filter(None, (sentence, redact(lies.words) if lies else ""))),
        diff,
        f"all {len(context.pods)} pods, one after the other",
        twice=redact(lies.twice) if lies else "It is not known what lies between the two revisions.",
    )


def template_diff(present: Json, goal: Json) -> str:
    """What changes in the pod template, as a unified diff of at most 40 lines, secrets cut out."""
    before, after = (
        yaml.safe_dump(kube.template_of(body), sort_keys=True, default_flow_style=False).splitlines()
        for body in (present, goal)
    )
    lines = list(difflib.unified_diff(before, after, "now", "after", n=1, lineterm=""))
    more = len(lines) - MAX_DIFF_LINES
    shown = lines[:MAX_DIFF_LINES] + ([f"… {more} more lines"] if more > 0 else [])
    return redact("\n".join(shown))


async def _preflight(action: Action, clients: Clients) -> Preflight:
    wanted = parameters_as(Rollback, action)
    state = await fetch(action, clients)
    current = kube.current_replica_set(state["workload"], state["replica_sets"])
    goal = next((r for r in state["replica_sets"] if kube.uid_of(r) == wanted.replica_set_uid), None)
    if goal is None:
        return Preflight(False, {}, f"Revision {wanted.to_revision} is not kept any more; nothing was done.")
    if current is None or kube.revision_of(current) != wanted.from_revision:
        now = kube.revision_of(current) if current else "unknown"
        return Preflight(False, {}, f"Revision {now} runs by now, not {wanted.from_revision}; nothing was done.")
    if list(kube.images(kube.template_of(goal))) != wanted.images:
        return Preflight(False, {}, f"Revision {wanted.to_revision} has other images than approved; nothing was done.")
    if (state["workload"].get("spec") or {}).get("paused"):
        return Preflight(False, {}, "The rollout is paused by a person; nothing was done.")
    snapshot = {
        **snapshot_of(state),
        "goal": kube.name_of(goal),
        "goal_uid": kube.uid_of(goal),
        "goal_revision": wanted.to_revision,
        "came_from": kube.name_of(current),
        "came_from_uid": kube.uid_of(current),
        "came_from_revision": wanted.from_revision,
    }
    return Preflight(True, snapshot, "")


async def _template(action: Action, clients: Clients, name: str, uid: str) -> Json:
    """The kept pod template of a revision. Conflict when the replica set is another one by now."""
    target = action.target
    found = await cluster_of(clients).get(target.cluster, "ReplicaSet", target.namespace, name)
    if kube.uid_of(found) != uid:
        raise Conflict(f"Replica set {name} is another one by now. Diagnose again.")
    return kube.template_of(found)


async def _patch(
    action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients, *, dry_run: bool
) -> None:  # fmt: skip
    template = await _template(action, clients, str(snapshot["goal"]), str(snapshot["goal_uid"]))
    operations = [
        *unchanged(snapshot),
        {"op": "replace", "path": "/spec/template", "value": template},
        *marked(bool(snapshot["annotated"]), execution_id),
    ]
    await patch(action, operations, clients, dry_run=dry_run)


async def _dry_run(action: Action, clients: Clients) -> Outcome:
    ready = await _preflight(action, clients)
    if not ready.ok:
        return Outcome(False, False, ready.reason)
    await _patch(action, ready.snapshot, 0, clients, dry_run=True)
    return Outcome(True, False, f"Dry run: the cluster would accept revision {ready.snapshot['goal_revision']}.")


async def _execute(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome:
    await _patch(action, snapshot, execution_id, clients, dry_run=False)
    return _done(snapshot)


def _done(snapshot: Mapping[str, Any]) -> Outcome:
    detail = f"Rolled back from revision {snapshot['came_from_revision']} to {snapshot['goal_revision']}."
    return Outcome(True, True, detail, {"replica_set": snapshot["goal"]})


async def _settled(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome | None:
    nothing = "The deployment was not changed."
    return await settled_by_mark(action, snapshot, execution_id, clients, done=_done(snapshot), nothing=nothing)


def _verify(action: Action, snapshot: Mapping[str, Any], state: Json) -> Verification:
    workload = state.get("workload")
    goal = next((r for r in state.get("replica_sets", []) if kube.uid_of(r) == snapshot.get("goal_uid")), None)
    runs = bool(workload and goal and kube.same_template(goal, workload))
    limit = f"that of revision {snapshot.get('goal_revision')}"
    ours = check("pod template", limit, "as approved" if runs else "another one", runs, otherwise="not_verified")
    return judged([ours, *health_checks(snapshot, state)], "The earlier revision runs and all its pods are ready.")


async def _undo(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome:
    """Forward again to the revision that ran before, only while the template is still the one that we set."""
    cluster, target = cluster_of(clients), action.target
    left = left_alone(action)
    try:
        template = await _template(action, clients, str(snapshot["came_from"]), str(snapshot["came_from_uid"]))
        goal = await _template(action, clients, str(snapshot["goal"]), str(snapshot["goal_uid"]))
        found = await cluster.get(target.cluster, target.kind, target.namespace, target.name)
        if kube.uid_of(found) != snapshot["uid"] or not kube.same_template({"spec": {"template": goal}}, found):
            return left
        operations = [*unchanged(snapshot_of({"workload": found, "pods": []})),
                      {"op": "replace", "path": "/spec/template", "value": template}]  # fmt: skip
        await patch(action, operations, clients)
    except (Conflict, NotFound):
        return left
    return Outcome(True, True, f"Forward again to what was revision {snapshot['came_from_revision']}.")


async def _undone(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome | None:
    """By the template alone: the one from before is undone, ours is not, another one was set by somebody else."""
    target = action.target
    found = await workload_of(target, clients)
    before = await _template(action, clients, str(snapshot["came_from"]), str(snapshot["came_from_uid"]))
    ours = await _template(action, clients, str(snapshot["goal"]), str(snapshot["goal_uid"]))
    if kube.uid_of(found) != snapshot["uid"]:
        return None
    if kube.same_template({"spec": {"template": before}}, found):
        return Outcome(True, True, f"Forward again to what was revision {snapshot['came_from_revision']}.")
    if kube.same_template({"spec": {"template": ours}}, found):
        return Outcome(False, False, f"Revision {snapshot['goal_revision']} still runs.")
    return None


NAME = "k8s_rollback"
REMEDIATOR = Remediator(
    name=NAME,
    title="Roll back to the previous revision",
    risk=Risk.MEDIUM,
    expected_seconds=120,
    settle_seconds=15,
    deadline_seconds=900,
    parameters=Rollback,
    permissions=("deployments: get, patch", "replicasets, pods: get, list", "jobs: list"),
    target_kinds=frozenset({"Deployment"}),
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
    undo_text="rolls forward again to the revision that runs now",
    changes_spec=True,
    replaces_pods=True,
)
