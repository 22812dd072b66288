"""The database's time goes on evenly whatever this machine's clock does."""

from datetime import UTC, datetime, timedelta

import pytest

from bot import clock
from bot.clock import DatabaseClock, database_time
from tests.rows import opened

THEN = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize("wrong", [timedelta(hours=5), timedelta(days=-400)], ids=["forwards", "backwards"])
async def test_a_clock_that_jumps_moves_nothing(monkeypatch: pytest.MonkeyPatch, wrong: timedelta) -> None:
    passed = 100.0

    async def ask() -> datetime:
        nonlocal passed
        passed += 2.0
        return THEN

    ours = DatabaseClock(lambda: passed)
    await ours.sync(ask)
    assert ours.now() == THEN + timedelta(seconds=1)

    class Jumped(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]  # noqa: ARG003
            return THEN + wrong

    monkeypatch.setattr(clock, "datetime", Jumped)
    passed += 60.0
    assert ours.now() == THEN + timedelta(seconds=61)


async def test_it_is_the_databases_time(database_url: str) -> None:
    async with opened(database_url) as engine:
        ours = DatabaseClock()
        before = await database_time(engine)
        await ours.sync(lambda: database_time(engine))
        assert before <= ours.now() + timedelta(seconds=1)
        assert ours.now() <= await database_time(engine) + timedelta(seconds=1)
