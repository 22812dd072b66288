"""Where people told the diagnosis of an incident to look, and where not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.store.tables import steers


@dataclass(frozen=True, slots=True)
class Steered:
    """The newest word: what it says, as knowledge/steering.py reads it, and who said it; `since` the first came."""

    payload: Mapping[str, Sequence[str]]
    set_by: str
    since: datetime


async def add(
    db: AsyncConnection, incident_id: int, *, key: str, payload: Mapping[str, Sequence[str]], by: str, most: int
) -> bool:
    """Keep one more word; False where it is kept already, and where the incident has had `most` of them."""
    had = select(func.count()).select_from(steers).where(steers.c.incident_id == incident_id)
    if (await db.execute(had)).scalar_one() >= most:
        return False
    statement = insert(steers).values(incident_id=incident_id, key=key, payload=dict(payload), set_by=by)
    made = await db.execute(statement.on_conflict_do_nothing(index_elements=["key"]).returning(steers.c.id))
    return made.first() is not None


_LATEST = (
    select(steers.c.payload, steers.c.set_by, func.min(steers.c.set_at).over().label("since"))
    .where(steers.c.incident_id == bindparam("its_id"))
    .order_by(steers.c.id.desc())
    .limit(1)
)


async def latest(db: AsyncConnection, incident_id: int) -> Steered | None:
    row = (await db.execute(_LATEST, {"its_id": incident_id})).one_or_none()
    return Steered(row.payload, row.set_by, row.since) if row else None
