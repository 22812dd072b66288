"""The clock goes on ticking when it is set."""

import asyncio
import datetime
import time
from typing import Any, cast

import apscheduler.schedulers.base
import apscheduler.util
import pytest

from bot import schedule
from handlers.services import Services
from tests.waiting import until

DEADLINE_S = 60.0


@pytest.mark.parametrize("days", [-30, 30])
async def test_a_clock_that_is_set_stops_no_tick(days: int, monkeypatch: pytest.MonkeyPatch) -> None:
    shift = datetime.timedelta()

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.datetime.now(tz) + shift

    monkeypatch.setattr(apscheduler.schedulers.base, "datetime", Clock)
    monkeypatch.setattr(schedule, "wall_clock", lambda: time.time() + shift.total_seconds())
    monkeypatch.setattr(schedule, "CLOCK_EVERY_S", 0.05)
    ticks = 0

    async def tick(_services: Services) -> None:
        nonlocal ticks
        ticks += 1

    running = asyncio.create_task(schedule.run_schedule(cast(Services, None), {"tick": (tick, 0.05)}))
    try:
        await until(lambda: ticks > 2)
        shift = datetime.timedelta(days=days)
        before = ticks
        await until(lambda: ticks > before + 5)
        assert ticks < before + 60, "what was missed is not made up for"
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
