"""Jobs in this process's memory, for development: no other process sees them and they end with it."""

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection

from bot.jobs import PASSING_ATTEMPTS, DeadJob
from bot.queues.ports import Claim, Order
from knowledge.errors import NotFound

LOOK_EVERY_S = 0.02
KILLED = "The process ended each time while it ran this job."


@dataclass(slots=True)
class _Job:
    """Times are monotonic; `transaction` is the caller's while it is not known to be over."""

    id: int
    order: Order
    due: float
    transaction: Any = None
    committed: bool = False
    token: int = 0
    attempts: int = 0
    leased_until: float | None = None
    reason: str | None = None
    died_at: datetime | None = None

    @property
    def waits(self) -> bool:
        return self.leased_until is None and self.reason is None

    @property
    def rank(self) -> tuple[float, int]:
        return (self.due - self.order.head_start_s, self.id)


class MemoryQueue:
    """Implements `Queue`. What several workers of one process share is one object of this."""

    def __init__(self, lease_s: float = 30.0) -> None:
        self.lease_s = lease_s
        self._jobs: dict[int, _Job] = {}
        self._numbers = itertools.count(1)

    async def put(self, connection: Any, order: Order) -> None:
        sync: Connection = (
            connection.sync_connection if hasattr(connection, "sync_connection") else await _of(connection)
        )
        if sync.get_transaction() is None:
            await connection.begin()
        if order.once and any(job.waits and job.order.once == order.once for job in self._settled()):
            return
        job = _Job(next(self._numbers), order, time.monotonic() + order.delay_s, sync.get_transaction())
        self._jobs[job.id] = job

        def commits(_connection: Connection) -> None:
            job.committed = True

        # Told just before it commits; `_settled` waits for the transaction to be over.
        event.listen(sync, "commit", commits, once=True)

    def _settled(self) -> Iterator[_Job]:
        """All jobs that count: those of transactions that were rolled back are dropped on the way."""
        for job in list(self._jobs.values()):
            if job.transaction is not None and not job.transaction.is_active:
                job.transaction = None
                if not job.committed:
                    del self._jobs[job.id]
                    continue
            yield job

    async def claim(self, wait_s: float) -> Claim | None:
        until = time.monotonic() + wait_s
        while True:
            job = self._next()
            if job is not None:
                job.token += 1
                job.leased_until = time.monotonic() + self.lease_s
                order = job.order
                return Claim(job.id, job.token, order.stage, order.lock, order.arguments, job.attempts)
            if time.monotonic() >= until:
                return None
            await asyncio.sleep(LOOK_EVERY_S)

    def _next(self) -> _Job | None:
        now = time.monotonic()
        jobs = [job for job in self._settled() if job.transaction is None]
        busy = {job.order.lock for job in jobs if job.leased_until is not None}
        ready = [job for job in jobs if job.waits and job.due <= now and job.order.lock not in busy]
        return min(ready, key=lambda job: job.rank, default=None)

    def _mine(self, claim: Claim) -> _Job | None:
        job = self._jobs.get(claim.id)
        return job if job and job.token == claim.token and job.leased_until is not None else None

    async def extend(self, claim: Claim) -> bool:
        if job := self._mine(claim):
            job.leased_until = time.monotonic() + self.lease_s
        return job is not None

    async def done(self, claim: Claim) -> bool:
        job = self._mine(claim)
        if job is not None:
            del self._jobs[job.id]
        return job is not None

    async def again(self, claim: Claim, in_s: float) -> bool:
        job = self._mine(claim)
        if job is not None:
            self._put_back(job, in_s)
        return job is not None

    def _put_back(self, job: _Job, in_s: float) -> None:
        if job.order.once and any(other.waits and other.order.once == job.order.once for other in self._settled()):
            job.order = replace(job.order, once=None)  # ordered again while it ran: both run
        job.attempts += 1
        job.leased_until, job.due = None, time.monotonic() + in_s

    async def give_up(self, claim: Claim, reason: str) -> bool:
        job = self._mine(claim)
        if job is not None:
            _bury(job, reason)
        return job is not None

    async def tend(self, stages: Sequence[str] = ()) -> None:  # noqa: ARG002  no other version sees these jobs
        while True:
            for job in self._settled():
                if job.leased_until is not None and job.leased_until < time.monotonic():
                    if job.attempts + 1 >= PASSING_ATTEMPTS:
                        _bury(job, KILLED)
                    else:
                        self._put_back(job, 0.0)
            await asyncio.sleep(self.lease_s / 5)

    async def pending(self, lock: str | None, *, delayed: bool) -> int:
        now = time.monotonic()
        return sum(
            job.reason is None
            and (lock is None or job.order.lock == lock)
            and (delayed or job.due <= now or job.leased_until is not None)
            and (job.transaction is None or job.committed)
            for job in self._settled()
        )

    async def busy(self, locks: Sequence[str]) -> set[str]:
        return {lock for lock in locks if await self.pending(lock, delayed=True)}

    async def dead(self) -> list[DeadJob]:
        return [
            DeadJob(
                id=job.id,
                stage=job.order.stage,
                arguments=job.order.arguments,
                lock=job.order.lock,
                attempts=job.attempts,
                reason=job.reason,
                at=job.died_at,
            )
            for job in self._settled()
            if job.reason is not None
        ]

    async def retry(self, job_id: int) -> None:
        job = self._jobs.get(job_id)
        if job is None or job.reason is None:
            raise NotFound(f"There is no dead job {job_id}; `codehealer dead list` shows them.")
        job.reason, job.died_at, job.attempts, job.due = None, None, 0, time.monotonic()


def _bury(job: _Job, reason: str) -> None:
    job.reason, job.died_at, job.leased_until = reason, datetime.now(UTC), None
    job.attempts += 1
    job.order = replace(job.order, once=None)


async def _of(session: Any) -> Connection:
    found: Connection = (await session.connection()).sync_connection
    return found
