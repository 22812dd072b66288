"""Modes that people set: the narrowest is in force, and widening is told from narrowing. And when trust is earned."""

import pytest

from remediation.approvals import Person
from remediation.modes import may_narrow, may_operate, set_for, widens
from remediation.policy import names_of_environment, parse_policy
from remediation.trust import lower_bound

POLICY = parse_policy("""
mode: observe
environments: {prod: {}, staging: {mode: approve}}
approvers: {users: [U1]}
services:
  - {name: api, environment: staging, namespace: a, workload: {name: api}}
  - {name: web, environment: prod, namespace: a, workload: {name: web}, channel: C9}
""")


def test_the_narrowest_of_what_people_set_is_in_force() -> None:
    place = {"service": "api", "environments": {"staging"}, "channel": "C1"}
    assert not set_for({"service:web": "observe", "channel:C2": "suggest"}, **place)
    both = {"service:api": "automatic", "environment:staging": "suggest"}
    assert set_for(both, **place) == "suggest"
    assert set_for(both | {"everything": "observe"}, **place) == "observe"
    assert set_for({"channel:C1": "approve", "channel:C3": "observe"}, **place, meant_channel="C3") == "observe"
    assert set_for({"service:api": "root"}, **place) == ""


@pytest.mark.parametrize(
    ("overrides", "scope", "mode", "wider"),
    [
        ({}, "service:api", "observe", False),
        ({}, "service:api", "approve", False),  # as the file says
        ({}, "service:api", "automatic", True),
        ({}, "service:web", "suggest", True),  # the file observes
        ({}, "environment:prod", "approve", True),
        ({}, "channel:C1", "suggest", True),  # a service of prod may be asked about there
        ({}, "channel:C1", "observe", False),
        ({}, "everything", "suggest", True),
        ({"everything": "observe"}, "everything", "", True),
        ({"everything": "observe"}, "service:api", "automatic", False),  # it stays as narrow as everything
        ({"service:api": "automatic"}, "service:api", "", False),
        ({"service:api": "observe"}, "service:api", "", True),
        # A mode of one channel hides nothing from the others, nor what others hide from it.
        ({"environment:staging": "observe", "channel:C1": "observe"}, "environment:staging", "", True),
        ({"environment:prod": "observe", "channel:C2": "approve"}, "environment:prod", "", True),
    ],
)
def test_what_lets_the_bot_go_further_anywhere_is_widening(
    overrides: dict[str, str], scope: str, mode: str, wider: bool
) -> None:
    assert widens(POLICY, overrides, scope, mode) is wider


TWO_NAMES = parse_policy("""
mode: observe
environments: {prod: {mode: approve}}
services: [{name: pay, environment: production, namespace: p, workload: {name: pay}, mode: suggest}]
""")


@pytest.mark.parametrize("scope", ["environment:prod", "environment:production"])
def test_a_mode_is_set_for_an_environment_by_either_of_its_names(scope: str) -> None:
    names = names_of_environment(TWO_NAMES, "production")
    assert set_for({scope: "observe"}, service="pay", environments=names, channel="C1") == "observe"
    assert widens(TWO_NAMES, {scope: "observe"}, scope, "")
    assert widens(TWO_NAMES, {}, scope, "approve")  # the row's own mode is narrower than prod's
    assert not widens(TWO_NAMES, {}, scope, "observe")


@pytest.mark.parametrize("what", ["restricted", "foreign", "is_bot", "deleted"])
def test_only_full_members_narrow(what: str) -> None:
    assert not may_narrow(Person("U2"))
    assert may_narrow(Person("U2", **{what: True}))


def test_operators_are_the_approvers_until_the_policy_names_others() -> None:
    assert not may_operate(Person("U1"), POLICY)
    assert "U1" not in may_operate(Person("U2"), parse_policy(""))
    named = POLICY.model_copy(update={"operators": parse_policy("operators: {groups: [S1]}").operators})
    assert may_operate(Person("U1"), named)
    assert not may_operate(Person("U7", groups=frozenset({"S1"})), named)
    assert may_operate(Person("U7", groups=frozenset({"S1"}), foreign=True), named)


def test_one_lucky_success_earns_little_and_a_failure_costs_more_than_a_success_brings() -> None:
    assert lower_bound(0, 0) == 0.0
    assert lower_bound(1, 1) < 0.25
    assert lower_bound(11, 11) < 0.75 <= lower_bound(12, 12)
    assert lower_bound(11, 12) < lower_bound(8, 8)
    assert lower_bound(12, 12) - lower_bound(12, 13) > lower_bound(13, 13) - lower_bound(12, 12)
