"""Durable jobs on a real PostgreSQL."""

import asyncio
import contextlib
import os
import signal
import sys
import textwrap
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import psycopg
import pytest
from procrastinate.exceptions import ConnectorException
from sqlalchemy import TextClause, text
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from bot import jobs as jobs_module
from bot.jobs import DurableJobs, decide, describe
from bot.postgres import EmbeddedPostgres
from knowledge.errors import NotFound, Refused, Unavailable
from tests.database import run_migrations
from tests.waiting import until

DEADLINE_S = 30.0


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(database_url)
    yield engine
    await engine.dispose()


@contextlib.asynccontextmanager
async def working(jobs: DurableJobs, **options: Any) -> AsyncIterator[asyncio.Task[None]]:
    """Run the worker around a block."""
    stop = asyncio.Event()
    task = asyncio.create_task(jobs.run(stop, **options))
    try:
        yield task
    finally:
        stop.set()
        await asyncio.wait_for(task, DEADLINE_S)


async def order(engine: AsyncEngine, jobs: DurableJobs, stage: str = "note", **options: Any) -> None:
    async with engine.begin() as connection:
        await jobs.enqueue(connection, stage, **{"lock": "l", **options})


class Notes:
    """A stage that writes down what it was given."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def __call__(self, word: Any = None) -> None:
        self.seen.append(word)


async def test_a_job_runs_with_its_arguments_after_the_transaction_commits(conninfo: str, engine: AsyncEngine) -> None:
    notes = Notes()
    jobs = DurableJobs(conninfo, {"note": notes})
    async with working(jobs):
        async with engine.begin() as connection:
            await jobs.enqueue(connection, "note", lock="a", word={"list": [1, "two", None]})
            assert await jobs.pending() == 0  # nobody else can see it yet
        await until(lambda: notes.seen)
        await jobs.wait_idle()
    assert notes.seen == [{"list": [1, "two", None]}]


async def test_a_rolled_back_transaction_leaves_no_job(conninfo: str, engine: AsyncEngine) -> None:
    jobs = DurableJobs(conninfo, {})
    async with engine.connect() as connection:
        await jobs.enqueue(connection, "note", lock="a")
        await connection.rollback()
    assert await jobs.pending() == 0


async def test_jobs_of_one_lock_run_one_at_a_time_and_in_order(conninfo: str, engine: AsyncEngine) -> None:
    running = 0
    most = 0
    seen = []

    async def note(word: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
        seen.append(word)
        running -= 1

    jobs = DurableJobs(conninfo, {"note": note})
    for number in range(20):
        await order(engine, jobs, word=number)
    async with working(jobs):
        await jobs.wait_idle()
    assert seen == list(range(20))
    assert most == 1


async def test_jobs_of_different_locks_run_side_by_side(conninfo: str, engine: AsyncEngine) -> None:
    together = asyncio.Barrier(3)

    async def meet() -> None:
        await together.wait()

    jobs = DurableJobs(conninfo, {"meet": meet})
    for number in range(3):
        await order(engine, jobs, "meet", lock=f"lock {number}")
    async with working(jobs):
        await jobs.wait_idle()
    assert await jobs.dead() == []


async def test_the_next_job_of_a_lock_does_not_wait_for_the_poll(
    conninfo: str, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stage orders the next under its own lock: with polling alone a chain of 30 would outlast the deadline."""
    monkeypatch.setattr(jobs_module, "POLL_S", 3600.0)
    seen = []

    async def step(word: int) -> None:
        seen.append(word)
        if word < 30:
            async with engine.begin() as connection:
                await jobs.enqueue(connection, "step", lock="incident", word=word + 1)

    jobs = DurableJobs(conninfo, {"step": step})
    async with working(jobs):
        await order(engine, jobs, "step", lock="incident", word=1)
        await until(lambda: len(seen) == 30)
    assert seen == list(range(1, 31))


async def test_a_delayed_job_does_not_hold_up_the_others_of_its_lock(conninfo: str, engine: AsyncEngine) -> None:
    notes = Notes()
    jobs = DurableJobs(conninfo, {"note": notes})
    await order(engine, jobs, delay_s=3600, word="later")
    await order(engine, jobs, delay_s=1, word="soon")
    await order(engine, jobs, word="now")
    async with working(jobs):
        await until(lambda: len(notes.seen) == 2)
    assert notes.seen == ["now", "soon"]
    assert await jobs.pending("l") == 1
    assert await jobs.pending("l", delayed=False) == 0


async def test_a_second_order_of_a_once_key_is_dropped_and_the_transaction_lives(
    conninfo: str, engine: AsyncEngine
) -> None:
    jobs = DurableJobs(conninfo, {})
    await order(engine, jobs, once="card 1", word=1)
    async with engine.begin() as connection:
        await jobs.enqueue(connection, "note", lock="l", once="card 1", word=2)
        await connection.execute(text("CREATE TABLE written (n int)"))
    assert await jobs.pending() == 1
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT to_regclass('written') IS NOT NULL"))


async def test_a_once_key_is_free_again_when_its_job_runs(conninfo: str, engine: AsyncEngine) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()
    runs = []

    async def note(word: int) -> None:
        runs.append(word)
        started.set()
        await go_on.wait()

    jobs = DurableJobs(conninfo, {"note": note})
    async with working(jobs):
        await order(engine, jobs, once="k", word=1)
        await started.wait()
        await order(engine, jobs, once="k", word=2)
        await order(engine, jobs, once="k", word=3)
        go_on.set()
        await jobs.wait_idle()
    assert runs == [1, 2]


async def test_a_job_that_swallowed_an_order_starts_after_that_order_commits(
    conninfo: str, engine: AsyncEngine
) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE facts (n int)"))
    counts = []

    async def count() -> None:
        async with engine.connect() as connection:
            counts.append(await connection.scalar(text("SELECT count(*) FROM facts")))

    jobs = DurableJobs(conninfo, {"count": count, "mark": Notes()})
    await order(engine, jobs, "count", once="k")
    async with engine.begin() as connection:
        await connection.execute(text("INSERT INTO facts VALUES (1)"))
        await jobs.enqueue(connection, "count", lock="l", once="k")
        async with working(jobs):
            await order(engine, jobs, "mark", lock="another")
            await until(lambda: _is_done(jobs, "another"))  # the worker has looked, and passed the locked one by
            assert counts == []
            await connection.commit()
            await until(lambda: counts)
    assert counts == [1]


async def _is_done(jobs: DurableJobs, lock: str) -> bool:
    return await jobs.pending(lock) == 0


async def test_many_orders_of_one_key_at_once_leave_one_job(conninfo: str, engine: AsyncEngine) -> None:
    jobs = DurableJobs(conninfo, {})
    await asyncio.gather(*(order(engine, jobs, once="k") for _ in range(12)))
    assert await jobs.pending() == 1


@pytest.mark.parametrize(
    ("error", "attempts", "expected"),
    [
        (Unavailable("slow"), 0, 1.0),
        (Unavailable("slow"), 3, 8.0),
        (Unavailable("slow", retry_after_s=60), 0, 60.0),
        (Unavailable("slow", retry_after_s=100_000), 0, 300.0),
        (Unavailable("slow"), 8, 256.0),
        (Unavailable("slow"), 9, None),
        (psycopg.OperationalError(), 4, 16.0),
        (NoConnectionFree(), 4, 16.0),
        (ValueError(), 0, 1.0),
        (ValueError(), 2, None),
        (Refused("no"), 2, None),
        (asyncio.CancelledError(), 50, 0.0),
    ],
)
def test_only_passing_faults_get_many_attempts(error: BaseException, attempts: int, expected: float | None) -> None:
    assert decide(error, attempts) == expected


async def test_a_failing_job_is_tried_again_and_then_kept_with_its_reason(
    conninfo: str, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "LONGEST_WAIT_S", 0.0)
    runs = 0
    secret = "pass" + "word=hunter2"

    async def fail(incident_id: str) -> None:
        nonlocal runs
        runs += 1
        raise ValueError(f"{incident_id} {secret}")

    jobs = DurableJobs(conninfo, {"fail": fail})
    async with working(jobs):
        await order(engine, jobs, "fail", lock="x", incident_id="inc-1")
        await until(jobs.dead)
        (dead,) = await jobs.dead()
        assert runs == jobs_module.OTHER_ATTEMPTS
        assert (dead.stage, dead.lock, dead.arguments, dead.attempts) == ("fail", "x", {"incident_id": "inc-1"}, 3)
        assert dead.reason.startswith("ValueError at ")
        assert "test_jobs.py" in dead.reason
        assert secret not in dead.reason

        await jobs.retry(dead.id)
        await until(lambda: runs == 2 * jobs_module.OTHER_ATTEMPTS)
        await until(jobs.dead)


async def test_our_own_errors_are_kept_as_the_sentence_they_are() -> None:
    assert describe(Unavailable("GitHub did not answer within 10 s.")) == "GitHub did not answer within 10 s."


async def test_a_stage_of_another_version_is_left_to_it(conninfo: str, engine: AsyncEngine) -> None:
    notes, theirs = Notes(), Notes()
    jobs = DurableJobs(conninfo, {"note": notes})
    await order(engine, jobs, "stage of another version", lock="x", word=7)
    await order(engine, jobs, lock="y", word=1)
    async with working(jobs):
        await jobs.wait_idle()
    assert notes.seen == [1]
    assert await jobs.dead() == []
    await order_again(engine)
    async with working(other := DurableJobs(conninfo, {"stage of another version": theirs})):
        await other.wait_idle()
    assert theirs.seen == [7]


async def order_again(engine: AsyncEngine, attempts: int = 1) -> None:
    """What waits is due now, after so many attempts."""
    async with engine.begin() as db:
        await db.execute(
            text("UPDATE procrastinate.procrastinate_jobs SET scheduled_at = NULL, attempts = :attempts"),
            {"attempts": attempts},
        )


async def test_a_dead_job_does_not_block_its_lock(conninfo: str, engine: AsyncEngine) -> None:
    notes = Notes()
    jobs = DurableJobs(conninfo, {"note": notes})
    await order(engine, jobs, "stage of another version", lock="x")
    await order_again(engine, jobs_module.PASSING_ATTEMPTS - 1)
    await order(engine, jobs, lock="x", word=1)
    async with working(jobs):
        await jobs.wait_idle()
    assert notes.seen == [1]
    (dead,) = await jobs.dead()
    assert dead.reason == "This version has no stage named stage of another version."


async def test_what_was_given_up_by_a_version_without_its_stage_is_taken_up_by_one_that_has_it(
    conninfo: str, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "LONGEST_WAIT_S", 0.0)
    older, theirs = DurableJobs(conninfo, {"note": Notes()}), Notes()
    await order(engine, older, "stage of another version", word=7)
    await order_again(engine, jobs_module.PASSING_ATTEMPTS - 1)
    async with working(older):
        await older.wait_idle()
    assert len(await older.dead()) == 1

    async def broken(word: int) -> None:
        raise ValueError(word)

    async with working(other := DurableJobs(conninfo, {"stage of another version": theirs, "broken": broken})):
        await order(engine, other, "broken", word=1)
        await until(lambda: theirs.seen == [7])
        await other.wait_idle(delayed=True)
    (dead,) = await other.dead()
    assert dead.stage == "broken", "what failed by itself stays as it is"


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many jobs of another version each look has taken up."""
    looks: list[int] = []
    look = jobs_module._OwnJobs.retry_unknown

    async def looking(*given: Any, **more: Any) -> int:
        found = await look(*given, **more)
        looks.append(found)
        return found

    monkeypatch.setattr(jobs_module._OwnJobs, "retry_unknown", looking)
    return looks


async def test_what_was_due_long_ago_waits_for_a_person_though_it_is_given_up_now_for_want_of_its_stage(
    conninfo: str, engine: AsyncEngine, looks: list[int]
) -> None:
    """A version that ends at once may have taken it up, and the other given it up again, many times."""
    older, theirs = DurableJobs(conninfo, {}), Notes()
    await order(engine, older, "stage of another version", word=7)
    await order_again(engine, jobs_module.PASSING_ATTEMPTS - 1)
    async with working(older):
        await older.wait_idle()
    async with engine.begin() as db:
        await db.execute(text("UPDATE procrastinate.procrastinate_jobs SET priority = priority + 61 * 60"))
    looks.clear()
    async with working(newer := DurableJobs(conninfo, {"stage of another version": theirs})):
        await until(lambda: looks)
        assert looks == [0]
        (dead,) = await newer.dead()
        await newer.retry(dead.id)
        await until(lambda: theirs.seen == [7])


class Panic(BaseException):
    """As an extension in Rust raises it, pydantic_core say."""


@pytest.mark.parametrize("error", [Panic, SystemExit])
async def test_a_stage_that_panics_or_exits_is_given_up_for_that_and_not_taken_for_another_versions(
    error: type[BaseException], conninfo: str, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, looks: list[int]
) -> None:
    for wait in ("LONGEST_WAIT_S", "UNKNOWN_WAIT_S"):
        monkeypatch.setattr(jobs_module, wait, 0.0)
    monkeypatch.setattr(jobs_module, "REAP_EVERY_S", 0.1)
    runs = 0

    async def broken() -> None:
        nonlocal runs
        runs += 1
        raise error

    jobs = DurableJobs(conninfo, {"broken": broken})
    await order(engine, jobs, "broken")
    async with working(jobs):
        await until(jobs.dead)
        looks.clear()
        await until(lambda: len(looks) > 1)  # the second began after it was dead
        (dead,) = await jobs.dead()
    assert (runs, looks[:2]) == (jobs_module.OTHER_ATTEMPTS, [0, 0])
    assert dead.reason.startswith(f"{error.__name__} at ")


async def test_a_job_that_fails_before_its_stage_begins_is_not_taken_for_another_versions(
    conninfo: str, engine: AsyncEngine
) -> None:
    jobs = DurableJobs(conninfo, {"note": Notes()})
    await order(engine, jobs, context="a name that the caller of all stages uses itself")
    await order_again(engine, jobs_module.OTHER_ATTEMPTS - 1)
    async with working(jobs):
        await until(jobs.dead)
    (dead,) = await jobs.dead()
    assert dead.reason == "It failed before its stage began."


async def test_of_two_runs_of_one_job_in_one_process_each_ends_with_its_own_reason(
    conninfo: str, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first was put back while it went on; it ends after the second has failed and before that is written."""
    finish, finished = jobs_module._OwnJobs.finish_job, asyncio.Event()
    first, second = asyncio.Event(), asyncio.Event()
    runs = 0

    async def broken() -> None:
        nonlocal runs
        runs += 1
        await (first if runs == 1 else second).wait()
        raise ValueError

    async def late(queue: Any, job: Any, *rest: Any, **more: Any) -> None:
        if job.attempts == 1:
            first.set()
            await finished.wait()
        await finish(queue, job, *rest, **more)
        finished.set()

    monkeypatch.setattr(jobs_module._OwnJobs, "finish_job", late)
    monkeypatch.setattr(jobs_module, "OTHER_ATTEMPTS", 1)
    jobs = DurableJobs(conninfo, {"broken": broken})
    await order(engine, jobs, "broken")
    async with working(jobs):
        await until(lambda: runs == 1)
        put_back = "UPDATE procrastinate.procrastinate_jobs SET status = 'todo', attempts = attempts + 1"
        async with engine.begin() as db:
            await db.execute(text(put_back))
        await until(lambda: runs == 2)
        second.set()
        await until(jobs.dead)
        assert not jobs._reasons
    (dead,) = await jobs.dead()
    assert dead.reason.startswith("ValueError at ")


async def test_the_end_of_a_jobs_former_run_leaves_its_next_run_alone(
    conninfo: str, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the one that runs looks lost, and is put back to run beside itself."""
    monkeypatch.setattr(jobs_module, "REAP_EVERY_S", 0.1)
    lost = jobs_module._OwnJobs.not_running
    looked: list[int] = []

    async def looking(*given: Any) -> list[dict[str, Any]]:
        found = await lost(*given)
        looked.append(len(found))
        return found

    monkeypatch.setattr(jobs_module._OwnJobs, "not_running", looking)
    held: list[_Held] = []

    async def hold() -> None:
        held.append(one := _Held())
        await one()

    jobs = DurableJobs(conninfo, {"hold": hold})
    await order(engine, jobs, "hold")
    async with working(jobs):
        await until(lambda: len(held) == 1)
        async with engine.begin() as db:
            again = "UPDATE procrastinate.procrastinate_jobs SET status = 'todo', attempts = attempts + 1"
            await db.execute(text(again))
        await until(lambda: len(held) == 2)
        held[0].go_on.set()
        await until(lambda: len(jobs._running) == 1)
        looked.clear()
        await until(lambda: len(looked) > 2)
        for one in held:
            one.go_on.set()
        await jobs.wait_idle()
    assert (len(held), max(looked[1:])) == (2, 0)


async def test_retrying_what_is_not_dead_says_so(conninfo: str) -> None:
    with pytest.raises(NotFound, match="There is no dead job 7"):
        await DurableJobs(conninfo, {}).retry(7)


async def test_a_failed_job_whose_key_was_ordered_again_runs_too(
    conninfo: str, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "LONGEST_WAIT_S", 0.0)
    seen: list[int] = []

    async def note(word: int) -> None:
        seen.append(word)
        if seen == [1]:
            await order(engine, jobs, once="k", word=2)
            raise Unavailable("not now")

    jobs = DurableJobs(conninfo, {"note": note})
    async with working(jobs):
        await order(engine, jobs, once="k", word=1)
        await until(lambda: len(seen) == 3)
        await jobs.wait_idle(delayed=True)
    assert seen == [1, 1, 2]


async def test_a_stop_lets_running_jobs_finish(conninfo: str, engine: AsyncEngine) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()
    ended = []

    async def slow() -> None:
        started.set()
        await go_on.wait()
        ended.append(True)

    jobs = DurableJobs(conninfo, {"slow": slow})
    stop = asyncio.Event()
    task = asyncio.create_task(jobs.run(stop))
    await order(engine, jobs, "slow")
    await started.wait()
    await order(engine, jobs, "slow", lock="second")
    stop.set()
    go_on.set()
    await asyncio.wait_for(task, DEADLINE_S)
    assert ended
    assert await jobs.dead() == []


async def test_a_job_that_outlasts_the_stop_is_put_back(conninfo: str, engine: AsyncEngine) -> None:
    started = asyncio.Event()

    async def endless() -> None:
        started.set()
        await asyncio.Event().wait()

    jobs = DurableJobs(conninfo, {"endless": endless}, patience_s=0.1)
    async with working(jobs):
        await order(engine, jobs, "endless")
        await started.wait()
    assert await jobs.pending(delayed=False) == 1
    assert await jobs.dead() == []

    notes = Notes()
    again = DurableJobs(conninfo, {"endless": notes})
    async with working(again):
        await again.wait_idle()
    assert notes.seen == [None]


async def test_a_job_that_takes_too_long_is_ended(conninfo: str, engine: AsyncEngine) -> None:
    async def endless() -> None:
        await asyncio.Event().wait()

    jobs = DurableJobs(conninfo, {"endless": endless}, longest_job_s=0.05)
    async with working(jobs):
        await order(engine, jobs, "endless")
        await until(jobs.dead)
    (dead,) = await jobs.dead()
    assert dead.reason.startswith("TimeoutError")


# Faults. A worker in a process of its own notes in a table what it starts, and never ends it.

WORKER = textwrap.dedent(
    """
    import asyncio, sys
    import psycopg
    from bot.jobs import DurableJobs

    conninfo = sys.argv[1]

    async def note(word=None):
        async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
            await connection.execute("INSERT INTO runs (word) VALUES (%s)", [word])
        await asyncio.Event().wait()

    asyncio.run(DurableJobs(conninfo, {"note": note}).run(asyncio.Event()))
    """
)


@contextlib.asynccontextmanager
async def worker_process(conninfo: str) -> AsyncIterator[Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        WORKER,
        conninfo,
        cwd=Path(jobs_module.__file__).parent.parent,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.fixture
async def runs(engine: AsyncEngine) -> Callable[[], Awaitable[int]]:
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE runs (word text, at timestamptz DEFAULT now())"))

    async def count() -> int:
        async with engine.connect() as connection:
            return int(await connection.scalar(text("SELECT count(*) FROM runs")) or 0)

    return count


async def test_a_killed_workers_job_is_taken_up_by_another(
    conninfo: str, engine: AsyncEngine, runs: Callable[[], Awaitable[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "STALLED_AFTER_S", 1.0)
    monkeypatch.setattr(jobs_module, "REAP_EVERY_S", 0.2)
    notes = Notes()
    jobs = DurableJobs(conninfo, {"note": notes})
    await order(engine, jobs, word="w")
    async with worker_process(conninfo) as process:
        await until(runs)
        process.kill()
        await process.wait()
    async with working(jobs):
        await until(lambda: notes.seen)
        await jobs.wait_idle()
    assert notes.seen == ["w"]


async def test_the_only_worker_takes_up_a_killed_ones_jobs_at_once(
    conninfo: str, engine: AsyncEngine, runs: Callable[[], Awaitable[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "STALLED_AFTER_S", 3600.0)  # so that nothing else can do it
    notes = Notes()
    jobs = DurableJobs(conninfo, {"note": notes})
    await order(engine, jobs, word="w")
    async with worker_process(conninfo) as process:
        await until(runs)
        process.kill()
        await process.wait()
    async with working(jobs, sole=True):
        await until(lambda: notes.seen)
        await jobs.wait_idle()
    assert notes.seen == ["w"]


async def test_a_worker_taken_for_dead_cannot_end_the_job_of_another(
    conninfo: str, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was frozen, another took its job, and now it wakes and ends: the other's run and its lock must stay."""
    monkeypatch.setattr(jobs_module, "STALLED_AFTER_S", 3600.0)
    monkeypatch.setattr(jobs_module, "HEARTBEAT_S", 3600.0)
    finish = jobs_module._OwnJobs.finish_job
    ended: list[int] = []

    async def note_end(self: Any, job: Any, *rest: Any, **more: Any) -> None:
        await finish(self, job, *rest, **more)
        ended.append(job.worker_id)

    monkeypatch.setattr(jobs_module._OwnJobs, "finish_job", note_end)
    frozen, other = _Held(), _Held()
    first = DurableJobs(conninfo, {"note": frozen})
    second = DurableJobs(conninfo, {"note": other})
    async with working(first):
        await order(engine, first)
        await frozen.started.wait()
        async with engine.begin() as connection:
            await connection.execute(
                text("UPDATE procrastinate.procrastinate_workers SET last_heartbeat = now() - interval '2 hours'")
            )
        async with working(second):
            await other.started.wait()
            frozen.go_on.set()
            await until(lambda: ended)
            assert await _count(engine, "status = 'doing'") == 1
            other.go_on.set()
            await second.wait_idle()
    assert len(set(ended)) == 2


async def test_what_a_stopping_worker_still_runs_is_not_begun_by_another(
    conninfo: str, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(jobs_module, "STALLED_AFTER_S", 2.0)
    monkeypatch.setattr(jobs_module, "REAP_EVERY_S", 0.1)
    held, notes = _Held(), Notes()
    stop = asyncio.Event()
    leaving, other = DurableJobs(conninfo, {"note": held}), DurableJobs(conninfo, {"note": notes})
    ending = asyncio.create_task(leaving.run(stop))
    await order(engine, leaving)
    await held.started.wait()
    looks: list[float] = []
    look = jobs_module._OwnJobs.stalled

    async def looked(self: Any, **whose: Any) -> Any:
        found = await look(self, **whose)
        looks.append(time.monotonic())
        return found

    async with working(other):
        stop.set()
        await until(lambda: not leaving._working)
        monkeypatch.setattr(jobs_module._OwnJobs, "stalled", looked)
        await until(lambda: looks and looks[-1] - looks[0] > 1.5 * jobs_module.STALLED_AFTER_S)
        assert not ending.done()
        held.go_on.set()
        await asyncio.wait_for(ending, DEADLINE_S)
        await other.wait_idle()
    assert notes.seen == []


class _Held:
    """A stage that runs until it is let go."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self) -> None:
        self.started.set()
        await self.go_on.wait()


async def _count(engine: AsyncEngine, condition: str) -> int:
    query = f"SELECT count(*) FROM procrastinate.procrastinate_jobs WHERE {condition}"  # noqa: S608
    async with engine.connect() as connection:
        return int(await connection.scalar(text(query)) or 0)


@pytest.fixture
async def own_server(data_dir: Path) -> AsyncIterator[EmbeddedPostgres]:
    async with EmbeddedPostgres(data_dir) as server:
        await asyncio.to_thread(run_migrations, server.url)
        yield server


async def test_the_worker_comes_back_when_the_database_does(own_server: EmbeddedPostgres) -> None:
    """One job runs through the outage and cannot write its end; it must neither be lost nor keep its lock."""
    started = asyncio.Event()
    runs: list[str] = []
    died = asyncio.Event()

    async def note(word: str) -> None:
        runs.append(word)
        started.set()
        if len(runs) == 1:
            await died.wait()

    jobs = DurableJobs(own_server.conninfo, {"note": note})
    engine = create_async_engine(own_server.url, pool_pre_ping=True)
    async with working(jobs):
        await order(engine, jobs, word="before")
        await started.wait()
        before = own_server.pid
        assert before is not None
        os.kill(before, signal.SIGKILL)
        await until(lambda: own_server.pid not in {None, before})
        died.set()
        await until(lambda: _answers(own_server))
        await order(engine, jobs, word="after")
        await jobs.wait_idle()
    await engine.dispose()
    assert runs[-1] == "after"
    assert set(runs[:-1]) == {"before"}
    assert await jobs.dead() == []


async def _answers(server: EmbeddedPostgres) -> bool:
    try:
        async with await psycopg.AsyncConnection.connect(server.conninfo, connect_timeout=5):
            return True
    except psycopg.OperationalError:
        return False


async def test_a_job_whose_end_could_not_be_written_is_put_back_though_its_worker_lives(
    conninfo: str, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "REAP_EVERY_S", 0.1)
    finish = jobs_module._OwnJobs.finish_job
    refused = []

    async def refuse_once(self: Any, job: Any, *rest: Any, **more: Any) -> None:
        if not refused:
            refused.append(job.id)
            raise ConnectorException
        await finish(self, job, *rest, **more)

    monkeypatch.setattr(jobs_module._OwnJobs, "finish_job", refuse_once)
    notes = Notes()
    jobs = DurableJobs(conninfo, {"note": notes})
    async with working(jobs):
        await order(engine, jobs, word="w")
        await until(lambda: len(notes.seen) == 2)
        await jobs.wait_idle()
    assert notes.seen == ["w", "w"]


async def test_a_job_that_waits_for_its_next_try_keeps_its_place(conninfo: str, engine: AsyncEngine) -> None:
    seen: list[int] = []

    async def note(word: int) -> None:
        seen.append(word)
        if seen == [1]:
            raise Unavailable("not now")

    jobs = DurableJobs(conninfo, {"note": note})
    await order(engine, jobs, word=1)
    await order(engine, jobs, word=2)
    async with working(jobs):
        await jobs.wait_idle(delayed=True)
    assert seen == [1, 1, 2]


async def test_a_job_that_kills_its_process_each_time_is_given_up(
    conninfo: str, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = DurableJobs(conninfo, {"note": Notes()})
    await order(engine, jobs)
    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE procrastinate.procrastinate_jobs SET status = 'doing', attempts = :attempts"),
            {"attempts": jobs_module.PASSING_ATTEMPTS - 1},
        )
    async with working(jobs, sole=True):
        await until(jobs.dead)
    (dead,) = await jobs.dead()
    assert dead.reason == "The process ended each time while it ran this job."


async def test_migrations_go_down_and_up_again(empty_database_url: str) -> None:
    await asyncio.to_thread(run_migrations, empty_database_url)
    await asyncio.to_thread(run_migrations, empty_database_url, to="base", down=True)
    engine = create_async_engine(empty_database_url)
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT to_regnamespace('procrastinate') IS NULL"))
    await engine.dispose()
    await asyncio.to_thread(run_migrations, empty_database_url)


async def test_what_another_has_no_hand_for_is_one_look_a_moment_later_and_our_own_is_one_at_once() -> None:
    wakeups = jobs_module._Wakeups()
    wakeups.told(own=False)
    wakeups.told(own=False)
    assert not wakeups.is_set(), "who told of the job looks first"
    async with asyncio.timeout(DEADLINE_S):
        await wakeups.wait()
    wakeups.looking()
    wakeups.looked(found=0, hands=1)
    wakeups.clear()
    assert not wakeups.is_set(), "both news were one look"
    wakeups.told(own=False)
    wakeups.told(own=True)
    assert wakeups.is_set()


def test_what_a_look_has_emptied_is_looked_at_again_when_something_came_or_time_has_passed() -> None:
    wakeups = jobs_module._Wakeups()
    wakeups.looking()
    wakeups.looked(found=1, hands=2)
    assert not wakeups.worth_a_look()
    assert wakeups.worth_a_look(), "asked again: a second has passed"
    wakeups.looking()
    wakeups.looked(found=1, hands=2)
    wakeups.set()
    assert wakeups.worth_a_look()


class Looks:
    """How often each worker has asked the database for jobs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.of: Counter[str] = Counter()
        looking = jobs_module._OwnJobs.fetch_job
        execute = jobs_module._Connector.execute_query_all_async

        async def counted(connector: Any, query: str, **arguments: Any) -> Any:
            if query == jobs_module._CLAIM:
                self.of[asking.get()] += 1
            return await execute(connector, query, **arguments)

        asking: ContextVar[str] = ContextVar("asking", default="")

        async def named(queue: Any, *arguments: Any, **more: Any) -> Any:
            asking.set(queue._name)
            return await looking(queue, *arguments, **more)

        monkeypatch.setattr(jobs_module._OwnJobs, "fetch_job", named)
        monkeypatch.setattr(jobs_module._Connector, "execute_query_all_async", counted)


async def found(db: AsyncConnection, query: TextClause) -> bool:
    return (await db.execute(query)).first() is not None


async def both_listen(engine: AsyncEngine) -> bool:
    return await listeners(engine, 2)


async def listeners(engine: AsyncEngine, number: int) -> bool:
    """Whether so many workers are told of jobs."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"
    async with engine.connect() as db:
        return bool(await db.scalar(text(query)) == number)


@pytest.fixture
def hardly_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """No look by the clock: what is taken up was told of."""
    monkeypatch.setattr(jobs_module, "POLL_S", 3600.0)


@pytest.mark.usefixtures("hardly_ever")
async def test_a_replica_with_a_hand_free_takes_its_own_jobs_and_no_other_looks(
    engine: AsyncEngine, conninfo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, ran = Looks(monkeypatch), 0
    first: DurableJobs

    async def begin(number: int) -> None:
        async with engine.begin() as db:
            await first.enqueue(db, "end", lock=f"incident:{number}")

    async def end() -> None:
        nonlocal ran
        ran += 1

    first = DurableJobs(conninfo, {"begin": begin, "end": end}, concurrency=4)
    second = DurableJobs(conninfo, {"begin": begin, "end": end}, concurrency=4)
    async with working(first), working(second):
        await until(lambda: both_listen(engine))
        await order(engine, second, "end")
        await until(lambda: ran == 1)  # and what they look at when they begin to listen is over
        looks.of.clear()
        for number in range(3):
            await order(engine, first, "begin", lock=f"incident:{number}", number=number)
            await until(lambda expected=number + 2: ran == expected)
        assert looks.of[first._name] <= 7, "one look for each of two jobs of three incidents, one as it began to listen"
        assert looks.of[second._name] == 0


@pytest.mark.usefixtures("hardly_ever")
async def test_a_job_is_taken_by_another_replica_where_its_own_has_no_hand_free(
    engine: AsyncEngine, conninfo: str
) -> None:
    done, ran = asyncio.Event(), Counter[str]()

    async def hold() -> None:
        ran["hold"] += 1
        await done.wait()

    async def finish() -> None:
        ran["finish"] += 1
        done.set()

    first, second = (DurableJobs(conninfo, {"hold": hold, "finish": finish}, concurrency=2) for _ in range(2))
    async with working(first), working(second):
        await until(lambda: both_listen(engine))
        async with engine.begin() as db:
            for stage, lock in (("hold", "a"), ("hold", "b"), ("finish", "c")):
                await first.enqueue(db, stage, lock=lock)
        await first.wait_idle(DEADLINE_S)
    assert ran == Counter(hold=2, finish=1)


@pytest.mark.usefixtures("hardly_ever")
async def test_a_worker_is_told_of_a_dead_job_that_a_command_has_tried_again(
    engine: AsyncEngine, conninfo: str
) -> None:
    notes = Notes()
    command, bot = DurableJobs(conninfo, {}), DurableJobs(conninfo, {"note": notes})
    await order(engine, command, word="again")
    async with engine.begin() as db:
        dead = "UPDATE procrastinate.procrastinate_jobs SET status = 'failed' RETURNING id"
        number = (await db.execute(text(dead))).scalar_one()
    async with working(bot):
        await until(lambda: listeners(engine, 1))
        await command.retry(number)
        await until(lambda: notes.seen == ["again"])


async def test_the_job_of_a_replica_that_ends_before_it_looks_is_taken_by_another(
    engine: AsyncEngine, conninfo: str
) -> None:
    notes = Notes()
    killed, other = DurableJobs(conninfo, {"note": notes}), DurableJobs(conninfo, {"note": notes})
    killed._working = True  # as it says itself in what it tells of the job
    async with working(other):
        await order(engine, killed, word="after all")
        await until(lambda: notes.seen == ["after all"])


async def test_a_look_takes_a_job_for_each_free_hand_and_none_of_a_lock_that_is_taken(
    engine: AsyncEngine, conninfo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, notes = Looks(monkeypatch), Notes()
    jobs = DurableJobs(conninfo, {"note": notes}, concurrency=8)
    async with engine.begin() as db:
        for number in range(4):
            await jobs.enqueue(db, "note", lock=f"l{number}", word=number)
        await jobs.enqueue(db, "note", lock="l3", word="next")
    async with working(jobs):
        await until(lambda: len(notes.seen) == 5)
        assert notes.seen[:4] == [0, 1, 2, 3]
        assert looks.of[jobs._name] <= 4, "one for the four, one for the next of their lock, and what it began with"


async def test_a_lock_that_another_replica_takes_during_a_look_ends_no_worker(
    engine: AsyncEngine, conninfo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other has claimed a job that was enqueued later, and is not done with it when this one finds the earlier."""
    interrupted: list[Any] = []
    monkeypatch.setattr(jobs_module.log, "warning", lambda *_args, **about: interrupted.append(about))
    notes = Notes()
    jobs = DurableJobs(conninfo, {"note": notes})
    await order(engine, jobs, word="claimed elsewhere")
    async with engine.connect() as elsewhere:
        await elsewhere.execute(text("SET LOCAL search_path = procrastinate"))
        await elsewhere.execute(text("SELECT procrastinate_fetch_job_v2(NULL, procrastinate_register_worker_v1())"))
        await order(engine, jobs, word="first", head_start_s=600)
        async with working(jobs):
            waits = text("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'transactionid' AND query LIKE '%claimed%'")
            async with engine.connect() as looking:
                looks = await looking.execution_options(isolation_level="AUTOCOMMIT")
                await until(lambda: found(looks, waits))
            await elsewhere.commit()
            await order(engine, jobs, word="of another lock", lock="m")
            await until(lambda: notes.seen)
    assert (notes.seen, interrupted) == (["of another lock"], [])


async def test_what_a_worker_claimed_and_does_not_begin_is_another_replicas_while_it_ends(
    engine: AsyncEngine, conninfo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "STALLED_AFTER_S", 3600.0)  # nobody takes it for dead
    stop, over = asyncio.Event(), asyncio.Event()
    ran: list[tuple[str, int]] = []

    def worker(name: str) -> DurableJobs:
        async def hold(number: int) -> None:
            ran.append((name, number))
            await over.wait()

        return DurableJobs(conninfo, {"hold": hold})

    leaving, other = worker("leaving"), worker("other")
    execute = jobs_module._Connector.execute_query_all_async

    async def stopped(connector: Any, query: str, **arguments: Any) -> Any:
        rows = await execute(connector, query, **arguments)
        if query == jobs_module._CLAIM and rows:
            stop.set()
            await until(lambda: not leaving._working)
        return rows

    for number in range(3):
        await order(engine, leaving, "hold", lock=f"l{number}", number=number)
    monkeypatch.setattr(jobs_module._Connector, "execute_query_all_async", stopped)
    ending = asyncio.create_task(leaving.run(stop))
    await until(lambda: ran)
    monkeypatch.setattr(jobs_module._Connector, "execute_query_all_async", execute)
    async with working(other):
        await until(lambda: len(ran) == 3)
        over.set()
        await asyncio.wait_for(ending, DEADLINE_S)
    assert sorted(ran) == [("leaving", 0), ("other", 1), ("other", 2)]
