"""Whose yes counts: role, environment, action, and whether the approver is who asked. The tables are the rules."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from knowledge.model import Action, Approval, ApprovalState, Target
from remediation.approvals import (
    Allowed,
    Denied,
    Person,
    check_change,
    check_click,
    check_reject,
    minutes_for,
    next_time,
    still_approved,
    unanswered,
)
from remediation.approvers import asked, lists_in_force, places
from remediation.policy import environment_of, parse_policy

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
POLICY = parse_policy("""
approvers: {users: [U_LEAD, U_DBA], groups: [S_ONCALL]}
environments:
  prod: {approvers: {users: [U_LEAD, U_DBA, U_SRE], channels: [C_SRE]}, no_self_approval: true}
  staging: {}
  dev: {approvers: {}}
actions:
  k8s_rollback: {approvers: {users: [U_DBA, U_STRANGER], groups: [S_ONCALL]}}
  github_rerun: {approvers: {}}
""")
PLACES = ("prod", "staging", "dev", "elsewhere")
ACTIONS = ("k8s_scale", "k8s_rollback", "github_rerun")
ROLES: dict[str, Person] = {
    "lead": Person("U_LEAD"),
    "dba": Person("U_DBA"),
    "sre": Person("U_SRE"),
    "of the sre channel": Person("U1", channels=frozenset({"C_SRE"})),
    "on call": Person("U2", groups=frozenset({"S_ONCALL"})),
    "named for an action alone": Person("U_STRANGER"),
    "member": Person("U3"),
    "guest": Person("U_LEAD", restricted=True),
    "of another company": Person("U_LEAD", foreign=True),
    "deactivated": Person("U_LEAD", deleted=True),
    "bot": Person("U_LEAD", is_bot=True),
}
# Who may approve what where; "elsewhere" is an environment that the file does not list, so it counts as prod.
MAY: dict[tuple[str, str], set[str]] = {
    ("prod", "k8s_scale"): {"lead", "dba", "sre", "of the sre channel"},
    ("prod", "k8s_rollback"): {"dba"},
    ("staging", "k8s_scale"): {"lead", "dba", "on call"},
    ("staging", "k8s_rollback"): {"dba", "on call"},
    ("elsewhere", "k8s_scale"): {"lead", "dba", "sre", "of the sre channel"},
    ("elsewhere", "k8s_rollback"): {"dba"},
}
# Where nobody approves what they asked for themselves.
NO_SELF = {"prod", "elsewhere"}


def request(environment: str, name: str, **changes: object) -> tuple[Approval, Action]:
    action = Action(name, Target("Deployment", "api", "shop", "main", service="api", environment=environment))
    who = asked(lists_in_force(POLICY, environment_of(POLICY, environment)[1], name))
    approval = Approval(
        1, 1, 1, action.digest, ApprovalState.OPEN, 1, who, NOW + timedelta(minutes=30), (), "", ""
    )  # fmt: skip
    return replace(approval, **changes), action  # type: ignore[arg-type]


@pytest.mark.parametrize(("environment", "name"), list(product(PLACES, ACTIONS)))
def test_the_matrix_of_role_environment_action_and_requester(environment: str, name: str) -> None:
    approval, action = request(environment, name)
    may = MAY.get((environment, name), set())
    for role, person in ROLES.items():
        for own in (False, True):
            asks = replace(approval, requester=person.id if own else "U_ASKER")
            yes = check_click(asks, person, action.digest, now=NOW, policy=POLICY, paused=False, action=action)
            expected = role in may and not (own and environment in NO_SELF)
            assert isinstance(yes, Allowed) is expected, (role, own, yes)
            # A no, and a change, are for whoever may decide, also of what they asked for themselves.
            no = check_reject(asks, person, now=NOW, policy=POLICY, action=action)
            change = check_change(asks, person, action.digest, now=NOW, policy=POLICY, action=action)
            assert (isinstance(no, Allowed), isinstance(change, Allowed)) == (role in may, role in may), role


def test_an_alert_has_no_requester_so_everybody_named_may_approve_it() -> None:
    approval, action = request("prod", "k8s_scale", requester="")
    answer = check_click(approval, Person("U_LEAD"), action.digest, now=NOW, policy=POLICY, paused=False, action=action)
    assert answer == Allowed(("U_LEAD",), True)


def test_a_group_that_slack_does_not_show_lets_nobody_in_and_is_named() -> None:
    approval, action = request("staging", "k8s_scale")
    gone = Person("U2", unseen=frozenset({"S_ONCALL", "C_UNRELATED"}))
    answer = check_click(approval, gone, action.digest, now=NOW, policy=POLICY, paused=False, action=action)
    assert isinstance(answer, Denied)
    assert answer.reason.endswith(
        "Slack shows me no S_ONCALL, which policy.yaml names, so nobody may decide through it."
    )


def test_every_group_and_channel_of_the_policy_is_looked_up() -> None:
    assert places(POLICY) == ({"S_ONCALL"}, {"C_SRE"})


def test_whoever_approved_for_later_must_still_be_allowed_at_that_hour() -> None:
    approval, action = request("prod", "k8s_scale", state=ApprovalState.SCHEDULED)
    assert not still_approved(approval, [Person("U_SRE")], POLICY, action)
    assert "<@U3>" in still_approved(approval, [Person("U3")], POLICY, action)
    two = POLICY.model_copy(
        update={"environments": {"prod": POLICY.environments["prod"].model_copy(update={"approvals": 2})}}
    )
    assert "needs 2" in still_approved(approval, [Person("U_SRE")], two, action)


@pytest.mark.parametrize(
    ("now", "clock", "zone", "then"),
    [
        ("2026-11-23T09:00", "09:01", "UTC", "2026-11-23T09:01"),
        ("2026-11-23T09:00", "09:00", "UTC", "2026-11-24T09:00"),
        ("2026-11-23T23:30", "06:00", "America/Los_Angeles", "2026-11-24T14:00"),
        ("2026-11-23T23:30", "06:00", "Pacific/Kiritimati", "2026-11-24T16:00"),
        ("2026-03-28T20:00", "06:00", "Europe/Paris", "2026-03-29T04:00"),  # an hour is left out that night
        ("2026-03-28T23:00", "02:30", "Europe/Paris", "2026-03-29T01:30"),  # and this time is in it
        ("2026-10-24T20:00", "02:30", "Europe/Paris", "2026-10-25T00:30"),  # this one comes twice
        ("2026-11-23T09:00", "10:00", "No/Where", "2026-11-23T10:00"),
    ],
)
def test_an_hour_is_the_next_one_where_the_person_is(now: str, clock: str, zone: str, then: str) -> None:
    found = next_time(datetime.fromisoformat(now).replace(tzinfo=UTC), clock, zone)
    assert found.astimezone(UTC) == datetime.fromisoformat(then).replace(tzinfo=UTC)


def test_how_long_a_request_goes_unanswered_depends_on_its_severity() -> None:
    limits = parse_policy(
        "limits: {remind_minutes: {critical: 2, '*': 10}, page_minutes: {critical: 5, sev2: 9}}"
    ).limits
    assert [minutes_for(limits.remind_minutes, one) for one in ("critical", "p1", "warning", "")] == [2, 2, 10, 10]
    assert [minutes_for(limits.page_minutes, one) for one in ("sev1", "sev2", "warning")] == [5, 9, None]
    # What is as severe in quiet hours and for routes is so for the pager too.
    assert {minutes_for(limits.page_minutes, one) for one in ("p0", "sev0", "fatal", "blocker", "disaster")} == {5}
    ago = {minutes: NOW - timedelta(minutes=minutes) for minutes in (1, 2, 5, 600)}
    assert [unanswered(at, "page", limits, NOW) for at in ago.values()] == [
        (False, False), (True, False), (True, True), (True, True),
    ]  # fmt: skip
    assert unanswered(ago[600], "warning", limits, NOW) == (True, False)
