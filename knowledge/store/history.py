"""All that is stored of one incident, with its times: what a postmortem is written from."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import RowMapping, Select, Table, select
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.model import (
    Alert,
    Approval,
    Decision,
    Diagnosis,
    Evidence,
    Execution,
    Feedback,
    Incident,
    Plan,
    Precedent,
    Unsure,
    Verification,
)
from knowledge.store import casebook, incidents, memory, threads
from knowledge.store.approvals import WITH_VOTES, approval_of
from knowledge.store.casebook import Remembered
from knowledge.store.codec import from_json
from knowledge.store.executions import execution_of
from knowledge.store.tables import (
    alerts,
    approvals,
    audit,
    decisions,
    diagnoses,
    executions,
    plans,
    verifications,
)
from knowledge.store.threads import NOBODY

T = TypeVar("T")
# Of each kind of row the newest; of alerts the first, since what comes after only repeats them.
MOST_ROWS = 50


@dataclass(frozen=True, slots=True)
class Dated(Generic[T]):
    at: datetime
    value: T


@dataclass(frozen=True, slots=True)
class Planned:
    plan: Plan
    decision: Decision


@dataclass(frozen=True, slots=True)
class Request:
    """A request for approval; `ended_at` is None while it is open."""

    approval: Approval
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the audit log; `payload` is empty where it was erased."""

    what: str
    actor: str
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class History:
    """One incident, each kind of row oldest first. `precedents` are those that anybody may read."""

    incident: Incident
    alerts: tuple[Dated[Alert], ...] = ()
    evidence: tuple[Evidence, ...] = ()
    answers: tuple[Dated[Diagnosis | Unsure], ...] = ()
    precedents: tuple[Precedent, ...] = ()
    plans: tuple[Dated[Planned], ...] = ()
    approvals: tuple[Dated[Request], ...] = ()
    executions: tuple[Execution, ...] = ()
    verifications: tuple[Dated[Verification], ...] = ()
    audit: tuple[Dated[Entry], ...] = ()
    feedback: tuple[Feedback, ...] = ()
    remembered: Remembered | None = None


async def of_incident(db: AsyncConnection, number: int) -> History | None:
    """None where there is no such incident."""
    incident = await incidents.get(db, number)
    if incident is None:
        return None
    answered = await _newest(db, diagnoses, select(diagnoses).where(diagnoses.c.incident_id == number))
    precedents = [from_json(Precedent, item) for item in answered[-1]["precedents"]] if answered else []
    ran = await _newest(db, executions, select(executions).where(executions.c.incident_id == number))
    return History(
        incident=incident,
        alerts=await _first_alerts(db, number),
        evidence=tuple(await incidents.evidence_of(db, number)),
        answers=tuple(Dated(row["created_at"], _answer(row)) for row in answered),
        # A file may go anywhere, so it shows no more of Slack than everybody may read.
        precedents=await threads.with_text(db, precedents, NOBODY),
        plans=await _plans(db, number),
        approvals=await _approvals(db, number),
        executions=tuple(execution_of(row) for row in ran),
        verifications=await _verifications(db, number),
        audit=await _audit(db, number),
        feedback=tuple(await memory.feedback_of(db, number)),
        remembered=await casebook.get(db, f"incident-{number}"),
    )


async def _newest(db: AsyncConnection, table: Table, query: Select[Any]) -> Sequence[RowMapping]:
    """The newest rows, oldest first."""
    rows = await db.execute(query.order_by(table.c.id.desc()).limit(MOST_ROWS))
    return tuple(reversed(rows.mappings().all()))


def _answer(row: RowMapping) -> Diagnosis | Unsure:
    return from_json(Unsure, row["payload"]) if row["unsure"] else from_json(Diagnosis, row["payload"])


async def _first_alerts(db: AsyncConnection, number: int) -> tuple[Dated[Alert], ...]:
    query = select(alerts.c.received_at, alerts.c.payload).where(alerts.c.incident_id == number)
    rows = await db.execute(query.order_by(alerts.c.id).limit(MOST_ROWS))
    return tuple(Dated(row.received_at, from_json(Alert, row.payload)) for row in rows)


async def _plans(db: AsyncConnection, number: int) -> tuple[Dated[Planned], ...]:
    columns = (plans.c.created_at, plans.c.payload, decisions.c.payload.label("decision"))
    query = select(*columns).join(decisions, decisions.c.plan_id == plans.c.id).where(plans.c.incident_id == number)
    return tuple(
        Dated(row["created_at"], Planned(from_json(Plan, row["payload"]), from_json(Decision, row["decision"])))
        for row in await _newest(db, plans, query)
    )


async def _approvals(db: AsyncConnection, number: int) -> tuple[Dated[Request], ...]:
    rows = await _newest(db, approvals, WITH_VOTES.where(approvals.c.incident_id == number))
    return tuple(Dated(row["created_at"], Request(approval_of(row), row["decided_at"])) for row in rows)


async def _verifications(db: AsyncConnection, number: int) -> tuple[Dated[Verification], ...]:
    query = (
        select(verifications.c.at, verifications.c.payload)
        .join(executions, executions.c.id == verifications.c.execution_id)
        .where(executions.c.incident_id == number)
    )
    rows = await _newest(db, verifications, query)
    return tuple(Dated(row["at"], from_json(Verification, row["payload"])) for row in rows)


async def _audit(db: AsyncConnection, number: int) -> tuple[Dated[Entry], ...]:
    columns = (audit.c.at, audit.c.what, audit.c.actor, audit.c.payload)
    rows = await _newest(db, audit, select(*columns).where(audit.c.incident_id == number))
    return tuple(Dated(row["at"], Entry(row["what"], row["actor"], row["payload"] or {})) for row in rows)
