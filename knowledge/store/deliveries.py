"""The inbox: what came in, once, until its effects are committed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.store.database import announced
from knowledge.store.tables import deliveries

CHANNEL = "codehealer_deliveries"
MAX_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Delivery:
    id: int
    source: str
    event: str
    body: Mapping[str, Any]
    attempts: int


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


async def claim(db: AsyncConnection, *, limit: int) -> Sequence[Delivery]:
    """New deliveries, locked for this transaction: what people said where there is any, else the oldest alerts.

    Those that another process has locked are skipped.
    """
    # The wording of ix_deliveries_people's condition, so that a question is found behind any number of alerts.
    for some in (deliveries.c.event != literal_column("'alerts'"), deliveries.c.event == literal_column("'alerts'")):
        rows = await db.execute(
            select(deliveries.c.id, deliveries.c.source, deliveries.c.event, deliveries.c.body, deliveries.c.attempts)
            .where(deliveries.c.state == literal_column("'new'"), some)
            .order_by(deliveries.c.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        found = [Delivery(**row) for row in rows.mappings()]
        if found:
            return found
    return []


async def done(db: AsyncConnection, ids: Sequence[int]) -> None:
    await db.execute(update(deliveries).where(deliveries.c.id.in_(ids)).values(state="done"))


async def failed(db: AsyncConnection, delivery: Delivery, error: str) -> None:
    """Count a failed attempt; after the last one the delivery stays visible as failed."""
    attempts = delivery.attempts + 1
    await db.execute(
        update(deliveries)
        .where(deliveries.c.id == delivery.id)
        .values(attempts=attempts, error=error[:500], state="failed" if attempts >= MAX_ATTEMPTS else "new")
    )
