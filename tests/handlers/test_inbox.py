"""Draining the inbox: each delivery has its effect once, whatever else is in its batch and whenever we are killed."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest
import structlog
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from bot.postgres import libpq_conninfo
from handlers import flow, inbox
from handlers.blocks.card_view import Card
from handlers.outbox import Sender
from handlers.services import Services
from knowledge.store.codec import to_json
from knowledge.store.database import sqlalchemy_url
from tests.handlers.office import jobs, rows
from tests.rows import alert

HOLD = 515_151


async def came(services: Services, delivery_id: str, event: str, body: dict[str, Any]) -> None:
    assert await flow.accept(services, source="test", delivery_id=delivery_id, event=event, body=body)


async def alerts_came(services: Services, *names: str) -> None:
    for name in names:
        one = alert(name, namespace=name, owner=name, service=name)
        await came(services, f"alert {name}", flow.ALERTS, {"alerts": [to_json(one)]})


async def states(services: Services) -> dict[str, str]:
    found = await rows(services.engine, "SELECT delivery_id, state FROM deliveries ORDER BY id")
    return {row.delivery_id: row.state for row in found}


async def drained(services: Services) -> int:
    """Everything that came, however many turns it takes."""
    taken = 0
    while some := await inbox.drain(services):
        taken += some
    return taken


async def opened(services: Services) -> list[str]:
    return [row.title for row in await rows(services.engine, "SELECT title FROM incidents ORDER BY id")]


# Of characters that no compression shortens: the bytes of a label as long as it may be.
LONG = "".join(chr(0x20000 + number * 7919 % 40_000) for number in range(1_000))
POISONS: dict[str, tuple[str, dict[str, Any]]] = {
    "no alert": (flow.ALERTS, {"alerts": [{"source": "x"}]}),
    "no list": (flow.ALERTS, {}),
    "unknown event": ("nonsense", {}),
    "no question": (flow.QUESTION, {"question": {"user": "U1"}}),
    "no such number": ("feedback", {"feedback": {"incident_id": 2**70, "user": "U1", "value": 1}}),
    "no click": ("approve", {}),
    "too long for an index": (flow.ALERTS, {"alerts": [to_json(alert(identity=LONG))]}),
}


@pytest.fixture
def quiet() -> Iterator[None]:
    """Keep the tracebacks of what is meant to fail; drawing them takes longer than the test."""
    with structlog.testing.capture_logs():
        yield


async def test_an_alert_with_endless_names_is_an_incident_like_any_other(services: Services) -> None:
    labels = dict.fromkeys(("node", "image", "resourcequota", "incident_id", "depends_on", "instance"), LONG)
    odd = alert("odd", cluster=LONG, namespace=LONG, owner=LONG, workload=LONG, service=LONG, labels=labels)
    for delivery in ("first", "again"):
        repeat = to_json(odd) | {"fingerprint": delivery}
        await came(services, delivery, flow.ALERTS, {"alerts": [repeat]})
    await alerts_came(services, "a")
    await drained(services)
    assert await opened(services) == ["odd", "a"], "and the second one joined the first"


@pytest.mark.usefixtures("quiet")
async def test_what_can_not_be_read_harms_nothing_else_and_ends_as_failed_with_its_reason(services: Services) -> None:
    await alerts_came(services, "a")
    for name, (event, body) in POISONS.items():
        await came(services, name, event, body)
    async with services.engine.begin() as db:  # what another version would know it has not taken up
        await db.exec_driver_sql(
            "UPDATE deliveries SET received_at = now() - interval '1 hour' WHERE event = 'nonsense'"
        )
    await alerts_came(services, "b")
    await drained(services)
    assert await opened(services) == ["a", "b"]
    assert {name for name, state in (await states(services)).items() if state == "done"} == {"alert a", "alert b"}
    assert {name for name, state in (await states(services)).items() if state == "failed"} == set(POISONS)
    errors = await rows(services.engine, "SELECT error, attempts FROM deliveries WHERE state = 'failed'")
    assert all(row.error and row.attempts == 5 for row in errors)
    assert await opened(services) == ["a", "b"], "the good ones took effect once"
    assert await inbox.drain(services) == 0


async def test_an_event_of_another_version_is_left_to_its_replicas(services: Services) -> None:
    await came(services, "newer", "of_the_next_version", {})
    await alerts_came(services, "checkout")
    assert await drained(services) == 1
    assert await states(services) == {"newer": "new", "alert checkout": "done"}


async def test_a_batch_that_is_killed_before_it_commits_is_handled_whole_and_once_afterwards(
    services: Services, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "TURN_S", 60.0)  # however slow the machine, it is one batch
    await alerts_came(services, "a", "b", "c")
    async with await psycopg.AsyncConnection.connect(libpq_conninfo(database_url), autocommit=True) as admin:
        await admin.execute("SELECT pg_advisory_lock(%s)", (HOLD,))
        await admin.execute(f"""
            CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN IF NEW.title = 'b' THEN PERFORM pg_advisory_xact_lock_shared({HOLD}); END IF; RETURN NEW; END $$""")
        await admin.execute("CREATE TRIGGER hold BEFORE INSERT ON incidents FOR EACH ROW EXECUTE FUNCTION hold()")
        draining = asyncio.create_task(inbox.drain(services))
        waiting = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND NOT granted"
        async with asyncio.timeout(20):
            while (row := await (await admin.execute(waiting, (HOLD,))).fetchone()) is None:  # noqa: ASYNC110  a lock has no event
                await asyncio.sleep(0.02)
        await admin.execute("SELECT pg_terminate_backend(%s)", (row[0],))
        (ended,) = await asyncio.gather(draining, return_exceptions=True)
        await admin.execute("SELECT pg_advisory_unlock(%s)", (HOLD,))
    assert isinstance(ended, OperationalError)
    assert await opened(services) == []
    assert set((await states(services)).values()) == {"new"}
    assert await drained(services) == 3
    assert await opened(services) == ["a", "b", "c"]
    assert [stage for stage, _ in await jobs(services.engine)] == ["gather_evidence"] * 3


async def test_two_processes_that_drain_side_by_side_handle_each_delivery_once(services: Services) -> None:
    names = [f"n{number}" for number in range(30)]
    await alerts_came(services, *names)
    taken = await asyncio.gather(*(inbox.drain(services) for _ in range(3)))
    while left := await inbox.drain(services):
        taken.append(left)
    assert sum(taken) == 30
    assert sorted(await opened(services)) == sorted(names)


async def test_the_running_inbox_wakes_for_what_came_and_outlives_the_database(services: Services) -> None:
    wake = asyncio.Event()
    running = asyncio.create_task(inbox.run(services, wake, poll_s=60))
    try:
        for name in ("a", "b"):
            await alerts_came(services, name)
            wake.set()
            async with asyncio.timeout(20):
                while name not in await opened(services):  # noqa: ASYNC110  nor has a table
                    await asyncio.sleep(0.02)
            await rows(
                services.engine,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_click_becomes_a_job_of_its_own_and_a_thumb_takes_effect_at_once(services: Services) -> None:
    await alerts_came(services, "a")
    await inbox.drain(services)
    (incident,) = await rows(services.engine, "SELECT id FROM incidents")
    click = {"user": "U1", "channel": "C1", "approval_id": 7, "digest": "0" * 16, "key": "k"}
    await came(services, "click", "approve", {"click": click})
    thumb = {"incident_id": incident.id, "user": "U1", "value": -1, "comment": "no"}
    await came(services, "thumb", "feedback", {"feedback": thumb})
    await came(services, "thumb on nothing", "feedback", {"feedback": {**thumb, "incident_id": 999}})
    assert await drained(services) == 3
    assert ("approve", {"click": click}) in await jobs(services.engine)
    (stored,) = await rows(services.engine, "SELECT value, comment FROM feedback")
    assert (stored.value, stored.comment) == (-1, "no")


async def test_help_in_a_mention_is_answered_without_an_incident(services: Services) -> None:
    question = {"user": "U1", "channel": "C1", "ts": "1.1", "thread_ts": "", "text": "<@U0CODEHEALER> help"}
    await came(services, "mention", flow.QUESTION, {"question": question})
    await inbox.drain(services)
    assert await opened(services) == []
    (seen,) = await rows(services.engine, "SELECT key FROM outbox")
    assert seen.key == "seen:C1:1.1"
    assert [stage for stage, _ in await jobs(services.engine)] == ["answer_command"]


# --- thumbs as reactions ---------------------------------------------------------------------------------------------


async def test_a_reaction_counts_on_our_card_alone_and_can_be_taken_back(services: Services) -> None:
    await alerts_came(services, "a")
    await inbox.drain(services)
    await rows(services.engine, "SELECT 1")
    async with services.engine.begin() as db:
        await db.exec_driver_sql("UPDATE cards SET channel = 'C1', ts = '5.5'")
        await db.exec_driver_sql("UPDATE alerts SET channel = 'C1', message_ts = '4.4'")

    async def react(number: int, ts: str, reaction: str, removed: bool = False) -> list[int]:
        body = {"channel": "C1", "ts": ts, "user": "U1", "reaction": reaction, "removed": removed}
        await came(services, f"reaction {number}", "reaction", {"reaction": body})
        await inbox.drain(services)
        return [row.value for row in await rows(services.engine, "SELECT value FROM feedback")]

    assert await react(1, "4.4", "-1") == [], "on the other app's post it says nothing about our answer"
    assert await react(2, "6.6", "-1") == []
    assert await react(3, "5.5", "tada") == []
    assert await react(4, "5.5", "-1::skin-tone-2") == [-1]
    assert await react(5, "5.5", "thumbsup") == [1]
    assert await react(6, "5.5", "-1", removed=True) == [1]
    assert await react(7, "5.5", "+1", removed=True) == []


async def test_no_free_connection_ends_neither_inbox_nor_outbox(database_url: str, services: Services) -> None:
    none_free = create_async_engine(sqlalchemy_url(database_url), pool_size=1, max_overflow=0, pool_timeout=0.01)
    waiting = replace(services, engine=none_free)
    await alerts_came(services, "a")
    try:
        async with none_free.connect(), asyncio.timeout(60):
            with structlog.testing.capture_logs() as said:
                sender = Sender(none_free, services.slack, _no_card)
                tasks = [asyncio.create_task(work) for work in
                         (inbox.run(waiting, asyncio.Event()), sender.run(asyncio.Event()))]  # fmt: skip
                while {one["event"] for one in said} < {"inbox_waits_for_database", "outbox_waits_for_database"}:
                    assert not any(task.done() for task in tasks)
                    await asyncio.sleep(0.01)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await none_free.dispose()


async def _no_card(_db: AsyncConnection, _number: int) -> Card | None:
    return None
