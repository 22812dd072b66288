"""What our rows cost beside bare ones: each written as the program writes it, and as one plain statement, in turn."""

import asyncio
import contextlib
import itertools
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.bench_rig import Figures, database, p
from bot.jobs import DurableJobs
from knowledge.model import Alert, AlertStatus
from knowledge.store import deliveries, incidents, outbox
from knowledge.store.database import libpq_url, open_engine

# Short rounds in turn: what else the machine does then falls on both alike.
ROUNDS, WRITES, WARM = 8, 40, 40
# As many at a time as the bot works on, over as many connections as its jobs have.
JOBS, HANDS = 400, 4
DEADLINE_S = 120.0
CREATE = (
    "CREATE TABLE bench_rows (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text UNIQUE, body jsonb)",
    "CREATE TABLE bench_jobs (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, state text NOT NULL, args jsonb)",
    "CREATE INDEX ON bench_jobs (id) WHERE state = 'todo'",
)
INSERT = "INSERT INTO bench_rows (name, body) VALUES (%s, %s)"
ENQUEUE = "INSERT INTO bench_jobs (state, args) VALUES ('todo', %s)"
CLAIM = """
    UPDATE bench_jobs SET state = 'doing'
    WHERE id = (SELECT id FROM bench_jobs WHERE state = 'todo' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id
"""
COMPLETE = "DELETE FROM bench_jobs WHERE id = %s"
BODY = {"text": "Container of service-7 keeps restarting: exit code 1, connection refused. " * 8, "blocks": []}

Write = Callable[[int], Awaitable[None]]


async def measured() -> Figures:
    async with database() as url:
        engine = open_engine(url)
        try:
            async with AsyncConnectionPool(
                libpq_url(url), min_size=HANDS, max_size=HANDS, open=False, kwargs={"autocommit": True}
            ) as pool:
                for statement in CREATE:
                    async with pool.connection() as db:
                        await db.execute(statement)
                return {**await _rows(engine, pool), **await _jobs(engine, pool, url)}
        finally:
            await engine.dispose()


# --- rows -------------------------------------------------------------------------------------------------------------


async def _rows(engine: AsyncEngine, pool: AsyncConnectionPool[Any]) -> Figures:
    async def delivery(number: int) -> None:
        async with engine.begin() as db:
            await deliveries.add(
                db, source="bench", delivery_id=f"bench-{number}", event="alertmanager", body={"body": BODY}
            )

    async def message(number: int) -> None:
        async with engine.begin() as db:
            await outbox.put(db, kind="post", key=f"bench-{number}", channel="C0BENCH", payload=BODY)

    async def incident(number: int) -> None:
        one = _alert(number)
        async with engine.begin() as db:
            opened = await incidents.open_incident(db, one, channel="C0BENCH")
            await incidents.add_alert(db, one, opened.id)

    async def bare(number: int) -> None:
        async with pool.connection() as db:
            await db.execute(INSERT, (f"bench-{number}", Jsonb(BODY)))

    ours = {"a delivery": delivery, "a message of the outbox": message, "an incident with its alert": incident}
    taken = await _in_turn({"one INSERT": bare, **ours})
    plain = statistics.median(taken["one INSERT"])
    figures: Figures = {}
    for name, seconds in taken.items():
        figures[f"{name}, p50 / p99 ms"] = [round(1000 * p(seconds, percent), 2) for percent in (50, 99)]
    return figures | {f"{name}, times one INSERT": round(statistics.median(taken[name]) / plain, 2) for name in ours}


async def _in_turn(writes: dict[str, Write]) -> dict[str, list[float]]:
    """Seconds of each write; a transaction each."""
    numbers = itertools.count()
    taken: dict[str, list[float]] = {name: [] for name in writes}
    for write in writes.values():
        for _ in range(WARM):
            await write(next(numbers))
    for _ in range(ROUNDS):
        for name, write in writes.items():
            for _ in range(WRITES):
                began = time.perf_counter()
                await write(next(numbers))
                taken[name].append(time.perf_counter() - began)
    return taken


def _alert(number: int) -> Alert:
    owner = f"service-{number}"
    return Alert(
        source="alertmanager", status=AlertStatus.FIRING, title="KubePodCrashLooping", identity=f"bench:{number}",
        fingerprint=owner, namespace="bench", workload=f"{owner}-0", owner=owner, service=owner, cluster="eu-1",
        started_at=datetime.now(UTC), labels={"pod": f"{owner}-0", "node": f"node-{number % 200}"},
    )  # fmt: skip


# --- jobs -------------------------------------------------------------------------------------------------------------


async def _jobs(engine: AsyncEngine, pool: AsyncConnectionPool[Any], url: str) -> Figures:
    """Claimed and completed a second, of jobs that do nothing: ours, and rows that are updated and deleted."""
    await _ours(engine, url, JOBS // 4)
    rates: dict[str, list[float]] = {"ours": [], "bare": []}
    for _ in range(3):
        rates["bare"].append(JOBS / await _bare(pool, JOBS))
        rates["ours"].append(JOBS / await _ours(engine, url, JOBS))
    shares = [mine / other for mine, other in zip(rates["ours"], rates["bare"], strict=True)]
    return {
        "jobs claimed and completed a second": round(statistics.median(rates["ours"])),
        "the same by one UPDATE and one DELETE": round(statistics.median(rates["bare"])),
        "share of the bare jobs, median": round(statistics.median(shares), 2),
        "share in each round": [round(one, 2) for one in shares],
    }


async def _ours(engine: AsyncEngine, url: str, count: int) -> float:
    """Seconds from the first job that begins to the end of the last."""
    done: list[float] = []
    ended = asyncio.Event()

    async def nothing(**_: Any) -> None:
        done.append(time.perf_counter())
        if len(done) == count:
            ended.set()

    jobs = DurableJobs(libpq_url(url), {"nothing": nothing}, HANDS)
    async with engine.begin() as db:
        for number in range(count):
            await jobs.enqueue(db, "nothing", lock=f"bench-{number}")
    stop = asyncio.Event()
    with _running(jobs.run(stop)) as working:
        try:
            await asyncio.wait_for(ended.wait(), DEADLINE_S)
            await jobs.wait_idle(DEADLINE_S)
            return time.perf_counter() - done[0]
        finally:
            stop.set()
            await working


@contextlib.contextmanager
def _running(work: Any) -> Iterator[asyncio.Task[None]]:
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()


async def _bare(pool: AsyncConnectionPool[Any], count: int) -> float:
    async with pool.connection() as db, db.transaction():
        for number in range(count):
            await db.execute(ENQUEUE, (Jsonb({"number": number}),))

    async def work() -> None:
        async with pool.connection() as db:
            while row := await (await db.execute(CLAIM)).fetchone():
                await db.execute(COMPLETE, row)

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(HANDS)))
    return time.perf_counter() - began
