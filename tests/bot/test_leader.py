"""One process at a time leads; when its connection is lost, another does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import psycopg
import pytest

from bot.leader import lead

LOCK = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = 7305004 AND granted"


class Bench:
    """Several would-be leaders in one process, each with a connection of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.at_work: list[str] = []
        self.begun = 0
        self.most = 0
        self.tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str) -> None:
        async def work() -> None:
            self.at_work.append(name)
            self.begun += 1
            self.most = max(self.most, len(self.at_work))
            try:
                await asyncio.Event().wait()
            finally:
                self.at_work.remove(name)

        self.tasks[name] = asyncio.create_task(lead(self.url, work))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110  leadership has no event
                await asyncio.sleep(0.01)

    async def stop(self, name: str) -> None:
        task = self.tasks.pop(name)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def bench(url: str) -> AsyncIterator[Bench]:
    made = Bench(url)
    try:
        yield made
    finally:
        for name in list(made.tasks):
            await made.stop(name)


async def test_one_works_and_another_takes_over_when_it_stops(database_url: str) -> None:
    async with bench(database_url) as leaders:
        leaders.start("one")
        await leaders.until(lambda: leaders.at_work == ["one"])
        leaders.start("two")
        leaders.start("three")
        await leaders.stop("one")
        await leaders.until(lambda: len(leaders.at_work) == 1)
        assert leaders.at_work != ["one"]
        assert leaders.most == 1


async def test_a_leader_whose_connection_is_lost_stops_at_once_and_somebody_leads_again(
    database_url: str, conninfo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.leader.HEARTBEAT_S", 3600.0)  # so that it is the loss itself that is noticed
    async with bench(database_url) as leaders:
        leaders.start("one")
        await leaders.until(lambda: leaders.at_work == ["one"])
        leaders.start("two")
        for times in range(1, 4):
            async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as admin:
                holder = await (await admin.execute(LOCK)).fetchone()
                assert holder is not None
                await admin.execute("SELECT pg_terminate_backend(%s)", holder)
            await leaders.until(lambda: leaders.begun == times + 1 and len(leaders.at_work) == 1)  # noqa: B023


async def test_a_fault_of_the_work_itself_is_not_hidden(database_url: str) -> None:
    async def work() -> None:
        raise KeyError("ours")

    with pytest.raises(BaseException, match="ours"):
        async with asyncio.timeout(20):
            await _plain(lead(database_url, work))


async def _plain(work: Awaitable[None]) -> None:
    try:
        await work
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
