"""Go on with a rollout that somebody paused and forgot: the example of docs/extending.md."""

from collections.abc import Mapping
from typing import Any

from knowledge.model import Action, FailureKind, Outcome, Risk, Verification
from remediation.context import Context
from remediation.ports import Clients, Json
from remediation.registry import NotOffered, Parameters, Preflight, Preview, Remediator, check, judged
from remediation.remediators import _workload as workloads

RESUME = [{"op": "test", "path": "/spec/paused", "value": True}, {"op": "remove", "path": "/spec/paused"}]
DONE = Outcome(True, True, "The rollout goes on.")


def _paused(workload: Json) -> bool:
    return bool(workload["spec"].get("paused"))


def _propose(context: Context) -> Action | NotOffered:
    if context.workload is None or not _paused(context.workload):
        return NotOffered("its rollout is not paused")
    return Action("k8s_resume_rollout", context.target)


def _preview(action: Action, context: Context) -> Preview:
    sentence = f"Resume the rollout of {action.target.name}, which is paused."
    return Preview(sentence, "- spec.paused: true", f"{len(context.pods)} pods, in turn")


async def _preflight(action: Action, clients: Clients) -> Preflight:
    state = await workloads.fetch(action, clients)
    if not _paused(state["workload"]):
        return Preflight(False, {}, "It is not paused any more; nothing was done.")
    return Preflight(True, workloads.snapshot_of(state), "")


async def _dry_run(action: Action, clients: Clients) -> Outcome:
    await workloads.patch(action, RESUME, clients, dry_run=True)
    return Outcome(True, False, "Dry run: the cluster would go on with it.")


async def _execute(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome:
    await workloads.patch(action, [*workloads.unchanged(snapshot), *RESUME], clients)
    return DONE


async def _settled(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome | None:
    found = await workloads.workload_of(action.target, clients)
    return Outcome(False, False, "It is still paused.") if _paused(found) else DONE


async def _look(action: Action, snapshot: Mapping[str, Any], clients: Clients) -> Json:
    return await workloads.fetch(action, clients)


def _verify(action: Action, snapshot: Mapping[str, Any], state: Json) -> Verification:
    paused = _paused(state["workload"])
    goes_on = check("rollout", "not paused", "paused" if paused else "not paused", not paused, otherwise="not_verified")
    return judged([goes_on, *workloads.health_checks(snapshot, state)], "The rollout went on and is complete.")


REMEDIATOR = Remediator(
    name="k8s_resume_rollout", title="Resume the rollout", risk=Risk.MEDIUM, expected_seconds=120, settle_seconds=15,
    deadline_seconds=900, parameters=Parameters, permissions=("deployments: get, patch", "pods, replicasets: list"),
    target_kinds=frozenset({"Deployment"}), kinds=frozenset({FailureKind.PROBE_FAILURE}), propose=_propose,
    preview=_preview, dry_run=_dry_run, preflight=_preflight, execute=_execute, settled=_settled, look=_look,
    verify=_verify, changes_spec=True,
)  # fmt: skip
