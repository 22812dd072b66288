"""The audit log's chain: what was changed is found, what was erased still verifies. And the switches."""

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from knowledge.store import audit, switches


async def recorded(db: AsyncConnection, count: int) -> None:
    for number in range(count):
        await audit.record(db, "vote", actor="U1", incident_id=number, why="größer als 5 & <b>", share=0.1 * number)


async def test_rows_are_numbered_and_chained_in_batches_once(db: AsyncConnection) -> None:
    await recorded(db, 5)
    assert [await audit.seal(db, batch=3) for _ in range(3)] == [3, 2, 0]
    await recorded(db, 2)
    assert await audit.verify(db) == audit.ChainReport(sealed=5, unsealed=2, broken_at=None)
    await audit.seal(db)
    assert await audit.verify(db) == audit.ChainReport(sealed=7, unsealed=0, broken_at=None)
    numbers = (await db.execute(text("SELECT number FROM audit ORDER BY id"))).scalars().all()
    assert numbers == list(range(1, 8))


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE audit SET payload = jsonb_set(payload, '{why}', '\"no\"') WHERE number = 3",
        "UPDATE audit SET actor = 'U2' WHERE number = 3",
        "UPDATE audit SET what = 'no vote' WHERE number = 3",
        "UPDATE audit SET incident_id = 77 WHERE number = 3",
        "UPDATE audit SET digest = sha256('x') WHERE number = 3",
        "UPDATE audit SET salt = '\\x00' WHERE number = 3",
        "DELETE FROM audit WHERE number = 3",
    ],
    ids=["payload", "actor", "what", "incident", "digest", "salt", "deleted"],
)
async def test_a_row_that_was_changed_is_found(db: AsyncConnection, tampering: str) -> None:
    await recorded(db, 5)
    await audit.seal(db)
    await db.execute(text(tampering))
    assert (await audit.verify(db)).broken_at == 3


@pytest.mark.parametrize("sealed_after", [0, 2])
async def test_rows_cut_off_the_end_are_missed_also_when_more_were_sealed_since(
    db: AsyncConnection, sealed_after: int
) -> None:
    await recorded(db, 5)
    await audit.seal(db)
    await db.execute(text("DELETE FROM audit WHERE number > 3"))
    await recorded(db, sealed_after)
    await audit.seal(db)
    found = await audit.verify(db)
    assert (found.broken_at, found.cut_off) == (4, 0 if sealed_after else 2)


@pytest.mark.parametrize("tampering", ["DELETE FROM audit_head", "UPDATE audit_head SET chain = sha256('x')"])
async def test_a_head_that_does_not_fit_the_chain_is_found(db: AsyncConnection, tampering: str) -> None:
    await recorded(db, 3)
    await audit.seal(db)
    await db.execute(text(tampering))
    assert (await audit.verify(db)).broken_at is not None


async def test_an_erased_payload_leaves_the_chain_whole(db: AsyncConnection) -> None:
    await recorded(db, 3)
    await audit.seal(db)
    await db.execute(text("UPDATE audit SET payload = NULL WHERE number = 2"))
    assert (await audit.verify(db)).broken_at is None


async def test_what_is_rolled_back_was_never_recorded(engine: AsyncEngine) -> None:
    async with engine.connect() as db:
        await recorded(db, 1)
        await db.rollback()
        assert await audit.seal(db) == 0


async def test_a_switch_says_who_set_it_and_is_off_until_somebody_does(db: AsyncConnection) -> None:
    assert await switches.read(db, switches.PAUSED) is None
    assert not await switches.paused(db)
    await switches.write(db, switches.PAUSED, True, by="U1")
    assert await switches.paused(db)
    await switches.write(db, switches.PAUSED, False, by="U2")
    found = await switches.read(db, switches.PAUSED)
    assert found is not None
    assert (found.value, found.set_by) == (False, "U2")
    assert not await switches.paused(db)
