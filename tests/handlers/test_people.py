"""Who clicked, as Slack says at that moment."""

import asyncio

import pytest
from slack_sdk.web.async_client import AsyncWebClient

from bot.sandbox.server import Sandbox
from bot.sandbox.slack.state import USERGROUP_ID, User
from handlers.people import REMEMBERED_S, People
from knowledge.errors import Unavailable
from remediation.approvals import Person
from remediation.policy import parse_policy
from tests.handlers.office import BOT, TEAM


def people(slack: AsyncWebClient, policy: str = "") -> People:
    return People(slack, TEAM, parse_policy(policy))


async def test_people_are_what_slack_says_they_are(slack: AsyncWebClient, sandbox: Sandbox) -> None:
    sandbox.slack.workspace.users["U0DEV"].team_id = "T0OTHER"
    who = people(slack)
    assert await who.look_up("U0ONCALL") == Person("U0ONCALL")
    assert await who.look_up("U0GUEST") == Person("U0GUEST", restricted=True)
    assert await who.look_up("U0GONE") == Person("U0GONE", deleted=True)
    assert (await who.look_up("U0DEV")).foreign
    assert (await who.look_up(BOT)).is_bot
    assert (await who.look_up("U0NOBODY")) == Person("U0NOBODY", foreign=True)


async def test_membership_of_the_policys_groups_and_channels_is_looked_up(
    slack: AsyncWebClient, sandbox: Sandbox
) -> None:
    group = sandbox.slack.workspace.group_members
    group[:] = ["U0ONCALL"]
    from_group = people(slack, f"approvers: {{groups: [{USERGROUP_ID}]}}")
    assert (await from_group.look_up("U0ONCALL")).groups == {USERGROUP_ID}
    assert (await from_group.look_up("U0DEV")).groups == frozenset()
    in_channel = people(slack, "approvers: {channels: [C0ALERTS, C0DEPLOY]}")
    assert (await in_channel.look_up("U0DEV")).channels == {"C0ALERTS", "C0DEPLOY"}
    assert (await in_channel.look_up("U0GUEST")).channels == {"C0DEPLOY"}


async def test_a_group_that_is_not_there_keeps_nobody_from_deciding_who_is_named(slack: AsyncWebClient) -> None:
    who = people(slack, "approvers: {users: [U0ONCALL], groups: [S0GONE], channels: [C0GONE]}")
    assert await who.look_up("U0ONCALL") == Person("U0ONCALL", unseen=frozenset({"S0GONE", "C0GONE"}))
    assert await who.members("S0GONE") == ()


async def test_what_the_app_may_not_see_counts_for_nobody(slack: AsyncWebClient, sandbox: Sandbox) -> None:
    sandbox.slack.faults.update({"without_scopes": ["usergroups:read", "channels:read"]})
    who = people(slack, f"approvers: {{groups: [{USERGROUP_ID}], channels: [C0DEPLOY]}}")
    assert await who.look_up("U0ONCALL") == Person("U0ONCALL", unseen=frozenset({USERGROUP_ID, "C0DEPLOY"}))


async def test_groups_that_the_workspaces_plan_has_no_more_count_for_nobody(
    slack: AsyncWebClient, sandbox: Sandbox
) -> None:
    sandbox.slack.faults.update({"refusals": {"usergroups.users.list": "plan_upgrade_required"}})
    who = people(slack, f"approvers: {{users: [U0ONCALL], groups: [{USERGROUP_ID}]}}")
    assert await who.look_up("U0ONCALL") == Person("U0ONCALL", unseen=frozenset({USERGROUP_ID}))
    assert await who.members(USERGROUP_ID) == ()


async def test_an_answer_is_remembered_for_a_burst_of_clicks_and_not_for_long(
    slack: AsyncWebClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = people(slack)
    assert not (await who.look_up("U0DEV")).deleted
    sandbox.slack.workspace.users["U0DEV"].deleted = True
    assert not (await who.look_up("U0DEV")).deleted
    monkeypatch.setattr("handlers.people.REMEMBERED_S", 0.0)
    assert (await who.look_up("U0DEV")).deleted


def staff(sandbox: Sandbox, count: int = 25) -> list[str]:
    """More people of the workspace than Slack lets one ask for a group's members a minute."""
    made = [User(f"U0STAFF{number}", f"staff{number}", "Staff", "developer") for number in range(count)]
    sandbox.slack.workspace.users.update({one.id: one for one in made})
    sandbox.slack.workspace.group_members.append(made[-1].id)
    return [one.id for one in made]


def asked(sandbox: Sandbox, method: str) -> int:
    return [call["method"] for call in sandbox.slack.log.since(0)].count(method)


async def test_a_groups_members_are_asked_for_once_however_many_people_are_looked_up(
    slack: AsyncWebClient, sandbox: Sandbox
) -> None:
    who = people(slack, f"approvers: {{groups: [{USERGROUP_ID}]}}")
    users = staff(sandbox)
    found = [await who.look_up(user) for user in users]
    assert [bool(person.groups) for person in found] == [False] * 24 + [True]
    assert users[-1] in await who.members(USERGROUP_ID)
    assert asked(sandbox, "usergroups.users.list") == 1


async def test_what_many_wait_for_is_asked_once_and_what_slack_says_to_it_is_said_to_all(
    slack: AsyncWebClient, sandbox: Sandbox
) -> None:
    who = people(slack, f"approvers: {{groups: [{USERGROUP_ID}]}}")
    sandbox.slack.faults.update({"rate_limit_next": 1, "methods": ["usergroups.users.list"]})
    waited = await asyncio.gather(*(who.members(USERGROUP_ID) for _ in range(25)), return_exceptions=True)
    assert {error.retry_after_s for error in waited if isinstance(error, Unavailable)} == {2.0}
    assert (len(waited), asked(sandbox, "usergroups.users.list")) == (25, 1)
    sandbox.slack.faults.update({"rate_limit_next": 1})
    with pytest.raises(Unavailable) as limited:
        await who.look_up("U0ONCALL")
    assert limited.value.retry_after_s == 2.0, "the click is tried again then"
    found = await asyncio.gather(*(who.look_up("U0ONCALL") for _ in range(25)))
    assert {person.groups for person in found} == {frozenset({USERGROUP_ID})}
    assert asked(sandbox, "usergroups.users.list") == 3
    assert asked(sandbox, "users.info") == 1


async def test_who_left_a_group_loses_its_right_soon_whoever_was_looked_up_meanwhile(
    slack: AsyncWebClient, sandbox: Sandbox
) -> None:
    """A person remembered for a while must not hold on to a membership that was remembered for a while before."""
    now = [1_000.0]
    policy = parse_policy(f"approvers: {{groups: [{USERGROUP_ID}]}}")
    who = People(slack, TEAM, policy, clock=lambda: now[0])
    await who.look_up("U0DEV")
    sandbox.slack.workspace.group_members.remove("U0ONCALL")
    now[0] += REMEMBERED_S - 1
    assert (await who.look_up("U0ONCALL")).groups, "still remembered"
    now[0] += 2
    assert not (await who.look_up("U0ONCALL")).groups


@pytest.mark.parametrize("fault", [{"refuse_connections": True}, {"token_error": "account_inactive"}])
async def test_when_slack_does_not_say_the_click_is_tried_again(
    slack: AsyncWebClient, sandbox: Sandbox, fault: dict[str, object]
) -> None:
    sandbox.slack.faults.update(fault)
    who = people(slack)
    with pytest.raises(Unavailable):
        await who.look_up("U0ONCALL")
    sandbox.slack.faults.update({name: type(value)() for name, value in fault.items()})
    assert await who.look_up("U0ONCALL") == Person("U0ONCALL")
