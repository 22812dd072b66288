"""What people switch with /codehealer, and what that does to decisions and to fixes that are queued."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from handlers import commands, facts, flow, trusting
from handlers.blocks.trust import shadow_words
from handlers.reading import Reader
from handlers.services import Services
from knowledge.model import Action, Ask, Auto, Blocked, ExecutionState, Incident, Outcome, Plan, Risk, Target
from knowledge.store import answers, audit, executions, incidents, memory, outbox, switches, trust
from remediation.replay import decided_again
from tests.handlers.office import rows
from tests.rows import S, an_execution, an_incident, decision, diagnosis, item, plan

DEV = Target("Deployment", "reports", "dev", "sandbox", "acme/reports", "reports", "dev")
RESTART = Plan(Action("k8s_restart_pod", DEV, {"pod": "reports-1"}), preview="Delete pod reports-1.", risk=Risk.LOW)


async def typed(services: Services, text: str, user: str = "U0DEV") -> str:
    return (await commands.command(services, text, Reader("C0DEPLOY"), user=user)).text


async def decided(services: Services, incident: Incident) -> facts.Decided:
    async with services.engine.begin() as db:
        return await facts.decide(db, services, incident, diagnosis(), RESTART, ())


async def recorded(services: Services, what: str) -> list[tuple[str, Any]]:
    query = "SELECT actor, payload FROM audit WHERE what = :what ORDER BY id"
    return [(row.actor, row.payload) for row in await rows(services.engine, query, what=what)]


async def test_anybody_narrows_and_only_an_operator_widens(services: Services) -> None:
    assert "observe" in await typed(services, "mode service checkout observe")
    assert "may" in await typed(services, "mode service checkout approve")
    assert "checkout" in await typed(services, "mode")
    assert "policy file" in await typed(services, "mode service checkout default", user="U0LEAD")
    assert "no service of that name" in await typed(services, "mode service chekout observe")
    assert "Write" in await typed(services, "mode service checkout sometimes")
    assert [(by, one["before"], one["mode"]) for by, one in await recorded(services, "mode.set")] == [
        ("U0DEV", "default", "observe"), ("U0LEAD", "observe", "default"),
    ]  # fmt: skip
    assert [by for by, _ in await recorded(services, "mode.refused")] == ["U0DEV"]


async def test_a_mode_is_in_force_at_the_next_decision_and_for_what_is_queued(services: Services) -> None:
    async with services.engine.begin() as db:
        incident = await an_incident(db)
        execution = await an_execution(db)
    before = await decided(services, incident)
    assert before.decision.mode == "automatic"
    await typed(services, "mode environment dev suggest")
    after = await decided(services, incident)
    assert (after.decision.mode, type(after.decision.verdict), after.shadow) == ("suggest", Blocked, False)
    # The same policy on the facts of then decides as it did then.
    assert decided_again(RESTART, diagnosis(), before.rested_on, services.policy) == before.decision
    await typed(services, "mode everything observe")
    await flow.execute(services, execution)
    async with services.engine.connect() as db:
        row = await executions.get(db, execution)
    assert row is not None
    assert row.outcome is not None
    assert "observe" in row.outcome.detail


async def test_anybody_pauses_and_an_operator_ends_that_and_the_breaker(services: Services) -> None:
    await typed(services, "pause")
    async with services.engine.begin() as db:
        await switches.write(db, switches.BREAKER, "3 failed in a row", by="codehealer")
        incident = await an_incident(db)
    assert "3 failed in a row" in await typed(services, "status")
    assert "may" in await typed(services, "resume")
    failing = {rule.rule for rule in (await decided(services, incident)).decision.rules if not rule.passed}
    assert {"kill switch", "breaker"} <= failing
    await typed(services, "resume", user="U0LEAD")
    failing = {rule.rule for rule in (await decided(services, incident)).decision.rules if not rule.passed}
    assert not {"kill switch", "breaker"} & failing


async def test_resume_in_an_incidents_thread_asks_which_and_says_what_still_pauses(services: Services) -> None:
    await typed(services, "pause")
    async with services.engine.begin() as db:
        incident = await an_incident(db)
        await outbox.new_card(db, incident.id, "C0DEPLOY")
        await outbox.card_shown(db, incident.id, channel="C0DEPLOY", ts="1.1", shown="x")

    async def mentioned(words: str, ts: str) -> str:
        place = {"user": "U0LEAD", "channel": "C0DEPLOY", "ts": ts, "thread_ts": "1.1"}
        await commands.on_mention(services, {**place, "text": f"<@U0CODEHEALER> {words}"})
        found = await rows(services.engine, "SELECT payload FROM outbox WHERE key LIKE 'answer:%' ORDER BY id DESC")
        return str(found[0].payload["text"])

    asked = await mentioned("resume", "2.2")
    assert f"`resume {incident.id}`" in asked
    assert "`resume all`" in asked
    assert "Paused" in await typed(services, "status")
    assert "Resumed" in await mentioned("resume all", "3.3")
    assert "Paused" not in await typed(services, "status")
    stopped = replace(services, halted=lambda: "the file /run/paused")
    assert "the file /run/paused still pauses" in await typed(stopped, "resume", user="U0LEAD")


async def test_failures_in_a_row_trip_the_breaker_until_a_person_resumes(services: Services) -> None:
    async with services.engine.begin() as db:
        incident = await an_incident(db)
        for _ in range(3):
            await _failed_by_itself(db)
    decision = (await decided(services, incident)).decision
    assert "3 fixes that ran by themselves failed in a row" in next(
        r.actual for r in decision.rules if r.rule == "breaker"
    )
    async with services.engine.connect() as db:
        tripped = await switches.read(db, switches.BREAKER)
    assert tripped is not None
    assert tripped.value
    await typed(services, "resume", user="U0DEV")
    async with services.engine.connect() as db:
        assert await switches.read(db, switches.BREAKER) == tripped
    ((by, refused),) = await recorded(services, "switch.refused")
    assert (by, refused["what_for"]) == ("U0DEV", "resume")
    await typed(services, "resume", user="U0LEAD")
    decision = (await decided(services, incident)).decision
    assert next(r.passed for r in decision.rules if r.rule == "breaker")


@pytest.mark.parametrize("stopped", ["taken", "flagged", "breaker", "failures", ""])
async def test_what_is_queued_by_policy_alone_stops_with_automatic_work_and_what_people_approved_does_not(
    services: Services, stopped: str
) -> None:
    async with services.engine.begin() as db:
        if stopped == "failures":
            for _ in range(3):
                await _failed_by_itself(db)
        both = [await an_incident(db, state=S.RUNNING, title=title) for title in ("Automatic", "Approved")]
        automatic, approved = [await an_execution(db, incident) for incident in both]
        await db.execute(text("UPDATE approvals SET automatic = true WHERE incident_id = :id"), {"id": both[0].id})
        for incident in both:
            hands, flagged = "a person is on it" if stopped == "taken" else "", stopped == "flagged"
            assert await incidents.move(db, incident, S.RUNNING, by_hand=hands, flagged=flagged)
        if stopped == "breaker":
            await switches.write(db, switches.BREAKER, "too many", by="codehealer")
        await trust_everything(db)
    for number in (automatic, approved):
        await flow.execute(services, number)
    found = [await _ended(services, number) for number in (automatic, approved)]
    assert found == [ExecutionState.REFUSED if stopped else ExecutionState.ACTED, ExecutionState.ACTED]


@pytest.mark.parametrize("limit", [20, 101])
async def test_of_a_storm_what_is_queued_counts_towards_the_hours_limit(services: Services, limit: int) -> None:
    limits = services.policy.limits.model_copy(update={"automatic_fixes_per_hour": limit})
    services = replace(services, policy=services.policy.model_copy(update={"limits": limits}))
    async with services.engine.begin() as db:
        incident = await an_incident(db)
        for number in range(limit):
            queued = await an_incident(db, state=S.RUNNING, title=f"Storm{number}")
            await an_execution(db, queued, action=RESTART.action)
        await db.execute(text("UPDATE approvals SET automatic = true"))
    rules = (await decided(services, incident)).decision.rules
    assert next(r.actual for r in rules if r.rule == "breaker") == f"{limit} fixes ran by themselves within an hour"


async def trust_everything(db: Any) -> None:
    """The mode in which policy alone may start something everywhere."""
    await switches.write(db, f"{switches.MODE}everything", "automatic", by="U0LEAD")


async def _ended(services: Services, number: int) -> ExecutionState:
    async with services.engine.connect() as db:
        found = await executions.get(db, number)
    assert found is not None
    return found.state


async def test_resuming_an_incident_forgets_what_was_tried_on_what_deploys_its_target_too(services: Services) -> None:
    application = replace(DEV, kind="Application", name="reports-dev")
    async with services.engine.begin() as db:
        incident = await an_incident(db)
        await incidents.move(db, incident, S.DIAGNOSING, target=DEV)
        await _failed_by_itself(db)
        assert [one.action for one in await facts.attempts_on(db, application)] == ["k8s_restart_pod"]
    assert "Resumed" in await typed(services, f"resume {incident.id}", user="U0LEAD")
    async with services.engine.connect() as db:
        assert not await facts.attempts_on(db, application)


async def _failed_by_itself(db: Any) -> None:
    number = await an_execution(db, action=RESTART.action)
    await executions.start(db, number, fencing_token=1, snapshot={})
    outcome = Outcome(False, False, "refused")
    await executions.finish(db, number, state=ExecutionState.FAILED, outcome=outcome, fencing_token=1)
    await db.execute(text("UPDATE approvals SET automatic = true"))


async def test_trust_is_proposed_with_evidence_granted_by_a_person_and_lost_by_one_failure(services: Services) -> None:
    async with services.engine.begin() as db:
        for number in range(12):
            past = await an_incident(db, state=S.HEALED, title=f"Past{number}")
            one = item(f"incident-{past.id}", incident_id=past.id, service="reports", environment="dev",
                       action="k8s_restart_pod", occurred_at=datetime.now(UTC) - timedelta(days=1))  # fmt: skip
            await memory.remember(db, one, vector=None, vector_model="")
        # Where the evidence addressed the bot, nothing counts.
        flagged = await an_incident(db, state=S.HEALED, title="Flagged")
        await incidents.move(db, flagged, S.HEALED, flagged=True)
        wrong = item("flagged", incident_id=flagged.id, service="reports", environment="dev",
                     action="k8s_restart_pod", outcome="worse")  # fmt: skip
        await memory.remember(db, wrong, vector=None, vector_model="")
        assert (await memory.track_record(db, kind=diagnosis().kind, service="reports"))["k8s_restart_pod"].failed == 0
        incident = await an_incident(db)
        moved = await incidents.move(db, incident, S.DIAGNOSING, target=DEV, kind=diagnosis().kind)
        assert moved is not None
        incident = moved
        answer = await answers.add_diagnosis(db, incident.id, diagnosis(), [])
        await answers.add_plan(db, incident.id, answer, RESTART, (await facts.decide(
            db, services, incident, diagnosis(), RESTART, ())).decision)  # fmt: skip
        await trusting.after_success(db, services, incident, RESTART)
    (said,) = await rows(services.engine, "SELECT payload->>'text' AS words FROM outbox WHERE key LIKE 'proposed%'")
    assert "worked 12 of 12 times" in said.words
    assert f"trust grant {incident.id}" in said.words
    await typed(services, "mode environment dev approve")
    assert isinstance((await decided(services, incident)).decision.verdict, Ask)
    assert "may" in await typed(services, f"trust grant {incident.id}")
    assert [one["what_for"] for _, one in await recorded(services, "trust.refused")] == ["grant"]
    await typed(services, f"trust grant {incident.id}", user="U0ONCALL")
    granted = (await decided(services, incident)).decision
    assert granted.mode == "automatic"
    async with services.engine.begin() as db:
        await trusting.after_failure(db, services, incident, RESTART)
        await trusting.after_success(db, services, incident, RESTART)
        case = trust.Case(diagnosis().kind, "k8s_restart_pod", "reports", "dev")
        now = await trust.of(db, case)
        assert (await audit.seal(db)) > 0
    assert now is not None
    assert now.state == "demoted", "what was before does not earn it a second time"
    assert (await decided(services, incident)).decision.mode == "approve"
    assert not isinstance((await decided(services, incident)).decision.verdict, Auto)


async def test_where_a_fix_was_only_suggested_thumbs_score_the_shadow(services: Services) -> None:
    """In suggest mode nobody is asked, so what people did about the suggestion is all that there is."""
    thumbs = {"liked": (1, 1, -1), "disliked": (-1,), "nobody said": ()}
    async with services.engine.begin() as db:
        for title, values in thumbs.items():
            incident = await an_incident(db, state=S.PROPOSED, title=title, identity=title)
            answer = await answers.add_diagnosis(db, incident.id, diagnosis(), [])
            await answers.add_plan(db, incident.id, answer, plan(), decision(), shadow=True)
            for number, value in enumerate(values):
                await memory.put_feedback(db, incident.id, f"U{number}", value)
        found = await trust.shadowed(db, since=services.now() - timedelta(days=1))
    assert found == trust.Shadow(0, 0, 0, liked=1, disliked=1)
    assert "👍 1 and 👎 1" in shadow_words(found)
