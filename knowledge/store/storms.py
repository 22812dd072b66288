"""Storms: many incidents in one channel within a short time, told of by one message."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.store.outbox import put_summary, storm_key
from knowledge.store.tables import incidents, storms

# Incidents that open within this time count together; a storm goes on for as long as it is not quiet for LASTS.
WITHIN, LASTS = timedelta(minutes=5), timedelta(minutes=10)
MOST_LISTED = 15


async def opened_lately(db: AsyncConnection, channel: str, *, most: int) -> int:
    """How many incidents opened in the channel within WITHIN; counted up to `most`, for each one asks."""
    lately = (
        select(incidents.c.id)
        .where(
            incidents.c.channel == channel,
            incidents.c.opened_at > func.now() - WITHIN,
            incidents.c.merged_into.is_(None),
        )
        .limit(most)
        .subquery()
    )
    return int((await db.execute(select(func.count()).select_from(lately))).scalar_one())


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
    await put_summary(db, storm_key(number), channel)
    return number


async def join(db: AsyncConnection, storm_id: int, incident_id: int) -> None:
    await db.execute(update(incidents).where(incidents.c.id == incident_id).values(storm_id=storm_id))
    await db.execute(update(storms).where(storms.c.id == storm_id).values(last_at=func.now()))


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
