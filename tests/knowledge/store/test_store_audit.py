"""The audit log's chain: what was changed is found, what was erased still verifies. And the switches."""

import hashlib

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
    found = await audit.verify(db)
    assert (found.sealed, found.unsealed, found.broken_at, found.head.number) == (5, 2, None, 5)
    await audit.seal(db)
    found = await audit.verify(db)
    assert (found.sealed, found.unsealed, found.broken_at, found.head.number) == (7, 0, None, 7)
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
        "UPDATE audit SET at = at - interval '1 microsecond' WHERE number = 3",
        "UPDATE audit SET timed = false, at = at - interval '1 hour' WHERE number = 3",
        "DELETE FROM audit WHERE number = 3",
    ],
    ids=["payload", "actor", "what", "incident", "digest", "salt", "time", "untimed", "deleted"],
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


async def test_a_log_that_was_made_anew_as_a_whole_lacks_the_head_that_was_kept_elsewhere(db: AsyncConnection) -> None:
    await recorded(db, 4)
    await audit.seal(db, batch=3)
    kept = (await audit.verify(db)).head
    await audit.seal(db)
    assert (await audit.verify(db, known=kept)).broken_at is None
    assert (await audit.verify(db, known=audit.Head(4, kept.chain))).broken_at == 4
    assert (await audit.verify(db, known=audit.Head(9, kept.chain))).cut_off == 5
    await db.execute(text("DELETE FROM audit"))
    await db.execute(text("DELETE FROM audit_head"))
    await recorded(db, 4)
    await audit.seal(db)
    assert (await audit.verify(db)).broken_at is None
    assert (await audit.verify(db, known=kept)).broken_at == 3


async def test_rows_that_an_earlier_version_sealed_without_their_time_still_verify(db: AsyncConnection) -> None:
    await recorded(db, 2)
    digest = (await db.execute(text("SELECT digest FROM audit ORDER BY id LIMIT 1"))).scalar_one()
    chain = hashlib.sha256(audit.GENESIS + (1).to_bytes(8, "big") + digest).digest()
    await db.execute(text("UPDATE audit SET number = 1, chain = :chain WHERE digest = :digest"),
                     {"chain": chain, "digest": digest})  # fmt: skip
    await audit.seal(db)
    found = await audit.verify(db)
    assert (found.sealed, found.broken_at) == (2, None)


async def test_an_erased_payload_leaves_the_chain_whole(db: AsyncConnection) -> None:
    await recorded(db, 3)
    await audit.seal(db)
    await db.execute(text("UPDATE audit SET payload = NULL WHERE number = 2"))
    found = await audit.verify(db)
    assert (found.broken_at, found.erased) == (None, 1)


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
