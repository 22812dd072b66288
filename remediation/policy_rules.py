"""The policy's rules: one small function each, all of them in one table. Pure."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from knowledge.model import Diagnosis, Fixability, Risk, RuleResult
from remediation.policy_facts import (
    Case,
    is_dry_run,
    loop_broken,
    mode_of,
    mode_with_trust,
    names_of_environment,
    precedent_confidence,
)
from remediation.policy_file import Freeze, Limits, TimeWindow
from remediation.policy_times import clock, within

_RISKS = (Risk.NONE, Risk.LOW, Risk.MEDIUM, Risk.HIGH)
# The highest risk that may run without a person; an environment of any other name counts as production.
AUTO_RISK = {"staging": Risk.LOW, "dev": Risk.MEDIUM}
SLACK_CONFIRMED_FLOOR = 0.90
SLACK_FIRST_FLOOR = 0.95
CONSERVATIVE_FLOOR = 0.95
CONSERVATIVE_SUCCESSES = 5
DIAGNOSIS_SHARE, PRECEDENT_SHARE = 0.6, 0.4


# --- rules ------------------------------------------------------------------------------------------------------


_result = RuleResult  # one line a rule below: rule, limit, actual, passed, otherwise, override


def _has_action(case: Case) -> RuleResult:
    actual = case.action or f"none: {case.plan.no_action_because or 'nothing is proposed'}"
    return _result("action", "one proposed action", actual, bool(case.action), "block", "a person fixes it")


def _has_target(case: Case) -> RuleResult:
    actual = case.target.key if case.target else "none"
    override = "add the service to policy.yaml's services table"
    return _result("target", "one row of the services table", actual, case.target is not None, "block", override)


def _mode(case: Case) -> RuleResult:
    mode = mode_of(case.policy, case.target, case.facts.mode)
    if mode_with_trust(mode, case.facts.earned) != mode:
        return _result("mode", "automatic", f"automatic for this fix: {case.facts.earned}", True, "ask")
    otherwise = "ask" if mode == "approve" else "block"
    override = "/codehealer mode approve" if otherwise == "block" else "/codehealer mode automatic"
    return _result("mode", "automatic", mode, mode == "automatic", otherwise, override)


def _allowed(case: Case) -> RuleResult:
    allowed = case.rules.actions
    passed = case.action in allowed or "*" in allowed
    limit = ", ".join(allowed) or "no action at all"
    override = f"add it to environments.{case.environment}.actions"
    return _result(f"actions of {case.environment}", limit, case.action or "none", passed, "block", override)


def _production_asks(case: Case) -> RuleResult:
    passed = case.environment in AUTO_RISK
    return _result("production asks a person", "staging or dev", case.environment, passed, "ask", "an approver")


def _risk(case: Case) -> RuleResult:
    limit = AUTO_RISK.get(case.environment, Risk.NONE)
    passed = _RISKS.index(case.plan.risk) <= _RISKS.index(limit)
    return _result("risk", f"at most {limit} without a person", str(case.plan.risk), passed, "ask", "an approver")


def _strategy_value(case: Case) -> tuple[float, float, str]:
    """The strategy's own floor (0 where it names none), the confidence it goes by, and how that came about."""
    own = case.diagnosis.confidence if isinstance(case.diagnosis, Diagnosis) else 0.0
    stored = case.facts.past
    past = precedent_confidence(case.facts.precedents, case.action) if stored is None else stored
    strategy = case.strategy
    if strategy == "vector":
        return 0.0, past, f"{past:.2f} from precedents"
    if strategy == "hybrid":
        mixed = DIAGNOSIS_SHARE * own + PRECEDENT_SHARE * past
        return 0.0, mixed, f"{mixed:.2f} = 0.6 × {own:.2f} + 0.4 × {past:.2f}"
    if strategy == "slack_first":
        floor = SLACK_CONFIRMED_FLOOR if case.facts.slack_confirmed else SLACK_FIRST_FLOOR
        return floor, own, f"{own:.2f}"
    return CONSERVATIVE_FLOOR, own, f"{own:.2f}"


def _confidence(case: Case) -> RuleResult:
    floor, value, how = _strategy_value(case)
    by_action = case.policy.actions.get(case.action)
    floors = {
        f"strategy {case.strategy}": floor,
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


def _track_record(case: Case) -> RuleResult:
    record = case.facts.record
    good, bad = (record.verified, record.failed) if record else (0, 0)
    actual = f"{good} verified, {bad} failed"
    if case.strategy != "conservative":
        return _result("track record", "none asked for by this strategy", actual, True, "ask")
    limit = f"≥ {CONSERVATIVE_SUCCESSES} verified, none failed"
    return _result("track record", limit, actual, good >= CONSERVATIVE_SUCCESSES and bad == 0, "ask", "an approver")


def _fixable(case: Case) -> RuleResult:
    fixability = str(case.diagnosis.fixability) if isinstance(case.diagnosis, Diagnosis) else "unsure"
    return _result("fixability", "auto", fixability, fixability == Fixability.AUTO, "ask", "an approver")


def _fixes_an_hour(case: Case) -> RuleResult:
    limit, actual = case.policy.limits.fixes_per_hour, case.facts.fixes_last_hour
    override = "wait, or raise limits.fixes_per_hour"
    return _result("fixes an hour", f"under {limit} for the service", str(actual), actual < limit, "block", override)


def _blacklist(case: Case) -> RuleResult:
    service = case.target.service if case.target else ""
    hits = [b for b in case.policy.blacklist if b.service in {"*", service} and b.action in {"*", case.action}]
    hard = any(b.hard for b in hits)
    actual = ", ".join(f"({b.service}, {b.action}){' hard' if b.hard else ''}" for b in hits) or "not listed"
    override = "remove the line from blacklist" if hard else "an approver"
    return _result("blacklist", "not listed", actual, not hits, "block" if hard else "ask", override)


def _namespace(case: Case) -> RuleResult:
    namespace = case.target.namespace if case.target else ""
    passed = namespace not in case.policy.protected_namespaces
    limit = "not " + (", ".join(case.policy.protected_namespaces) or "any protected one")
    return _result("protected namespace", limit, namespace or "-", passed, "block", "remove it from the list")


def _kill_switch(case: Case) -> RuleResult:
    actual = "paused" if case.facts.paused else "running"
    return _result("kill switch", "running", actual, not case.facts.paused, "block", "/codehealer resume")


def _read_only(case: Case) -> RuleResult:
    actual = "on" if case.policy.read_only else "off"
    return _result("read-only", "off", actual, not case.policy.read_only, "block", "set read_only: false")


def _dry_run(case: Case) -> RuleResult:
    on = is_dry_run(case.policy, case.target)
    return _result("dry-run", "off", "on: nothing will be changed" if on else "off", not on, "ask", "an approver")


def _injection(case: Case) -> RuleResult:
    flagged = case.facts.flagged or case.diagnosis.injection_suspected
    actual = "instructions were found in the evidence" if flagged else "clean"
    return _result("evidence", "free of instructions", actual, not flagged, "ask", "an approver, after reading it")


def _loop_breaker(case: Case) -> RuleResult:
    why = loop_broken(case.facts.attempts, case.action) if case.action else ""
    return _result("loop breaker", "no fix repeated in vain", why or "no loop", not why, "block", "/codehealer resume")


def _one_at_a_time(case: Case) -> RuleResult:
    actual = "another fix is running" if case.facts.running_on_target else "nothing is running"
    passed = not case.facts.running_on_target
    return _result("one fix a target", "nothing is running", actual, passed, "block", "wait for it to end")


def _source(case: Case) -> RuleResult:
    actual = "trusted" if case.facts.trusted else "pasted text or an app that is not on the allow-list"
    return _result("source", "trusted", actual, case.facts.trusted, "block", "add the app to slack.alert_apps")


def _freeze(case: Case) -> RuleResult:
    held = [f for f in case.policy.freezes if _concerns(f, case) and _frozen_until(f, case.facts.now)]
    if not held:
        return _result("freeze", "no freeze", "none now", True, "ask")
    worst = next((f for f in held if f.hard), held[0])
    until = worst.end if worst.end.tzinfo else worst.end.replace(tzinfo=ZoneInfo(worst.timezone))
    actual = f"until {until.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    override = "wait, or remove it from freezes" if worst.hard else "an approver"
    return _result("freeze", "no freeze", actual, False, "block" if worst.hard else "ask", override)


def _concerns(part: Freeze | TimeWindow, case: Case) -> bool:
    names = names_of_environment(case.policy, case.target.environment if case.target else case.environment)
    return not part.environments or not names.isdisjoint(part.environments)


def _frozen_until(freeze: Freeze, now: datetime) -> bool:
    zone = ZoneInfo(freeze.timezone)
    start, end = (at if at.tzinfo else at.replace(tzinfo=zone) for at in (freeze.start, freeze.end))
    return start <= now <= end


def _time_window(case: Case) -> RuleResult:
    held = [w for w in case.policy.time_windows if _concerns(w, case) and within(w, case.facts.now)]
    names = ", ".join(w.name for w in case.policy.time_windows if _concerns(w, case))
    limit = f"outside of {names}" if names else "none is set"
    if not held:
        return _result("time window", limit, f"{case.facts.now.astimezone(UTC):%a %H:%M} UTC", True, "ask")
    worst = next((w for w in held if w.hard), held[0])
    actual = f"{worst.name} ({', '.join(worst.days)} {clock(worst.start)}-{clock(worst.end)} {worst.timezone})"
    override = "wait, or remove it from time_windows" if worst.hard else "an approver"
    return _result("time window", limit, actual, False, "block" if worst.hard else "ask", override)


def _blast_radius(case: Case) -> RuleResult:
    limits, touches = case.policy.limits, case.plan.touches
    limit = (
        f"≤ {limits.replicas_per_action} more replicas, {limits.pods_per_action} pods, {limits.percent_per_action} %"
    )
    actual = f"{touches.replicas} more replicas, {touches.pods} of {touches.of} pods, {touches.percent} %"
    passed = (
        touches.replicas <= limits.replicas_per_action
        and touches.pods <= limits.pods_per_action
        and touches.percent <= limits.percent_per_action
    )
    override = "raise limits.replicas_per_action, pods_per_action or percent_per_action"
    return _result("blast radius", limit, actual, passed, "block", override)


def _cooldown(case: Case) -> RuleResult:
    wait = timedelta(minutes=case.policy.limits.cooldown_minutes)
    limit = f"{case.policy.limits.cooldown_minutes} min after the last fix of this target"
    if not case.facts.attempts:
        return _result("cooldown", limit, "no fix of late", True, "ask")
    since = max(timedelta(0), case.facts.now - case.facts.attempts[0].at)
    actual = f"{since.total_seconds() / 60:.0f} min"
    return _result("cooldown", limit, actual, since >= wait, "ask", "an approver")


def breaker_trips(limits: Limits, automatic_last_hour: int, failures_in_a_row: int) -> str:
    """Why nothing may run by itself any more, over all targets; "" while it may."""
    if failures_in_a_row >= limits.failures_in_a_row:
        return f"{failures_in_a_row} fixes that ran by themselves failed in a row"
    if automatic_last_hour >= limits.automatic_fixes_per_hour:
        return f"{automatic_last_hour} fixes ran by themselves within an hour"
    return ""


def _breaker(case: Case) -> RuleResult:
    limits, facts = case.policy.limits, case.facts
    limit = (
        f"under {limits.automatic_fixes_per_hour} automatic fixes an hour, {limits.failures_in_a_row} failures in a row"
    )
    why = facts.breaker or breaker_trips(limits, facts.automatic_last_hour, facts.failures_in_a_row)
    actual = why or f"{facts.automatic_last_hour} and {facts.failures_in_a_row}, of automatic ones over all targets"
    return _result("breaker", limit, actual, not why, "ask", "an approver; /codehealer resume ends it")


def _by_hand(case: Case) -> RuleResult:
    why = case.facts.by_hand
    return _result("a person's work", "nobody has taken it", why or "nobody has", not why, "ask", "an approver")


def _asked_twice(case: Case) -> RuleResult:
    why = case.plan.twice
    limit = "nothing that stays when it is undone"
    return _result("asked twice", limit, why or "nothing known", not why, "ask", "an approver, who confirms it again")


RULES: tuple[Callable[[Case], RuleResult], ...] = (
    _has_action,
    _has_target,
    _mode,
    _allowed,
    _production_asks,
    _risk,
    _confidence,
    _track_record,
    _fixable,
    _fixes_an_hour,
    _blast_radius,
    _cooldown,
    _breaker,
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
    _time_window,
    _by_hand,
    _asked_twice,
)
