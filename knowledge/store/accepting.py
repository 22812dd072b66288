"""Group commit for the inbox: deliveries that arrive together are inserted by one statement in one transaction.

Each caller is answered after the commit of its own row. While one statement is on its way to the disk the next
deliveries gather, so a storm costs one flush a group instead of one each, and one connection instead of many.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import psycopg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from knowledge.store.database import is_of_the_data
from knowledge.store.deliveries import CHANNEL

MOST_AT_ONCE = 200
# One group is read and redacted while the other is on its way to the disk. More of them make smaller groups, each of
# which costs the same.
WRITERS = 2
# Statements have a deadline of their own in the server; this one is for a server that does not answer at all.
DEADLINE_S = 10.0

# The order of arrival becomes the order of ids. One notification a transaction is sent, however many are asked for.
_INSERT = text("""
    WITH given AS (
        SELECT one, place, COALESCE(CAST(one->>'until' AS timestamptz) < clock_timestamp(), false) AS late
        FROM jsonb_array_elements(CAST(:rows AS jsonb)) WITH ORDINALITY AS given (one, place)
    ), added AS (
        INSERT INTO deliveries (source, delivery_id, event, body)
        SELECT one->>'source', one->>'delivery_id', one->>'event', one->'body' FROM given WHERE NOT late
        ORDER BY place
        ON CONFLICT (source, delivery_id) DO NOTHING
        RETURNING source, delivery_id
    )
    SELECT source, delivery_id, false AS late, CAST(pg_notify(:channel, :by) AS text) FROM added
    UNION ALL SELECT one->>'source', one->>'delivery_id', true, NULL FROM given WHERE late
""")


@dataclass(frozen=True, slots=True)
class Arrived:
    """A delivery whose body is redacted already; `text` is all of it as JSON."""

    source: str
    delivery_id: str
    text: str


@dataclass(frozen=True, slots=True)
class _Waiting:
    row: Arrived
    stored: "asyncio.Future[bool]"


Key = tuple[str, str]


def utc_now() -> datetime:
    return datetime.now(UTC)


class Accepting:
    """One a process. No task of it outlives the deliveries that wait for it.

    Args:
        name: of this process, which its news names (`database.listen`); "" wakes all alike.
        now: the database's time.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        deadline_s: float = DEADLINE_S,
        name: str = "",
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._engine = engine
        self._name = name
        self._now = now
        self._deadline_s = deadline_s
        self._waiting: deque[_Waiting] = deque()
        self._writing: set[asyncio.Task[None]] = set()

    async def add(
        self, *, source: str, delivery_id: str, event: str, body: Mapping[str, Any], within_s: float | None = None
    ) -> bool:
        """Store a delivery, committed on return; False when this delivery id is here already.

        Args:
            within_s: for a sender that waits no longer: what the database comes to later is not stored any more, so
                that who was told of a failure is right. Only what is committed in that moment may be there.

        Raises:
            SQLAlchemyError, TimeoutError: it is not stored, or nobody can tell: its sender must send it again.
            UnicodeError: a text of it is none that a database can hold; it is not stored, and never will be.
        """
        stored: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        until = {} if within_s is None else {"until": (self._now() + timedelta(seconds=within_s)).isoformat()}
        whole = {"source": source, "delivery_id": delivery_id, "event": event, "body": body, **until}
        row = Arrived(source, delivery_id, _as_text(whole))
        self._waiting.append(_Waiting(row, stored))
        self._begin()
        async with asyncio.timeout(within_s):
            return await stored

    def _begin(self) -> None:
        if len(self._writing) < WRITERS:
            # It starts at the loop's next turn, so what arrives in the same turn is in the same group.
            writing = asyncio.create_task(self._write(), name="accepting")
            self._writing.add(writing)
            writing.add_done_callback(self._ended)

    def _ended(self, writing: "asyncio.Task[None]") -> None:
        self._writing.discard(writing)
        # What arrived since its last look found it among the writers still, and would wait for whatever comes next.
        if self._waiting:
            self._begin()

    async def _write(self) -> None:
        while self._waiting:
            group = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_AT_ONCE))]
            try:
                await self._write_group(group)
            finally:
                # Whatever happened, nobody waits for an answer that does not come.
                _failed(group, TimeoutError("The delivery was not stored."))

    async def _write_group(self, group: Sequence[_Waiting]) -> None:
        try:
            found = await self._insert([one.row for one in group])
        except (DBAPIError, UnicodeError) as error:
            if len(group) == 1 or _is_away(error):
                _failed(group, error)
            else:
                # One of them cannot be stored, or repeats of two groups wait for each other: one by one all goes well.
                await self._write_apart(group)
        except (SQLAlchemyError, TimeoutError) as error:
            _failed(group, error)
        else:
            _answer(group, *found)

    async def _write_apart(self, group: Sequence[_Waiting]) -> None:
        for one in group:
            try:
                found = await self._insert([one.row])
            except (SQLAlchemyError, TimeoutError, UnicodeError) as error:
                _failed([one], error)
            else:
                _answer([one], *found)

    async def _insert(self, rows: Sequence[Arrived]) -> tuple[set[Key], set[Key]]:
        """(what is new, what came too late)."""
        # One JSON text: as elements of an array each quote of each body would be escaped, in Python.
        values = {"rows": f"[{','.join(row.text for row in rows)}]", "channel": CHANNEL, "by": self._name}
        async with asyncio.timeout(self._deadline_s), self._engine.connect() as db:
            # One statement is a transaction of its own: BEGIN and COMMIT would be two more round trips.
            alone = await db.execution_options(isolation_level="AUTOCOMMIT")
            found = (await alone.execute(_INSERT, values)).all()
        keys = {late: {(row.source, row.delivery_id) for row in found if row.late is late} for late in (False, True)}
        return keys[False], keys[True]


def _as_text(body: Mapping[str, Any]) -> str:
    try:
        return orjson.dumps(body).decode()
    except TypeError:  # numbers beyond 64 bits, which PostgreSQL takes
        return json.dumps(body, ensure_ascii=False)


def _is_away(error: DBAPIError | UnicodeError) -> bool:
    if isinstance(error, UnicodeError) or is_of_the_data(error):
        return False
    deadlock = isinstance(error.orig, psycopg.errors.DeadlockDetected)
    return error.connection_invalidated or (isinstance(error, OperationalError) and not deadlock)


def _answer(group: Sequence[_Waiting], new: set[Key], late: set[Key]) -> None:
    for one in group:
        key = (one.row.source, one.row.delivery_id)
        if key in late:
            _failed([one], TimeoutError("The delivery was not stored in time."))
        elif not one.stored.done():
            one.stored.set_result(key in new)
        # The same id twice in one group: the first is new, the second its repeat.
        new.discard(key)


def _failed(group: Sequence[_Waiting], error: Exception) -> None:
    for one in group:
        if not one.stored.done():
            one.stored.set_exception(error)
