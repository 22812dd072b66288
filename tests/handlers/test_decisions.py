"""A person's yes or no, from the click to the queued execution, and what those hear whose click does not count."""

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from slack_sdk.web.async_client import AsyncWebClient
from sqlalchemy.ext.asyncio import AsyncEngine

from handlers import decisions
from handlers.blocks.modals import Rejection
from handlers.people import People
from handlers.services import Services
from knowledge.model import Action, ApprovalState, Incident, RejectReason
from knowledge.store import approvals, incidents, outbox, switches
from remediation.policy_file import Forbidden, Freeze
from tests.handlers.histories import Known
from tests.handlers.office import jobs, made_services, rows, sandbox_policy, told
from tests.rows import NOOP, TARGET, S, an_approval, an_execution, an_incident

A = ApprovalState
DIGEST = NOOP.digest[:16]
RESTART = Action("k8s_restart_pod", TARGET, {"pod": "checkout-1"})


@dataclass
class Case:
    """An incident that waits for approval."""

    services: Services
    incident: int
    approval: int
    clicks: int = 0

    async def approve(self, user: str = "U0ONCALL", digest: str = DIGEST, key: str = "") -> None:
        self.clicks += 1
        click = {"user": user, "channel": "C0DEPLOY", "approval_id": self.approval, "digest": digest}
        await decisions.approve(self.services, click | {"key": key or f"{user}:{self.clicks}"})

    async def reject(self, reason: RejectReason, user: str = "U0ONCALL", comment: str = "", key: str = "") -> None:
        self.clicks += 1
        rejection = Rejection(self.approval, DIGEST, self.incident, reason, comment)
        await decisions.reject(self.services, rejection, user=user, key=key or f"{user}:{self.clicks}")

    async def state(self) -> tuple[str, str]:
        """(the incident's, the approval's)"""
        async with self.services.engine.connect() as db:
            incident, approval = await incidents.get(db, self.incident), await approvals.get(db, self.approval)
        assert incident is not None
        assert approval is not None
        return incident.state, approval.state

    async def executions(self) -> int:
        return len([stage for stage, _ in await jobs(self.services.engine) if stage == "execute"])


async def waiting(services: Services, **asked: Any) -> Case:
    async with services.engine.begin() as db:
        incident: Incident = await an_incident(db, state=S.WAITING)
        await outbox.new_card(db, incident.id, "C0DEPLOY")
        approval = await an_approval(db, incident, **asked)
    return Case(services, incident.id, approval)


@pytest.fixture
async def case(services: Services) -> Case:
    return await waiting(services)


# --- yes -------------------------------------------------------------------------------------------------------------


async def test_an_approvers_click_queues_the_one_execution(case: Case) -> None:
    await case.approve()
    assert await case.state() == ("running", "approved")
    assert await case.executions() == 1
    assert await told(case.services.engine) == []


async def test_of_200_clicks_by_20_people_at_once_one_counts_and_199_are_answered(services: Services) -> None:
    people = [f"U{number:03}" for number in range(20)]
    approvers = sandbox_policy().approvers.model_copy(update={"users": tuple(people)})
    services = replace(services, policy=sandbox_policy(approvers=approvers), people=cast(People, Known()))
    case = await waiting(services, who=people)
    turn = asyncio.Semaphore(12)  # a pool's connections: more at once would only wait for one

    async def clicked(user: str) -> None:
        async with turn:
            await case.approve(user)

    await asyncio.gather(*(clicked(user) for user in people * 10))
    assert await case.executions() == 1
    (vote,) = await rows(services.engine, 'SELECT "user" FROM approval_votes')
    answers = await told(services.engine)
    assert len(answers) == 199
    assert {words for _, words in answers} == {f"This was already approved by <@{vote.user}>; it runs once."}
    assert {user for user, _ in answers} == set(people)


async def test_the_same_click_delivered_again_changes_and_says_nothing(case: Case) -> None:
    for _ in range(2):
        await case.approve(key="one click")
    assert await case.executions() == 1
    assert await told(case.services.engine) == []


async def test_where_two_are_needed_the_first_only_counts_and_may_not_be_the_second(services: Services) -> None:
    case = await waiting(services, needed=2)
    await case.approve("U0ONCALL")
    assert await case.state() == ("waiting", "open")
    await case.approve("U0ONCALL")
    assert await case.state() == ("waiting", "open")
    ((user, words),) = await told(services.engine)
    assert user == "U0ONCALL"
    assert "somebody else" in words
    await case.approve("U0LEAD")
    assert await case.state() == ("running", "approved")
    assert await case.executions() == 1


@pytest.mark.parametrize(
    ("needed", "changed", "words"),
    [
        (2, {"users": ("U0LEAD",)}, "<@U0ONCALL>, who approved it, may not do so any more"),
        (1, {}, "It needs 2 approvals"),
    ],
)
async def test_the_last_yes_starts_nothing_where_those_before_it_are_no_longer_enough(
    services: Services, needed: int, changed: dict[str, Any], words: str
) -> None:
    case = await waiting(services, needed=needed)
    if needed == 2:
        await case.approve("U0ONCALL")
    policy = sandbox_policy()
    two = policy.environments["prod"].model_copy(update={"approvals": 2})
    approvers = policy.approvers.model_copy(update=changed)
    read_anew = sandbox_policy(approvers=approvers, environments={**policy.environments, "prod": two})
    case.services = replace(services, policy=read_anew)
    await case.approve("U0LEAD")
    assert await case.state() == ("waiting", "open")
    await refused(case, "U0LEAD", words)


# --- clicks that do not count ----------------------------------------------------------------------------------------


async def refused(case: Case, user: str, words: str) -> None:
    """Nothing happened, and the clicker alone was told why, in one sentence."""
    assert await case.executions() == 0
    ((who, sentence),) = await told(case.services.engine)
    assert who == user
    assert words in sentence
    assert sentence.endswith(".")
    assert [row.actor for row in await rows(case.services.engine, "SELECT actor FROM audit WHERE what LIKE '%refused'")]


@pytest.mark.parametrize(
    ("user", "words"),
    [("U0DEV", "may not"), ("U0GUEST", "Guests"), ("U0GONE", "deactivated"), ("U0NOBODY", "workspace")],
)
async def test_people_who_may_not_decide_are_told_so(case: Case, user: str, words: str) -> None:
    await case.approve(user)
    assert await case.state() == ("waiting", "open")
    await refused(case, user, words)


async def test_a_click_on_an_older_proposal_does_not_count(case: Case) -> None:
    await case.approve(digest="0" * 16)
    assert await case.state() == ("waiting", "open")
    await refused(case, "U0ONCALL", "changed")


async def test_an_empty_digest_matches_nothing(case: Case) -> None:
    await case.approve(digest="f" * 16)
    await refused(case, "U0ONCALL", "changed")


@pytest.mark.parametrize("state", [A.REJECTED, A.EXPIRED, A.WITHDRAWN])
async def test_a_late_click_is_told_what_was_decided(case: Case, state: ApprovalState) -> None:
    async with case.services.engine.begin() as db:
        await approvals.decide(db, case.approval, state, by="U0LEAD", reason="it recovered")
    await case.approve()
    await refused(case, "U0ONCALL", str(state))


async def test_a_click_after_the_time_is_over_does_not_count_even_before_the_clock_has_closed_it(
    services: Services,
) -> None:
    case = await waiting(services, until=datetime.now(UTC) - timedelta(seconds=1))
    await case.approve()
    await refused(case, "U0ONCALL", "expired")


async def test_while_paused_nothing_starts_but_a_no_counts(case: Case) -> None:
    async with case.services.engine.begin() as db:
        await switches.write(db, switches.PAUSED, True, by="U0DEV")
    await case.approve()
    await refused(case, "U0ONCALL", "paused")
    await case.reject(RejectReason.NOT_NOW)
    assert await case.state() == ("escalated", "rejected")


async def test_a_process_that_may_not_act_starts_nothing(case: Case) -> None:
    case.services = replace(case.services, actions=False)
    await case.approve()
    await refused(case, "U0ONCALL", "paused")


async def test_a_read_only_policy_starts_nothing(engine: AsyncEngine, slack: AsyncWebClient, database_url: str) -> None:
    policy = sandbox_policy(read_only=True)
    case = await waiting(made_services(engine, slack, database_url, policy=policy))
    await case.approve()
    await refused(case, "U0ONCALL", "read-only")


ENVIRONMENT = sandbox_policy().environments["prod"]


def frozen(*, hard: bool) -> Freeze:
    now, day = datetime.now(UTC), timedelta(days=1)
    return Freeze.model_validate({"from": now - day, "to": now + day, "hard": hard})


@pytest.mark.parametrize(
    ("read_anew", "rule"),
    [
        ({"blacklist": (Forbidden(service="checkout", action="*", hard=True),)}, "blacklist"),
        ({"freezes": (frozen(hard=True),)}, "freeze"),
        ({"protected_namespaces": ("shop",)}, "protected namespace"),
        ({"environments": {"prod": ENVIRONMENT.model_copy(update={"actions": ()})}}, "actions of prod"),
        ({"limits": sandbox_policy().limits.model_copy(update={"fixes_per_hour": 1})}, "fixes an hour"),
        ({"freezes": (frozen(hard=False),)}, ""),
    ],
)
async def test_the_last_click_is_decided_by_the_policy_of_now(
    services: Services, read_anew: dict[str, Any], rule: str
) -> None:
    case = await waiting(services)
    async with services.engine.begin() as db:
        await an_execution(db, await an_incident(db, title="Other", state=S.RUNNING), action=RESTART)
    case.services = replace(services, policy=sandbox_policy(**read_anew))
    await case.approve()
    assert await case.state() == (("waiting", "open") if rule else ("running", "approved"))
    if rule:
        await refused(case, "U0ONCALL", f"forbids this by now: {rule}")


async def test_a_click_on_a_request_that_is_gone_is_answered(services: Services) -> None:
    await Case(services, 99, 99).approve()
    assert [user for user, _ in await told(services.engine)] == ["U0ONCALL"]


# --- no --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", RejectReason)
async def test_a_no_leaves_the_failure_to_people_unless_it_is_fixed_already(case: Case, reason: RejectReason) -> None:
    secret = "ghp_" + "a1B2c3D4e5" * 3 + "F6g7H8"
    await case.reject(reason, comment=f"see {secret} " + "x" * 2000)
    done = reason is RejectReason.ALREADY_FIXED
    assert await case.state() == ("dismissed" if done else "escalated", "rejected")
    (row,) = await rows(case.services.engine, "SELECT decided_by, reason FROM approvals")
    assert row.decided_by == "U0ONCALL"
    assert row.reason.split(":")[0] == reason
    assert secret not in row.reason
    assert len(row.reason) < 600
    stages = [stage for stage, _ in await jobs(case.services.engine)]
    assert stages == (["learn", "stand_down"] if done else ["learn"])


async def test_a_second_no_changes_nothing_and_is_answered_unless_it_is_the_same_delivered_again(case: Case) -> None:
    for _ in range(2):
        await case.reject(RejectReason.NOT_NOW, key="one submission")
    assert await told(case.services.engine) == []
    await case.reject(RejectReason.WRONG_CAUSE, user="U0LEAD")
    ((user, words),) = await told(case.services.engine)
    assert user == "U0LEAD"
    assert "already rejected" in words
    (row,) = await rows(case.services.engine, "SELECT reason FROM approvals")
    assert row.reason == "not_now"


async def test_who_may_not_decide_may_not_reject(case: Case) -> None:
    await case.reject(RejectReason.NOT_NOW, user="U0DEV")
    assert await case.state() == ("waiting", "open")
    await refused(case, "U0DEV", "may not")


async def test_of_a_yes_and_a_no_at_once_one_counts(case: Case) -> None:
    await asyncio.gather(case.approve("U0ONCALL"), case.reject(RejectReason.NOT_NOW, "U0LEAD"))
    assert await case.state() in {("running", "approved"), ("escalated", "rejected")}
    assert len(await told(case.services.engine)) == 1


# --- the clock -------------------------------------------------------------------------------------------------------


async def test_the_clock_closes_what_nobody_answered_once_and_calls_people(services: Services) -> None:
    over = await waiting(services, until=datetime.now(UTC) - timedelta(seconds=1))
    open_still = await waiting(services)
    await asyncio.gather(decisions.expire(services), decisions.expire(services))
    assert await over.state() == ("escalated", "expired")
    assert await open_still.state() == ("waiting", "open")
    calls = await rows(services.engine, "SELECT 1 FROM outbox WHERE key LIKE 'call:%'")
    assert len(calls) == 1
    assert [stage for stage, _ in await jobs(services.engine)] == ["page"]
