"""The sandbox's world in this process, and the bot's real clients connected to it over the loopback."""

import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from bot.sandbox.tokens import Tokens
from bot.sandbox.world import Timings, World
from tests.remediation.descriptions import check_argocd, check_github
from tests.remediation.site import SCALE, Site, sandbox_clients, site_policy, vault

# Loading the certificates takes as long as a short test, and no request here goes over TLS.
_CONTEXT = ssl.create_default_context()


async def _no_post(*_: Any, **__: Any) -> str:
    return "1700000000.000100"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    tokens = Tokens()
    app = web.Application()
    runner = web.AppRunner(app, shutdown_timeout=1)
    # The world puts its own address into its answers, so the port must be known before it listens.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    base = f"http://127.0.0.1:{port}"
    world = World(
        base_url=base, tokens=tokens, bot_url="http://127.0.0.1:9", post_app_message=_no_post, timings=Timings(SCALE),
        vault=vault(),
    )  # fmt: skip
    world.add_routes(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await world.start()
    clients = sandbox_clients(base, tokens, httpx.AsyncClient(verify=_CONTEXT), tmp_path)
    yield Site(world, clients, site_policy(), tokens)
    for client in (clients.cluster, clients.code_host, clients.argocd, clients.pager):
        assert client is not None
        await client.aclose()
    await world.stop()
    await runner.cleanup()
    # Whatever a test made the clients send to GitHub and Argo CD, their own descriptions allow.
    check_github(world.requests)
    check_argocd(world.requests)
