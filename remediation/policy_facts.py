"""What a decision is about: the facts, and what the policy says about one target. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from knowledge.model import Diagnosis, Plan, Precedent, Target, TrackRecord, Unsure
from remediation.policy_file import Environment, Policy, Service, Strategy

MODES = ("observe", "suggest", "approve", "automatic")
# Outcomes of a fix that was carried out, as remembered.
_TRIED = frozenset({"verified", "not_verified", "worse", "failed"})
IN_VAIN = frozenset({"not_verified", "worse", "undone", "failed"})


@dataclass(frozen=True, slots=True)
class Attempt:
    """One earlier execution on the same target, newest first where several are given.

    `verdict` is the last verification's ("verified", "not_verified", "worse"), "undone", "failed", or "" while not
    known.
    """

    action: str
    verdict: str
    at: datetime


@dataclass(frozen=True, slots=True)
class PolicyFacts:
    """What the decision needs that is not in the plan. Counts come from the database.

    `attempts` are executions on this target since a person last resumed it (else of the last 24 hours), newest first.
    `record` is that of (kind, action, environment); `slack_confirmed` says that people confirmed such a fix in Slack.
    `past` stands for `precedents` in facts that were stored with a decision: how they spoke for its action, 0 to 1.
    """

    now: datetime
    fixes_last_hour: int = 0
    paused: bool = False
    flagged: bool = False
    trusted: bool = True
    running_on_target: bool = False
    by_hand: str = ""  # why this incident is a person's work by now
    attempts: tuple[Attempt, ...] = ()
    record: TrackRecord | None = None
    precedents: tuple[Precedent, ...] = ()
    slack_confirmed: bool = False
    past: float | None = None
    # The mode that people set with /codehealer mode for this channel, service or environment; "" where they did not.
    mode: str = ""
    # Who granted that this fix of this kind for this service runs by itself, in words; "" where nobody did.
    earned: str = ""
    # Over all targets: fixes that ran by themselves in the last hour, their newest failures in a row, and why nothing
    # runs by itself until a person resumes it ("" while it may).
    automatic_last_hour: int = 0
    failures_in_a_row: int = 0
    breaker: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that a rule may look at."""

    plan: Plan
    action: str
    diagnosis: Diagnosis | Unsure
    target: Target | None
    environment: str
    rules: Environment
    service: Service | None
    policy: Policy
    facts: PolicyFacts

    @property
    def strategy(self) -> Strategy:
        """The environment's, unless it names another one for this kind of failure."""
        kind = self.diagnosis.kind if isinstance(self.diagnosis, Diagnosis) else None
        return self.rules.strategies.get(kind, self.rules.strategy) if kind else self.rules.strategy


def environment_of(policy: Policy, name: str) -> tuple[str, Environment]:
    """The environment's name in force and its rules; an unknown name counts as prod, an absent prod allows nothing."""
    if name in policy.environments:
        return name, policy.environments[name]
    return "prod", policy.environments.get("prod") or Environment()


def names_of_environment(policy: Policy, name: str) -> frozenset[str]:
    """By what a part of the policy may mean a place: as its row writes the environment, and as what that counts."""
    return frozenset({name, environment_of(policy, name)[0]})


def service_of(policy: Policy, target: Target | None) -> Service | None:
    """The service row that the target was made from."""
    if target is None:
        return None
    rows = [s for s in policy.services if s.name == target.service]
    exact = [
        s
        for s in rows
        if (target.repository and s.repository.lower() == target.repository.lower())
        or (s.workload and s.namespace == target.namespace and s.workload.name == target.name)
    ]
    found = [s for s in exact or rows if s.environment == target.environment] or exact or rows
    return found[0] if len(found) == 1 else None


def mode_of(policy: Policy, target: Target | None, override: str = "") -> str:
    """The mode in force: the service's own, else its environment's, else the whole policy's.

    `override` (set by /codehealer mode, a recorded decision of a named person) replaces what the file says.
    """
    if override in MODES:
        return override
    return policy.mode if target is None else mode_of_row(policy, service_of(policy, target), target.environment)


def mode_of_row(policy: Policy, service: Service | None, environment: str) -> str:
    """What the file says for a service's row, or for an environment where there is none."""
    _, rules = environment_of(policy, environment)
    return (service.mode if service else None) or rules.mode or policy.mode


def mode_with_trust(mode: str, earned: str) -> str:
    """Trust lifts approve to automatic for its own case, and never what people narrowed further."""
    return "automatic" if mode == "approve" and earned else mode


def is_dry_run(policy: Policy, target: Target | None) -> bool:
    """Whether executions on the target only pretend: switched on for everything, its environment or its service."""
    if policy.dry_run is True:
        return True
    if policy.dry_run is False or target is None:
        return False
    names = names_of_environment(policy, target.environment)
    return not names.isdisjoint(policy.dry_run.environments) or target.service in policy.dry_run.services


def precedent_confidence(precedents: Sequence[Precedent], action: str) -> float:
    """0 to 1: how the nearest precedents of this fix ended, weighted by resemblance; one imaginary failure is counted,
    so that a single lucky precedent proves little."""
    known = [p for p in precedents if p.item.action == action and p.item.outcome in _TRIED]
    weight = sum(p.score for p in known)
    good = sum(p.score for p in known if p.item.outcome == "verified" and p.thumbs_down <= p.thumbs_up)
    return good / (weight + 1.0)


def loop_broken(attempts: Sequence[Attempt], action: str) -> str:
    """Why the loop breaker holds `action` back, "" when it does not: same fix twice in vain, or A-B-A-B."""
    in_vain = [a for a in attempts if a.action == action and a.verdict in IN_VAIN]
    if len(in_vain) >= 2:
        return f"{action} was tried {len(in_vain)} times without effect"
    last = [action, *(a.action for a in attempts[:3])]
    if len(last) == 4 and last[0] == last[2] != last[1] == last[3]:
        return f"{last[0]} and {last[1]} take turns without effect"
    return ""
