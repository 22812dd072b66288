"""The pool: what a burst opens is used again, and does not stay open for ever."""

import asyncio

import pytest
from prometheus_client import Gauge
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.metrics import note_pool
from knowledge.store.database import BurstPool
from tests.rows import opened


async def _used(engine: AsyncEngine, at_once: int) -> None:
    """So many connections that are in use at the same time."""
    all_are_open = asyncio.Barrier(at_once)

    async def one() -> None:
        async with engine.connect() as db:
            await db.execute(text("SELECT 1"))
            await all_are_open.wait()

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(one())


async def test_a_bursts_connections_are_used_again_and_are_closed_when_it_is_over(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens, closes = [], []
    async with opened(database_url, pool_size=2, max_overflow=4) as engine:
        event.listen(engine.sync_engine, "connect", lambda *_: opens.append(1))
        event.listen(engine.sync_engine, "close", lambda *_: closes.append(1))
        for at_once in (6, 3, 6, 1, 6):
            await _used(engine, at_once)
        assert (len(opens), len(closes)) == (6, 0)
        monkeypatch.setattr(BurstPool, "CALM_AFTER_S", 0.0)
        await _used(engine, 6)
        for _ in range(4):
            await _used(engine, 1)
        assert len(opens) - len(closes) == 2
        await _used(engine, 6)
        assert len(opens) == 10
        await asyncio.gather(*(_used(engine, 1) for _ in range(20)))
        assert len(opens) - len(closes) <= 6
        await engine.dispose()
        await _used(engine, 6)
        assert isinstance(engine.pool, BurstPool)
        assert engine.pool.size() == 6


async def test_how_many_connections_are_in_use_and_idle_is_told(database_url: str) -> None:
    async with opened(database_url, pool_size=2, max_overflow=4) as engine:
        gauge = Gauge("connections", "by state", ["state"], registry=None)

        def told() -> list[float]:
            note_pool(engine, gauge)
            return [one.value for one in next(iter(gauge.collect())).samples]

        assert told() == [0, 0]
        async with engine.connect() as one, engine.connect() as two, engine.connect() as three:
            for db in (one, two, three):
                await db.execute(text("SELECT 1"))
            assert told() == [3, 0]
        assert told() == [0, 3]


async def test_connections_that_the_server_has_ended_are_opened_anew_before_they_are_used(database_url: str) -> None:
    end_all = "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE application_name = 'ended'"
    named = f"{database_url}{'&' if '?' in database_url else '?'}application_name=ended"
    async with opened(named, pool_size=4, max_overflow=0) as engine, opened(database_url) as other:
        await _used(engine, 4)
        async with other.connect() as db:
            assert (await db.execute(text(end_all))).scalars().all() == [True] * 4
        await _used(engine, 4)
