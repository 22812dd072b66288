"""Which past decisions another policy would have made otherwise. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from knowledge.model import Decision, Diagnosis, Plan, Target, Unsure
from knowledge.store.codec import from_json, to_json
from remediation.policy import Policy, decide, precedent_confidence
from remediation.policy_facts import PolicyFacts


@dataclass(frozen=True, slots=True)
class Rested:
    """What a decision rested on besides its plan and diagnosis."""

    facts: PolicyFacts
    target: Target | None


def kept(facts: PolicyFacts, target: Target | None, action: str) -> dict[str, Any]:
    """What is stored with a decision: of precedents only how they spoke for its action, as their texts may go."""
    past = precedent_confidence(facts.precedents, action) if facts.past is None else facts.past
    rested: dict[str, Any] = to_json(Rested(replace(facts, precedents=(), past=past), target))
    return rested


def decided_again(
    plan: Plan, answer: Diagnosis | Unsure, stored: Mapping[str, Any], policy: Policy
) -> Decision:  # fmt: skip
    """The decision that `policy` makes on the same facts."""
    rested = from_json(Rested, stored)
    return decide(plan, answer, rested.target, policy, rested.facts)


def why_otherwise(before: Decision, after: Decision) -> list[str]:
    """The rules that passed before and fail now, or the other way round, with limit and actual value."""
    was = {rule.rule: rule for rule in before.rules}
    lines = []
    for rule in after.rules:
        old = was.get(rule.rule)
        if old is None or (old.passed, old.otherwise) != (rule.passed, rule.otherwise):
            word = "passes" if rule.passed else f"fails ({rule.otherwise})"
            lines.append(f"{rule.rule} {word}: {rule.actual} (limit: {rule.limit})")
    gone = [name for name in was if name not in {rule.rule for rule in after.rules}]
    return [*lines, *(f"{name}: no such rule any more" for name in gone)]
