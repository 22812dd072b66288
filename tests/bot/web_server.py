"""The web server under test, over a real socket into a real database, with the sandbox behind it."""

import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
import pytest_asyncio
from aiohttp import web

from bot.gate import serving
from bot.metrics import Metrics
from bot.secret_watch import webhook_secrets
from bot.settings import load_settings
from bot.web import WebConfig, make_web_app
from bot.wiring import open_services
from handlers.services import Services
from tests.bot.edge import count, sandbox_process

SOON_S = 0.5


@dataclass
class Server:
    """The web server under test."""

    port: int
    env: Mapping[str, str]
    services: Services
    conninfo: str
    http: httpx.AsyncClient
    ready: dict[str, str | None]

    @property
    def token(self) -> str:
        return self.env["CODEHEALER_WEBHOOK_TOKEN"]

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    async def post(self, source: str, body: Any, headers: Mapping[str, str] | None = None) -> httpx.Response:
        sent = self.bearer if headers is None else headers
        return await self.http.post(f"/webhooks/{source}", content=body, headers=dict(sent))

    async def stored(self) -> int:
        return await count(self.conninfo, "deliveries")


@pytest.fixture(scope="module")
def sandbox_env() -> Iterator[dict[str, str]]:
    with sandbox_process() as greeting:
        yield greeting["env"]


@pytest_asyncio.fixture
async def server(sandbox_env: dict[str, str], database_url: str, conninfo: str) -> AsyncIterator[Server]:
    settings = load_settings(**sandbox_env)
    ready: dict[str, str | None] = {"Slack": None}

    async def checks() -> dict[str, str | None]:
        return ready

    async with open_services(settings, database_url) as program:
        config = WebConfig(webhook_secrets(settings, {}), checks, Metrics.make(), read_deadline_s=SOON_S)
        runner = web.AppRunner(make_web_app(program.services, config), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
                yield Server(port, sandbox_env, program.services, conninfo, http, ready)
        finally:
            await runner.cleanup()


@asynccontextmanager
async def beside(server: Server, **changes: Any) -> AsyncIterator[Server]:
    """The same services behind other settings of the web server."""
    deadline_s = changes.pop("deadline_s", 60.0)
    secrets = {"alertmanager": (server.token,), "generic": (server.token,), "cloudwatch": ()}

    async def checks() -> dict[str, str | None]:
        return {}

    services = replace(server.services, policy=changes.pop("policy", server.services.policy))
    runner = web.AppRunner(make_web_app(services, WebConfig(secrets, checks, Metrics.make(), **changes)))
    await runner.setup()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        async with (
            serving(runner, sock, deadline_s=deadline_s),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http,
        ):
            yield replace(server, port=port, http=http, services=services)
        await runner.cleanup()
