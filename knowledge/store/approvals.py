"""Requests for approval: one row each, decided by one compare-and-set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, Text, bindparam, cast, func, or_, select, union_all, update
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.model import Approval, ApprovalState
from knowledge.store.tables import approval_votes, approvals, incidents


def approval_of(row: Mapping[Any, Any]) -> Approval:
    """A row of `WITH_VOTES`."""
    return Approval(
        id=row["id"],
        incident_id=row["incident_id"],
        plan_id=row["plan_id"],
        digest=row["digest"],
        state=ApprovalState(row["state"]),
        needed=row["needed"],
        who=tuple(row["who"]),
        until=row["until"],
        approved_by=tuple(row["approved_by"]),
        decided_by=row["decided_by"],
        reason=row["reason"],
        automatic=row["automatic"],
        requester=row["requester"],
        run_at=row["run_at"],
        snoozed_until=row["snoozed_until"],
        snoozed_by=row["snoozed_by"],
    )


_VOTES = (
    select(func.array_agg(aggregate_order_by(approval_votes.c.user, approval_votes.c.at)))
    .where(approval_votes.c.approval_id == approvals.c.id)
    .scalar_subquery()
)
# Built once: approvals are read at every step of a fix.
WITH_VOTES = select(approvals, func.coalesce(_VOTES, cast([], ARRAY(Text))).label("approved_by"))
_ONE = WITH_VOTES.where(approvals.c.id == bindparam("wanted"))
_ONE_LOCKED = _ONE.with_for_update(of=approvals)
LATEST = WITH_VOTES.where(approvals.c.incident_id == bindparam("of_incident")).order_by(approvals.c.id.desc()).limit(1)


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


def _or_none(row: RowMapping | None) -> Approval | None:
    return approval_of(row) if row else None


async def get(db: AsyncConnection, approval_id: int, *, lock: bool = False) -> Approval | None:
    """With `lock` the caller holds the incident's row already, under which votes are written: they are read with it."""
    found = await db.execute(_ONE_LOCKED if lock else _ONE, {"wanted": approval_id})
    return _or_none(found.mappings().one_or_none())


async def latest(db: AsyncConnection, incident_id: int) -> Approval | None:
    return _or_none((await db.execute(LATEST, {"of_incident": incident_id})).mappings().one_or_none())


_VOTE = insert(approval_votes).on_conflict_do_nothing()


async def vote(
    db: AsyncConnection, approval_id: int, user: str, *, click: str = "", run_at: datetime | None = None
) -> Approval | None:
    """Count a person's yes once; the request as it is then. Of several times the latest is kept.

    `click` is the key of the delivery that said so, by which its repeat is known.
    """
    await db.execute(_VOTE, {"approval_id": approval_id, "user": user, "click": click})
    if run_at is not None:
        later = func.greatest(approvals.c.run_at, run_at)  # greatest() passes over what is not set
        await db.execute(update(approvals).where(approvals.c.id == approval_id).values(run_at=later))
    return await get(db, approval_id)


_COUNTED = union_all(
    select(approval_votes.c.approval_id).where(
        approval_votes.c.approval_id == bindparam("wanted"), approval_votes.c.click == bindparam("its_click")
    ),
    select(approvals.c.id).where(approvals.c.id == bindparam("wanted"), approvals.c.click == bindparam("its_click")),
)


async def was_counted(db: AsyncConnection, approval_id: int, click: str) -> bool:
    """Whether this very click is counted already: as a yes, or as what ended the request."""
    return (await db.execute(_COUNTED, {"wanted": approval_id, "its_click": click})).first() is not None


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


async def open_ones(db: AsyncConnection, *, most: int) -> Sequence[Approval]:
    """What is asked of people just now, the soonest to expire first."""
    query = WITH_VOTES.where(approvals.c.state == ApprovalState.OPEN, approvals.c.until > func.now())
    rows = await db.execute(query.order_by(approvals.c.until, approvals.c.id).limit(most))
    return [approval_of(row) for row in rows.mappings()]


async def waiting(db: AsyncConnection) -> int:
    counted = await db.execute(
        select(func.count()).select_from(approvals).where(approvals.c.state == ApprovalState.OPEN)
    )
    return int(counted.scalar_one())
