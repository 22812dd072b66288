"""The catalogue's entry: what every remediator says and does, and the table that they fill.

A remediator is a frozen value of functions; files of remediation/remediators/ each make one. Looking is apart from
deciding: `look` fetches, `verify` judges what was fetched and is pure.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from knowledge.errors import BadInput
from knowledge.model import Action, FailureKind, Outcome, Risk, RuleResult, Verification
from remediation.context import Context
from remediation.policy_file import Policy
from remediation.ports import Clients, Json


class Parameters(BaseModel):
    """Typed parameters of an action: nothing unknown, nothing converted silently."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


P = TypeVar("P", bound=Parameters)


@dataclass(frozen=True, slots=True)
class NotOffered:
    """Why an entry does not fit the target as it is now; one clause for people."""

    reason: str


@dataclass(frozen=True, slots=True)
class Editable:
    """A whole number among an action's parameters that a person may change before approving, from `low` to `high`.

    `because` says where the bounds come from, to the person who goes beyond them. With a `unit` ("Mi") the parameter is
    the number followed by it. `also` are parameters that take the same value.
    """

    name: str
    label: str
    low: int
    high: int
    because: str
    unit: str = ""
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Preview:
    """What would change: a sentence as a person would say it, a diff, and how much it touches.

    `twice` is why a person is asked a second time before it counts as approved, "" where once is enough.
    """

    sentence: str
    diff: str
    blast_radius: str
    twice: str = ""


@dataclass(frozen=True, slots=True)
class Preflight:
    """The second look, just before acting. `snapshot` (JSON, never a secret) is what the action will touch."""

    ok: bool
    snapshot: Mapping[str, Any]
    reason: str


@dataclass(frozen=True, slots=True)
class Remediator:
    """One entry of the catalogue.

    `settle_seconds` pass before the first verification; after `deadline_seconds` a pending one is "not verified".
    `settled` looks at the target after a crash: an Outcome that changed means it happened, one that did not means that
    it surely did not, None that it cannot be told. `undo_text` is "" where nothing can be undone.
    `undone` looks at the target after an undo that was interrupted, in the same way; without it, it cannot be told.
    `needs_signal` marks fixes whose success the target's own state cannot show: only the original signal can.
    """

    name: str
    title: str
    risk: Risk
    expected_seconds: int
    settle_seconds: int
    deadline_seconds: int
    parameters: type[Parameters]
    permissions: tuple[str, ...]
    target_kinds: frozenset[str]
    propose: Callable[[Context], Action | NotOffered]
    preview: Callable[[Action, Context], Preview]
    dry_run: Callable[[Action, Clients], Awaitable[Outcome]]
    preflight: Callable[[Action, Clients], Awaitable[Preflight]]
    execute: Callable[[Action, Mapping[str, Any], int, Clients], Awaitable[Outcome]]
    settled: Callable[[Action, Mapping[str, Any], int, Clients], Awaitable[Outcome | None]]
    look: Callable[[Action, Mapping[str, Any], Clients], Awaitable[Json]]
    verify: Callable[[Action, Mapping[str, Any], Json], Verification]
    undo: Callable[[Action, Mapping[str, Any], int, Clients], Awaitable[Outcome]] | None = None
    undo_text: str = ""
    undone: Callable[[Action, Mapping[str, Any], int, Clients], Awaitable[Outcome | None]] | None = None
    needs_signal: bool = False
    counts: bool = True  # in statistics and trust
    # Whether every pod of the workload is replaced by it, or may be.
    replaces_pods: bool = False
    # Several writes in one action: `execute` run again goes on behind those that its mark shows as done.
    resumes: bool = False
    # Whether GitOps, Helm or an operator that owns the target would put back what this changes.
    changes_spec: bool = False
    # The parameters that a person may change, with their bounds by the action and the policy; None: none of them.
    editable: Callable[[Action, Policy], tuple[Editable, ...]] | None = None
    # For which causes a team's own workflow is meant; the catalogue's own entries are in planning's table.
    kinds: frozenset[FailureKind] = frozenset()


def parameters_as(model: type[P], action: Action) -> P:
    """The action's parameters as its entry's model. BadInput names the field."""
    try:
        return model.model_validate(dict(action.parameters))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "parameters"
        raise BadInput(f"{action.name}: {where}: {first['msg']}. Propose the action again.") from error


def check(rule: str, limit: str, actual: str, passed: bool, *, otherwise: str = "pending") -> RuleResult:
    """One line of a verification. `otherwise`: pending (wait for it), not_verified (final) or worse."""
    return RuleResult(rule=rule, limit=limit, actual=actual, passed=passed, otherwise=otherwise)


def judged(checks: list[RuleResult], done: str) -> Verification:
    """All checks passed: verified. Else the gravest failure decides."""
    failed = [c for c in checks if not c.passed]
    if not checks or not failed:
        verdict = "verified" if checks else "pending"
        return Verification(verdict, tuple(checks), done if checks else "Nothing could be looked at yet.")
    verdict = next((v for v in ("worse", "not_verified") if any(c.otherwise == v for c in failed)), "pending")
    detail = "; ".join(f"{c.rule}: {c.actual} (needs {c.limit})" for c in failed)
    return Verification(verdict, tuple(checks), detail)
