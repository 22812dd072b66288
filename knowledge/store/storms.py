"""Storms: many incidents in one channel within a short time, told of by one message."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import case, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.store.database import notify
from knowledge.store.outbox import CHANGED, CHANNEL, NEW, storm_key
from knowledge.store.tables import incidents, outbox, storms

# Incidents that open within this time count together; a storm goes on for as long as it is not quiet for LASTS.
WITHIN, LASTS = timedelta(minutes=5), timedelta(minutes=10)
MOST_LISTED = 15


async def opened_lately(db: AsyncConnection, channel: str) -> int:
    """How many incidents opened in the channel within WITHIN."""
    counted = await db.execute(
        select(func.count())
        .select_from(incidents)
        .where(
            incidents.c.channel == channel,
            incidents.c.opened_at > func.now() - WITHIN,
            incidents.c.merged_into.is_(None),
        )
    )
    return int(counted.scalar_one())


async def going_on(db: AsyncConnection, channel: str) -> int | None:
    """The storm that rages in the channel."""
    found = await db.execute(
        select(storms.c.id)
        .where(storms.c.channel == channel, storms.c.last_at > func.now() - LASTS)
        .order_by(storms.c.id.desc())
        .limit(1)
    )
    return found.scalar_one_or_none()


async def begin(db: AsyncConnection, channel: str) -> int:
    """A new storm with its message, which is drawn when it is sent."""
    made = await db.execute(insert(storms).values(channel=channel).returning(storms.c.id))
    number = int(made.scalar_one())
    await db.execute(
        insert(outbox).values(
            kind="post", key=storm_key(number), channel=channel, payload={"storm": number, "text": ""}, priority=NEW
        )
    )
    await notify(db, CHANNEL)
    return number


async def join(db: AsyncConnection, storm_id: int, incident_id: int) -> None:
    await db.execute(update(incidents).where(incidents.c.id == incident_id).values(storm_id=storm_id))
    await db.execute(update(storms).where(storms.c.id == storm_id).values(last_at=func.now()))


async def show(db: AsyncConnection, storm_id: int, channel: str, *, in_s: float) -> None:
    """Edit the storm's message some time soon; a waiting edit is not doubled."""
    statement = upsert(outbox).values(
        kind="edit",
        key=f"edit:{storm_key(storm_id)}",
        channel=channel,
        payload={"of": storm_key(storm_id), "storm": storm_id},
        priority=CHANGED,
        not_before=func.now() + timedelta(seconds=in_s),
    )
    waiting = outbox.c.state.in_(["queued", "sending"])
    due = statement.excluded.not_before
    await db.execute(
        statement.on_conflict_do_update(
            index_elements=["key"],
            set_={
                "state": "queued",
                "version": outbox.c.version + 1,
                "attempts": 0,
                "not_before": case((waiting, func.least(outbox.c.not_before, due)), else_=due),
            },
        )
    )
    await notify(db, CHANNEL)


@dataclass(frozen=True, slots=True)
class Listed:
    """An incident of a storm, as its message lists it."""

    id: int
    title: str
    service: str
    state: str


@dataclass(frozen=True, slots=True)
class Storm:
    """A storm as its message tells of it: incidents by state, and those that need people first."""

    id: int
    began_at: datetime
    last_at: datetime
    states: Mapping[str, int]
    listed: Sequence[Listed]


_LISTED = text("""
    SELECT id, title, COALESCE(NULLIF(service, ''), NULLIF(workload, ''), repository) AS service, state
    FROM incidents WHERE storm_id = :storm_id AND resolved_at IS NULL
    ORDER BY state NOT IN ('waiting', 'escalated', 'not_verified', 'undone', 'blocked'), id LIMIT :most
""")


async def read(db: AsyncConnection, storm_id: int) -> Storm | None:
    row = (await db.execute(select(storms).where(storms.c.id == storm_id))).one_or_none()
    if row is None:
        return None
    by_state = await db.execute(
        select(incidents.c.state, func.count().label("many"))
        .where(incidents.c.storm_id == storm_id, incidents.c.merged_into.is_(None))
        .group_by(incidents.c.state)
    )
    listed = await db.execute(_LISTED, {"storm_id": storm_id, "most": MOST_LISTED})
    return Storm(
        id=row.id,
        began_at=row.began_at,
        last_at=row.last_at,
        states={one.state: one.many for one in by_state},
        listed=[Listed(**one) for one in listed.mappings()],
    )
