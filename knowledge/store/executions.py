"""Executions with their leases and verifications.

A lease is on the target, its token only ever grows, and every write of an execution names the token: a worker that
slept past its lease writes nothing.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import RowMapping, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.model import Action, Execution, ExecutionState, Outcome, Verification
from knowledge.store.codec import from_json, to_json
from knowledge.store.tables import approvals, executions, leases, verifications


def _execution(row: RowMapping) -> Execution:
    return Execution(
        id=row["id"],
        incident_id=row["incident_id"],
        approval_id=row["approval_id"],
        action=from_json(Action, row["action"]),
        state=ExecutionState(row["state"]),
        fencing_token=row["fencing_token"],
        snapshot=row["snapshot"],
        outcome=from_json(Outcome, row["outcome"]) if row["outcome"] else None,
        started_at=row["started_at"],
        finished_at=row["finished_at"],
    )


async def acquire_lease(db: AsyncConnection, key: str, holder: str, ttl_s: float) -> int | None:
    """A fencing token greater than any before, or None while another holder's lease runs."""
    statement = insert(leases).values(
        key=key,
        holder=holder,
        token=text("nextval('fencing_tokens')"),
        expires_at=func.now() + timedelta(seconds=ttl_s),
    )
    taken = await db.execute(
        statement.on_conflict_do_update(
            index_elements=["key"],
            set_={
                "holder": statement.excluded.holder,
                "token": statement.excluded.token,
                "expires_at": statement.excluded.expires_at,
            },
            where=(leases.c.expires_at <= func.now()) | (leases.c.holder == holder),
        ).returning(leases.c.token)
    )
    token = taken.scalar_one_or_none()
    return int(token) if token is not None else None


async def renew_lease(db: AsyncConnection, key: str, token: int, ttl_s: float) -> bool:
    renewed = await db.execute(
        update(leases)
        .where(leases.c.key == key, leases.c.token == token, leases.c.expires_at > func.now())
        .values(expires_at=func.now() + timedelta(seconds=ttl_s))
        .returning(leases.c.token)
    )
    return renewed.scalar_one_or_none() is not None


async def release_lease(db: AsyncConnection, key: str, token: int) -> None:
    await db.execute(update(leases).where(leases.c.key == key, leases.c.token == token).values(expires_at=func.now()))


async def queue(db: AsyncConnection, *, incident_id: int, approval_id: int, action: Action) -> int | None:
    """The execution of an approval; None when it has one already."""
    made = await db.execute(
        insert(executions)
        .values(
            incident_id=incident_id,
            approval_id=approval_id,
            action=to_json(action),
            action_name=action.name,
            target_key=action.target.key,
            service=action.target.service,
        )
        .on_conflict_do_nothing(index_elements=["approval_id"])
        .returning(executions.c.id)
    )
    execution_id = made.scalar_one_or_none()
    return int(execution_id) if execution_id is not None else None


async def get(db: AsyncConnection, execution_id: int) -> Execution | None:
    row = (await db.execute(select(executions).where(executions.c.id == execution_id))).mappings().one_or_none()
    return _execution(row) if row else None


async def latest(db: AsyncConnection, incident_id: int) -> Execution | None:
    query = select(executions).where(executions.c.incident_id == incident_id).order_by(executions.c.id.desc()).limit(1)
    row = (await db.execute(query)).mappings().one_or_none()
    return _execution(row) if row else None


async def start(db: AsyncConnection, execution_id: int, *, fencing_token: int, snapshot: Mapping[str, Any]) -> bool:
    """Queued to started: from here on the side effect may have happened. False when it is not queued any more."""
    started = await db.execute(
        update(executions)
        .where(executions.c.id == execution_id, executions.c.state == ExecutionState.QUEUED)
        .values(
            state=ExecutionState.STARTED, fencing_token=fencing_token, snapshot=dict(snapshot), started_at=func.now()
        )
        .returning(executions.c.id)
    )
    return started.scalar_one_or_none() is not None


async def adopt(db: AsyncConnection, execution_id: int, *, fencing_token: int) -> bool:
    """Take over a started execution whose worker is gone; only a greater token may."""
    adopted = await db.execute(
        update(executions)
        .where(
            executions.c.id == execution_id,
            executions.c.state == ExecutionState.STARTED,
            executions.c.fencing_token < fencing_token,
        )
        .values(fencing_token=fencing_token)
        .returning(executions.c.id)
    )
    return adopted.scalar_one_or_none() is not None


async def finish(
    db: AsyncConnection, execution_id: int, *, state: ExecutionState, outcome: Outcome, fencing_token: int
) -> bool:
    """Store how it ended; False when a holder with a greater token has it now."""
    finished = await db.execute(
        update(executions)
        .where(
            executions.c.id == execution_id,
            executions.c.state.in_([ExecutionState.QUEUED, ExecutionState.STARTED, ExecutionState.ACTED]),
            executions.c.fencing_token <= fencing_token,
        )
        .values(state=state, outcome=to_json(outcome), fencing_token=fencing_token, finished_at=func.now())
        .returning(executions.c.id)
    )
    return finished.scalar_one_or_none() is not None


async def verify_until(db: AsyncConnection, execution_id: int, deadline_s: float) -> datetime:
    """The deadline of the verification: set at the first call, the same ever after."""
    value = await db.execute(
        update(executions)
        .where(executions.c.id == execution_id)
        .values(verify_until=func.coalesce(executions.c.verify_until, func.now() + timedelta(seconds=deadline_s)))
        .returning(executions.c.verify_until)
    )
    until: datetime = value.scalar_one()
    return until


async def add_verification(db: AsyncConnection, execution_id: int, verification: Verification) -> None:
    await db.execute(
        insert(verifications).values(
            execution_id=execution_id, verdict=verification.verdict, payload=to_json(verification)
        )
    )


async def latest_verification(db: AsyncConnection, execution_id: int) -> Verification | None:
    row = (
        await db.execute(
            select(verifications.c.payload)
            .where(verifications.c.execution_id == execution_id)
            .order_by(verifications.c.id.desc())
            .limit(1)
        )
    ).one_or_none()
    return from_json(Verification, row.payload) if row else None


async def count_recent(db: AsyncConnection, service: str, *, hours: float) -> int:
    """Executions that acted on a service of late: the blast radius. A no-op is not counted."""
    counted = await db.execute(
        select(func.count())
        .select_from(executions)
        .where(
            executions.c.service == service,
            executions.c.started_at > func.now() - timedelta(hours=hours),
            executions.c.state.in_([ExecutionState.STARTED, ExecutionState.ACTED, ExecutionState.UNDONE]),
            executions.c.action_name != "noop",
        )
    )
    return int(counted.scalar_one())


async def recent_on_target(db: AsyncConnection, target_key: str, *, hours: float) -> Sequence[tuple[str, str]]:
    """(action, last verdict or "") of what was done to a target of late, oldest first: for the loop breaker."""
    last_verdict = (
        select(verifications.c.verdict)
        .where(verifications.c.execution_id == executions.c.id)
        .order_by(verifications.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    rows = await db.execute(
        select(executions.c.action_name, func.coalesce(last_verdict, "").label("verdict"))
        .where(
            executions.c.target_key == target_key,
            executions.c.started_at > func.now() - timedelta(hours=hours),
            executions.c.state.in_([ExecutionState.ACTED, ExecutionState.FAILED, ExecutionState.UNDONE]),
        )
        .order_by(executions.c.id)
    )
    return [(row.action_name, row.verdict) for row in rows]


async def under_way(db: AsyncConnection, target_key: str, *, apart_from: int) -> bool:
    """Whether another execution on the target has started and not ended."""
    query = select(executions.c.id).where(
        executions.c.target_key == target_key,
        executions.c.id != apart_from,
        executions.c.state == ExecutionState.STARTED,
    )
    return (await db.execute(query.limit(1))).first() is not None


async def approved_without_execution(db: AsyncConnection) -> Sequence[int]:
    """Approvals that were given but have no execution: none, as both are written in one transaction (a check)."""
    rows = await db.execute(
        select(approvals.c.id)
        .outerjoin(executions, executions.c.approval_id == approvals.c.id)
        .where(approvals.c.state == "approved", executions.c.id.is_(None))
    )
    return rows.scalars().all()
