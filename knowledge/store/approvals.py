"""Requests for approval: one row each, decided by one compare-and-set."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.model import Approval, ApprovalState
from knowledge.store.tables import approval_votes, approvals


def approval_of(row: RowMapping, votes: Sequence[str]) -> Approval:
    return Approval(
        id=row["id"],
        incident_id=row["incident_id"],
        plan_id=row["plan_id"],
        digest=row["digest"],
        state=ApprovalState(row["state"]),
        needed=row["needed"],
        who=tuple(row["who"]),
        until=row["until"],
        approved_by=tuple(votes),
        decided_by=row["decided_by"],
        reason=row["reason"],
        automatic=row["automatic"],
    )


async def _with_votes(db: AsyncConnection, row: RowMapping | None) -> Approval | None:
    if row is None:
        return None
    votes = await db.execute(
        select(approval_votes.c.user).where(approval_votes.c.approval_id == row["id"]).order_by(approval_votes.c.at)
    )
    return approval_of(row, votes.scalars().all())


async def ask(
    db: AsyncConnection,
    *,
    incident_id: int,
    plan_id: int,
    digest: str,
    needed: int,
    who: Sequence[str],
    until: datetime,
    automatic: bool = False,
) -> int:
    """Open a request; an automatic one is approved by policy from the start."""
    values: dict[str, Any] = {
        "incident_id": incident_id,
        "plan_id": plan_id,
        "digest": digest,
        "needed": needed,
        "who": list(who),
        "until": until,
        "automatic": automatic,
    }
    if automatic:
        values |= {"state": ApprovalState.APPROVED, "decided_by": "policy", "decided_at": func.now()}
    return int((await db.execute(insert(approvals).values(**values).returning(approvals.c.id))).scalar_one())


async def get(db: AsyncConnection, approval_id: int, *, lock: bool = False) -> Approval | None:
    query = select(approvals).where(approvals.c.id == approval_id)
    row = (await db.execute(query.with_for_update() if lock else query)).mappings().one_or_none()
    return await _with_votes(db, row)


async def latest(db: AsyncConnection, incident_id: int) -> Approval | None:
    query = select(approvals).where(approvals.c.incident_id == incident_id).order_by(approvals.c.id.desc()).limit(1)
    return await _with_votes(db, (await db.execute(query)).mappings().one_or_none())


async def vote(db: AsyncConnection, approval_id: int, user: str) -> int:
    """Count a person's yes once; how many different people have said yes."""
    await db.execute(insert(approval_votes).values(approval_id=approval_id, user=user).on_conflict_do_nothing())
    counted = await db.execute(
        select(func.count()).select_from(approval_votes).where(approval_votes.c.approval_id == approval_id)
    )
    return int(counted.scalar_one())


async def decide(db: AsyncConnection, approval_id: int, state: ApprovalState, *, by: str, reason: str = "") -> bool:
    """Move an open request to its end; False when it had ended already. This is the compare-and-set."""
    done = await db.execute(
        update(approvals)
        .where(approvals.c.id == approval_id, approvals.c.state == ApprovalState.OPEN)
        .values(state=state, decided_by=by, reason=reason, decided_at=func.now())
        .returning(approvals.c.id)
    )
    return done.scalar_one_or_none() is not None


async def withdraw_open(db: AsyncConnection, incident_id: int, reason: str) -> Sequence[int]:
    """Withdraw what is still asked for; the ids that were open."""
    gone = await db.execute(
        update(approvals)
        .where(approvals.c.incident_id == incident_id, approvals.c.state == ApprovalState.OPEN)
        .values(state=ApprovalState.WITHDRAWN, decided_by="codehealer", reason=reason, decided_at=func.now())
        .returning(approvals.c.id)
    )
    return list(gone.scalars())


async def expired(db: AsyncConnection) -> Sequence[tuple[int, int]]:
    """(approval id, incident id) of open requests whose time is over."""
    rows = await db.execute(
        select(approvals.c.id, approvals.c.incident_id).where(
            approvals.c.state == ApprovalState.OPEN, approvals.c.until <= func.now()
        )
    )
    return [(row.id, row.incident_id) for row in rows]


async def waiting(db: AsyncConnection) -> int:
    counted = await db.execute(
        select(func.count()).select_from(approvals).where(approvals.c.state == ApprovalState.OPEN)
    )
    return int(counted.scalar_one())
