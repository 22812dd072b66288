"""Cancels a workflow run that hangs: it runs many times longer than the workflow's last success did."""

# ruff: noqa: ARG001  entries of the catalogue are functions of one signature each

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import Field

from knowledge.errors import Conflict, Unavailable
from knowledge.model import Action, Outcome, Risk, Verification
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
from remediation.remediators._github import attempt_of, code_host, look_at_run

# GitHub itself ends a job after six hours; a run that takes longer than this is taken to hang.
HANGS_AFTER = timedelta(hours=1)
OPEN = frozenset({"in_progress", "queued", "waiting", "pending", "requested"})


class Cancel(Parameters):
    """The attempt that hangs: one that was started since is left alone."""

    attempt: Annotated[int, Field(ge=1)]


def why_not(run: Json, now: datetime) -> str:
    """Why the run is not one that hangs, "" when it is."""
    if run.get("status") not in OPEN:
        return f"the run is {run.get('status') or 'in an unknown state'}, so there is nothing to cancel"
    started = kube.when(run.get("run_started_at") or run.get("created_at"))
    if started is None or now - started < HANGS_AFTER:
        return f"the run has not run for {HANGS_AFTER.total_seconds() / 60:.0f} minutes yet"
    return ""


def _propose(context: Context) -> Action | NotOffered:
    if context.run is None:
        return NotOffered("the run could not be looked at")
    reason = why_not(context.run, context.looked_at)
    if reason:
        return NotOffered(reason)
    return Action(NAME, context.target, {"attempt": attempt_of(context.run)})


def _preview(action: Action, context: Context) -> Preview:
    going = [str(j.get("name", "?")) for j in context.jobs if j.get("status") != "completed"]
    names = f": {', '.join(going[:5])}" if going else ""
    sentence = f"Cancel {action.target.repository} run {action.target.name}, which hangs{names}."
    state = (context.run or {}).get("status", "in_progress")
    return Preview(sentence, f"- {state}\n+ cancelled", f"{len(going)} of {len(context.jobs)} jobs")


async def _run(action: Action, clients: Clients) -> Json:
    return await code_host(clients).run(action.target.repository, int(action.target.name))


async def _preflight(action: Action, clients: Clients) -> Preflight:
    run = await _run(action, clients)
    attempt = attempt_of(run)
    if attempt != parameters_as(Cancel, action).attempt:
        return Preflight(False, {}, f"Attempt {attempt} was started by somebody else; nothing was done.")
    reason = why_not(run, datetime.now(UTC))
    if reason:
        return Preflight(False, {}, f"Not cancelled: {reason}.")
    return Preflight(True, {"attempt": attempt, "status": run.get("status", "")}, "")


async def _dry_run(action: Action, clients: Clients) -> Outcome:
    # GitHub has no dry run; the second look is all that can be tried without an effect.
    ready = await _preflight(action, clients)
    return Outcome(ready.ok, False, ready.reason or "Dry run: the run would be cancelled.")


async def _execute(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome:
    run = await _run(action, clients)
    if attempt_of(run) != snapshot["attempt"] or run.get("status") == "completed":
        raise Conflict("The run has ended or was started again meanwhile. Look at it.")
    await code_host(clients).cancel(action.target.repository, int(action.target.name))
    return _done()


def _done() -> Outcome:
    return Outcome(True, True, "GitHub cancels the run.")


async def _settled(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome | None:
    try:
        run = await _run(action, clients)
    except Unavailable:
        return None
    if run.get("status") != "completed":
        # A cancellation takes effect later, and asking again changes nothing.
        return Outcome(False, False, "The run was not cancelled.")
    return _done() if run.get("conclusion") == "cancelled" else None


def _verify(action: Action, snapshot: Mapping[str, Any], state: Json) -> Verification:
    run = state.get("run") or {}
    status, conclusion = str(run.get("status") or "unknown"), str(run.get("conclusion") or "none yet")
    checks = [
        check("run", "completed", status, status == "completed"),
        check("conclusion", "cancelled", conclusion, conclusion == "cancelled",
              otherwise="not_verified" if status == "completed" else "pending"),
    ]  # fmt: skip
    return judged(checks, "The run was cancelled.")


NAME = "github_cancel_run"
REMEDIATOR = Remediator(
    name=NAME,
    title="Cancel the run",
    risk=Risk.MEDIUM,
    expected_seconds=30,
    settle_seconds=5,
    deadline_seconds=300,
    parameters=Cancel,
    permissions=("actions: write",),
    target_kinds=frozenset({"WorkflowRun"}),
    propose=_propose,
    preview=_preview,
    dry_run=_dry_run,
    preflight=_preflight,
    execute=_execute,
    settled=_settled,
    look=look_at_run,
    verify=_verify,
)
