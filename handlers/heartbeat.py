"""The heartbeat: a word to the outside that leaves only when an alert of ours has come all the way.

The leading process asks its own web server, stores a delivery as a sender's is stored, and what follows is the usual
way: the inbox hands it to a job, the job puts a message into the outbox, and the outbox' sender gives it to the sink
instead of Slack. Where one of these hangs no heartbeat leaves, and whoever waits for it outside calls a person.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import httpx
import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import flow
from handlers.services import Services
from knowledge.errors import CodeHealerError, Unavailable
from knowledge.store import deliveries, outbox
from knowledge.store.deliveries import Delivery
from knowledge.store.outbox import Message

log = structlog.get_logger(__name__)

# The source and event of the delivery, the stage and lock of the job, and the channel of the message.
HEARTBEAT = "heartbeat"
DEADLINE_S = 10.0
# So many in a row that did not leave, and the pager is told.
CALL_AFTER = 3
PAGE_KEY = "codehealer-heartbeat"
# An older one says nothing of how things are now.
STALE_AFTER = timedelta(minutes=5)


@dataclass
class Heartbeat:
    """Begins heartbeats and sends them: `own` asks our own web server, `http` the address outside.

    `count` hears "sent" or "withheld". `called` is whether the pager has been, None where an earlier leader may have.
    """

    http: httpx.AsyncClient
    own: httpx.AsyncClient
    url: str
    count: Callable[[str], None]
    # The address of our own web server, once it is known.
    own_address: str = ""
    withheld: int = 0
    called: bool | None = None

    async def tick(self, services: Services) -> None:
        """Begin one, unless the last one is still on its way: then say where it hangs, and call after some time."""
        why = await self._hangs(services) or await self._begin(services)
        if not why:
            return
        self.withheld += 1
        self.count("withheld")
        log.error("heartbeat_withheld", why=why, in_a_row=self.withheld)
        if self.withheld >= CALL_AFTER and not self.called and services.clients.pager is not None:
            words = f"CodeHealer itself does not work: {why}"
            await services.clients.pager.trigger(PAGE_KEY, words, severity="critical")
            self.called = True

    async def _begin(self, services: Services) -> str:
        """Why none could be begun, "" where it was."""
        at = services.now().isoformat()
        try:
            await flow.accept(services, source=HEARTBEAT, delivery_id=at, event=HEARTBEAT, body={"at": at})
        except SQLAlchemyError as error:
            return f"no delivery can be stored ({type(error).__name__})"
        return ""

    async def _hangs(self, services: Services) -> str:
        """Where the last heartbeat is, or what keeps the next from beginning; "" where all is well."""
        try:
            if self.own_address:
                answer = await self.own.get(f"{self.own_address}/readyz/intake", timeout=DEADLINE_S)
                if answer.status_code != httpx.codes.OK:
                    return "no deliveries can be taken, see /readyz/intake"
            async with services.looks.connect() as db:
                if (await deliveries.waiting(db, source=HEARTBEAT, known=[HEARTBEAT])).source:
                    return "the inbox does not handle deliveries"
                if await outbox.waits(db, HEARTBEAT):
                    return "the outbox does not send, or the heartbeat's address does not answer"
            if await services.jobs.busy([HEARTBEAT]):
                return "jobs are not carried out"
        except httpx.HTTPError as error:
            return f"the web server does not answer ({type(error).__name__})"
        except (SQLAlchemyError, CodeHealerError) as error:
            return f"the database does not answer ({type(error).__name__})"
        return ""

    async def send(self, services: Services, message: Message) -> None:
        """The outbox' part. Raises Unavailable where the address does not answer: it is tried again."""
        if services.now() - datetime.fromisoformat(message.payload["text"]) < STALE_AFTER:
            if self.url:
                await self._post()
            self.count("sent")
            self.withheld = 0
            await self._end_call(services)
        async with services.engine.begin() as db:
            await outbox.forget(db, message)
            await deliveries.forget_done(db, source=HEARTBEAT)

    async def _end_call(self, services: Services) -> None:
        if self.called is False or services.clients.pager is None:
            return
        try:
            await services.clients.pager.resolve(PAGE_KEY)
        except CodeHealerError as error:  # this heartbeat has left; the next one ends the call
            log.warning("heartbeat_call_not_ended", error=str(error))
        else:
            self.called = False

    async def _post(self) -> None:
        # The path is the secret of most services of this kind.
        host = urlsplit(self.url).hostname
        try:
            answer = await self.http.post(self.url, json={"from": "codehealer"}, timeout=DEADLINE_S)
        except httpx.HTTPError as error:
            raise Unavailable(f"the heartbeat's address at {host} does not answer ({type(error).__name__})") from None
        if answer.status_code >= httpx.codes.BAD_REQUEST:
            raise Unavailable(f"the heartbeat's address at {host} answered {answer.status_code}")


async def on_delivery(db: AsyncConnection, services: Services, delivery: Delivery) -> None:
    """The inbox' part."""
    await services.jobs.enqueue(db, HEARTBEAT, lock=HEARTBEAT, once=HEARTBEAT, at=delivery.body["at"])


async def relay(services: Services, at: str) -> None:
    """The job's part."""
    async with services.engine.begin() as db:
        await outbox.put(
            db, kind="post", key=f"{HEARTBEAT}:{at}", channel=HEARTBEAT, payload={"text": at}, priority=outbox.COUNTED
        )
