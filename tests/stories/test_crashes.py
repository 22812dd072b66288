"""The bot is killed between any two stages, and just before and after each side effect; after a restart it goes on.

A trigger holds the write in question in an open transaction, so the kill falls exactly there: what went before it has
happened, what it would have written has not.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from bot.postgres import libpq_conninfo
from tests.stories.stage import ALERTS, ONCALL, Stage, text_of
from tests.stories.test_healing import healthy, writes

HOLD = 424_242

# Where the kill falls → the write that is held there, and a condition on the row.
BEFORE_THE_CLICK = {
    "delivery stored, incident not": ("INSERT", "incidents", "true"),
    "card posted, its place not stored": ("UPDATE", "cards", "NEW.ts <> ''"),
    "evidence collected, not stored": ("INSERT", "evidence", "true"),
    "diagnosed, not stored": ("INSERT", "diagnoses", "true"),
    "decided, approval not asked for": ("INSERT", "approvals", "true"),
}
AFTER_THE_CLICK = {
    "click stored, approval not": ("UPDATE", "approvals", "NEW.state = 'approved'"),
    "about to act": ("UPDATE", "executions", "NEW.state = 'started'"),
    "acted, outcome not stored": ("UPDATE", "executions", "NEW.state = 'acted'"),
    "verified, not stored": ("INSERT", "verifications", "true"),
    "healed, lesson not stored": ("INSERT", "knowledge_items", "true"),
}


class Held:
    """A write that waits, in the database of a stage."""

    def __init__(self, stage: Stage, connection: psycopg.AsyncConnection) -> None:
        self._stage = stage
        self._connection = connection

    async def _waiting(self) -> list[int]:
        rows = await self._connection.execute(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted", (HOLD,)
        )
        return [row[0] for row in await rows.fetchall()]

    async def kill_here(self) -> None:
        """Wait for the write to begin, kill the bot, and let its transaction end without a commit."""
        await self._stage.until(self._waiting, "the write that is held")
        await self._stage.kill_bot()
        for pid in await self._waiting():
            await self._connection.execute("SELECT pg_terminate_backend(%s)", (pid,))

        async def nobody_waits() -> bool:
            return not await self._waiting()

        await self._stage.until(nobody_waits, "the held transaction is gone")
        await self._connection.execute("SELECT pg_advisory_unlock(%s)", (HOLD,))


@asynccontextmanager
async def held(stage: Stage, event: str, table: str, condition: str) -> AsyncIterator[Held]:
    async with await psycopg.AsyncConnection.connect(libpq_conninfo(stage.database_url), autocommit=True) as connection:
        await connection.execute("SELECT pg_advisory_lock(%s)", (HOLD,))
        await connection.execute(f"""
            CREATE OR REPLACE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN IF {condition} THEN PERFORM pg_advisory_xact_lock_shared({HOLD}); END IF; RETURN NEW; END $$""")
        await connection.execute(f"CREATE TRIGGER hold BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION hold()")
        yield Held(stage, connection)
        await connection.execute(f"DROP TRIGGER hold ON {table}")


async def _healed_once(stage: Stage) -> None:
    """The end of every crash: one card, one action, healed and verified."""
    await stage.card("Healed", about="payments-api", deadline_s=120)
    assert await healthy(stage, "payments-api")
    assert len(await stage.cards()) == 1
    changes = writes(await stage.requests("k8s"))
    assert len(changes) == 1, changes


@pytest.mark.parametrize("where", BEFORE_THE_CLICK)
async def test_killed_before_the_click_it_still_asks_once(stage: Stage, where: str) -> None:
    async with held(stage, *BEFORE_THE_CLICK[where]) as point:
        await stage.break_("stuck-pod-payments")
        await point.kill_here()
    await stage.start_bot()
    card = await stage.card("Waiting for approval", about="payments-api")
    await stage.click(card, "approve")
    await _healed_once(stage)


@pytest.mark.parametrize("where", AFTER_THE_CLICK)
async def test_killed_after_the_click_it_acts_once(stage: Stage, where: str) -> None:
    await stage.break_("stuck-pod-payments")
    card = await stage.card("Waiting for approval", about="payments-api")
    async with held(stage, *AFTER_THE_CLICK[where]) as point:
        await stage.click(card, "approve")
        await point.kill_here()
    await stage.start_bot()
    await _healed_once(stage)


async def test_killed_while_it_answers_a_mention_it_answers_once(stage: Stage) -> None:
    async with held(stage, "UPDATE", "cards", "NEW.ts <> ''") as point:
        text = "<@U0CODEHEALER> why?\n```\nError: ImagePullBackOff\nmanifest unknown\n```"
        asked = await stage.do("post", user=ONCALL, channel=ALERTS, text=text)
        await point.kill_here()
    await stage.start_bot()
    await stage.thread({"ts": asked["ts"]}, "Image cannot be pulled", channel=ALERTS)
    replies = [one for one in await stage.messages(ALERTS, thread_ts=asked["ts"]) if one["ts"] != asked["ts"]]
    assert len(replies) == 1, [text_of(one) for one in replies]


async def test_an_incident_whose_job_is_given_up_is_handed_to_people(stage: Stage) -> None:
    async with await psycopg.AsyncConnection.connect(libpq_conninfo(stage.database_url), autocommit=True) as connection:
        await connection.execute("ALTER TABLE diagnoses ADD CONSTRAINT broken CHECK (confidence > 2)")
    await stage.break_("stuck-pod-payments")
    await stage.card("Needs a person", about="payments-api", deadline_s=90)
    assert not writes(await stage.requests("k8s"))
