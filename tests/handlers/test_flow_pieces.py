"""Pieces of the story that can be told without a world: where an incident goes, what opens, closes and withdraws."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from slack_sdk.web.async_client import AsyncWebClient
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from handlers import facts, flow, learning, tending
from handlers.mentions import Question, alert_of
from handlers.services import Services
from handlers.view import card_view
from knowledge.correlation import OpenIncident
from knowledge.model import (
    Action,
    Alert,
    ApprovalState,
    Auto,
    Blocked,
    Evidence,
    Execution,
    ExecutionState,
    FailureKind,
    Incident,
    IncidentState,
    Link,
    Outcome,
    RuleResult,
    Unsure,
    Verification,
)
from knowledge.store import approvals, executions, incidents, outbox, switches
from knowledge.store.executions import StoredExecutions
from remediation import evidence, recovery, verification
from tests.handlers.office import carried_out, jobs, made_services, rows, sandbox_policy
from tests.rows import (
    NOW,
    TARGET,
    S,
    a_plan,
    alert,
    an_approval,
    an_execution,
    an_incident,
    decision,
    diagnosis,
    ended,
    plan,
)

BLOCKED = Blocked("too many", "U0LEAD")


def incident(**changes: Any) -> Incident:
    base = Incident(
        id=1, identity="i", title="CheckoutDown", state=S.DIAGNOSING, source="alertmanager", severity="", service="",
        environment="", namespace="", workload="", cluster="", repository="", run_id="", channel="C1", thread_ts="",
        trusted=True, flagged=False, target=None, kind=None, alert_count=1, opened_at=NOW, last_alert_at=NOW,
        resolved_at=None, revision=1,
    )  # fmt: skip
    return replace(base, **changes)


# --- where it goes ---------------------------------------------------------------------------------------------------

UNSURE = Unsure("no evidence", (), diagnosis().answered_by)
HEALTHY = diagnosis(FailureKind.HEALTHY)
MODE = RuleResult("mode", "approve", "observe", False, "block")
LIMIT = RuleResult("fixes per hour", "10", "11", False, "block")


def blocked(*rules: RuleResult) -> Any:
    return replace(decision(BLOCKED), rules=rules)


@pytest.mark.parametrize(
    ("one", "answer", "planned", "decided", "then"),
    [
        (incident(source="question", trusted=False), diagnosis(), plan(), decision(Auto()), S.RESOLVED),
        (incident(source="question", trusted=False, state=S.DETECTED), UNSURE, plan(None), decision(), S.RESOLVED),
        (incident(source="question", trusted=True), diagnosis(), plan(), decision(), S.WAITING),
        (incident(), HEALTHY, plan(None), decision(BLOCKED), S.RESOLVED),
        (incident(), HEALTHY, plan(), decision(Auto()), S.RESOLVED),
        (incident(), UNSURE, plan(None), decision(BLOCKED), S.ESCALATED),
        (incident(), diagnosis(), plan(None), decision(Auto()), S.ESCALATED),
        (incident(), diagnosis(), plan(), decision(Auto()), S.RUNNING),
        (incident(), diagnosis(), plan(), decision(), S.WAITING),
        (incident(), diagnosis(), plan(), blocked(LIMIT), S.BLOCKED),
        (incident(), diagnosis(), plan(), blocked(MODE, LIMIT), S.BLOCKED),
    ],
    ids=[
        "pasted text is done with its answer", "even where we are unsure", "a question about a service is not",
        "nothing is wrong", "and nothing is done then", "unsure", "no fix", "automatic", "ask", "blocked",
        "more than the mode stops it",
    ],
)  # fmt: skip
def test_where_an_incident_goes_after_its_decision(
    one: Incident, answer: Any, planned: Any, decided: Any, then: IncidentState
) -> None:
    assert flow.state_after(one, answer, planned, decided) is then


def test_the_excerpt_has_the_lines_that_matter_once_and_is_bounded() -> None:
    log = "\n".join([f"line {n} is fine" for n in range(500)] + ["panic: nil pointer dereference"])
    items = [Evidence("logs", "a", log), Evidence("previous_logs", "a", log), Evidence("events", "b", "", "no access")]
    excerpt = learning.excerpt_of(items, incident())
    assert excerpt.splitlines()[0] == "CheckoutDown"
    assert excerpt.count("panic: nil pointer dereference") == 1
    huge = learning.excerpt_of([Evidence("logs", str(n), f"Error: {n} " + "x" * 5000) for n in range(20)], incident())
    assert len(huge) <= learning.EXCERPT_CHARS
    assert learning.excerpt_of([], incident()) == "CheckoutDown"


# --- alerts ----------------------------------------------------------------------------------------------------------


async def received(services: Services, *signals: Alert) -> None:
    for signal in signals:
        async with services.engine.begin() as db:
            await flow.on_alert(db, services, signal)


async def all_states(services: Services) -> list[str]:
    return [row.state for row in await rows(services.engine, "SELECT state FROM incidents ORDER BY id")]


async def test_an_alert_whose_incident_is_closed_at_the_same_moment_opens_another(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    await received(services, alert())
    look, looks = incidents.candidates, 0

    async def closed_meanwhile(db: AsyncConnection, *keys: Any) -> Sequence[OpenIncident]:
        nonlocal looks
        looks += 1
        found = await look(db, *keys)
        if looks == 1:
            async with services.engine.begin() as other:
                current = await incidents.get(other, found[0].id, lock=True)
                assert current is not None
                await flow.close(other, services, current, S.RESOLVED, "It has recovered by itself.")
        return found

    monkeypatch.setattr(incidents, "candidates", closed_meanwhile)
    await received(services, alert(fingerprint="another"))
    assert await all_states(services) == ["resolved", "detected"]
    of = await rows(services.engine, "SELECT incident_id FROM alerts ORDER BY id")
    assert len({row.incident_id for row in of}) == 2


async def test_what_is_told_of_during_the_look_at_an_incident_is_not_closed_with_it(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with services.engine.begin() as db:
        one = await an_incident(db, state=S.ESCALATED, source="kubernetes")

    async def well(*_: Any, **__: Any) -> bool:
        if not again.is_set():
            again.set()
            async with services.engine.begin() as db:
                assert await incidents.count_alert(db, one.id, alert(fingerprint="another", source="kubernetes"))
        return True

    again = asyncio.Event()
    monkeypatch.setattr(recovery, "is_well", well)
    await tending.recheck_open(services)
    assert await all_states(services) == ["escalated"]
    await tending.recheck_open(services)
    assert await all_states(services) == ["resolved"]


@pytest.mark.parametrize("while_it_waits", [False, True])
async def test_what_is_told_of_during_a_diagnosis_is_looked_at_before_nothing_is_said_to_be_wrong(
    services: Services, monkeypatch: pytest.MonkeyPatch, *, while_it_waits: bool
) -> None:
    async with services.engine.begin() as db:
        one = await an_incident(db, state=S.DIAGNOSING, source="kubernetes")
        await incidents.keep_evidence(db, one.id, [Evidence("events", "kubernetes", "Normal Pulled")])
    again = alert(fingerprint="another", source="kubernetes")

    async def told() -> bool | None:
        async with services.engine.begin() as db:
            return await incidents.count_alert(db, one.id, again)

    counted: list[bool | None] = [await told()] if while_it_waits else []

    async def well(*_: Any, **__: Any) -> Any:
        counted.append(await told())
        return HEALTHY, ()

    monkeypatch.setattr(flow, "_answer", well)
    await flow.diagnose(services, one.id)
    assert await all_states(services) == ["diagnosing"]
    assert await jobs(services.engine) == [("gather_evidence", {"incident_id": one.id})]
    assert not await rows(services.engine, "SELECT 1 FROM decisions")
    await flow.gather_evidence(services, one.id)
    await flow.diagnose(services, one.id)
    assert await all_states(services) == ["resolved"]
    # Its repeat, which comes during the second look, is no news.
    assert counted == [True, *[False] * (1 + while_it_waits)]


async def test_a_repeat_of_a_closed_alert_opens_nothing_and_a_new_start_does(services: Services) -> None:
    fired = alert(started_at=datetime.now(UTC))
    await received(services, fired, ended(fired), fired, fired)
    assert await all_states(services) == ["resolved"]
    await received(services, replace(fired, started_at=datetime.now(UTC) + timedelta(minutes=5)))
    assert await all_states(services) == ["resolved", "detected"]


async def past(services: Services, minutes: int = 10) -> None:
    """So many minutes go by."""
    async with services.engine.begin() as db:
        change = text("UPDATE alerts SET received_at = received_at - make_interval(mins => :minutes)")
        await db.execute(change, {"minutes": minutes})


async def test_what_fires_again_with_its_old_start_some_time_after_its_end_is_news_and_ends_anew(
    services: Services,
) -> None:
    fired = alert(started_at=datetime.now(UTC))
    await received(services, fired, fired, ended(fired))
    for spell in range(1, 4):
        assert await all_states(services) == ["resolved"] * spell
        await past(services)
        await received(services, fired)
        assert await all_states(services) == ["resolved"] * spell + ["detected"]
        await past(services)
        await received(services, fired, fired)
        assert await all_states(services) == ["resolved"] * spell + ["detected"], "a repeat"
        await received(services, ended(fired), fired)
    told = await rows(services.engine, "SELECT incident_id, status, seen FROM alerts ORDER BY id")
    assert [(row.incident_id, row.status) for row in told] == [
        (number, status) for number in (1, 2, 3, 4) for status in ("firing", "resolved")
    ]


async def test_an_end_that_came_before_its_alert_ends_nothing_that_is_told_later(services: Services) -> None:
    fired = alert(started_at=datetime.now(UTC))
    await received(services, ended(fired))
    await past(services)
    await received(services, fired)
    await past(services)
    await received(services, fired)
    assert await all_states(services) == ["detected"]


async def test_an_alert_that_fires_again_in_its_open_incident_keeps_it_open(services: Services) -> None:
    first, other = (alert(fingerprint=name, started_at=datetime.now(UTC)) for name in ("a", "b"))
    await received(services, first, other, ended(first))
    await past(services)
    await received(services, first, ended(other))
    assert await all_states(services) == ["detected"]
    await received(services, ended(first))
    assert await all_states(services) == ["resolved"]


async def test_a_card_keeps_its_source_when_an_alert_without_a_link_joins(services: Services) -> None:
    fired = alert(started_at=datetime.now(UTC))
    links = [(Link("Alert", "https://alerts.example/1"),), (), (Link("Alert", "https://alerts.example/2"),), ()]
    signals = [replace(fired, fingerprint=str(number), links=found) for number, found in enumerate(links)]
    await received(services, *signals)
    async with services.engine.connect() as db:
        (incident,) = await incidents.listed(db)
        assert len(await incidents.alerts_of(db, incident.id)) == 4
        assert (await card_view(db, services, incident)).source_link == "https://alerts.example/2"


async def test_a_signal_without_a_start_opens_again_after_its_end_and_is_that_incidents_own(services: Services) -> None:
    fired = alert(source="generic", started_at=None)
    await received(services, fired, fired, ended(fired), fired)
    assert await all_states(services) == ["resolved", "detected"]
    (_, second) = await rows(services.engine, "SELECT id FROM incidents ORDER BY id")
    async with services.engine.connect() as db:
        assert [one.title for one in await incidents.alerts_of(db, second.id)][-1:] == [fired.title]
    await received(services, ended(fired))
    assert await all_states(services) == ["resolved", "resolved"]


async def test_a_resolved_alert_closes_its_incident_and_withdraws_what_was_asked(services: Services) -> None:
    fired = alert(started_at=datetime.now(UTC))
    await received(services, fired)
    async with services.engine.begin() as db:
        (found,) = await incidents.listed(db)
        moved = await incidents.move(db, found, S.DIAGNOSING)
        assert moved is not None
        approval = await an_approval(db, moved)
        await incidents.move(db, moved, S.WAITING)
    await received(services, ended(fired))
    assert await all_states(services) == ["resolved"]
    async with services.engine.connect() as db:
        closed = await approvals.get(db, approval)
    assert closed is not None
    assert closed.state is ApprovalState.WITHDRAWN
    assert [stage for stage, _ in await jobs(services.engine)] == ["gather_evidence", "learn", "stand_down"]


@pytest.mark.parametrize("state", [S.RUNNING, S.VERIFYING])
async def test_a_resolved_alert_leaves_a_running_fix_to_its_verification(
    services: Services, state: IncidentState
) -> None:
    async with services.engine.begin() as db:
        found = await an_incident(db, state=state)
        await incidents.hold_keys(
            db, found.id, ["identity:id:CheckoutDown", "fingerprint:alertmanager/fp:CheckoutDown"]
        )
    await received(services, ended(alert()))
    assert await all_states(services) == [state]
    async with services.engine.connect() as db:
        assert await incidents.still_firing(db, found.id) is False


async def test_information_opens_nothing(services: Services) -> None:
    await received(services, alert(actionable=False))
    assert await all_states(services) == []


async def test_the_same_delivery_is_accepted_once(services: Services) -> None:
    accepted = [await flow.accept_alerts(services, [alert()], source="x", delivery_id="1") for _ in range(2)]
    assert accepted == [True, False]


async def test_what_is_told_of_while_evidence_is_collected_is_looked_at_before_nothing_is_said_to_be_wrong(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with services.engine.begin() as db:
        one = await an_incident(db, state=S.DETECTED, source="kubernetes")
    counted: list[bool | None] = []

    async def collected(*_: Any, **__: Any) -> list[Evidence]:
        async with services.engine.begin() as db:
            counted.append(await incidents.count_alert(db, one.id, alert(fingerprint="another", source="kubernetes")))
        return [Evidence("events", "kubernetes", "Normal Pulled")]

    async def well(*_: Any, **__: Any) -> Any:
        return HEALTHY, ()

    monkeypatch.setattr(evidence, "collect", collected)
    monkeypatch.setattr(flow, "_answer", well)
    await flow.gather_evidence(services, one.id)
    await flow.diagnose(services, one.id)
    assert await all_states(services) == ["diagnosing"]
    assert ("gather_evidence", {"incident_id": one.id}) in await jobs(services.engine)
    await flow.gather_evidence(services, one.id)
    await flow.diagnose(services, one.id)
    assert await all_states(services) == ["resolved"]
    assert counted == [True, False], "its repeat is no news"


# --- executions ------------------------------------------------------------------------------------------------------


async def approved(services: Services) -> tuple[int, int]:
    """(incident, execution) about to run."""
    async with services.engine.begin() as db:
        found = await an_incident(db, state=S.RUNNING)
        await outbox.new_card(db, found.id, "C0DEPLOY")
        return found.id, await an_execution(db, found)


async def ended_as(services: Services, execution_id: int) -> ExecutionState:
    async with services.engine.connect() as db:
        found = await executions.get(db, execution_id)
    assert found is not None
    return found.state


async def test_a_dry_run_ends_with_people_and_is_not_verified(
    engine: AsyncEngine, slack: AsyncWebClient, database_url: str
) -> None:
    services = made_services(engine, slack, database_url, policy=sandbox_policy(dry_run=True))
    _, execution = await approved(services)
    await carried_out(services, execution)
    assert await all_states(services) == ["escalated"]
    assert await ended_as(services, execution) is ExecutionState.ACTED
    assert not [stage for stage, _ in await jobs(engine) if stage in {"verify", "learn"}]
    (reply,) = await rows(engine, "SELECT payload->>'text' AS words FROM outbox WHERE key LIKE 'progress:%'")
    assert "Tried without effect." in reply.words
    assert "ry run" in reply.words


async def test_an_execution_is_followed_by_its_verification_however_often_the_job_runs(services: Services) -> None:
    _, execution = await approved(services)
    for _ in range(2):
        await carried_out(services, execution)
    assert await all_states(services) == ["verifying"]
    assert [stage for stage, _ in await jobs(services.engine)] == ["verify"]


@pytest.mark.parametrize("late", [False, True])
async def test_a_fix_that_an_alert_tells_of_during_the_look_is_looked_at_again_until_its_deadline(
    services: Services, monkeypatch: pytest.MonkeyPatch, *, late: bool
) -> None:
    incident_id, execution = await approved(services)
    await carried_out(services, execution)
    if late:
        async with services.engine.begin() as db:
            await db.execute(text("UPDATE executions SET finished_at = now() - interval '1 day'"))
    counted = []

    async def well(*_: Any, **__: Any) -> Verification:
        async with services.engine.begin() as db:
            counted.append(await incidents.count_alert(db, incident_id, alert(fingerprint="another")))
        return Verification("verified", (), "All pods are ready.")

    monkeypatch.setattr(verification, "verify_once", well)
    await flow.verify(services, execution)
    assert await all_states(services) == ["not_verified" if late else "verifying"]
    looks = [stage for stage, _ in await jobs(services.engine) if stage == "verify"]
    assert len(looks) == (1 if late else 2)  # the first was asked for by the execution
    if not late:
        await flow.verify(services, execution)
        assert await all_states(services) == ["healed"]
        assert counted == [True, False]


async def test_an_execution_whose_lease_ended_once_it_was_started_is_settled_later(services: Services) -> None:
    _, execution = await approved(services)

    class Stalled(StoredExecutions):
        async def start_execution(self, execution_id: int, **named: Any) -> bool:
            started = await super().start_execution(execution_id, **named)
            async with services.engine.begin() as db:
                await db.execute(text("UPDATE leases SET expires_at = now()"))
            return started

    await carried_out(replace(services, executions=Stalled(services.engine)), execution)
    assert await ended_as(services, execution) is ExecutionState.STARTED
    assert await jobs(services.engine) == [("execute", {"execution_id": execution})]
    await carried_out(services, execution)
    assert await ended_as(services, execution) is ExecutionState.ACTED
    assert await all_states(services) == ["verifying"]


async def test_an_undo_that_was_overtaken_is_looked_at_again(services: Services) -> None:
    scaled = Action("k8s_scale", TARGET, {"was": 2, "replicas": 4, "limit": 8}, undo="scales back")
    async with services.engine.begin() as db:
        incident = await an_incident(db, state=S.VERIFYING)
        number = await an_execution(db, incident, scaled)
        await executions.start(db, number, fencing_token=1, snapshot={})
        outcome = Outcome(ok=True, changed=True, detail="Scaled.")
        await executions.finish(db, number, state=ExecutionState.ACTED, outcome=outcome, fencing_token=1)
        await executions.add_verification(db, number, Verification("worse", (), "Fewer pods are ready."))

    class Overtaken(StoredExecutions):
        async def take_execution(self, execution_id: int, *, fencing_token: int) -> Execution | None:
            async with services.engine.begin() as db:
                await db.execute(text("UPDATE executions SET fencing_token = 1000"))
            return await super().take_execution(execution_id, fencing_token=fencing_token)

    await flow.verify(replace(services, executions=Overtaken(services.engine)), number)
    assert await jobs(services.engine) == [("verify", {"execution_id": number})]
    assert await all_states(services) == ["verifying"]


async def test_an_undo_that_failed_is_not_told_as_done(services: Services) -> None:
    scaled = Action("k8s_scale", TARGET, {"was": 2, "replicas": 4, "limit": 8}, undo="scales back")
    async with services.engine.begin() as db:
        incident = await an_incident(db, state=S.VERIFYING)
        number = await an_execution(db, incident, scaled)
        await executions.start(db, number, fencing_token=1, snapshot={"uid": "d", "replicas": 2, "to": 4})
        outcome = Outcome(ok=True, changed=True, detail="Scaled.")
        await executions.finish(db, number, state=ExecutionState.ACTED, outcome=outcome, fencing_token=1)
        await executions.add_verification(db, number, Verification("worse", (), "Fewer pods are ready."))
    await flow.verify(services, number)  # no cluster is connected, so that it is refused
    assert await all_states(services) == ["not_verified"]
    (found,) = await rows(services.engine, "SELECT outcome, state FROM executions")
    assert (found.state, found.outcome["changed"]) == ("acted", True)
    assert "Scaled. The undo failed:" in found.outcome["detail"]


@pytest.mark.parametrize("pretended", [True, False])
async def test_a_policy_that_is_read_after_the_act_does_not_change_what_was_done(
    services: Services, *, pretended: bool
) -> None:
    _, execution = await approved(services)
    outcome = Outcome(ok=True, changed=not pretended, detail="Done.")
    async with services.engine.begin() as db:
        if not pretended:
            await executions.start(db, execution, fencing_token=1, snapshot={})
        await executions.finish(db, execution, state=ExecutionState.ACTED, outcome=outcome, fencing_token=1)
    await carried_out(replace(services, policy=sandbox_policy(dry_run=not pretended)), execution)
    assert await all_states(services) == ["escalated" if pretended else "verifying"]


@pytest.mark.parametrize("stopped", ["paused", "read-only"])
async def test_what_was_stopped_before_it_could_start_is_refused_and_handed_to_people(
    services: Services, stopped: str
) -> None:
    _, execution = await approved(services)
    async with services.engine.begin() as db:
        await switches.write(db, switches.PAUSED, stopped == "paused", by="U0DEV")
    services = replace(services, policy=sandbox_policy(read_only=stopped == "read-only"))
    await carried_out(services, execution)
    assert await all_states(services) == ["escalated"]
    assert await ended_as(services, execution) is ExecutionState.REFUSED
    assert [stage for stage, _ in await jobs(services.engine)] == ["page", "learn"]


# --- jobs that were given up, and are retried ------------------------------------------------------------------------


async def ends_told(services: Services) -> list[Any]:
    query = "SELECT what, (payload->>'execution')::int FROM audit WHERE what LIKE 'execution.%' ORDER BY id"
    return [tuple(row) for row in await rows(services.engine, query)]


async def said_of_executions(services: Services) -> list[str]:
    query = "SELECT payload->>'text' AS words FROM outbox WHERE key LIKE 'progress:%' ORDER BY id"
    return [row.words for row in await rows(services.engine, query)]


async def test_what_was_queued_when_its_job_was_given_up_does_not_start_when_the_job_is_retried(
    services: Services,
) -> None:
    _, execution = await approved(services)
    await tending.rescue_left_alone(services)
    assert await all_states(services) == ["escalated"]
    (told,) = await rows(services.engine, "SELECT payload FROM audit WHERE what = 'incident.left_alone'")
    assert told.payload["held_back"] == [execution]
    for _ in range(2):
        await carried_out(services, execution)
    assert await ended_as(services, execution) is ExecutionState.REFUSED
    assert await ends_told(services) == [("execution.refused", execution)]
    (said,) = await said_of_executions(services)
    assert tending.GIVEN_UP in said
    assert await all_states(services) == ["escalated"]


@pytest.mark.parametrize("then", [S.ESCALATED, S.RESOLVED, S.RUNNING])
async def test_what_is_still_queued_when_its_incident_has_gone_on_does_not_start(
    services: Services, then: IncidentState
) -> None:
    number, execution = await approved(services)
    async with services.engine.begin() as db:
        await db.execute(text("UPDATE incidents SET state = :then"), {"then": then})
        current = await incidents.get(db, number)
        assert current is not None
        if then is S.RUNNING:
            await an_execution(db, current)
    await carried_out(services, execution)
    assert await ended_as(services, execution) is ExecutionState.REFUSED
    (found,) = await rows(services.engine, "SELECT outcome FROM executions WHERE id = :id", id=execution)
    assert found.outcome["detail"] == facts.GONE_ON
    assert await all_states(services) == [then]


async def begun(services: Services, execution: int) -> None:
    async with services.engine.begin() as db:
        assert await executions.start(db, execution, fencing_token=1, snapshot={})


async def test_what_had_started_when_its_job_was_given_up_is_told_of_once_and_not_verified(services: Services) -> None:
    _, execution = await approved(services)
    await begun(services, execution)
    await tending.rescue_left_alone(services)
    assert await all_states(services) == ["escalated"]
    for _ in range(2):
        await carried_out(services, execution)
    assert await ended_as(services, execution) is ExecutionState.ACTED
    assert await all_states(services) == ["escalated"]
    assert await ends_told(services) == [("execution.acted", execution)]
    (said,) = await said_of_executions(services)
    assert "not verified" in said
    assert "verify" not in [stage for stage, _ in await jobs(services.engine)]


async def test_an_earlier_fix_is_not_verified_in_the_place_of_the_one_that_runs_now(services: Services) -> None:
    number, first = await approved(services)
    await begun(services, first)
    await tending.rescue_left_alone(services)
    async with services.engine.begin() as db:
        current = await incidents.get(db, number)
        assert current is not None
        for state in (S.DIAGNOSING, S.RUNNING):
            moved = await incidents.move(db, current, state)
            assert moved is not None
            current = moved
        second = await an_execution(db, current)
    await carried_out(services, first)
    assert await all_states(services) == ["running"]
    assert await ends_told(services) == [("execution.acted", first)]
    await carried_out(services, second)
    assert await all_states(services) == ["verifying"]
    async with services.engine.begin() as db:
        await executions.add_verification(db, first, Verification("worse", (), "Fewer pods are ready."))
    await flow.verify(services, first)
    assert await all_states(services) == ["verifying"]


# --- questions -------------------------------------------------------------------------------------------------------


async def test_a_mention_in_a_cards_thread_looks_again_and_withdraws_what_was_asked(services: Services) -> None:
    async with services.engine.begin() as db:
        found = await an_incident(db, state=S.WAITING)
        approval = await an_approval(db, found)
        await outbox.new_card(db, found.id, "C0DEPLOY")
        await outbox.card_shown(db, found.id, channel="C0DEPLOY", ts="5.5", shown="x")
        await flow.on_question(db, services, Question("U1", "C0DEPLOY", "6.6", "5.5", "<@U0CODEHEALER> and now?"))
    assert await all_states(services) == ["diagnosing"]
    async with services.engine.connect() as db:
        asked = await approvals.get(db, approval)
    assert asked is not None
    assert asked.state is ApprovalState.WITHDRAWN
    assert [stage for stage, _ in await jobs(services.engine)] == ["gather_evidence"]


async def test_what_is_proposed_after_a_mention_under_an_alert_is_the_askers_request(services: Services) -> None:
    async with services.engine.begin() as db:
        found = await an_incident(db, state=S.WAITING)
        await outbox.new_card(db, found.id, "C0DEPLOY")
        await outbox.card_shown(db, found.id, channel="C0DEPLOY", ts="5.5", shown="x")
        await flow.on_question(db, services, Question("U0LEAD", "C0DEPLOY", "6.6", "5.5", "<@U0CODEHEALER> and now?"))
        current = await incidents.get(db, found.id)
        assert current is not None
        await flow._follow(db, services, current, diagnosis(), await a_plan(db, current))
        asked = await approvals.latest(db, found.id)
    assert asked is not None
    assert asked.requester == "U0LEAD"


async def test_a_mention_under_a_closed_incident_is_a_question_of_its_own(services: Services) -> None:
    async with services.engine.begin() as db:
        found = await an_incident(db, state=S.HEALED)
        await outbox.new_card(db, found.id, "C0DEPLOY")
        await outbox.card_shown(db, found.id, channel="C0DEPLOY", ts="5.5", shown="x")
        question = Question("U1", "C0DEPLOY", "6.6", "5.5", "<@U0CODEHEALER> again?\nERROR")
        await flow.on_question(db, services, question)
        await flow.on_alert(db, services, alert_of(question, ""))
    assert await all_states(services) == ["healed", "detected"]
