"""How fast a webhook is accepted: signature, parsing, redaction, committed, 202; beside a bare server in the same run.

`python -m bot.bench_accept ours|bare DATABASE_URL` serves one of the two in a process of its own and prints its port.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import resource
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

from aiohttp import web
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from bot.bench_replicas import cpu_s
from bot.metrics import Metrics
from bot.web import WebConfig, make_web_app
from handlers.services import Services
from knowledge.redaction import redact
from knowledge.store.accepting import Accepting
from knowledge.store.database import libpq_url, open_engine
from remediation.policy_file import default_policy

Figures = dict[str, Any]

SECRET = base64.b64encode(b"the secret of this bench").decode()
# Many short rounds in turn, of which each begins with the other: what else the machine does then falls on both alike,
# and what it does for a second spoils one round of many.
CONNECTIONS, BODIES, ROUNDS, ROUND_S = 32, 400, 30, 0.5
GOAL_PER_S, PACED_S = 1_000, 8.0
BARE_TABLE = "CREATE TABLE IF NOT EXISTS bench_bare (id bigint GENERATED ALWAYS AS IDENTITY, body jsonb NOT NULL)"


# --- the two servers


def ours(url: str) -> web.Application:
    """The bot's own web application; nothing drains what it stores."""
    engine = open_engine(url)
    parts = SimpleNamespace(engine=engine, accepting=Accepting(engine), policy=default_policy())

    async def ready() -> dict[str, str | None]:
        return {}

    redact("x")  # compiles the patterns
    return make_web_app(cast(Services, parts), WebConfig({"grafana": (SECRET,)}, ready, Metrics.make()))


def bare(url: str) -> web.Application:
    """Reads the body and inserts it: one statement, one transaction, one request."""
    pool = AsyncConnectionPool(libpq_url(url), min_size=8, max_size=8, open=False, kwargs={"autocommit": True})

    async def take(request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        async with pool.connection() as db:
            await db.execute("INSERT INTO bench_bare (body) VALUES (%s)", (Jsonb(body),))
        return web.json_response({"accepted": True}, status=202)

    async def begin(_app: web.Application) -> AsyncIterator[None]:
        await pool.open()
        async with pool.connection() as db:
            await db.execute(BARE_TABLE)
        yield
        await pool.close()

    app = web.Application()
    app.cleanup_ctx.append(begin)
    app.router.add_post("/webhooks/grafana", take)
    return app


async def serve(which: str, url: str) -> None:
    runner = web.AppRunner({"ours": ours, "bare": bare}[which](url), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


@asynccontextmanager
async def _serving(which: str, url: str) -> AsyncIterator[tuple[int, int]]:
    """(port, pid) of one server."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bot.bench_accept", which, url, stdout=asyncio.subprocess.PIPE
    )
    try:
        line = await process.stdout.readline() if process.stdout else b""
        yield int(line), process.pid
    finally:
        process.kill()
        await process.wait()


# --- the generator: requests made beforehand, written to raw sockets


def requests() -> list[bytes]:
    """Signed Grafana webhooks of one alert, 1.8 KB each."""
    return [_request(number) for number in range(BODIES)]


def _request(number: int) -> bytes:
    labels = {
        "alertname": "HighErrorRate", "namespace": "shop", "deployment": f"service-{number % 40}",
        "pod": f"service-{number % 40}-{number:05d}", "severity": "critical", "cluster": "main",
    }  # fmt: skip
    words = f"The share of failed requests of service-{number % 40} is above 5 % for ten minutes. "
    one = {
        "status": "firing", "labels": labels, "annotations": {"summary": words, "description": words * 10},
        "startsAt": "2026-11-28T10:00:00Z", "endsAt": "0001-01-01T00:00:00Z", "fingerprint": f"{number:016x}",
        "generatorURL": f"https://grafana.example/alerting/{number}/edit", "values": {"A": 0.071},
    }  # fmt: skip
    body = json.dumps({"receiver": "codehealer", "status": "firing", "alerts": [one], "commonLabels": labels}).encode()
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    head = (
        "POST /webhooks/grafana HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        f"X-Grafana-Alerting-Signature: {signature}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Sender:
    """One connection, opened when it is first used, as one that says nothing is hung up on, and kept."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, request: bytes) -> float:
        """Seconds until the answer was there. RuntimeError for any answer but 202."""
        began = time.perf_counter()
        self._streams = self._streams or await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        if b" 202 " not in head[:20]:
            raise RuntimeError(head.decode(errors="replace"))
        return time.perf_counter() - began

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()


@asynccontextmanager
async def _senders(port: int) -> AsyncIterator[list[Sender]]:
    senders = [Sender(port) for _ in range(CONNECTIONS)]
    try:
        yield senders
    finally:
        for sender in senders:
            sender.close()


async def flat_out(port: int, bodies: Sequence[bytes], seconds: float) -> tuple[int, float]:
    """With every connection busy: (how many were accepted, in how many seconds)."""
    done = 0

    async def one(sender: Sender, number: int) -> None:
        nonlocal done
        while time.perf_counter() < until:
            await sender.post(bodies[(number * 13 + done) % len(bodies)])
            done += 1

    async with _senders(port) as senders:
        began = time.perf_counter()
        until = began + seconds
        await asyncio.gather(*(one(sender, number) for number, sender in enumerate(senders)))
        return done, time.perf_counter() - began


async def paced(port: int, bodies: Sequence[bytes], per_s: float, seconds: float) -> list[float]:
    """Seconds that each of the requests took, sent by the clock; waiting for a free connection counts."""
    taken: list[float] = []

    async def one(due: float, number: int) -> None:
        sender = await free.get()
        try:
            await sender.post(bodies[number % len(bodies)])
        finally:
            free.put_nowait(sender)
        taken.append(time.perf_counter() - due)

    async with _senders(port) as senders, asyncio.TaskGroup() as group:
        free: asyncio.Queue[Sender] = asyncio.Queue()
        for sender in senders:
            free.put_nowait(sender)
        began = time.perf_counter()
        for number in range(int(per_s * seconds)):
            due = began + number / per_s
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(one(due, number))
    return taken


async def measured(url: str) -> Figures:
    """`url` is a migrated database of the bench's own."""
    bodies = requests()
    rates: dict[str, list[float]] = {"bare": [], "ours": []}
    async with _serving("ours", url) as (our_port, our_pid), _serving("bare", url) as (bare_port, bare_pid):
        ports = {"bare": bare_port, "ours": our_port}
        pids = {"bare": [bare_pid], "ours": [our_pid]}
        for port in ports.values():
            await flat_out(port, bodies, 1.0)
        cpu, began = _cpu_s(), time.perf_counter()
        before = {which: cpu_s(one) for which, one in pids.items()}
        done = dict.fromkeys(ports, 0)
        for number in range(ROUNDS):
            for which in sorted(ports, reverse=number % 2 == 1):
                accepted, took_s = await flat_out(ports[which], bodies, ROUND_S)
                rates[which].append(accepted / took_s)
                done[which] += accepted
        a_request = {which: 1000 * (cpu_s(one) - before[which]) / done[which] for which, one in pids.items()}
        generator = (_cpu_s() - cpu) / (time.perf_counter() - began)
        taken = sorted(await paced(our_port, bodies, GOAL_PER_S / 2, PACED_S))
    ratios = [mine / other for mine, other in zip(rates["ours"], rates["bare"], strict=True)]
    return {
        "accepted a second": round(statistics.median(rates["ours"])),
        "bare aiohttp with one INSERT": round(statistics.median(rates["bare"])),
        "share of the bare one, median": round(statistics.median(ratios), 2),
        "CPU ms a request, ours and the bare one": [round(a_request["ours"], 2), round(a_request["bare"], 2)],
        "quartiles of the share in a round": [round(one, 2) for one in statistics.quantiles(ratios, n=4)],
        f"p50 ms at {GOAL_PER_S // 2}/s": round(1000 * taken[len(taken) // 2], 1),
        f"p99 ms at {GOAL_PER_S // 2}/s": round(1000 * taken[int(len(taken) * 0.99)], 1),
        "bytes a request": len(bodies[0]),
        "generator's CPU, cores": round(generator, 2),
    }


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2]))
