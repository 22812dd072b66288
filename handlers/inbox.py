"""Draining the inbox: stored deliveries become alerts, questions and decisions, each exactly once.

A delivery's effects and its mark "done" commit together. What needs the network first (who clicked?) becomes a job.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import structlog
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import (
    answering,
    assistant,
    baseline,
    cards,
    decisions,
    feedback,
    flow,
    heartbeat,
    hushing,
    queued,
    remembering,
    replies,
    shortcuts,
    threads,
)
from handlers.blocks import fixes
from handlers.blocks import mrkdwn as m
from handlers.blocks.card import Card
from handlers.blocks.modals import Rejection
from handlers.mentions import Question
from handlers.services import Services
from handlers.typed import command_in
from knowledge import telemetry
from knowledge.errors import CodeHealerError
from knowledge.model import Alert, RejectReason
from knowledge.store import deliveries, incidents
from knowledge.store.codec import from_json
from knowledge.store.database import is_of_the_data
from knowledge.store.deliveries import Delivery

log = structlog.get_logger(__name__)

BATCH = 100
# How long a batch goes on: what a person says meanwhile waits for its end, and no longer.
TURN_S = 0.25
# At most so often a batch begins: what comes meanwhile shares the next transaction, which costs as much as an alert.
# The first after a pause waits for nothing.
GATHER_S = 0.05


Counted = set[int]


async def _alerts(db: AsyncConnection, services: Services, delivery: Delivery) -> Counted:
    counted = {await flow.on_alert(db, services, from_json(Alert, payload)) for payload in delivery.body["alerts"]}
    return {incident_id for incident_id in counted if incident_id is not None}


async def _message(db: AsyncConnection, services: Services, delivery: Delivery) -> Counted:
    """A message that could not be read when it came. An operator has it tried again, and so vouches for its sender."""
    kept = delivery.body
    intake = queued.read_message(kept["text"], kept["attributes"], allowed=queued.QUEUEABLE, secrets={})
    counted = {await flow.on_alert(db, services, alert) for alert in intake.alerts}
    return {incident_id for incident_id in counted if incident_id is not None}


async def _question(db: AsyncConnection, services: Services, delivery: Delivery) -> Counted:
    question = Question(**delivery.body["question"])
    if question.outside:
        text = replies.OUTSIDE
        await cards.answer_question(db, question, Card(text, [m.section("outside", [text])]))
        return set()
    await cards.seen(db, question)
    if command_in(question.said, in_thread=bool(question.thread_ts)):
        # Who asks is looked up first, and that takes the network.
        name = f"command:{question.channel}:{question.ts}"
        await services.jobs.enqueue(db, "answer_command", lock=name, once=name, **delivery.body)
    elif answering.wants_answer(question):
        await answering.ask(db, services, question)
    else:
        await flow.on_question(db, services, question)
        await answering.where_it_went(db, services, question)
    return set()


async def _shortcut(db: AsyncConnection, services: Services, delivery: Delivery) -> Counted:
    name = f"shortcut:{delivery.body['key']}"
    await services.jobs.enqueue(db, shortcuts.DIAGNOSE, lock=name, once=name, **delivery.body)
    return set()


async def _feedback(db: AsyncConnection, services: Services, delivery: Delivery) -> Counted:
    await feedback.give(db, services, **delivery.body["feedback"])
    return set()


async def _reaction(db: AsyncConnection, services: Services, delivery: Delivery) -> Counted:
    await feedback.react(db, services, **delivery.body["reaction"])
    return set()


async def _thread(db: AsyncConnection, services: Services, delivery: Delivery) -> Counted:
    await threads.on_thread(db, services, delivery.body[threads.THREAD])
    return set()


async def _fix_told(db: AsyncConnection, services: Services, delivery: Delivery) -> Counted:
    await remembering.told(db, delivery.body["fix"])
    if thread := delivery.body.get(threads.THREAD):
        await threads.on_thread(db, services, thread)
    return set()


async def _opened(db: AsyncConnection, services: Services, delivery: Delivery) -> Counted:
    person = delivery.body["person"]
    name = f"prompts:{person['channel']}"
    await services.jobs.enqueue(db, assistant.STAGE, lock=name, once=name, person=person)
    return set()


async def _channel(db: AsyncConnection, services: Services, delivery: Delivery) -> Counted:
    channel = delivery.body[threads.CHANNEL]
    await threads.on_channel(db, services, channel)
    if channel["now"] == "joined":
        await baseline.greet(db, services, channel["id"])
    return set()


async def _later(db: AsyncConnection, services: Services, delivery: Delivery) -> Counted:
    click = delivery.body["click"]
    about = next(
        f"{what}:{click[what]}" for what in ("approval_id", "incident_id", "alert_id", "offer_id") if what in click
    )
    lock = about.replace("approval_id", "approval").replace("incident_id", "taking")
    await services.jobs.enqueue(db, delivery.event, lock=lock, **delivery.body)
    return set()


async def _heartbeat(db: AsyncConnection, services: Services, delivery: Delivery) -> Counted:
    await heartbeat.on_delivery(db, services, delivery)
    return set()


async def on_approve(services: Services, click: Mapping[str, Any]) -> None:
    await decisions.approve(services, click)


async def on_reject(services: Services, click: Mapping[str, Any]) -> None:
    rejection = Rejection(
        approval_id=click["approval_id"],
        digest=click["digest"],
        incident_id=click["incident_id"],
        reason=RejectReason(click["reason"]),
        comment=click["comment"],
    )
    await decisions.reject(services, rejection, user=click["user"], key=click["key"])


EVENTS: Mapping[str, Callable[[AsyncConnection, Services, Delivery], Awaitable[Counted]]] = {
    flow.ALERTS: _alerts,
    flow.MESSAGE: _message,
    flow.QUESTION: _question,
    shortcuts.DIAGNOSE: _shortcut,
    "feedback": _feedback,
    "reaction": _reaction,
    "approve": _later,
    "reject": _later,
    "edit": _later,
    "snooze": _later,
    "take": _later,
    "give_back": _later,
    "regroup": _later,
    "postmortem": _later,
    "evidence": _later,
    "open_baseline": _later,
    remembering.STAGE: _later,
    "fix_told": _fix_told,
    fixes.REMEMBER_FIX: _later,
    assistant.STAGE: _opened,
    threads.THREAD: _thread,
    threads.CHANNEL: _channel,
    heartbeat.HEARTBEAT: _heartbeat,
}


# What one delivery can be wrong by; everything else is ours to notice, and ends the process.
FAULTS = (CodeHealerError, DBAPIError, LookupError, TypeError, ValueError)


async def drain(services: Services) -> int:
    """Handle one batch; how many deliveries were taken. One that fails harms no other."""
    async with services.engine.connect() as db:
        waiting = await deliveries.waiting(db, source=hushing.ALERTMANAGER, known=EVENTS)
    if not waiting.any:
        return 0
    if waiting.source:
        await hushing.look(services)  # before the transaction, which every alert waits for
    try:
        return await _drain_together(services, people=waiting.people)
    except FAULTS as error:
        if _database_in_trouble(error):
            raise  # nothing of the batch is marked
        return await _drain_apart(services)


def _database_in_trouble(error: Exception) -> bool:
    return isinstance(error, OperationalError) and not is_of_the_data(error)


async def _drain_together(services: Services, *, people: bool) -> int:
    """The whole batch in one transaction, without a savepoint each: they cost as much as the work."""
    async with services.engine.begin() as db:
        batch = await deliveries.claim(db, limit=BATCH, people=people, known=EVENTS)
        if not batch:
            return 0
        await incidents.lock_correlation(db)
        counted: Counted = set()
        handled: list[int] = []
        began = time.monotonic()
        for delivery in batch:
            counted |= await EVENTS[delivery.event](db, services, delivery)
            handled.append(delivery.id)
            if delivery.event == flow.ALERTS and time.monotonic() - began > TURN_S:
                break  # the rest is as new as before
        await _finish(db, services, handled, counted)
    _note_lag(services, batch[: len(handled)])
    return len(handled)


async def _drain_apart(services: Services) -> int:
    """The same with a savepoint each, to tell the delivery that can't be handled from the others."""
    handled: list[int] = []
    counted: Counted = set()
    async with services.engine.begin() as db:
        batch = await deliveries.claim(db, limit=BATCH, known=EVENTS)
        await incidents.lock_correlation(db)
        for delivery in batch:
            try:
                async with db.begin_nested():
                    counted |= await EVENTS[delivery.event](db, services, delivery)
            except FAULTS as error:
                if _database_in_trouble(error):
                    raise
                log.exception("delivery_failed", delivery=delivery.id, source=delivery.source, kind=delivery.event)
                await deliveries.failed(db, delivery, f"{type(error).__name__}: {error}")
            else:
                handled.append(delivery.id)
        await _finish(db, services, handled, counted)
    _note_lag(services, [one for one in batch if one.id in set(handled)])
    return len(batch)


def _note_lag(services: Services, handled: Sequence[Delivery]) -> None:
    """How long what is committed now has waited, for /metrics."""
    now = services.now()
    for delivery in handled:
        telemetry.STAGE_LAG.labels("alert").observe(max(0.0, (now - delivery.received_at).total_seconds()))


async def _finish(db: AsyncConnection, services: Services, handled: Sequence[int], counted: Counted) -> None:
    await cards.recount(db, services, counted)
    await deliveries.done(db, handled)


async def run(services: Services, wake: asyncio.Event, *, poll_s: float = 2.0) -> None:
    """Drain until cancelled; `wake` is set when something came in."""
    while True:
        wake.clear()
        began = time.monotonic()
        try:
            taken = await drain(services)
        except (OperationalError, NoConnectionFree) as error:
            log.warning("inbox_waits_for_database", error=type(getattr(error, "orig", None) or error).__name__)
            taken = 0
            await asyncio.sleep(0.5)
        if taken == 0:
            try:
                async with asyncio.timeout(poll_s):
                    await wake.wait()
            except TimeoutError:
                continue
        elif (rest_s := began + GATHER_S - time.monotonic()) > 0:
            await asyncio.sleep(rest_s)
