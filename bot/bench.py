"""What docs/performance.md states, measured anew: a bot and a sandbox of their own, on a database of their own."""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine

from bot import bench_accept, bench_approvals, bench_intake, bench_links, bench_replicas, bench_search
from bot.migrating import migrate
from bot.postgres import EmbeddedPostgres
from bot.program import run_sandbox
from bot.settings import load_settings
from knowledge.diagnosis import diagnose_builtin
from knowledge.embedding.minilm import LocalEmbedder
from knowledge.errors import SettingsError
from knowledge.model import Evidence
from knowledge.redaction import redact
from knowledge.store.database import open_engine

Figures = dict[str, Any]

STORM_S, ALERTS_PER_S, INCIDENTS = 60, 50, 30
RAMP_PER_S, RAMP_STEP_S = (0.5, 1.0, 2.0, 4.0), 12
CARD_BAR_S = 1.0
# Caches and pools are full after five minutes of this; of the open incidents the newest twenty go on firing.
SOAK_PER_S, SOAK_OPENS_EVERY_S, SOAK_OPEN, SOAK_WARM_S = 100, 10.0, 20, 300.0
ASKER, CHANNEL, OTHER_CHANNEL = "U0ONCALL", "C0DEPLOY", "C0ALERTS"


@dataclass
class Rig:
    """A bot under measurement and what it is measured with."""

    http: httpx.AsyncClient
    engine: AsyncEngine
    sandbox_url: str
    env: Mapping[str, str]
    bot: asyncio.subprocess.Process
    sent_at: dict[str, datetime] = field(default_factory=dict)

    async def alert(self, incident: str, number: int) -> None:
        """One firing alert of an incident, posted as Alertmanager does."""
        labels = {
            "alertname": "KubePodCrashLooping", "namespace": f"bench-{incident}", "deployment": f"service-{incident}",
            "pod": f"service-{incident}-{number}", "severity": "warning",
        }  # fmt: skip
        summary = (
            f"Container of service-{incident} keeps restarting: exit code 1, connection refused to cache-{incident}"
        )
        one = {
            "status": "firing", "labels": labels, "annotations": {"description": summary},
            "startsAt": datetime.now(UTC).isoformat(), "endsAt": "0001-01-01T00:00:00Z",
            "fingerprint": f"{incident}-{number}",
        }  # fmt: skip
        body = {"version": "4", "receiver": "bench", "status": "firing", "alerts": [one], "commonLabels": labels}
        self.sent_at.setdefault(f"service-{incident}", datetime.now(UTC))
        port = self.env["CODEHEALER_HTTP_PORT"]
        answer = await self.http.post(
            f"http://127.0.0.1:{port}/webhooks/alertmanager",
            json=body,
            headers={"Authorization": f"Bearer {self.env['CODEHEALER_WEBHOOK_TOKEN']}"},
        )
        answer.raise_for_status()

    async def command(self) -> None:
        body = {"user": ASKER, "channel": CHANNEL, "command": "/codehealer", "text": "help"}
        await self.http.post(f"{self.sandbox_url}sandbox/api/command", json=body)

    async def mention(self) -> None:
        """In another channel than the cards', whose one message a second they share otherwise."""
        mention = {"user": ASKER, "channel": OTHER_CHANNEL, "text": "<@U0CODEHEALER> help"}
        await self.http.post(f"{self.sandbox_url}sandbox/api/post", json=mention)

    async def acknowledged_ms(self) -> dict[str, list[float]]:
        """By type of envelope: from the frame that Slack sent to the acknowledgement that came back."""
        answer = await self.http.get(f"{self.sandbox_url}sandbox/api/acknowledgements")
        taken: dict[str, list[float]] = answer.json()
        unanswered = (await self.http.get(f"{self.sandbox_url}sandbox/api/state")).json()["deliveries"]
        # One that Slack gave up on counts with the three seconds that it waited.
        return {**taken, "unacknowledged": [3000.0] * unanswered.get("unacknowledged", 0)}

    async def seconds_to(self, table: str, column: str, wanted: Sequence[str], deadline_s: float) -> list[float]:
        """From the first alert of each wanted workload to its row; the deadline for those that have none by then."""
        query = text(
            f"SELECT i.workload, min(t.{column}) AS at FROM {table} t JOIN incidents i ON i.id = t.incident_id "  # noqa: S608  our own names
            f"WHERE i.workload = ANY(:wanted) AND t.{column} IS NOT NULL GROUP BY 1"
        )
        until = time.monotonic() + deadline_s
        while True:
            async with self.engine.connect() as db:
                rows = {row.workload: row.at for row in await db.execute(query, {"wanted": list(wanted)})}
            if len(rows) == len(wanted) or time.monotonic() > until:
                break
            await asyncio.sleep(0.1)
        return [(rows[one] - self.sent_at[one]).total_seconds() if one in rows else deadline_s for one in wanted]


@asynccontextmanager
async def _rig() -> AsyncIterator[Rig]:
    with tempfile.TemporaryDirectory(prefix="codehealer-bench-", dir=_place()) as directory:
        _let_through(directory)
        async with (
            EmbeddedPostgres(Path(directory) / "data") as server,
            run_sandbox(0) as sandbox,
            httpx.AsyncClient(timeout=10) as http,
        ):
            environment = {**os.environ, **sandbox["env"], "DATABASE_URL": server.url, "CODEHEALER_LOG_LEVEL": "ERROR"}
            bot = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bot", "run", "--json",
                env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            engine = open_engine(server.url)
            try:
                line = await bot.stdout.readline() if bot.stdout else b""
                if not line:
                    raise SettingsError("The bot did not start; `codehealer run --check` says why.")
                yield Rig(http, engine, sandbox["url"], sandbox["env"], bot)
            finally:
                await engine.dispose()
                if bot.returncode is None:
                    bot.terminate()
                await bot.wait()


def _let_through(directory: str) -> None:
    """The database's own user must reach its folder inside."""
    Path(directory).chmod(0o711)


def _place() -> str | None:
    """Root's database runs as another user, who can't enter root's own folders."""
    return "/var/tmp" if os.geteuid() == 0 else None  # noqa: S108  made with a random name


async def storm() -> Figures:
    """50 alerts a second for a minute, of 30 incidents that open one every two seconds."""
    async with _rig() as rig:
        await asyncio.sleep(2)
        idle_mb = pss_mb(rig.bot.pid)
        errors = 0
        began = time.monotonic()

        async def post(number: int) -> None:
            nonlocal errors
            second = number / ALERTS_PER_S
            newest = min(INCIDENTS - 1, int(second // 2))
            # The first alert at a two-second mark opens the next incident; the others repeat the open ones.
            opens = number % (2 * ALERTS_PER_S) == 0
            incident = newest if opens else number % (newest + 1)
            try:
                await rig.alert(f"{incident:02d}", number)
            except httpx.HTTPError:
                errors += 1

        async with asyncio.TaskGroup() as group:
            for number in range(STORM_S * ALERTS_PER_S):
                await asyncio.sleep(max(0.0, began + number / ALERTS_PER_S - time.monotonic()))
                group.create_task(post(number))
                if number % (ALERTS_PER_S // 2) == 0:
                    group.create_task(rig.command())
                if number % (3 * ALERTS_PER_S) == 0:
                    group.create_task(rig.mention())
        opened = [f"service-{number:02d}" for number in range(INCIDENTS)]
        cards = await rig.seconds_to("cards", "posted_at", opened, 30)
        answers = await rig.seconds_to("diagnoses", "created_at", opened, 30)
        return {
            "alerts": STORM_S * ALERTS_PER_S,
            "not accepted": errors,
            "first card p95 s": p(cards, 95),
            "first card p50 s": p(cards, 50),
            "diagnosis p95 s": p(answers, 95),
            **_acknowledgements(await rig.acknowledged_ms()),
            "idle PSS MB": idle_mb,
            "PSS after the storm MB": pss_mb(rig.bot.pid),
            "embedder PSS MB": max(map(pss_mb, children(rig.bot.pid)), default=0),
        }


def _acknowledgements(taken: Mapping[str, Sequence[float]]) -> Figures:
    every = [one for kind in taken.values() for one in kind]
    by_kind = {f"{kind} acknowledged p99 ms": p(found, 99) for kind, found in taken.items() if found}
    return {"envelopes": len(every), "acknowledged p50 ms": p(every, 50), "acknowledged p99 ms": p(every, 99)} | by_kind


async def soak(minutes: float = bench_links.MINUTES) -> Figures:
    """100 alerts a second, a new incident every ten seconds: what the bot's memory grows by once it is warm."""
    async with _rig() as rig:
        began = time.monotonic()
        lasts_s, errors, sent = 60 * minutes, 0, 0
        warm_mb = most_mb = 0
        while (passed_s := time.monotonic() - began) < lasts_s:
            newest = int(passed_s // SOAK_OPENS_EVERY_S)
            some = [f"s{max(0, newest - number % SOAK_OPEN)}" for number in range(SOAK_PER_S)]
            posted = (rig.alert(one, sent + number) for number, one in enumerate(some))
            answers = await asyncio.gather(*posted, return_exceptions=True)
            errors += sum(isinstance(one, httpx.HTTPError) for one in answers)
            sent += SOAK_PER_S
            now_mb = pss_mb(rig.bot.pid)
            most_mb = max(most_mb, now_mb)
            if not warm_mb and passed_s >= min(SOAK_WARM_S, lasts_s / 4):
                warm_mb = now_mb
            await asyncio.sleep(max(0.0, began + sent / SOAK_PER_S - time.monotonic()))
        end_mb = pss_mb(rig.bot.pid)
        return {
            "minutes": minutes,
            "alerts": sent,
            "alerts a second": round(sent / (time.monotonic() - began), 1),
            "not accepted": errors,
            "PSS when warm MB": warm_mb,
            "PSS at the end MB": end_mb,
            "PSS at most MB": most_mb,
            "growth since it was warm %": round(100 * (end_mb - warm_mb) / warm_mb, 1) if warm_mb else None,
        }


async def ramp() -> Figures:
    """Incidents a second at which the first card takes longer than a second at p95; all go to one channel."""
    figures: Figures = {}
    async with _rig() as rig:
        for rate in RAMP_PER_S:
            names = [f"r{rate:g}-{number}".replace(".", "x") for number in range(max(3, int(rate * RAMP_STEP_S)))]
            for number, name in enumerate(names):
                await rig.alert(name, number)
                await asyncio.sleep(1 / rate)
            cards = await rig.seconds_to("cards", "posted_at", [f"service-{name}" for name in names], 30)
            figures[f"first card p95 s at {rate:g} incidents/s"] = p(cards, 95)
            if p(cards, 95) > CARD_BAR_S:
                figures["breaks at incidents/s"] = rate
                break
    return figures


async def diagnosis() -> Figures:
    """The built-in diagnosis of 64 KB, after one for warming up."""
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
    return {"64 KB p50 ms": round(1000 * p(taken, 50), 1), "64 KB p99 ms": round(1000 * p(taken, 99), 1)}


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
    async with _rig() as rig:
        return await bench_approvals.measured(rig.engine)


async def accept() -> Figures:
    """Webhooks accepted a second, signature and redaction included, beside a bare server; on a database with fsync."""
    with tempfile.TemporaryDirectory(prefix="codehealer-bench-", dir=_place()) as directory:
        _let_through(directory)
        async with EmbeddedPostgres(Path(directory) / "data") as server:
            await asyncio.to_thread(migrate, server.url)
            return await bench_accept.measured(server.url)


async def links(minutes: float = bench_links.MINUTES) -> Figures:
    """Random faults of Slack's links: events that were lost or answered twice, and the longest way back."""
    async with _rig() as rig:
        port = int(rig.env["CODEHEALER_HTTP_PORT"])
        return await bench_links.measured(rig.http, rig.engine, rig.sandbox_url, port, minutes)


async def replicas() -> Figures:
    """Incidents a second with one, two and four replicas, outside calls slowed; CPU an incident without that."""
    slow, fast = {}, {}
    with tempfile.TemporaryDirectory(prefix="codehealer-bench-", dir=_place()) as directory:
        _let_through(directory)
        async with EmbeddedPostgres(Path(directory) / "data") as server:
            for number in bench_replicas.REPLICAS:
                slow[number] = await bench_replicas.measured(
                    await _new_database(server.url, f"slow_{number}"), number, slow_ms=bench_replicas.SLOW_MS
                )
            for number in (bench_replicas.REPLICAS[0], bench_replicas.REPLICAS[-1]):
                fast[number] = await bench_replicas.measured(
                    await _new_database(server.url, f"fast_{number}"), number, slow_ms=0
                )
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


async def flood(scale: float = 1.0) -> Figures:
    """10,000 alerts of 100 failures within a minute, while somebody asks."""
    async with _rig() as rig:
        return await bench_intake.flood(rig, pss_mb, scale=scale)


async def beside() -> Figures:
    """One alert more beside 1,000 and beside 50,000 open ones."""
    with tempfile.TemporaryDirectory(prefix="codehealer-bench-", dir=_place()) as directory:
        _let_through(directory)
        async with EmbeddedPostgres(Path(directory) / "data") as server:
            await asyncio.to_thread(migrate, server.url)
            engine = open_engine(server.url)
            try:
                return await bench_intake.beside_many(engine)
            finally:
                await engine.dispose()


BENCHES: dict[str, Callable[[], Awaitable[Figures]]] = {
    "diagnosis": diagnosis,
    "redaction": redaction,
    "policy": policy,
    "approvals": approvals,
    "accept": accept,
    "links": links,
    "replicas": replicas,
    "storm": storm,
    "flood": flood,
    "beside": beside,
    "ramp": ramp,
    "soak": soak,
    "search": bench_search.search,
    "growth": bench_search.growth,
}


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
    }


def p(values: Sequence[float], percent: int) -> float:
    """The percentile by nearest rank."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))], 4) if ordered else 0.0


def pss_mb(pid: int) -> int:
    """Proportional set size of one process, its children apart; 0 where the kernel does not tell."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("Pss:")), 0)


def children(pid: int) -> list[int]:
    """The processes that one has started; none where the kernel does not tell."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


async def measure(
    names: Sequence[str],
    *,
    incidents: int = bench_search.INCIDENTS,
    minutes: float = bench_links.MINUTES,
    scale: float = 1.0,
) -> AsyncIterator[tuple[str, Figures]]:
    """`incidents` is for the search and its growth, `minutes` for the links and the soak, `scale` for the flood."""
    sized: dict[str, Callable[[], Awaitable[Figures]]] = {
        "search": lambda: bench_search.search(incidents),
        "growth": lambda: bench_search.growth(incidents),
        "links": lambda: links(minutes),
        "soak": lambda: soak(minutes),
        "flood": lambda: flood(scale),
    }
    yield "machine", machine()
    for name in names:
        yield name, await (sized.get(name) or BENCHES[name])()
