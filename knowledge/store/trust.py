"""What fixes have earned: how often each worked for a kind in a service, and who let it run by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, func, not_, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.model import FailureKind
from knowledge.store.memory import EARLIER_FIX
from knowledge.store.tables import approvals, decisions, feedback, incidents, knowledge_items, plans, trust


@dataclass(frozen=True, slots=True)
class Case:
    """One fix of one kind of failure of one service in one environment: what trust is earned for."""

    kind: FailureKind
    action: str
    service: str
    environment: str


@dataclass(frozen=True, slots=True)
class Grant:
    """What was said of a case last: proposed, granted, withdrawn (by a person) or demoted (after a failure)."""

    state: str
    evidence: str
    set_by: str
    set_at: datetime


@dataclass(frozen=True, slots=True)
class Counted:
    """How a case did: fixes that were verified, and fixes that were not, failed or made it worse."""

    verified: int
    failed: int


@dataclass(frozen=True, slots=True)
class Shadow:
    """What would have run by itself, against what people did: approved and it worked, approved in vain, or rejected.

    Where nobody was asked, as in suggest mode, their thumbs stand for it: incidents with more 👍, and with more 👎.
    """

    worked: int
    failed: int
    rejected: int
    liked: int = 0
    disliked: int = 0


def _is(case: Case) -> tuple[ColumnElement[bool], ...]:
    return (
        trust.c.kind == case.kind,
        trust.c.action == case.action,
        trust.c.service == case.service,
        trust.c.environment == case.environment,
    )


async def of(db: AsyncConnection, case: Case) -> Grant | None:
    row = (await db.execute(select(trust).where(*_is(case)))).one_or_none()
    return Grant(row.state, row.evidence, row.set_by, row.set_at) if row else None


async def put(db: AsyncConnection, case: Case, state: str, *, evidence: str, by: str) -> None:
    values = {"state": state, "evidence": evidence, "set_by": by}
    statement = insert(trust).values(
        kind=case.kind, action=case.action, service=case.service, environment=case.environment, **values
    )
    await db.execute(
        statement.on_conflict_do_update(
            index_elements=["kind", "action", "service", "environment"], set_={**values, "set_at": func.now()}
        )
    )


async def granted(db: AsyncConnection) -> Sequence[tuple[Case, Grant]]:
    """Every case that may run by itself now."""
    rows = await db.execute(select(trust).where(trust.c.state == "granted").order_by(trust.c.set_at))
    return [
        (
            Case(FailureKind(row.kind), row.action, row.service, row.environment),
            Grant(row.state, row.evidence, row.set_by, row.set_at),
        )
        for row in rows
    ]


async def counted(db: AsyncConnection, case: Case, *, since: datetime | None = None) -> Counted:
    """From the remembered incidents, so that a correction counts; not where the evidence addressed the bot."""
    outcome = knowledge_items.c.outcome
    query = (
        select(
            func.count().filter(outcome == "verified").label("verified"),
            func.count().filter(outcome.in_(["not_verified", "worse", "failed"])).label("failed"),
        )
        .select_from(knowledge_items.join(incidents, incidents.c.id == knowledge_items.c.incident_id))
        .where(
            knowledge_items.c.source.in_(["incident", EARLIER_FIX]),
            knowledge_items.c.kind == case.kind,
            knowledge_items.c.action == case.action,
            knowledge_items.c.action != "noop",
            knowledge_items.c.service == case.service,
            knowledge_items.c.environment == case.environment,
            knowledge_items.c.status != "wrong",
            incidents.c.flagged.is_(False),
        )
    )
    if since is not None:
        query = query.where(incidents.c.opened_at > since)
    row = (await db.execute(query)).one()
    return Counted(row.verified, row.failed)


async def shadowed(db: AsyncConnection, *, since: datetime, case: Case | None = None) -> Shadow:
    """Over the decisions that would have run by themselves; what nobody decided or is not known yet counts nowhere."""
    outcome = knowledge_items.c.outcome
    asked = approvals.c.id.is_not(None)
    of_answer = and_(feedback.c.incident_id == incidents.c.id, feedback.c.stands)
    thumbs = select(func.sum(feedback.c.value)).where(of_answer).scalar_subquery()
    query = (
        select(
            func.count().filter(not_(asked), thumbs > 0).label("liked"),
            func.count().filter(not_(asked), thumbs < 0).label("disliked"),
            func.count().filter(and_(approvals.c.state == "approved", outcome == "verified")).label("worked"),
            func.count()
            .filter(and_(approvals.c.state == "approved", outcome.in_(["not_verified", "worse", "failed"])))
            .label("failed"),
            func.count().filter(and_(approvals.c.state == "rejected", _of_the_fix())).label("rejected"),
        )
        .select_from(decisions.join(plans, plans.c.id == decisions.c.plan_id))
        .outerjoin(approvals, approvals.c.plan_id == plans.c.id)
        .join(incidents, incidents.c.id == decisions.c.incident_id)
        .outerjoin(knowledge_items, knowledge_items.c.id == func.concat("incident-", incidents.c.id))
        .where(decisions.c.shadow, decisions.c.created_at >= since, incidents.c.flagged.is_(False))
    )
    if case is not None:
        query = query.where(
            incidents.c.kind == case.kind,
            plans.c.action == case.action,
            incidents.c.service == case.service,
            incidents.c.environment == case.environment,
        )
    row = (await db.execute(query)).one()
    return Shadow(row.worked, row.failed, row.rejected, row.liked, row.disliked)


def _of_the_fix() -> ColumnElement[bool]:
    """SQL: a rejection that says something about the fix, rather than about the hour or who was faster."""
    return not_(or_(approvals.c.reason.startswith("not_now"), approvals.c.reason.startswith("already_fixed")))
