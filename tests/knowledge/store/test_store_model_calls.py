"""Limits of hosted models, counted in PostgreSQL for all processes."""

import asyncio

import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import CapturingLogger

from knowledge.budget import Amount, Limits, OverBudget
from knowledge.store import incidents, model_calls
from knowledge.store.model_calls import Ledger, spent_by
from tests.rows import an_incident

LIMITS = Limits(Amount(1_000, 1.0), Amount(2_500, 5.0), Amount(10_000, 20.0))


@pytest_asyncio.fixture
async def two(engine: AsyncEngine) -> tuple[int, int]:
    async with engine.begin() as db:
        return (await an_incident(db)).id, (await an_incident(db, title="OtherDown")).id


async def test_call_counts_as_reserved_until_it_is_settled(engine: AsyncEngine, two: tuple[int, int]) -> None:
    meter = Ledger(engine, LIMITS).meter(two[0])
    call, _ = await meter.reserve("NVIDIA", "m", Amount(900, 0.5))
    with pytest.raises(OverBudget, match=r"the incident's limit of 1,000 tokens is reached"):
        await meter.reserve("NVIDIA", "m", Amount(101, 0.1))
    await meter.settle(call, input_tokens=200, output_tokens=50, usd=0.1, ms=12, outcome="answered")
    await meter.reserve("NVIDIA", "m", Amount(101, 0.1))
    async with engine.connect() as db:
        spent = await spent_by(db, two[0])
    assert spent["incident"].tokens == spent["hour"].tokens == spent["month"].tokens == 351
    assert spent["incident"].usd == pytest.approx(0.2)


async def test_hour_is_shared_by_incidents_warned_of_once_and_ends(
    engine: AsyncEngine, two: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = CapturingLogger()
    monkeypatch.setattr(model_calls, "log", said)
    ledger = Ledger(engine, LIMITS)
    assert (await ledger.meter(two[0]).reserve("NVIDIA", "m", Amount(1_000)))[1] == ""
    assert "80% of the hour's" in (await ledger.meter(two[1]).reserve("NVIDIA", "m", Amount(1_000)))[1]
    third = Ledger(engine, LIMITS).meter(two[1])
    with pytest.raises(OverBudget):
        await third.reserve("NVIDIA", "m", Amount(1))
    async with engine.begin() as db:
        other = (await an_incident(db, title="ThirdDown")).id
    assert "of the hour's" in (await ledger.meter(other).reserve("NVIDIA", "m", Amount(400)))[1]
    with pytest.raises(OverBudget, match="the hour's limit"):
        await ledger.meter(other).reserve("NVIDIA", "m", Amount(400))
    assert [call.args for call in said.calls] == [("model_limit_near",)]
    async with engine.begin() as db:
        await db.execute(text("UPDATE model_calls SET called_at = now() - interval '61 minutes'"))
        spent = await spent_by(db, other)
    assert spent["hour"] == Amount()


async def test_calls_at_the_same_time_do_not_pass_a_limit_together(engine: AsyncEngine, two: tuple[int, int]) -> None:
    meter = Ledger(engine, LIMITS).meter(two[0])
    ended = await asyncio.gather(*(meter.reserve("NVIDIA", "m", Amount(300)) for _ in range(6)), return_exceptions=True)
    assert sum(isinstance(one, OverBudget) for one in ended) == 3


async def test_last_months_calls_are_over_and_a_deleted_incidents_still_count(
    engine: AsyncEngine, two: tuple[int, int]
) -> None:
    meter = Ledger(engine, LIMITS).meter(two[0])
    await meter.reserve("NVIDIA", "m", Amount(300))
    async with engine.begin() as db:
        await db.execute(text("DELETE FROM incidents WHERE id = :id"), {"id": two[0]})
        assert (await spent_by(db, two[0]))["month"].tokens == 300
        assert await incidents.get(db, two[0]) is None
        await db.execute(text("UPDATE model_calls SET called_at = now() - interval '32 days'"))
        assert (await spent_by(db, two[0]))["month"] == Amount()
