"""The append-only audit log.

Rows are written unchained, in the transaction of what they record. One sealing job numbers and chains them in batches
over each payload's salted digest and the row's time, so that a payload can be erased later and the chain still
verifies. The number and hash of the last sealed row are kept in a table of their own as well, so that rows cut off the
end are missed. Whoever may write every table could still make all of it anew: against that, a head is kept elsewhere.
"""

import hashlib
import json
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Integer, bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.store.tables import audit, audit_head

GENESIS = b"\0" * 32
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Any constant: it keeps two sealers apart.
_SEALING_LOCK = 7_305_001


def _digest(salt: bytes, what: str, actor: str, incident_id: int | None, payload: Mapping[str, Any]) -> bytes:
    body = json.dumps([what, actor, incident_id, dict(payload)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(salt + body.encode()).digest()


def _link(previous: bytes, number: int, digest: bytes, at: datetime | None) -> bytes:
    """`at` is None for a row that was sealed before the time was part of the chain."""
    when = b"" if at is None else ((at - _EPOCH) // timedelta(microseconds=1)).to_bytes(8, "big", signed=True)
    return hashlib.sha256(previous + number.to_bytes(8, "big") + digest + when).digest()


_RECORD = insert(audit)


async def record(
    db: AsyncConnection, what: str, *, actor: str = "codehealer", incident_id: int | None = None, **payload: Any
) -> None:
    """Write one row. `payload` holds JSON values and no secrets; it is part of the caller's transaction."""
    salt = os.urandom(16)
    await db.execute(
        _RECORD,
        {
            "what": what,
            "actor": actor,
            "incident_id": incident_id,
            "payload": payload,
            "salt": salt,
            "digest": _digest(salt, what, actor, incident_id, payload),
        },
    )


_ENDS = tuple(f"execution.{state}" for state in ("acted", "failed", "refused", "undone"))
_END = select(audit.c.id).where(
    audit.c.incident_id == bindparam("of_incident"),
    audit.c.what.in_(_ENDS),
    # As text: a cast may meet the payloads of other rows, as the plan goes.
    audit.c.payload["execution"].as_string() == bindparam("of_execution"),
)


async def has_end(db: AsyncConnection, incident_id: int, execution_id: int) -> bool:
    """Whether a row tells already how an execution ended."""
    found = await db.execute(_END.limit(1), {"of_incident": incident_id, "of_execution": str(execution_id)})
    return found.first() is not None


_QUEUED = select(func.coalesce(func.max(audit.c.id), 0)).where(
    audit.c.incident_id == bindparam("of_incident"), audit.c.what == "execution.queued"
)
_TAKEN = select(audit.c.id).where(
    audit.c.incident_id == bindparam("of_incident"),
    audit.c.what.in_(("incident.by_hand", "incident.took")),  # the latter may have taken in one that was taken over
    audit.c.id > _QUEUED.scalar_subquery(),
)


async def taken_since_queued(db: AsyncConnection, incident_id: int) -> bool:
    """Whether anybody took an incident over after its newest execution was queued; both happen under its lock."""
    return (await db.execute(_TAKEN.limit(1), {"of_incident": incident_id})).first() is not None


# Done every second, so built once.
_LOCK = text("SELECT pg_advisory_xact_lock(:key)")
_HEAD = select(audit_head.c.number, audit_head.c.chain)
_UNSEALED = (
    select(audit.c.id, audit.c.digest, audit.c.at)
    .where(audit.c.number.is_(None))
    .order_by(audit.c.id)
    .limit(bindparam("most", type_=Integer))
)
_SEAL = (
    update(audit)
    .where(audit.c.id == bindparam("its_id"))
    .values(number=bindparam("its_number"), chain=bindparam("its_chain"), timed=True)
)


async def seal(db: AsyncConnection, *, batch: int = 1000) -> int:
    """Number and chain the oldest unsealed rows; how many were sealed."""
    await db.execute(_LOCK, {"key": _SEALING_LOCK})
    head = await _head(db) or await _last(db)
    # From the head, not from the last row: where rows were cut off, the gap stays to be seen.
    number, chain = (head.number, head.chain) if head else (0, GENESIS)
    rows = (await db.execute(_UNSEALED, {"most": batch})).all()
    sealed = []
    for row in rows:
        number += 1
        chain = _link(chain, number, row.digest, row.at)
        sealed.append({"its_id": row.id, "its_number": number, "its_chain": chain})
    if sealed:
        await db.execute(_SEAL, sealed)
        await _keep_head(db, Head(number, chain))
    return len(rows)


@dataclass(frozen=True, slots=True)
class Head:
    """Number and hash of the last sealed row."""

    number: int
    chain: bytes


async def _head(db: AsyncConnection) -> Head | None:
    row = (await db.execute(_HEAD)).one_or_none()
    return Head(row.number, row.chain) if row else None


async def _last(db: AsyncConnection) -> Head | None:
    """The last row itself: only for a database whose head was lost."""
    query = select(audit.c.number, audit.c.chain).where(audit.c.number.is_not(None))
    row = (await db.execute(query.order_by(audit.c.number.desc()).limit(1))).one_or_none()
    return Head(row.number, row.chain) if row else None


async def _keep_head(db: AsyncConnection, head: Head) -> None:
    values = {"number": head.number, "chain": head.chain, "sealed_at": func.now()}
    statement = insert(audit_head).values(one=True, **values)
    await db.execute(statement.on_conflict_do_update(index_elements=["one"], set_=values))


@dataclass(frozen=True, slots=True)
class Entry:
    """A sealed row; `payload` is None where it was erased."""

    number: int
    at: datetime
    what: str
    actor: str
    incident_id: int | None
    payload: Mapping[str, Any] | None


async def last_number(db: AsyncConnection) -> int:
    """The number of the last sealed row, 0 before the first."""
    head = await _head(db)
    return head.number if head else 0


_AFTER = (
    select(audit.c.number, audit.c.at, audit.c.what, audit.c.actor, audit.c.incident_id, audit.c.payload)
    .where(audit.c.number > bindparam("after"))
    .order_by(audit.c.number)
    .limit(bindparam("most"))
)


async def sealed_after(db: AsyncConnection, number: int, *, limit: int = 1000) -> list[Entry]:
    """Sealed rows with greater numbers, in order."""
    rows = await db.execute(_AFTER, {"after": number, "most": limit})
    return [Entry(**row) for row in rows.mappings()]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows: from a time on, until before one, of an incident; None: all."""

    since: datetime | None = None
    until: datetime | None = None
    incident_id: int | None = None


async def exported(db: AsyncConnection, wanted: Wanted) -> AsyncIterator[dict[str, Any]]:
    """Sealed rows, oldest first, with all that it takes to check the chain elsewhere: see docs/operations.md."""
    query = select(audit).where(audit.c.number.is_not(None))
    if wanted.since:
        query = query.where(audit.c.at >= wanted.since)
    if wanted.until:
        query = query.where(audit.c.at < wanted.until)
    if wanted.incident_id is not None:
        query = query.where(audit.c.incident_id == wanted.incident_id)
    rows = await db.stream(query.order_by(audit.c.number))
    async for row in rows:
        yield {
            "number": row.number, "at": row.at.isoformat(), "what": row.what, "actor": row.actor,
            "incident": row.incident_id, "payload": row.payload, "erased": row.payload is None,
            "salt": row.salt.hex(), "digest": row.digest.hex(), "chain": row.chain.hex(),
            "timed": row.timed,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class ChainReport:
    """Rows of the chain that were checked, rows that wait, and the first wrong number (None: whole).

    `cut_off` counts the rows that are missing at the end, `erased` those whose payload was taken out; `head` is the
    last row of what was found, to be kept elsewhere.
    """

    sealed: int
    unsealed: int
    broken_at: int | None
    cut_off: int = 0
    erased: int = 0
    head: Head = Head(0, GENESIS)


async def verify(db: AsyncConnection, *, known: Head | None = None) -> ChainReport:
    """Recompute the chain, each digest whose payload is still there, and compare its end with the head.

    `known` is a head that was kept elsewhere: a log that was made anew as a whole does not have it.
    """
    # The head first: what is sealed meanwhile only makes the chain longer than it.
    head = await _head(db) or Head(0, GENESIS)
    heads = {one.number: one.chain for one in (known, head) if one and one.number}
    if known and heads.get(known.number) != known.chain:
        heads[known.number] = b""  # it is the head's own number, with another hash: no chain has both
    chain, expected, erased, broken = GENESIS, 0, 0, None
    rows = await db.stream(select(audit).where(audit.c.number.is_not(None)).order_by(audit.c.number))
    async for row in rows:
        expected += 1
        chain = _link(chain, expected, row.digest, row.at if row.timed else None)
        erased += row.payload is None
        whole = row.payload is None or row.digest == _digest(
            row.salt, row.what, row.actor, row.incident_id, row.payload
        )
        if row.number != expected or row.chain != chain or not whole or heads.get(expected, chain) != chain:
            broken = expected
            await rows.close()
            break
    cut_off = 0 if broken else max(0, max(heads, default=0) - expected)
    if broken is None and (cut_off or (expected and not head.number)):
        # Its end, or the record of where its end was, is gone.
        broken = expected + 1
    unsealed = (await db.execute(text("SELECT count(*) FROM audit WHERE number IS NULL"))).scalar_one()
    return ChainReport(expected, unsealed, broken, cut_off, erased, Head(expected, chain))
