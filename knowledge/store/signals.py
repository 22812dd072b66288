"""Alerts as their senders know them: what fires here by whose word, and what a message told of."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import DateTime, Text, all_, any_, bindparam, func, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.model import Alert, AlertStatus
from knowledge.store.codec import from_json
from knowledge.store.incidents import ENDED
from knowledge.store.tables import alerts, incidents

# What fires here by a source's word and has not ended.
_OPEN = (
    select(alerts.c.id)
    .join(incidents, incidents.c.id == alerts.c.incident_id)
    .where(
        alerts.c.source == bindparam("of_source"),
        alerts.c.status == AlertStatus.FIRING,
        incidents.c.resolved_at.is_(None),
        ~ENDED,
    )
    .order_by(alerts.c.id)
)
_NAMED = bindparam("named", type_=ARRAY(Text))
_COME_BY = bindparam("come_by", type_=DateTime(timezone=True))
_GONE = _OPEN.where(
    alerts.c.there_at.is_not(None),
    alerts.c.fingerprint != all_(_NAMED),
    alerts.c.received_at <= _COME_BY,
)
_BY_FINGERPRINT = _OPEN.where(alerts.c.fingerprint == any_(_NAMED))
_BY_WORKLOAD = _OPEN.where(
    alerts.c.payload["workload"].as_string() == any_(_NAMED),
    alerts.c.received_at <= _COME_BY,
    # The end of one alert closes an incident of such a source, with whatever else has told of it.
    incidents.c.last_alert_at <= _COME_BY,
)

_TOLD_BY = select(alerts.c.payload).where(
    alerts.c.channel == bindparam("its_channel"),
    alerts.c.message_ts == bindparam("its_ts"),
    alerts.c.status == AlertStatus.FIRING,
    or_(alerts.c.incident_id.is_not(None), alerts.c.held != ""),
    ~ENDED,
)


async def told_by(db: AsyncConnection, channel: str, message_ts: str) -> Sequence[Alert]:
    """The alerts that a Slack message told of and that have not ended."""
    if not message_ts:
        return ()
    rows = await db.execute(_TOLD_BY, {"its_channel": channel, "its_ts": message_ts})
    return [from_json(Alert, row.payload) for row in rows]


async def open_with(db: AsyncConnection, source: str, fingerprints: Iterable[str]) -> Sequence[int]:
    """Of what fires here by a source's word: the rows with one of these fingerprints."""
    return (await db.scalars(_BY_FINGERPRINT, {"of_source": source, "named": list(fingerprints)})).all()


async def open_about(
    db: AsyncConnection, source: str, workloads: Iterable[str], *, come_by: datetime
) -> Sequence[int]:  # fmt: skip
    """Of what fires here by a source's word: the rows about one of these workloads.

    Only of incidents that nothing has told of since then: what is newer was not known yet to who says that all is well.
    """
    values = {"of_source": source, "named": list(workloads), "come_by": come_by}
    return (await db.scalars(_BY_WORKLOAD, values)).all()


async def gone(db: AsyncConnection, source: str, there: Iterable[str], *, come_by: datetime) -> Sequence[int]:
    """Rows of what fires here, was seen at its source once, and is not among the fingerprints that are `there` now.

    Only what has come by then, since what is newer may not be there yet.
    """
    return (await db.scalars(_GONE, {"of_source": source, "named": list(there), "come_by": come_by})).all()


async def alerts_of(db: AsyncConnection, ids: Sequence[int]) -> Sequence[Alert]:
    """The stored alerts of these rows, in the order of their coming."""
    rows = await db.execute(select(alerts.c.payload).where(alerts.c.id.in_(ids)).order_by(alerts.c.id))
    return [from_json(Alert, row.payload) for row in rows]


async def seen_there(db: AsyncConnection, ids: Sequence[int]) -> None:
    """Their sender was asked, and has these."""
    if ids:
        await db.execute(update(alerts).where(alerts.c.id.in_(ids)).values(there_at=func.now()))


_OVER = alerts.alias("over")


async def known_starts(
    db: AsyncConnection, source: str, identities: Sequence[str], *, over_for: timedelta
) -> Mapping[tuple[str, str, str], datetime | None]:
    """(identity, fingerprint, start) of the firing alerts of a source that are stored, and when the end of each came.

    None for what fires, and for what has not been over for so long.
    """
    over = select(func.max(_OVER.c.received_at)).where(
        _OVER.c.source == alerts.c.source,
        _OVER.c.identity == alerts.c.identity,
        _OVER.c.fingerprint == alerts.c.fingerprint,
        _OVER.c.started == alerts.c.started,
        _OVER.c.status == AlertStatus.RESOLVED,
        _OVER.c.received_at >= alerts.c.received_at,
        _OVER.c.received_at < func.now() - over_for,
    )
    rows = await db.execute(
        select(
            alerts.c.identity, alerts.c.fingerprint, alerts.c.started, over.scalar_subquery().label("over_at")
        ).where(
            alerts.c.source == source,
            alerts.c.identity.in_(list(identities)),
            alerts.c.status == AlertStatus.FIRING,
        )
    )
    return {(row.identity, row.fingerprint, row.started): row.over_at for row in rows}


async def told_of(db: AsyncConnection, *, since: datetime) -> Mapping[str, datetime | None]:
    """By the name of a thing when an alert last told of it, of incidents since; None where one of them is open."""
    rows = await db.execute(
        select(
            incidents.c.workload,
            incidents.c.target["name"].as_string().label("target"),
            incidents.c.resolved_at,
            incidents.c.last_alert_at,
        )
        .where(or_(incidents.c.resolved_at.is_(None), incidents.c.last_alert_at >= since))
        .order_by(incidents.c.resolved_at.is_(None), incidents.c.last_alert_at)
    )
    return {
        name: None if row.resolved_at is None else row.last_alert_at
        for row in rows
        for name in (row.workload, row.target)
        if name
    }
