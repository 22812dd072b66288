"""Executions with their leases and verifications.

A lease is on the target's family, its token only ever grows, and every write of an execution names the token: a worker
that slept past its lease writes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Interval,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from knowledge.model import Action, Execution, ExecutionState, Outcome, Target, Verification
from knowledge.model.failing import FAMILY
from knowledge.store.codec import from_json, to_json
from knowledge.store.database import autocommitting
from knowledge.store.switches import PAUSED
from knowledge.store.tables import approvals, executions, leases, switches, verifications


def execution_of(row: Mapping[Any, Any]) -> Execution:
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


_UNTIL = func.now() + bindparam("for_time", type_=Interval)
_TAKEN = insert(leases).values(
    key=bindparam("of_key"),
    holder=bindparam("by_holder"),
    token=text("nextval('fencing_tokens')"),
    expires_at=_UNTIL,
)
_ACQUIRE = _TAKEN.on_conflict_do_update(
    index_elements=["key"],
    set_={
        "holder": _TAKEN.excluded.holder,
        "token": _TAKEN.excluded.token,
        "expires_at": _TAKEN.excluded.expires_at,
    },
    where=(leases.c.expires_at <= func.now()) | (leases.c.holder == _TAKEN.excluded.holder),
).returning(leases.c.token)
_HELD = update(leases).where(leases.c.key == bindparam("of_key"), leases.c.token == bindparam("by_token"))
_RENEW = _HELD.where(leases.c.expires_at > func.now()).values(expires_at=_UNTIL).returning(leases.c.token)
_RELEASE = _HELD.values(expires_at=func.now())


async def acquire_lease(db: AsyncConnection, key: str, holder: str, ttl_s: float) -> int | None:
    """A fencing token greater than any before, or None while another holder's lease runs."""
    taken = await db.execute(_ACQUIRE, {"of_key": key, "by_holder": holder, "for_time": timedelta(seconds=ttl_s)})
    token = taken.scalar_one_or_none()
    return int(token) if token is not None else None


async def renew_lease(db: AsyncConnection, key: str, token: int, ttl_s: float) -> bool:
    renewed = await db.execute(_RENEW, {"of_key": key, "by_token": token, "for_time": timedelta(seconds=ttl_s)})
    return renewed.scalar_one_or_none() is not None


async def release_lease(db: AsyncConnection, key: str, token: int) -> None:
    await db.execute(_RELEASE, {"of_key": key, "by_token": token})


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


# Built once: they are read at every step of a fix.
_ONE = select(executions).where(executions.c.id == bindparam("wanted"))
_AUTOMATIC = select(approvals.c.automatic).where(
    approvals.c.id == select(executions.c.approval_id).where(executions.c.id == bindparam("wanted")).scalar_subquery()
)
LATEST = (
    select(executions)
    .where(executions.c.incident_id == bindparam("of_incident"))
    .order_by(executions.c.id.desc())
    .limit(1)
)


async def get(db: AsyncConnection, execution_id: int) -> Execution | None:
    row = (await db.execute(_ONE, {"wanted": execution_id})).mappings().one_or_none()
    return execution_of(row) if row else None


async def is_automatic(db: AsyncConnection, execution_id: int) -> bool:
    """Whether policy started it, rather than people."""
    return bool((await db.execute(_AUTOMATIC, {"wanted": execution_id})).scalar_one_or_none())


async def latest(db: AsyncConnection, incident_id: int) -> Execution | None:
    row = (await db.execute(LATEST, {"of_incident": incident_id})).mappings().one_or_none()
    return execution_of(row) if row else None


_BEGUN = (
    select(executions)
    .where(executions.c.incident_id == bindparam("of_incident"), executions.c.started_at.is_not(None))
    .order_by(executions.c.id)
)


async def begun(db: AsyncConnection, incident_id: int) -> list[Execution]:
    """Those that may have changed something, oldest first: a dry run and a refusal never start."""
    return [execution_of(row) for row in (await db.execute(_BEGUN, {"of_incident": incident_id})).mappings()]


_NEWER = select(executions.c.id).where(
    executions.c.incident_id == bindparam("of_incident"), executions.c.id > bindparam("than")
)


async def superseded(db: AsyncConnection, one: Execution) -> bool:
    """Whether its incident has a newer execution: what the incident's state says is about that one."""
    return (await db.execute(_NEWER.limit(1), {"of_incident": one.incident_id, "than": one.id})).first() is not None


# Each write of an execution names the token of its lease, and does nothing where a greater one is stored.
_FENCED = (
    update(executions)
    .where(executions.c.id == bindparam("wanted"), executions.c.fencing_token <= bindparam("with_token"))
    .values(fencing_token=bindparam("with_token"))
)
_TAKE = _FENCED.returning(executions)
_START = (
    _FENCED.where(
        executions.c.state == ExecutionState.QUEUED,
        # No cast: the values of other switches are words and times, and a plan may look at them first.
        ~exists().where(switches.c.name == PAUSED, switches.c.value == literal(True, JSONB)),
    )
    .values(
        state=ExecutionState.STARTED,
        snapshot=bindparam("found", type_=executions.c.snapshot.type),
        started_at=func.now(),
    )
    .returning(executions.c.id)
)
_FINISH = (
    _FENCED.where(executions.c.state.in_([ExecutionState.QUEUED, ExecutionState.STARTED, ExecutionState.ACTED]))
    .values(
        state=bindparam("to_state"),
        outcome=bindparam("ended", type_=executions.c.outcome.type),
        finished_at=func.now(),
    )
    .returning(executions.c.id)
)
_BEGIN_UNDO = _FENCED.where(executions.c.undo_begun.is_(False)).values(undo_begun=True).returning(executions.c.id)


async def take(db: AsyncConnection, execution_id: int, *, fencing_token: int) -> Execution | None:
    """Store the token when none greater is stored, and the row as it is now; None when fenced off."""
    taken = await db.execute(_TAKE, {"wanted": execution_id, "with_token": fencing_token})
    row = taken.mappings().one_or_none()
    return execution_of(row) if row else None


async def start(db: AsyncConnection, execution_id: int, *, fencing_token: int, snapshot: Mapping[str, Any]) -> bool:
    """Queued to started: from here on the side effect may have happened.

    False: not queued any more (held back or begun), fenced off, or everything is paused by now. One statement, so
    nothing can be said between this last look and the start.
    """
    started = await db.execute(_START, {"wanted": execution_id, "with_token": fencing_token, "found": dict(snapshot)})
    return started.scalar_one_or_none() is not None


def not_started(why: str) -> str:
    """What an execution that was held back says of itself."""
    return f"Not started: {why}."


async def hold_back(db: AsyncConnection, incident_id: int, why: str) -> list[int]:
    """Refuse what is queued for an incident, in the transaction that says why; the executions that it met in time.

    The worker's start and this are compare-and-sets on one row: whichever is first holds. It needs no token, since
    nothing has been begun.
    """
    held = await db.execute(
        update(executions)
        .where(executions.c.incident_id == incident_id, executions.c.state == ExecutionState.QUEUED)
        .values(
            state=ExecutionState.REFUSED,
            outcome=to_json(Outcome(ok=False, changed=False, detail=not_started(why))),
            finished_at=func.now(),
        )
        .returning(executions.c.id)
    )
    return [int(number) for number in held.scalars()]


async def finish(
    db: AsyncConnection, execution_id: int, *, state: ExecutionState, outcome: Outcome, fencing_token: int
) -> bool:
    """Store how it ended; False when a holder with a greater token has it now."""
    given = {"wanted": execution_id, "with_token": fencing_token, "to_state": state, "ended": to_json(outcome)}
    finished = await db.execute(_FINISH, given)
    return finished.scalar_one_or_none() is not None


async def begin_undo(db: AsyncConnection, execution_id: int, *, fencing_token: int) -> bool:
    """True exactly once in the execution's life, stored before the undo is sent."""
    begun = await db.execute(_BEGIN_UNDO, {"wanted": execution_id, "with_token": fencing_token})
    return begun.scalar_one_or_none() is not None


async def add_verification(db: AsyncConnection, execution_id: int, verification: Verification) -> None:
    await db.execute(
        insert(verifications).values(
            execution_id=execution_id, verdict=verification.verdict, payload=to_json(verification)
        )
    )


_LATEST_VERIFICATION = (
    select(verifications.c.payload)
    .where(verifications.c.execution_id == bindparam("of_execution"))
    .order_by(verifications.c.id.desc())
    .limit(1)
)


async def latest_verification(db: AsyncConnection, execution_id: int) -> Verification | None:
    row = (await db.execute(_LATEST_VERIFICATION, {"of_execution": execution_id})).one_or_none()
    return from_json(Verification, row.payload) if row else None


def _queued(hours: float) -> ColumnElement[bool]:
    """SQL for what is about to start. One that has waited longer was left alone, and will not."""
    since = func.now() - timedelta(hours=hours)
    return and_(executions.c.state == ExecutionState.QUEUED, executions.c.created_at > since)


async def count_recent(db: AsyncConnection, service: str, *, hours: float) -> int:
    """Executions that acted on a service of late, or are about to: the blast radius. A no-op is not counted."""
    counted = await db.execute(
        select(func.count())
        .select_from(executions)
        .where(
            executions.c.service == service,
            or_(
                and_(
                    executions.c.started_at > func.now() - timedelta(hours=hours),
                    executions.c.state.in_([ExecutionState.STARTED, ExecutionState.ACTED, ExecutionState.UNDONE]),
                ),
                _queued(hours),
            ),
            executions.c.action_name != "noop",
        )
    )
    return int(counted.scalar_one())


@dataclass(frozen=True, slots=True)
class PastExecution:
    """What was done to a target of late; `verdict` is the last verification's, "undone", "failed", or "" while not
    known."""

    action: str
    verdict: str
    at: datetime


def _verdict() -> ColumnElement[str]:
    """SQL for how an execution ended."""
    last = (
        select(verifications.c.verdict)
        .where(verifications.c.execution_id == executions.c.id)
        .order_by(verifications.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    return case(
        (executions.c.state == ExecutionState.UNDONE, "undone"),
        (executions.c.state == ExecutionState.FAILED, "failed"),
        else_=func.coalesce(last, ""),
    )


_DONE = (ExecutionState.ACTED, ExecutionState.FAILED, ExecutionState.UNDONE)


def _on(target: Target) -> ColumnElement[bool]:
    """SQL for executions on the target or on another of its family."""
    itself = executions.c.target_key == target.key
    if target.family == target.key:
        return itself
    other = executions.c.action["target"]
    return itself | and_(
        executions.c.service == target.service,
        other["environment"].as_string() == target.environment,
        other["namespace"].as_string() == target.namespace,
        other["kind"].as_string().in_(FAMILY),
    )


async def recent_on_target(
    db: AsyncConnection, target: Target, *, hours: float, since: datetime | None = None
) -> Sequence[PastExecution]:
    """Executions on a target and its family, newest first, of late and since a person resumed: for the loop breaker."""
    query = select(
        executions.c.action_name.label("action"), _verdict().label("verdict"), executions.c.started_at.label("at")
    ).where(
        _on(target),
        executions.c.started_at > func.now() - timedelta(hours=hours),
        executions.c.state.in_(_DONE),
    )
    if since is not None:
        query = query.where(executions.c.started_at > since)
    rows = await db.execute(query.order_by(executions.c.id.desc()))
    return [PastExecution(**row) for row in rows.mappings()]


@dataclass(frozen=True, slots=True)
class Automatic:
    """What ran by itself over all targets: how many fixes in the last hour, and the newest failures in a row."""

    last_hour: int
    failures_in_a_row: int


async def automatic_of_late(
    db: AsyncConnection, *, since: datetime | None = None, queued: bool = True, most: int = 100
) -> Automatic:
    """Counted since `since`, when a person resumed automatic work; a no-op is not counted.

    What is `queued` counts as well: in a storm many are decided before the first of them starts. Failures in a row are
    looked for among the newest `most` that have ended, which is as many as the policy's limit can ask for.
    """
    begun = and_(executions.c.started_at.is_not(None), executions.c.state.in_([*_DONE, ExecutionState.STARTED]))
    at = func.coalesce(executions.c.started_at, executions.c.created_at)
    alone = (
        select(_verdict().label("verdict"))
        .join(approvals, approvals.c.id == executions.c.approval_id)
        .where(approvals.c.automatic, executions.c.action_name != "noop")
    )
    if since is not None:
        alone = alone.where(at > since)
    last_hour = alone.where(
        or_(begun, _queued(hours=1)) if queued else begun, at > func.now() - timedelta(hours=1)
    ).with_only_columns(func.count())
    # What is still being checked neither breaks a row of failures nor adds to it.
    ended = alone.where(begun, _verdict() != "").order_by(executions.c.id.desc()).limit(most)
    verdicts = (await db.execute(ended)).scalars().all()
    failures = next((n for n, verdict in enumerate(verdicts) if verdict == "verified"), len(verdicts))
    return Automatic((await db.execute(last_hour)).scalar_one(), failures)


async def under_way(db: AsyncConnection, target: Target, *, apart_from: int) -> bool:
    """Whether another execution on the target or its family has started and not ended."""
    query = select(executions.c.id).where(
        _on(target),
        executions.c.id != apart_from,
        executions.c.state == ExecutionState.STARTED,
    )
    return (await db.execute(query.limit(1))).first() is not None


class StoredExecutions:
    """The executions and leases of one database; each method is one transaction of its own."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._given = engine

    @cached_property
    def _engine(self) -> AsyncEngine:
        """Each is one statement, which is a transaction by itself."""
        return autocommitting(self._given)

    async def lease_acquire(self, key: str, holder: str, ttl_s: float) -> int | None:
        async with self._engine.begin() as db:
            return await acquire_lease(db, key, holder, ttl_s)

    async def lease_renew(self, key: str, token: int, ttl_s: float) -> bool:
        async with self._engine.begin() as db:
            return await renew_lease(db, key, token, ttl_s)

    async def lease_release(self, key: str, token: int) -> None:
        async with self._engine.begin() as db:
            await release_lease(db, key, token)

    async def take_execution(self, execution_id: int, *, fencing_token: int) -> Execution | None:
        async with self._engine.begin() as db:
            return await take(db, execution_id, fencing_token=fencing_token)

    async def start_execution(self, execution_id: int, *, snapshot: Mapping[str, Any], fencing_token: int) -> bool:
        async with self._engine.begin() as db:
            return await start(db, execution_id, fencing_token=fencing_token, snapshot=snapshot)

    async def finish_execution(
        self, execution_id: int, *, state: ExecutionState, outcome: Outcome, fencing_token: int
    ) -> bool:
        async with self._engine.begin() as db:
            return await finish(db, execution_id, state=state, outcome=outcome, fencing_token=fencing_token)

    async def begin_undo(self, execution_id: int, *, fencing_token: int) -> bool:
        async with self._engine.begin() as db:
            return await begin_undo(db, execution_id, fencing_token=fencing_token)
