"""Values and rows that tests of the store and of the handlers begin with."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from knowledge.model import (
    Action,
    Alert,
    AlertStatus,
    AnswerSource,
    Ask,
    Decision,
    Diagnosis,
    FailureKind,
    Fixability,
    Incident,
    IncidentState,
    KnowledgeItem,
    Plan,
    Risk,
    Target,
)
from knowledge.store import answers, approvals, executions, incidents
from knowledge.store.answers import StoredPlan
from knowledge.store.database import BurstPool, open_engine
from tests.waiting import until

S = IncidentState
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
TARGET = Target("Deployment", "checkout", "shop", "sandbox", "acme/checkout", "checkout", "prod")
NOOP = Action("noop", TARGET)
GIVEN_BACK_S = 2.0
APPROVERS = ("U0ONCALL", "U0LEAD")


@asynccontextmanager
async def opened(url: str, **more: Any) -> AsyncIterator[AsyncEngine]:
    """An engine as the program's own, closed at the end."""
    engine = open_engine(url, **more)
    try:
        yield engine
    finally:
        # Whoever was cancelled gives a connection back in a task of its own, which the loop's end would cut short.
        with suppress(TimeoutError):
            async with asyncio.timeout(GIVEN_BACK_S):
                await until(lambda: not (isinstance(engine.pool, BurstPool) and engine.pool.checkedout()))
        await engine.dispose()


def alert(title: str = "CheckoutDown", **changes: Any) -> Alert:
    base = Alert(
        source="alertmanager", status=AlertStatus.FIRING, title=title, identity=f"id:{title}",
        fingerprint=f"fp:{title}", namespace="shop", workload="checkout", owner="checkout", service="checkout",
        environment="prod", cluster="sandbox", started_at=NOW,
    )  # fmt: skip
    return replace(base, **changes)


def ended(firing: Alert, **changes: Any) -> Alert:
    """The word that an alert is over."""
    return replace(firing, status=AlertStatus.RESOLVED, actionable=False, **changes)


def diagnosis(kind: FailureKind = FailureKind.CRASHLOOP, **changes: Any) -> Diagnosis:
    base = Diagnosis(kind, 0.97, "It panics.", "It panics.", Fixability.AUTO, (), AnswerSource("built-in"))
    return replace(base, **changes)


def plan(action: Action | None = NOOP) -> Plan:
    return Plan(action, preview="Nothing is changed.", risk=Risk.NONE, blast_radius="nothing")


def decision(verdict: Any = None) -> Decision:
    return Decision(verdict or Ask(APPROVERS, 1, NOW + timedelta(hours=1)), "approve", "conservative", ())


def item(name: str = "past-1", **changes: Any) -> KnowledgeItem:
    base = KnowledgeItem(
        id=name, source="incident", kind=FailureKind.CRASHLOOP, service="checkout", environment="prod",
        cause="It panics.", fix="Roll back.", outcome="verified", excerpt="panic: nil pointer dereference", link="",
        occurred_at=NOW, action="k8s_rollback",
    )  # fmt: skip
    return replace(base, **changes)


async def an_incident(db: AsyncConnection, *, state: IncidentState = S.DETECTED, **changes: Any) -> Incident:
    """An incident with its first alert, in any state, with a target."""
    first = alert(**changes)
    found = await incidents.open_incident(db, first, channel=changes.get("channel", "C0DEPLOY"))
    await incidents.add_alert(db, first, found.id)
    way: dict[IncidentState, tuple[IncidentState, ...]] = {
        S.DETECTED: (),
        S.DIAGNOSING: (S.DIAGNOSING,),
        S.HEALED: (S.DIAGNOSING, S.RUNNING, S.VERIFYING, S.HEALED),
        S.VERIFYING: (S.DIAGNOSING, S.RUNNING, S.VERIFYING),
        S.UNDONE: (S.DIAGNOSING, S.RUNNING, S.VERIFYING, S.UNDONE),
        S.NOT_VERIFIED: (S.DIAGNOSING, S.RUNNING, S.NOT_VERIFIED),
    }
    for step in way.get(state, (S.DIAGNOSING, state)):
        moved = await incidents.move(db, found, step, target=TARGET)
        assert moved is not None
        found = moved
    return found


async def a_plan(db: AsyncConnection, incident: Incident, action: Action | None = NOOP) -> StoredPlan:
    answer = await answers.add_diagnosis(db, incident.id, diagnosis(), [])
    return await answers.add_plan(db, incident.id, answer, plan(action), decision())


async def an_approval(db: AsyncConnection, incident: Incident, action: Action = NOOP, **changes: Any) -> int:
    planned = await a_plan(db, incident, action)
    asked: dict[str, Any] = {
        "needed": 1, "who": APPROVERS, "until": datetime.now(UTC) + timedelta(hours=1), **changes,
    }  # fmt: skip
    return await approvals.ask(db, incident_id=incident.id, plan_id=planned.id, digest=action.digest, **asked)


async def an_execution(db: AsyncConnection, incident: Incident | None = None, action: Action = NOOP) -> int:
    incident = incident or await an_incident(db, state=S.RUNNING)
    approval = await an_approval(db, incident, action)
    made = await executions.queue(db, incident_id=incident.id, approval_id=approval, action=action)
    assert made is not None
    return made
