"""What may be done, who said so, and how it ended."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from knowledge.model.failing import Target


class Risk(StrEnum):
    NONE = "none"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class Action:
    """One entry of the catalogue applied to one target. `parameters` are JSON values, checked by the entry's model.

    `undo` says how it is taken back when it makes things worse; without it, it is not taken back.
    """

    name: str
    target: Target
    parameters: Mapping[str, Any] = field(default_factory=dict)
    undo: str = ""

    @property
    def digest(self) -> str:
        return action_digest(self)


def action_digest(action: Action) -> str:
    """Sha256 (hex) over the canonical JSON of name, target, parameters and undo: what an approval is bound to."""
    target = action.target
    payload = {
        "action": action.name,
        "target": [target.kind, target.name, target.namespace, target.cluster, target.repository, target.service],
        "environment": target.environment,
        "parameters": dict(action.parameters),
        **({"undo": action.undo} if action.undo else {}),
    }
    return hashlib.sha256(json.dumps(payload, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Touched:
    """How much of a workload an action touches: replicas that it adds, and pods that it replaces, of so many."""

    replicas: int = 0
    pods: int = 0
    of: int = 0

    @property
    def percent(self) -> int:
        return round(100 * min(self.pods, self.of) / self.of) if self.of else 0


@dataclass(frozen=True, slots=True)
class Plan:
    """At most one proposed action, with what a person must know before approving it.

    `preview` says in one sentence what will change, `diff` shows it; `snapshot` is what undo would restore (never a
    secret's value). `no_action_because` says why nothing is proposed. `candidates` are names, best first;
    `excluded` pairs a candidate's name with why it was left out.
    """

    action: Action | None
    candidates: tuple[str, ...] = ()
    excluded: tuple[tuple[str, str], ...] = ()
    no_action_because: str = ""
    preview: str = ""
    diff: str = ""
    risk: Risk = Risk.NONE
    expected_seconds: int = 0
    blast_radius: str = ""
    touches: Touched = Touched()
    undo: str = ""  # how it would be undone; "" where it cannot be
    basis: str = ""  # e.g. "worked 14 of 16 times here"
    twice: str = ""  # why a person is asked a second time before the approval counts; "" where once is enough
    # What of the target an approval relies on, as it was when this was proposed; empty where it was not looked at.
    seen: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RuleResult:
    """One policy rule as evaluated: its limit, the actual value, and whether it lets the action run by itself."""

    rule: str
    limit: str
    actual: str
    passed: bool
    # What failing this rule means: "ask" a person, or "block" the action.
    otherwise: str = "ask"
    override: str = ""


@dataclass(frozen=True, slots=True)
class Auto:
    """Policy lets the action run without a person."""


@dataclass(frozen=True, slots=True)
class Ask:
    """`how_many` different people of `who` (user, group or channel ids) must approve before `until`."""

    who: tuple[str, ...]
    how_many: int
    until: datetime


@dataclass(frozen=True, slots=True)
class Blocked:
    why: str
    override: str


Verdict = Auto | Ask | Blocked


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict of the policy with every rule's limit and actual value. `mode` is the mode in force."""

    verdict: Verdict
    mode: str
    strategy: str
    rules: tuple[RuleResult, ...]

    @property
    def name(self) -> str:
        return type(self.verdict).__name__.lower()


class ApprovalState(StrEnum):
    OPEN = "open"
    SCHEDULED = "scheduled"  # approved for a later time, at which everything is looked at again
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Approval:
    """One request for approval, bound to the action's digest. `approved_by` are different people, in order.

    `requester` asked by a mention or changed the parameters: ids with commas between; "" where an alert asked. `run_at`
    is when it may start at the earliest, where a person said so; while `snoozed_until` is ahead, nobody is reminded.
    """

    id: int
    incident_id: int
    plan_id: int
    digest: str
    state: ApprovalState
    needed: int
    who: tuple[str, ...]
    until: datetime
    approved_by: tuple[str, ...]
    decided_by: str
    reason: str
    automatic: bool = False
    requester: str = ""
    run_at: datetime | None = None
    snoozed_until: datetime | None = None
    snoozed_by: str = ""


class ExecutionState(StrEnum):
    """`started` means: the side effect may have happened; only looking at the target can tell."""

    QUEUED = "queued"
    STARTED = "started"
    ACTED = "acted"
    FAILED = "failed"
    REFUSED = "refused"  # preflight said no; nothing was done
    UNDONE = "undone"


@dataclass(frozen=True, slots=True)
class Write:
    """What was sent to change something outside: "PATCH /apis/…", without its body, and what became of it in words."""

    system: str
    request: str
    result: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an execution ended. `changed` is false for a dry run, a refusal and a failure before the side effect.

    `detail` is one sentence for people; `mark` is what proves the side effect (uid of a deleted pod, run attempt).
    `writes` are what was sent for it, as far as the process lived to tell.
    """

    ok: bool
    changed: bool
    detail: str
    mark: Mapping[str, Any] = field(default_factory=dict)
    writes: tuple[Write, ...] = ()


@dataclass(frozen=True, slots=True)
class Execution:
    """One run of one approved action. `snapshot` is what it was going to touch, as found by preflight."""

    id: int
    incident_id: int
    approval_id: int
    action: Action
    state: ExecutionState
    fencing_token: int
    snapshot: Mapping[str, Any]
    outcome: Outcome | None
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Verification:
    """What a look at the target showed after the action: verified, worse, pending, or not verified."""

    verdict: str  # verified | not_verified | worse | pending
    checks: tuple[RuleResult, ...]
    detail: str
