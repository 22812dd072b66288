"""Remembered items as people review them: reading, correcting and forgetting them."""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.model import FailureKind, KnowledgeItem, TrackRecord
from knowledge.ports import Vector
from knowledge.store import analytics, memory
from knowledge.store.memory import item_of
from knowledge.store.tables import knowledge_items

# Written by a person as a file. What people said in Slack is not among them: it may be for one channel's eyes.
WRITTEN = "casebook"
REVIEWED_SOURCES = ("incident", memory.EARLIER_FIX, "import", WRITTEN)


@dataclass(frozen=True, slots=True)
class Remembered:
    """An item, the columns that people have set right, and how its action did for its kind and environment."""

    item: KnowledgeItem
    corrected: tuple[str, ...]
    reason: str = ""  # of a rejection
    record: TrackRecord | None = None


_SHOWN = [column for column in knowledge_items.c if column.name not in {"words", "vector"}]
_RECORDS = text("""
    SELECT kind, environment, action,
        count(*) FILTER (WHERE outcome = 'verified') AS verified,
        count(*) FILTER (WHERE outcome IN ('not_verified', 'worse', 'failed')) AS failed,
        count(*) FILTER (WHERE outcome = 'rejected' AND reason = 'right_cause_wrong_fix') AS rejected
    FROM knowledge_items WHERE status <> 'wrong' AND kind IS NOT NULL AND action NOT IN ('', 'noop')
    GROUP BY kind, environment, action
""")


async def get(db: AsyncConnection, item_id: str, *, lock: bool = False) -> Remembered | None:
    query = select(*_SHOWN).where(knowledge_items.c.id == item_id)
    row = (await db.execute(query.with_for_update() if lock else query)).mappings().one_or_none()
    return Remembered(item_of(row), tuple(row["corrected"]), row["reason"]) if row else None


async def reviewed(db: AsyncConnection) -> AsyncIterator[Remembered]:
    """Every item that people review, by id, without holding them all in memory."""
    records = {
        (row.kind, row.environment, row.action): TrackRecord(
            FailureKind(row.kind), row.action, row.environment, row.verified, row.failed, row.rejected
        )
        for row in await db.execute(_RECORDS)
    }
    # By bytes, so that every server lists them in the same order.
    order = knowledge_items.c.id.collate("C")
    rows = await db.stream(select(*_SHOWN).where(knowledge_items.c.source.in_(REVIEWED_SOURCES)).order_by(order))
    async for row in rows.mappings():
        item = item_of(row)
        yield Remembered(
            item, tuple(row["corrected"]), row["reason"], records.get((item.kind, item.environment, item.action))
        )


async def reviewed_ids(db: AsyncConnection) -> Sequence[str]:
    rows = await db.execute(select(knowledge_items.c.id).where(knowledge_items.c.source.in_(REVIEWED_SOURCES)))
    return list(rows.scalars())


async def correct(
    db: AsyncConnection,
    before: Remembered,
    item: KnowledgeItem,
    fields: Collection[str],
    *,
    vector: Vector | None,
    vector_model: str,
) -> None:
    """Store `item` in place of `before` (read with `lock`), of which a person set `fields` right.

    A lesson that is stored again keeps those.
    """
    here = update(knowledge_items).where(knowledge_items.c.id == item.id)
    # What was set right before may be set right again.
    await db.execute(here.values(corrected=[name for name in before.corrected if name not in fields]))
    await memory.remember(db, item, vector=vector, vector_model=vector_model, reason=before.reason)
    corrected = sorted({*before.corrected, *fields} & set(memory.CORRECTABLE))
    await db.execute(here.values(corrected=corrected, status=item.status))
    await analytics.unsettle(db, [item.id])


async def forget(db: AsyncConnection, ids: Sequence[str]) -> int:
    """Remove items; how many there were. Their incidents stay."""
    await analytics.unsettle(db, ids)
    gone = await db.execute(delete(knowledge_items).where(knowledge_items.c.id.in_(ids)))
    return int(gone.rowcount)
