"""Gives a secret of GitHub Actions a new value from the source that the policy names, and runs the failed jobs again.

The value is sealed with GitHub's public key; it is in no parameter, snapshot, outcome, log or error.
"""

# ruff: noqa: ARG001  entries of the catalogue are functions of one signature each

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from knowledge.errors import Conflict, NotFound, Refused, Unavailable
from knowledge.model import Action, Outcome, Risk
from remediation import sealing
from remediation.context import Context
from remediation.policy_workflows import RepositorySecret
from remediation.ports import Clients
from remediation.registry import (
    NotOffered,
    Parameters,
    Preflight,
    Preview,
    Remediator,
    parameters_as,
)
from remediation.remediators._github import attempt_of, code_host, judge_next_attempt, look_at_run, outdated
from remediation.remediators.github_rerun import RERUNNABLE, why_not
from remediation.sealing import Place
from remediation.secret_sources import SecretSource, new_value


class Rotate(Parameters):
    """Which secret, by the policy's row, and the attempt that failed for it.

    `source` is words for people; that the policy still names the same one is told by `source_digest`.
    """

    secret: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")]
    environment: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9 ._-]{0,100}$")] = ""
    organization: bool = False
    source: str
    source_digest: str
    attempt: Annotated[int, Field(ge=1)]


def _place(action: Action) -> Place:
    wanted = parameters_as(Rotate, action)
    return Place(action.target.repository, wanted.secret, wanted.environment, wanted.organization)


def _propose(context: Context) -> Action | NotOffered:
    if context.run is None:
        return NotOffered("the run could not be looked at")
    reason = why_not(context.run, context.looked_at)
    if reason:
        return NotOffered(reason)
    chosen = _meant(context.service.github_secrets if context.service else (), _failed_steps(context))
    if isinstance(chosen, str):
        return NotOffered(chosen)
    parameters = {
        "secret": chosen.name,
        "environment": chosen.environment,
        "organization": chosen.organization,
        "source": chosen.source.words,
        "source_digest": chosen.source.digest,
        "attempt": attempt_of(context.run),
    }
    return Action(NAME, context.target, parameters)


def _failed_steps(context: Context) -> frozenset[str]:
    jobs = [job for job in context.jobs if job.get("conclusion") in RERUNNABLE]
    steps = [step for job in jobs for step in job.get("steps") or []]
    return frozenset(str(step.get("name")) for step in steps if step.get("conclusion") in RERUNNABLE)


def _meant(secrets: tuple[RepositorySecret, ...], failed: frozenset[str]) -> RepositorySecret | str:
    """The only secret that the failed steps use. The log's words never choose: anyone may write them."""
    if not secrets:
        return "policy.yaml names no source for a secret of this repository"
    fitting = [one for one in secrets if not one.steps or failed.intersection(one.steps)]
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(one.name for one in fitting or secrets)
    return f"which secret it is cannot be told from the failed steps: {names}"


def _preview(action: Action, context: Context) -> Preview:
    place, source = _place(action), parameters_as(Rotate, action).source
    sentence = (
        f"Give {place.words} the value that {source} has now, and run the failed jobs again. This cannot be undone: "
        "GitHub never shows the value before."
    )
    reach = "every repository that uses it" if place.organization else "every workflow that uses it"
    return Preview(sentence, f"- {place.name}: as it is\n+ {place.name}: from {source}", reach)


def _source(action: Action, clients: Clients) -> SecretSource:
    found, wanted, place = clients.repository_secrets, parameters_as(Rotate, action), _place(action)
    source = (
        found.source_of(action.target, place.name, environment=place.environment, organization=place.organization)
        if found
        else None
    )
    if source is None:
        raise Refused(f"policy.yaml names no source for {wanted.secret} any more.")
    if source.digest != wanted.source_digest:
        raise Refused(f"policy.yaml has another source for {wanted.secret} by now. Diagnose again.")
    return source


async def _preflight(action: Action, clients: Clients) -> Preflight:
    wanted, host, target = parameters_as(Rotate, action), code_host(clients), action.target
    run = await host.run(target.repository, int(target.name))
    attempt = attempt_of(run)
    if attempt != wanted.attempt:
        return Preflight(False, {}, f"Attempt {attempt} was started by somebody else; nothing was done.")
    reason = why_not(run, datetime.now(UTC)) or await outdated(host, target.repository, run)
    if reason:
        return Preflight(False, {}, f"Not rotated: {reason}.")
    try:
        secret = await sealing.state(host, _place(action))
    except NotFound:
        return Preflight(False, {}, f"There is no {_place(action).words}; a new one is not made.")
    source = _source(action, clients)
    if source.steady:
        # Whether it can be read is known before anything is changed. A command may make a new value each time.
        await new_value(source)
    return Preflight(True, {"attempt": attempt, "updated_at": str(secret.get("updated_at") or "")}, "")


async def _dry_run(action: Action, clients: Clients) -> Outcome:
    # GitHub has no dry run; that the source gives a value and the secret exists is all that can be tried.
    ready = await _preflight(action, clients)
    return Outcome(ready.ok, False, ready.reason or f"Dry run: {_place(action).words} would be given a new value.")


async def _execute(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome:
    host, place, target = code_host(clients), _place(action), action.target
    run = await host.run(target.repository, int(target.name))
    if attempt_of(run) != snapshot["attempt"] or run.get("status") != "completed":
        raise Conflict("The run was started again by somebody else. Wait for its result.")
    reason = await outdated(host, target.repository, run)
    now = await sealing.state(host, place)
    written = str(now.get("updated_at") or "") != snapshot["updated_at"]
    if reason and not written:
        raise Conflict(f"Not rotated: {reason}.")
    if reason:
        return Outcome(False, True, f"{_written(place)}, but the failed jobs were not run again: {reason}.")
    if not written:
        await sealing.put(host, place, await new_value(_source(action, clients)))
    # Else it was written already: by ourselves before an interruption, or by a person meanwhile.
    await host.rerun(target.repository, int(target.name), only_failed=True)
    return _done(place, snapshot)


def _written(place: Place) -> str:
    return f"The {place.words} has a new value"


def _done(place: Place, snapshot: Mapping[str, Any]) -> Outcome:
    attempt = int(snapshot["attempt"]) + 1
    detail = f"{_written(place)}, and the failed jobs run again as attempt {attempt}."
    return Outcome(True, True, detail, {"attempt": attempt})


async def _settled(action: Action, snapshot: Mapping[str, Any], execution_id: int, clients: Clients) -> Outcome | None:
    host, place, target = code_host(clients), _place(action), action.target
    try:
        secret = await sealing.state(host, place)
        run = await host.run(target.repository, int(target.name))
    except Unavailable:
        return None
    written = str(secret.get("updated_at") or "") != snapshot["updated_at"]
    again = attempt_of(run) > int(snapshot["attempt"])
    if written and again:
        return _done(place, snapshot)
    if written:
        return Outcome(False, True, f"{_written(place)}, but the failed jobs were not run again.")
    return None if again else Outcome(False, False, f"The {place.words} was not changed.")


NAME = "github_secret_rotate"
REMEDIATOR = Remediator(
    name=NAME,
    title="Rotate the secret",
    risk=Risk.HIGH,
    expected_seconds=240,
    settle_seconds=5,
    deadline_seconds=600,
    parameters=Rotate,
    # Not "secrets", which is a resource of Kubernetes.
    permissions=("repository secrets: write", "environments: write", "organization secrets: write", "actions: write"),
    target_kinds=frozenset({"WorkflowRun"}),
    propose=_propose,
    preview=_preview,
    dry_run=_dry_run,
    preflight=_preflight,
    execute=_execute,
    settled=_settled,
    look=look_at_run,
    verify=judge_next_attempt,
    resumes=True,
)
