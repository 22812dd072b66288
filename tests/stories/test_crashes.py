"""The bot is killed between any two stages, and just before and after each side effect; after a restart it goes on.

A trigger holds the write in question in an open transaction, so the kill falls exactly there: what went before it has
happened, what it would have written has not.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg
import pytest

from bot.postgres import libpq_conninfo
from tests.stories.stage import ALERTS, ONCALL, Stage, text_of
from tests.stories.test_healing import healthy, service, writes

HOLD = 424_242


@dataclass(frozen=True, slots=True)
class Point:
    """Where a kill falls: the write that is held there, and a condition on its row."""

    event: str
    table: str
    condition: str = "true"


# Each line is one kill; two points in it are work that goes on side by side. After each kill comes a restart, on which
# the same incident goes on to the next line.
BEFORE_THE_CLICK = {
    "delivery received, not stored": [Point("INSERT", "deliveries")],
    "delivery stored, incident not": [Point("INSERT", "incidents")],
    "card posted, its place not stored; evidence collected, not stored": [
        Point("UPDATE", "cards", "NEW.ts <> ''"),
        Point("INSERT", "evidence"),
    ],
    "diagnosed, not stored": [Point("INSERT", "diagnoses")],
    "decided, approval not asked for": [Point("INSERT", "approvals")],
}
# Two stories, so that neither takes long.
AFTER_THE_CLICK = {
    "until it acts": {
        "click stored, approval not": [Point("UPDATE", "approvals", "NEW.state = 'approved'")],
        "about to act": [Point("UPDATE", "executions", "NEW.state = 'started'")],
    },
    "once it acted": {
        "acted, outcome not stored": [Point("UPDATE", "executions", "NEW.state = 'acted'")],
        "verified, not stored": [Point("INSERT", "verifications")],
        "healed, lesson not stored": [Point("INSERT", "knowledge_items")],
    },
}

# A fix that makes it worse: its undo is begun, and sent, and neither is stored.
AROUND_THE_UNDO = {
    "worse, undo not begun": [Point("UPDATE", "executions", "NEW.undo_begun AND NOT OLD.undo_begun")],
    "undone, not stored": [Point("UPDATE", "executions", "NEW.state = 'undone'")],
}


class Held:
    """Writes that wait, in the database of a stage."""

    def __init__(self, stage: Stage, connection: psycopg.AsyncConnection, points: Sequence[Point]) -> None:
        self._stage = stage
        self._connection = connection
        self._points = points

    async def _waiting(self) -> list[int]:
        rows = await self._connection.execute(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted", (HOLD,)
        )
        return [row[0] for row in await rows.fetchall()]

    async def kill_here(self) -> None:
        """Wait for the writes to begin, kill the bot, and let their transactions end without a commit."""

        async def all_wait() -> bool:
            return len(await self._waiting()) >= len(self._points)

        await self._stage.until(all_wait, "the writes that are held")
        await self._stage.kill_bot()
        for pid in await self._waiting():
            await self._connection.execute("SELECT pg_terminate_backend(%s)", (pid,))

        async def nobody_waits() -> bool:
            return not await self._waiting()

        await self._stage.until(nobody_waits, "the held transactions are gone")
        # As if the bot had been away for longer than its lease lasts.
        await self._connection.execute("UPDATE leases SET expires_at = now()")


@asynccontextmanager
async def held(stage: Stage, points: Sequence[Point]) -> AsyncIterator[Held]:
    async with await psycopg.AsyncConnection.connect(libpq_conninfo(stage.database_url), autocommit=True) as connection:
        await connection.execute("SELECT pg_advisory_lock(%s)", (HOLD,))
        for point in points:
            await connection.execute(f"""
                CREATE OR REPLACE FUNCTION hold_{point.table}() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN IF {point.condition} THEN PERFORM pg_advisory_xact_lock_shared({HOLD}); END IF; RETURN NEW; END
                $$""")
            await connection.execute(
                f"CREATE TRIGGER hold BEFORE {point.event} ON {point.table}"
                f" FOR EACH ROW EXECUTE FUNCTION hold_{point.table}()"
            )
        yield Held(stage, connection, points)
        for point in points:
            await connection.execute(f"DROP TRIGGER hold ON {point.table}")


async def _killed_at(
    stage: Stage, kills: Mapping[str, Sequence[Point]], begin: Callable[[], Awaitable[object]]
) -> None:
    """Begin, and kill at each point in turn; the bot runs again afterwards."""
    for number, points in enumerate(kills.values()):
        async with held(stage, points) as point:
            await (stage.start_bot() if number else begin())
            await point.kill_here()
    await stage.start_bot()


async def _healed_once(stage: Stage) -> None:
    """The end of every crash: one card, one action, healed and verified."""
    await stage.card("Healed", about="payments-api", deadline_s=120)
    assert await healthy(stage, "payments-api")
    assert len(await stage.cards()) == 1
    changes = writes(await stage.requests("k8s"))
    assert len(changes) == 1, changes


@pytest.mark.timeout(300)
async def test_killed_at_each_stage_before_the_click_it_asks_once(stage: Stage) -> None:
    await _killed_at(stage, BEFORE_THE_CLICK, lambda: stage.break_("stuck-pod-payments"))
    card = await stage.card("Waiting for approval", about="payments-api")
    await stage.click(card, "approve")
    await _healed_once(stage)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("when", AFTER_THE_CLICK)
async def test_killed_at_each_stage_after_the_click_it_acts_once(stage: Stage, when: str) -> None:
    await stage.break_("stuck-pod-payments")
    card = await stage.card("Waiting for approval", about="payments-api")
    await _killed_at(stage, AFTER_THE_CLICK[when], lambda: stage.click(card, "approve"))
    await _healed_once(stage)


@pytest.mark.timeout(300)
async def test_killed_around_an_undo_it_is_undone_once_and_said(stage: Stage) -> None:
    await stage.break_("overload-connections-catalog")
    card = await stage.card("Waiting for approval", about="catalog")
    await _killed_at(stage, AROUND_THE_UNDO, lambda: stage.click(card, "approve"))
    undone = await stage.card("Fix undone", about="catalog", deadline_s=90)
    await stage.thread(undone, "Scaled back to 2 replicas")
    assert (await service(stage, "catalog"))["replicas"] == 2
    changes = writes(await stage.requests("k8s"))
    assert len(changes) == 2, changes


async def test_killed_while_it_answers_a_mention_it_answers_once(stage: Stage) -> None:
    async with held(stage, [Point("UPDATE", "cards", "NEW.ts <> ''")]) as point:
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
