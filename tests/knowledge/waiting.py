"""Waiting for a condition instead of for luck."""

import asyncio
from collections.abc import Callable

DEADLINE_S = 60.0


async def until(condition: Callable[[], bool]) -> None:
    """Return as soon as `condition` holds; fails the test after 20 s."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110  what is waited for is another process
            await asyncio.sleep(0.01)
