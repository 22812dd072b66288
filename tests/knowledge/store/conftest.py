"""A database of the test's own."""

from collections.abc import AsyncIterator

import pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.rows import opened


@pytest_asyncio.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    async with opened(database_url) as engine:
        yield engine


@pytest_asyncio.fixture
async def db(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """One transaction for the whole test, never committed."""
    async with engine.connect() as connection:
        yield connection
