"""Replaces every pod of a workload by a new one of the same template, as `kubectl rollout restart` does."""

# ruff: noqa: ARG001  entries of the catalogue are functions of one signature each

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from knowledge.model import Action, Outcome, Risk, Verification
from remediation import kube
from remediation.context import WORKLOADS, Context
from remediation.ports import Clients, Json
from remediation.registry import NotOffered, Parameters, Preflight, Preview, Remediator, check, judged
from remediation.remediators._workload import (
    fetch,
    health_checks,
    look,
    marked,
    patch,
    settled_by_mark,
    snapshot_of,
    unchanged,
)


def _propose(context: Context) -> Action | NotOffered:
    if context.workload is None:
        return NotOffered("the workload could not be looked at")
    hindrance = kube.rollout_hindrance(context.workload)
    if hindrance:
        return NotOffered(hindrance)
    if not any(map(kube.is_failing, context.pods)):
        return NotOffered("no pod is failing now")
    return Action(NAME, context.target)


def _preview(action: Action, context: Context) -> Preview:
    target, count = action.target, len(context.pods)
    at_once = _recreates(context.workload or {})
    sentence = (
        f"Restart {target.kind} {target.name}: its {count} pods are replaced "
        f"{'all at once, so it is down meanwhile' if at_once else 'one after the other'}. This cannot be undone."
    )
    diff = f"- {count} pods of {target.name}\n+ {count} new ones from the same template"
    return Preview(sentence, diff, f"all {count} pods, {'at once' if at_once else 'one after the other'}")


def _recreates(workload: Json) -> bool:
    strategy = (workload.get("spec") or {}).get("strategy") or {}
    return bool(strategy.get("type") == "Recreate")


async def _preflight(action: Action, clients: Clients) -> Preflight:
    state = await fetch(action, clients)
    hindrance = kube.rollout_hindrance(state["workload"])
    if hindrance:
        return Preflight(False, {}, f"Nothing was done: {hindrance}.")
    if not any(map(kube.is_failing, state["pods"])):
        return Preflight(False, {}, "Every pod is ready again; nothing was done.")
    return Preflight(True, {**snapshot_of(state), **annotated(state["workload"])}, "")


def annotated(workload: Json) -> dict[str, bool]:
    """Which of the two maps of annotations there are, since a JSON patch must make what it adds to."""
    template = ((workload.get("spec") or {}).get("template") or {}).get("metadata") or {}
    return {"annotated": bool(kube.annotations(workload)), "template_annotated": bool(template.get("annotations"))}


def restarting(snapshot: Mapping[str, Any]) -> list[Json]:
    """JSON-patch operations that make every pod of a template a new one."""
    here = "/spec/template/metadata/annotations"
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    operations: list[Json] = []
    if not snapshot["template_annotated"]:
        operations.append({"op": "add", "path": here, "value": {}})
    key = kube.RESTARTED_AT.replace("/", "~1")
    return [*operations, {"op": "add", "path": f"{here}/{key}", "value": stamp}]


async def _dry_run(action: Action, clients: Clients) -> Outcome:
    ready = await _preflight(action, clients)
    if not ready.ok:
        return Outcome(False, False, ready.reason)
    await patch(action, [*unchanged(ready.snapshot), *restarting(ready.snapshot)], clients, dry_run=True)
    return Outcome(True, False, f"Dry run: the cluster would restart {action.target.kind} {action.target.name}.")


async def _execute(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome:
    marks = marked(bool(snapshot["annotated"]), execution_id)
    await patch(action, [*unchanged(snapshot), *restarting(snapshot), *marks], clients)
    return _done(action)


def _done(action: Action) -> Outcome:
    return Outcome(True, True, f"The restart of {action.target.kind} {action.target.name} has begun.")


async def _settled(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome | None:
    nothing = "It was not restarted."
    return await settled_by_mark(action, snapshot, execution_id, clients, done=_done(action), nothing=nothing)


def replaced(snapshot: Mapping[str, Any], state: Json) -> Verification:
    """Every pod is another one than before, and the workload is well."""
    before: Mapping[str, int] = snapshot.get("restarts") or {}
    old = sum(1 for pod in state.get("pods", []) if kube.uid_of(pod) in before)
    new = check("pods of before", "0", str(old), old == 0)
    return judged([new, *health_checks(snapshot, state)], "Every pod is a new one and ready.")


def _verify(action: Action, snapshot: Mapping[str, Any], state: Json) -> Verification:
    return replaced(snapshot, state)


NAME = "k8s_restart_rollout"
REMEDIATOR = Remediator(
    name=NAME,
    title="Restart all pods, one after the other",
    risk=Risk.MEDIUM,
    expected_seconds=120,
    settle_seconds=15,
    deadline_seconds=900,
    parameters=Parameters,
    permissions=(
        "deployments, statefulsets, daemonsets: get, patch",
        "replicasets, controllerrevisions, pods: list",
        "configmaps: get",
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
    replaces_pods=True,
)
