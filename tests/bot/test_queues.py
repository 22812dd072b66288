"""One contract for the three queues of jobs, and what the SQS queue takes in beside them, on moto's server."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, cast

import httpx
import pytest
import structlog
from slack_sdk.web.async_client import AsyncWebClient
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.jobs import PASSING_ATTEMPTS, DurableJobs
from bot.queues.intake import QueueIntake
from bot.queues.memory import MemoryQueue
from bot.queues.ports import Order, Queue
from bot.queues.sqs_jobs import SqsJobQueue
from bot.queues.worker import QueuedJobs
from handlers import inbox
from handlers.services import Services
from knowledge.errors import NotFound, Refused, Unavailable
from remediation.aws.sqs import Received, SqsQueue
from tests.aws import new_queue
from tests.bot.conftest import Command
from tests.handlers.office import made_services, rows
from tests.handlers.test_queued import ALARM, CHANGE, NOTIFICATION, topic
from tests.rows import opened
from tests.waiting import until

DEADLINE_S = 60.0
LEASE_S = 1.0  # of a worker that is meant to lose it
KINDS = ("postgres", "sqs", "memory")
Make = Callable[[dict[str, Any]], Awaitable[Any]]


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    async with opened(database_url) as engine:
        yield engine


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient() as client:
        yield client


@contextlib.asynccontextmanager
async def going(*work: Awaitable[Any]) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def sqs_jobs(engine: AsyncEngine, sqs: SqsQueue, **more: Any) -> tuple[SqsJobQueue, QueueIntake]:
    queue = SqsJobQueue(engine, sqs, **more)
    return queue, QueueIntake(cast(Services, None), sqs, (), offer=queue.offer, wait_s=0)


async def receiving(intake: QueueIntake) -> None:
    """As `run`, asking again and again: while moto waits for a message it computes at full power."""
    while True:
        if not await intake.turn():
            await asyncio.sleep(0.2)


@pytest.fixture(params=KINDS)
async def make(request: pytest.FixtureRequest, engine: AsyncEngine, http: httpx.AsyncClient) -> AsyncIterator[Make]:
    """Makes the jobs of some stages; with SQS, receiving goes on until the end of the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def made(stages: dict[str, Any]) -> Any:
            if request.param == "postgres":
                return DurableJobs(request.getfixturevalue("conninfo"), stages)
            if request.param == "memory":
                return QueuedJobs(MemoryQueue(), stages)
            sqs = await new_queue(http, request.getfixturevalue("aws"))
            queue, intake = await sqs_jobs(engine, sqs)
            await stack.enter_async_context(going(receiving(intake)))
            return QueuedJobs(queue, stages)

        yield made


@contextlib.asynccontextmanager
async def working(jobs: Any) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(jobs.run(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, DEADLINE_S)


async def order(engine: AsyncEngine, jobs: Any, stage: str = "note", **options: Any) -> None:
    async with engine.begin() as db:
        await jobs.enqueue(db, stage, **{"lock": "l", **options})


async def test_what_is_committed_runs_once_and_in_the_order_of_its_lock(make: Make, engine: AsyncEngine) -> None:
    seen: list[Any] = []

    async def note(word: Any) -> None:
        seen.append(word)

    jobs = await make({"note": note})
    async with engine.connect() as db:
        await jobs.enqueue(db, "note", lock="l", word="rolled back")
        await db.rollback()
    for number in range(1, 5):
        await order(engine, jobs, word={"number": number})
    await order(engine, jobs, head_start_s=300, word={"number": 0})  # a person waits for it
    await order(engine, jobs, once="key", delay_s=3600, word="later")
    await order(engine, jobs, once="key", word="dropped")
    assert await jobs.pending("l") == 6
    assert await jobs.pending("l", delayed=False) == 5
    async with working(jobs):
        await jobs.wait_idle(DEADLINE_S)
    assert seen == [{"number": number} for number in range(5)]
    assert await jobs.pending("l") == 1
    assert await jobs.busy(["l", "m"]) == {"l"}


async def test_a_poison_job_ends_among_the_dead_with_its_reason_and_runs_again_when_told_to(
    make: Make, engine: AsyncEngine
) -> None:
    mended, tries, after = False, 0, []

    async def note(word: str) -> None:
        nonlocal tries
        if word == "poison":
            tries += 1
            if not mended:
                raise ValueError("holds a secret")
        else:
            after.append(word)

    jobs = await make({"note": note})
    await order(engine, jobs, word="poison")
    with structlog.testing.capture_logs():
        async with working(jobs):
            await until(jobs.dead)
            (dead,) = await jobs.dead()
            assert (dead.stage, dead.arguments, dead.attempts, tries) == ("note", {"word": "poison"}, 3, 3)
            assert "ValueError" in dead.reason
            assert "secret" not in dead.reason
            await order(engine, jobs, word="the next of its lock")
            await until(lambda: after)
            mended = True
            await jobs.retry(dead.id)
            await until(lambda: tries == 4)
            await jobs.wait_idle(DEADLINE_S)
    assert await jobs.dead() == []
    with pytest.raises(NotFound, match=f"no dead job {dead.id}"):
        await jobs.retry(dead.id)


class Panic(BaseException):
    """As an extension in Rust raises it."""


@pytest.mark.parametrize("error", [Panic(), SystemExit(3)])
async def test_a_stage_that_panics_or_exits_ends_its_job_and_not_the_worker(
    error: BaseException, make: Make, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.jobs.OTHER_ATTEMPTS", 1)
    after: list[Any] = []

    async def note(word: str) -> None:
        if word == "poison":
            raise error
        after.append(word)

    jobs = await make({"note": note})
    await order(engine, jobs, word="poison")
    await order(engine, jobs, word="the next of its lock")
    with structlog.testing.capture_logs():
        async with working(jobs):
            await until(lambda: after)
    (dead,) = await jobs.dead()
    assert (dead.arguments, dead.attempts) == ({"word": "poison"}, 1)
    assert dead.reason.startswith(type(error).__name__)


async def test_what_a_version_without_its_stage_gave_up_is_taken_up_if_it_was_due_within_the_hour(
    engine: AsyncEngine, http: httpx.AsyncClient, aws: dict[str, str]
) -> None:
    """The same of PostgreSQL is in test_jobs.py."""
    sqs = await new_queue(http, aws)
    ran: list[str] = []

    async def note(word: str) -> None:
        ran.append(word)

    async def broken() -> None:
        raise Refused("by itself")

    def version(stages: dict[str, Any]) -> tuple[QueuedJobs, QueueIntake]:
        queue = SqsJobQueue(engine, sqs)
        return QueuedJobs(queue, stages), QueueIntake(cast(Services, None), sqs, (), offer=queue.offer, wait_s=0)

    (older, to_older), (newer, to_newer) = version({"broken": broken}), version({"note": note, "broken": broken})
    await order(engine, older, lock="a", word="just now")
    await order(engine, older, lock="b", word="long ago")
    await order(engine, older, "broken", lock="c")
    async with engine.begin() as db:
        await db.execute(text(f"UPDATE queued_jobs SET attempts = {PASSING_ATTEMPTS - 1}"))  # noqa: S608  our own
    async with going(receiving(to_older)), working(older):
        await until(lambda: _dead_are(older, 3))
    async with engine.begin() as db:
        await db.execute(text("UPDATE queued_jobs SET rank_at = rank_at - interval '61 minutes' WHERE lock = 'b'"))
    async with going(receiving(to_newer)), working(newer):
        await until(lambda: ran)
        await newer.wait_idle(DEADLINE_S)
        assert ran == ["just now"]
        assert [(job.lock, job.reason) for job in await newer.dead()] == [
            ("b", "This version has no stage named note."), ("c", "by itself"),
        ]  # fmt: skip


async def _dead_are(jobs: Any, wanted: int) -> bool:
    return len(await jobs.dead()) == wanted


@pytest.mark.parametrize("kind", ["sqs", "memory"])
async def test_a_job_whose_worker_stands_still_is_taken_up_and_the_late_one_ends_nothing(
    kind: str, engine: AsyncEngine, http: httpx.AsyncClient, request: pytest.FixtureRequest
) -> None:
    """The same of PostgreSQL, with processes that are killed, is in test_jobs.py."""
    if kind == "sqs":
        sqs = await new_queue(http, request.getfixturevalue("aws"))
        queue, intake = await sqs_jobs(engine, sqs, lease_s=LEASE_S)
        tasks: list[Awaitable[Any]] = [receiving(intake)]
    else:
        queue, tasks = cast(Any, MemoryQueue(LEASE_S)), []
    async with engine.begin() as db:
        await queue.put(db, Order("note", "l", "key", 0, {"word": 1}))
    async with going(queue.tend(), *tasks):
        late = await claimed(queue)
        taken = await claimed(queue)
    # From here on nobody takes it again, however long this takes.
    assert (taken.id, taken.arguments, taken.attempts) == (late.id, {"word": 1}, 1)
    assert taken.token > late.token
    assert not await queue.extend(late)
    assert not await queue.done(late)
    assert not await queue.again(late, 0)
    assert not await queue.give_up(late, "late")
    assert await queue.extend(taken)
    assert await queue.done(taken)
    assert await queue.pending(None, delayed=True) == 0


CHILD = """
import asyncio, os, sys, httpx
from bot.queues.sqs_jobs import SqsJobQueue
from bot.queues.intake import QueueIntake
from bot.queues.worker import QueuedJobs
from knowledge.store.database import open_engine
from remediation.aws import AwsClient
from remediation.aws.sqs import SqsQueue

async def hang():
    print("begun", flush=True)
    await asyncio.Event().wait()

async def main():
    engine = open_engine(sys.argv[1])
    async with httpx.AsyncClient() as http:
        sqs = SqsQueue(AwsClient.from_environment(http, os.environ), sys.argv[2])
        queue = SqsJobQueue(engine, sqs, lease_s=3)
        intake = QueueIntake(None, sqs, (), offer=queue.offer, wait_s=1)
        await asyncio.gather(intake.run(), QueuedJobs(queue, {"note": hang}).run(asyncio.Event()))

asyncio.run(main())
"""


async def test_the_job_of_a_killed_process_is_taken_up_by_another(
    engine: AsyncEngine, database_url: str, http: httpx.AsyncClient, aws: dict[str, str]
) -> None:
    sqs = await new_queue(http, aws)
    ran: list[str] = []

    async def note() -> None:
        ran.append("here")

    queue, intake = await sqs_jobs(engine, sqs)
    jobs = QueuedJobs(queue, {"note": note})
    await order(engine, jobs)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, database_url, sqs.url, env={**os.environ, **aws}, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            assert await child.stdout.readline() == b"begun\n"
    finally:
        child.kill()
        await child.wait()
    async with going(receiving(intake)), working(jobs):
        await until(lambda: ran)
        await jobs.wait_idle(DEADLINE_S)
    assert ran == ["here"]


async def claimed(queue: Queue) -> Any:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            if claim := await queue.claim(1):
                return claim


async def test_a_long_job_keeps_its_lease_and_a_stop_puts_it_back(engine: AsyncEngine) -> None:
    queue = MemoryQueue(0.1)
    leases = 0

    async def long() -> None:
        await asyncio.Event().wait()

    async def counted(claim: Any, extend: Any = queue.extend) -> bool:
        nonlocal leases
        leases += 1
        return cast(bool, await extend(claim))

    queue.extend = counted  # type: ignore[method-assign]
    jobs = QueuedJobs(queue, {"long": long}, patience_s=0)
    await order(engine, jobs, "long")
    async with working(jobs):
        await until(lambda: leases > 6)  # for twice as long as the lease
    assert await jobs.pending() == 1


async def test_a_job_keeps_its_lease_while_the_queue_is_away(engine: AsyncEngine) -> None:
    class Away(SqsQueue):
        async def hide(self, message: Received, seconds: int) -> None:  # noqa: ARG002
            raise Unavailable("no answer")

    queue = SqsJobQueue(engine, Away(cast(Any, None), "none"))
    async with engine.begin() as db:
        await queue.put(db, Order("note", "l", None, 0, {}))
    ((number,),) = await rows(engine, "SELECT id FROM queued_jobs")
    assert queue.offer(Received("m", "r", json.dumps({"codehealer_job": number}), 1, {}))
    claim = await queue.claim(DEADLINE_S)
    assert claim is not None
    assert await queue.extend(claim)


async def test_a_queue_that_is_away_when_a_ticket_is_sent_ends_no_worker(
    engine: AsyncEngine, http: httpx.AsyncClient, aws: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.queues.worker.BACK_OFF_S", 0.0)
    refused, ran = 0, 0

    class AwayAtFirst(SqsQueue):
        async def send(self, bodies: Sequence[str]) -> None:
            nonlocal refused
            if refused < 2:
                refused += 1
                raise Unavailable("no answer")
            await super().send(bodies)

    async def note() -> None:
        nonlocal ran
        ran += 1

    sqs = await new_queue(http, aws)
    queue, intake = await sqs_jobs(engine, AwayAtFirst(sqs.aws, sqs.url))
    jobs = QueuedJobs(queue, {"note": note})
    await order(engine, jobs)
    async with going(receiving(intake)), working(jobs):
        await jobs.wait_idle(DEADLINE_S)
    assert (refused, ran) == (2, 1)


async def test_tickets_that_are_doubled_made_up_or_lost_change_nothing(
    engine: AsyncEngine, http: httpx.AsyncClient, aws: dict[str, str]
) -> None:
    sqs = await new_queue(http, aws, fifo=True)
    ran: list[int] = []

    async def note(number: int) -> None:
        ran.append(number)

    queue, intake = await sqs_jobs(engine, sqs, send_again_s=0.2)
    jobs = QueuedJobs(queue, {"note": note})
    for number in range(3):
        await order(engine, jobs, lock=f"l{number}", number=number)
    async with going(queue.tend()):  # tickets are sent, and these never arrive
        await until(lambda: _waits(sqs))
        for message in await sqs.receive(wait_s=1, hidden_s=30):
            await sqs.delete(message)
    await sqs.send([json.dumps({"codehealer_job": number}) for number in (1, 2, 3, 77)])
    async with going(receiving(intake)), working(jobs):
        await jobs.wait_idle(DEADLINE_S)
        await until(lambda: _empty(sqs))
    assert sorted(ran) == [0, 1, 2]


async def _waits(sqs: SqsQueue) -> bool:
    return (await sqs.waiting())[0] > 0


async def _empty(sqs: SqsQueue) -> bool:
    return await sqs.waiting() == (0, 0)


# What others put there


def reception(engine: AsyncEngine, url: str, sqs: SqsQueue, **more: Any) -> QueueIntake:
    services = made_services(engine, AsyncWebClient(token="none"), url)
    return QueueIntake(services, sqs, ("alertmanager", "cloudwatch"), wait_s=0, **more)


async def deliveries(engine: AsyncEngine) -> list[tuple[str, str]]:
    found = await rows(engine, "SELECT source, state FROM deliveries ORDER BY source, state, id")
    return [(row.source, row.state) for row in found]


async def test_alerts_become_deliveries_and_what_else_comes_a_dead_letter_that_can_be_retried(  # noqa: PLR0917  fixtures
    engine: AsyncEngine, database_url: str, http: httpx.AsyncClient, aws: dict[str, str], command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    sqs = await new_queue(http, aws)
    intake = reception(engine, database_url, sqs)
    password = "hunter2hunter2"
    await sqs.send(
        [
            json.dumps(NOTIFICATION),
            json.dumps(topic(ALARM)),
            json.dumps(CHANGE),
            json.dumps({"hello": "world", "password": password}),
            json.dumps({"source": "generic", "body": {"title": "Queue is long", "status": "firing"}}),
        ]
    )
    await until(lambda: _handled(intake, 5))
    assert await sqs.waiting() == (0, 0)
    assert await deliveries(engine) == [
        ("alertmanager", "new"), ("cloudwatch", "new"), ("cloudwatch", "new"), ("sqs", "failed"), ("sqs", "failed"),
    ]  # fmt: skip
    kept = str(await rows(engine, "SELECT body FROM deliveries WHERE source = 'sqs'"))
    assert password not in kept
    assert "hello" in kept

    monkeypatch.setenv("DATABASE_URL", database_url)
    listed = (await asyncio.to_thread(command, "dead", "list", "--json")).lines
    assert [(one["what"], one["stage"]) for one in listed] == [("delivery", "sqs message")] * 2
    odd = next(one["id"] for one in listed if "may not come by this queue" in one["reason"])
    assert (await asyncio.to_thread(command, "dead", "retry", odd, "--json")).json == {"retried": odd}
    await inbox.drain(intake.services)
    titles = [row.title for row in await rows(engine, "SELECT title FROM incidents")]
    assert "Queue is long" in titles, "an operator vouches for what he has retried"


async def _handled(intake: QueueIntake, wanted: int, seen: list[int] | None = None) -> bool:
    del seen
    await intake.turn()
    found = await rows(intake.services.engine, "SELECT count(*) AS n FROM deliveries")
    return bool(found[0].n >= wanted)


async def test_a_crash_between_commit_and_deletion_leaves_one_delivery(
    engine: AsyncEngine, database_url: str, http: httpx.AsyncClient, aws: dict[str, str]
) -> None:
    class Crashes(SqsQueue):
        async def delete(self, message: Received) -> None:
            await self.hide(message, 0)
            raise Unavailable("killed here")

    sqs = await new_queue(http, aws)
    await sqs.send([json.dumps(NOTIFICATION)])
    with pytest.raises(Unavailable):
        await until(lambda: _handled(reception(engine, database_url, Crashes(sqs.aws, sqs.url)), 1))
    assert await deliveries(engine) == [("alertmanager", "new")]
    again = reception(engine, database_url, sqs)
    await again.turn()
    assert await deliveries(engine) == [("alertmanager", "new")]
    assert await sqs.waiting() == (0, 0)


async def test_two_replicas_take_each_message_once(
    engine: AsyncEngine, database_url: str, http: httpx.AsyncClient, aws: dict[str, str]
) -> None:
    sqs = await new_queue(http, aws)
    for _ in range(3):
        await sqs.send([json.dumps(topic(ALARM, MessageId=os.urandom(8).hex())) for _ in range(10)])
    replicas = [reception(engine, database_url, sqs) for _ in range(2)]
    async with going(*(one.run() for one in replicas)):
        await until(lambda: _count_is(engine, 30))
        await until(lambda: _empty(sqs))
    assert len(await deliveries(engine)) == 30


async def _count_is(engine: AsyncEngine, wanted: int) -> bool:
    return len(await deliveries(engine)) >= wanted


async def test_a_message_that_is_never_dealt_with_is_buried_unread(
    engine: AsyncEngine, database_url: str, http: httpx.AsyncClient, aws: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Perhaps it is what kills the process; so in the end nothing looks into it."""
    monkeypatch.setattr("bot.queues.intake.MOST_RECEIVES", 2)
    sqs = await new_queue(http, aws)
    await sqs.send([json.dumps(NOTIFICATION)])
    for _ in range(2):
        for message in await sqs.receive(wait_s=1, hidden_s=0):
            assert message.receives <= 2
    await reception(engine, database_url, sqs).turn()
    (kept,) = await rows(engine, "SELECT state, error FROM deliveries")
    assert (kept.state, kept.error) == ("failed", "It was received 3 times and never dealt with.")


async def test_a_queue_that_is_not_there_or_forbidden_says_what_to_check(
    http: httpx.AsyncClient, aws: dict[str, str]
) -> None:
    sqs = await new_queue(http, aws)
    with pytest.raises(NotFound, match="Check its name and AWS_REGION"):
        await SqsQueue(sqs.aws, f"{sqs.url}-gone").receive(wait_s=0, hidden_s=1)
    with pytest.raises((Refused, Unavailable)):
        await SqsQueue(sqs.aws, "nonsense").receive(wait_s=0, hidden_s=1)
