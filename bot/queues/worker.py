"""Jobs by stage name over any `Queue`: the same promises as `bot.jobs.DurableJobs`, with which it shares its tests."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import psycopg
import structlog
from sqlalchemy.exc import SQLAlchemyError

from bot.jobs import HEAD_START_S, PASSING_ATTEMPTS, UNKNOWN_WAIT_S, DeadJob, Stage, decide, describe, no_stage
from bot.observing import observing
from bot.queues.ports import Claim, Order, Queue
from knowledge.errors import CodeHealerError

log = structlog.get_logger(__name__)

WAIT_S = 1.0
BACK_OFF_S = 1.0
# What a queue may meet that passes: its database or its service is away. The job itself stays where it is.
AWAY = (SQLAlchemyError, psycopg.Error, CodeHealerError, TimeoutError)


class QueuedJobs:
    """Implements `knowledge.ports.Jobs`. The arguments are those of DurableJobs."""

    def __init__(
        self,
        queue: Queue,
        stages: Mapping[str, Stage],
        concurrency: int = 8,
        *,
        longest_job_s: float = 900.0,
        patience_s: float = 20.0,
    ) -> None:
        self._queue = queue
        self._stages = stages
        self._concurrency = concurrency
        self._longest_job_s = longest_job_s
        self._patience_s = patience_s

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
        """See `knowledge.ports.Jobs`."""
        order = Order(stage, lock, once, delay_s, arguments, head_start_s or HEAD_START_S.get(stage, 0))
        await self._queue.put(connection, order)

    async def run(self, stop: asyncio.Event, *, sole: bool = False) -> None:  # noqa: ARG002  a lease says who is dead
        """Work until `stop`; what is running then may go on for `patience_s` and is put back after that."""
        tending = asyncio.create_task(self._keep_tending(), name="queue")
        slots = [asyncio.create_task(self._work(stop), name=f"jobs {number}") for number in range(self._concurrency)]
        stopping = asyncio.create_task(stop.wait())
        try:
            # A slot ends by itself only when it is stopped; an error of ours ends them all.
            done, _ = await asyncio.wait([tending, *slots, stopping], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            await asyncio.wait(slots, timeout=self._patience_s)
        finally:
            everything = [tending, *slots, stopping]
            for task in everything:
                task.cancel()
            outcomes = await asyncio.gather(*everything, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, asyncio.CancelledError):
                raise outcome

    async def _keep_tending(self) -> None:
        while True:
            try:
                await self._queue.tend(list(self._stages))
            except* AWAY as errors:  # those of a group of tasks come as a group
                log.warning("queue_interrupted", reason=describe(errors.exceptions[0]))
                await asyncio.sleep(BACK_OFF_S)

    async def _work(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                claim = await self._queue.claim(WAIT_S)
                if claim is not None:
                    await self._run_one(claim)
            except AWAY as error:
                log.warning("jobs_interrupted", reason=describe(error))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), timeout=BACK_OFF_S)

    async def _run_one(self, claim: Claim) -> None:
        """One attempt and its end. A lease that is lost ends the attempt: somebody else has the job by now."""
        stage = self._stages.get(claim.stage)
        if stage is None:
            if claim.attempts + 1 < PASSING_ATTEMPTS:
                await self._queue.again(claim, UNKNOWN_WAIT_S)
            else:
                await self._queue.give_up(claim, no_stage(claim.stage))
            return
        try:
            with observing(claim.stage, claim.lock, claim.arguments):
                async with self._held(claim), asyncio.timeout(self._longest_job_s):
                    await stage(**claim.arguments)
        except asyncio.CancelledError:
            await asyncio.shield(self._queue.again(claim, 0.0))
            raise
        except LostLease:
            log.warning("job_lost", stage=claim.stage, job_id=claim.id)
        except BaseException as error:  # noqa: BLE001  whatever a stage raises is this job's end, as in bot.jobs
            await self._failed(claim, error)
        else:
            await self._queue.done(claim)

    async def _failed(self, claim: Claim, error: BaseException) -> None:
        wait_s, reason = decide(error, claim.attempts), describe(error)
        about = {"stage": claim.stage, "job_id": claim.id, "lock": claim.lock, "attempt": claim.attempts + 1}
        if wait_s is None:
            log.error("job_failed", reason=reason, retry_in_s=None, **about)
            await self._queue.give_up(claim, reason)
        else:
            log.warning("job_failed", reason=reason, retry_in_s=wait_s, **about)
            await self._queue.again(claim, wait_s)

    @contextlib.asynccontextmanager
    async def _held(self, claim: Claim) -> AsyncIterator[None]:
        """Extend the lease while the block runs; the block is ended where the lease is lost."""
        owner = asyncio.current_task()
        lost = False

        async def extend() -> None:
            nonlocal lost
            good_until = time.monotonic() + self._queue.lease_s
            while time.monotonic() < good_until:
                await asyncio.sleep(self._queue.lease_s / 3)
                try:
                    if not await self._queue.extend(claim):
                        break
                except AWAY as error:
                    log.warning("lease_not_extended", job_id=claim.id, reason=describe(error))
                else:
                    good_until = time.monotonic() + self._queue.lease_s
            lost = True
            if owner is not None:
                owner.cancel()

        extending = asyncio.create_task(extend())
        try:
            yield
        except asyncio.CancelledError:
            if not lost:
                raise
            if owner is not None:
                owner.uncancel()
            raise LostLease from None
        finally:
            extending.cancel()

    async def pending(self, lock: str | None = None, *, delayed: bool = True) -> int:
        return await self._queue.pending(lock, delayed=delayed)

    async def busy(self, locks: Sequence[str]) -> set[str]:
        """See `knowledge.ports.Jobs`."""
        return await self._queue.busy(locks) if locks else set()

    async def dead(self) -> list[DeadJob]:
        return await self._queue.dead()

    async def retry(self, job_id: int) -> None:
        await self._queue.retry(job_id)

    async def wait_idle(self, deadline_s: float = 30.0, *, delayed: bool = False) -> None:
        """As of DurableJobs."""
        async with asyncio.timeout(deadline_s):
            while await self._queue.pending(None, delayed=delayed):  # noqa: ASYNC110  queues tell nobody
                await asyncio.sleep(0.02)


class LostLease(Exception):
    """The job belongs to somebody else by now; nothing of this attempt may be written."""
