"""Does nothing and succeeds: for tests and for trying the whole path. Never counted in statistics or trust."""

# ruff: noqa: ARG001  entries of the catalogue are functions of one signature each

from collections.abc import Mapping
from typing import Any

from knowledge.model import Action, Outcome, Risk, Verification
from remediation.context import Context
from remediation.ports import Clients, Json
from remediation.registry import NotOffered, Parameters, Preflight, Preview, Remediator, check, judged


def _propose(context: Context) -> Action | NotOffered:
    return Action("noop", context.target)


def _preview(action: Action, context: Context) -> Preview:
    return Preview("Nothing is changed.", "", "nothing")


async def _dry_run(action: Action, clients: Clients) -> Outcome:
    return Outcome(True, False, "Dry run: nothing would be changed.")


async def _preflight(action: Action, clients: Clients) -> Preflight:
    return Preflight(True, {}, "")


async def _execute(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome:
    return Outcome(True, False, "Nothing was changed, as intended.")


async def _settled(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome | None:
    return Outcome(True, False, "Nothing was changed, as intended.")


async def _look(action: Action, snapshot: Mapping[str, Any], clients: Clients) -> Json:
    return {}


def _verify(action: Action, snapshot: Mapping[str, Any], state: Json) -> Verification:
    return judged([check("nothing to verify", "-", "-", True)], "Nothing was changed.")


REMEDIATOR = Remediator(
    name="noop",
    title="Do nothing",
    risk=Risk.NONE,
    expected_seconds=0,
    settle_seconds=0,
    deadline_seconds=60,
    parameters=Parameters,
    permissions=(),
    target_kinds=frozenset({"Deployment", "StatefulSet", "DaemonSet", "Pod", "WorkflowRun"}),
    propose=_propose,
    preview=_preview,
    dry_run=_dry_run,
    preflight=_preflight,
    execute=_execute,
    settled=_settled,
    look=_look,
    verify=_verify,
    counts=False,
)
