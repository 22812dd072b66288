"""Builds an image anew without its cache: dispatches the service's build with the input that the policy names."""

# ruff: noqa: ARG001  entries of the catalogue are functions of one signature each

from collections.abc import Mapping
from typing import Any

from knowledge.model import Action, Outcome, Risk, Verification
from remediation import dispatching
from remediation.context import Context
from remediation.policy_workflows import InputName, Ref, Value, WorkflowFile
from remediation.ports import Clients, Json
from remediation.registry import (
    NotOffered,
    Parameters,
    Preflight,
    Preview,
    Remediator,
    judged,
    parameters_as,
)
from remediation.remediators import _dispatched
from remediation.remediators._github import code_host

FAILED = frozenset({"failure", "timed_out"})


class ClearCache(Parameters):
    """The build's workflow with the input that makes it do without its cache, all as the policy has them."""

    workflow: WorkflowFile
    ref: Ref
    input: InputName
    value: Value


def _propose(context: Context) -> Action | NotOffered:
    build = context.service.builds if context.service else None
    if build is None:
        return NotOffered("policy.yaml names no build of this service that could do without its cache")
    if context.run is None:
        return NotOffered("the run could not be looked at")
    if context.run.get("conclusion") not in FAILED:
        return NotOffered(f"the run is {context.run.get('conclusion') or context.run.get('status')}, not failed")
    if context.build_problem:
        return NotOffered(context.build_problem)
    return Action(NAME, context.target, build.model_dump())


def _preview(action: Action, context: Context) -> Preview:
    wanted = parameters_as(ClearCache, action)
    sentence = (
        f"Build {action.target.repository} anew without its cache: {wanted.workflow} on {wanted.ref} "
        f"with {wanted.input}={wanted.value}."
    )
    return Preview(sentence, f"- cached layers\n+ {wanted.input}: {wanted.value}", "one build, which takes longer")


async def _preflight(action: Action, clients: Clients) -> Preflight:
    wanted, target, host = parameters_as(ClearCache, action), action.target, code_host(clients)
    problem = await dispatching.problem(host, target.repository, wanted.workflow, wanted.ref, {wanted.input: ""})
    if problem:
        return Preflight(False, {}, f"Not built: {problem}.")
    run = await host.run(target.repository, int(target.name))
    if run.get("conclusion") not in FAILED:
        return Preflight(
            False, {}, f"The run is {run.get('conclusion') or run.get('status')} by now; nothing was done."
        )
    return Preflight(True, await dispatching.before(host, target.repository, wanted.workflow), "")


async def _dry_run(action: Action, clients: Clients) -> Outcome:
    # GitHub has no dry run; that the workflow takes the input is all that can be tried without an effect.
    ready = await _preflight(action, clients)
    return Outcome(
        ready.ok, False, ready.reason or f"Dry run: {parameters_as(ClearCache, action).workflow} would be started."
    )


async def _execute(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome:
    wanted = parameters_as(ClearCache, action)
    return await _dispatched.start(
        clients, action.target.repository, wanted.workflow, wanted.ref, {wanted.input: wanted.value}, execution_id
    )


async def _settled(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome | None:
    return await _dispatched.settled(
        clients, action.target.repository, parameters_as(ClearCache, action).workflow, snapshot, execution_id
    )  # fmt: skip


async def _look(action: Action, snapshot: Mapping[str, Any], clients: Clients) -> Json:
    return await _dispatched.look(
        clients, action.target.repository, parameters_as(ClearCache, action).workflow, snapshot
    )


def _verify(action: Action, snapshot: Mapping[str, Any], state: Json) -> Verification:
    return judged(_dispatched.checks(state), "The build without its cache succeeded.")


NAME = "docker_clear_cache"
REMEDIATOR = Remediator(
    name=NAME,
    title="Build without the cache",
    risk=Risk.LOW,
    expected_seconds=600,
    settle_seconds=5,
    deadline_seconds=1800,
    parameters=ClearCache,
    permissions=("actions: write", "contents: read"),
    target_kinds=frozenset({"WorkflowRun"}),
    propose=_propose,
    preview=_preview,
    dry_run=_dry_run,
    preflight=_preflight,
    execute=_execute,
    settled=_settled,
    look=_look,
    verify=_verify,
)
