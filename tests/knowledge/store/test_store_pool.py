"""The pool: what a burst opens is used again, and does not stay open for ever."""

import asyncio
from typing import Any

import psycopg
import pytest
from prometheus_client import Gauge
from sqlalchemy import event, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.jobs import is_passing
from bot.metrics import note_pool
from knowledge.store.database import BurstPool, autocommitting, lasting_url
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


async def test_a_server_that_has_come_to_refuse_writes_is_left_and_counts_as_away(database_url: str) -> None:
    """The former primary after a failover: its connections answer every ping."""
    write = text("INSERT INTO switches (name, value, set_by) VALUES ('paused', 'true', 'test')")
    async with opened(database_url, pool_size=1, max_overflow=0) as engine:
        async with engine.begin() as db:
            await db.execute(text("SET default_transaction_read_only = on"))
        with pytest.raises(OperationalError) as refused:
            async with engine.begin() as db:
                await db.execute(write)
        assert refused.value.connection_invalidated
        assert is_passing(refused.value)
        async with engine.begin() as db:
            await db.execute(write)


async def test_a_server_that_only_reads_is_not_connected_to_until_it_writes(database_url: str) -> None:
    database = make_url(database_url).database
    async with opened(database_url) as operator, autocommitting(operator).connect() as there:
        await there.execute(text(f'ALTER DATABASE "{database}" SET default_transaction_read_only = on'))
        async with opened(database_url) as engine:
            with pytest.raises(OperationalError, match="read-only"):
                await engine.connect()
            await there.execute(text("SET default_transaction_read_only = off"))
            await there.execute(text(f'ALTER DATABASE "{database}" RESET default_transaction_read_only'))
            async with engine.connect() as db:
                assert (await db.execute(text("SHOW transaction_read_only"))).scalar_one() == "off"


async def test_a_host_that_is_gone_without_a_word_is_noticed_soon_unless_the_url_says_otherwise(
    database_url: str,
) -> None:
    async def said(url: str) -> tuple[str | None, str | None]:
        async with opened(url) as engine, engine.connect() as db:
            driver: Any = (await db.get_raw_connection()).driver_connection
            given = driver.info.get_parameters()
        async with await psycopg.AsyncConnection.connect(lasting_url(url)) as connection:
            assert connection.info.get_parameters().items() >= {
                (name, value) for name, value in given.items() if name.startswith(("tcp", "keepalives", "target"))
            }
        return given.get("tcp_user_timeout"), given.get("target_session_attrs")

    assert await said(database_url) == ("15000", "read-write")
    own = make_url(database_url).update_query_dict({"tcp_user_timeout": "4000"})
    assert await said(own.render_as_string(hide_password=False)) == ("4000", "read-write")
