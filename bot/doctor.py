"""Every outside system, one check each, with what to do."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import aiohttp
import httpx
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from bot.program import open_database
from bot.settings import Settings
from bot.slack_app import make_client, preflight
from bot.wiring import make_clients, open_shelf, read_policy
from knowledge.embedding.minilm import model_file
from knowledge.errors import CodeHealerError
from knowledge.store.database import open_engine
from remediation.policy import Policy
from remediation.ports import Clients

DEADLINE_S = 15.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. `remedy` is empty where nothing is to be done."""

    check: str
    ok: bool
    detail: str
    remedy: str = ""


Check = Callable[[Settings], Awaitable[Finding]]


async def examine(settings: Settings) -> list[Finding]:
    """Run every check side by side; one that fails stops none of the others."""
    return list(await asyncio.gather(*(_bounded(name, check, settings) for name, check in CHECKS.items())))


async def _bounded(name: str, check: Check, settings: Settings) -> Finding:
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await check(settings)
    except TimeoutError:
        return Finding(name, False, f"no answer within {DEADLINE_S:.0f} s", "Check the address and the network.")
    except CodeHealerError as error:
        return Finding(name, False, str(error), "Set it right as the sentence says, then run doctor again.")


async def _database(settings: Settings) -> Finding:
    async with open_database(settings, alone=False) as url:
        engine = open_engine(url, pool_size=1)
        try:
            async with engine.connect() as db:
                version = (await db.execute(text("SHOW server_version"))).scalar_one()
                query = text("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
                vector = (await db.execute(query)).scalar_one_or_none()
        except DBAPIError as error:
            reason = str(error.orig).strip().splitlines()[0] if error.orig else type(error).__name__
            return Finding("database", False, reason, "Check DATABASE_URL.")
        finally:
            await engine.dispose()
    where = "given by DATABASE_URL" if settings.database_url else f"embedded in {settings.data_dir}"
    if vector is None:
        return Finding("database", False, f"PostgreSQL {version}, without pgvector", "Run: codehealer migrate")
    return Finding("database", True, f"PostgreSQL {version}, pgvector {vector}, {where}")


async def _slack(settings: Settings) -> Finding:
    if settings.in_sandbox:
        return Finding("slack", True, "no tokens: `codehealer run` starts the sandbox")
    async with aiohttp.ClientSession() as session:
        me = await preflight(settings, make_client(settings, session))
    return Finding("slack", True, f"connected to {me['team']} as {me['user_id']}")


async def _policy(settings: Settings) -> Finding:
    policy = read_policy(settings)
    where = settings.policy or "the shipped default"
    remedy = "" if policy.services else "List your services in policy.yaml: without a row a failure is only diagnosed."
    return Finding("policy", True, f"{where}: mode {policy.mode}, {len(policy.services)} services", remedy)


async def _kubernetes(settings: Settings) -> Finding:
    policy = read_policy(settings)
    async with _clients(settings, policy) as clients:
        if clients.cluster is None:
            return Finding("kubernetes", True, "not set up", "Set KUBECONFIG to watch a cluster.")
        versions = [f"{name} {await clients.cluster.version(name)}" for name in clients.cluster.names]
    return Finding("kubernetes", True, ", ".join(versions))


async def _github(settings: Settings) -> Finding:
    async with _clients(settings, read_policy(settings)) as clients:
        if clients.code_host is None:
            return Finding("github", True, "not set up", "Set GITHUB_TOKEN to read failed runs and re-run them.")
        return Finding("github", True, f"token of {await clients.code_host.login()}")


async def _argocd(settings: Settings) -> Finding:
    async with _clients(settings, read_policy(settings)) as clients:
        if clients.argocd is None:
            return Finding("argocd", True, "not set up", "Set ARGOCD_SERVER and ARGOCD_TOKEN to ask about self-heal.")
        return Finding("argocd", True, await clients.argocd.version())


async def _prometheus(settings: Settings) -> Finding:
    async with _clients(settings, read_policy(settings)) as clients:
        if clients.metrics is None:
            return Finding("prometheus", True, "not set up", "Set PROMETHEUS_URL to read the policy's metrics.")
        return Finding("prometheus", True, await clients.metrics.version())


async def _alertmanager(settings: Settings) -> Finding:
    async with _clients(settings, read_policy(settings)) as clients:
        if clients.silences is None:
            return Finding("alertmanager", True, "not set up", "Set ALERTMANAGER_URL to see silences.")
        return Finding("alertmanager", True, await clients.silences.version())


async def _runbooks(settings: Settings) -> Finding:
    if not settings.runbooks:
        return Finding("runbooks", True, "not set up", "Set CODEHEALER_RUNBOOKS to link the team's runbooks.")
    shelf = await asyncio.to_thread(open_shelf, settings)
    return Finding("runbooks", True, f"{len(shelf.runbooks)} in {settings.runbooks}")


async def _channel(settings: Settings) -> Finding:
    if settings.in_sandbox or settings.channel:
        return Finding("channel", True, settings.channel or "the sandbox's")
    remedy = "Set CODEHEALER_CHANNEL to a channel id and invite the bot there."
    return Finding("channel", False, "no default channel: a card that no rule routes has nowhere to go", remedy)


async def _embedder(_settings: Settings) -> Finding:
    size = await asyncio.to_thread(lambda: model_file().stat().st_size)
    return Finding("embedder", True, f"all-MiniLM-L6-v2, {size // 1_000_000} MB")


async def _models(settings: Settings) -> Finding:
    if not settings.nvidia_api_key.get_secret_value():
        return Finding("models", True, "built-in diagnosis", "Set NVIDIA_API_KEY to ask NVIDIA's models first.")
    return Finding("models", True, f"NVIDIA: {', '.join(settings.nvidia_models)}, then built-in")


@contextlib.asynccontextmanager
async def _clients(settings: Settings, policy: Policy) -> AsyncIterator[Clients]:
    async with httpx.AsyncClient(timeout=DEADLINE_S) as http:
        clients = make_clients(settings, policy, http)
        try:
            yield clients
        finally:
            for client in (clients.cluster, clients.code_host, clients.argocd, clients.pager):
                if client is not None:
                    await client.aclose()


CHECKS: dict[str, Check] = {
    "database": _database,
    "slack": _slack,
    "channel": _channel,
    "policy": _policy,
    "kubernetes": _kubernetes,
    "github": _github,
    "argocd": _argocd,
    "prometheus": _prometheus,
    "alertmanager": _alertmanager,
    "runbooks": _runbooks,
    "models": _models,
    "embedder": _embedder,
}
