"""Imported items: which lines are here already, and putting in those that are not."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.importing import PastIncident
from knowledge.ports import Vector
from knowledge.store import memory
from knowledge.store.tables import knowledge_items


class Known(NamedTuple):
    """What is stored under an id: where it came from, the digest of its line, and when it happened."""

    source: str
    digest: str
    occurred_at: datetime


async def known(db: AsyncConnection, ids: Sequence[str]) -> Mapping[str, Known]:
    """By id, those of `ids` that are stored."""
    rows = await db.execute(
        select(
            knowledge_items.c.id, knowledge_items.c.source, knowledge_items.c.digest, knowledge_items.c.occurred_at
        ).where(knowledge_items.c.id.in_(ids))
    )
    return {row.id: Known(row.source, row.digest, row.occurred_at) for row in rows}


async def put(
    db: AsyncConnection, past: PastIncident, before: Known | None, *, vector: Vector, vector_model: str
) -> None:
    """Insert an imported item or replace the one before, which keeps its time where the line does not say one."""
    item = past.item
    if before and not past.dated:
        item = replace(item, occurred_at=before.occurred_at)
    await memory.remember(db, item, vector=vector, vector_model=vector_model, digest=past.digest)
