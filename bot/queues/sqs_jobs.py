"""Jobs that SQS hands out, behind `Queue`.

A job is a row that commits with what it is about; the queue carries tickets that name a row. Whoever receives a ticket
has to win the row's lease, so nothing that is written into the queue by others can become a job or change one.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import Sequence
from typing import Any

import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.jobs import PASSING_ATTEMPTS, TAKEN_UP_WITHIN_S, DeadJob, no_stage
from bot.queues.memory import KILLED
from bot.queues.ports import Claim, Order
from knowledge.errors import CodeHealerError, NotFound
from knowledge.store import queued_jobs
from remediation.aws.sqs import MOST, Received, SqsQueue

log = structlog.get_logger(__name__)

LEASE_S = 30.0
# A ticket that nobody came with in this time is sent again; until then the queue may simply be long.
SEND_AGAIN_S = 60.0
SEND_EVERY_S = 1.0
_TICKET = re.compile(r'\s*\{"codehealer_job": ?(\d{1,18})(?:, ?"sent": ?"[^"]{1,40}")?\}\s*')


class SqsJobQueue:
    """Implements `Queue`. `offer` is given the tickets by whoever receives from the queue (`bot.queues.intake`).

    Args:
        wake: set when a job was ordered or has ended somewhere; looked at once a second in any case.
    """

    def __init__(
        self, engine: AsyncEngine, sqs: SqsQueue, wake: asyncio.Event | None = None, *, lease_s: float = LEASE_S,
        room: int = 8, send_again_s: float = SEND_AGAIN_S,
    ) -> None:  # fmt: skip
        self.lease_s = lease_s
        self._engine = engine
        self._sqs = sqs
        self._wake = wake or asyncio.Event()
        self._send_again_s = send_again_s
        self._tickets: asyncio.Queue[Received] = asyncio.Queue(room)

    async def put(self, connection: Any, order: Order) -> None:
        await queued_jobs.put(
            connection,
            stage=order.stage,
            lock=order.lock,
            once=order.once,
            delay_s=order.delay_s,
            head_start_s=order.head_start_s,
            arguments=order.arguments,
        )

    def offer(self, message: Received) -> bool:
        """Take a ticket; False where there is no room for it now."""
        try:
            self._tickets.put_nowait(message)
        except asyncio.QueueFull:
            return False
        return True

    async def claim(self, wait_s: float) -> Claim | None:
        try:
            async with asyncio.timeout(wait_s):
                ticket = await self._tickets.get()
        except TimeoutError:
            return None
        number = number_in(ticket.body)
        async with self._engine.begin() as db:
            row = await queued_jobs.claim(db, number, lease_s=self.lease_s) if number else None
        if row is None:
            # Done already, not its turn, or of nobody's making. When it is its turn a new ticket is sent.
            await self._sqs.delete(ticket)
            return None
        return Claim(row.id, row.token, row.stage, row.lock, row.arguments, row.attempts, ticket)

    async def extend(self, claim: Claim) -> bool:
        async with self._engine.begin() as db:
            ours = await queued_jobs.extend(db, claim.id, claim.token, lease_s=self.lease_s)
        if ours:
            # The row is the job: a ticket that comes back meanwhile finds it taken, and SQS may be away for a while.
            with contextlib.suppress(CodeHealerError):
                await self._sqs.hide(claim.ticket, max(1, round(self.lease_s)))
        return ours

    async def done(self, claim: Claim) -> bool:
        async with self._engine.begin() as db:
            ours = await queued_jobs.done(db, claim.id, claim.token)
        return await self._ended(claim, ours)

    async def again(self, claim: Claim, in_s: float) -> bool:
        async with self._engine.begin() as db:
            ours = await queued_jobs.again(db, claim.id, claim.token, in_s=in_s)
        return await self._ended(claim, ours)

    async def give_up(self, claim: Claim, reason: str) -> bool:
        async with self._engine.begin() as db:
            ours = await queued_jobs.give_up(db, claim.id, claim.token, reason)
        return await self._ended(claim, ours)

    async def _ended(self, claim: Claim, ours: bool) -> bool:
        self._wake.set()  # the next one of its lock may be sent
        await self._sqs.delete(claim.ticket)
        return ours

    async def tend(self, stages: Sequence[str] = ()) -> None:
        """Send tickets, put back what the killed left, and take up what a version without one of these stages gave up;
        on every replica, since each row is taken by one."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send_tickets())
            group.create_task(self._reap([no_stage(stage) for stage in stages]))

    async def _send_tickets(self) -> None:
        while True:
            self._wake.clear()
            async with self._engine.begin() as db:
                ids = await queued_jobs.take_to_send(db, most=MOST, again_s=self._send_again_s)
            if ids:
                await self._send(list(ids))
                continue
            try:
                async with asyncio.timeout(SEND_EVERY_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _send(self, ids: list[int]) -> None:
        # The moment makes each sending another message for a FIFO queue, which drops repeats.
        moment = str(asyncio.get_running_loop().time())
        sent = False
        try:
            await self._sqs.send([json.dumps({"codehealer_job": number, "sent": moment}) for number in ids])
            sent = True
        finally:
            if not sent:
                async with self._engine.begin() as db:
                    await queued_jobs.not_sent(db, ids)

    async def _reap(self, unknown: Sequence[str]) -> None:
        while True:
            try:
                async with self._engine.begin() as db:
                    back, given_up = await queued_jobs.reap(db, most_attempts=PASSING_ATTEMPTS, reason=KILLED)
                    taken_up = await queued_jobs.retry_unknown(db, unknown, due_within_s=TAKEN_UP_WITHIN_S)
            except IntegrityError:
                continue  # its key was ordered again in this very moment
            if back or given_up:
                log.warning("jobs_put_back", put_back=back, given_up=given_up)
                self._wake.set()
            if taken_up:
                log.warning("jobs_of_another_version_taken_up", count=taken_up)
                self._wake.set()
            await asyncio.sleep(self.lease_s / 5)

    async def pending(self, lock: str | None, *, delayed: bool) -> int:
        async with self._engine.connect() as db:
            return await queued_jobs.pending(db, lock, delayed=delayed)

    async def busy(self, locks: Sequence[str]) -> set[str]:
        async with self._engine.connect() as db:
            return await queued_jobs.busy(db, locks)

    async def dead(self) -> list[DeadJob]:
        async with self._engine.connect() as db:
            rows = await queued_jobs.dead(db)
        return [
            DeadJob(
                id=row.id,
                stage=row.stage,
                arguments=row.arguments,
                lock=row.lock,
                attempts=row.attempts,
                reason=row.reason,
                at=row.died_at,
            )
            for row in rows
        ]

    async def retry(self, job_id: int) -> None:
        async with self._engine.begin() as db:
            found = await queued_jobs.retry(db, job_id)
        if not found:
            raise NotFound(f"There is no dead job {job_id}; `codehealer dead list` shows them.")


def is_ticket(body: str) -> bool:
    return _TICKET.fullmatch(body[:200]) is not None


def number_in(body: str) -> int:
    """The row that a ticket names; 0 for what is none."""
    found = _TICKET.fullmatch(body[:200])
    return int(found[1]) if found else 0
