"""Requests for approval are decided once, however many decide, and count people, not clicks."""

import asyncio
from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from knowledge.model import ApprovalState
from knowledge.store import approvals
from tests.rows import S, an_approval, an_incident, opened

A = ApprovalState
CLICKS = 50


async def test_fifty_who_decide_at_once_decide_once(engine: AsyncEngine, database_url: str) -> None:
    async with engine.begin() as db:
        approval_id = await an_approval(db, await an_incident(db, state=S.WAITING))
    ways = (A.APPROVED, A.REJECTED, A.EXPIRED, A.WITHDRAWN)

    async with opened(database_url, pool_size=25, max_overflow=0) as crowd:

        async def decide(number: int) -> int | None:
            async with crowd.begin() as db:
                won = await approvals.decide(db, approval_id, ways[number % 4], by=f"U{number}", reason=str(number))
                return number if won else None

        winners = [n for n in await asyncio.gather(*(decide(n) for n in range(CLICKS))) if n is not None]
    assert len(winners) == 1
    async with engine.connect() as db:
        decided = await approvals.get(db, approval_id)
    assert decided is not None
    assert (decided.state, decided.decided_by, decided.reason) == (
        ways[winners[0] % 4],
        f"U{winners[0]}",
        str(winners[0]),
    )


async def test_a_persons_yes_counts_once_and_the_order_is_kept(engine: AsyncEngine) -> None:
    async with engine.begin() as db:
        approval_id = await an_approval(db, await an_incident(db, state=S.WAITING), needed=2)

    counts = []
    for user in ("U2", "U1", "U2", "U2"):
        async with engine.begin() as db:
            voted = await approvals.vote(db, approval_id, user)
            assert voted is not None
            counts.append(len(voted.approved_by))
    assert counts == [1, 2, 2, 2]
    async with engine.connect() as db:
        found = await approvals.get(db, approval_id)
    assert found is not None
    assert found.approved_by == ("U2", "U1")


async def test_an_automatic_approval_is_policys_from_the_start(db: AsyncConnection) -> None:
    found = await approvals.get(db, await an_approval(db, await an_incident(db), automatic=True, needed=0))
    assert found is not None
    assert (found.state, found.decided_by, found.automatic) == (A.APPROVED, "policy", True)
    assert not await approvals.decide(db, found.id, A.REJECTED, by="U1")


async def test_only_what_is_open_and_over_has_expired_and_only_what_is_open_is_withdrawn(db: AsyncConnection) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    incident = await an_incident(db, state=S.WAITING)
    over, running = await an_approval(db, incident, until=past), await an_approval(db, incident)
    done = await an_approval(db, incident, until=past)
    await approvals.decide(db, done, A.APPROVED, by="U1")
    assert await approvals.expired(db) == [(over, incident.id)]
    assert await approvals.waiting(db) == 2
    assert sorted(await approvals.withdraw_open(db, incident.id, "it recovered")) == [over, running]
    assert not await approvals.withdraw_open(db, incident.id, "again")
    assert await approvals.waiting(db) == 0
    latest = await approvals.latest(db, incident.id)
    assert latest is not None
    assert (latest.id, latest.state) == (done, A.APPROVED)
