"""An execution is made once, started once, and a worker that slept past its lease writes nothing."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from knowledge.model import ExecutionState, Outcome, Target, Verification
from knowledge.store import executions, switches
from knowledge.store.executions import Automatic, StoredExecutions
from tests.rows import NOOP, TARGET, S, an_approval, an_execution, an_incident

X = ExecutionState
DONE = Outcome(ok=True, changed=True, detail="Rolled back.", mark={"revision": 3})
KEY = TARGET.key
ORDERS = replace(TARGET, name="orders", service="orders")
# What deploys TARGET, and a CI run of its repository.
APPLICATION = replace(TARGET, kind="Application", name="checkout-prod")
BRANCH = replace(TARGET, kind="Branch", name="main", cluster="", repository="acme/manifests")
RUN = replace(TARGET, kind="WorkflowRun", name="7", cluster="", namespace="")


async def test_an_approval_has_one_execution_whoever_asks(engine: AsyncEngine) -> None:
    async with engine.begin() as db:
        incident = await an_incident(db, state=S.RUNNING)
        approval = await an_approval(db, incident)

    async def queue() -> int | None:
        async with engine.begin() as db:
            return await executions.queue(db, incident_id=incident.id, approval_id=approval, action=NOOP)

    made = await asyncio.gather(*(queue() for _ in range(10)))
    assert len([one for one in made if one is not None]) == 1


# --- leases ----------------------------------------------------------------------------------------------------------


async def test_a_lease_keeps_others_out_and_each_token_is_greater_than_any_before(engine: AsyncEngine) -> None:
    store = StoredExecutions(engine)
    first = await store.lease_acquire(KEY, "one", 60)
    assert first is not None
    assert await store.lease_acquire(KEY, "two", 60) is None
    again = await store.lease_acquire(KEY, "one", 60)
    other = await store.lease_acquire("another", "two", 60)
    assert again is not None
    assert other is not None
    assert first < again < other
    assert not await store.lease_renew(KEY, first, 60), "an older token of the same holder renews nothing"
    await store.lease_release(KEY, first)
    assert await store.lease_acquire(KEY, "two", 60) is None, "nor releases anything"
    await store.lease_release(KEY, again)
    last = await store.lease_acquire(KEY, "two", 60)
    assert last is not None
    assert last > other


async def test_a_lease_that_ran_out_is_anybodys_and_can_not_be_renewed(engine: AsyncEngine) -> None:
    store = StoredExecutions(engine)
    stale = await store.lease_acquire(KEY, "one", 0)
    assert stale is not None
    assert not await store.lease_renew(KEY, stale, 60)
    fresh = await store.lease_acquire(KEY, "two", 60)
    assert fresh is not None
    assert not await store.lease_renew(KEY, stale, 60)
    assert await store.lease_renew(KEY, fresh, 60)


async def test_of_many_who_want_a_free_target_one_gets_it(engine: AsyncEngine) -> None:
    store = StoredExecutions(engine)
    tokens = await asyncio.gather(*(store.lease_acquire(KEY, f"worker {n}", 60) for n in range(10)))
    assert len([token for token in tokens if token is not None]) == 1


# --- fencing ---------------------------------------------------------------------------------------------------------


async def row_of(engine: AsyncEngine, execution_id: int) -> Any:
    async with engine.connect() as db:
        return (await db.execute(text("SELECT * FROM executions WHERE id = :id"), {"id": execution_id})).one()


@pytest.mark.parametrize("write", ["take", "start", "finish", "begin_undo"])
async def test_a_stale_token_writes_nothing(engine: AsyncEngine, write: str) -> None:
    store = StoredExecutions(engine)
    async with engine.begin() as db:
        execution_id = await an_execution(db)
    assert await store.take_execution(execution_id, fencing_token=5)
    before = await row_of(engine, execution_id)
    writes = {
        "take": lambda token: store.take_execution(execution_id, fencing_token=token),
        "start": lambda token: store.start_execution(execution_id, snapshot={"by": token}, fencing_token=token),
        "finish": lambda token: store.finish_execution(execution_id, state=X.FAILED, outcome=DONE, fencing_token=token),
        "begin_undo": lambda token: store.begin_undo(execution_id, fencing_token=token),
    }
    assert not await writes[write](4)
    assert await row_of(engine, execution_id) == before
    assert await writes[write](5)
    assert await writes[write](6) or write != "take"


async def test_it_starts_once_ends_once_and_its_undo_begins_once(engine: AsyncEngine) -> None:
    store = StoredExecutions(engine)
    async with engine.begin() as db:
        execution_id = await an_execution(db)
    started = [await store.start_execution(execution_id, snapshot={"n": n}, fencing_token=1) for n in (1, 2)]
    assert started == [True, False]
    assert await store.finish_execution(execution_id, state=X.ACTED, outcome=DONE, fencing_token=1)
    assert [await store.begin_undo(execution_id, fencing_token=n) for n in (1, 1, 2)] == [True, False, False]
    undone = replace(DONE, detail="Put back.")
    assert await store.finish_execution(execution_id, state=X.UNDONE, outcome=undone, fencing_token=2)
    assert not await store.finish_execution(execution_id, state=X.FAILED, outcome=DONE, fencing_token=3)
    async with engine.connect() as db:
        found = await executions.get(db, execution_id)
    assert found is not None
    assert (found.state, found.outcome, found.snapshot) == (X.UNDONE, undone, {"n": 1})
    assert found.action == NOOP


@pytest.mark.parametrize("at_once", ["index", "whole table"])
async def test_only_a_pause_keeps_it_from_starting_however_the_switches_are_looked_through(
    engine: AsyncEngine, at_once: str
) -> None:
    store = StoredExecutions(engine)
    async with engine.begin() as db:
        execution_id = await an_execution(db)
        for name, value in (("threads.looked_at", "2026-11-29T12:00:00+00:00"), ("breaker", ""), ("alive", 7.5)):
            await switches.write(db, name, value, by="codehealer")
        await switches.write(db, switches.PAUSED, True, by="U1")
        if at_once == "whole table":
            # As the planner does once it knows that the table is small.
            await db.execute(text("ANALYZE switches"))
    assert not await store.start_execution(execution_id, snapshot={}, fencing_token=1)
    async with engine.begin() as db:
        await switches.write(db, switches.PAUSED, False, by="U1")
    assert await store.start_execution(execution_id, snapshot={}, fencing_token=1)


# --- what is asked of them -------------------------------------------------------------------------------------------


async def acted(db: AsyncConnection, state: ExecutionState, *verdicts: str, name: str = "k8s_scale") -> int:
    """One execution that ended so, with its verifications."""
    made = await an_execution(db, action=replace(NOOP, name=name))
    if state is not X.QUEUED:
        await executions.start(db, made, fencing_token=1, snapshot={})
    if state not in {X.QUEUED, X.STARTED}:
        await executions.finish(db, made, state=state, outcome=DONE, fencing_token=1)
    for verdict in verdicts:
        await executions.add_verification(db, made, Verification(verdict, (), ""))
    return made


async def test_the_blast_radius_counts_what_may_have_changed_something_or_soon_will(db: AsyncConnection) -> None:
    for state in (X.QUEUED, X.STARTED, X.ACTED, X.UNDONE, X.FAILED, X.REFUSED):
        await acted(db, state)
    await acted(db, X.ACTED, name="noop")
    assert await executions.count_recent(db, "checkout", hours=1) == 4
    assert await executions.count_recent(db, "orders", hours=1) == 0
    await db.execute(
        text("UPDATE executions SET created_at = now() - interval '2 hours', started_at = now() - interval '2 hours'")
    )
    assert await executions.count_recent(db, "checkout", hours=1) == 0


async def test_the_loop_breaker_sees_the_last_verdicts_newest_first(db: AsyncConnection) -> None:
    await acted(db, X.ACTED, "pending", "not_verified")
    await acted(db, X.UNDONE, "worse", name="k8s_rollback")
    await acted(db, X.FAILED)
    await acted(db, X.QUEUED)
    past = await executions.recent_on_target(db, TARGET, hours=24)
    assert [(one.action, one.verdict) for one in past] == [
        ("k8s_scale", "failed"), ("k8s_rollback", "undone"), ("k8s_scale", "not_verified"),
    ]  # fmt: skip
    assert not await executions.recent_on_target(db, ORDERS, hours=24)


@pytest.mark.parametrize("state", [X.STARTED, X.QUEUED])
async def test_the_breaker_sees_the_failures_behind_a_storm_that_has_not_ended(
    db: AsyncConnection, state: ExecutionState
) -> None:
    for _ in range(3):
        await acted(db, X.ACTED, "not_verified")
    for _ in range(101):
        await acted(db, state)
    await db.execute(text("UPDATE approvals SET automatic = true"))
    assert await executions.automatic_of_late(db) == Automatic(104, 3)
    assert await executions.automatic_of_late(db, queued=False) == Automatic(3 if state is X.QUEUED else 104, 3)
    await db.execute(
        text(
            "UPDATE executions SET created_at = created_at - interval '2 hours',"
            " started_at = started_at - interval '2 hours'"
        )
    )
    assert await executions.automatic_of_late(db) == Automatic(0, 3)


@pytest.mark.parametrize(
    ("target", "one"),
    [
        (APPLICATION, True), (BRANCH, True), (RUN, False), (ORDERS, False),
        (replace(APPLICATION, environment="staging"), False), (replace(TARGET, namespace="other"), False),
    ],
)  # fmt: skip
async def test_a_workload_and_what_deploys_it_are_one_for_the_lease_and_the_loop_breaker(
    db: AsyncConnection, target: Target, one: bool
) -> None:
    await acted(db, X.STARTED)
    assert await executions.under_way(db, target, apart_from=0) is one
    await acted(db, X.ACTED)
    assert bool(await executions.recent_on_target(db, target, hours=24)) is one
    assert (target.family == TARGET.family) is one


async def test_another_fix_under_way_on_the_target_is_seen(db: AsyncConnection) -> None:
    mine = await acted(db, X.STARTED)
    assert not await executions.under_way(db, TARGET, apart_from=mine)
    await acted(db, X.QUEUED)
    assert not await executions.under_way(db, TARGET, apart_from=mine)
    other = await acted(db, X.STARTED)
    assert await executions.under_way(db, TARGET, apart_from=mine)
    await executions.finish(db, other, state=X.ACTED, outcome=DONE, fencing_token=1)
    assert not await executions.under_way(db, TARGET, apart_from=mine)
