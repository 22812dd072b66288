"""A database and a workspace of the test's own, and the services as the program wires them."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import httpx
import pytest_asyncio
from slack_sdk.web.async_client import AsyncWebClient
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.sandbox.server import Options, Sandbox, running
from bot.sandbox.slack import full_manifest
from handlers.services import Services
from remediation.cluster import ClusterAccess, KubernetesCluster
from remediation.code_host import GitHubHost
from remediation.ports import Clients
from tests.handlers.office import made_services
from tests.remediation.descriptions import check_github
from tests.rows import opened


@pytest_asyncio.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    async with opened(database_url) as engine:
        yield engine


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with running(Options(time_scale=0.01, ack_seconds=1.0, seed=1, manifest=full_manifest())) as started:
        yield started


@pytest_asyncio.fixture
async def slack(sandbox: Sandbox) -> AsyncIterator[AsyncWebClient]:
    async with aiohttp.ClientSession() as session:
        yield AsyncWebClient(
            token=sandbox.env["SLACK_BOT_TOKEN"],
            base_url=sandbox.env["SLACK_BASE_URL"],
            session=session,
            user_agent_prefix="CodeHealer/0.1",
            retry_handlers=[],
            timeout=5,
        )


@pytest_asyncio.fixture
async def services(engine: AsyncEngine, slack: AsyncWebClient, database_url: str) -> Services:
    return made_services(engine, slack, database_url)


@pytest_asyncio.fixture
async def looking(services: Services, sandbox: Sandbox) -> AsyncIterator[Services]:
    """The services with the real clients on the sandbox's cluster and its GitHub, and each request to that checked."""
    env = sandbox.env
    async with httpx.AsyncClient() as http:
        cluster = KubernetesCluster({"sandbox": ClusterAccess(Path(env["KUBECONFIG"]))})
        host = GitHubHost(env["GITHUB_TOKEN"], http, env["GITHUB_BASE_URL"])
        yield replace(services, clients=Clients(cluster=cluster, code_host=host))
        await cluster.aclose()
        await host.aclose()
    check_github(sandbox.world.requests)
