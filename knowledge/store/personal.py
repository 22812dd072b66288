"""What a person has chosen for themselves: what their Home shows, and what the bot may send them directly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Boolean, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.periods import rest_of_hours
from knowledge.store.codec import from_json, to_json
from knowledge.store.tables import person_settings

PERIODS_DAYS = (7, 30, 90)


@dataclass(frozen=True, slots=True)
class Personal:
    """One person's choices; as it stands here, those of somebody who has chosen nothing.

    `service` and `environment` are "" for all. `quiet_from` and `quiet_until` are hours such as "22:00" in `timezone`,
    both "" for no quiet hours.
    """

    service: str = ""
    environment: str = ""
    days: int = PERIODS_DAYS[0]
    reminders: bool = True
    digest: bool = False
    quiet_from: str = ""
    quiet_until: str = ""
    timezone: str = "UTC"

    def quiet_for(self, now: datetime) -> timedelta:
        """How long the person's quiet hours still last; nothing outside them."""
        if not self.quiet_from:
            return timedelta(0)
        return rest_of_hours(self.quiet_from, self.quiet_until, self.timezone, now)


async def of(db: AsyncConnection, user: str) -> Personal:
    return (await of_all(db, [user])).get(user, Personal())


async def of_all(db: AsyncConnection, users: Sequence[str]) -> Mapping[str, Personal]:
    """The choices of those who have made any."""
    rows = await db.execute(select(person_settings).where(person_settings.c.user.in_(users)))
    return {row.user: from_json(Personal, row.payload) for row in rows}


async def who_want_digests(db: AsyncConnection) -> Mapping[str, Personal]:
    wants = person_settings.c.payload["digest"].astext.cast(Boolean)
    rows = await db.execute(select(person_settings).where(wants).order_by(person_settings.c.user))
    return {row.user: from_json(Personal, row.payload) for row in rows}


async def change(db: AsyncConnection, user: str, **chosen: Any) -> None:
    """Set some of a person's choices; the others stay, also those that another window sets at the same time."""
    whole = to_json(Personal(**chosen))
    part = {name: whole[name] for name in chosen}
    statement = insert(person_settings).values(user=user, payload=whole)
    await db.execute(
        statement.on_conflict_do_update(
            index_elements=["user"],
            set_={"payload": person_settings.c.payload.op("||")(part), "changed_at": func.now()},
        )
    )
