"""What may run by itself, what a person must approve, and what is forbidden. Pure: values in, a decision out.

The file is policy.yaml (a commented one ships as policy_default.yaml); docs/policy.md has the truth table. Every rule
is always evaluated. A rule's failure means "ask" a person or "block"; the gravest failure decides, so that adding a
rule can never allow more. What no rule allows is blocked.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from knowledge.model import Ask, Auto, Blocked, Decision, Diagnosis, Incident, Plan, RuleResult, Target, Unsure
from knowledge.passages import Sendable
from remediation.approvers import asked, lists_in_force
from remediation.policy_facts import (
    MODES,
    Attempt,
    Case,
    PolicyFacts,
    environment_of,
    is_dry_run,
    loop_broken,
    mode_of,
    mode_with_trust,
    names_of_environment,
    precedent_confidence,
    service_of,
)
from remediation.policy_file import (
    DEFAULT_POLICY,
    Environment,
    Finding,
    Policy,
    Service,
    check_policy,
    default_policy,
    load_policy,
    parse_policy,
)
from remediation.policy_rules import AUTO_RISK, RULES, breaker_trips

__all__ = [
    "AUTO_RISK",
    "DEFAULT_POLICY",
    "MODES",
    "RULES",
    "Attempt",
    "Environment",
    "Finding",
    "Policy",
    "PolicyFacts",
    "Service",
    "breaker_trips",
    "check_policy",
    "decide",
    "default_policy",
    "environment_of",
    "is_dry_run",
    "load_policy",
    "loop_broken",
    "mode_of",
    "mode_with_trust",
    "names_of_environment",
    "only_mode_stops",
    "outside_forbidden",
    "parse_policy",
    "precedent_confidence",
    "sendable",
    "service_of",
]


def outside_forbidden(policy: Policy, incident: Incident) -> str:
    """Why nothing about the incident may be sent to an outside model, in words; "" where it may.

    What an alert merely says of itself can only forbid more, never allow.
    """
    target = incident.target
    spaces = {incident.namespace, target.namespace if target else ""} - {""}
    names = {incident.service, target.service if target else ""} - {""}
    rows = near = [row for row in policy.services if row.name in names]
    # Without a target it is not known what the alert is about, and a run of CI is in no namespace: a place, or a
    # repository, in which one row forbids it will do.
    if target is None or not target.namespace:
        repositories = {incident.repository.lower(), target.repository.lower() if target else ""} - {""}
        around = [r for r in policy.services if r.namespace in spaces or r.repository.lower() in repositories]
        near = [*rows, *around]
    if private := sorted({*spaces, *(row.namespace for row in near)}.intersection(policy.private_namespaces)):
        return f"the namespace {private[0]} is private"
    if closed := next((row for row in near if row.outside_models is False), None):
        return f"outside models are forbidden for {closed.name}"
    opened = bool(rows) and target is not None and all(row.outside_models for row in near)
    return "" if policy.outside_models or opened else "the policy forbids outside models"


def sendable(policy: Policy) -> Sendable:
    """The services whose remembered incidents may go to an outside model.

    Of an incident without a service row it is not known where it happened: where anything is private, it stays here.
    """
    closed = {row.name for row in policy.services if row.outside_models is False}
    closed |= {row.name for row in policy.services if row.namespace in policy.private_namespaces}
    if policy.outside_models and not policy.private_namespaces:
        return Sendable(tuple(sorted(closed | ({""} if closed else set()))))
    opened = {row.name for row in policy.services if row.outside_models or policy.outside_models}
    return Sendable(tuple(sorted(opened - closed)), all_but=False)


def decide(
    plan: Plan, diagnosis: Diagnosis | Unsure, target: Target | None, policy: Policy, facts: PolicyFacts
) -> Decision:
    """Auto, Ask or Blocked, with every rule's limit and actual value. Pure, under a millisecond."""
    environment, rules = environment_of(policy, target.environment if target else "prod")
    case = Case(
        plan, plan.action.name if plan.action else "", diagnosis, target, environment, rules,
        service_of(policy, target), policy, facts,
    )  # fmt: skip
    results = tuple(rule(case) for rule in RULES)
    verdict = _verdict(results, rules, policy, case.action, facts.now)
    mode = mode_with_trust(mode_of(policy, target, facts.mode), facts.earned)
    return Decision(verdict, mode, case.strategy, results)


def _verdict(
    results: Sequence[RuleResult], rules: Environment, policy: Policy, action: str, now: datetime
) -> Auto | Ask | Blocked:  # fmt: skip
    failed = [r for r in results if not r.passed]
    blocking = [r for r in failed if r.otherwise == "block"]
    if blocking:
        why = "; ".join(f"{r.rule}: {r.actual} (limit: {r.limit})" for r in blocking)
        return Blocked(why, "; ".join(dict.fromkeys(r.override for r in blocking if r.override)))
    if failed:
        who = asked(lists_in_force(policy, rules, action))
        return Ask(who, max(1, rules.approvals), now + timedelta(minutes=policy.limits.approval_minutes))
    return Auto()


def only_mode_stops(decision: Decision) -> bool:
    """True when nothing but observe or suggest mode blocks: the fix is shown as proposed, without buttons."""
    blocking = [r for r in decision.rules if not r.passed and r.otherwise == "block"]
    return bool(blocking) and all(r.rule == "mode" for r in blocking)
