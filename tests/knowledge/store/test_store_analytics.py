"""Figures of a period: what counts as a fix, who fixed it, how fast, how often wrongly, and what people thought."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from knowledge.budget import Amount, Limits
from knowledge.model import Action, AnswerSource, ApprovalState, FailureKind, IncidentState, Outcome, Verification
from knowledge.model import ExecutionState as E
from knowledge.store import analytics, answers, approvals, casebook, executions, incidents, memory
from knowledge.store.analytics import Figures
from knowledge.store.model_calls import Ledger
from tests.rows import NOW, TARGET, S, a_plan, an_approval, an_incident, diagnosis, item

SCALE = Action("k8s_scale", TARGET)
ROLLBACK = Action("k8s_rollback", TARGET)
SINCE, UNTIL = NOW - timedelta(days=30), NOW
DONE = Outcome(ok=True, changed=True, detail="Done.")


async def an_end(
    db: AsyncConnection,
    title: str,
    state: IncidentState,
    verdict: str = "",
    *,
    action: Action = ROLLBACK,
    automatic: bool = False,
    days_ago: int = 1,
    started: bool = True,
    kind: FailureKind = FailureKind.CRASHLOOP,
    lasted: timedelta | None = timedelta(minutes=5),
    **alert: Any,
) -> int:
    """An incident that opened `days_ago` and ended so; with a verdict, after an execution."""
    opened = NOW - timedelta(days=days_ago)
    incident = await an_incident(db, title=title, started_at=opened - timedelta(seconds=90), **alert)
    await db.execute(
        text("UPDATE incidents SET state=:state, kind=:kind, opened_at=:opened, resolved_at=:ended WHERE id=:id"),
        {
            "state": state,
            "kind": kind,
            "opened": opened,
            "ended": opened + lasted if lasted else None,
            "id": incident.id,
        },
    )
    if verdict:
        approval = await an_approval(db, incident, action, automatic=automatic)
        number = await executions.queue(db, incident_id=incident.id, approval_id=approval, action=action)
        assert number is not None
        if started:
            await executions.start(db, number, fencing_token=1, snapshot={})
        ends = {"worse": E.UNDONE, "failed": E.FAILED}
        await executions.finish(db, number, state=ends.get(verdict, E.ACTED), outcome=DONE, fencing_token=1)
        if verdict not in {"failed", "running"}:
            await executions.add_verification(db, number, Verification(verdict, (), ""))
    return incident.id


async def of_all(db: AsyncConnection) -> Figures:
    (found,) = await analytics.figures(db, since=SINCE, until=UNTIL)
    return found


async def by(db: AsyncConnection, group: str) -> Mapping[str, Figures]:
    return {one.name: one for one in await analytics.figures(db, since=SINCE, until=UNTIL, by=group)}


async def test_an_empty_period_has_no_rate(db: AsyncConnection) -> None:
    found = await of_all(db)
    assert found == Figures()
    assert (found.success_rate, found.wrong_action_rate, found.false_resolve_rate) == (None, None, None)
    assert await by(db, "day") == {}


async def test_everything_that_can_happen_is_counted_once(db: AsyncConnection) -> None:
    await an_end(db, "by itself", S.HEALED, "verified", automatic=True)
    await an_end(db, "approved", S.HEALED, "verified", action=SCALE, kind=FailureKind.OOMKILLED)
    await an_end(db, "in vain, then a person", S.RESOLVED, "not_verified", lasted=timedelta(hours=2))
    await an_end(db, "undone", S.ESCALATED, "worse", lasted=None)
    await an_end(db, "api said no", S.ESCALATED, "failed", lasted=None, service="orders")
    await an_end(db, "ended by itself", S.RESOLVED, days_ago=2)
    await an_end(db, "nothing", S.RESOLVED, kind=FailureKind.HEALTHY)
    await an_end(db, "nobody's", S.DISMISSED)
    # What never counts as a fix, or at all.
    await an_end(db, "noop", S.RESOLVED, "verified", action=Action("noop", TARGET))
    await an_end(db, "dry run", S.ESCALATED, "running", started=False, lasted=None)
    await an_end(db, "pasted", S.RESOLVED, source="question", trusted=False)
    await an_end(db, "last month", S.HEALED, "verified", days_ago=31)

    found = await of_all(db)
    assert (found.incidents, found.open, found.agent_fixed, found.assisted) == (10, 3, 1, 1)
    assert (found.human, found.no_fault) == (3, 2)
    assert (found.fixes, found.verified, found.running) == (5, 2, 0)
    assert (found.wrong_actions, found.false_resolves) == (1, 0)
    assert found.success_rate == pytest.approx(2 / 5)
    assert (found.detect_known, found.detect_p50_s, found.detect_p90_s) == (10, 90, 90)
    assert (found.resolve_p50_s, found.resolve_p90_s) == (300, pytest.approx(4440))

    actions = await by(db, "action")
    assert {name: (one.fixes, one.verified) for name, one in actions.items()} == {
        "": (0, 0), "k8s_rollback": (4, 1), "k8s_scale": (1, 1),
    }  # fmt: skip
    assert {name: one.incidents for name, one in (await by(db, "kind")).items()} == {
        "crashloop": 8, "healthy": 1, "oomkilled": 1,
    }  # fmt: skip
    assert {name: one.incidents for name, one in (await by(db, "day")).items()} == {"2026-11-21": 1, "2026-11-22": 9}
    services = await by(db, "service")
    assert (services["orders"].fixes, services["orders"].verified, services["checkout"].fixes) == (1, 0, 4)
    assert set(await by(db, "environment")) == {"prod"}


async def test_what_has_settled_counts_the_same_and_what_a_person_corrects_is_counted_anew(db: AsyncConnection) -> None:
    fixed = await an_end(db, "approved", S.HEALED, "verified", action=SCALE, days_ago=9, environment="staging")
    await an_end(db, "undone", S.RESOLVED, "worse", days_ago=8, service="orders")
    await an_end(db, "back", S.HEALED, "verified", automatic=True, days_ago=6)
    await an_end(db, "back", S.RESOLVED, days_ago=6, lasted=timedelta(hours=3))
    still_open = await an_end(db, "open", S.ESCALATED, days_ago=5, lasted=None)
    rejected = await incidents.get(db, still_open)
    assert rejected is not None
    approval = await an_approval(db, rejected, SCALE)
    await approvals.decide(db, approval, ApprovalState.REJECTED, by="U1", reason="wrong_target")
    await db.execute(
        text(
            "INSERT INTO model_calls (incident_id, hop, model, input_tokens, usd) VALUES (:id, 'nvidia', 'm', 9, 0.25)"
        ),
        {"id": fixed},
    )
    await memory.remember(db, item(f"incident-{fixed}", incident_id=fixed), vector=None, vector_model="")

    fresh = {group: await by(db, group) for group in analytics.GROUPS}
    before = await of_all(db)
    assert (before.false_resolves, before.usd, before.heal_p50_s) == (1, 0.25, 300)
    assert (before.approved_fixes, before.unsafe_approvals, before.unsafe_approval_rate) == (2, 1, 0.5)
    assert await analytics.settle(db, most=3) == 3
    assert await analytics.settle(db) == 1, "what is open does not settle"
    assert await analytics.settle(db) == 0
    assert {group: await by(db, group) for group in analytics.GROUPS} == fresh
    assert await of_all(db) == before
    alone = await analytics.figures(db, since=SINCE, until=UNTIL, service="orders", environment="prod")
    assert [(one.incidents, one.wrong_actions) for one in alone] == [(1, 1)]

    remembered = await casebook.get(db, f"incident-{fixed}")
    assert remembered is not None
    said = replace(remembered.item, outcome="failed")
    await casebook.correct(db, remembered, said, ["outcome"], vector=None, vector_model="")
    assert ((await of_all(db)).unsafe_approvals, (await of_all(db)).assisted) == (2, 0)
    assert await analytics.settle(db) == 1


async def test_a_failure_that_is_back_within_a_day_was_not_resolved(db: AsyncConnection) -> None:
    await an_end(db, "again", S.HEALED, "verified", days_ago=9)
    await an_end(db, "again", S.HEALED, "verified", days_ago=8, lasted=timedelta(hours=23))
    await an_end(db, "again", S.RESOLVED, days_ago=7)
    await an_end(db, "again", S.RESOLVED, days_ago=4)
    found = await of_all(db)
    assert (found.seen_verified, found.false_resolves) == (2, 2)
    assert found.false_resolve_rate == 1


async def test_what_a_person_corrects_is_what_counts(db: AsyncConnection) -> None:
    wrong = await an_end(db, "looked well", S.HEALED, "verified", automatic=True)
    await memory.remember(db, item(f"incident-{wrong}", incident_id=wrong), vector=None, vector_model="")
    assert (await of_all(db)).agent_fixed == 1
    before = await casebook.get(db, f"incident-{wrong}")
    assert before is not None
    said = replace(before.item, outcome="not_verified", kind=FailureKind.NETWORK)
    await casebook.correct(db, before, said, ["outcome", "kind"], vector=None, vector_model="")
    found = await of_all(db)
    assert (found.agent_fixed, found.human, found.verified, found.fixes) == (0, 1, 0, 1)
    assert (found.wrong_actions, found.false_resolves) == (1, 1)
    assert list(await by(db, "kind")) == ["network"]


async def test_proposals_that_people_found_wrong_are_counted(db: AsyncConnection) -> None:
    for reason in ("wrong_target: not this one", "right_cause_wrong_fix", "not_now"):
        incident = await incidents.get(db, await an_end(db, reason, S.ESCALATED, lasted=None))
        assert incident is not None
        approval = await an_approval(db, incident, SCALE)
        await approvals.decide(db, approval, ApprovalState.REJECTED, by="U1", reason=reason)
    assert (await of_all(db)).turned_down == 2
    assert (await by(db, "action"))["k8s_scale"].turned_down == 2


async def fixed_by_people(db: AsyncConnection, title: str, **changes: Any) -> int:
    """A fix was asked for, and somebody said that the failure was dealt with already."""
    number = await an_end(db, title, S.DISMISSED, **changes)
    incident = await incidents.get(db, number)
    assert incident is not None
    approval = await an_approval(db, incident, SCALE)
    await approvals.decide(db, approval, ApprovalState.REJECTED, by="U1", reason="already_fixed: by hand")
    return number


async def test_what_people_had_fixed_already_was_ended_by_them_and_was_a_fault(db: AsyncConnection) -> None:
    await fixed_by_people(db, "by hand")
    await fixed_by_people(db, "nothing wrong", kind=FailureKind.HEALTHY)
    await an_end(db, "of the last world", S.DISMISSED)
    found = await of_all(db)
    assert (found.incidents, found.human, found.no_fault, found.resolve_p50_s) == (3, 1, 2, 300)


async def test_what_settled_as_no_fault_before_is_counted_anew_once(db: AsyncConnection) -> None:
    for title in ("by hand", "another"):
        await fixed_by_people(db, title, days_ago=9)
    await an_end(db, "of the last world", S.DISMISSED, days_ago=9)
    taker = await an_end(db, "took the next", S.RESOLVED, days_ago=9)
    await db.execute(
        text("UPDATE incidents SET merged_into = :into WHERE id = :id"),
        {"into": taker, "id": await an_end(db, "taken", S.DISMISSED, days_ago=9)},
    )
    paid_later = await an_end(db, "paid later", S.RESOLVED, days_ago=9)
    await db.execute(
        text("INSERT INTO model_calls (incident_id, hop, model, input_tokens, usd) VALUES (:id, 'nvidia', 'm', 9, 2)"),
        {"id": paid_later},
    )
    assert await analytics.settle(db) == 5
    await db.execute(text("UPDATE settled_figures SET usd = 0"))
    await db.execute(text("UPDATE settled_figures SET ending = 'no_fault' WHERE ending IS NOT NULL"))
    await db.execute(text("DELETE FROM switches"))
    assert (await of_all(db)).no_fault == 5, "as an earlier version has left it"
    assert await analytics.settle(db) == 4
    found = await of_all(db)
    assert (found.human, found.no_fault, found.usd) == (4, 1, 2)
    assert await analytics.settle(db) == 0


async def test_what_a_postmortem_costs_later_counts_and_so_does_what_merged_incidents_cost(
    engine: AsyncEngine,
) -> None:
    async with engine.begin() as db:
        whole = await an_end(db, "whole", S.RESOLVED, days_ago=9)
        part = await an_end(db, "part", S.DISMISSED, days_ago=9)
        part_of_part = await an_end(db, "part of part", S.DISMISSED, days_ago=9)
        for one, into in ((part, whole), (part_of_part, part)):
            await db.execute(text("UPDATE incidents SET merged_into = :into WHERE id = :id"), {"into": into, "id": one})
        assert await analytics.settle(db) == 1
    for spent_on, usd, so_far in ((whole, 0.25, 0.25), (part, 0.5, 0.75), (part_of_part, 1.0, 1.75)):
        meter = Ledger(engine, Limits(*[Amount(9_999, 99.0)] * 3)).meter(spent_on)
        call, _ = await meter.reserve("nvidia", "m", Amount(9, 2.0))
        async with engine.begin() as db:
            assert await analytics.settle(db) == 1, "counted meanwhile, as reserved"
        await meter.settle(call, input_tokens=9, output_tokens=1, usd=usd, ms=5, outcome="answered")
        async with engine.begin() as db:
            assert ((found := await of_all(db)).incidents, found.usd) == (1, so_far)
            assert await analytics.settle(db) == 1
            assert ((found := await of_all(db)).incidents, found.usd) == (1, so_far)


async def test_feedback_is_told_apart_by_kind_service_and_answerer(db: AsyncConnection) -> None:
    first = await an_incident(db, title="a", service="checkout")
    await a_plan(db, first)
    second = await an_incident(db, title="b", service="orders")
    model = diagnosis(answered_by=AnswerSource("nvidia:a-model"), kind=FailureKind.NETWORK)
    await answers.add_diagnosis(db, second.id, model, [])
    await db.execute(text("UPDATE incidents SET kind = 'network' WHERE id = :id"), {"id": second.id})
    await memory.put_feedback(db, first.id, "U1", 1)
    await memory.put_feedback(db, second.id, "U1", -1, "it was the disk")
    await memory.put_feedback(db, second.id, "U2", -1)
    now = datetime.now(UTC)
    period = {"since": now - timedelta(hours=1), "until": now + timedelta(hours=1)}
    (total,) = await analytics.opinions(db, **period)
    assert (total.up, total.down) == (1, 2)
    expected = {
        "kind": {"network": (0, 2), "unknown": (1, 0)},
        "service": {"orders": (0, 2), "checkout": (1, 0)},
        "answerer": {"nvidia:a-model": (0, 2), "built-in": (1, 0)},
    }
    for group, thumbs in expected.items():
        found = await analytics.opinions(db, **period, by=group)
        assert {one.name: (one.up, one.down) for one in found} == thumbs
    (said,) = await analytics.comments(db, **period)
    assert (said.comment, said.answerer, said.value) == ("it was the disk", "nvidia:a-model", -1)
    (none,) = await analytics.opinions(db, since=now - timedelta(days=2), until=now - timedelta(days=1))
    assert (none.up, none.down) == (0, 0)
