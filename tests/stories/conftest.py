"""The stories' stage."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.stories.stage import Stage


@pytest_asyncio.fixture
async def stage(database_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """A sandbox and a bot, connected; the parameter has settings of the bot."""
    opened = Stage(database_url, tmp_path, settings=getattr(request, "param", {}))
    try:
        await opened.open()
        yield opened
    finally:
        await opened.close()
