"""The Homes that people have open: who looked when, and what was published there last."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.store.tables import homes


@dataclass(frozen=True, slots=True)
class Home:
    """`view_hash` is Slack's word for the version that it shows, "" before the first; `shown` our digest of it.

    `charts` is false where Slack has refused a chart on this person's Home since it was opened.
    """

    user: str
    view_hash: str = ""
    shown: str = ""
    charts: bool = True


async def opened(db: AsyncConnection, user: str) -> None:
    """Somebody looks at it now; charts are tried again."""
    statement = insert(homes).values(user=user)
    await db.execute(
        statement.on_conflict_do_update(index_elements=["user"], set_={"opened_at": func.now(), "charts": True})
    )


async def get(db: AsyncConnection, user: str) -> Home | None:
    row = (await db.execute(select(homes).where(homes.c.user == user))).one_or_none()
    return Home(row.user, row.view_hash, row.shown, row.charts) if row else None


async def published(db: AsyncConnection, home: Home) -> None:
    """Note what Slack shows since now."""
    await db.execute(
        update(homes)
        .where(homes.c.user == home.user)
        .values(view_hash=home.view_hash, shown=home.shown, charts=home.charts, tended_at=func.now())
    )


async def looked_at(db: AsyncConnection, *, within: timedelta, most: int) -> Sequence[str]:
    """Whose Homes were opened lately: those that wait longest for a new look first."""
    query = select(homes.c.user).where(homes.c.opened_at > func.now() - within)
    rows = await db.execute(query.order_by(homes.c.tended_at.nulls_first()).limit(most))
    return rows.scalars().all()


async def tended(db: AsyncConnection, user: str) -> None:
    """It shows what it should; the others have their turn first."""
    await db.execute(update(homes).where(homes.c.user == user).values(tended_at=func.now()))


async def forget_older(db: AsyncConnection, *, than: timedelta) -> None:
    await db.execute(delete(homes).where(homes.c.opened_at < func.now() - than))
