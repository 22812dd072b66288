"""Fixtures: a sandbox in this event loop, a Web API client and a bot, both of them Slack's own libraries."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_sdk.web.async_client import AsyncWebClient

from bot.sandbox.server import Options, Sandbox, running
from bot.sandbox.slack import full_manifest
from tests.sandbox.people import Bot, Json, Person
from tests.waiting import until


@pytest.fixture
def options() -> Options:
    """Redelivery a hundred times faster, and a shorter wait for acks, so that tests see it happen."""
    return Options(time_scale=0.01, ack_seconds=0.4, seed=1, manifest=full_manifest())


@pytest.fixture
async def sandbox(options: Options) -> AsyncIterator[Sandbox]:
    async with running(options) as started:
        yield started


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session


@pytest.fixture
def riley(sandbox: Sandbox, http: aiohttp.ClientSession) -> Person:
    return Person(http, sandbox.url, "U0ONCALL")


@pytest.fixture
def kim(sandbox: Sandbox, http: aiohttp.ClientSession) -> Person:
    return Person(http, sandbox.url, "U0DEV")


@pytest.fixture
def guest(sandbox: Sandbox, http: aiohttp.ClientSession) -> Person:
    return Person(http, sandbox.url, "U0GUEST")


@pytest.fixture
def client(sandbox: Sandbox, http: aiohttp.ClientSession) -> AsyncWebClient:
    return AsyncWebClient(
        token=sandbox.env["SLACK_BOT_TOKEN"], base_url=sandbox.env["SLACK_BASE_URL"], session=http, retry_handlers=[]
    )


@pytest.fixture
async def bot(sandbox: Sandbox, client: AsyncWebClient) -> AsyncIterator[Bot]:
    """Connect a bot that hears everything; a test adds the listeners it needs."""
    app = AsyncApp(client=client, raise_error_for_unhandled_request=True)
    handler = AsyncSocketModeHandler(app, sandbox.env["SLACK_APP_TOKEN"], ping_interval=5)
    connected = Bot(app, handler)

    @app.middleware
    async def hear(body: Json, next_: Callable[[], Any]) -> Any:
        connected.heard.append(body)
        return await next_()

    await handler.connect_async()
    await until(lambda: sandbox.slack.sockets.links)
    yield connected
    await handler.close_async()
    with contextlib.suppress(aiohttp.ClientError):
        await handler.client.close()
