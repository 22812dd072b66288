"""What was failing already when the bot came: kept as alerts without an incident, and told of in one message."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.choices import Verdict
from knowledge.model import Alert, AlertStatus
from knowledge.store import switches
from knowledge.store.codec import from_json
from knowledge.store.tables import alerts, key_choices

# When the leading process was last seen alive, and when it came to a place that it knows nothing of.
OF_IDENTITY = "identity:"
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


_SINCE = select(
    func.bool_or(
        and_(alerts.c.status == AlertStatus.FIRING, alerts.c.payload["severity"].astext == bindparam("its_severity"))
    ).label("as_bad"),
    func.bool_or(
        and_(alerts.c.status == AlertStatus.RESOLVED, alerts.c.fingerprint == bindparam("its_fingerprint"))
    ).label("ended"),
).where(
    alerts.c.source == bindparam("its_source"),
    alerts.c.identity == bindparam("its_identity"),
    alerts.c.received_at >= bindparam("since"),
)


async def since(db: AsyncConnection, alert: Alert, when: datetime) -> tuple[bool, bool]:
    """Of a failure that a summary tells of: (whether it was as severe before, whether this very signal has ended)."""
    values = {
        "its_source": alert.source,
        "its_identity": alert.identity,
        "its_fingerprint": alert.fingerprint,
        "its_severity": alert.severity,
        "since": when,
    }
    row = (await db.execute(_SINCE, values)).one()
    return bool(row.as_bad), bool(row.ended)


_OVER = alerts.alias("over")


async def others_fire(db: AsyncConnection, alert: Alert) -> bool:
    """Whether another signal of the same failure, as of another of its pods, is told of there and has not ended."""
    over = select(_OVER.c.id).where(
        _OVER.c.source == alerts.c.source,
        _OVER.c.identity == alerts.c.identity,
        _OVER.c.fingerprint == alerts.c.fingerprint,
        _OVER.c.status == AlertStatus.RESOLVED,
        _OVER.c.received_at >= alerts.c.received_at,
    )
    found = await db.execute(
        select(alerts.c.id)
        .where(
            alerts.c.source == alert.source,
            alerts.c.identity == alert.identity,
            alerts.c.fingerprint != alert.fingerprint,
            alerts.c.status == AlertStatus.FIRING,
            alerts.c.incident_id.is_(None),
            ~over.exists(),
        )
        .limit(1)
    )
    return found.first() is not None


@dataclass(frozen=True, slots=True)
class Item:
    """One failure of a summary; `id` is its stored alert's."""

    id: int
    alert: Alert


async def items(db: AsyncConnection, summary: str, *, limit: int = 100) -> Sequence[Item]:
    """What a summary tells of and nobody has opened a card for, the oldest first, one for each identity."""
    rows = await db.execute(
        select(func.min(alerts.c.id).label("id"), alerts.c.identity)
        # From the few choices to their alerts, by the index on these.
        .join(key_choices, alerts.c.identity == func.substr(key_choices.c.key, len(OF_IDENTITY) + 1))
        .where(
            key_choices.c.key.startswith(OF_IDENTITY, autoescape=True),
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
