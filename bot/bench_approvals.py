"""How soon an approved fix starts: from the stored click to the execution's row that runs under its lease."""

import asyncio
import math
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text
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
    IncidentState,
    Plan,
    Target,
)
from knowledge.store import answers, approvals, deliveries, incidents
from remediation.policy import Policy, PolicyFacts, decide

ONE_AT_A_TIME, AT_ONCE = 100, 200
DEADLINE_S = 60.0
CLICKER, CHANNEL = "U0ONCALL", "C0DEPLOY"

# The no-op's preflight looks at nothing, so its start is the moment before a preflight.
_STARTED = text(
    "SELECT extract(epoch FROM e.started_at - d.received_at) AS s, e.started_at, d.received_at"
    " FROM executions e JOIN deliveries d ON d.delivery_id = 'bench:' || e.approval_id"
    " WHERE e.approval_id = ANY(:asked) AND e.started_at IS NOT NULL"
)
_JOBS = text("SELECT count(*) FROM procrastinate.procrastinate_jobs WHERE status IN ('todo', 'doing')")


async def measured(engine: AsyncEngine) -> dict[str, Any]:
    """Figures of a bot that runs on the database of `engine`."""
    alone, on_heels = [], []
    for approval in await _waiting(engine, ONE_AT_A_TIME, "alone"):
        await _click(engine, [approval])
        alone += [row.s for row in await _started(engine, [approval])]
        await _idle(engine)
    for approval in await _waiting(engine, ONE_AT_A_TIME, "on its heels"):
        await _click(engine, [approval])
        on_heels += [row.s for row in await _started(engine, [approval])]
    await _idle(engine)
    asked = await _waiting(engine, AT_ONCE, "together")
    await _click(engine, asked)
    rows = await _started(engine, asked)
    first, last = min(row.received_at for row in rows), max(row.started_at for row in rows)
    return {
        "one at a time, of": len(alone),
        **_spread("", alone),
        **_spread("while the one before is still verified and remembered, ", on_heels),
        "at once, of": AT_ONCE,
        "started": len(rows),
        "all started after s": round((last - first).total_seconds(), 2),
    }


def _spread(what: str, seconds: Sequence[Any]) -> dict[str, int]:
    taken = sorted(float(one) for one in seconds)
    at = {name: math.ceil(len(taken) * share) - 1 for name, share in (("p50", 0.5), ("p99", 0.99))}
    return {f"{what}{name} ms": round(1000 * taken[place]) for name, place in at.items()}


async def _idle(engine: AsyncEngine) -> None:
    """Return when all that followed the approvals so far is done."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        async with engine.connect() as db:
            if not (await db.execute(_JOBS)).scalar_one():
                return
        await asyncio.sleep(0.02)


async def _started(engine: AsyncEngine, asked: Sequence[int]) -> list[Any]:
    deadline = time.monotonic() + DEADLINE_S
    while True:
        async with engine.connect() as db:
            rows = list(await db.execute(_STARTED, {"asked": list(asked)}))
        if len(rows) == len(asked) or time.monotonic() > deadline:
            return rows
        await asyncio.sleep(0.02)


async def _click(engine: AsyncEngine, asked: Sequence[int]) -> None:
    """As the listener stores clicks, in one transaction each."""

    async def one(approval_id: int) -> None:
        async with engine.begin() as db:
            approval = await approvals.get(db, approval_id)
            digest = approval.digest[:16] if approval else ""
            click = {"user": CLICKER, "channel": CHANNEL, "approval_id": approval_id, "digest": digest}
            body = {"click": click | {"key": f"bench:{approval_id}"}}
            key = f"bench:{approval_id}"
            await deliveries.add(db, source="slack", delivery_id=key, event="approve", body=body)

    await asyncio.gather(*map(one, asked))


async def _waiting(engine: AsyncEngine, count: int, what: str) -> list[int]:
    """So many incidents that wait for an approval, each on a target of its own; the approvals' ids."""
    async with engine.begin() as db:
        return [await _asked(db, f"{what}-{number:03d}") for number in range(count)]


async def _asked(db: AsyncConnection, name: str) -> int:
    now = datetime.now(UTC)
    alert = Alert(
        source="alertmanager", status=AlertStatus.FIRING, title="Bench", identity=f"bench:{name}", fingerprint=name,
        namespace="bench", workload=name, owner=name, service=name, environment="staging", started_at=now,
    )  # fmt: skip
    target = Target("Deployment", name, "bench", "sandbox", "", name, "staging")
    incident = await incidents.open_incident(db, alert, channel=CHANNEL)
    await incidents.add_alert(db, alert, incident.id)
    for state in (IncidentState.DIAGNOSING, IncidentState.WAITING):
        moved = await incidents.move(db, incident, state, target=target, kind=FailureKind.CRASHLOOP)
        incident = moved or incident
    diagnosis = Diagnosis(FailureKind.CRASHLOOP, 0.97, "", "", Fixability.AUTO, (), AnswerSource("bench"))
    plan = Plan(Action("noop", target), preview="Nothing is changed.")
    until = now + timedelta(hours=1)
    decision = Decision(Ask((CLICKER,), 1, until), "approve", "conservative", ())
    planned = await answers.add_plan(
        db, incident.id, await answers.add_diagnosis(db, incident.id, diagnosis, ()), plan, decision
    )
    digest = plan.action.digest if plan.action else ""
    return await approvals.ask(
        db, incident_id=incident.id, plan_id=planned.id, digest=digest, needed=1, who=(CLICKER,), until=until
    )


def deciding() -> dict[str, Any]:
    """Microseconds of one decision of the policy."""
    rows = [
        {"name": f"service-{n}", "environment": "staging", "namespace": "bench", "workload": {"name": f"service-{n}"}}
        for n in range(500)
    ]
    policy = Policy.model_validate(
        {"mode": "automatic", "environments": {"staging": {"actions": ["*"], "strategy": "hybrid"}}, "services": rows}
    )
    target = Target("Deployment", "service-499", "bench", "", "", "service-499", "staging")
    plan = Plan(Action("k8s_scale", target), preview="Scale.")
    diagnosis = Diagnosis(FailureKind.PERFORMANCE, 0.97, "", "", Fixability.AUTO, (), AnswerSource("bench"))
    facts = PolicyFacts(now=datetime.now(UTC))
    taken = []
    for _ in range(1_000):
        began = time.perf_counter()
        decide(plan, diagnosis, target, policy, facts)
        taken.append(time.perf_counter() - began)
    taken.sort()
    return {"services": len(rows), "p50 µs": round(1e6 * taken[500]), "p99 µs": round(1e6 * taken[990])}
