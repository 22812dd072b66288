"""What others write into the SQS queue becomes deliveries; a message is deleted when its delivery is committed.

A crash in between has the message come back, and its delivery is known by then. What cannot be read is kept among the
dead letters with its reason. While the database is away nothing is received, so no message comes nearer to its end.
"""

import asyncio
import contextlib
import traceback
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from bot.queues.sqs_jobs import is_ticket
from handlers import flow
from handlers.queued import read_message
from handlers.services import Services
from knowledge.errors import CodeHealerError, Refused, SettingsError, Unavailable
from remediation.aws.sqs import Received, SqsQueue

log = structlog.get_logger(__name__)

WAIT_S = 20
HIDDEN_S = 30
STORE_DEADLINE_S = 10.0
# A message that we fail at, by a mistake of ours or by dying of it.
MOST_FAILURES = 5
MOST_RECEIVES = 20
# Tickets for which there is no room here are left to other replicas.
NO_ROOM_S = 1
BACK_OFF_S = 1.0
REFUSED_BACK_OFF_S = 15.0
_MISTAKES = (LookupError, TypeError, ValueError, RecursionError)


def _uncounted(_source: str, _result: str) -> None:
    """Nobody counts."""


@dataclass
class QueueIntake:
    """One process's reception of the queue.

    Args:
        allowed: sources that may come by it.
        secrets: webhook secrets by source, as they are now.
        offer: takes tickets of jobs, False where there is no room; None: jobs are not in this queue.
        count: told of each delivery's source and result.
    """

    services: Services
    queue: SqsQueue
    allowed: Collection[str]
    secrets: Callable[[], Mapping[str, Sequence[str]]] = field(default=dict)
    offer: Callable[[Received], bool] | None = None
    count: Callable[[str, str], None] = _uncounted
    wait_s: int = WAIT_S
    hidden_s: int = HIDDEN_S
    problem: str | None = "not asked yet"

    async def run(self) -> None:
        """Receive until cancelled."""
        while True:
            try:
                await self.turn()
                self.problem = None
            except (SQLAlchemyError, TimeoutError) as error:
                log.warning("queue_waits_for_database", error=type(error).__name__)
                await self._database_back()
            except (Refused, SettingsError) as error:
                self._away(error)
                await asyncio.sleep(REFUSED_BACK_OFF_S)
            except CodeHealerError as error:
                self._away(error)
                await asyncio.sleep(error.retry_after_s or BACK_OFF_S if isinstance(error, Unavailable) else BACK_OFF_S)

    def _away(self, error: CodeHealerError) -> None:
        if self.problem != str(error):
            log.warning("queue_away", reason=str(error))
        self.problem = str(error)

    async def _database_back(self) -> None:
        while True:
            await asyncio.sleep(BACK_OFF_S)
            with contextlib.suppress(SQLAlchemyError, TimeoutError):
                async with asyncio.timeout(STORE_DEADLINE_S), self.services.engine.connect() as db:
                    await db.execute(text("SELECT 1"))
                    return

    async def turn(self) -> int:
        """Receive once and handle what came; how many messages."""
        # Whether it answers at all is known at once, and not after the first long wait.
        wait_s = self.wait_s if self.problem is None else 0
        batch = await self.queue.receive(wait_s=wait_s, hidden_s=self.hidden_s)
        tickets = [message for message in batch if self.offer is not None and is_ticket(message.body)]
        rest = [message for message in batch if message not in tickets]
        for ticket in tickets:
            if self.offer is not None and not self.offer(ticket):
                await self.queue.hide(ticket, NO_ROOM_S)
        async with self._kept_hidden(rest) as done:

            async def handle(message: Received) -> None:
                await self._handle(message)
                done(message)

            # All of them come to their end, also where one of them found the database away.
            ended = await asyncio.gather(*map(handle, rest), return_exceptions=True)
        for outcome in ended:
            if isinstance(outcome, BaseException):
                raise outcome
        return len(batch)

    @contextlib.asynccontextmanager
    async def _kept_hidden(self, messages: Sequence[Received]) -> AsyncIterator[Callable[[Received], object]]:
        """Extend the visibility of what is not yet done while the block runs."""
        waiting = {message.id: message for message in messages}

        async def extend() -> None:
            while True:
                await asyncio.sleep(self.hidden_s / 3)
                for message in list(waiting.values()):
                    with contextlib.suppress(CodeHealerError):
                        await self.queue.hide(message, self.hidden_s)

        extending = asyncio.create_task(extend())
        try:
            yield lambda message: waiting.pop(message.id)
        finally:
            extending.cancel()
            await asyncio.gather(extending, return_exceptions=True)

    async def _handle(self, message: Received) -> None:
        if message.receives > MOST_RECEIVES:
            await self._bury(message, f"It was received {message.receives} times and never dealt with.")
            return
        try:
            intake = await asyncio.to_thread(
                read_message, message.body, message.attributes, allowed=self.allowed, secrets=self.secrets()
            )
        except CodeHealerError as error:
            await self._bury(message, str(error))
            return
        except _MISTAKES as error:
            # The text of such an error may quote the message.
            where = traceback.extract_tb(error.__traceback__)[-1]
            reason = f"{type(error).__name__} at {where.filename.rpartition('/')[2]}:{where.lineno}"
            log.warning("message_not_read", message=message.id, receives=message.receives, reason=reason)
            if message.receives >= MOST_FAILURES:
                await self._bury(message, f"Reading it failed {message.receives} times: {reason}.")
            return
        delivery_id = intake.delivery_id or f"sqs:{message.id}"
        async with asyncio.timeout(STORE_DEADLINE_S):
            new = await flow.accept_alerts(self.services, intake.alerts, source=intake.source, delivery_id=delivery_id)
        await self.queue.delete(message)
        self.count(intake.source, "accepted")
        log.info("message_accepted", source=intake.source, alerts=len(intake.alerts), repeat=not new)

    async def _bury(self, message: Received, reason: str) -> None:
        async with asyncio.timeout(STORE_DEADLINE_S):
            await flow.bury_message(self.services, message.id, message.body, message.attributes, reason=reason)
        await self.queue.delete(message)
        self.count("sqs", "refused")
        log.warning("message_buried", message=message.id, reason=reason)
