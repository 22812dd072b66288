"""What people do about a request besides yes and no: change it, put it off, approve it for later, take it over."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio
from sqlalchemy import text

from bot.sandbox.server import Sandbox
from bot.sandbox.slack.state import USERGROUP_ID
from handlers import cards, changing, decisions, due, flow, later, taking
from handlers.blocks.card import render_card
from handlers.blocks.modals import Rejection
from handlers.services import Services
from handlers.view import card_view
from knowledge.errors import Unavailable
from knowledge.model import Action, Alert, AlertStatus, Approval, Incident, Plan, RejectReason, Risk, Target
from knowledge.store import answers, approvals, incidents, outbox
from knowledge.store.answers import StoredPlan
from knowledge.store.executions import StoredExecutions
from remediation import recovery, sighting
from remediation.approvals import Person
from remediation.cluster import ClusterAccess, KubernetesCluster
from remediation.ports import Clients, Json
from tests.handlers.office import jobs, rows, sandbox_policy, told
from tests.rows import S, alert, an_incident, decision, diagnosis

CHECKOUT = Target("Deployment", "checkout", "shop", "sandbox", "acme/checkout", "checkout", "prod")
SOON, LONG_AGO = timedelta(hours=2), timedelta(minutes=1)


@dataclass
class Asked:
    """A fix for the sandbox's checkout that waits for a decision, and what people do about it."""

    services: Services
    incident_id: int
    approval_id: int
    digest: str
    keys: int = 0

    def click(self, user: str, **more: Any) -> Json:
        self.keys += 1
        about = {"user": user, "channel": "C0DEPLOY", "approval_id": self.approval_id, "digest": self.digest[:16]}
        return {**about, "incident_id": self.incident_id, "key": f"{user}:{self.keys}", **more}

    async def approve(self, user: str = "U0ONCALL", **more: Any) -> None:
        await decisions.approve(self.services, self.click(user, **more))

    async def edit(self, replicas: object, user: str = "U0LEAD", **more: Any) -> None:
        await changing.edit(self.services, self.click(user, values={"replicas": str(replicas)}, **more))

    async def take(self, user: str = "U0DEV") -> None:
        await taking.take(self.services, self.click(user))

    async def give_back(self, user: str) -> None:
        await taking.give_back(self.services, self.click(user, incident_id=self.incident_id))

    async def newest(self) -> tuple[Approval, Plan]:
        async with self.services.engine.connect() as db:
            approval = await approvals.latest(db, self.incident_id)
            planned = await answers.latest_plan(db, self.incident_id)
        assert approval is not None
        assert planned is not None
        return approval, planned.plan

    async def state(self) -> tuple[str, str]:
        """(the incident's, the first request's)"""
        async with self.services.engine.connect() as db:
            incident = await incidents.get(db, self.incident_id)
            approval = await approvals.get(db, self.approval_id)
        assert incident is not None
        assert approval is not None
        return incident.state, approval.state

    async def incident(self) -> Incident:
        async with self.services.engine.connect() as db:
            found = await incidents.get(db, self.incident_id)
        assert found is not None
        return found

    async def stages(self) -> list[str]:
        return [stage for stage, _ in await jobs(self.services.engine)]


@pytest_asyncio.fixture
async def world(services: Services, sandbox: Sandbox) -> AsyncIterator[Services]:
    """The services with the real client on the sandbox's cluster."""
    cluster = KubernetesCluster({"sandbox": ClusterAccess(Path(sandbox.env["KUBECONFIG"]))})
    yield replace(services, clients=Clients(cluster=cluster))
    await cluster.aclose()


async def asked(services: Services, action: Action | None = None, plan: Plan | None = None, **changes: Any) -> Asked:
    action = action or Action("k8s_scale", CHECKOUT, {"replicas": 5, "was": 3, "limit": 8})
    seen = await look(services)
    planned = plan or Plan(
        action, preview="Scale checkout from 3 to 5 replicas.", risk=Risk.LOW, blast_radius="2 more pods"
    )
    incident_changes = changes.pop("incident", {})
    async with services.engine.begin() as db:
        incident = await an_incident(db, state=S.WAITING, **incident_changes)
        await outbox.new_card(db, incident.id, "C0DEPLOY")
        answer = await answers.add_diagnosis(db, incident.id, diagnosis(), [])
        stored: StoredPlan = await answers.add_plan(
            db, incident.id, answer, replace(planned, action=action, seen=seen), decision()
        )
        request: Json = {
            "needed": 1, "who": ("U0ONCALL", "U0LEAD"), "until": datetime.now(UTC) + timedelta(hours=1), **changes,
        }  # fmt: skip
        approval = await approvals.ask(db, incident_id=incident.id, plan_id=stored.id, digest=action.digest, **request)
    return Asked(services, incident.id, approval, action.digest)


async def look(services: Services) -> Json:
    """What is to be compared later, as the plan's stage keeps it."""
    if services.clients.cluster is None:
        return {}
    live = await services.clients.cluster.get("sandbox", "Deployment", "shop", "checkout")
    return {**sighting._workload(live), "replicas": live["spec"]["replicas"]}


async def scale_by_hand(services: Services, replicas: int) -> None:
    assert services.clients.cluster is not None
    change = [{"op": "replace", "path": "/spec/replicas", "value": replicas}]
    await services.clients.cluster.patch("sandbox", "Deployment", "shop", "checkout", change)


async def pass_over(services: Services, column: str, approval_id: int, ago: timedelta = LONG_AGO) -> None:
    """As if that moment had come `ago`: the database's clock cannot be turned."""
    async with services.engine.begin() as db:
        await db.execute(
            text(f"UPDATE approvals SET {column} = now() - :ago WHERE id = :id"),  # noqa: S608
            {"ago": ago, "id": approval_id},
        )


# --- edit, then approve ----------------------------------------------------------------------------------------------


async def test_an_edit_is_a_request_of_its_own_and_the_old_one_is_withdrawn(world: Services) -> None:
    case = await asked(world)
    await case.edit(4)
    assert await case.state() == ("waiting", "withdrawn")
    approval, plan = await case.newest()
    assert plan.action is not None
    assert plan.action.parameters["replicas"] == 4
    assert (approval.state, approval.requester, approval.digest) == ("open", "U0LEAD", plan.action.digest)
    assert "from 3 to 4" in plan.preview
    await case.approve("U0ONCALL")
    assert await case.state() == ("waiting", "withdrawn"), "a click on the older card counts for nothing"
    case.approval_id, case.digest = approval.id, approval.digest
    await case.approve("U0ONCALL")
    assert await case.state() == ("running", "approved")
    (row,) = await rows(world.engine, "SELECT action->'parameters'->>'replicas' AS replicas FROM executions")
    assert row.replicas == "4"


async def test_the_same_edit_delivered_again_and_one_that_changes_nothing_make_no_second_request(
    world: Services,
) -> None:
    case = await asked(world)
    await case.edit(5)
    ((user, words),) = await told(world.engine)
    assert (user, words) == ("U0LEAD", "Nothing is changed yet: approve it as it is, or write another value.")
    for _ in range(2):
        await case.edit(4, key="one submission")
    assert len(await rows(world.engine, "SELECT 1 FROM approvals")) == 2
    assert len(await told(world.engine)) == 1


async def test_an_edit_out_of_bounds_or_by_somebody_else_changes_nothing(world: Services) -> None:
    case = await asked(world)
    for replicas, user, words in (
        (7, "U0LEAD", "Replicas must be a whole number from 4 to 6: there are 3 now"),
        ("6; DROP", "U0LEAD", "whole number"),
        (4, "U0DEV", "may not decide"),
        (4, "U0GUEST", "Guests"),
    ):
        await case.edit(replicas, user)
        who, sentence = (await told(world.engine))[-1]
        assert who == user
        assert words in sentence
    assert len(await told(world.engine)) == 4
    assert await case.state() == ("waiting", "open")


async def test_where_nobody_may_approve_their_own_the_editor_must_leave_it_to_another(world: Services) -> None:
    policy = sandbox_policy()
    prod = policy.environments["prod"].model_copy(update={"no_self_approval": True})
    everybody = policy.approvers.model_copy(update={"users": ("U0ONCALL", "U0LEAD", "U0DEV")})
    read = {"environments": {**policy.environments, "prod": prod}, "approvers": everybody}
    services = replace(world, policy=policy.model_copy(update=read))
    case = await asked(services, requester="U0DEV", who=("U0ONCALL", "U0LEAD", "U0DEV"))
    await case.edit(4, "U0LEAD")
    approval, _ = await case.newest()
    case.approval_id, case.digest = approval.id, approval.digest
    for user in ("U0LEAD", "U0DEV"):
        await case.approve(user)
    assert [user for user, words in await told(services.engine) if "somebody else" in words] == ["U0LEAD", "U0DEV"]
    await case.approve("U0ONCALL")
    assert await case.state() == ("running", "approved")


async def test_an_edit_that_the_policy_blocks_says_rule_limit_and_value(world: Services) -> None:
    services = replace(world, policy=sandbox_policy(protected_namespaces=("shop",)))
    case = await asked(services)
    await case.edit(4)
    assert await case.state() == ("waiting", "open")
    ((_, words),) = await told(services.engine)
    assert "protected namespace, limit not shop, actual shop" in words


# --- asked twice -----------------------------------------------------------------------------------------------------


async def test_a_fix_that_is_asked_for_twice_needs_the_confirmation(world: Services) -> None:
    plan = Plan(None, preview="Roll back.", twice="A database migration lies in between.")
    case = await asked(world, Action("noop", CHECKOUT), plan)
    await case.approve()
    assert await case.state() == ("waiting", "open")
    ((_, words),) = await told(world.engine)
    assert "asked for twice" in words
    await case.approve(channel="", confirmed=True)
    assert await case.state() == ("running", "approved")


# --- approved for later ----------------------------------------------------------------------------------------------


async def scheduled(services: Services, **changes: Any) -> Asked:
    case = await asked(services, **changes)
    await case.approve(at=(datetime.now(UTC) + SOON).isoformat())
    return case


async def test_what_is_approved_for_later_starts_nothing_before_its_hour_and_once_then(world: Services) -> None:
    case = await scheduled(world)
    assert await case.state() == ("waiting", "scheduled")
    await later.start_due(world)
    await due.run_scheduled(world, case.approval_id)
    assert await case.stages() == []
    await pass_over(world, "run_at", case.approval_id)
    for _ in range(2):
        await later.start_due(world)
    assert await case.stages() == ["run_scheduled"]
    await asyncio.gather(*(due.run_scheduled(world, case.approval_id) for _ in range(3)))
    assert await case.state() == ("running", "approved")
    assert (await case.stages()).count("execute") == 1
    (row,) = await rows(world.engine, "SELECT decided_by FROM approvals")
    assert row.decided_by == "U0ONCALL"


async def test_a_scheduled_fix_does_not_run_on_a_target_that_was_changed_by_hand(world: Services) -> None:
    case = await scheduled(world)
    await scale_by_hand(world, 4)
    await pass_over(world, "run_at", case.approval_id)
    await due.run_scheduled(world, case.approval_id)
    assert await case.state() == ("escalated", "withdrawn")
    incident, (approval, _) = await case.incident(), await case.newest()
    assert approval.reason == incident.by_hand == "changed since this was approved: it was scaled from 3 to 4"
    assert "execute" not in await case.stages()


async def test_a_scheduled_fix_of_a_branch_does_not_run_once_what_failed_is_well(world: Services) -> None:
    branch = replace(CHECKOUT, kind="Branch", name="main", cluster="", repository="acme/manifests")
    # The watch's own signal is the state of the pods.
    case = await scheduled(world, action=Action("github_revert_pr", branch), incident={"source": "kubernetes"})
    await pass_over(world, "run_at", case.approval_id)
    an_hour_later = datetime.now(UTC) + timedelta(hours=1)
    await due.run_scheduled(replace(world, now=lambda: an_hour_later), case.approval_id)
    assert await case.state() == ("resolved", "withdrawn")


async def test_an_alert_that_comes_while_a_scheduled_fix_finds_its_target_well_is_looked_at_too(
    world: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = await scheduled(world, incident={"source": "kubernetes"})
    await pass_over(world, "run_at", case.approval_id)
    looks = 0

    async def well(*_: Any, **__: Any) -> bool:
        nonlocal looks
        looks += 1
        if looks == 1:
            async with world.engine.begin() as db:
                assert await incidents.count_alert(db, case.incident_id, alert(fingerprint="another"))
        return True

    monkeypatch.setattr(recovery, "is_well", well)
    monkeypatch.setattr(flow, "signal_of", no_signal)
    for _ in range(2):
        await later.start_due(world)
        await due.run_scheduled(world, case.approval_id)
        if looks == 1:
            assert await case.state() == ("waiting", "scheduled")
    assert (looks, await case.state()) == (2, ("resolved", "withdrawn"))


async def no_signal(*_: Any) -> None:
    """As where no source tells whether it still fires."""


async def test_a_scheduled_fix_whose_job_never_got_through_becomes_a_persons_work(world: Services) -> None:
    case = await scheduled(world)
    await pass_over(world, "run_at", case.approval_id, timedelta(minutes=59))
    await later.give_up_overdue(world)
    assert await case.state() == ("waiting", "scheduled")
    await pass_over(world, "run_at", case.approval_id, timedelta(minutes=61))
    await later.give_up_overdue(world)
    assert await case.state() == ("escalated", "withdrawn")


@pytest.mark.parametrize(("late", "ended"), [(29, ("running", "approved")), (61, ("diagnosing", "withdrawn"))])
async def test_a_scheduled_fix_whose_hour_passed_while_the_bot_was_down_is_asked_for_anew(
    world: Services, late: int, ended: tuple[str, str]
) -> None:
    case = await scheduled(world)
    await pass_over(world, "run_at", case.approval_id, timedelta(minutes=late))
    await due.run_scheduled(world, case.approval_id)
    assert await case.state() == ended
    assert ("execute" in await case.stages()) is (late < 30)
    if late > 30:
        assert due.TOO_LATE in (await case.newest())[0].reason
        assert "gather_evidence" in await case.stages()


async def test_a_scheduled_fix_waits_for_slack_and_for_its_target_no_longer_than_its_hour(world: Services) -> None:
    class Away:
        async def look_up(self, user: str) -> Person:
            raise Unavailable(f"Slack does not say who {user} is")

    case = await scheduled(world)
    apart = replace(world, people=cast("Any", Away()))
    await pass_over(world, "run_at", case.approval_id, timedelta(minutes=1))
    with pytest.raises(Unavailable):
        await due.run_scheduled(apart, case.approval_id)
    assert await case.state() == ("waiting", "scheduled")
    await pass_over(world, "run_at", case.approval_id, timedelta(minutes=31))
    unseen = replace(apart, clients=replace(world.clients, cluster=cast("Any", Unseen())))
    await due.run_scheduled(unseen, case.approval_id)
    assert await case.state() == ("diagnosing", "withdrawn")


class Unseen:
    """A cluster that cannot be reached."""

    def __getattr__(self, name: str) -> Any:
        raise Unavailable("cluster sandbox cannot be reached")


async def test_a_scheduled_fix_ends_with_its_incident(world: Services) -> None:
    case = await scheduled(world)
    async with world.engine.begin() as db:
        incident = await incidents.get(db, case.incident_id, lock=True)
        assert incident is not None
        await flow.close(db, world, incident, S.RESOLVED, "The alert has resolved.")
    await pass_over(world, "run_at", case.approval_id)
    await later.start_due(world)
    await due.run_scheduled(world, case.approval_id)
    assert await case.state() == ("resolved", "withdrawn")
    assert "run_scheduled" not in await case.stages()


async def test_a_scheduled_fix_that_policy_or_its_approver_no_longer_carries_is_looked_at_anew(world: Services) -> None:
    case = await scheduled(world)
    await pass_over(world, "run_at", case.approval_id)
    frozen = replace(world, policy=sandbox_policy(read_only=True))
    await due.run_scheduled(frozen, case.approval_id)
    assert await case.state() == ("diagnosing", "withdrawn")
    assert "read-only" in (await case.newest())[0].reason
    other = await scheduled(world, incident={"title": "Other"})
    await pass_over(world, "run_at", other.approval_id)
    without = sandbox_policy().approvers.model_copy(update={"users": ("U0LEAD",)})
    await due.run_scheduled(replace(world, policy=sandbox_policy(approvers=without)), other.approval_id)
    assert await other.state() == ("diagnosing", "withdrawn")
    assert "may not do so any more" in (await other.newest())[0].reason


async def test_of_two_approvals_the_later_hour_counts(world: Services) -> None:
    case = await asked(world, needed=2)
    at = datetime.now(UTC) + SOON
    await case.approve("U0ONCALL", at=at.isoformat())
    assert await case.state() == ("waiting", "open")
    await case.approve("U0LEAD")
    approval, _ = await case.newest()
    assert (approval.state, approval.run_at) == ("scheduled", at)
    assert approval.approved_by == ("U0ONCALL", "U0LEAD")


async def test_a_scheduled_fix_can_be_cancelled_and_not_approved_once_more(world: Services) -> None:
    case = await scheduled(world)
    await case.approve("U0LEAD")
    ((_, words),) = await told(world.engine)
    assert "already approved by <@U0ONCALL>, for later" in words
    rejection = Rejection(case.approval_id, case.digest[:16], case.incident_id, RejectReason.NOT_NOW, "")
    await decisions.reject(world, rejection, user="U0LEAD", key="no")
    assert await case.state() == ("escalated", "rejected")


# --- put off ---------------------------------------------------------------------------------------------------------


async def test_a_snooze_is_quiet_does_not_expire_and_then_looks_again(world: Services) -> None:
    case = await asked(world)
    await changing.snooze(world, case.click("U0LEAD", at=(datetime.now(UTC) + SOON).isoformat()))
    await pass_over(world, "created_at", case.approval_id, timedelta(hours=3))
    await later.remind(world)
    await later.ask_again(world)
    await decisions.expire(world)
    assert await case.state() == ("waiting", "open")
    assert not await rows(world.engine, "SELECT 1 FROM outbox WHERE kind = 'direct'")
    await pass_over(world, "snoozed_until", case.approval_id)
    for _ in range(2):
        await later.ask_again(world)
    assert await case.state() == ("diagnosing", "withdrawn")
    assert await case.stages() == ["gather_evidence"]


# --- unanswered ------------------------------------------------------------------------------------------------------


async def test_who_was_asked_is_reminded_and_then_paged_once_by_severity(services: Services) -> None:
    expected = {("critical", 4): "", ("critical", 6): "reminded", ("p1", 11): "reminded, paged",
                ("warning", 9): "", ("warning", 50): "reminded"}  # fmt: skip
    cases = {}
    for severity, minutes in expected:
        case = await asked(services, incident={"severity": severity, "title": f"{severity} {minutes}"})
        await pass_over(services, "created_at", case.approval_id, timedelta(minutes=minutes))
        cases[severity, minutes] = case
    await asyncio.gather(later.remind(services), later.remind(services))
    await later.remind(services)
    keys = [row.key for row in await rows(services.engine, "SELECT key FROM outbox WHERE kind = 'direct' ORDER BY key")]
    paged = [arguments["incident_id"] for stage, arguments in await jobs(services.engine) if stage == "page"]
    for about, case in cases.items():
        asked_for = expected[about]
        reminders = [key for key in keys if key.startswith(f"remind:{case.approval_id}:")]
        ours = [f"remind:{case.approval_id}:{user}" for user in ("U0LEAD", "U0ONCALL")]
        assert reminders == (ours if "reminded" in asked_for else []), about
        assert paged.count(case.incident_id) == int("paged" in asked_for), about


async def test_the_pager_rings_for_all_though_slack_does_not_say_whom_to_remind(
    services: Services, sandbox: Sandbox
) -> None:
    cases = []
    for who in (USERGROUP_ID, "U0LEAD"):
        case = await asked(services, who=(who,), incident={"severity": "critical", "title": who})
        await pass_over(services, "created_at", case.approval_id, timedelta(minutes=11))
        cases.append(case)
    sandbox.slack.faults.update({"refuse_connections": True})
    await later.remind(services)
    paged = [arguments["incident_id"] for stage, arguments in await jobs(services.engine) if stage == "page"]
    assert sorted(paged) == [case.incident_id for case in cases]
    sandbox.slack.faults.update({"refuse_connections": False})
    await later.remind(services)
    keys = {row.key for row in await rows(services.engine, "SELECT key FROM outbox WHERE kind = 'direct'")}
    group, lead = (case.approval_id for case in cases)
    assert keys == {f"remind:{group}:U0ONCALL", f"remind:{group}:U0LEAD", f"remind:{lead}:U0LEAD"}


# --- taken over ------------------------------------------------------------------------------------------------------


async def test_somebody_who_is_on_it_is_named_and_what_was_asked_is_withdrawn(world: Services) -> None:
    case = await asked(world)
    for _ in range(2):
        await case.take("U0DEV")
    assert await case.state() == ("escalated", "withdrawn")
    incident = await case.incident()
    assert (incident.assigned_to, incident.by_hand) == ("U0DEV", taking.ON_IT)
    assert await case.stages() == ["acknowledge"]
    await case.approve("U0ONCALL")
    ((_, words),) = await told(world.engine)
    assert "withdrawn: a person is on it" in words
    await case.take("U0LEAD")
    assert (await case.incident()).assigned_to == "U0LEAD"


async def test_guests_and_outsiders_take_nothing_over(world: Services) -> None:
    case = await asked(world)
    await case.take("U0GUEST")
    assert await case.state() == ("waiting", "open")
    ((user, words),) = await told(world.engine)
    assert user == "U0GUEST"
    assert words.startswith("Guests may not take this over")
    ((by, why),) = await rows(world.engine, "SELECT actor, payload ->> 'why' FROM audit WHERE what LIKE '%.refused'")
    assert (by, why) == ("U0GUEST", words)


async def test_what_was_approved_does_not_start_once_a_person_is_on_it(world: Services) -> None:
    """Taken over in the moment between the look at the target and the start of the fix."""
    case = await asked(world)
    await case.approve()
    ((execution_id,),) = await rows(world.engine, "SELECT id FROM executions")

    class TakenMeanwhile(StoredExecutions):
        async def start_execution(self, execution_id: int, *, snapshot: Any, fencing_token: int) -> bool:
            await case.take("U0DEV")
            return await super().start_execution(execution_id, snapshot=snapshot, fencing_token=fencing_token)

    before = await look(world)
    await flow.execute(replace(world, executions=TakenMeanwhile(world.engine)), execution_id)
    await flow.after_execution(world, execution_id)
    assert await look(world) == before
    assert await case.state() == ("escalated", "approved")
    ((state, started),) = await rows(world.engine, "SELECT state, started_at FROM executions")
    assert (state, started) == ("refused", None)
    assert "page" not in await case.stages(), "somebody is on it"
    assert not await rows(world.engine, "SELECT 1 FROM outbox WHERE key LIKE 'call:%'")
    async with world.engine.connect() as db:
        incident = await incidents.get(db, case.incident_id)
        assert incident is not None
        view = await card_view(db, world, incident)
    assert "<@U0DEV> is on it. What was approved was not started." in render_card(view).text


async def test_who_is_on_it_hands_it_back_and_it_is_looked_at_anew(world: Services) -> None:
    case = await asked(world)
    await case.take("U0ONCALL")
    await case.give_back("U0GUEST")
    await case.give_back("U0DEV")
    assert (await case.incident()).assigned_to == "U0ONCALL"
    for _ in range(2):
        await case.give_back("U0LEAD")
    incident = await case.incident()
    assert (incident.state, incident.assigned_to, incident.by_hand) == ("diagnosing", "", "")
    assert await case.stages() == ["acknowledge", "gather_evidence"]
    assert len(await told(world.engine)) == 2


async def test_what_was_in_other_hands_is_handed_back_by_an_approver(world: Services) -> None:
    """Anybody may take: taking and handing back must not undo a colleague's word, or the pager's."""
    case = await asked(world)
    async with world.engine.begin() as db:
        await flow.on_alert(db, world, acknowledged(taking.pager_key(case.incident_id)))
    await case.take("U0DEV")
    await case.give_back("U0DEV")
    incident = await case.incident()
    assert (incident.state, incident.assigned_to) == ("escalated", "U0DEV")
    assert incident.by_hand == f"{taking.ON_IT}, after acknowledged in PagerDuty by Anna Lee"
    assert {words for _, words in await told(world.engine)} == {
        "It was in other hands before yours, so those who approve fixes here hand it back."
    }
    await case.give_back("U0LEAD")
    assert (await case.incident()).by_hand == ""


def acknowledged(fingerprint: str) -> Alert:
    return Alert(
        source="pagerduty", status=AlertStatus.INFO, title="checkout", identity="pd:1", fingerprint=fingerprint,
        actionable=False, labels={"event_type": taking.ACKNOWLEDGED, "agent": "Anna Lee"},
    )  # fmt: skip


async def test_an_acknowledgement_in_the_pager_stops_what_was_asked(world: Services) -> None:
    case = await asked(world)
    for _ in range(2):
        async with world.engine.begin() as db:
            await flow.on_alert(db, world, acknowledged(taking.pager_key(case.incident_id)))
    assert await case.state() == ("escalated", "withdrawn")
    incident = await case.incident()
    assert (incident.assigned_to, incident.by_hand) == ("", "acknowledged in PagerDuty by Anna Lee")
    echo = replace(acknowledged(taking.pager_key(99)), status=AlertStatus.FIRING, actionable=True)
    async with world.engine.begin() as db:
        await flow.on_alert(db, world, replace(echo, labels={"event_type": "incident.triggered"}))
    assert len(await rows(world.engine, "SELECT 1 FROM incidents")) == 1, "the echo of our own page is no new incident"


async def test_a_click_on_a_fix_for_a_target_that_was_changed_since_starts_nothing(world: Services) -> None:
    case = await asked(world)
    await scale_by_hand(world, 4)
    await case.approve("U0ONCALL")
    assert await case.state() == ("escalated", "withdrawn")
    ((user, words),) = await told(world.engine)
    assert user == "U0ONCALL"
    assert "it was scaled from 3 to 4" in words
    assert await case.stages() == []


# --- what was said to call people ------------------------------------------------------------------------------------


async def test_the_call_for_people_is_edited_when_it_is_answered(world: Services) -> None:
    case = await asked(world)
    async with world.engine.begin() as db:
        incident = await incidents.get(db, case.incident_id)
        assert incident is not None
        await cards.call_people(db, world, incident)
        await cards.show(db, world, incident)
    query = "SELECT key, state FROM outbox WHERE kind = 'edit'"
    assert not await rows(world.engine, query), "while it is asked, the call stands"
    await case.approve()
    (edit,) = await rows(world.engine, query)
    assert edit.key == f"edit:{outbox.call_key(incident.id, incident.revision)}"
    async with world.engine.connect() as db:
        assert not [one for one in await outbox.due(db) if one.kind == "edit"], "it waits for what it edits"
