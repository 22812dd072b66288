"""Requests for approval: one row each, decided by one compare-and-set."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.model import Approval, ApprovalState
from knowledge.store.tables import approval_votes, approvals, incidents


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
        requester=row["requester"],
        run_at=row["run_at"],
        snoozed_until=row["snoozed_until"],
        snoozed_by=row["snoozed_by"],
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
    requester: str = "",
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
        "requester": requester,
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


async def vote(
    db: AsyncConnection, approval_id: int, user: str, *, click: str = "", run_at: datetime | None = None
) -> int:
    """Count a person's yes once; how many different people have said yes. Of several times the latest is kept.

    `click` is the key of the delivery that said so, by which its repeat is known.
    """
    values = {"approval_id": approval_id, "user": user, "click": click}
    await db.execute(insert(approval_votes).values(**values).on_conflict_do_nothing())
    if run_at is not None:
        later = func.greatest(approvals.c.run_at, run_at)  # greatest() passes over what is not set
        await db.execute(update(approvals).where(approvals.c.id == approval_id).values(run_at=later))
    counted = await db.execute(
        select(func.count()).select_from(approval_votes).where(approval_votes.c.approval_id == approval_id)
    )
    return int(counted.scalar_one())


async def was_counted(db: AsyncConnection, approval_id: int, click: str) -> bool:
    """Whether this very click is counted already: as a yes, or as what ended the request."""
    as_yes = select(approval_votes.c.approval_id).where(
        approval_votes.c.approval_id == approval_id, approval_votes.c.click == click
    )
    as_end = select(approvals.c.id).where(approvals.c.id == approval_id, approvals.c.click == click)
    return (await db.execute(as_yes.union_all(as_end))).first() is not None


STILL_ASKED = (ApprovalState.OPEN, ApprovalState.SCHEDULED)


async def decide(
    db: AsyncConnection,
    approval_id: int,
    state: ApprovalState,
    *,
    by: str,
    reason: str = "",
    click: str = "",
    of: Sequence[ApprovalState] = (ApprovalState.OPEN,),
) -> bool:
    """Move a request that is in one of the states `of`; False when it is not any more. This is the compare-and-set.

    `click` is the key of the delivery that ended it, by which its repeat is known.
    """
    done = await db.execute(
        update(approvals)
        .where(approvals.c.id == approval_id, approvals.c.state.in_(of))
        .values(state=state, decided_by=by, reason=reason, click=click, decided_at=func.now())
        .returning(approvals.c.id)
    )
    return done.scalar_one_or_none() is not None


async def snooze(db: AsyncConnection, approval_id: int, *, by: str, until: datetime, expires: datetime) -> bool:
    """Leave people in peace until then; False when it is not asked any more. It does not expire in between."""
    done = await db.execute(
        update(approvals)
        .where(approvals.c.id == approval_id, approvals.c.state == ApprovalState.OPEN)
        .values(snoozed_until=until, snoozed_by=by, until=func.greatest(approvals.c.until, expires))
        .returning(approvals.c.id)
    )
    return done.scalar_one_or_none() is not None


async def withdraw_open(db: AsyncConnection, incident_id: int, reason: str, *, by: str = "codehealer") -> Sequence[int]:
    """Withdraw what is still asked for, or waits for its hour; the ids that were."""
    gone = await db.execute(
        update(approvals)
        .where(approvals.c.incident_id == incident_id, approvals.c.state.in_(STILL_ASKED))
        .values(state=ApprovalState.WITHDRAWN, decided_by=by, reason=reason, decided_at=func.now())
        .returning(approvals.c.id)
    )
    return list(gone.scalars())


# --- by the clock ------------------------------------------------------------------------------------------------


async def scheduled_due(db: AsyncConnection, *, ago: timedelta = timedelta(0)) -> Sequence[tuple[int, int]]:
    """(approval id, incident id) of what was approved for a time that has come, so long `ago` at least."""
    due = approvals.c.run_at <= func.now() - ago
    return await _pairs(db, approvals.c.state == ApprovalState.SCHEDULED, due)


async def snoozes_over(db: AsyncConnection) -> Sequence[tuple[int, int]]:
    """(approval id, incident id) of requests that are to be asked again."""
    return await _pairs(db, approvals.c.state == ApprovalState.OPEN, approvals.c.snoozed_until <= func.now())


async def _pairs(db: AsyncConnection, *where: ColumnElement[bool]) -> Sequence[tuple[int, int]]:
    rows = await db.execute(select(approvals.c.id, approvals.c.incident_id).where(*where).order_by(approvals.c.id))
    return [(row.id, row.incident_id) for row in rows]


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A request that nobody has answered, and what was done about that so far."""

    id: int
    incident_id: int
    severity: str
    asked_at: datetime
    reminded: bool
    paged: bool


async def unanswered(db: AsyncConnection) -> Sequence[Unanswered]:
    """Open requests about which people were not reminded, or the pager has not rung; without those that are snoozed."""
    rows = await db.execute(
        select(
            approvals.c.id,
            approvals.c.incident_id,
            incidents.c.severity,
            approvals.c.created_at.label("asked_at"),
            approvals.c.reminded_at.is_not(None).label("reminded"),
            approvals.c.paged_at.is_not(None).label("paged"),
        )
        .join(incidents, incidents.c.id == approvals.c.incident_id)
        .where(
            approvals.c.state == ApprovalState.OPEN,
            approvals.c.snoozed_until.is_(None),
            or_(approvals.c.reminded_at.is_(None), approvals.c.paged_at.is_(None)),
        )
    )
    return [Unanswered(**row) for row in rows.mappings()]


async def mark_reminded(db: AsyncConnection, approval_id: int) -> bool:
    """True for the one who reminds."""
    return await _mark(db, approval_id, approvals.c.reminded_at)


async def mark_paged(db: AsyncConnection, approval_id: int) -> bool:
    """True for the one who rings the pager."""
    return await _mark(db, approval_id, approvals.c.paged_at)


async def _mark(db: AsyncConnection, approval_id: int, column: ColumnElement[Any]) -> bool:
    done = await db.execute(
        update(approvals)
        .where(approvals.c.id == approval_id, approvals.c.state == ApprovalState.OPEN, column.is_(None))
        .values({column: func.now()})
        .returning(approvals.c.id)
    )
    return done.scalar_one_or_none() is not None


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
