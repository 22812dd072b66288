"""Every outside system, one check each, with what to do."""

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import httpx
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import doctor_servers, doctor_standing, pause_map
from bot.finding import Finding
from bot.models import make_hosted_embedder, make_reranker, model_services
from bot.program import database_folder, open_database
from bot.queues.opening import open_sqs
from bot.settings import Settings
from bot.slack_app import make_client, make_searcher, preflight
from bot.team_files import open_shelf, read_policy
from handlers import slack_search
from handlers.people import People
from handlers.reaching import reachable
from knowledge.embedding.minilm import model_file
from knowledge.errors import CodeHealerError, SettingsError
from knowledge.recall import told
from knowledge.store import memory, vectors
from knowledge.store.database import open_engine
from remediation import routes as routed
from remediation.approvers import places

DEADLINE_S = 15.0


# One finding, or several of one look.
Check = Callable[[Settings], Awaitable[Finding | list[Finding]]]


async def examine(settings: Settings, **more: Check) -> list[Finding]:
    """Run every check, and `more`, side by side; one that fails stops none of the others."""
    checks = CHECKS | more
    found = await asyncio.gather(*(_bounded(name, check, settings) for name, check in checks.items()))
    return [one for some in found for one in (some if isinstance(some, list) else [some])]


async def _bounded(name: str, check: Check, settings: Settings) -> Finding | list[Finding]:
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await check(settings)
    except TimeoutError:
        return Finding(name, False, f"no answer within {DEADLINE_S:.0f} s", "Check the address and the network.")
    except CodeHealerError as error:
        return Finding(name, False, str(error), "Set it right as the sentence says, then run doctor again.")
    except OSError as error:
        # A file or an address of this machine; what else a check may meet is mapped where it is met.
        where = f"{str(error.filename)[:200]}: " if error.filename else ""
        return Finding(name, False, f"{where}{error.strerror or error}", "Check that file, its rights and the disk.")


async def _database(settings: Settings) -> Finding | list[Finding]:
    async with open_database(settings) as url:
        engine = open_engine(url, pool_size=0)
        try:
            async with engine.connect() as db:
                version = (await db.execute(text("SHOW server_version"))).scalar_one()
                query = text("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
                vector = (await db.execute(query)).scalar_one_or_none()
                remembered = await _remembered(db)
            standing = await doctor_standing.standing(engine, settings) if vector else []
        except DBAPIError as error:
            reason = str(error.orig).strip().splitlines()[0] if error.orig else type(error).__name__
            return Finding("database", False, reason, "Check DATABASE_URL.")
        finally:
            await engine.dispose()
    where = "given by DATABASE_URL" if settings.database_url else f"embedded in {database_folder(settings)}"
    if vector is None:
        return Finding("database", False, f"PostgreSQL {version}, without pgvector", "Run: codehealer migrate")
    answers = Finding("database", True, f"PostgreSQL {version}, pgvector {vector}, {where}{remembered}")
    return [answers, *standing]


async def _remembered(db: AsyncConnection) -> str:
    """How far each model has come through the past incidents; "" before there are tables."""
    if (await db.execute(text("SELECT to_regclass('vector_models')"))).scalar_one() is None:
        return ""
    if not await memory.anything(db):
        return "; nothing is remembered yet"
    return "".join(
        f"; {told(one)}{f' ({one.problem})' if one.problem else ''}"
        if one.waiting
        else f"; {one.embedded:,} vectors of {one.model}"
        for one in await vectors.progress(db)
    )


async def _slack(settings: Settings) -> Finding:
    if settings.in_sandbox:
        return Finding("slack", True, "no tokens: `codehealer run` starts the sandbox")
    async with aiohttp.ClientSession() as session:
        me = await preflight(settings, make_client(settings, session))
    return Finding("slack", True, f"connected to {me['team']} as {me['user_id']}")


async def _search(settings: Settings) -> Finding:
    async with aiohttp.ClientSession() as session:
        searcher = make_searcher(settings, session)
        found = await slack_search.search(searcher, "deployment") if searcher else None
    if found is None:
        return Finding("search", True, "Slack's own search is not asked", "Set SLACK_USER_TOKEN to ask it as well.")
    if found.could_not:
        remedy = "It takes a user token with search:read.public, and a plan that has the search."
        return Finding("search", False, found.could_not, remedy)
    return Finding("search", True, "Slack's own search answers")


async def _policy(settings: Settings) -> Finding:
    policy = read_policy(settings)
    where = settings.policy or "the shipped default"
    remedy = "" if policy.services else "List your services in policy.yaml: without a row a failure is only diagnosed."
    return Finding("policy", True, f"{where}: mode {policy.mode}, {len(policy.services)} services", remedy)


async def _approvers(settings: Settings) -> Finding:
    """Whether Slack shows the user groups and channels that may approve: of one that it does not, nobody may."""
    policy = read_policy(settings)
    groups, channels = places(policy)
    named = [*policy.approvers.users, *sorted(groups | channels)]
    if settings.in_sandbox or not groups | channels:
        remedy = "" if named else "Name people under approvers in policy.yaml: until then nothing can be approved."
        return Finding("approvers", True, f"{len(named)} named", remedy)
    async with aiohttp.ClientSession() as session:
        slack = make_client(settings, session)
        me = await preflight(settings, slack)
        gone = sorted((await People(slack, me["team_id"], policy).look_up(me["user_id"])).unseen)
    if gone:
        remedy = "Name others in policy.yaml, or invite the app there: until then nobody may approve through them."
        return Finding("approvers", False, f"Slack does not show {', '.join(gone)}", remedy)
    return Finding("approvers", True, f"{len(named)} named, all visible")


async def _prometheus(settings: Settings) -> Finding:
    async with doctor_servers.opened(settings, read_policy(settings)) as clients:
        if clients.metrics is None:
            return Finding("prometheus", True, "not set up", "Set PROMETHEUS_URL to read the policy's metrics.")
        return Finding("prometheus", True, await clients.metrics.version())


async def _alertmanager(settings: Settings) -> Finding:
    async with doctor_servers.opened(settings, read_policy(settings)) as clients:
        if clients.silences is None:
            return Finding("alertmanager", True, "not set up", "Set ALERTMANAGER_URL to see silences.")
        return Finding("alertmanager", True, await clients.silences.version())


async def _runbooks(settings: Settings) -> Finding:
    if not settings.runbooks:
        return Finding("runbooks", True, "not set up", "Set CODEHEALER_RUNBOOKS to link the team's runbooks.")
    shelf = await asyncio.to_thread(open_shelf, settings)
    return Finding("runbooks", True, f"{len(shelf.runbooks)} in {settings.runbooks}")


async def _routes(settings: Settings) -> Finding:
    """Whether the bot is where the policy and the settings send its messages."""
    policy = read_policy(settings)
    named = routed.channels(policy, settings.channel)
    if settings.in_sandbox or not named:
        return Finding("routes", True, f"{len(policy.routes)} routes")
    async with aiohttp.ClientSession() as session:
        slack = make_client(settings, session)
        told = await asyncio.gather(*(reachable(slack, channel) for channel in named))
    wrong = [f"{channel} ({', '.join(named[channel])}): {why}" for channel, why in zip(named, told, strict=True) if why]
    if wrong:
        remedy = "Invite the app there, or name others: until then the default channel and the listed people stand in."
        return Finding("routes", False, "; ".join(wrong), remedy)
    return Finding("routes", True, f"{len(policy.routes)} routes, {len(named)} channels, all within reach")


async def _embedder(settings: Settings) -> Finding:
    try:
        size = await asyncio.to_thread(lambda: model_file().stat().st_size)
        detail, remedy = f"all-MiniLM-L6-v2, {size // 1_000_000} MB", ""
    except SettingsError as error:
        detail, remedy = str(error), "Until then past incidents are found by their words alone."
    async with httpx.AsyncClient() as http:
        for said, ok in await _hosted_search(settings, http):
            detail += f"; {said}"
            remedy = remedy or ("" if ok else "Check the model's name and the key; searches do without it until then.")
    return Finding("embedder", not remedy, detail, remedy)


async def _hosted_search(settings: Settings, http: httpx.AsyncClient) -> list[tuple[str, bool]]:
    """What the hosted embedder and the reranker, where they are set, answer to one small question each."""
    said: list[tuple[str, bool]] = []
    hosted, reranker = make_hosted_embedder(settings, http), make_reranker(settings, http)
    try:
        if hosted:
            await hosted.embed_query("doctor")
            said.append((f"{hosted.name} answers with {hosted.dimension} numbers", True))
    except CodeHealerError as error:
        said.append((str(error), False))
    try:
        if reranker:
            await reranker.rank("doctor", ["a doctor", "a nurse"])
            said.append((f"{reranker.name} ranks", True))
    except CodeHealerError as error:
        said.append((str(error), False))
    return said


async def _models(settings: Settings) -> Finding:
    hops = [f"{wire.name} ({', '.join(models) or 'no model'})" for wire, _, models, _ in model_services(settings)]
    if not hops:
        return Finding("models", True, "built-in diagnosis", "Set NVIDIA_API_KEY to ask NVIDIA's models first.")
    empty = [wire.models_setting for wire, _, models, _ in model_services(settings) if not models]
    remedy = f"Name at least one model in {', '.join(empty)}." if empty else ""
    return Finding("models", not empty, f"{', then '.join(hops)}, then built-in", remedy)


async def _queue(settings: Settings) -> Finding:
    """What waits in the SQS queue, and whether it may be received from: nothing is received here."""
    async with httpx.AsyncClient(timeout=DEADLINE_S) as http:
        sqs = open_sqs(settings, http)
        if sqs is None:
            return Finding("queue", True, f"jobs in {settings.queue}; no SQS queue is set up")
        waiting, in_work = await sqs.waiting()
    where = "alerts and jobs" if settings.queue == "sqs" else f"alerts; jobs in {settings.queue}"
    return Finding("queue", True, f"SQS answers, for {where}: {waiting} waiting, {in_work} in work")


CHECKS: dict[str, Check] = {
    "database": _database,
    "slack": _slack,
    "search": _search,
    "policy": _policy,
    "approvers": _approvers,
    "routes": _routes,
    "kubernetes": doctor_servers.kubernetes,
    "permissions": doctor_servers.rights,
    "github": doctor_servers.github,
    "argocd": doctor_servers.argocd,
    "pagerduty": doctor_servers.pagerduty,
    "prometheus": _prometheus,
    "alertmanager": _alertmanager,
    "runbooks": _runbooks,
    "models": _models,
    "embedder": _embedder,
    "queue": _queue,
    "cache": doctor_standing.cache,
    "calls": doctor_standing.calls,
    "pause": pause_map.check,
}
