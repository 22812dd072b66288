"""Deliveries that arrive together share a transaction, and each is answered for itself."""

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine

from knowledge.store.accepting import Accepting, Arrived, Key
from knowledge.store.database import listen
from knowledge.store.deliveries import CHANNEL
from tests.handlers.office import rows
from tests.rows import opened


async def _stored(engine: AsyncEngine) -> list[str]:
    return [row.delivery_id for row in await rows(engine, "SELECT delivery_id FROM deliveries ORDER BY id")]


async def test_many_at_once_are_stored_in_order_in_few_transactions_and_a_repeat_is_told(database_url: str) -> None:
    async with opened(database_url) as engine:
        accepting = Accepting(engine)
        ids = [f"Ev{number // 2}" for number in range(200)]
        new = await asyncio.gather(
            *(accepting.add(source="slack", delivery_id=one, event="alerts", body={"n": one}) for one in ids)
        )
        assert new == [number % 2 == 0 for number in range(200)]
        assert await _stored(engine) == ids[::2]
        (found,) = await rows(engine, "SELECT count(DISTINCT xmin::text) AS transactions FROM deliveries")
        assert found.transactions <= 4
        assert not await accepting.add(source="slack", delivery_id="Ev0", event="alerts", body={})


async def test_one_that_cannot_be_stored_harms_no_other(database_url: str) -> None:
    async with opened(database_url) as engine:
        accepting = Accepting(engine)
        bodies = [{"text": "good"}, {"text": "a \x00 that PostgreSQL cannot hold"}, {"number": 10**40}]
        told = await asyncio.gather(
            *(
                accepting.add(source="x", delivery_id=str(number), event="alerts", body=body)
                for number, body in enumerate(bodies)
            ),
            return_exceptions=True,
        )
        assert isinstance(told[1], DBAPIError)
        assert (told[0], told[2]) == (True, True)
        assert await _stored(engine) == ["0", "2"]


async def test_a_text_that_no_database_holds_harms_no_other_and_leaves_nobody_waiting(database_url: str) -> None:
    async with opened(database_url) as engine:
        accepting = Accepting(engine)
        endless = "".join(chr(0x20000 + number * 7919 % 40_000) for number in range(1_000))
        ids = ["first", "half a pair \udcff", endless, "last"]
        async with asyncio.timeout(60):
            told = await asyncio.gather(
                *(accepting.add(source="x", delivery_id=one, event="alerts", body={}) for one in ids),
                return_exceptions=True,
            )
        assert [one if one is True else type(one) for one in told] == [True, UnicodeEncodeError, OperationalError, True]


async def test_without_the_database_everybody_is_told_and_the_next_is_stored_when_it_is_back(database_url: str) -> None:
    async with opened(database_url) as engine, opened("postgresql://nobody@127.0.0.1:9/none") as nowhere:
        away = Accepting(nowhere)
        adds = (away.add(source="x", delivery_id=str(one), event="alerts", body={}) for one in range(20))
        assert {type(one) for one in await asyncio.gather(*adds, return_exceptions=True)} == {OperationalError}
        cut = Accepting(engine)
        assert await cut.add(source="x", delivery_id="before", event="alerts", body={})
        async with engine.connect() as db:
            await db.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert await cut.add(source="x", delivery_id="after", event="alerts", body={})


async def test_who_gives_up_waiting_loses_nothing(database_url: str) -> None:
    async with opened(database_url) as engine:
        accepting = Accepting(engine)
        asked = asyncio.create_task(accepting.add(source="x", delivery_id="1", event="alerts", body={}))
        await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert await accepting.add(source="x", delivery_id="2", event="alerts", body={})
        async with asyncio.timeout(60):
            while sorted(await _stored(engine)) != ["1", "2"]:  # noqa: ASYNC110  a row in a database has no event
                await asyncio.sleep(0.01)


async def test_news_wakes_who_brought_it_and_everybody_else(database_url: str) -> None:
    async with opened(database_url) as engine:
        ours, theirs = {CHANNEL: asyncio.Event()}, {CHANNEL: asyncio.Event()}
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(listen(database_url, ours, own="a")),
                group.create_task(listen(database_url, theirs, own="b")),
            ]
            async with asyncio.timeout(30):
                # Both are woken once they listen.
                for event in (ours[CHANNEL], theirs[CHANNEL]):
                    await event.wait()
                    event.clear()
                for name in ("a", "b", ""):
                    accepting = Accepting(engine, name=name)
                    await accepting.add(source="slack", delivery_id=name, event="alerts", body={})
                    for event in (ours[CHANNEL], theirs[CHANNEL]):
                        await event.wait()
                        event.clear()
            for task in tasks:
                task.cancel()


async def test_what_arrives_in_the_very_turn_in_which_both_writers_end_is_stored(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing comes after it: it would be answered that the database is away, ten seconds later."""
    answers = asyncio.Event()
    async with opened(database_url) as engine:
        accepting = Accepting(engine)
        insert = accepting._insert

        async def both_at_once(rows: Sequence[Arrived]) -> tuple[set[Key], set[Key]]:
            if accepting_last:
                return await insert(rows)
            await answers.wait()
            return {(row.source, row.delivery_id) for row in rows}, set()

        monkeypatch.setattr(accepting, "_insert", both_at_once)
        accepting_last: list[bool] = []

        async def arrive(one: str) -> bool:
            return await accepting.add(source="x", delivery_id=one, event="alerts", body={})

        async def last() -> bool:
            await answers.wait()
            accepting_last.append(True)
            return await arrive("last")

        async with asyncio.timeout(8), asyncio.TaskGroup() as group:
            told = []
            for one in ("first", "second"):
                told.append(group.create_task(arrive(one)))
                for _ in range(3):  # until its writer waits for the answer
                    await asyncio.sleep(0)
            told.append(group.create_task(last()))
            await asyncio.sleep(0)
            answers.set()
        assert [one.result() for one in told] == [True, True, True]
        assert await _stored(engine) == ["last"]
