"""Storms: many incidents in one channel within a short time, told of by one message."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Integer, bindparam, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.store.outbox import put_summary, storm_key
from knowledge.store.tables import incidents, storms

# Incidents that open within this time count together; a storm goes on for as long as it is not quiet for LASTS.
WITHIN, LASTS = timedelta(minutes=5), timedelta(minutes=10)
MOST_LISTED = 15


# Each new incident asks, so these are built once.
_LATELY = (
    select(incidents.c.id)
    .where(
        incidents.c.channel == bindparam("its_channel"),
        incidents.c.opened_at > func.now() - WITHIN,
        incidents.c.merged_into.is_(None),
    )
    .limit(bindparam("most", type_=Integer))
    .subquery()
)
_GOING_ON = (
    select(storms.c.id)
    .where(storms.c.channel == bindparam("its_channel"), storms.c.last_at > func.now() - LASTS)
    .order_by(storms.c.id.desc())
    .limit(1)
    .scalar_subquery()
)
_WEATHER = select(select(func.count()).select_from(_LATELY).scalar_subquery().label("opened"), _GOING_ON.label("storm"))


async def weather(db: AsyncConnection, channel: str, *, most: int) -> tuple[int, int | None]:
    """How many incidents opened in the channel within WITHIN, counted up to `most`, and the storm that rages in it."""
    row = (await db.execute(_WEATHER, {"its_channel": channel, "most": most})).one()
    return row.opened, row.storm


async def begin(db: AsyncConnection, channel: str) -> int:
    """A new storm with its message, which is drawn when it is sent."""
    made = await db.execute(insert(storms).values(channel=channel).returning(storms.c.id))
    number = int(made.scalar_one())
    await put_summary(db, storm_key(number), channel)
    return number


_JOIN = (
    update(storms)
    .where(storms.c.id == bindparam("its_storm"))
    .values(last_at=func.now())
    .add_cte(
        update(incidents)
        .where(incidents.c.id == bindparam("its_id"))
        .values(storm_id=bindparam("its_storm"))
        .cte("joined")
    )
)


async def join(db: AsyncConnection, storm_id: int, incident_id: int) -> None:
    await db.execute(_JOIN, {"its_id": incident_id, "its_storm": storm_id})


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


_ONE = select(storms).where(storms.c.id == bindparam("its_storm"))
_BY_STATE = (
    select(incidents.c.state, func.count().label("many"))
    .where(incidents.c.storm_id == bindparam("its_storm"), incidents.c.merged_into.is_(None))
    .group_by(incidents.c.state)
)


async def read(db: AsyncConnection, storm_id: int) -> Storm | None:
    row = (await db.execute(_ONE, {"its_storm": storm_id})).one_or_none()
    if row is None:
        return None
    by_state = await db.execute(_BY_STATE, {"its_storm": storm_id})
    listed = await db.execute(_LISTED, {"storm_id": storm_id, "most": MOST_LISTED})
    return Storm(
        id=row.id,
        began_at=row.began_at,
        last_at=row.last_at,
        states={one.state: one.many for one in by_state},
        listed=[Listed(**one) for one in listed.mappings()],
    )
