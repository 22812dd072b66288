"""What may run by itself, what a person must approve, and what is forbidden. Pure: values in, a decision out.

The file is policy.yaml (a commented one ships as policy_default.yaml); docs/policy.md has the truth table. Every rule
is always evaluated. A rule's failure means "ask" a person or "block"; the gravest failure decides, so that adding a
rule can never allow more. What no rule allows is blocked.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from knowledge.model import (
    Ask,
    Auto,
    Blocked,
    Decision,
    Diagnosis,
    Fixability,
    Incident,
    Plan,
    Precedent,
    Risk,
    RuleResult,
    Target,
    TrackRecord,
    Unsure,
)
from knowledge.passages import Sendable
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

__all__ = [
    "DEFAULT_POLICY",
    "Attempt",
    "Environment",
    "Finding",
    "Policy",
    "PolicyFacts",
    "Service",
    "check_policy",
    "decide",
    "default_policy",
    "environment_of",
    "is_dry_run",
    "load_policy",
    "loop_broken",
    "mode_of",
    "only_mode_stops",
    "outside_forbidden",
    "parse_policy",
    "precedent_confidence",
    "sendable",
    "service_of",
]

MODES = ("observe", "suggest", "approve", "automatic")
_RISKS = (Risk.NONE, Risk.LOW, Risk.MEDIUM, Risk.HIGH)
# The highest risk that may run without a person; an environment of any other name counts as production.
AUTO_RISK = {"staging": Risk.LOW, "dev": Risk.MEDIUM}
SLACK_CONFIRMED_FLOOR = 0.90
SLACK_FIRST_FLOOR = 0.95
CONSERVATIVE_FLOOR = 0.95
CONSERVATIVE_SUCCESSES = 5
# Outcomes of a fix that was carried out, as remembered.
_TRIED = frozenset({"verified", "not_verified", "worse", "failed"})
DIAGNOSIS_SHARE, PRECEDENT_SHARE = 0.6, 0.4


@dataclass(frozen=True, slots=True)
class Attempt:
    """One earlier execution on the same target, newest first where several are given.

    `verdict` is the last verification's ("verified", "not_verified", "worse"), "undone", or "" while not known.
    """

    action: str
    verdict: str
    at: datetime


@dataclass(frozen=True, slots=True)
class PolicyFacts:
    """What the decision needs that is not in the plan. Counts come from the database.

    `attempts` are executions on this target since a person last resumed it (else of the last 24 hours), newest first.
    `record` is that of (kind, action, environment); `slack_confirmed` says that people confirmed such a fix in Slack.
    """

    now: datetime
    fixes_last_hour: int = 0
    paused: bool = False
    flagged: bool = False
    trusted: bool = True
    running_on_target: bool = False
    attempts: tuple[Attempt, ...] = ()
    record: TrackRecord | None = None
    precedents: tuple[Precedent, ...] = ()
    slack_confirmed: bool = False
    # A mode that a person set with /codehealer mode for this channel, service or environment; "" where none is.
    mode: str = ""


@dataclass(frozen=True, slots=True)
class _Case:
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


def environment_of(policy: Policy, name: str) -> tuple[str, Environment]:
    """The environment's name in force and its rules; an unknown name counts as prod, an absent prod allows nothing."""
    if name in policy.environments:
        return name, policy.environments[name]
    return "prod", policy.environments.get("prod") or Environment()


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
    if target is None:
        return policy.mode
    _, rules = environment_of(policy, target.environment)
    service = service_of(policy, target)
    return (service.mode if service else None) or rules.mode or policy.mode


def is_dry_run(policy: Policy, target: Target | None) -> bool:
    """Whether executions on the target only pretend: switched on for everything, its environment or its service."""
    if policy.dry_run is True:
        return True
    if policy.dry_run is False or target is None:
        return False
    return target.environment in policy.dry_run.environments or target.service in policy.dry_run.services


def outside_forbidden(policy: Policy, incident: Incident) -> str:
    """Why nothing about the incident may be sent to an outside model, in words; "" where it may.

    What an alert merely says of itself can only forbid more, never allow.
    """
    target = incident.target
    spaces = {incident.namespace, target.namespace if target else ""} - {""}
    if private := sorted(spaces.intersection(policy.private_namespaces)):
        return f"the namespace {private[0]} is private"
    names = {incident.service, target.service if target else ""} - {""}
    rows = [row for row in policy.services if row.name in names]
    # Without a target it is not known what the alert is about: a place in which one row forbids it will do.
    near = rows if target else [*rows, *(row for row in policy.services if row.namespace in spaces)]
    if closed := next((row for row in near if row.outside_models is False), None):
        return f"outside models are forbidden for {closed.name}"
    opened = bool(rows) and target is not None and all(row.outside_models for row in rows)
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


def precedent_confidence(precedents: Sequence[Precedent], action: str) -> float:
    """0 to 1: how the nearest precedents of this fix ended, weighted by resemblance; one imaginary failure is counted,
    so that a single lucky precedent proves little."""
    known = [p for p in precedents if p.item.action == action and p.item.outcome in _TRIED]
    weight = sum(p.score for p in known)
    good = sum(p.score for p in known if p.item.outcome == "verified" and p.thumbs_down <= p.thumbs_up)
    return good / (weight + 1.0)


def loop_broken(attempts: Sequence[Attempt], action: str) -> str:
    """Why the loop breaker holds `action` back, "" when it does not: same fix twice in vain, or A-B-A-B."""
    in_vain = [a for a in attempts if a.action == action and a.verdict in {"not_verified", "worse", "undone"}]
    if len(in_vain) >= 2:
        return f"{action} was tried {len(in_vain)} times without effect"
    last = [action, *(a.action for a in attempts[:3])]
    if len(last) == 4 and last[0] == last[2] != last[1] == last[3]:
        return f"{last[0]} and {last[1]} take turns without effect"
    return ""


# --- rules ------------------------------------------------------------------------------------------------------


_result = RuleResult  # one line a rule below: rule, limit, actual, passed, otherwise, override


def _has_action(case: _Case) -> RuleResult:
    actual = case.action or f"none: {case.plan.no_action_because or 'nothing is proposed'}"
    return _result("action", "one proposed action", actual, bool(case.action), "block", "a person fixes it")


def _has_target(case: _Case) -> RuleResult:
    actual = case.target.key if case.target else "none"
    override = "add the service to policy.yaml's services table"
    return _result("target", "one row of the services table", actual, case.target is not None, "block", override)


def _mode(case: _Case) -> RuleResult:
    mode = mode_of(case.policy, case.target, case.facts.mode)
    otherwise = "ask" if mode == "approve" else "block"
    override = "/codehealer mode approve" if otherwise == "block" else "/codehealer mode automatic"
    return _result("mode", "automatic", mode, mode == "automatic", otherwise, override)


def _allowed(case: _Case) -> RuleResult:
    allowed = case.rules.actions
    passed = case.action in allowed or "*" in allowed
    limit = ", ".join(allowed) or "no action at all"
    override = f"add it to environments.{case.environment}.actions"
    return _result(f"actions of {case.environment}", limit, case.action or "none", passed, "block", override)


def _production_asks(case: _Case) -> RuleResult:
    passed = case.environment in AUTO_RISK
    return _result("production asks a person", "staging or dev", case.environment, passed, "ask", "an approver")


def _risk(case: _Case) -> RuleResult:
    limit = AUTO_RISK.get(case.environment, Risk.NONE)
    passed = _RISKS.index(case.plan.risk) <= _RISKS.index(limit)
    return _result("risk", f"at most {limit} without a person", str(case.plan.risk), passed, "ask", "an approver")


def _strategy_value(case: _Case) -> tuple[float, float, str]:
    """The strategy's own floor (0 where it names none), the confidence it goes by, and how that came about."""
    own = case.diagnosis.confidence if isinstance(case.diagnosis, Diagnosis) else 0.0
    past = precedent_confidence(case.facts.precedents, case.action)
    strategy = case.rules.strategy
    if strategy == "vector":
        return 0.0, past, f"{past:.2f} from precedents"
    if strategy == "hybrid":
        mixed = DIAGNOSIS_SHARE * own + PRECEDENT_SHARE * past
        return 0.0, mixed, f"{mixed:.2f} = 0.6 × {own:.2f} + 0.4 × {past:.2f}"
    if strategy == "slack_first":
        floor = SLACK_CONFIRMED_FLOOR if case.facts.slack_confirmed else SLACK_FIRST_FLOOR
        return floor, own, f"{own:.2f}"
    return CONSERVATIVE_FLOOR, own, f"{own:.2f}"


def _confidence(case: _Case) -> RuleResult:
    floor, value, how = _strategy_value(case)
    by_action = case.policy.actions.get(case.action)
    floors = {
        f"strategy {case.rules.strategy}": floor,
        f"environment {case.environment}": case.rules.min_confidence,
        f"service {case.service.name}" if case.service else "service": (
            (case.service.min_confidence or 0.0) if case.service else 0.0
        ),
        f"action {case.action}": by_action.min_confidence if by_action else 0.0,
    }
    name = max(floors, key=lambda key: floors[key])
    # Compared as shown, so that 0.95 is 0.95 whatever the floating point sum of its parts.
    passed = round(value, 4) >= floors[name]
    return _result("confidence", f"≥ {floors[name]:.2f} ({name})", how, passed, "ask", "an approver")


def _track_record(case: _Case) -> RuleResult:
    record = case.facts.record
    good, bad = (record.verified, record.failed) if record else (0, 0)
    actual = f"{good} verified, {bad} failed"
    if case.rules.strategy != "conservative":
        return _result("track record", "none asked for by this strategy", actual, True, "ask")
    limit = f"≥ {CONSERVATIVE_SUCCESSES} verified, none failed"
    return _result("track record", limit, actual, good >= CONSERVATIVE_SUCCESSES and bad == 0, "ask", "an approver")


def _fixable(case: _Case) -> RuleResult:
    fixability = str(case.diagnosis.fixability) if isinstance(case.diagnosis, Diagnosis) else "unsure"
    return _result("fixability", "auto", fixability, fixability == Fixability.AUTO, "ask", "an approver")


def _blast_radius(case: _Case) -> RuleResult:
    limit, actual = case.policy.limits.fixes_per_hour, case.facts.fixes_last_hour
    override = "wait, or raise limits.fixes_per_hour"
    return _result("fixes an hour", f"under {limit} for the service", str(actual), actual < limit, "block", override)


def _blacklist(case: _Case) -> RuleResult:
    service = case.target.service if case.target else ""
    hits = [b for b in case.policy.blacklist if b.service in {"*", service} and b.action in {"*", case.action}]
    hard = any(b.hard for b in hits)
    actual = ", ".join(f"({b.service}, {b.action}){' hard' if b.hard else ''}" for b in hits) or "not listed"
    override = "remove the line from blacklist" if hard else "an approver"
    return _result("blacklist", "not listed", actual, not hits, "block" if hard else "ask", override)


def _namespace(case: _Case) -> RuleResult:
    namespace = case.target.namespace if case.target else ""
    passed = namespace not in case.policy.protected_namespaces
    limit = "not " + (", ".join(case.policy.protected_namespaces) or "any protected one")
    return _result("protected namespace", limit, namespace or "-", passed, "block", "remove it from the list")


def _kill_switch(case: _Case) -> RuleResult:
    actual = "paused" if case.facts.paused else "running"
    return _result("kill switch", "running", actual, not case.facts.paused, "block", "/codehealer resume")


def _read_only(case: _Case) -> RuleResult:
    actual = "on" if case.policy.read_only else "off"
    return _result("read-only", "off", actual, not case.policy.read_only, "block", "set read_only: false")


def _dry_run(case: _Case) -> RuleResult:
    on = is_dry_run(case.policy, case.target)
    return _result("dry-run", "off", "on: nothing will be changed" if on else "off", not on, "ask", "an approver")


def _injection(case: _Case) -> RuleResult:
    flagged = case.facts.flagged or case.diagnosis.injection_suspected
    actual = "instructions were found in the evidence" if flagged else "clean"
    return _result("evidence", "free of instructions", actual, not flagged, "ask", "an approver, after reading it")


def _loop_breaker(case: _Case) -> RuleResult:
    why = loop_broken(case.facts.attempts, case.action) if case.action else ""
    return _result("loop breaker", "no fix repeated in vain", why or "no loop", not why, "block", "/codehealer resume")


def _one_at_a_time(case: _Case) -> RuleResult:
    actual = "another fix is running" if case.facts.running_on_target else "nothing is running"
    passed = not case.facts.running_on_target
    return _result("one fix a target", "nothing is running", actual, passed, "block", "wait for it to end")


def _source(case: _Case) -> RuleResult:
    actual = "trusted" if case.facts.trusted else "pasted text or an app that is not on the allow-list"
    return _result("source", "trusted", actual, case.facts.trusted, "block", "add the app to slack.alert_apps")


def _freeze(case: _Case) -> RuleResult:
    for freeze in case.policy.freezes:
        zone = ZoneInfo(freeze.timezone)
        start, end = (at if at.tzinfo else at.replace(tzinfo=zone) for at in (freeze.start, freeze.end))
        concerns = not freeze.environments or case.environment in freeze.environments
        if concerns and start <= case.facts.now <= end:
            until = end.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
            return _result("freeze", "no freeze", f"until {until}", False, "ask", "an approver")
    return _result("freeze", "no freeze", "none now", True, "ask")


def _asked_twice(case: _Case) -> RuleResult:
    why = case.plan.twice
    limit = "nothing that stays when it is undone"
    return _result("asked twice", limit, why or "nothing known", not why, "ask", "an approver, who confirms it again")


RULES: tuple[Callable[[_Case], RuleResult], ...] = (
    _has_action,
    _has_target,
    _mode,
    _allowed,
    _production_asks,
    _risk,
    _confidence,
    _track_record,
    _fixable,
    _blast_radius,
    _blacklist,
    _namespace,
    _kill_switch,
    _read_only,
    _dry_run,
    _injection,
    _loop_breaker,
    _one_at_a_time,
    _source,
    _freeze,
    _asked_twice,
)


def decide(
    plan: Plan, diagnosis: Diagnosis | Unsure, target: Target | None, policy: Policy, facts: PolicyFacts
) -> Decision:
    """Auto, Ask or Blocked, with every rule's limit and actual value. Pure, under a millisecond."""
    environment, rules = environment_of(policy, target.environment if target else "prod")
    case = _Case(
        plan, plan.action.name if plan.action else "", diagnosis, target, environment, rules,
        service_of(policy, target), policy, facts,
    )  # fmt: skip
    results = tuple(rule(case) for rule in RULES)
    verdict = _verdict(results, rules, policy, facts.now)
    return Decision(verdict, mode_of(policy, target, facts.mode), rules.strategy, results)


def _verdict(
    results: Sequence[RuleResult], rules: Environment, policy: Policy, now: datetime
) -> Auto | Ask | Blocked:  # fmt: skip
    failed = [r for r in results if not r.passed]
    blocking = [r for r in failed if r.otherwise == "block"]
    if blocking:
        why = "; ".join(f"{r.rule}: {r.actual} (limit: {r.limit})" for r in blocking)
        return Blocked(why, "; ".join(dict.fromkeys(r.override for r in blocking if r.override)))
    if failed:
        who = (*policy.approvers.users, *policy.approvers.groups, *policy.approvers.channels)
        return Ask(who, max(1, rules.approvals), now + timedelta(minutes=policy.limits.approval_minutes))
    return Auto()


def only_mode_stops(decision: Decision) -> bool:
    """True when nothing but observe or suggest mode blocks: the fix is shown as proposed, without buttons."""
    blocking = [r for r in decision.rules if not r.passed and r.otherwise == "block"]
    return bool(blocking) and all(r.rule == "mode" for r in blocking)
