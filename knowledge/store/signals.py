"""Alerts as their senders know them: what fires here by whose word, and what a message told of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import bindparam, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.model import Alert, AlertStatus
from knowledge.store.codec import from_json
from knowledge.store.incidents import ENDED
from knowledge.store.tables import alerts, incidents

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OpenSignal:
    """Of a stored alert that fires, what tells whether it still does; there may be thousands.

    `there_at` is when its sender was last seen to have it; None: never.
    """

    fingerprint: str
    workload: str
    received_at: datetime
    there_at: datetime | None


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


async def open_signals(db: AsyncConnection, source: str, *, limit: int = 5_000) -> Mapping[int, OpenSignal]:
    """What fires here by a source's word and has not ended, by the alert's row: the newest; the log says if more do."""
    found = await db.execute(
        select(
            alerts.c.id,
            alerts.c.fingerprint,
            alerts.c.payload["workload"].as_string().label("workload"),
            alerts.c.received_at,
            alerts.c.there_at,
        )
        .join(incidents, incidents.c.id == alerts.c.incident_id)
        .where(
            alerts.c.source == source,
            alerts.c.status == AlertStatus.FIRING,
            incidents.c.resolved_at.is_(None),
            ~ENDED,
        )
        .order_by(alerts.c.id.desc())
        .limit(limit + 1)
    )
    rows = found.all()
    if len(rows) > limit:
        log.warning("open_alerts_bounded", source=source, kept=limit)
        rows = rows[:limit]
    return {row.id: OpenSignal(row.fingerprint, row.workload or "", row.received_at, row.there_at) for row in rows}


async def alerts_of(db: AsyncConnection, ids: Sequence[int]) -> Sequence[Alert]:
    """The stored alerts of these rows, in the order of their coming."""
    rows = await db.execute(select(alerts.c.payload).where(alerts.c.id.in_(ids)).order_by(alerts.c.id))
    return [from_json(Alert, row.payload) for row in rows]


async def seen_there(db: AsyncConnection, ids: Sequence[int]) -> None:
    """Their sender was asked, and has these."""
    if ids:
        await db.execute(update(alerts).where(alerts.c.id.in_(ids)).values(there_at=func.now()))


async def known_starts(db: AsyncConnection, source: str, identities: Sequence[str]) -> set[tuple[str, str, str]]:
    """(identity, fingerprint, start) of the firing alerts of a source that are stored."""
    rows = await db.execute(
        select(alerts.c.identity, alerts.c.fingerprint, alerts.c.started).where(
            alerts.c.source == source,
            alerts.c.identity.in_(list(identities)),
            alerts.c.status == AlertStatus.FIRING,
        )
    )
    return {(row.identity, row.fingerprint, row.started) for row in rows}


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
