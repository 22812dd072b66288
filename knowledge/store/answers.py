"""Diagnoses, plans and decisions, each kept whole as they were made."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, false, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.model import Decision, Diagnosis, Plan, Precedent, Unsure
from knowledge.slack_threads import without_text
from knowledge.store.codec import from_json, to_json
from knowledge.store.tables import approvals, decisions, diagnoses, feedback, plans


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """The newest diagnosis of an incident with the precedents that it had."""

    id: int
    answer: Diagnosis | Unsure
    precedents: tuple[Precedent, ...]
    at: datetime


@dataclass(frozen=True, slots=True)
class StoredPlan:
    id: int
    plan: Plan
    decision: Decision
    shadow: bool = False  # whether it would have run by itself in automatic mode


_ADD_DIAGNOSIS = insert(diagnoses).returning(diagnoses.c.id)
_ADD_PLAN = insert(plans).returning(plans.c.id)
_ADD_DECISION = insert(decisions)


async def add_diagnosis(
    db: AsyncConnection, incident_id: int, answer: Diagnosis | Unsure, precedents: Sequence[Precedent]
) -> int:
    """Keep an answer. What people thought of a first look, or of another cause, does not count for a final one."""
    kind = answer.kind if isinstance(answer, Diagnosis) else None
    values = {
        "incident_id": incident_id,
        "kind": kind,
        "confidence": answer.confidence if isinstance(answer, Diagnosis) else 0.0,
        "unsure": kind is None,
        "payload": to_json(answer),
        "precedents": [to_json(without_text(precedent)) for precedent in precedents],
    }
    number = int((await db.execute(_ADD_DIAGNOSIS, values)).scalar_one())
    if not answer.answered_by.provisional:
        await db.execute(_SUPERSEDE, {"of_incident": incident_id, "its_kind": kind})
    return number


async def add_plan(
    db: AsyncConnection,
    incident_id: int,
    diagnosis_id: int,
    plan: Plan,
    decision: Decision,
    *,
    facts: Mapping[str, Any] | None = None,
    shadow: bool = False,
) -> StoredPlan:
    """Keep a plan with its decision, and what the decision rested on. `shadow`: it would have run by itself."""
    made = {
        "incident_id": incident_id,
        "diagnosis_id": diagnosis_id,
        "action": plan.action.name if plan.action else None,
        "digest": plan.action.digest if plan.action else None,
        "payload": to_json(plan),
    }
    plan_id = int((await db.execute(_ADD_PLAN, made)).scalar_one())
    decided = {
        "incident_id": incident_id,
        "plan_id": plan_id,
        "verdict": decision.name,
        "payload": to_json(decision),
        "facts": dict(facts) if facts is not None else None,
        "shadow": shadow,
    }
    await db.execute(_ADD_DECISION, decided)
    return StoredPlan(plan_id, plan, decision, shadow)


# Built once: they are read at every step of an incident.
_PROVISIONAL = func.coalesce(diagnoses.c.payload["answered_by"]["provisional"].as_boolean(), false())
_ALL = select(diagnoses).where(diagnoses.c.incident_id == bindparam("of_incident")).order_by(diagnoses.c.id.desc())
LATEST, _LATEST_FINAL = _ALL.limit(1), _ALL.where(_PROVISIONAL.is_(False)).limit(1)
LATEST_PLAN = (
    select(plans.c.id, plans.c.payload, decisions.c.payload.label("decision"), decisions.c.shadow)
    .join(decisions, decisions.c.plan_id == plans.c.id)
    .where(plans.c.incident_id == bindparam("of_incident"))
    .order_by(plans.c.id.desc())
    .limit(1)
)


async def latest_diagnosis(db: AsyncConnection, incident_id: int, *, final: bool = False) -> StoredAnswer | None:
    """The newest answer; with `final` without those that only stood until a hosted model had answered."""
    found = await db.execute(_LATEST_FINAL if final else LATEST, {"of_incident": incident_id})
    row = found.mappings().one_or_none()
    return answer_of(row) if row else None


def answer_of(row: Mapping[Any, Any]) -> StoredAnswer:
    """A row of `LATEST`."""
    answer = from_json(Unsure, row["payload"]) if row["unsure"] else from_json(Diagnosis, row["payload"])
    precedents = tuple(from_json(Precedent, item) for item in row["precedents"])
    return StoredAnswer(row["id"], answer, precedents, row["created_at"])


async def latest_plan(db: AsyncConnection, incident_id: int) -> StoredPlan | None:
    row = (await db.execute(LATEST_PLAN, {"of_incident": incident_id})).mappings().one_or_none()
    return plan_of(row) if row else None


def plan_of(row: Mapping[Any, Any]) -> StoredPlan:
    """A row of `LATEST_PLAN`."""
    plan, decision = from_json(Plan, row["payload"]), from_json(Decision, row["decision"])
    return StoredPlan(row["id"], plan, decision, row["shadow"])


_ANSWER_BEHIND = (
    select(diagnoses)
    .join(plans, plans.c.diagnosis_id == diagnoses.c.id)
    .join(approvals, approvals.c.plan_id == plans.c.id)
    .where(approvals.c.id == bindparam("of_approval"))
)
_PLAN_BEHIND = (
    select(plans.c.payload)
    .join(approvals, approvals.c.plan_id == plans.c.id)
    .where(approvals.c.id == bindparam("of_approval"))
)


async def behind(db: AsyncConnection, approval_id: int) -> tuple[StoredAnswer, Plan]:
    """The plan that an approval was asked for, and the answer that it was made of."""
    which = {"of_approval": approval_id}
    answer = (await db.execute(_ANSWER_BEHIND, which)).mappings().one()
    return answer_of(answer), from_json(Plan, (await db.execute(_PLAN_BEHIND, which)).scalar_one())


_SUPERSEDE = (
    update(feedback)
    .where(
        feedback.c.incident_id == bindparam("of_incident"),
        feedback.c.stands,
        feedback.c.diagnosis_id == diagnoses.c.id,
        or_(_PROVISIONAL, diagnoses.c.kind.is_distinct_from(bindparam("its_kind", type_=diagnoses.c.kind.type))),
    )
    .values(stands=False)
)


async def judged(db: AsyncConnection, incident_id: int, diagnosis_id: int | None) -> tuple[int | None, bool]:
    """(which answer of the incident a vote is about, whether that one stands). None: the newest, as it is shown."""
    newest = await latest_diagnosis(db, incident_id)
    if newest is None or diagnosis_id in {None, newest.id}:
        return newest.id if newest else None, True
    mine = (await db.execute(_ALL.where(diagnoses.c.id == diagnosis_id), {"of_incident": incident_id})).one_or_none()
    if mine is None:
        return newest.id, True
    final = await latest_diagnosis(db, incident_id, final=True)
    told = mine.payload.get("answered_by", {}).get("provisional") is True
    same = final is not None and not told and (None if mine.unsure else mine.kind) == _kind_of(final.answer)
    return int(mine.id), same


def _kind_of(answer: Diagnosis | Unsure) -> str | None:
    return answer.kind if isinstance(answer, Diagnosis) else None


@dataclass(frozen=True, slots=True)
class PastDecision:
    """A decision with all that it rested on; `facts` is None for those made before facts were kept."""

    incident_id: int
    at: datetime
    plan: Plan
    answer: Diagnosis | Unsure
    decision: Decision
    facts: Mapping[str, Any] | None


async def decided_since(db: AsyncConnection, since: datetime) -> AsyncIterator[PastDecision]:
    """Decisions about proposed actions, oldest first."""
    rows = await db.stream(
        select(
            decisions.c.incident_id,
            decisions.c.created_at,
            decisions.c.facts,
            decisions.c.payload.label("decision"),
            plans.c.payload.label("plan"),
            diagnoses.c.payload.label("diagnosis"),
            diagnoses.c.unsure,
        )
        .join(plans, plans.c.id == decisions.c.plan_id)
        .join(diagnoses, diagnoses.c.id == plans.c.diagnosis_id)
        .where(decisions.c.created_at >= since, plans.c.action.is_not(None))
        .order_by(decisions.c.id)
    )
    async for row in rows:
        answer = from_json(Unsure, row.diagnosis) if row.unsure else from_json(Diagnosis, row.diagnosis)
        yield PastDecision(
            incident_id=row.incident_id,
            at=row.created_at,
            plan=from_json(Plan, row.plan),
            answer=answer,
            decision=from_json(Decision, row.decision),
            facts=row.facts,
        )
