"""What docs/performance.md states, measured anew: all benches, what each takes, and the machine they run on."""

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from sqlalchemy import make_url, text

from bot import (
    bench_accept,
    bench_approvals,
    bench_database,
    bench_intake,
    bench_links,
    bench_load,
    bench_mentions,
    bench_rates,
    bench_replicas,
    bench_search,
    bench_start,
)
from bot.bench_rig import Figures, database, p, pss_mb, running
from bot.migrating import migrate
from bot.postgres.places import packaged_binaries
from bot.settings import load_settings
from knowledge.diagnosis import diagnose_builtin
from knowledge.embedding.minilm import LocalEmbedder
from knowledge.model import Evidence
from knowledge.redaction import redact
from knowledge.store.database import open_engine

LONG_LINES = 100_000


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large the benches are that can be smaller or longer.

    `incidents` are searched, `minutes` are those of the soak and of the troubled links, `scale` is that of the flood.
    """

    incidents: int = bench_search.INCIDENTS
    minutes: float = bench_links.MINUTES
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Bench:
    """`takes_s` is about how long it takes on two cores."""

    run: Callable[[Sizes], Awaitable[Figures]]
    takes_s: Callable[[Sizes], float]


async def diagnosis() -> Figures:
    """The built-in diagnosis of 64 KB, after one for warming up, and of a long log."""
    embedder = LocalEmbedder()
    noise = "2026-11-22T10:00:00Z INFO request served path=/cart status=200 ms=12\n"
    log = noise * 450 + "panic: runtime error: invalid memory address or nil pointer dereference\n" + noise * 450
    case = [Evidence("logs", "pod", log[:64_000])]
    diagnose_builtin("Pod restarts", case, embed=embedder.embed)
    taken = []
    for _ in range(20):
        began = time.perf_counter()
        diagnose_builtin("Pod restarts", case, embed=embedder.embed)
        taken.append(time.perf_counter() - began)
    began = time.perf_counter()
    diagnose_builtin("Pod restarts", [Evidence("logs", "pod", log * (LONG_LINES // 900))], embed=embedder.embed)
    return {
        "64 KB p50 ms": round(1000 * p(taken, 50), 1),
        "64 KB p99 ms": round(1000 * p(taken, 99), 1),
        f"{LONG_LINES:,} lines s": round(time.perf_counter() - began, 2),
    }


async def redaction() -> Figures:
    """Megabytes a second of redaction over a log that prints a connection string every fifty lines."""
    line = "2026-11-22T10:00:00Z INFO request served path=/cart/items?id=42 status=200 ms=12 trace=4bf92f3577b34da6\n"
    secret = "2026-11-22T10:00:00Z INFO connecting to postgresql://app:" + "x7Qp" * 4 + "@db.internal:5432/orders\n"
    log = (line * 49 + secret) * 400
    redact(log[:10_000])
    began = time.perf_counter()
    redact(log)
    return {"MB/s": round(len(log) / 1e6 / (time.perf_counter() - began), 1)}


async def approvals() -> Figures:
    """From a click to an execution that runs: one at a time, and 200 on 200 targets."""
    async with running() as rig:
        return await bench_approvals.measured(rig.engine)


async def accept() -> Figures:
    """Webhooks accepted a second, signature and redaction included, beside a bare server; on a database with fsync."""
    async with database() as url:
        return await bench_accept.measured(url)


async def links(minutes: float) -> Figures:
    """Random faults of Slack's links: events that were lost or answered twice, and the longest way back."""
    async with running() as rig:
        port = int(rig.env["CODEHEALER_HTTP_PORT"])
        return await bench_links.measured(rig.http, rig.engine, rig.sandbox_url, port, minutes)


async def replicas() -> Figures:
    """Incidents a second with one, two and four replicas, outside calls slowed; CPU an incident without that."""
    slow, fast = {}, {}
    async with database(migrated=False) as url:
        for number in bench_replicas.REPLICAS:
            slow[number] = await bench_replicas.measured(
                await _new_database(url, f"slow_{number}"), number, slow_ms=bench_replicas.SLOW_MS
            )
        for number in (bench_replicas.REPLICAS[0], bench_replicas.REPLICAS[-1]):
            fast[number] = await bench_replicas.measured(await _new_database(url, f"fast_{number}"), number, slow_ms=0)
    return bench_replicas.summary(slow, fast)


async def _new_database(url: str, name: str) -> str:
    """The address of an empty, migrated database on the same server."""
    engine = open_engine(url)
    async with engine.connect() as db:
        alone = await db.execution_options(isolation_level="AUTOCOMMIT")
        await alone.execute(text(f"CREATE DATABASE {name}"))
    await engine.dispose()
    made = make_url(url).set(database=name).render_as_string(hide_password=False)
    await asyncio.to_thread(migrate, made)
    return made


async def policy() -> Figures:
    """One decision with every rule, over a policy of 500 services."""
    return bench_approvals.deciding()


async def flood(scale: float) -> Figures:
    """10,000 alerts of 100 failures within a minute, while somebody asks."""
    async with running() as rig:
        return await bench_intake.flood(rig, pss_mb, scale=scale)


async def beside() -> Figures:
    """One alert more beside 1,000 and beside 50,000 open ones."""
    async with database() as url:
        engine = open_engine(url)
        try:
            return await bench_intake.beside_many(engine)
        finally:
            await engine.dispose()


def _always(run: Callable[[], Awaitable[Figures]], takes_s: float) -> Bench:
    return Bench(lambda _: run(), lambda _: takes_s)


BENCHES: dict[str, Bench] = {
    "diagnosis": _always(diagnosis, 5),
    "redaction": _always(redaction, 3),
    "policy": _always(policy, 2),
    "approvals": _always(approvals, 75),
    "accept": _always(accept, 50),
    "database": _always(bench_database.measured, 25),
    "start": _always(bench_start.measured, 40),
    "mentions": _always(bench_mentions.measured, 30),
    "links": Bench(lambda sizes: links(sizes.minutes), lambda sizes: 60 * sizes.minutes + 60),
    "replicas": _always(replicas, 110),
    "storm": _always(bench_load.storm, 75),
    "flood": Bench(lambda sizes: flood(sizes.scale), lambda sizes: 20 + 170 * sizes.scale),
    "beside": _always(beside, 60),
    "ramp": _always(bench_load.ramp, 80),
    "rates": _always(bench_rates.measured, 170),
    "soak": Bench(lambda sizes: bench_load.soak(sizes.minutes), lambda sizes: 60 * sizes.minutes + 10),
    "search": Bench(
        lambda sizes: bench_search.search(sizes.incidents), lambda sizes: bench_search.takes_s([sizes.incidents])
    ),
    "growth": Bench(
        lambda sizes: bench_search.growth(sizes.incidents),
        lambda sizes: bench_search.takes_s(bench_search.steps(sizes.incidents)),
    ),
}


def takes_s(names: Sequence[str], sizes: Sizes) -> float:
    """About how long these take together on two cores that do nothing else."""
    return sum(BENCHES[name].takes_s(sizes) for name in names)


def machine() -> Figures:
    """What the figures depend on."""
    load_settings()
    with tempfile.NamedTemporaryFile() as file:
        taken = []
        for _ in range(20):
            file.write(b"x" * 8192)
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - began)
    return {
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "fsync p50 ms": round(1000 * statistics.median(taken), 2),
        "python": sys.version.split()[0],
        "codehealer": version("codehealer"),
        "postgresql": _postgresql(),
        "pgvector": _pgvector(),
        "aiohttp": version("aiohttp"),
    }


def _postgresql() -> str:
    """The version that every bench here runs on, whatever DATABASE_URL says."""
    said = subprocess.run(
        [packaged_binaries() / "postgres", "--version"], capture_output=True, text=True, check=True, timeout=10
    )
    return said.stdout.split()[-1]


def _pgvector() -> str:
    for control in packaged_binaries().parent.rglob("vector.control"):
        for line in control.read_text().splitlines():
            if line.startswith("default_version"):
                return line.partition("=")[2].strip(" '")
    return "not found"


async def measure(names: Sequence[str], sizes: Sizes) -> AsyncIterator[tuple[str, Figures]]:
    """Of each bench by its name; the machine's first."""
    yield "machine", machine()
    for name in names:
        yield name, await BENCHES[name].run(sizes)
