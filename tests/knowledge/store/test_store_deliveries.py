"""The inbox keeps what came in, once, and hands it to one worker at a time."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from knowledge.store import deliveries


async def stored(db: AsyncConnection, *ids: str) -> list[bool]:
    return [await deliveries.add(db, source="slack", delivery_id=one, event="alerts", body={"n": one}) for one in ids]


async def test_a_delivery_is_kept_once_for_its_id_and_source(db: AsyncConnection) -> None:
    assert await stored(db, "Ev1", "Ev1", "Ev2") == [True, False, True]
    assert await deliveries.add(db, source="github", delivery_id="Ev1", event="alerts", body={})
    assert [one.body.get("n") for one in await deliveries.claim(db, limit=10, known=["alerts"])] == ["Ev1", "Ev2", None]


async def test_two_workers_never_hold_the_same_delivery(engine: AsyncEngine) -> None:
    async with engine.begin() as db:
        await stored(db, *(f"Ev{n}" for n in range(6)))
    async with engine.begin() as first, engine.begin() as second:
        mine = await deliveries.claim(first, limit=4, known=["alerts"])
        theirs = await deliveries.claim(second, limit=4, known=["alerts"])
        assert [one.body["n"] for one in mine] == ["Ev0", "Ev1", "Ev2", "Ev3"]
        assert [one.body["n"] for one in theirs] == ["Ev4", "Ev5"]
        await deliveries.done(first, [one.id for one in mine])
    async with engine.begin() as db:
        left = await deliveries.claim(db, limit=10, known=["alerts"])
    assert [one.body["n"] for one in left] == ["Ev4", "Ev5"], "what nobody finished is new again"


async def test_a_delivery_fails_for_good_at_its_fifth_attempt_and_says_why(db: AsyncConnection) -> None:
    await stored(db, "Ev1")
    for attempt in range(deliveries.MAX_ATTEMPTS):
        (one,) = await deliveries.claim(db, limit=10, known=["alerts"])
        assert one.attempts == attempt
        await deliveries.failed(db, one, "KeyError: " + "x" * 1000)
    assert not await deliveries.claim(db, limit=10, known=["alerts"])
    row = (await db.execute(text("SELECT state, attempts, error FROM deliveries"))).one()
    assert (row.state, row.attempts, len(row.error)) == ("failed", 5, 500)


async def test_a_delivery_that_was_never_committed_was_never_there(engine: AsyncEngine) -> None:
    async with engine.connect() as db:
        await stored(db, "Ev1")
        await db.rollback()
        assert await stored(db, "Ev1") == [True]
