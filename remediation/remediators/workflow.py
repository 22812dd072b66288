"""A team's own workflows as entries of the catalogue: made from policy.yaml, one an entry there.

Which workflow or address, and which values are allowed, comes from the policy alone. What a person chose among the
allowed values is in the parameters, with a digest of the entry, and so in the digest that an approval is bound to.
"""

# ruff: noqa: ARG001  entries of the catalogue are functions of one signature each

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, create_model

from knowledge.errors import NotFound, Refused
from knowledge.model import Action, Outcome, Risk, Target, Verification
from remediation import dispatching
from remediation.context import Context
from remediation.policy_workflows import Workflow, WorkflowHook, WorkflowOnGitHub, WorkflowParameter
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
from remediation.remediators import _dispatched
from remediation.remediators._github import code_host

TARGETS = frozenset({"Deployment", "StatefulSet", "DaemonSet", "Application", "WorkflowRun"})
PREFIX = "workflow_"
ENTRY = "policy.entry"  # no parameter of a team's own can be called so


def entry(spec: Workflow) -> Remediator:
    """The catalogue's entry of one workflow of the policy."""
    on_run = spec.verify == "run"
    return Remediator(
        name=spec.action,
        title=spec.title,
        risk=spec.risk,
        expected_seconds=spec.expected_seconds,
        settle_seconds=5,
        deadline_seconds=max(300, 3 * spec.expected_seconds),
        parameters=parameters_of(spec),
        permissions=("actions: write", "contents: read") if spec.github else (),
        target_kinds=TARGETS,
        propose=partial(_propose, spec),
        preview=partial(_preview, spec),
        dry_run=partial(_dry_run, spec),
        preflight=partial(_preflight, spec),
        execute=partial(_execute, spec),
        settled=partial(_settled, spec),
        look=partial(_look, spec),
        verify=partial(_verify, spec),
        needs_signal=not on_run,
        kinds=frozenset(spec.kinds),
    )


def parameters_of(spec: Workflow) -> type[Parameters]:
    """The parameters that a person may choose, with what is allowed, and the digest of the entry; those taken from the
    target are none."""
    chosen = {name: one for name, one in spec.parameters.items() if not one.source}
    fields: dict[str, Any] = {name: (_type_of(one), one.default) for name, one in chosen.items()}
    fields[ENTRY] = (str, "")
    made: type[Parameters] = create_model(f"Workflow_{spec.name}", __base__=Parameters, **fields)
    return made


def _type_of(parameter: WorkflowParameter) -> Any:
    if parameter.type == "boolean":
        return bool
    if parameter.type == "integer":
        return Annotated[int, Field(ge=parameter.min, le=parameter.max)]
    if parameter.type == "choice":
        return Literal[parameter.values]
    return Annotated[str, StringConstraints(max_length=500), AfterValidator(partial(_matching, parameter))]


def _matching(parameter: WorkflowParameter, value: str) -> str:
    if problem := parameter.problem(value):
        raise ValueError(problem)
    return value


def _propose(spec: Workflow, context: Context) -> Action | NotOffered:
    target = context.target
    if spec.services and target.service not in spec.services:
        return NotOffered(f"it is not for {target.service}")
    absent = [name for name, one in spec.parameters.items() if one.source and not getattr(target, one.source)]
    if absent:
        return NotOffered(f"the target has no {spec.parameters[absent[0]].source}, which {absent[0]} is taken from")
    chosen = {n: one.default for n, one in spec.parameters.items() if not one.source}
    return Action(spec.action, target, {**chosen, ENTRY: spec.digest})


def _preview(spec: Workflow, action: Action, context: Context) -> Preview:
    values = inputs_of(spec, action)
    where = f"{spec.github.workflow} of {spec.github.repository}" if spec.github else f"a webhook of {_host(spec)}"
    shown = ", ".join(f"{name}={value}" for name, value in values.items())
    sentence = f"{spec.title}: start {where}{f' with {shown}' if shown else ''}."
    return Preview(sentence, "\n".join(f"+ {n}: {v}" for n, v in values.items()), "what that workflow touches")


def _host(spec: Workflow) -> str:
    return spec.webhook.url.split("/")[2] if spec.webhook else ""


def inputs_of(spec: Workflow, action: Action) -> dict[str, str]:
    """Every input as text: those of the target's, and the parameters. BadInput for a value that is not allowed."""
    chosen = parameters_as(entry(spec).parameters, action).model_dump()
    return {
        name: str(getattr(action.target, one.source)) if one.source else _text(chosen[name])
        for name, one in spec.parameters.items()
    }


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _changed(spec: Workflow, action: Action) -> str:
    """The policy is read anew while an approval waits; what was approved is the entry that was shown."""
    same = action.parameters.get(ENTRY) == spec.digest
    return "" if same else f"Not started: the entry of “{spec.title}” in the policy has changed since. Diagnose again."


async def _preflight(spec: Workflow, action: Action, clients: Clients) -> Preflight:
    if changed := _changed(spec, action):
        return Preflight(False, {}, changed)
    inputs = inputs_of(spec, action)
    if spec.github is None:
        return (
            Preflight(True, {}, "")
            if await _token(spec.webhook, clients) is not None
            else Preflight(False, {}, _no_token(spec))
        )
    there, host = spec.github, code_host(clients)
    problem = await dispatching.problem(host, there.repository, there.workflow, there.ref, inputs)
    if problem:
        return Preflight(False, {}, f"Not started: {problem}.")
    return Preflight(True, await dispatching.before(host, there.repository, there.workflow), "")


async def _token(hook: WorkflowHook | None, clients: Clients) -> str | None:
    """None where the policy names a variable that is not set."""
    if hook is None or hook.token_env is None:
        return ""
    return await clients.webhooks.token(hook.token_env) if clients.webhooks else None


def _no_token(spec: Workflow) -> str:
    return f"Not sent: the variable {spec.webhook.token_env if spec.webhook else ''} of policy.yaml is not set."


async def _dry_run(spec: Workflow, action: Action, clients: Clients) -> Outcome:
    ready = await _preflight(spec, action, clients)
    return Outcome(ready.ok, False, ready.reason or f"Dry run: “{spec.title}” would be started.")


async def _execute(
    spec: Workflow, action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients
) -> Outcome:  # fmt: skip
    if changed := _changed(spec, action):
        raise Refused(changed)
    inputs = inputs_of(spec, action)
    if spec.github is not None:
        there = spec.github
        return await _dispatched.start(
            clients, there.repository, there.workflow, there.ref, inputs, execution_id
        )  # fmt: skip
    hook, token = spec.webhook, await _token(spec.webhook, clients)
    if clients.webhooks is None or hook is None or token is None:
        raise Refused(_no_token(spec))
    key = dispatching.marker(execution_id)
    body = {"action": spec.action, "execution": key, "target": _target(action.target), "parameters": inputs}
    await clients.webhooks.post(hook.url, body, token=token, key=key)
    return Outcome(True, True, f"The webhook of {_host(spec)} took it.", {"execution": execution_id})


def _target(target: Target) -> dict[str, str]:
    names = ("kind", "name", "namespace", "cluster", "repository", "service", "environment")
    return {name: str(getattr(target, name)) for name in names}


async def _settled(
    spec: Workflow, action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients
) -> Outcome | None:
    if spec.github is not None:
        there = spec.github
        return await _dispatched.settled(clients, there.repository, there.workflow, snapshot, execution_id)
    # A receiver that knows the key takes a repetition for what it is.
    if spec.webhook is None or not spec.webhook.idempotent:
        return None
    return Outcome(False, False, "Whether it was sent cannot be told; sent again, it bears the same key.")


async def _look(spec: Workflow, action: Action, snapshot: Mapping[str, Any], clients: Clients) -> Json:
    there: WorkflowOnGitHub | None = spec.github
    return await _dispatched.look(clients, there.repository, there.workflow, snapshot) if there else {}


def _verify(spec: Workflow, action: Action, snapshot: Mapping[str, Any], state: Json) -> Verification:
    if spec.github is not None:
        return judged(_dispatched.checks(state), f"“{spec.title}” ran and succeeded.")
    return judged([check("webhook", "taken", "taken", True)], f"“{spec.title}” was taken.")


def gone(name: str) -> Remediator:
    """Stands for a workflow that the policy no longer has, so that what was begun with it ends in words."""
    why = f"policy.yaml has no workflow '{name.removeprefix(PREFIX)}' any more."

    async def refuse(*_: Any) -> Any:
        raise NotFound(why)

    async def unknown(*_: Any) -> Outcome | None:
        return None

    return Remediator(
        name=name,
        title=name,
        risk=Risk.HIGH,
        expected_seconds=0,
        settle_seconds=0,
        deadline_seconds=60,
        parameters=Parameters,
        permissions=(),
        target_kinds=frozenset(),
        propose=lambda _: NotOffered(why),
        preview=lambda *_: Preview(why, "", ""),
        dry_run=refuse,
        preflight=refuse,
        execute=refuse,
        settled=unknown,
        look=refuse,
        verify=lambda *_: judged([check("workflow", "in the policy", "gone", False, otherwise="not_verified")], ""),
    )
