"""Many incidents at once, and the same one again and again: few messages, and people come first."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import text

from bot.sandbox.server import Sandbox
from handlers import flow, inbox, storms, summaries
from handlers.outbox import Sender
from handlers.services import Services, Timing
from handlers.view import render, render_settled
from knowledge.model import IncidentState
from knowledge.store import deliveries, incidents, outbox
from tests.handlers.office import jobs, posts, rows
from tests.handlers.test_regrouping import came
from tests.rows import NOW, alert, ended

S = IncidentState


def stormy(services: Services) -> Services:
    return replace(services, timing=Timing(storm_after=2))


def failing(name: str, **changes: Any) -> Any:
    return alert(name, namespace=name, workload=name, owner=name, service=name, **changes)


def sender(services: Services) -> Sender:
    return Sender(
        services.engine,
        services.slack,
        lambda db, number: render(db, services, number),
        lambda db, number: render_settled(db, services, number),
        lambda db, key: summaries.render(db, services, key),
    )


async def sent(services: Services, through: Sender) -> None:
    """Everything that waits, within Slack's pace, but without our own pauses."""
    waiting = "SELECT key FROM outbox WHERE state IN ('queued', 'sending')"
    async with services.engine.begin() as db:
        await db.execute(text("UPDATE outbox SET not_before = now() WHERE state = 'queued'"))
    async with asyncio.timeout(60):
        while await rows(services.engine, waiting):  # noqa: ASYNC110  a table has no event
            await asyncio.sleep(min(0.3, await through.send_due()))


async def test_what_opens_in_a_storm_is_told_of_by_one_message_and_stands_in_its_thread(
    services: Services, sandbox: Sandbox
) -> None:
    services = stormy(services)
    await came(services, *(failing(name) for name in "abcd"), failing("e", severity="critical"))
    found = await rows(services.engine, "SELECT title, storm_id FROM incidents ORDER BY id")
    assert [row.storm_id for row in found] == [None, None, 1, 1, None], "the critical one has a card of its own"
    through = sender(services)
    await sent(services, through)
    shown = posts(sandbox)
    channel = [one for one in shown if one.get("thread_ts", one["ts"]) == one["ts"]]
    (storm,) = (one for one in channel if "Storm" in one["text"])
    assert len(channel) == 4
    assert [one["thread_ts"] for one in shown if one not in channel] == [storm["ts"]] * 2
    assert "2 more incidents" in storm["text"]
    # A state that changes edits the message; what needs a person is said there and calls nobody in the channel.
    async with services.engine.begin() as db:
        third = await incidents.get(db, 3, lock=True)
        assert third is not None
        await flow.close(db, services, third, S.RESOLVED, "It ended.")
    await sent(services, through)
    assert "1 open" in next(one for one in posts(sandbox) if "Storm" in one["text"])["text"]
    assert len(posts(sandbox)) == len(shown)


async def test_a_storm_goes_on_in_its_message_and_a_later_one_has_its_own(services: Services) -> None:
    services = stormy(services)
    await came(services, *(failing(name) for name in "abc"))
    async with services.engine.begin() as db:
        await db.execute(text("UPDATE incidents SET opened_at = now() - interval '6 minutes' WHERE title < 'b'"))
    await came(services, failing("d"))
    async with services.engine.begin() as db:
        await db.execute(text("UPDATE incidents SET opened_at = now() - interval '20 minutes'"))
        await db.execute(text("UPDATE storms SET last_at = now() - interval '20 minutes'"))
    await came(services, *(failing(name) for name in "efg"))
    found = await rows(services.engine, "SELECT storm_id FROM incidents ORDER BY id")
    assert [row.storm_id for row in found] == [None, None, 1, 1, None, None, 2]


async def test_what_comes_back_the_fourth_time_is_counted_and_stands_under_its_first_card(
    services: Services, sandbox: Sandbox
) -> None:
    through = sender(services)
    for number in range(4):
        one = failing("a", started_at=NOW + timedelta(minutes=number))
        await came(services, one)
        await sent(services, through)
        await came(services, ended(one))
    channel = [one for one in posts(sandbox) if one.get("thread_ts", one["ts"]) == one["ts"]]
    (again,) = (one for one in posts(sandbox) if one not in channel)
    assert len(channel) == 3
    assert again["thread_ts"] in {one["ts"] for one in channel}
    assert "4th time this week" in again["text"]
    # Critical ones are news each time.
    async with services.engine.connect() as db:
        loud = failing("a", severity="critical")
        assert await storms.flapping_thread(db, loud, "C0DEPLOY") == ""


async def test_people_overtake_alerts_in_the_inbox_the_jobs_and_the_outbox(services: Services) -> None:
    for number in range(inbox.BATCH + 5):
        await flow.accept(services, source="x", delivery_id=f"{number}", event=flow.ALERTS, body={"alerts": []})
    question = {"user": "U1", "channel": "C0DEPLOY", "ts": "1.1", "thread_ts": "", "text": "error: a is down\nexit 1"}
    await flow.accept(services, source="slack", delivery_id="q", event=flow.QUESTION, body={"question": question})
    async with services.engine.begin() as db:
        batch = await deliveries.claim(db, limit=inbox.BATCH, known=inbox.EVENTS)
    assert [one.event for one in batch] == [flow.QUESTION], "without alerts that its answer would wait for"
    await came(services, failing("a"))
    await inbox.drain(services)
    urgency = await rows(
        services.engine,
        "SELECT args->>'incident_id' AS it FROM procrastinate.procrastinate_jobs ORDER BY priority DESC, id",
    )
    assert [row.it for row in urgency] == ["2", "1"], "the question came second and is looked at first"
    assert len(await jobs(services.engine)) == 2
    said = await rows(services.engine, "SELECT incident_id, priority FROM outbox WHERE kind = 'card' ORDER BY priority")
    assert [(row.incident_id, row.priority) for row in said] == [(2, outbox.URGENT), (1, outbox.NEW)]
