"""Durable jobs: procrastinate on the same PostgreSQL, behind `knowledge.ports.Jobs`.

What we add to it, each proved by a test:
- Enqueueing is one statement of ours in the caller's transaction. A `once` key that is taken locks the waiting job
  until the caller commits: a job that swallowed an order cannot start before it can see what the order was about.
- Priority is the due time, so a job that waits for its hour does not hold up the later ones of its lock; what a person
  clicked has a head start, so that it does not stand behind a storm of diagnoses.
- A finished or requeued job wakes the workers, since the next one of its lock could not be fetched before.
- Whoever tells of a job takes it, and tells the other replicas only where it has no hand free. They look once a second
  too, so that the job of one that was killed in between is taken up.
- A look claims a job for each free hand, and is not repeated while nothing new has come since it found too few. What it
  claimed and a stopping worker does not begin is put back at once.
- Two replicas that claim jobs of one lock at the same time are no failure: the later one looks again.
- A worker may end a job only while the job is still its own (worker and attempt), so one that was taken for dead and
  comes back cannot end a job that runs elsewhere by now.
- Jobs of dead workers are put back within seconds, and the worker itself comes back when the database does. One that
  is stopping lives for as long as something runs in it.

Delivery is at least once: every stage is safe to run twice, and a remediation's target has a fencing token of its own.
"""

import asyncio
import contextlib
import datetime
import json
import logging
import random
import time
import traceback
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import procrastinate
import psycopg
import structlog
from procrastinate import exceptions as queue_errors
from procrastinate import jobs as queue_jobs
from procrastinate import manager, retry
from procrastinate import worker as queue_worker
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from bot.observing import observing
from knowledge.errors import CodeHealerError, NotFound, Unavailable

log = structlog.get_logger(__name__)

Stage = Callable[..., Awaitable[None]]
# One run of a job: number, worker, attempt. One that was taken for dead may go on beside the next in one process.
_Run = tuple[int, int | None, int]

HEARTBEAT_S = 2.0
STALLED_AFTER_S = 6.0
REAP_EVERY_S = 2.0
POLL_S = 1.0
# Those who are told of what another has no hand for look a moment later, which grows as long as they find nothing; and
# they are told so at most every tenth of a second. Else all replicas would look for each job at the same time.
MOMENT_S, LONGEST_MOMENT_S = 0.03, 0.12
TELL_OTHERS_EVERY_S = 0.1

# An outside system that is away gets about eight minutes; a bug gets two more chances.
PASSING_ATTEMPTS = 10
OTHER_ATTEMPTS = 3
LONGEST_WAIT_S = 300.0

# A stage that only another version has is left to it, for as long as a rollout may take; then its job is given up for
# want of it, and a version that has the stage takes it up within an hour of when it was due, however often it is given
# up again. What is older waits for a person, who can tell whether it is still wanted: it may be a fix that was approved
# long ago.
UNKNOWN_WAIT_S = 15.0
TAKEN_UP_WITHIN_S = 3600.0

# A person waits for these, and what they start must not wait for what others finish.
HEAD_START_S = {"approve": 600, "reject": 600, "execute": 600, "answer_command": 600}

LONGEST_REASON = 500

# The lock of the job that runs here.
_own_lock: ContextVar[str | None] = ContextVar("own_lock", default=None)

_CHANNEL = "procrastinate_any_queue_v1"
# Seconds since 2026 fit procrastinate's integer priority until 2094.
_DUE_AS_PRIORITY = "CAST(- EXTRACT(EPOCH FROM {due} - TIMESTAMPTZ '2026-01-01 00:00:00+00') AS integer)"


def _waking(by: str) -> str:
    """The start of a statement that tells all workers of jobs; `by` is its parameter for whose news it is."""
    news = f"json_build_object('type', 'job_inserted', 'job_id', id, 'by', CAST({by} AS text))"
    return f"SELECT pg_notify('{_CHANNEL}', {news}::text) FROM "  # noqa: S608


_WAKE = _waking("%(by)s")
_NOW_DUE = "(scheduled_at IS NULL OR scheduled_at <= clock_timestamp())"

# A function call in the list of columns, for each free hand until one finds nothing; each sees what the one before has
# taken. As a table in FROM it would be called once.
_CLAIM = """
    WITH RECURSIVE claimed AS (
        SELECT 1 AS hand, procrastinate_fetch_job_v2(NULL, %(worker_id)s) AS job
        UNION ALL
        SELECT hand + 1, procrastinate_fetch_job_v2(NULL, %(worker_id)s) FROM claimed
        WHERE hand < %(hands)s AND (job).id IS NOT NULL
    )
    SELECT (job).* FROM claimed WHERE (job).id IS NOT NULL ORDER BY hand
"""
# In nobody's name, so that everybody else looks.
_TELL_OTHERS = f"""
    SELECT pg_notify('{_CHANNEL}', json_build_object('type', 'job_inserted', 'from', CAST(%(by)s AS text))::text)
    WHERE EXISTS (SELECT FROM procrastinate_jobs WHERE status = 'todo' AND {_NOW_DUE})
"""  # noqa: S608

# DO UPDATE, not DO NOTHING, for its row lock: fetching skips locked rows, so the waiting job starts after our commit. A
# savepoint around procrastinate's own insert would let it start before. The notification is sent at commit.
_ENQUEUE = text(f"""
    WITH due AS (SELECT clock_timestamp() + make_interval(secs => :delay_s) AS at),
    put AS (
        INSERT INTO procrastinate.procrastinate_jobs
            (queue_name, task_name, priority, lock, queueing_lock, args, scheduled_at)
        SELECT 'default', :stage, :head_start_s + {_DUE_AS_PRIORITY.format(due="due.at")}, :lock, :once,
            CAST(:arguments AS jsonb), CASE WHEN :delay_s > 0 THEN due.at END
        FROM due
        ON CONFLICT (queueing_lock) WHERE status = 'todo' DO UPDATE SET queueing_lock = EXCLUDED.queueing_lock
        RETURNING id, scheduled_at
    )
    {_waking(":by")} put WHERE :tell AND {_NOW_DUE}
""")  # noqa: S608

_MINE = "id = %(id)s AND status = 'doing' AND worker_id IS NOT DISTINCT FROM %(worker_id)s AND attempts = %(attempts)s"
_NEXT_OF_LOCK = f"""
    {_WAKE} ended WHERE EXISTS
        (SELECT FROM procrastinate_jobs AS waiting WHERE waiting.lock = ended.lock AND waiting.status = 'todo')
"""
_SUCCEED = f"WITH ended AS (DELETE FROM procrastinate_jobs WHERE {_MINE} RETURNING id, lock) {_NEXT_OF_LOCK}"  # noqa: S608
_FAIL = f"""
    WITH ended AS (
        UPDATE procrastinate_jobs SET status = 'failed', attempts = attempts + 1, worker_id = NULL, queueing_lock = NULL
        WHERE {_MINE} RETURNING id, lock
    ), kept AS (
        INSERT INTO dead_letters (job_id, reason) SELECT id, %(reason)s FROM ended
        ON CONFLICT (job_id) DO UPDATE SET reason = EXCLUDED.reason, at = now()
    )
    {_NEXT_OF_LOCK}
"""  # noqa: S608
_REQUEUE = f"""
    WITH again AS (
        UPDATE procrastinate_jobs SET status = 'todo', attempts = attempts + 1, worker_id = NULL,
            abort_requested = false,
            scheduled_at = CASE WHEN %(in_s)s > 0 THEN clock_timestamp() + make_interval(secs => %(in_s)s) END,
            queueing_lock = CASE WHEN %(keep_once)s THEN queueing_lock END
        WHERE {_MINE} RETURNING id
    )
    {_WAKE} again
"""  # noqa: S608

_STALLED = """
    SELECT job.id, job.worker_id, job.attempts, job.task_name, job.lock
    FROM procrastinate_jobs AS job LEFT JOIN procrastinate_workers AS worker ON worker.id = job.worker_id
    WHERE job.status = 'doing' AND job.worker_id IS DISTINCT FROM %(own)s
      AND (%(every)s OR worker.id IS NULL OR worker.id = ANY(%(former)s)
           OR worker.last_heartbeat < now() - make_interval(secs => %(stalled_after_s)s))
"""
_OWN_RUNNING = """
    SELECT id, worker_id, attempts, task_name, lock FROM procrastinate_jobs
    WHERE status = 'doing' AND worker_id = %(own)s AND NOT id = ANY(%(running)s)
"""

_DEAD = """
    SELECT job.id, task_name, args, lock, attempts, COALESCE(reason, '') AS reason, at
    FROM procrastinate_jobs AS job LEFT JOIN dead_letters ON job_id = job.id
    WHERE status = 'failed' ORDER BY job.id
"""
_RETRY_DEAD = f"""
    WITH again AS (
        UPDATE procrastinate_jobs SET status = 'todo', attempts = 0, scheduled_at = NULL,
            priority = {_DUE_AS_PRIORITY.format(due="clock_timestamp()")}
        WHERE id = %(id)s AND status = 'failed' RETURNING id
    ), forgotten AS (DELETE FROM dead_letters WHERE job_id = %(id)s)
    {_WAKE} again
"""  # noqa: S608
# What another version gave up since it had no such stage, and this one has. The priority is still that of its order; a
# head start makes it count as due that much earlier.
_RETRY_UNKNOWN = f"""
    WITH again AS (
        UPDATE procrastinate_jobs SET status = 'todo', attempts = 0, scheduled_at = NULL
        WHERE status = 'failed' AND priority < {TAKEN_UP_WITHIN_S} + {_DUE_AS_PRIORITY.format(due="clock_timestamp()")}
            AND id IN (SELECT job_id FROM dead_letters WHERE reason = ANY(%(reasons)s))
        RETURNING id
    ), forgotten AS (DELETE FROM dead_letters WHERE job_id IN (SELECT id FROM again))
    {_WAKE} again
"""  # noqa: S608
_PENDING = """
    SELECT count(*) AS jobs FROM procrastinate_jobs
    WHERE status IN ('todo', 'doing') AND (%(lock)s::text IS NULL OR lock = %(lock)s)
      AND (%(delayed)s OR scheduled_at IS NULL OR scheduled_at <= now())
"""
_BUSY = """
    SELECT DISTINCT lock FROM procrastinate_jobs WHERE status IN ('todo', 'doing') AND lock = ANY(%(locks)s)
"""


@dataclass(frozen=True)
class DeadJob:
    """A job that was given up: `reason` is a CodeHealer error's sentence, or another error's type and place."""

    id: int
    stage: str
    arguments: Mapping[str, Any]
    lock: str | None
    attempts: int
    reason: str
    at: datetime.datetime | None


class DurableJobs:
    """Jobs by stage name; implements `knowledge.ports.Jobs`.

    Args:
        conninfo: libpq's key words or a postgresql:// address (no SQLAlchemy driver in it).
        stages: name → async function, called with the enqueued arguments as key words.
        concurrency: jobs at a time in this process.
        longest_job_s: a job that takes longer is cancelled and counts as failed once.
        patience_s: how long running jobs may go on after a stop; then they are cancelled and put back.
    """

    def __init__(
        self,
        conninfo: str,
        stages: Mapping[str, Stage],
        concurrency: int = 8,
        *,
        longest_job_s: float = 900.0,
        patience_s: float = 20.0,
    ) -> None:
        self._conninfo = _in_our_schema(conninfo)
        self._concurrency = concurrency
        self._longest_job_s = longest_job_s
        self._patience_s = patience_s
        self._name = uuid.uuid4().hex[:12]  # which news is our own
        self._working = False
        self._running: set[_Run] = set()
        self._reasons: dict[_Run, str] = {}
        self._former_workers: list[int] = []
        self._tasks = {name: self._as_task(name, stage) for name, stage in stages.items()}

    async def enqueue(
        self,
        connection: Any,
        stage: str,
        *,
        lock: str,
        delay_s: float = 0.0,
        once: str | None = None,
        head_start_s: int = 0,
        **arguments: Any,
    ) -> None:
        """See `knowledge.ports.Jobs`. An AsyncSession does as well as an AsyncConnection.

        A second order of a `once` key is dropped whatever its delay and arguments: the waiting job keeps its own.
        """
        # The end of a job tells of the next one of its lock; before that nobody could take it.
        tell = lock != _own_lock.get()
        await connection.execute(
            _ENQUEUE,
            {
                "stage": stage,
                "lock": lock,
                "once": once,
                "delay_s": delay_s,
                "arguments": json.dumps(arguments),
                "head_start_s": head_start_s or HEAD_START_S.get(stage, 0),
                "by": self._teller,
                "tell": tell,
            },
        )

    @property
    def _teller(self) -> str:
        """Whose news a job of ours is: nobody's where no worker of ours takes it, so that all others look."""
        return self._name if self._working else ""

    async def run(self, stop: asyncio.Event, *, sole: bool = False) -> None:
        """Work until `stop`; come back whenever the database does.

        Args:
            sole: no other worker lives on this database (the data directory's lock says so): jobs that a killed
                process left behind are put back at once instead of after their heartbeat is missed.
        """
        # Its lines repeat ours and print whole arguments and exceptions, which may hold what people pasted.
        logging.getLogger("procrastinate").setLevel(logging.CRITICAL)
        back_off_s = 0.1
        while not stop.is_set():
            began = time.monotonic()
            try:
                await self._work(stop, sole=sole)
            except (queue_errors.ConnectorException, psycopg.Error) as error:
                log.warning("jobs_interrupted", reason=type(error.__cause__ or error).__name__, back_off_s=back_off_s)
            if time.monotonic() - began > 30:
                back_off_s = 0.1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), timeout=back_off_s)
            back_off_s = min(back_off_s * 2, 5.0)

    async def _work(self, stop: asyncio.Event, *, sole: bool) -> None:
        """One worker's life: returns when it was stopped or its database went away, or raises the latter."""
        async with AsyncConnectionPool(
            self._conninfo, min_size=2, max_size=4, timeout=5.0, open=False, configure=_autocommit, name="jobs"
        ) as pool:
            await pool.wait(timeout=5.0)
            wakeups = _Wakeups()
            connector = _Connector(wakeups)
            await connector.open_async(pool)
            app = procrastinate.App(connector=connector)
            app.job_manager = queue = _OwnJobs(connector, wakeups, self._reasons, self._name, list(self._tasks))
            worker = _Worker(app, wakeups, self._name, self._concurrency, self._patience_s)
            queue.free_hands = worker.free_hands
            for name, task in self._tasks.items():
                app.task(name=name, pass_context=True, retry=_Retries())(task)
            if sole:
                await self._put_back(queue, await queue.stalled(own=None, former=[], every=True))
            await self._supervise(worker, queue, stop)

    async def _supervise(self, worker: "_Worker", queue: "_OwnJobs", stop: asyncio.Event) -> None:
        working = asyncio.create_task(worker.run(), name="jobs worker")
        reaping = asyncio.create_task(self._reap(worker, queue), name="jobs reaper")
        telling = asyncio.create_task(queue.tell_others(), name="jobs for others")
        stopping = asyncio.create_task(stop.wait(), name="jobs stop")
        self._working = True
        try:
            await asyncio.wait({working, reaping, telling, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # What is ordered from now on is for others to take.
            self._working = False
            own = worker.worker_id
            if not stop.is_set():
                # The database is away: what runs can save nothing, and the next worker is waiting for us.
                worker.shutdown_graceful_timeout = 1.0
            for task in (reaping, telling, stopping):
                task.cancel()
            worker.stop()
            outcomes = await asyncio.gather(working, reaping, telling, stopping, return_exceptions=True)
            if own is not None:
                self._former_workers = [*self._former_workers[-9:], own]
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, asyncio.CancelledError):
                raise outcome

    # Putting back what dead workers left

    async def _reap(self, worker: "_Worker", queue: "_OwnJobs") -> None:
        lost_before: set[tuple[int, int]] = set()
        while True:
            stalled = await queue.stalled(own=worker.worker_id, former=self._former_workers)
            # Ended here, but its end could not be written while the database was away. Seen twice, for a job that is
            # just being fetched or ended looks the same.
            lost = await queue.not_running(worker.worker_id, {number for number, *_ in self._running})
            stalled += [row for row in lost if (row["id"], row["attempts"]) in lost_before]
            lost_before = {(row["id"], row["attempts"]) for row in lost}
            await self._put_back(queue, stalled)
            if taken_up := await queue.retry_unknown():
                log.warning("jobs_of_another_version_taken_up", count=taken_up)
            await asyncio.sleep(REAP_EVERY_S)

    async def _put_back(self, queue: "_OwnJobs", rows: list[dict[str, Any]]) -> None:
        for row in rows:
            claim = {name: row[name] for name in ("id", "worker_id", "attempts")}
            about = {"stage": row["task_name"], "job_id": row["id"], "lock": row["lock"]}
            if row["attempts"] + 1 >= PASSING_ATTEMPTS:  # perhaps it is what kills the process
                await queue.give_up(claim, "The process ended each time while it ran this job.")
                log.error("job_given_up", reason="process ended while it ran", **about)
            else:
                await queue.requeue(claim, in_s=0.0)
                log.warning("job_put_back", **about)

    # Running one

    def _as_task(self, name: str, stage: Stage) -> Callable[..., Awaitable[None]]:
        async def run_stage(context: procrastinate.JobContext, **arguments: Any) -> None:
            job = context.job
            self._running.add(_run(job))
            _own_lock.set(job.lock)  # of the task that procrastinate makes for each job
            try:
                with observing(name, job.lock, arguments):
                    async with asyncio.timeout(self._longest_job_s):
                        await stage(**arguments)
            except asyncio.CancelledError:
                raise
            except BaseException as error:
                # As broad as procrastinate, which ends the job for a panic of a Rust extension or an exit as well.
                decision = decide(error, job.attempts)
                self._reasons[_run(job)] = reason = describe(error)
                log.log(
                    logging.ERROR if decision is None else logging.WARNING,
                    "job_failed",
                    stage=name,
                    job_id=job.id,
                    lock=job.lock,
                    attempt=job.attempts + 1,
                    retry_in_s=decision,
                    reason=reason,
                    where=_where(error),
                    **_identifiers(arguments),
                )
                raise
            finally:
                self._running.discard(_run(job))

        return run_stage

    # For people and tests

    async def dead(self) -> list[DeadJob]:
        """Jobs that were given up, oldest first."""
        return [
            DeadJob(
                id=row["id"],
                stage=row["task_name"],
                arguments=row["args"],
                lock=row["lock"],
                attempts=row["attempts"],
                reason=row["reason"],
                at=row["at"],
            )
            for row in await self._ask(_DEAD)
        ]

    async def retry(self, job_id: int) -> None:
        """Give a dead job all its attempts again.

        Raises:
            NotFound: there is no dead job of this number.
        """
        if not await self._ask(_RETRY_DEAD, id=job_id, by=self._teller):
            raise NotFound(f"There is no dead job {job_id}; `codehealer dead list` shows them.")

    async def pending(self, lock: str | None = None, *, delayed: bool = True) -> int:
        """Jobs that wait or run; without `delayed`, only those that are due."""
        (row,) = await self._ask(_PENDING, lock=lock, delayed=delayed)
        return int(row["jobs"])

    async def busy(self, locks: Sequence[str]) -> set[str]:
        """See `knowledge.ports.Jobs`."""
        return {row["lock"] for row in await self._ask(_BUSY, locks=list(locks))} if locks else set()

    async def wait_idle(self, deadline_s: float = 30.0, *, delayed: bool = False) -> None:
        """Return when no job runs or is due; with `delayed`, when none is left at all.

        Raises:
            TimeoutError: jobs are still there at the deadline.
        """
        deadline = time.monotonic() + deadline_s
        async with await self._connect() as connection:
            while True:
                found = await connection.execute(_PENDING, {"lock": None, "delayed": delayed})
                row = await found.fetchone()
                if row is not None and row["jobs"] == 0:
                    return
                if time.monotonic() > deadline:
                    raise TimeoutError(f"jobs still wait or run after {deadline_s} s: {row}")
                await asyncio.sleep(0.02)

    async def _ask(self, query: Any, **values: Any) -> list[dict[str, Any]]:
        try:
            async with await self._connect() as connection:
                return await (await connection.execute(query, values)).fetchall()
        except psycopg.OperationalError as error:
            raise Unavailable("The database does not answer; `codehealer doctor` says why.") from error

    async def _connect(self) -> psycopg.AsyncConnection[dict[str, Any]]:
        return await psycopg.AsyncConnection.connect(
            self._conninfo, autocommit=True, row_factory=dict_row, connect_timeout=10
        )


class _OwnJobs(manager.JobManager):
    """procrastinate's statements, with a worker's claim to its job checked at the end."""

    def __init__(
        self, connector: "_Connector", wakeups: "_Wakeups", reasons: dict[_Run, str], name: str, stages: Sequence[str]
    ) -> None:
        super().__init__(connector)
        self._database = connector
        self._wakeups = wakeups
        self._reasons = reasons
        self._name = name
        self._stages = stages
        self._claimed: deque[queue_jobs.Job] = deque()
        self.free_hands: Callable[[], int] = lambda: 1

    async def fetch_job(self, queues: Any, worker_id: int) -> queue_jobs.Job | None:  # noqa: ARG002
        if not self._claimed and self._wakeups.worth_a_look():
            hands = max(1, self.free_hands())
            self._wakeups.looking()
            try:
                rows = await self._database.execute_query_all_async(_CLAIM, worker_id=worker_id, hands=hands)
            except queue_errors.ConnectorException as error:
                if not _taken_meanwhile(error):
                    raise
                self._wakeups.set()  # nothing of it was claimed, and the next look sees what the other has taken
                return None
            self._claimed.extend(queue_jobs.Job.from_row(row) for row in rows)
            self._wakeups.looked(len(rows), hands)
        return self._claimed.popleft() if self._claimed else None

    async def leave(self) -> None:
        """Put back what was claimed and not begun; what is told of from now on is for others to take."""
        self._name = ""
        while self._claimed:
            await self.requeue(_claim(self._claimed.popleft()), in_s=0.0)

    async def tell_others(self) -> None:
        """Have the other replicas look for what we have no hand for, until cancelled."""
        while True:
            await self._wakeups.too_much.wait()
            self._wakeups.too_much.clear()
            if self.free_hands() <= len(self._claimed):
                await self._database.execute_query_all_async(_TELL_OTHERS, by=self._name)
            await asyncio.sleep(TELL_OTHERS_EVERY_S)

    async def stalled(self, *, own: int | None, former: list[int], every: bool = False) -> list[dict[str, Any]]:
        """Jobs of workers that are dead, or (`every`) of all but our own."""
        rows: list[dict[str, Any]] = await self._database.execute_query_all_async(
            _STALLED, own=own, former=former, every=every, stalled_after_s=STALLED_AFTER_S
        )
        return rows

    async def not_running(self, own: int | None, running: set[int]) -> list[dict[str, Any]]:
        """Jobs that the database counts as ours, and we don't run."""
        rows: list[dict[str, Any]] = await self._database.execute_query_all_async(
            _OWN_RUNNING, own=own, running=list(running)
        )
        return rows

    async def retry_unknown(self) -> int:
        """Take up what another version gave up for want of a stage, and was due in the last hour; how many jobs."""
        reasons = [no_stage(stage) for stage in self._stages]
        return len(await self._database.execute_query_all_async(_RETRY_UNKNOWN, reasons=reasons, by=self._name))

    async def finish_job(self, job: queue_jobs.Job, status: queue_jobs.Status, delete_job: bool) -> None:  # noqa: ARG002
        reason = self._reasons.pop(_run(job), "It failed before its stage began.")
        if status is queue_jobs.Status.SUCCEEDED:
            await self._database.execute_query_all_async(_SUCCEED, **_claim(job), by=self._name)
        elif job.task_name in self._stages:
            await self.give_up(_claim(job), reason)
        elif job.attempts + 1 < PASSING_ATTEMPTS:
            # While a newer version is rolled out, one of its processes takes it.
            await self.requeue(_claim(job), in_s=UNKNOWN_WAIT_S)
        else:
            await self.give_up(_claim(job), no_stage(job.task_name))

    async def retry_job(
        self,
        job: queue_jobs.Job,
        retry_at: datetime.datetime | None = None,
        priority: int | None = None,  # noqa: ARG002
        queue: str | None = None,  # noqa: ARG002
        lock: str | None = None,  # noqa: ARG002
    ) -> None:
        self._reasons.pop(_run(job), None)
        # As a span, which the database adds to its own time: this machine's clock may be wrong.
        wait = retry_at - datetime.datetime.now(datetime.UTC) if retry_at else datetime.timedelta()
        await self.requeue(_claim(job), in_s=max(0.0, wait.total_seconds()))

    async def give_up(self, claim: Mapping[str, Any], reason: str) -> None:
        await self._database.execute_query_all_async(_FAIL, **claim, reason=reason, by=self._name)

    async def requeue(self, claim: Mapping[str, Any], in_s: float) -> None:
        values = {**claim, "in_s": in_s, "by": self._name}
        try:
            await self._database.execute_query_all_async(_REQUEUE, **values, keep_once=True)
        except queue_errors.UniqueViolation:
            # While it ran, its key was ordered again. Both run: the arguments may differ.
            await self._database.execute_query_all_async(_REQUEUE, **values, keep_once=False)


class _Wakeups(asyncio.Event):
    """procrastinate clears its event after looking for a job, and with it what was notified during the look.

    This one stays set when it was set since the look began; else a job could lie for a whole polling interval.
    """

    def __init__(self) -> None:
        super().__init__()
        self._count = self._looked_at = 0
        self._moment_s = MOMENT_S
        self._soon: asyncio.TimerHandle | None = None
        self._emptied = False
        self.too_much = asyncio.Event()  # there may be more to do than we have hands

    def told(self, *, own: bool) -> None:
        """There is a job: of our own making, or one that another has no hand for, and that is looked for soon."""
        if own:
            self.set()
        elif self._soon is None:
            wait_s = self._moment_s * random.uniform(0.5, 1.0)  # noqa: S311  replicas must not come in step
            self._soon = asyncio.get_running_loop().call_later(wait_s, self._look_soon)

    def _look_soon(self) -> None:
        self._soon = None
        self.set()

    def worth_a_look(self) -> bool:
        """False once after a look that left nothing, unless something came since: procrastinate asks until it gets
        none. The next time it asks, it was told or a second has passed."""
        emptied, self._emptied = self._emptied, False
        return not emptied or self._count != self._looked_at

    def looking(self) -> None:
        self._looked_at = self._count

    def looked(self, found: int, hands: int) -> None:
        self._emptied = 0 < found < hands
        self._moment_s = MOMENT_S if found else min(2 * self._moment_s, LONGEST_MOMENT_S)
        if found == hands:
            self.too_much.set()

    def set(self) -> None:
        self._count += 1
        super().set()

    def clear(self) -> None:
        if self._count == self._looked_at:
            super().clear()


class _Connector(procrastinate.PsycopgConnector):
    def __init__(self, wakeups: _Wakeups) -> None:
        super().__init__()
        self._wakeups = wakeups

    async def _loop_notify(self, **options: Any) -> None:
        # Just now it began to listen: what was enqueued between the last look and this moment told nobody.
        self._wakeups.set()
        await super()._loop_notify(**options)


class _Worker(queue_worker.Worker):
    def __init__(
        self, app: procrastinate.App, wakeups: _Wakeups, name: str, concurrency: int, patience_s: float
    ) -> None:
        super().__init__(
            app=app,
            name="codehealer",
            concurrency=concurrency,
            fetch_job_polling_interval=POLL_S,
            # Nothing here asks for aborts; a timeout inside the job is what ends it.
            abort_job_polling_interval=3600.0,
            shutdown_graceful_timeout=patience_s,
            install_signal_handlers=False,
            update_heartbeat_interval=HEARTBEAT_S,
            stalled_worker_timeout=STALLED_AFTER_S,
        )
        self._new_job_event = self._wakeups = wakeups
        self._own = name

    def free_hands(self) -> int:
        return int(self.concurrency - len(self._running_jobs))

    async def _handle_notification(self, *, channel: str, notification: Any) -> None:  # noqa: ARG002
        if notification.get("by") == self._own:
            self._wakeups.told(own=True)
            if self.free_hands() == 0:
                self._wakeups.too_much.set()
        # procrastinate's own trigger names nobody; our statement tells of the same job.
        elif notification.get("by") == "" or notification.get("from", self._own) != self._own:
            self._wakeups.told(own=False)

    async def run(self) -> None:
        await super().run()  # type: ignore[no-untyped-call]

    async def _shutdown(self, side_tasks: list[asyncio.Task[Any]]) -> None:
        # The last look is over, while what runs may go on for a while yet.
        queue = self.app.job_manager
        living = asyncio.create_task(self._live_on(), name="jobs heartbeat to the end")
        try:
            if isinstance(queue, _OwnJobs):
                await queue.leave()
        finally:
            try:
                await super()._shutdown(side_tasks)
            finally:
                living.cancel()
                await asyncio.gather(living, return_exceptions=True)

    async def _live_on(self) -> None:
        """procrastinate ends its heartbeat first, and others would take for dead what still runs."""
        while self.worker_id is not None:
            # Where the database is away, the next one may come through.
            with contextlib.suppress(queue_errors.ConnectorException):
                await self.app.job_manager.update_heartbeat(self.worker_id)
            await asyncio.sleep(self.update_heartbeat_interval)

    def stop(self) -> None:
        super().stop()  # type: ignore[no-untyped-call]


class _Retries(retry.BaseRetryStrategy):
    def get_retry_decision(self, *, exception: BaseException, job: queue_jobs.Job) -> retry.RetryDecision | None:
        wait_s = decide(exception, job.attempts)
        if wait_s is None:
            return None
        return retry.RetryDecision(retry_at=datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=wait_s))


def decide(error: BaseException, attempts: int) -> float | None:
    """Seconds until the next try after `attempts` earlier ones and this failure; None: give the job up."""
    if isinstance(error, asyncio.CancelledError):
        return 0.0  # we are being stopped: the next process takes it up
    passing = is_passing(error)
    if attempts + 1 >= (PASSING_ATTEMPTS if passing else OTHER_ATTEMPTS):
        return None
    asked_s = error.retry_after_s or 0.0 if isinstance(error, Unavailable) else 0.0
    return min(max(2.0**attempts, asked_s), LONGEST_WAIT_S)


def is_passing(error: BaseException) -> bool:
    """Whether waiting may help: an outside system or the database is away."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or isinstance(error.orig, psycopg.OperationalError)
    return isinstance(error, Unavailable | psycopg.OperationalError | NoConnectionFree)


def no_stage(stage: str) -> str:
    """The reason of a job that was given up since this version does not know its stage; another knows it by that."""
    return f"This version has no stage named {stage}."


def describe(error: BaseException) -> str:
    """A reason to keep: our own errors' sentence; of others only type and place, for their text may hold secrets."""
    if isinstance(error, CodeHealerError):
        return str(error)[:LONGEST_REASON]
    return f"{type(error).__name__} at {_where(error)}"[:LONGEST_REASON]


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return " > ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in frames[-3:])


def _identifiers(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that name rows; whatever else a stage was given stays out of the log."""
    return {name: value for name, value in arguments.items() if name.endswith("_id") and len(str(value)) <= 100}


def _taken_meanwhile(error: queue_errors.ConnectorException) -> bool:
    """Whether another replica claimed a job of the same lock that this look did not see yet, and was waited for."""
    deadlock = isinstance(error.__cause__, psycopg.errors.DeadlockDetected)  # where it waited for us as well
    return deadlock or isinstance(error, queue_errors.UniqueViolation)


def _run(job: queue_jobs.Job) -> _Run:
    return job.id or 0, job.worker_id, job.attempts


def _claim(job: queue_jobs.Job) -> dict[str, Any]:
    return {"id": job.id, "worker_id": job.worker_id, "attempts": job.attempts}


async def _autocommit(connection: psycopg.AsyncConnection[Any]) -> None:
    # Every statement here is a transaction of its own; BEGIN and COMMIT would double the round trips.
    await connection.set_autocommit(True)


def _in_our_schema(conninfo: str) -> str:
    options = str(conninfo_to_dict(conninfo).get("options") or "")
    return make_conninfo(conninfo, options=f"{options} -c search_path=procrastinate".strip())
