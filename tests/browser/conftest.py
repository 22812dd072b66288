"""One browser for the tests of a file: it takes longer to start than a profile of its own takes to open."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from playwright.async_api import Browser

from tests.browser.window import CHROMIUM, Windows, started, windows
from tests.programs import need_program
from tests.stories.stage import Stage


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with started(need_program(*CHROMIUM)) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def stage(browser: Browser, database_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    opened = Stage(database_url, tmp_path)
    try:
        await opened.open()
        yield opened
    finally:
        await opened.close()


@pytest_asyncio.fixture(loop_scope="module")
async def seats(browser: Browser, stage: Stage) -> AsyncIterator[Windows]:
    """Where people sit; a page that complains fails the test."""
    async with windows(browser, stage.url) as opened:
        yield opened
    assert opened.complaints == []
