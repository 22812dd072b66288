"""`codehealer run`: start everything, say where, run until a signal, and stop in order."""

import asyncio
import contextlib
import errno
import json
import signal
import socket
import sys
import time
from collections import ChainMap
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web
from psycopg.conninfo import conninfo_to_dict
from rich.console import Console

from bot import last_world, revisions
from bot.arenas import give_back_unused, keep_one_arena
from bot.clients import policy_tokens
from bot.collecting import no_collecting
from bot.gate import Limits, serving
from bot.leader import lead
from bot.migrating import migrate, standing
from bot.outcomes import Outcomes
from bot.postgres import EmbeddedPostgres, hold_bot_lock
from bot.reach import EVERY_S as REACH_EVERY_S
from bot.reach import Reach
from bot.readiness import readiness
from bot.schedule import TICKS, Tick, run_schedule
from bot.secret_watch import SecretWatch, webhook_secrets
from bot.settings import Settings, load_settings, split_secrets
from bot.slack_events import add_slack_events
from bot.team_files import read_policy
from bot.watch import Watch
from bot.web import WebConfig, make_web_app
from bot.wiring import Program, open_services
from handlers import baseline, first_look, inbox, missed, summaries
from handlers.outbox import Sender
from handlers.view import render, render_settled
from knowledge.errors import SettingsError
from knowledge.redaction import redact
from knowledge.store import deliveries, outbox, queued_jobs
from knowledge.store.baseline import last_alive
from knowledge.store.database import libpq_url, listen

log = structlog.get_logger(__name__)

SANDBOX_START_S = 15.0
# How long requests that came before the end may take to be answered.
LAST_ANSWERS_S = 2.0
TURN_S = 0.0005
BACKLOG = 128


async def run(settings: Settings, *, started_at: float, check: bool = False, as_json: bool = False) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        SettingsError: something that a person has to set right before this can start.
    """
    # A diagnosis computes in a thread. At Python's 5 ms between two turns, an envelope that takes twenty turns of the
    # event loop would wait a tenth of a second behind it.
    sys.setswitchinterval(TURN_S)
    keep_one_arena()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    read_policy(settings)  # before anything is started, and in the sandbox too
    async with contextlib.AsyncExitStack() as stack:
        starting = stack.enter_context(contextlib.ExitStack())
        starting.enter_context(no_collecting())
        if check:
            verified = await _check(settings, stack)
            _say(json.dumps(verified) if as_json else "\n".join(f"✓ {name}: {what}" for name, what in verified.items()))
            return
        if not settings.database_url:
            stack.enter_context(hold_bot_lock(database_folder(settings)))
        listening = stack.enter_context(_listening_socket(settings))
        database, sandbox = await _started(settings, listening.getsockname()[1], stack, changing=True)
        settings = _with_sandbox(settings, sandbox)
        program = await stack.enter_async_context(open_services(settings, database, changing=True))
        await (last_world.forget if sandbox else last_world.take_over)(program.services.engine)
        ready_s = time.time() - started_at
        address = _address(settings, listening.getsockname()[1])
        greeting = _data(address, sandbox, ready_s) if as_json else _greeting(address, sandbox, ready_s)
        starting.close()
        # The sandbox's secrets are made for it at each start.
        await _serve(program, settings, listening, stop, greeting, rotate=sandbox is None)


async def _check(settings: Settings, stack: contextlib.AsyncExitStack) -> dict[str, str]:
    """What `run --check` found to work. It takes neither the bot's lock nor its port, and so works beside a bot that
    runs; whether the port can be had is tried for a moment."""
    try:
        with _listening_socket(settings) as listening:
            port, in_use = listening.getsockname()[1], ""
    except _PortInUse:
        port, in_use = settings.http_port, "; the port is in use, as it is beside a running bot"
    database, sandbox = await _started(settings, port, stack, changing=False)
    tables = await asyncio.to_thread(_tables, database)
    if not settings.database_url:
        tables = f"{tables}, embedded in {database_folder(settings)}"
    settings = _with_sandbox(settings, sandbox)
    program = await stack.enter_async_context(open_services(settings, database, changing=False))
    found = _verified(program, settings, port, tables)
    return {**found, "webhooks": f"{found['webhooks']}{in_use}"}


async def _started(
    settings: Settings, port: int, stack: contextlib.AsyncExitStack, *, changing: bool
) -> tuple[str, dict[str, Any] | None]:
    """The database's URL and the sandbox's first line; what takes long goes on side by side.

    With `changing` the database has this version's tables then; without, it is as it was.
    """

    async def migrated() -> str:
        url = await stack.enter_async_context(open_database(settings))
        if settings.in_sandbox and settings.database_url:
            at = await asyncio.to_thread(standing, url)
            if at is not None:
                await last_world.require_own(url)
        await asyncio.to_thread(migrate if changing else standing, url)
        return url

    async with asyncio.TaskGroup() as starting:
        database = starting.create_task(migrated())
        world = settings.in_sandbox and starting.create_task(stack.enter_async_context(run_sandbox(port)))
        # Compiles the patterns, which the first delivery would otherwise wait for.
        starting.create_task(asyncio.to_thread(redact, "x"))
    return database.result(), world.result() if world else None


def _with_sandbox(settings: Settings, sandbox: Mapping[str, Any] | None) -> Settings:
    """The settings that lead to the sandbox where there is one."""
    if not sandbox:
        return settings
    own_policy = {"CODEHEALER_POLICY": settings.policy} if settings.policy else {}
    return load_settings(**(_explicit(settings) | sandbox["env"] | own_policy))


def _explicit(settings: Settings) -> dict[str, Any]:
    """What was set, by the names of the variables."""
    return {
        field.alias or name: getattr(settings, name)
        for name, field in type(settings).model_fields.items()
        if name in settings.model_fields_set
    }


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[str]:
    """The database's URL: the given one, or the embedded server while the context lasts."""
    if settings.database_url:
        yield settings.database_url
        return
    async with EmbeddedPostgres(database_folder(settings)) as server:
        yield server.url


def database_place(settings: Settings) -> str:
    """Which database a command works on, as people tell two apart; without a password."""
    if settings.database_url:
        parts = conninfo_to_dict(libpq_url(settings.database_url))
        return f"the database {parts.get('dbname', '')} on {parts.get('host') or 'this machine'}"
    whose = "the sandbox's own" if settings.in_sandbox else "the embedded"
    return f"{whose} database in {database_folder(settings)}"


def database_folder(settings: Settings) -> Path:
    """Of the embedded database: the sandbox's is its own, so that play never mixes with what really happened."""
    return settings.data_dir / "sandbox" if settings.in_sandbox else settings.data_dir


class _PortInUse(SettingsError):
    """Somebody else listens there."""


@contextlib.contextmanager
def _listening_socket(settings: Settings) -> Any:
    """Take the port before anything else is started: it may be in use."""
    listener = socket.socket(socket.AF_INET6 if ":" in settings.http_host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.http_host, settings.http_port))
        # Now, not when it is served: bound alone, two could have it.
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        kind = _PortInUse if error.errno == errno.EADDRINUSE else SettingsError
        raise kind(
            f"Cannot listen on {settings.http_host}:{settings.http_port}: {error.strerror}. "
            "Stop what uses it, or set CODEHEALER_HTTP_PORT to another port (0 takes a free one)."
        ) from None
    try:
        yield listener
    finally:
        listener.close()


@asynccontextmanager
async def run_sandbox(bot_port: int, *arguments: str) -> AsyncIterator[dict[str, Any]]:
    """The sandbox as its own process, ended with us even when we are killed; yields its first line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bot.sandbox", "--with-parent", "--bot-port", str(bot_port), *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        # Ctrl+C goes to the whole group: the sandbox ends after us, not while we still say goodbye to it.
        start_new_session=True,
    )  # fmt: skip
    try:
        async with asyncio.timeout(SANDBOX_START_S):
            line = await process.stdout.readline() if process.stdout else b""
        if not line:
            raise SettingsError("The sandbox did not start; its own message is above.")
        yield json.loads(line)
    except TimeoutError:
        raise SettingsError(f"The sandbox did not start within {SANDBOX_START_S:.0f} s.") from None
    finally:
        if process.returncode is None:
            process.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()


def _tables(database: str) -> str:
    at, newest = standing(database), revisions.known()[-1]
    if at is None:
        return "no tables yet: a start makes them"
    return "with all tables" if at == newest else f"tables are at {at}: a start brings them to {newest}"


def _verified(program: Program, settings: Settings, port: int, tables: str) -> dict[str, str]:
    """What `run --check` found to work, by what was looked at; what does not work has ended it before."""
    cluster = program.services.clients.cluster
    sources = webhook_secrets(settings, settings.source_tokens)
    return {
        "database": f"reached, {tables}",
        "slack": f"{settings.slack_base_url} takes both tokens, with every scope, as {program.services.bot_user}",
        "policy": settings.policy or "the shipped default, which observes only",
        "clusters": ", ".join(cluster.names) if cluster else "none is set up",
        "webhooks": f"{_address(settings, port)}/webhooks/ for {', '.join(sources) or 'nobody: no secret is set'}",
        "not asked": "whether clusters, GitHub, Argo CD and models answer; codehealer doctor asks them",
    }


def _address(settings: Settings, port: int) -> str:
    host = f"[{settings.http_host}]" if ":" in settings.http_host else settings.http_host
    return f"http://{host}:{port}"


def _own_address(listening: socket.socket) -> str:
    """Where this machine reaches us, also where we listen on all of its addresses."""
    host, port = listening.getsockname()[:2]
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  what is listened on is known by now
    return f"http://[{here}]:{port}" if ":" in here else f"http://{here}:{port}"


def _data(address: str, sandbox: Mapping[str, Any] | None, ready_s: float) -> str:
    webhooks = f"{address}/webhooks/"
    return json.dumps({"url": sandbox["url"] if sandbox else None, "webhooks": webhooks, "ready_s": round(ready_s, 2)})


def _greeting(address: str, sandbox: Mapping[str, Any] | None, ready_s: float) -> str:
    seconds = f"(ready in {ready_s:.1f} s)"
    if sandbox:
        return f"CodeHealer and its sandbox are running. Open {sandbox['url']} {seconds}"
    return f"CodeHealer is connected to Slack; webhooks at {address}/webhooks/ {seconds}"


def _say(text: str) -> None:
    Console(highlight=False, soft_wrap=True, emoji=False).print(text, markup=False)


async def _serve(
    program: Program, settings: Settings, listening: socket.socket, stop: asyncio.Event, greeting: str, *, rotate: bool
) -> None:
    """Every task has its place here; the first that fails ends them all."""
    services = program.services
    wake = {
        deliveries.CHANNEL: asyncio.Event(),
        outbox.CHANNEL: asyncio.Event(),
        queued_jobs.CHANNEL: program.jobs_wake,
    }
    metrics = program.metrics
    secrets = webhook_secrets(settings, settings.source_tokens)
    own = {"policy": lambda: program.policy_watch.problem or None, "pause": program.pause_map.trouble}
    config = WebConfig(
        secrets,
        readiness(services.engine, ChainMap(program.health.checks, own)),
        metrics,
        limits=Limits(settings.webhook_requests_per_minute),
        sns_topics=frozenset(settings.sns_topics),
        sns=program.sns,
    )
    if program.intake:
        program.intake.secrets = lambda: secrets
        program.intake.count = lambda source, result: metrics.deliveries.labels(source, result).inc()
    web_app = make_web_app(services, config)
    watch = SecretWatch(settings, secrets, program.renew, more=lambda: policy_tokens(services.policy))
    add_slack_events(web_app, program.app, lambda: split_secrets(watch.settings.slack_signing_secret))
    runner = web.AppRunner(web_app, access_log=None, shutdown_timeout=LAST_ANSWERS_S)
    await runner.setup()
    program.heartbeat.own_address = _own_address(listening)
    try:
        # What was queued before a restart is not to be held back because nobody has asked yet, or not for a while.
        await asyncio.gather(program.pause_file.look(), program.pause_map.look())
        link = program.socket.connected() if program.socket else contextlib.nullcontext()
        async with serving(runner, listening), link, asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(first_look.warm_up(), name="warm up"),
                group.create_task(give_back_unused(), name="memory"),
                group.create_task(listen(program.database_url, wake, own=services.holder), name="listen"),
                group.create_task(program.clock.run(services.engine), name="clock"),
                group.create_task(program.policy_watch.run(services), name="policy"),
                group.create_task(program.pause_file.run(), name="pause file"),
                group.create_task(program.pause_map.run(), name="pause map"),
                group.create_task(
                    services.rota.run(lambda: services.policy, lambda: services.clients.schedules), name="on call"
                ),
                group.create_task(inbox.run(services, wake[deliveries.CHANNEL]), name="inbox"),
                group.create_task(
                    lead(program.database_url, lambda: _lead(program, settings, wake[outbox.CHANNEL])), name="leader"
                ),
            ]
            if rotate:
                program.policy_watch.on_hup.append(watch.wake.set)
                program.health.notes.append(watch.lines)
                tasks.append(group.create_task(watch.run(), name="secrets"))
            if program.intake:
                tasks.append(group.create_task(program.intake.run(), name="queue"))
            jobs = group.create_task(program.jobs.run(stop, sole=not settings.database_url), name="jobs")
            _say(greeting)
            await stop.wait()
            log.info("stopping")
            await jobs
            for task in tasks:
                task.cancel()
    finally:
        await runner.cleanup()


async def _lead(program: Program, settings: Settings, wake: asyncio.Event) -> None:
    """What one process at a time does."""
    services = program.services
    sender = Sender(
        services.engine,
        services.slack,
        lambda db, number: render(db, services, number),
        lambda db, number: render_settled(db, services, number),
        lambda db, key: summaries.render(db, services, key),
        home=services.channel,
        count_refused=services.count_refused,
        beat=lambda message: program.heartbeat.send(services, message),
    )
    async with services.engine.connect() as db:
        last = await last_alive(db)
    if last:  # asked before it is noted that we are here: who is killed in between asks twice, which harms nothing
        await missed.ask(services, (services.now() - last).total_seconds())
    await baseline.arrive(services)
    ticks: dict[str, tuple[Tick, float]] = {**TICKS, "count outcomes": (Outcomes().tick, 5.0)}
    ways = [program.health.checks["Slack"], lambda: sender.problem]
    ticks["tell whether Slack is there"] = Reach(*ways).tick, REACH_EVERY_S
    if settings.heartbeat_seconds:
        ticks["heartbeat"] = program.heartbeat.tick, settings.heartbeat_seconds
    cluster = services.clients.cluster
    watched = program.health.also("watch", cluster.unwatched) if cluster else contextlib.nullcontext()
    with program.metrics.leader.track_inprogress(), watched:
        async with asyncio.TaskGroup() as group:
            group.create_task(sender.run(wake), name="outbox")
            group.create_task(run_schedule(services, ticks), name="schedule")
            if cluster is not None:
                for name in cluster.names:
                    watch = Watch(services, cluster, name, settings.watch_namespaces)
                    group.create_task(watch.run(), name=f"watch {name}")
