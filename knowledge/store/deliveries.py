"""The inbox: what came in, once, until its effects are committed."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Integer,
    Text,
    any_,
    bindparam,
    delete,
    exists,
    func,
    literal_column,
    not_,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.store.database import announced, notify
from knowledge.store.tables import deliveries

CHANNEL = "codehealer_deliveries"
ALERTS = "alerts"  # the event of deliveries that carry alerts
MAX_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Delivery:
    id: int
    source: str
    event: str
    body: Mapping[str, Any]
    attempts: int
    received_at: datetime


@dataclass(frozen=True, slots=True)
class DeadDelivery:
    id: int
    source: str
    event: str
    attempts: int
    error: str
    received_at: datetime


_ADD = announced(
    insert(deliveries)
    .values(
        source=bindparam("its_source"),
        delivery_id=bindparam("its_id"),
        event=bindparam("its_event"),
        body=bindparam("says", type_=deliveries.c.body.type),
    )
    .on_conflict_do_nothing(index_elements=["source", "delivery_id"])
    .returning(deliveries.c.id),
    CHANNEL,
)


async def add(db: AsyncConnection, *, source: str, delivery_id: str, event: str, body: Mapping[str, Any]) -> bool:
    """Store a delivery whose body is redacted already; False when this delivery id is here already."""
    given = {"its_source": source, "its_id": delivery_id, "its_event": event, "says": dict(body)}
    return (await db.execute(_ADD, given)).first() is not None


async def add_failed(
    db: AsyncConnection, *, source: str, delivery_id: str, event: str, body: Mapping[str, Any], error: str
) -> None:
    """Store what could not be read, for people to look at; its body is redacted already. A repeat changes nothing."""
    await db.execute(
        insert(deliveries)
        .values(
            source=source, delivery_id=delivery_id, event=event, body=dict(body), error=error[:500], state="failed",
            attempts=MAX_ATTEMPTS,
        )
        .on_conflict_do_nothing(index_elements=["source", "delivery_id"])
    )  # fmt: skip


async def dead(db: AsyncConnection, *, limit: int = 1000) -> Sequence[DeadDelivery]:
    """Deliveries that were given up, oldest first, without their bodies."""
    columns = (deliveries.c.id, deliveries.c.source, deliveries.c.event, deliveries.c.attempts, deliveries.c.error,
               deliveries.c.received_at)  # fmt: skip
    rows = await db.execute(
        select(*columns).where(deliveries.c.state == "failed").order_by(deliveries.c.id).limit(limit)
    )
    return [DeadDelivery(**row) for row in rows.mappings()]


async def retry(db: AsyncConnection, number: int) -> bool:
    """Give a dead delivery all its attempts again; False when there is none of this number."""
    found = await db.execute(
        update(deliveries)
        .where(deliveries.c.id == number, deliveries.c.state == "failed")
        .values(state="new", attempts=0, error="")
        .returning(deliveries.c.id)
    )
    again = found.scalar_one_or_none() is not None
    if again:
        await notify(db, CHANNEL)
    return again


# The wording of ix_deliveries_people's condition, so that a question is found behind any number of alerts.
_NEW = deliveries.c.state == literal_column("'new'")
_OF_PEOPLE = deliveries.c.event != literal_column("'alerts'")
# An event of another version is left to its replicas, while two run; what nobody takes up fails after that.
OTHERS_TIME = timedelta(minutes=10)
_OURS = or_(
    deliveries.c.event == any_(bindparam("known", type_=ARRAY(Text))),
    deliveries.c.received_at < func.now() - OTHERS_TIME,
)
_WAITING = select(
    exists().where(_NEW, _OF_PEOPLE, _OURS).label("people"),
    exists().where(_NEW, _OURS).label("any"),
    exists().where(_NEW, deliveries.c.source == bindparam("of_source")).label("source"),
)
_CLAIMED = (deliveries.c.id, deliveries.c.source, deliveries.c.event, deliveries.c.body, deliveries.c.attempts,
            deliveries.c.received_at)  # fmt: skip
_CLAIM = (
    select(*_CLAIMED)
    .where(_NEW, _OURS)
    .order_by(deliveries.c.id)
    .limit(bindparam("most", type_=Integer))
    .with_for_update(skip_locked=True)
)
_CLAIM_PEOPLE, _CLAIM_ALERTS = _CLAIM.where(_OF_PEOPLE), _CLAIM.where(not_(_OF_PEOPLE))
_THESE = deliveries.c.id == any_(bindparam("ids", type_=ARRAY(BigInteger)))
_DONE = update(deliveries).where(_THESE).values(state="done")


@dataclass(frozen=True, slots=True)
class Waiting:
    """What has not been handled: anything, something that people said, something of the source that was asked about."""

    any: bool
    people: bool
    source: bool


async def waiting(db: AsyncConnection, *, source: str, known: Collection[str]) -> Waiting:
    """One look, without a lock, at what waits; `known` are the events that this version handles."""
    row = (await db.execute(_WAITING, {"of_source": source, "known": list(known)})).one()
    return Waiting(any=row.any, people=row.people, source=row.source)


async def claim(db: AsyncConnection, *, limit: int, known: Collection[str], people: bool = True) -> Sequence[Delivery]:
    """New deliveries, locked for this transaction: what people said where there is any, else the oldest alerts.

    Those that another process has locked are skipped, and so are events that are not `known`. Without `people` only
    alerts are looked for.
    """
    for query in (_CLAIM_PEOPLE, _CLAIM_ALERTS) if people else (_CLAIM_ALERTS,):
        rows = await db.execute(query, {"most": limit, "known": list(known)})
        if found := [Delivery(**row) for row in rows.mappings()]:
            return found
    return []


async def done(db: AsyncConnection, ids: Sequence[int]) -> None:
    await db.execute(_DONE, {"ids": list(ids)})


async def forget_done(db: AsyncConnection, *, source: str) -> None:
    """Delete what was handled of a source of ours."""
    await db.execute(delete(deliveries).where(deliveries.c.source == source, deliveries.c.state == "done"))


async def failed(db: AsyncConnection, delivery: Delivery, error: str) -> None:
    """Count a failed attempt; after the last one the delivery stays visible as failed."""
    attempts = delivery.attempts + 1
    await db.execute(
        update(deliveries)
        .where(deliveries.c.id == delivery.id)
        .values(attempts=attempts, error=error[:500], state="failed" if attempts >= MAX_ATTEMPTS else "new")
    )
