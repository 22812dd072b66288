"""Waiting for a condition instead of for luck."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

DEADLINE_S = 60.0


async def until(condition: Callable[[], Any]) -> Any:
    """What `condition` gives, or the awaitable it returns, as soon as that is true; fails the test after 60 s."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            found = condition()
            if isinstance(found, Awaitable):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.02)
