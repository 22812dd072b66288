"""What was failing already when the bot came: kept as alerts without an incident, and told of in one message."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.choices import Verdict
from knowledge.model import Alert, AlertStatus
from knowledge.store import switches
from knowledge.store.codec import from_json
from knowledge.store.tables import alerts, key_choices

# When the leading process was last seen alive, and when it came to a place that it knows nothing of.
ALIVE, CAME = "alive", "baseline:came"


async def last_alive(db: AsyncConnection) -> datetime | None:
    found = await switches.read(db, ALIVE)
    return found.set_at if found else None


async def note_alive(db: AsyncConnection) -> None:
    await switches.write(db, ALIVE, True, by="codehealer")


async def came(db: AsyncConnection) -> datetime | None:
    """When the bot last came to what it had not watched; None where it never did."""
    found = await switches.read(db, CAME)
    return found.set_at if found else None


async def note_coming(db: AsyncConnection, why: str) -> None:
    await switches.write(db, CAME, why, by="codehealer")


@dataclass(frozen=True, slots=True)
class Item:
    """One failure of a summary; `id` is its stored alert's."""

    id: int
    alert: Alert


async def items(db: AsyncConnection, summary: str, *, limit: int = 100) -> Sequence[Item]:
    """What a summary tells of and nobody has opened a card for, the oldest first, one for each identity."""
    rows = await db.execute(
        select(func.min(alerts.c.id).label("id"), alerts.c.identity)
        .join(key_choices, key_choices.c.key == func.concat("identity:", alerts.c.identity))
        .where(
            and_(key_choices.c.verdict == Verdict.BASELINE, key_choices.c.value == summary),
            alerts.c.incident_id.is_(None),
            alerts.c.status == AlertStatus.FIRING,
        )
        .group_by(alerts.c.identity)
        .order_by(func.min(alerts.c.id))
        .limit(limit)
    )
    ids = [row.id for row in rows]
    payloads = await db.execute(select(alerts.c.id, alerts.c.payload).where(alerts.c.id.in_(ids)).order_by(alerts.c.id))
    return [Item(row.id, from_json(Alert, row.payload)) for row in payloads]


async def alert(db: AsyncConnection, alert_id: int) -> Alert | None:
    """A stored alert that has no incident."""
    row = await db.execute(select(alerts.c.payload).where(alerts.c.id == alert_id, alerts.c.incident_id.is_(None)))
    payload = row.scalar_one_or_none()
    return from_json(Alert, payload) if payload else None
