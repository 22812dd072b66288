"""What people say has fixed an incident, from their words to the yes or no of one of them."""

from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.store.tables import fix_offers


@dataclass(frozen=True, slots=True)
class Offer:
    """A fix that somebody told of; `state` is open, remembered or declined. `text` is redacted."""

    id: int
    incident_id: int
    text: str
    told_by: str
    state: str
    decided_by: str


_COLUMNS = [fix_offers.c[name] for name in ("id", "incident_id", "text", "told_by", "state", "decided_by")]


async def add(db: AsyncConnection, incident_id: int, *, key: str, text: str, by: str, most: int) -> int | None:
    """A new offer's id; None for words that made one already, and where the incident has had `most` of them."""
    had = select(func.count()).select_from(fix_offers).where(fix_offers.c.incident_id == incident_id)
    if (await db.execute(had)).scalar_one() >= most:
        return None
    statement = insert(fix_offers).values(incident_id=incident_id, key=key, text=text, told_by=by)
    made = await db.execute(statement.on_conflict_do_nothing(index_elements=["key"]).returning(fix_offers.c.id))
    number = made.scalar_one_or_none()
    return int(number) if number is not None else None


async def get(db: AsyncConnection, offer_id: int) -> Offer | None:
    row = (await db.execute(select(*_COLUMNS).where(fix_offers.c.id == offer_id))).mappings().one_or_none()
    return Offer(**row) if row else None


async def decide(db: AsyncConnection, offer_id: int, state: str, *, by: str) -> Offer | None:
    """Decide an open offer, once; None where somebody has."""
    statement = (
        update(fix_offers)
        .where(fix_offers.c.id == offer_id, fix_offers.c.state == "open")
        .values(state=state, decided_by=by, decided_at=func.now())
        .returning(*_COLUMNS)
    )
    row = (await db.execute(statement)).mappings().one_or_none()
    return Offer(**row) if row else None
