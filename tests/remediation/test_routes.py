"""Which route a failure takes, when nobody is mentioned, and what is wrong with a table that makes no sense."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from handlers.on_call import Rota
from handlers.routing import channel_for
from knowledge.errors import Unavailable
from knowledge.model import Alert
from knowledge.severity import worst
from remediation import routes
from remediation.policy import check_policy, parse_policy
from remediation.policy_check import doubts
from remediation.policy_routes import OnCall
from tests.rows import alert

TEXT = """
services:
  - {name: checkout, environment: prod, namespace: shop, workload: {name: checkout}, channel: C0SERVICE}
  - {name: catalog, environment: staging, namespace: shop, workload: {name: catalog}, channel: C0SERVICE}
routes:
  - name: loud
    match: {environments: [prod], severities: [critical]}
    channel: C0LOUD
    approvals: C0YES
    on_call: {groups: [S0LOUD]}
  - name: shop
    match: {namespaces: ["sh?p"], services: [check*, cat*]}
    channel: C0SHOP
    quiet_hours: {from: "22:00", to: "07:00", timezone: Europe/Paris, days: [mon, tue, wed, thu, fri]}
  - name: code
    match: {repositories: [acme/*]}
    channel: C0CODE
  - name: all others
    on_call: {users: [U0ANY]}
"""
POLICY = parse_policy(TEXT)
OWN = POLICY.model_copy(update={"routes": POLICY.routes[-1:]})
PLAIN = alert(namespace="", workload="", owner="", service="", environment="", severity="warning")


def named(failing: Alert) -> str:
    route = routes.route_of(POLICY, routes.subject_of(POLICY, failing))
    return route.name if route else ""


@pytest.mark.parametrize(
    ("changes", "route"),
    [
        ({"namespace": "shop", "workload": "checkout"}, "shop"),
        ({"namespace": "shop", "workload": "checkout", "severity": "critical"}, "loud"),
        ({"namespace": "shop", "workload": "checkout", "severity": "p1"}, "loud"),
        ({"namespace": "shop", "workload": "catalog", "severity": "critical"}, "shop"),
        ({"namespace": "shop", "workload": "catalog", "trusted": False}, "all others"),
        ({"namespace": "shop", "service": "search"}, "all others"),
        ({"service": "checkout"}, "shop"),
        ({"repository": "acme/web", "severity": ""}, "code"),
        ({}, "all others"),
    ],
    ids=[
        "fits",
        "severe",
        "the same in other words",
        "not in prod",
        "not trusted",
        "one of two fits",
        "row",
        "code",
        "-",
    ],
)
def test_the_first_route_that_fits_counts(changes: dict[str, object], route: str) -> None:
    assert named(replace(PLAIN, **changes)) == route  # type: ignore[arg-type]


def test_a_route_without_a_channel_leaves_the_services_own_and_the_default() -> None:
    shop = replace(PLAIN, namespace="shop", workload="checkout")
    assert channel_for(POLICY, shop, "C0DEFAULT") == "C0SHOP"
    assert channel_for(OWN, shop, "C0DEFAULT") == "C0SERVICE"
    assert channel_for(POLICY, PLAIN, "C0DEFAULT") == "C0DEFAULT"


@pytest.mark.parametrize("names", [{"namespace": "shop", "workload": "checkout"}, {"service": "checkout"}])
def test_words_that_are_not_trusted_choose_no_channel(names: dict[str, str]) -> None:
    stranger = replace(PLAIN, trusted=False, severity="critical", **names)  # type: ignore[arg-type]
    assert channel_for(POLICY, stranger, "C0DEFAULT") == "C0DEFAULT"
    assert channel_for(POLICY, replace(stranger, channel="C0POST"), "") == "C0POST"


@pytest.mark.parametrize(
    ("at", "severity", "until"),
    [
        ("2026-03-02T21:30", "warning", "07:00 Europe/Paris"),  # Monday 22:30 in Paris
        ("2026-03-03T05:59", "", "07:00 Europe/Paris"),
        ("2026-03-03T06:00", "warning", ""),
        ("2026-03-02T21:30", "critical", ""),
        ("2026-03-02T21:30", "sev1", ""),
        ("2026-03-07T23:00", "warning", ""),  # Saturday night
    ],
)
def test_quiet_hours_hold_for_what_is_less_severe(at: str, severity: str, until: str) -> None:
    now = datetime.fromisoformat(at).replace(tzinfo=UTC)
    assert routes.quiet_until(POLICY.routes[1], severity, now) == until


def test_a_route_is_told_in_words() -> None:
    assert routes.words(POLICY.routes[0]) == "loud → C0LOUD, approvals C0YES, on call S0LOUD"
    assert routes.words(POLICY.routes[1]) == "shop → C0SHOP, quiet 22:00-07:00 Europe/Paris below critical"
    assert routes.words(None).startswith("no route fits")


@pytest.mark.parametrize(
    ("route", "line", "field", "says"),
    [
        ("{name: a, channel: '#deploys'}", 2, "routes.0.channel", "match pattern"),
        ("{name: a, match: {service: [x]}}", 2, "routes.0.match.service", "Did you mean 'services'"),
        ("{name: a, on_call: {}}", 2, "routes.0.on_call", "name users, groups or a pagerduty_schedule"),
        ("{name: a, on_call: {pagerduty_schedule: PABCDE}}", 2, "routes.0.on_call", "needs pagerduty_users"),
        ("{name: a, quiet_hours: {timezone: Mars/Base}}", 2, "routes.0.quiet_hours.timezone", "no time zone"),
        ("{name: a, quiet_hours: {from: 8, to: 8}}", 2, "routes.0.quiet_hours", "are the same"),
        ("{channel: C0A}", 2, "routes.0.name", "Field required"),
    ],
)
def test_a_mistake_in_a_route_is_told_with_its_line_and_field(route: str, line: int, field: str, says: str) -> None:
    policy, findings = check_policy(f"routes:\n  - {route}\n")
    assert policy is None
    (found,) = findings
    assert (found.line, found.field) == (line, field)
    assert says in str(found)


def test_two_routes_of_one_name_and_routes_behind_one_for_everything_are_told() -> None:
    _, findings = check_policy("routes: [{name: a}, {name: a}]")
    assert "two routes are named 'a'" in str(findings[0])
    text = TEXT.replace("routes:\n", "routes:\n  - {name: first}\n  - {name: odd, match: {services: [chekout]}}\n")
    found = {one.field: str(one) for one in doubts(text, parse_policy(text), (), file="p")}
    assert "no route after it is ever taken" in found["routes.0"]
    assert "Did you mean 'checkout'?" in found["routes.1.match.services.0"]


def test_the_worst_word_wins_and_the_first_of_equals() -> None:
    assert worst(["low", "warning", "odd", "info"]) == "warning"
    assert worst(["critical", "p1"]) == "critical"
    assert worst([]) == ""


class Pager:
    """PagerDuty's answers, by schedule; an error is one that it gives."""

    def __init__(self, answers: dict[str, list[str]]) -> None:
        self.answers = answers

    async def on_call(self, schedule_id: str) -> list[str]:
        if schedule_id not in self.answers:
            raise Unavailable("PagerDuty did not answer.")
        return self.answers[schedule_id]


async def test_pagerdutys_word_holds_for_ten_minutes_and_then_the_listed_people_are_called_and_that_is_said() -> None:
    now = [1000.0]
    rota = Rota(clock=lambda: now[0])
    on_call = OnCall(
        groups=("S0SHOP",), pagerduty_schedule="PSHOP1", pagerduty_users={"PONE1": "U0ONE", "PTWO2": "U0TWO"}
    )
    policy = parse_policy(
        "routes: [{name: a, on_call: {groups: [S0SHOP], pagerduty_schedule: PSHOP1, pagerduty_users: {PONE1: U0ONE}}},"
        " {name: b, on_call: {pagerduty_schedule: PGONE1, pagerduty_users: {PONE1: U0ONE}}}]"
    )
    unknown = "PagerDuty does not say who is on call (PSHOP1), so those listed are called."
    assert rota.people(on_call) == (("S0SHOP",), unknown)
    await rota.ask(policy, Pager({"PSHOP1": ["PTWO2", "PONE1", "PNEW1"]}))
    assert rota.people(on_call) == (("U0TWO", "U0ONE"), "")
    now[0] += 500
    await rota.ask(policy, Pager({}))
    assert rota.people(on_call) == (("U0TWO", "U0ONE"), "")
    now[0] += 101
    assert rota.people(on_call) == (("S0SHOP",), unknown)
    await rota.ask(policy, Pager({"PSHOP1": ["PNEW1"]}))
    assert "it names nobody whom pagerduty_users lists, so those listed" in rota.people(on_call)[1]
    await rota.ask(policy, Pager({"PSHOP1": []}))
    assert "nobody is on call there" in rota.people(on_call)[1]
    assert rota.people(OnCall(users=("U0A",))) == (("U0A",), "")
