"""Alerts that fire and open no card, because a silence or maintenance keeps them quiet."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Boolean, Text, bindparam, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.model import Alert, AlertStatus
from knowledge.store.codec import from_json, to_json
from knowledge.store.tables import alerts

MOST = 2_000


@dataclass(frozen=True, slots=True)
class Held:
    """One kept quiet. `why` is a clause for people; `until` None where nobody knows.

    `there`: its sender was seen to have it.
    """

    id: int
    alert: Alert
    why: str
    until: datetime | None
    there: bool


async def hold(
    db: AsyncConnection, alert: Alert, *, why: str, until: datetime | None, there_at: datetime | None = None
) -> None:
    """Store the alert as kept quiet; again and with another reason, as often as it comes.

    `there_at` is when its sender was seen to have it, None where that is not known.
    """
    statement = insert(alerts).values(
        source=alert.source,
        identity=alert.identity,
        fingerprint=alert.fingerprint,
        started=alert.started_at.isoformat() if alert.started_at else "",
        status=alert.status,
        channel=alert.channel,
        message_ts=alert.message_ts,
        payload=to_json(alert),
        held=why,
        held_until=until,
        there_at=there_at,
    )
    new = statement.excluded
    await db.execute(
        statement.on_conflict_do_update(
            index_elements=["source", "identity", "fingerprint", "started", "status"],
            set_={
                "seen": alerts.c.seen + 1,
                "payload": new.payload,
                "held": new.held,
                "held_until": new.held_until,
                "there_at": func.coalesce(new.there_at, alerts.c.there_at),
            },
        )
    )


async def listed(db: AsyncConnection, *, limit: int = MOST) -> Sequence[Held]:
    """Those that are kept quiet, oldest first."""
    rows = await db.execute(
        select(alerts.c.id, alerts.c.payload, alerts.c.held, alerts.c.held_until, alerts.c.there_at)
        .where(alerts.c.held != "")
        .order_by(alerts.c.id)
        .limit(limit)
    )
    return [
        Held(row.id, from_json(Alert, row.payload), row.held, row.held_until, row.there_at is not None) for row in rows
    ]


async def release(db: AsyncConnection, held_id: int) -> bool:
    """Forget one, so that it counts as new when it comes again; False where another process has done so."""
    gone = await db.execute(delete(alerts).where(alerts.c.id == held_id, alerts.c.held != ""))
    return bool(gone.rowcount)


# Built once: every alert that resolves takes it.
_ENDED = (
    update(alerts)
    .where(
        alerts.c.held != "",
        alerts.c.source == bindparam("its_source"),
        alerts.c.identity == bindparam("its_identity"),
        alerts.c.fingerprint == bindparam("its_fingerprint"),
        # The late end of an earlier spell ends nothing that began since. (UTC in ISO form: it sorts as text.)
        or_(bindparam("its_start", type_=Text) == "", alerts.c.started <= bindparam("its_start", type_=Text)),
        # The word of an app that is not known ends only what its like have told of.
        or_(bindparam("its_trusted", type_=Boolean), alerts.c.payload["trusted"].as_boolean().is_(False)),
    )
    .values(held="")
)


async def ended(db: AsyncConnection, alert: Alert) -> None:
    """The alert has resolved: nothing is left to be told when the quiet ends."""
    await db.execute(
        _ENDED,
        {
            "its_source": alert.source,
            "its_identity": alert.identity,
            "its_fingerprint": alert.fingerprint,
            "its_start": alert.started_at.isoformat() if alert.started_at else "",
            "its_trusted": alert.trusted,
        },
    )


async def informational(db: AsyncConnection, *, since: datetime, look_at: int = 500) -> Sequence[Alert]:
    """Firing alerts that nobody has to do anything about, among the newest of those without an incident."""
    newest = (
        select(alerts.c.payload, alerts.c.received_at, alerts.c.status, alerts.c.held)
        .where(alerts.c.incident_id.is_(None))
        .order_by(alerts.c.id.desc())
        .limit(look_at)
        .subquery()
    )
    rows = await db.execute(
        select(newest.c.payload).where(
            newest.c.received_at >= since, newest.c.status == AlertStatus.FIRING, newest.c.held == ""
        )
    )
    found = (from_json(Alert, row.payload) for row in rows)
    return [alert for alert in found if not alert.actionable]
