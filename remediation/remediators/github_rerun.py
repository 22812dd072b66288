"""Runs the failed jobs of a workflow run again, or all of them, where a passing fault made them fail."""

# ruff: noqa: ARG001  entries of the catalogue are functions of one signature each

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import Field

from knowledge.errors import Conflict, Unavailable
from knowledge.model import Action, Outcome, Risk
from remediation import kube
from remediation.context import Context
from remediation.ports import Clients, Json
from remediation.registry import (
    NotOffered,
    Parameters,
    Preflight,
    Preview,
    Remediator,
    parameters_as,
)
from remediation.remediators._github import attempt_of, code_host, judge_next_attempt, look_at_run, outdated

# GitHub re-runs a workflow run for 30 days after it was created; of a third attempt nothing new is to be expected.
WINDOW = timedelta(days=30)
LAST_ATTEMPT = 3
RERUNNABLE = frozenset({"failure", "timed_out"})


class Rerun(Parameters):
    """The attempt that failed: a run that was started again meanwhile is left alone.

    "all" runs what succeeded again as well; a job that publishes may fail the second time, so it is never proposed.
    """

    attempt: Annotated[int, Field(ge=1)]
    jobs: Literal["failed", "all"] = "failed"

    @property
    def words(self) -> str:
        return "all jobs" if self.jobs == "all" else "the failed jobs"


def why_not(run: Json, now: datetime) -> str:
    """Why GitHub or good sense forbid a rerun; "" when nothing does."""
    if run.get("status") != "completed":
        return f"the run is {run.get('status') or 'in an unknown state'}, not completed"
    if run.get("conclusion") not in RERUNNABLE:
        return f"the run concluded {run.get('conclusion')}"
    created = kube.when(run.get("created_at"))
    if created is None or now - created > WINDOW:
        return "the run is older than 30 days, which GitHub refuses"
    attempt = attempt_of(run)
    if attempt >= LAST_ATTEMPT:
        return f"it failed {attempt} times already"
    return ""


def _propose(context: Context) -> Action | NotOffered:
    if context.run is None:
        return NotOffered("the run could not be looked at")
    reason = why_not(context.run, context.looked_at)
    if reason:
        return NotOffered(reason)
    return Action(NAME, context.target, {"attempt": attempt_of(context.run), "jobs": "failed"})


def _preview(action: Action, context: Context) -> Preview:
    failed = [str(j.get("name", "?")) for j in context.jobs if j.get("conclusion") in RERUNNABLE]
    wanted = parameters_as(Rerun, action)
    whole = wanted.jobs == "all"
    names = "" if whole else f": {', '.join(failed[:5])}" if failed else ""
    sentence = f"Run {wanted.words} of {action.target.repository} run {action.target.name} again{names}."
    touched = f"all {len(context.jobs)} jobs" if whole else f"{len(failed)} of {len(context.jobs)} jobs"
    return Preview(sentence, f"- attempt {wanted.attempt}\n+ attempt {wanted.attempt + 1}", touched)


async def _preflight(action: Action, clients: Clients) -> Preflight:
    wanted, host, target = parameters_as(Rerun, action), code_host(clients), action.target
    run = await host.run(target.repository, int(target.name))
    attempt = attempt_of(run)
    if attempt != wanted.attempt:
        return Preflight(False, {}, f"Attempt {attempt} was started by somebody else; nothing was done.")
    reason = why_not(run, datetime.now(UTC)) or await outdated(host, target.repository, run)
    if reason:
        return Preflight(False, {}, f"Not re-run: {reason}.")
    return Preflight(
        True, {"attempt": attempt, "head_sha": run.get("head_sha", ""), "url": run.get("html_url", "")}, ""
    )


async def _dry_run(action: Action, clients: Clients) -> Outcome:
    # GitHub has no dry run; the second look is all that can be tried without an effect.
    ready = await _preflight(action, clients)
    if not ready.ok:
        return Outcome(False, False, ready.reason)
    return Outcome(True, False, f"Dry run: {parameters_as(Rerun, action).words} would be run again.")


async def _execute(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome:
    host, target = code_host(clients), action.target
    # GitHub takes no precondition, so attempt and later runs are looked at as late as possible.
    run = await host.run(target.repository, int(target.name))
    if attempt_of(run) != snapshot["attempt"] or run.get("status") != "completed":
        raise Conflict("The run was started again by somebody else. Wait for its result.")
    if reason := await outdated(host, target.repository, run):
        raise Conflict(f"Not re-run: {reason}.")
    await host.rerun(target.repository, int(target.name), only_failed=parameters_as(Rerun, action).jobs == "failed")
    return _done(action, snapshot)


def _done(action: Action, snapshot: Mapping[str, Any]) -> Outcome:
    attempt, words = int(snapshot["attempt"]) + 1, parameters_as(Rerun, action).words
    return Outcome(True, True, f"{words.capitalize()} run again as attempt {attempt}.", {"attempt": attempt})


async def _settled(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome | None:
    try:
        run = await code_host(clients).run(action.target.repository, int(action.target.name))
    except Unavailable:
        return None
    if attempt_of(run) > int(snapshot["attempt"]):
        return _done(action, snapshot)
    if run.get("status") == "completed":
        return Outcome(False, False, "The jobs were not run again.")
    return None


NAME = "github_rerun"
REMEDIATOR = Remediator(
    name=NAME,
    title="Run the failed jobs again",
    risk=Risk.LOW,
    expected_seconds=180,
    settle_seconds=5,
    deadline_seconds=300,
    parameters=Rerun,
    permissions=("actions: write",),
    target_kinds=frozenset({"WorkflowRun"}),
    propose=_propose,
    preview=_preview,
    dry_run=_dry_run,
    preflight=_preflight,
    execute=_execute,
    settled=_settled,
    look=look_at_run,
    verify=judge_next_attempt,
)
