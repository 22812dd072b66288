"""The append-only audit log.

Rows are written unchained, in the transaction of what they record. One sealing job numbers and chains them in batches
over each payload's salted digest, so that a payload can be erased later and the chain still verifies.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.store.tables import audit

GENESIS = b"\0" * 32
# Any constant: it keeps two sealers apart.
_SEALING_LOCK = 7_305_001


def _digest(salt: bytes, what: str, actor: str, incident_id: int | None, payload: Mapping[str, Any]) -> bytes:
    body = json.dumps([what, actor, incident_id, dict(payload)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(salt + body.encode()).digest()


def _link(previous: bytes, number: int, digest: bytes) -> bytes:
    return hashlib.sha256(previous + number.to_bytes(8, "big") + digest).digest()


async def record(
    db: AsyncConnection, what: str, *, actor: str = "codehealer", incident_id: int | None = None, **payload: Any
) -> None:
    """Write one row. `payload` holds JSON values and no secrets; it is part of the caller's transaction."""
    salt = os.urandom(16)
    await db.execute(
        insert(audit).values(
            what=what,
            actor=actor,
            incident_id=incident_id,
            payload=payload,
            salt=salt,
            digest=_digest(salt, what, actor, incident_id, payload),
        )
    )


async def seal(db: AsyncConnection, *, batch: int = 1000) -> int:
    """Number and chain the oldest unsealed rows; how many were sealed."""
    await db.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SEALING_LOCK})
    last = (
        await db.execute(
            select(audit.c.number, audit.c.chain)
            .where(audit.c.number.is_not(None))
            .order_by(audit.c.number.desc())
            .limit(1)
        )
    ).one_or_none()
    number, chain = (last.number, last.chain) if last else (0, GENESIS)
    rows = (
        await db.execute(
            select(audit.c.id, audit.c.digest).where(audit.c.number.is_(None)).order_by(audit.c.id).limit(batch)
        )
    ).all()
    for row in rows:
        number += 1
        chain = _link(chain, number, row.digest)
        await db.execute(update(audit).where(audit.c.id == row.id).values(number=number, chain=chain))
    return len(rows)


@dataclass(frozen=True, slots=True)
class ChainReport:
    """Rows of the chain that were checked, rows that wait, and the first wrong number (null: whole)."""

    sealed: int
    unsealed: int
    broken_at: int | None


async def verify(db: AsyncConnection) -> ChainReport:
    """Recompute the chain, and each digest whose payload is still there."""
    chain, expected, broken = GENESIS, 0, None
    rows = await db.stream(select(audit).where(audit.c.number.is_not(None)).order_by(audit.c.number))
    async for row in rows:
        expected += 1
        chain = _link(chain, expected, row.digest)
        whole = row.payload is None or row.digest == _digest(
            row.salt, row.what, row.actor, row.incident_id, row.payload
        )
        if row.number != expected or row.chain != chain or not whole:
            broken = expected
            await rows.close()
            break
    unsealed = (await db.execute(text("SELECT count(*) FROM audit WHERE number IS NULL"))).scalar_one()
    return ChainReport(sealed=expected, unsealed=unsealed, broken_at=broken)
