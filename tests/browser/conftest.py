"""One browser for the tests of a file: it takes longer to start than a profile of its own takes to open."""

from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Browser

from tests.browser.window import CHROMIUM, started
from tests.programs import need_program


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with started(need_program(*CHROMIUM)) as running:
        yield running
