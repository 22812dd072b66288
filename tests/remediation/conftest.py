"""The sandbox's world in this process, and the bot's real clients connected to it over the loopback."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from bot.sandbox.tokens import Tokens
from bot.sandbox.world import Timings, World
from remediation.argocd import ArgoCdServer
from remediation.cluster import ClusterAccess, KubernetesCluster
from remediation.code_host import GitHubHost
from remediation.pager import PagerDuty
from remediation.policy import load_policy
from remediation.ports import Clients
from tests.remediation.site import POLICY, SCALE, Site, kubeconfig


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
        base_url=base, tokens=tokens, bot_url="http://127.0.0.1:9", post_app_message=_no_post, timings=Timings(SCALE)
    )
    world.add_routes(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await world.start()
    clients = Clients(
        cluster=KubernetesCluster({"sandbox": ClusterAccess(kubeconfig(tmp_path, f"{base}/k8s", tokens.kubernetes))}),
        code_host=GitHubHost(tokens.github, httpx.AsyncClient(), f"{base}/github"),
        argocd=ArgoCdServer(httpx.AsyncClient(), f"{base}/argocd", tokens.argocd),
        pager=PagerDuty(httpx.AsyncClient(), tokens.pagerduty_routing_key, f"{base}/pagerduty"),
    )
    yield Site(world, clients, load_policy(POLICY), tokens)
    for client in (clients.cluster, clients.code_host, clients.argocd, clients.pager):
        assert client is not None
        await client.aclose()
    await world.stop()
    await runner.cleanup()
