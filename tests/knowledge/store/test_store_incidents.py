"""Incidents, their keys and alerts, and the compare-and-set that moves them."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from knowledge.model import Alert, Evidence, Incident, IncidentState, Verification
from knowledge.store import audit, executions, incidents, memory, outbox
from knowledge.store.tables import metadata, verifications
from tests.rows import NOW, TARGET, S, a_plan, alert, an_approval, an_execution, an_incident, ended, item


async def test_only_open_incidents_that_hold_a_key_are_candidates_with_what_matters_of_their_keys(
    db: AsyncConnection,
) -> None:
    first, other, closed = [await an_incident(db, title=name) for name in ("one", "two", "three")]
    keys = ["workload:shop/checkout", "identity:one", "own-cause:shop/checkout", "identity:one"]
    await incidents.hold_keys(db, first.id, keys)
    await incidents.hold_keys(db, other.id, ["identity:two"])
    await incidents.hold_keys(db, closed.id, ["identity:one"])
    await incidents.move(db, closed, S.RESOLVED)
    (found,) = await incidents.candidates(db, ["identity:one", "identity:four"])
    assert found.id == first.id
    assert found.keys == {"identity:one", "own-cause:shop/checkout"}, "what is asked about, and what speaks against it"
    (known,) = await incidents.candidates(db, ["identity:one"], ["workload:shop/checkout"])
    assert known.keys == {"identity:one", "own-cause:shop/checkout", "workload:shop/checkout"}
    assert not await incidents.candidates(db, [])


@pytest.mark.parametrize(
    ("kind", "near"), [("Deployment", True), ("Application", True), ("Branch", True), ("WorkflowRun", False)]
)
async def test_a_new_failure_of_a_workload_is_seen_by_a_fix_of_what_deploys_it(
    db: AsyncConnection, kind: str, near: bool
) -> None:
    failing = await an_incident(db, state=S.DIAGNOSING)
    fixed, since = replace(TARGET, kind=kind, name="another"), failing.opened_at - timedelta(seconds=1)
    assert list(await incidents.began_near(db, fixed, since=since, apart_from=0)) == (["CheckoutDown"] if near else [])


async def test_a_repeat_of_a_signal_is_only_counted(db: AsyncConnection) -> None:
    first = await an_incident(db)
    assert not await incidents.seen_again(db, alert(started_at=NOW + timedelta(hours=1))), "a new start is news"
    assert not await incidents.seen_again(db, ended(alert()))
    assert await incidents.seen_again(db, alert())
    assert not await incidents.add_alert(db, alert(), None)
    assert len(await incidents.alerts_of(db, first.id)) == 1


async def test_one_more_alert_of_an_incident_counts_once(db: AsyncConnection) -> None:
    first = await an_incident(db)
    another = alert(fingerprint="another")
    assert [await incidents.count_alert(db, first.id, another) for _ in range(3)] == [True, False, False]
    assert not await incidents.count_alert(db, first.id, alert()), "which opened it"
    found = await incidents.get(db, first.id)
    assert found is not None
    assert found.alert_count == 2
    seen = await db.execute(text("SELECT seen FROM alerts WHERE fingerprint = 'another'"))
    assert seen.scalars().all() == [3]


@pytest.mark.parametrize("trusted", [True, False])
async def test_an_alert_waits_for_who_is_changing_its_incident_and_is_not_stored_with_one_that_was_closed(
    engine: AsyncEngine, trusted: bool
) -> None:
    async with engine.begin() as db:
        first = await an_incident(db)

    async def one_more(fingerprint: str) -> bool | None:
        async with engine.begin() as db:
            return await incidents.count_alert(
                db, first.id, alert(fingerprint=fingerprint, severity="critical", trusted=trusted)
            )

    for fingerprint, state, counted in (("one", S.DIAGNOSING, True), ("two", S.RESOLVED, None)):
        async with engine.connect() as changing:
            current = await incidents.get(changing, first.id, lock=True)
            assert current is not None
            assert await incidents.move(changing, current, state)
            counting = asyncio.create_task(one_more(fingerprint))
            async with engine.connect() as looking:
                await waits_for_a_lock(looking)
            await changing.commit()
            assert await counting is counted
    async with engine.connect() as db:
        found = await incidents.get(db, first.id)
        stored = await db.execute(text("SELECT fingerprint FROM alerts WHERE fingerprint IN ('one', 'two')"))
        assert stored.scalars().all() == ["one"]
    assert found is not None
    assert (found.alert_count, found.severity) == (2, "critical" if trusted else "")


async def waits_for_a_lock(db: AsyncConnection) -> None:
    waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    async with asyncio.timeout(30):
        while (await db.execute(text(waits))).first() is None:
            await db.rollback()
            await asyncio.sleep(0.01)


async def test_what_the_first_alert_did_not_know_is_filled_in_and_nothing_is_overwritten(db: AsyncConnection) -> None:
    first = await an_incident(db, severity="", cluster="")
    await incidents.count_alert(
        db, first.id, alert(fingerprint="another", severity="critical", cluster="east", service="other")
    )
    found = await incidents.get(db, first.id)
    assert found is not None
    assert (found.alert_count, found.severity, found.cluster, found.service) == (2, "critical", "east", "checkout")


@pytest.mark.parametrize(
    ("first", "second", "shown"),
    [
        ("warning", "critical", "critical"),
        ("critical", "warning", "critical"),
        ("p2", "odd", "p2"),
        ("info", "P1", "P1"),
    ],
)
async def test_an_incident_is_as_severe_as_the_worst_of_its_alerts(
    db: AsyncConnection, first: str, second: str, shown: str
) -> None:
    incident = await an_incident(db, severity=first)
    await incidents.count_alert(db, incident.id, alert(fingerprint="another", severity=second))
    found = await incidents.get(db, incident.id)
    assert found is not None
    assert found.severity == shown


async def test_words_that_are_not_trusted_make_nothing_severe(db: AsyncConnection) -> None:
    incident = await an_incident(db, severity="warning")
    await incidents.count_alert(db, incident.id, alert(fingerprint="another", severity="critical", trusted=False))
    found = await incidents.get(db, incident.id)
    assert found is not None
    assert found.severity == "warning"


async def test_one_trusted_alert_is_enough_and_then_says_where_the_failure_is(db: AsyncConnection) -> None:
    first = await an_incident(db, cluster="east", trusted=False)
    await incidents.count_alert(db, first.id, alert(fingerprint="another", service="other", cluster=""))
    found = await incidents.get(db, first.id)
    assert found is not None
    assert (found.trusted, found.service, found.cluster) == (True, "other", "")


# --- still firing ----------------------------------------------------------------------------------------------------


async def received(engine: AsyncEngine, incident: Incident, *signals: Alert) -> bool | None:
    """Store signals one after the other, and ask whether anything still fires."""
    for signal in signals:
        async with engine.begin() as db:
            await incidents.add_alert(db, signal, incident.id)
    async with engine.connect() as db:
        return await incidents.still_firing(db, incident.id)


@pytest.fixture
async def incident(engine: AsyncEngine) -> Incident:
    async with engine.begin() as db:
        return await incidents.open_incident(db, alert(), channel="C1")


A, B = alert(fingerprint="a"), alert(fingerprint="b")


@pytest.mark.parametrize(
    ("signals", "firing"),
    [
        ((), None),
        ((A,), True),
        ((A, ended(A)), False),
        ((A, B, ended(A)), True),
        ((A, B, ended(B), ended(A)), False),
        ((A, ended(A), alert(fingerprint="a", started_at=NOW + timedelta(minutes=5))), True),
        ((ended(A), A), True),
        ((A, alert(source="kubernetes", fingerprint="w"), ended(A)), False),
        ((alert(source="kubernetes"),), None),
        ((alert(source="github"),), None),
    ],
    ids=[
        "no alert", "one fires", "one ended", "another of the group fires", "all ended", "fires anew", "ended before",
        "the watch tells no end", "only the watch", "only CI",
    ],
)  # fmt: skip
async def test_an_incident_fires_until_every_alert_of_it_has_ended(
    engine: AsyncEngine, incident: Incident, signals: tuple[Alert, ...], firing: bool | None
) -> None:
    assert await received(engine, incident, *signals) is firing


async def test_the_late_end_of_an_earlier_spell_does_not_end_the_present_one(
    engine: AsyncEngine, incident: Incident
) -> None:
    later = alert(fingerprint="a", started_at=NOW + timedelta(minutes=5))
    assert await received(engine, incident, A, later, ended(A)) is True
    assert await received(engine, incident, ended(later)) is False


async def test_a_signal_without_a_start_that_fires_again_after_its_end_fires(
    engine: AsyncEngine, incident: Incident
) -> None:
    timeless = alert(source="generic", started_at=None)
    assert await received(engine, incident, timeless, ended(timeless)) is False
    assert await received(engine, incident, timeless) is True


async def test_a_signal_without_a_start_belongs_to_the_incident_that_it_opened_last(engine: AsyncEngine) -> None:
    timeless = alert(source="generic", started_at=None)
    async with engine.begin() as db:
        first = await incidents.open_incident(db, timeless, channel="C1")
        await incidents.add_alert(db, timeless, first.id)
        await incidents.move(db, first, S.RESOLVED)
    async with engine.begin() as db:
        second = await incidents.open_incident(db, timeless, channel="C1")
        await incidents.add_alert(db, timeless, second.id)
        assert [one.title for one in await incidents.alerts_of(db, second.id)] == [timeless.title]


# --- moves -----------------------------------------------------------------------------------------------------------


async def test_of_two_moves_from_the_same_look_one_happens(engine: AsyncEngine) -> None:
    async with engine.begin() as db:
        seen = await an_incident(db, state=S.DIAGNOSING)

    async def mover(state: IncidentState) -> Incident | None:
        async with engine.begin() as db:
            return await incidents.move(db, seen, state)

    moved = await asyncio.gather(mover(S.WAITING), mover(S.ESCALATED), mover(S.RESOLVED))
    (won,) = [one for one in moved if one is not None]
    assert won.revision == seen.revision + 1
    async with engine.connect() as db:
        assert await incidents.get(db, seen.id) == won


async def test_a_move_that_the_lifecycle_forbids_changes_nothing(db: AsyncConnection) -> None:
    found = await an_incident(db, state=S.HEALED)
    assert found.resolved_at is not None
    for state in IncidentState:
        if state is not S.HEALED:
            assert await incidents.move(db, found, state) is None
    assert await incidents.get(db, found.id) == found


async def test_a_target_is_kept_until_another_is_given(db: AsyncConnection) -> None:
    found = await an_incident(db, state=S.DIAGNOSING)
    assert found.target is not None
    moved = await incidents.move(db, found, S.WAITING)
    assert moved is not None
    assert moved.target == found.target


async def test_all_open_incidents_are_dismissed_and_closed_ones_keep_their_end(db: AsyncConnection) -> None:
    waiting, healed = (
        await an_incident(db, title="a", state=S.WAITING),
        await an_incident(db, title="b", state=S.HEALED),
    )
    await an_approval(db, waiting)
    assert await incidents.dismiss_open(db) == [waiting.id]
    assert not await incidents.listed(db, only_open=True)
    assert await incidents.move(db, waiting, S.RUNNING) is None, "who looked before can't move it"
    kept = await incidents.get(db, healed.id)
    assert kept == healed


async def test_evidence_is_replaced_and_keeps_its_order(db: AsyncConnection) -> None:
    found = await an_incident(db)
    await incidents.keep_evidence(db, found.id, [Evidence("logs", "a", "1"), Evidence("events", "b", "", "no access")])
    await incidents.keep_evidence(db, found.id, [Evidence("logs", "c", "2"), Evidence("logs", "a", "3")])
    assert [one.source for one in await incidents.evidence_of(db, found.id)] == ["c", "a"]
    await incidents.keep_evidence(db, found.id, [])
    assert not await incidents.evidence_of(db, found.id)


async def test_a_list_is_filtered_and_paged_newest_first(db: AsyncConnection) -> None:
    made = [await an_incident(db, title=str(n), service="a" if n % 2 else "b") for n in range(6)]
    await a_plan(db, made[0])
    newest = await incidents.listed(db, limit=2, service="a")
    assert [one.id for one in newest] == [made[5].id, made[3].id]
    assert [one.id for one in await incidents.listed(db, before_id=made[3].id, service="a")] == [made[1].id]


async def test_the_list_is_filtered_and_paged(db: AsyncConnection) -> None:
    names = {}
    for number, (service, state) in enumerate([("a", S.DETECTED), ("b", S.HEALED), ("a", S.HEALED), ("a", S.RESOLVED)]):
        found = await an_incident(db, state=state, title=str(number), service=service)
        await db.execute(
            text("UPDATE incidents SET opened_at = :at WHERE id = :id"),
            {"at": NOW + timedelta(hours=number), "id": found.id},
        )
        names[found.id] = number

    async def shown(**filters: Any) -> list[int]:
        return [names[one.id] for one in await incidents.listed(db, **filters)]

    assert await shown() == [3, 2, 1, 0]
    assert await shown(service="a", state=S.HEALED) == [2]
    assert await shown(only_open=True) == [0]
    assert await shown(only_closed=True, service="a") == [3, 2]
    assert await shown(since=NOW + timedelta(hours=1), until=NOW + timedelta(hours=3)) == [2, 1]
    assert await shown(limit=2, offset=2) == [1, 0]
    assert await shown(limit=2, before_id=next(number for number, name in names.items() if name == 2)) == [1, 0]


async def test_nothing_is_left_of_a_deleted_incident_but_the_audit_log(db: AsyncConnection) -> None:
    incident, other = await an_incident(db, title="gone"), await an_incident(db, title="stays")
    for one in (incident, other):
        execution = await an_execution(db, one)
        await executions.add_verification(db, execution, Verification("verified", (), ""))
        await incidents.hold_keys(db, one.id, [f"key:{one.id}"])
        await incidents.keep_evidence(db, one.id, [Evidence("logs", "pod", "panic")])
        await memory.remember(db, item(f"incident-{one.id}", incident_id=one.id), vector=None, vector_model="")
        await memory.put_feedback(db, one.id, "U1", 1)
        await outbox.new_card(db, one.id, "C1")
        await outbox.put_card(db, one.id, "C1", payload={}, priority=outbox.CHANGED)
        await audit.record(db, "incident.opened", incident_id=one.id)
    await audit.seal(db)
    rows = await incidents.erase(db, incident.id)
    assert set(rows) >= {
        "alerts", "approvals", "cards", "decisions", "diagnoses", "evidence", "executions", "feedback", "incident_keys",
        "knowledge_items", "outbox", "plans",
    }  # fmt: skip
    for table in metadata.sorted_tables:
        if "incident_id" in table.c and table.name != "audit":
            left = (await db.execute(select(table.c.incident_id).distinct())).scalars().all()
            assert set(left) <= {other.id}, table.name
    assert len((await db.execute(select(verifications))).all()) == 1
    assert await incidents.get(db, incident.id) is None
    assert (await audit.verify(db)).broken_at is None
