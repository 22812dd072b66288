"""The policy: its truth table, its monotony, and a file's mistakes."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knowledge.errors import SettingsError
from knowledge.model import (
    Action,
    AnswerSource,
    Ask,
    Auto,
    Blocked,
    Decision,
    FailureKind,
    Fixability,
    Incident,
    IncidentState,
    KnowledgeItem,
    Plan,
    Precedent,
    Risk,
    Target,
    Touched,
    TrackRecord,
    Unsure,
)
from remediation.policy import (
    RULES,
    Attempt,
    Policy,
    PolicyFacts,
    check_policy,
    decide,
    default_policy,
    is_dry_run,
    load_policy,
    loop_broken,
    mode_of,
    only_mode_stops,
    outside_forbidden,
    parse_policy,
    sendable,
)
from remediation.policy_check import doubts
from remediation.policy_rules import within
from tests.remediation.site import diagnosis

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
ENVIRONMENTS = """
  prod: {mode: automatic, strategy: slack_first, min_confidence: 0.95, approvals: 2, actions: [k8s_scale, k8s_rollback]}
  staging: {mode: automatic, strategy: slack_first, min_confidence: 0.85, actions: [k8s_scale, k8s_rollback]}
  dev: {mode: automatic, strategy: slack_first, min_confidence: 0.75, actions: [k8s_scale, k8s_rollback]}
"""
POLICY = f"""
version: 1
mode: automatic
environments: {ENVIRONMENTS}
approvers: {{users: [U1, U2], groups: [S1]}}
services:
  - {{name: api, environment: staging, namespace: stage, workload: {{name: api}}, max_replicas: 4}}
"""
TARGET = Target("Deployment", "api", "stage", "", "", "api", "staging")
CONFIDENT = diagnosis(FailureKind.PERFORMANCE, 0.99)


def plan(name: str = "k8s_scale", risk: Risk = Risk.LOW, target: Target = TARGET) -> Plan:
    return Plan(Action(name, target, {}), (name,), risk=risk)


def verdict(policy: str = POLICY, **changes: Any) -> Decision:
    """The decision on a case in which everything allows, with the given changes."""
    facts = PolicyFacts(**{"now": NOW, **changes.pop("facts", {})})
    target = changes.pop("target", TARGET)
    proposal = changes.pop("plan", plan(target=target))
    found = changes.pop("diagnosis", CONFIDENT)
    assert not changes
    return decide(proposal, found, target, parse_policy(policy), facts)


def failing(decision: Decision) -> set[str]:
    return {r.rule for r in decision.rules if not r.passed}


PROD = replace(TARGET, environment="prod")
UNKNOWN = replace(TARGET, environment="qa-7")
VAIN = (Attempt("k8s_scale", "not_verified", NOW), Attempt("k8s_scale", "worse", NOW))
TURNS = (Attempt("k8s_rollback", "", NOW), Attempt("k8s_scale", "", NOW), Attempt("k8s_rollback", "", NOW))

# name of the case in docs/policy.md → (what differs from the case in which everything allows, rule, verdict).
TRUTH: dict[str, tuple[dict[str, Any], str, type]] = {
    "everything allows": ({}, "", Auto),
    "no action is proposed": ({"plan": Plan(None, no_action_because="x")}, "action", Blocked),
    "no row of the services table": ({"target": None, "plan": plan()}, "target", Blocked),
    "mode observe": ({"facts": {"mode": "observe"}}, "mode", Blocked),
    "mode suggest": ({"facts": {"mode": "suggest"}}, "mode", Blocked),
    "mode approve": ({"facts": {"mode": "approve"}}, "mode", Ask),
    "the environment does not list the action": ({"plan": plan("github_rerun")}, "actions of staging", Blocked),
    "production": ({"target": PROD}, "production asks a person", Ask),
    "an environment nobody listed": ({"target": UNKNOWN}, "production asks a person", Ask),
    "medium risk in staging": ({"plan": plan("k8s_rollback", Risk.MEDIUM)}, "risk", Ask),
    "confidence under the floor": ({"diagnosis": diagnosis(FailureKind.PERFORMANCE, 0.94)}, "confidence", Ask),
    "the cause is not sure": (
        {"diagnosis": Unsure("?", (), AnswerSource("built-in"))}, "confidence", Ask,
    ),
    "the diagnosis says manual": (
        {"diagnosis": replace(CONFIDENT, fixability=Fixability.MANUAL)}, "fixability", Ask,
    ),
    "ten fixes in this hour": ({"facts": {"fixes_last_hour": 10}}, "fixes an hour", Blocked),
    "on the blacklist": ({"policy": POLICY + "blacklist: [[api, k8s_scale]]\n"}, "blacklist", Ask),
    "on the blacklist by a star": ({"policy": POLICY + "blacklist: [[api, '*']]\n"}, "blacklist", Ask),
    "on the blacklist, hard": (
        {"policy": POLICY + "blacklist: [{service: '*', action: k8s_scale, hard: true}]\n"}, "blacklist", Blocked,
    ),
    "a protected namespace": (
        {"policy": POLICY + "protected_namespaces: [stage]\n"}, "protected namespace", Blocked,
    ),
    "paused": ({"facts": {"paused": True}}, "kill switch", Blocked),
    "read-only": ({"policy": POLICY + "read_only: true\n"}, "read-only", Blocked),
    "dry-run": ({"policy": POLICY + "dry_run: {services: [api]}\n"}, "dry-run", Ask),
    "instructions in the evidence": ({"facts": {"flagged": True}}, "evidence", Ask),
    "the same fix twice in vain": ({"facts": {"attempts": VAIN}}, "loop breaker", Blocked),
    "two fixes take turns": ({"facts": {"attempts": TURNS}}, "loop breaker", Blocked),
    "another fix is running": ({"facts": {"running_on_target": True}}, "one fix a target", Blocked),
    "pasted text or an unknown app": ({"facts": {"trusted": False}}, "source", Blocked),
    "a freeze": (
        {"policy": POLICY + "freezes: [{from: 2026-11-23 09:30, to: 2026-11-23 10:30, timezone: Europe/Paris}]\n"},
        "freeze", Ask,
    ),
    "a person has taken the incident": ({"facts": {"by_hand": "a person is on it"}}, "a person's work", Ask),
    "a hard freeze": (
        {"policy": POLICY + "freezes: [{from: 2026-11-23 08:00, to: 2026-11-23 10:30, hard: true}]\n"},
        "freeze", Blocked,
    ),
    "peak hours": (
        {"policy": POLICY + "time_windows: [{name: peak, days: [mon], from: 9:30, timezone: Europe/Paris}]\n"},
        "time window", Ask,
    ),
    "hard peak hours": (
        {"policy": POLICY + "time_windows: [{name: peak, from: 08:00, to: 09:30, hard: true}]\n"},
        "time window", Blocked,
    ),
    "more pods than one action may touch": (
        {"policy": POLICY + "limits: {pods_per_action: 3}\n", "plan": replace(plan(), touches=Touched(0, 4, 8))},
        "blast radius", Blocked,
    ),
    "soon after another fix": (
        {"facts": {"attempts": (Attempt("k8s_restart_pod", "verified", NOW - timedelta(minutes=9)),)}}, "cooldown", Ask,
    ),
    "the breaker over all targets": ({"facts": {"failures_in_a_row": 3}}, "breaker", Ask),
    "a migration lies between": ({"plan": replace(plan(), twice="A migration lies between.")}, "asked twice", Ask),
    "conservative without five successes": (
        {"policy": POLICY.replace("slack_first", "conservative")}, "track record", Ask,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TRUTH)
def test_each_rule_alone_decides_as_the_truth_table_says(case: str) -> None:
    changes, rule, expected = TRUTH[case]
    decision = verdict(**dict(changes))
    assert isinstance(decision.verdict, expected), decision.verdict
    assert len(decision.rules) == len(RULES)
    assert all(r.limit and r.actual for r in decision.rules)
    if rule:
        assert rule in failing(decision)


def test_the_documentation_has_exactly_this_truth_table() -> None:
    text = Path("docs/policy.md").read_text("utf-8")
    rows = re.findall(r"^\| (.+?) \| `(.+?)` \| (auto|ask|blocked) \|$", text, re.MULTILINE)
    written = {case: (rule, result) for case, rule, result in rows}
    expected = {case: (rule or "-", kind.__name__.lower()) for case, (_, rule, kind) in TRUTH.items()}
    assert written == expected


def test_every_rule_is_in_the_truth_table() -> None:
    decision = verdict()
    assert {r.rule for r in decision.rules} == {rule for _, rule, _ in TRUTH.values() if rule}


INCIDENT = Incident(
    id=1, identity="i", title="t", state=IncidentState.DIAGNOSING, source="alertmanager", severity="", service="",
    environment="", namespace="", workload="", cluster="", repository="", run_id="", channel="", thread_ts="",
    trusted=True, flagged=False, target=None, kind=None, alert_count=1, opened_at=NOW, last_alert_at=NOW,
    resolved_at=None, revision=1,
)  # fmt: skip
CLOSED = """
version: 1
private_namespaces: [vault]
services:
  - {name: pay, environment: prod, namespace: money, workload: {name: pay}, outside_models: false}
  - {name: shop, environment: prod, namespace: shop, workload: {name: shop}}
  - {name: open, environment: prod, namespace: shop, workload: {name: open}, outside_models: true}
"""


@pytest.mark.parametrize(
    ("everywhere", "service", "namespace", "target", "why"),
    [
        ("true", "shop", "shop", None, ""),
        ("true", "", "", None, ""),
        ("true", "pay", "", None, "outside models are forbidden for pay"),
        ("true", "", "money", None, "outside models are forbidden for pay"),
        ("true", "shop", "shop", Target("Deployment", "pay", "money", "", "", "pay", "prod"), "forbidden for pay"),
        ("true", "shop", "vault", None, "the namespace vault is private"),
        ("false", "shop", "shop", None, "the policy forbids outside models"),
        ("false", "", "", None, "the policy forbids outside models"),
        ("false", "open", "shop", Target("Deployment", "open", "shop", "", "", "open", "prod"), ""),
        ("false", "open", "shop", None, "the policy forbids outside models"),
    ],
)
def test_what_forbids_outside_models_is_named_and_an_alert_cannot_allow_them(
    everywhere: str, service: str, namespace: str, target: Target | None, why: str
) -> None:
    policy = parse_policy(CLOSED + f"outside_models: {everywhere}\n")
    incident = replace(INCIDENT, service=service, namespace=namespace, target=target)
    said = outside_forbidden(policy, incident)
    assert bool(said) == bool(why)
    assert why in said


RUN = Target("WorkflowRun", "7", "", "", "acme/pay", "ledger", "prod")


@pytest.mark.parametrize(
    ("service", "repository", "target", "private"),
    [
        ("", "", RUN, True),
        ("", "Acme/Pay", None, True),
        ("ledger", "", None, True),
        # Of a repository that several services share, a run is in part about each.
        ("", "", replace(RUN, service="report"), True),
        ("", "acme/shop", None, False),
        ("", "acme/shop", replace(RUN, repository="acme/shop", service="shop"), False),
        # A workload's place is known, whatever else is built of its repository.
        ("", "acme/pay", Target("Deployment", "report", "open", "", "acme/pay", "report", "prod"), False),
    ],
)
def test_what_a_run_is_about_is_where_its_services_run(
    service: str, repository: str, target: Target | None, private: bool
) -> None:
    policy = parse_policy("""
    private_namespaces: [payments]
    services:
      - {name: ledger, namespace: payments, workload: {name: ledger}, repository: acme/pay}
      - {name: report, namespace: open, workload: {name: report}, repository: acme/pay}
      - {name: shop, namespace: shop, workload: {name: shop}, repository: acme/shop}
    """)
    incident = replace(INCIDENT, service=service, repository=repository, target=target)
    assert outside_forbidden(policy, incident) == ("the namespace payments is private" if private else "")


def test_a_run_of_a_repository_that_several_share_is_as_closed_as_the_most_closed_of_them() -> None:
    rows = (
        "services: [{name: ledger, repository: acme/pay, outside_models: true}, {name: report, repository: acme/pay}]"
    )
    run = replace(INCIDENT, target=RUN)
    assert outside_forbidden(parse_policy(f"outside_models: false\n{rows}"), run) == "the policy forbids outside models"
    alone = rows.replace("name: report, repository: acme/pay", "name: report, repository: acme/report")
    assert not outside_forbidden(parse_policy(f"outside_models: false\n{alone}"), run)
    shut = parse_policy(rows.replace("name: report,", "name: report, outside_models: false,"))
    assert outside_forbidden(shut, run) == "outside models are forbidden for report"


def test_where_one_service_is_closed_what_belongs_to_none_stays_here_too() -> None:
    open_to_all = sendable(parse_policy(""))
    assert open_to_all.includes("")
    closed = sendable(parse_policy(CLOSED.replace("private_namespaces: [vault]", "outside_models: true")))
    assert [closed.includes(name) for name in ("pay", "", "shop")] == [False, False, True]


def test_an_empty_policy_allows_nothing() -> None:
    decision = decide(plan(), CONFIDENT, TARGET, parse_policy(""), PolicyFacts(now=NOW, mode="automatic"))
    assert isinstance(decision.verdict, Blocked)
    assert "no action at all" in decision.verdict.why


def test_the_shipped_policy_observes() -> None:
    policy = default_policy()
    assert policy.mode == "observe"
    assert mode_of(policy, TARGET) == "observe"
    decision = decide(plan(), CONFIDENT, TARGET, policy, PolicyFacts(now=NOW))
    assert isinstance(decision.verdict, Blocked)
    assert only_mode_stops(decision)
    assert {(b.service, b.action) for b in policy.blacklist} == {("payment-service", "k8s_scale"), ("database", "*")}


def test_a_fix_that_more_than_the_mode_stops_is_not_merely_proposed() -> None:
    assert not only_mode_stops(verdict(facts={"mode": "observe", "paused": True}))
    assert not only_mode_stops(verdict())


def test_an_ask_says_who_how_many_and_until_when() -> None:
    decision = verdict(target=PROD)
    assert decision.verdict == Ask(("U1", "U2", "S1"), 2, NOW + timedelta(minutes=30))


def test_a_block_names_the_rule_the_limit_the_actual_value_and_who_may_override() -> None:
    decision = verdict(facts={"fixes_last_hour": 12})
    assert isinstance(decision.verdict, Blocked)
    assert decision.verdict.why == "fixes an hour: 12 (limit: under 10 for the service)"
    assert "limits.fixes_per_hour" in decision.verdict.override


def test_the_more_specific_mode_is_in_force() -> None:
    policy = parse_policy(POLICY.replace("mode: automatic\nenv", "mode: suggest\nenv"))
    assert mode_of(policy, TARGET) == "automatic"
    own = parse_policy(POLICY.replace("max_replicas: 4", "max_replicas: 4, mode: approve"))
    assert mode_of(own, TARGET) == "approve"
    assert mode_of(own, TARGET, "observe") == "observe"
    assert mode_of(policy, replace(TARGET, environment="qa")) == "automatic"  # counts as prod


def precedent(outcome: str, score: float = 0.9) -> Precedent:
    base = KnowledgeItem("k", "incident", None, "api", "staging", "", "more replicas", outcome, "", "", NOW)
    item = replace(base, action="k8s_scale")
    return Precedent(item, score, score)


def record(verified: int, failed: int) -> TrackRecord:
    return TrackRecord(FailureKind.PERFORMANCE, "k8s_scale", "staging", verified, failed, 0)


@pytest.mark.parametrize(
    ("strategy", "confidence", "facts", "passes"),
    [
        ("slack_first", 0.94, {}, False),
        ("slack_first", 0.95, {}, True),
        ("slack_first", 0.90, {"slack_confirmed": True}, True),
        ("slack_first", 0.89, {"slack_confirmed": True}, False),
        ("vector", 0.99, {}, False),
        ("vector", 0.10, {"precedents": tuple(precedent("verified") for _ in range(9))}, True),
        ("vector", 0.99, {"precedents": tuple(precedent(o) for o in ("verified", "worse") * 9)}, False),
        ("hybrid", 1.00, {}, False),
        ("hybrid", 0.95, {"precedents": tuple(precedent("verified") for _ in range(9))}, True),
        ("conservative", 0.94, {"record": record(9, 0)}, False),
        ("conservative", 0.95, {"record": record(5, 0)}, True),
        ("conservative", 0.99, {"record": record(4, 0)}, False),
        ("conservative", 0.99, {"record": record(9, 1)}, False),
    ],
)
def test_strategies_and_their_thresholds(
    strategy: str, confidence: float, facts: dict[str, Any], passes: bool
) -> None:  # fmt: skip
    decision = verdict(
        POLICY.replace("slack_first", strategy), diagnosis=diagnosis(FailureKind.PERFORMANCE, confidence), facts=facts
    )
    assert isinstance(decision.verdict, Auto if passes else Ask)
    assert decision.strategy == strategy


def test_the_highest_floor_is_in_force() -> None:
    low = POLICY.replace("slack_first", "vector").replace("max_replicas: 4", "max_replicas: 4, min_confidence: 0.5")
    rules = {r.rule: r for r in verdict(low).rules}
    assert rules["confidence"].limit == "≥ 0.85 (environment staging)"
    raised = {r.rule: r for r in verdict(low + "actions: {k8s_scale: {min_confidence: 0.97}}\n").rules}
    assert raised["confidence"].limit == "≥ 0.97 (action k8s_scale)"


def test_a_freeze_ends_when_it_ends() -> None:
    frozen = POLICY + "freezes: [{from: 2026-11-20, to: 2026-11-23 09:59, timezone: Europe/Paris}]\n"
    assert isinstance(verdict(frozen).verdict, Auto)  # 10:00 in Paris
    elsewhere = frozen.replace("09:59", "18:00").replace("Paris}", "Paris, environments: [prod]}")
    assert isinstance(verdict(elsewhere).verdict, Auto)


@pytest.mark.parametrize(
    ("moment", "inside"),
    [
        ("2026-11-27T20:59Z", False),
        ("2026-11-27T21:00Z", True),  # Friday, 22:00 in Paris
        ("2026-11-28T04:59Z", True),  # still Friday's night
        ("2026-11-28T05:00Z", False),
        ("2026-11-28T22:00Z", False),  # Saturday is not among its days
        ("2026-03-28T20:30Z", False),
        ("2026-07-03T20:30Z", True),  # 22:30 in summer
    ],
)
def test_a_window_goes_by_the_wall_clock_and_past_midnight(moment: str, inside: bool) -> None:
    text = "time_windows: [{name: night, days: [fri], from: 22:00, to: 06:00, timezone: Europe/Paris}]"
    (window,) = parse_policy(text).time_windows
    assert within(window, datetime.fromisoformat(moment)) is inside


def test_a_weekend_needs_no_hours() -> None:
    (window,) = parse_policy("time_windows: [{name: weekend, days: [sat, sun]}]").time_windows
    assert [day for day in range(23, 30) if within(window, datetime(2026, 11, day, 12, tzinfo=UTC))] == [28, 29]


def test_a_kind_may_have_a_strategy_of_its_own() -> None:
    staging = "{mode: automatic, strategy: slack_first, min_confidence: 0.85"
    own = POLICY.replace(staging, staging + ", strategies: {performance: conservative}")
    assert own != POLICY
    assert (verdict(own).strategy, verdict(POLICY).strategy) == ("conservative", "slack_first")
    assert "track record" in failing(verdict(own))


def test_trust_lifts_approve_to_automatic_and_nothing_that_was_narrowed_further() -> None:
    earned = {"earned": "12 of 12 worked, granted by U1"}
    assert isinstance(verdict(facts={"mode": "approve", **earned}).verdict, Auto)
    assert isinstance(verdict(facts={"mode": "suggest", **earned}).verdict, Blocked)
    assert isinstance(verdict(target=PROD, facts={"mode": "approve", **earned}).verdict, Ask)


def test_dry_run_is_for_everything_an_environment_or_a_service() -> None:
    assert is_dry_run(parse_policy("dry_run: true"), None)
    assert is_dry_run(parse_policy("dry_run: {environments: [staging]}"), TARGET)
    elsewhere = "environments: {staging: {}}\ndry_run: {environments: [prod], services: [web]}"
    assert not is_dry_run(parse_policy(elsewhere), TARGET)


COUNTS_AS_PROD = POLICY.replace("environment: staging", "environment: production")


@pytest.mark.parametrize("name", ["prod", "production"])
@pytest.mark.parametrize(
    ("switch", "rule", "kind"),
    [
        ("dry_run: {environments: [NAME]}\n", "dry-run", Ask),
        ("freezes: [{from: 2026-11-23, to: 2026-11-24, environments: [NAME], hard: true}]\n", "freeze", Blocked),
        ("time_windows: [{name: always, environments: [NAME], hard: true}]\n", "time window", Blocked),
    ],
)
def test_a_switch_reaches_an_environment_by_either_of_its_names(
    switch: str, rule: str, kind: type, name: str
) -> None:  # fmt: skip
    text = COUNTS_AS_PROD + switch.replace("NAME", name)
    target = replace(TARGET, environment="production")
    decision = verdict(text, target=target)
    assert rule in failing(decision)
    assert isinstance(decision.verdict, kind)
    assert is_dry_run(parse_policy(text), target) is (rule == "dry-run")
    assert rule not in failing(verdict(text.replace(f"[{name}]", "[staging]"), target=target))


def test_a_switch_for_what_nothing_is_called_is_told() -> None:
    text = (
        COUNTS_AS_PROD
        + "dry_run: {environments: [prd, production], services: [apis, api]}\n"
        + "freezes: [{from: 2026-01-02, to: 2026-01-03, environments: [prod, qa]}]\n"
        + "time_windows: [{name: night, from: 22:00, environments: [stagng]}]\n"
    )
    found = {one.field: str(one) for one in doubts(text, parse_policy(text), ("k8s_scale", "k8s_rollback"), file="p")}
    line = text.count("\n")
    assert {field: said for field, said in found.items() if not field.startswith("services")} == {
        "dry_run.environments.0": f"p:{line - 2}: dry_run.environments.0: there is no environment 'prd'. "
        "Did you mean 'prod'?",
        "dry_run.services.0": f"p:{line - 2}: dry_run.services.0: there is no service 'apis'. Did you mean 'api'?",
        "freezes.0.environments.1": f"p:{line - 1}: freezes.0.environments.1: there is no environment 'qa'. "
        "Known are dev, prod, production, staging",
        "time_windows.0.environments.0": f"p:{line}: time_windows.0.environments.0: there is no environment 'stagng'. "
        "Did you mean 'staging'?",
    }


def test_one_success_between_does_not_make_a_loop() -> None:
    assert not loop_broken((Attempt("k8s_scale", "not_verified", NOW),), "k8s_scale")
    assert not loop_broken(TURNS, "k8s_restart_pod")
    assert loop_broken(VAIN, "k8s_scale")


ORDER = {Blocked: 0, Ask: 1, Auto: 2}
FACTS = st.fixed_dictionaries(
    {
        "fixes_last_hour": st.integers(0, 20),
        "paused": st.booleans(),
        "flagged": st.booleans(),
        "trusted": st.booleans(),
        "running_on_target": st.booleans(),
        "mode": st.sampled_from(["", "observe", "suggest", "approve", "automatic"]),
        "earned": st.sampled_from(["", "granted by U1"]),
        "automatic_last_hour": st.integers(0, 30),
        "attempts": st.sampled_from([(), (Attempt("k8s_rollback", "verified", NOW - timedelta(minutes=30)),)]),
    }
)
EXTRA = st.sampled_from(
    [
        "read_only: true\n",
        "dry_run: true\n",
        "blacklist: [['*', '*']]\n",
        "blacklist: [{service: api, action: '*', hard: true}]\n",
        "protected_namespaces: [stage]\n",
        "limits: {fixes_per_hour: 1}\n",
        "actions: {k8s_scale: {min_confidence: 1.0}}\n",
        "freezes: [{from: 2020-01-01, to: 2030-01-01}]\n",
        "time_windows: [{name: night, from: 22:00, to: 09:30, hard: true}]\n",
        "limits: {percent_per_action: 0}\n",
        "limits: {cooldown_minutes: 60}\n",
        "limits: {automatic_fixes_per_hour: 5}\n",
    ]
)


@settings(max_examples=150, deadline=None)
@given(
    facts=FACTS, extra=EXTRA, environment=st.sampled_from(["prod", "staging", "dev", "other"]),
    risk=st.sampled_from(list(Risk)), confidence=st.floats(0, 1),
)  # fmt: skip
def test_adding_a_rule_never_allows_more(
    facts: dict[str, Any], extra: str, environment: str, risk: Risk, confidence: float
) -> None:
    target = replace(TARGET, environment=environment)
    case = {"target": target, "plan": plan(risk=risk, target=target), "facts": facts}
    found = diagnosis(FailureKind.PERFORMANCE, confidence)
    before = verdict(POLICY, diagnosis=found, **dict(case)).verdict
    after = verdict(POLICY + extra, diagnosis=found, **dict(case)).verdict
    assert ORDER[type(after)] <= ORDER[type(before)]
    if environment not in {"staging", "dev"}:
        assert not isinstance(before, Auto)


@pytest.mark.parametrize(
    ("text", "line", "field", "words"),
    [
        ("version: 1\nmode: watch\n", 2, "mode", "observe"),
        ("version: 1\nmdoe: observe\n", 2, "mdoe", "Did you mean 'mode'"),
        ("environments:\n  prod:\n    min_confidence: 7\n", 3, "environments.prod.min_confidence", "got 7"),
        ("environments:\n  prod:\n    min_confidense: 0.7\n", 3, "environments.prod.min_confidense", "min_confidence"),
        ("services:\n  - environment: prod\n", 2, "services.0.name", "Add it"),
        ("services:\n  - name: a\n    workload: {name: UPPER}\n    namespace: b\n", 3, "services.0.workload.name", ""),
        ("services:\n  - name: a\n    workload: {name: a}\n", 2, "services.0", "namespace"),
        ("freezes:\n  - {from: 2026-01-02, to: 2026-01-01}\n", 2, "freezes.0", "before"),
        ("freezes:\n  - {from: 2026-01-01, to: 2026-01-02, timezone: Mars}\n", 2, "freezes.0.timezone", "Mars"),
        ("time_windows:\n  - {name: n, from: 25:00, to: 26:00}\n", 2, "time_windows.0.from", "1440"),
        ("time_windows:\n  - {name: n, from: 9am}\n", 2, "time_windows.0.from", "09:30"),
        ("time_windows:\n  - {name: n, from: 09:00, to: 09:00}\n", 2, "time_windows.0", "the same"),
        ("time_windows:\n  - {name: n, days: [funday]}\n", 2, "time_windows.0.days.0", "mon"),
        ("environments:\n  dev: {strategies: {crash: vector}}\n", 2, "environments.dev.strategies.crash", "crashloop"),
        ("mode: observe\nmode: automatic\n", 2, "mode", "written twice"),
        ("mode: [\n", 2, "", "YAML"),
        ("- a\n", 1, "", "mapping"),
        (
            "services:\n" + "  - {name: a, namespace: b, workload: {name: c}}\n" * 2,
            1,
            "",
            "the same workload b/Deployment/c",
        ),
        (
            "services:\n  - name: a\n    github_secrets:\n"
            + "".join(f"      - {{name: {name}, source: {{file: /run/{name}}}}}\n" for name in ("TOKEN", "token")),
            2,
            "services.0",
            "github_secrets names TOKEN twice",
        ),
        (
            "services:\n  - name: a\n    secrets:\n" + "      - {name: db, key: pw, source: {file: /run/x}}\n" * 2,
            2,
            "services.0",
            "secrets names db/pw twice",
        ),
        ("clusters: {a: {}}\nservices:\n  - {name: s, cluster: b}\n", 0, "", "'b'"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_a_remedy(text: str, line: int, field: str, words: str) -> None:
    policy, findings = check_policy(text, file="policy.yaml")
    assert policy is None
    found = findings[0]
    if line:
        assert found.line == line, found
    assert found.field == field
    assert found.remedy
    assert words in str(found)
    with pytest.raises(SettingsError, match=r"policy\.yaml"):
        parse_policy(text)


def test_a_policy_that_cannot_be_read_says_which_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="CODEHEALER_POLICY"):
        load_policy(tmp_path / "absent.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="UTF-8"):
        load_policy(tmp_path / "bytes.yaml")


def test_every_key_of_the_file_is_in_the_documentation() -> None:
    text = Path("docs/policy.md").read_text("utf-8")
    assert [name for name in Policy.model_fields if f"`{name}`" not in text] == []
