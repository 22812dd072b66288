"""The sender says everything once, whatever Slack and the database do meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import psycopg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from slack_sdk.web.async_client import AsyncWebClient
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.postgres import EmbeddedPostgres
from bot.sandbox.server import Sandbox
from bot.sandbox.slack import blocks
from bot.sandbox.slack.shapes import by_type
from handlers.blocks.card_buttons import feedback_block
from handlers.blocks.card_view import Card
from handlers.outbox import MAX_ATTEMPTS, POST_BURST, POSTS_PER_S, Bucket, Sender, kept_free
from knowledge.store import incidents, outbox
from tests.handlers.office import posts, rows
from tests.rows import S, an_incident
from tests.transcript import unrecorded
from tests.waiting import until

WAITING = "SELECT key FROM outbox WHERE state IN ('queued', 'sending')"
STATE = "SELECT state, error FROM outbox WHERE key = :key"


async def draw(db: AsyncConnection, incident_id: int) -> Card | None:
    """A card that shows its incident's state."""
    incident = await incidents.get(db, incident_id)
    words = f"{incident.title}: {incident.state}" if incident else ""
    return Card(words, [{"type": "section", "text": {"type": "mrkdwn", "text": words}}])


@pytest.fixture
def sender(engine: AsyncEngine, slack: AsyncWebClient) -> Sender:
    return Sender(engine, slack, draw)


@asynccontextmanager
async def sending(sender: Sender) -> AsyncIterator[None]:
    task = asyncio.create_task(sender.run(asyncio.Event()))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def send_all(engine: AsyncEngine, sender: Sender) -> None:
    """Run the sender until nothing waits."""

    async def empty() -> bool:
        return not await rows(engine, WAITING)

    async with sending(sender):
        await until(empty)


async def put(engine: AsyncEngine, key: str, **changes: Any) -> None:
    values: dict[str, Any] = {"kind": "post", "channel": "C0DEPLOY", "payload": {"text": key}, **changes}
    async with engine.begin() as db:
        await outbox.put(db, key=key, **values)


async def put_card(engine: AsyncEngine, channel: str = "C0DEPLOY") -> int:
    async with engine.begin() as db:
        incident = await an_incident(db, channel=channel)
        await outbox.new_card(db, incident.id, channel)
        await outbox.put_card(db, incident.id, channel, payload={})
    return incident.id


async def change_card(engine: AsyncEngine, incident_id: int) -> None:
    async with engine.begin() as db:
        incident = await incidents.get(db, incident_id)
        assert incident is not None
        await incidents.move(db, incident, S.DIAGNOSING)
        await outbox.put_card(db, incident_id, "C0DEPLOY", payload={})


def texts(sandbox: Sandbox, channel: str = "C0DEPLOY") -> list[str]:
    return [message["text"] for message in posts(sandbox, channel)]


# --- the ordinary ----------------------------------------------------------------------------------------------------


async def test_a_card_is_posted_once_and_edited_in_place(engine: AsyncEngine, sandbox: Sandbox, sender: Sender) -> None:
    incident_id = await put_card(engine)
    await put(engine, "reply", incident_id=incident_id, payload={"text": "why", "in_thread": True, "broadcast": True})
    await send_all(engine, sender)
    card, reply = posts(sandbox)
    assert card["text"] == "CheckoutDown: detected"
    assert (reply["thread_ts"], reply["text"]) == (card["ts"], "why")
    await change_card(engine, incident_id)
    await send_all(engine, sender)
    assert texts(sandbox) == ["CheckoutDown: diagnosing", "why"]


async def test_an_edit_that_shows_the_same_is_not_sent(engine: AsyncEngine, sandbox: Sandbox, sender: Sender) -> None:
    incident_id = await put_card(engine)
    await send_all(engine, sender)
    sender.problem = "Slack's API: TimeoutError"
    async with engine.begin() as db:
        await outbox.put_card(db, incident_id, "C0DEPLOY", payload={})
    await send_all(engine, sender)
    assert [call["method"] for call in sandbox.slack.log.since(0)].count("chat.update") == 0
    assert sender.problem, "nothing was asked of Slack, so nothing says that it is back"
    await put(engine, "news")
    await send_all(engine, sender)
    assert sender.problem is None


async def test_a_reply_waits_for_its_card(engine: AsyncEngine, sandbox: Sandbox, sender: Sender) -> None:
    async with engine.begin() as db:
        incident = await an_incident(db)
        await outbox.new_card(db, incident.id, "C0DEPLOY")
    await put(engine, "reply", incident_id=incident.id, payload={"text": "why", "in_thread": True})
    assert await sender.send_due() > 1, "it does not keep asking"
    assert not posts(sandbox)
    async with engine.begin() as db:
        await outbox.put_card(db, incident.id, "C0DEPLOY", payload={})
    await send_all(engine, sender)
    card, reply = posts(sandbox)
    assert reply["thread_ts"] == card["ts"]


async def test_private_answers_and_reactions_go_out(engine: AsyncEngine, sandbox: Sandbox, sender: Sender) -> None:
    await put(engine, "a post")
    await send_all(engine, sender)
    (post,) = posts(sandbox)
    for key in ("seen", "seen again"):
        await put(engine, key, kind="reaction", payload={"ts": post["ts"], "name": "eyes"})
    await put(engine, "told", kind="ephemeral", payload={"user": "U0DEV", "text": "You may not."})
    await send_all(engine, sender)
    assert [one["name"] for one in posts(sandbox)[0]["reactions"]] == ["eyes"]
    (told,) = sandbox.slack.workspace.channels["C0DEPLOY"].ephemerals
    assert (told["for_user"], told["text"]) == ("U0DEV", "You may not.")
    assert [row.state for row in await rows(engine, "SELECT state FROM outbox")] == ["sent"] * 4


# --- faults of Slack -------------------------------------------------------------------------------------------------


async def test_slacks_wait_is_obeyed_for_the_whole_channel_and_nothing_is_lost(
    engine: AsyncEngine, sandbox: Sandbox, sender: Sender
) -> None:
    for number in range(3):
        await put(engine, f"post {number}", priority=outbox.URGENT)
    sandbox.slack.faults.update({"rate_limit_next": 1})
    begun = time.monotonic()
    await send_all(engine, sender)
    calls = [call for call in sandbox.slack.log.since(0) if call["method"] == "chat.postMessage"]
    assert [call["status"] for call in calls] == [429, 200, 200, 200]
    assert time.monotonic() - begun >= 2, "Retry-After is two seconds"
    assert sorted(texts(sandbox)) == ["post 0", "post 1", "post 2"]


@pytest.mark.parametrize("fault", ["error_after_write_next", "error_before_write_next"])
async def test_an_error_around_the_write_leads_to_one_post(
    engine: AsyncEngine, sandbox: Sandbox, sender: Sender, fault: str
) -> None:
    incident_id = await put_card(engine)
    sandbox.slack.faults.update({fault: 1})
    await send_all(engine, sender)
    await put(engine, "reply", incident_id=incident_id, payload={"text": "why", "in_thread": True})
    sandbox.slack.faults.update({fault: 1})
    await send_all(engine, sender)
    assert texts(sandbox) == ["CheckoutDown: detected", "why"]


async def test_a_card_that_changed_while_its_first_post_was_uncertain_shows_what_is_true(
    engine: AsyncEngine, sandbox: Sandbox, sender: Sender
) -> None:
    incident_id = await put_card(engine)
    sandbox.slack.faults.update({"error_after_write_next": 1})
    await sender.send_due()
    await change_card(engine, incident_id)
    await send_all(engine, sender)
    assert texts(sandbox) == ["CheckoutDown: diagnosing"]


async def test_a_sender_that_died_after_the_post_left_it_to_be_found(
    engine: AsyncEngine, sandbox: Sandbox, slack: AsyncWebClient, sender: Sender
) -> None:
    await put(engine, "hello")
    async with engine.begin() as db:
        (message,) = await outbox.due(db)
        await outbox.sending(db, message)
    metadata = {"event_type": "codehealer_message", "event_payload": {"key": "hello"}}
    await slack.chat_postMessage(channel="C0DEPLOY", text="hello", metadata=metadata)
    sandbox.slack.faults.update({"rate_limit_next": 1, "methods": ["conversations.history"]})
    await send_all(engine, sender)
    assert texts(sandbox) == ["hello"]


async def test_what_a_deposed_sender_left_on_its_way_is_waited_for(
    engine: AsyncEngine, sandbox: Sandbox, slack: AsyncWebClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_its_way: list[asyncio.Task[None]] = []

    async def post_slowly(**message: Any) -> None:
        async def arrive() -> None:
            await asyncio.sleep(1.0)  # as long as it takes to Slack
            await slack.chat_postMessage(**message)

        on_its_way.append(asyncio.create_task(arrive()))
        await asyncio.shield(on_its_way[0])

    leaving = AsyncWebClient(token=slack.token, base_url=slack.base_url)
    monkeypatch.setattr(leaving, "chat_postMessage", post_slowly)
    incident_id = await put_card(engine)
    deposed = asyncio.create_task(Sender(engine, leaving, draw).send_due())

    async def left() -> bool:
        return bool(on_its_way)

    await until(left)
    deposed.cancel()
    await change_card(engine, incident_id)  # which must not bring it forward
    await send_all(engine, Sender(engine, slack, draw))
    await on_its_way[0]
    assert texts(sandbox) == ["CheckoutDown: diagnosing"]


async def test_four_senders_that_have_read_the_same_say_it_once(
    engine: AsyncEngine, sandbox: Sandbox, slack: AsyncWebClient
) -> None:
    question = await slack.chat_postMessage(channel="C0DEPLOY", text="why?")
    await put(engine, "hello")
    await put(engine, "answer", payload={"text": "answer", "reader": "U0ANNA", "thread_ts": question["ts"]})
    await put_card(engine)
    await asyncio.gather(*(Sender(engine, slack, draw).send_due() for _ in range(4)))
    await send_all(engine, Sender(engine, slack, draw))
    assert sorted(texts(sandbox)) == ["CheckoutDown: detected", "answer", "hello", "why?"]


async def test_what_another_sender_has_taken_up_is_not_taken_again(engine: AsyncEngine) -> None:
    await put(engine, "hello")
    async with engine.begin() as db:
        (message,) = await outbox.due(db)
        ours_until = await outbox.sending(db, message)
    async with engine.begin() as db:
        assert ours_until
        assert await outbox.sending(db, message) is None
        assert await outbox.sending(db, message, ours_until - timedelta(seconds=1)) is None
        assert await outbox.due(db) == []
    async with engine.begin() as db:
        assert await outbox.sending(db, message, ours_until)
        await outbox.sent(db, message, "1795939115.473455")
        assert await outbox.sending(db, message) is None
        assert await outbox.sending(db, message, ours_until) is None


async def test_a_sender_that_was_stopped_looks_whether_another_has_sent_it(
    engine: AsyncEngine, sandbox: Sandbox, slack: AsyncWebClient, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(engine, "hello")
    metadata = {"event_type": "codehealer_message", "event_payload": {"key": "hello"}}
    await slack.chat_postMessage(channel="C0DEPLOY", text="hello", metadata=metadata)
    monkeypatch.setattr(outbox, "IN_FLIGHT", timedelta(0))  # any pause is long
    await send_all(engine, sender)
    assert texts(sandbox) == ["hello"]


async def say(_db: AsyncConnection, incident_id: int) -> Card:
    return Card(f"incident {incident_id} is settled", [])


async def settle(engine: AsyncEngine, incident_id: int, *, revision: int) -> None:
    async with engine.begin() as db:
        await outbox.settle_calls(db, incident_id, revision=revision)


async def test_a_call_is_edited_once_it_is_answered_also_after_a_crash_and_nobody_is_notified(
    engine: AsyncEngine, sandbox: Sandbox, slack: AsyncWebClient
) -> None:
    sender = Sender(engine, slack, draw, say)
    incident_id = await put_card(engine)
    key = outbox.call_key(incident_id, 1)
    call = {"text": "please approve", "in_thread": True, "broadcast": True}
    await put(engine, key, incident_id=incident_id, payload=call)
    await settle(engine, incident_id, revision=1)
    await send_all(engine, sender)
    assert texts(sandbox)[1] == "please approve", "of its own revision it still holds"
    await settle(engine, incident_id, revision=2)
    # A sender that died between Slack's edit and our note of it: the row is due still, and says the same once more.
    await slack.chat_update(channel="C0DEPLOY", ts=posts(sandbox)[1]["ts"], text=f"incident {incident_id} is settled")
    await send_all(engine, sender)
    assert texts(sandbox)[1:] == [f"incident {incident_id} is settled"]
    methods = [call["method"] for call in sandbox.slack.log.since(0)]
    assert (methods.count("chat.postMessage"), methods.count("chat.update")) == (2, 2)


async def test_an_edit_of_what_was_never_said_keeps_nothing_waiting(
    engine: AsyncEngine, sandbox: Sandbox, slack: AsyncWebClient
) -> None:
    sender = Sender(engine, slack, draw, say)
    incident_id = await put_card(engine)
    await put(engine, outbox.call_key(incident_id, 1), incident_id=incident_id, payload={"text": "x"}, channel="C0GONE")
    await settle(engine, incident_id, revision=2)
    await put(engine, "after")
    await send_all(engine, sender)
    assert texts(sandbox) == ["CheckoutDown: detected", "after"]


async def test_a_direct_message_is_sent_once_also_when_its_answer_is_lost(
    engine: AsyncEngine, sandbox: Sandbox, sender: Sender
) -> None:
    await put(engine, "remind", kind="direct", channel="U0ONCALL", payload={"text": "a fix waits"})
    await put(engine, "nobody", kind="direct", channel="U0NOBODY", payload={"text": "a fix waits"})
    sandbox.slack.faults.update({"error_after_write_next": 1, "methods": ["chat.postMessage"]})
    await send_all(engine, sender)
    direct = sandbox.slack.workspace.direct_message("U0ONCALL")
    assert [message["text"] for message in direct.messages.values()] == ["a fix waits"]
    (lost,) = await rows(engine, "SELECT error FROM outbox WHERE state = 'failed'")
    assert lost.error == "user_not_found"


async def test_blocks_that_slack_would_refuse_go_out_as_text(
    engine: AsyncEngine, sandbox: Sandbox, sender: Sender
) -> None:
    blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 4000}}]
    await put(engine, "long", payload={"text": "in short", "blocks": blocks})
    await send_all(engine, sender)
    (post,) = posts(sandbox)
    assert post["text"] == "in short"
    assert not [block for block in post.get("blocks", []) if block["type"] == "section"]


async def test_a_deleted_card_is_posted_anew(
    engine: AsyncEngine, sandbox: Sandbox, slack: AsyncWebClient, sender: Sender
) -> None:
    incident_id = await put_card(engine)
    await send_all(engine, sender)
    await slack.chat_delete(channel="C0DEPLOY", ts=posts(sandbox)[0]["ts"])
    await change_card(engine, incident_id)
    await send_all(engine, sender)
    assert texts(sandbox) == ["CheckoutDown: diagnosing"]
    async with engine.connect() as db:
        place = await outbox.card_place(db, incident_id)
    assert place is not None
    assert place.ts == posts(sandbox)[0]["ts"]


async def test_a_channel_that_is_not_there_is_given_up_with_the_reason_and_the_rest_goes_on(
    engine: AsyncEngine, sandbox: Sandbox, sender: Sender
) -> None:
    incident_id = await put_card(engine, "C0NOWHERE")
    reply = {"text": "why", "in_thread": True}
    await put(engine, "reply", incident_id=incident_id, channel="C0NOWHERE", payload=reply)
    await put(engine, "elsewhere")

    async def only_the_reply_waits() -> bool:
        return [row.key for row in await rows(engine, WAITING)] == ["reply"]

    async with sending(sender):
        await until(only_the_reply_waits)
    (card,) = await rows(engine, STATE, key=f"card:{incident_id}")
    assert card == ("failed", "channel_not_found")
    assert texts(sandbox) == ["elsewhere"]


async def test_slack_away_for_a_moment_delays_and_loses_nothing(
    engine: AsyncEngine, sandbox: Sandbox, sender: Sender
) -> None:
    sandbox.slack.faults.update({"refuse_connections": True})
    await put(engine, "hello")
    await sender.send_due()
    (row,) = await rows(engine, "SELECT state, attempts, error FROM outbox")
    assert (row.state, row.attempts) == ("queued", 1)
    async with engine.begin() as db:  # as after minutes without an answer
        await db.exec_driver_sql(
            "UPDATE outbox SET attempts = 50, not_before = now(), created_at = now() - interval '9 days'"
        )
    await sender.send_due()
    (row,) = await rows(engine, "SELECT state, attempts FROM outbox")
    assert (row.state, row.attempts) == ("queued", 51)
    async with engine.begin() as db:
        await db.exec_driver_sql("UPDATE outbox SET not_before = now()")
    sandbox.slack.faults.update({"refuse_connections": False})
    await send_all(engine, sender)
    assert texts(sandbox) == ["hello"]


async def due_now(engine: AsyncEngine, sender: Sender) -> None:
    """One more round, as after the wait."""
    async with engine.begin() as db:
        await db.exec_driver_sql("UPDATE outbox SET not_before = now()")
    await sender.send_due()


async def test_a_message_that_slack_refuses_does_not_say_that_slack_is_away(
    engine: AsyncEngine, sandbox: Sandbox, sender: Sender
) -> None:
    await put(engine, "seen", kind="reaction", payload={"ts": "1700000000.000001", "name": "eyes"})
    for _ in range(MAX_ATTEMPTS):
        await due_now(engine, sender)
        assert sender.problem is None
    assert await rows(engine, STATE, key="seen") == [("failed", "message_not_found")]


@pytest.mark.parametrize("code", ["token_revoked", "org_login_required", "accesslimited", "message_limit_exceeded"])
async def test_slack_that_takes_nothing_of_ours_is_away(
    engine: AsyncEngine, sandbox: Sandbox, sender: Sender, code: str
) -> None:
    sandbox.slack.faults.update({"token_error": code})
    await put(engine, "hello")
    for _ in range(MAX_ATTEMPTS + 1):
        await due_now(engine, sender)
        assert sender.problem == f"Slack's API: {code}"
    sandbox.slack.faults.update({"token_error": ""})
    await due_now(engine, sender)
    assert sender.problem is None
    assert texts(sandbox) == ["hello"]


async def test_an_answer_without_slacks_word_is_not_slacks(engine: AsyncEngine) -> None:
    """A proxy's page, say: it tells nothing of the message, and nobody sees what we do."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(status=403, text="<h1>Blocked</h1>", content_type="text/html")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", page)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        client = AsyncWebClient(token="xoxb-0", base_url=str(server.make_url("/")), session=session, retry_handlers=[])
        sender = Sender(engine, client, draw)
        await put(engine, "hello")
        for _ in range(MAX_ATTEMPTS + 1):
            await due_now(engine, sender)
            assert sender.problem
    assert [row.state for row in await rows(engine, STATE, key="hello")] == ["queued"]


# --- the database ----------------------------------------------------------------------------------------------------


async def nobody_connected(admin: psycopg.AsyncConnection, name: str) -> None:
    async def gone() -> bool:
        found = await admin.execute("SELECT 1 FROM pg_stat_activity WHERE datname = %s", (name,))
        return await found.fetchone() is None

    await until(gone)


async def test_a_database_that_goes_away_and_comes_back_while_it_sends_makes_no_double_and_no_gap(
    engine: AsyncEngine, sandbox: Sandbox, sender: Sender, postgres_server: EmbeddedPostgres
) -> None:
    channels = ["C0DEPLOY", "C0ALERTS"]
    for channel in channels:
        for number in range(4):
            await put(engine, f"{channel} {number}", channel=channel, priority=outbox.URGENT)
    sandbox.slack.faults.update({"slow_ms": 60})
    name = make_url(str(engine.url)).database

    def said() -> int:
        return sum(len(texts(sandbox, channel)) for channel in channels)

    async def more_than(count: int) -> None:
        async def grown() -> bool:
            return said() > count

        await until(grown)

    async with (
        await psycopg.AsyncConnection.connect(postgres_server.conninfo, autocommit=True) as admin,
        sending(sender),
    ):
        for _ in range(3):
            await more_than(said())
            await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
            await nobody_connected(admin, str(name))
            await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await more_than(7)
    await send_all(engine, sender)
    for channel in channels:
        assert sorted(texts(sandbox, channel)) == [f"{channel} {number}" for number in range(4)]


# --- the bucket ------------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("handlers.outbox.time.monotonic", lambda: now[0])
    return now


def test_a_bucket_gives_its_burst_at_once_and_then_its_rate(clock: list[float]) -> None:
    bucket = Bucket(4, 2, at=clock[0])
    for _ in range(4):
        assert bucket.wait_s() == 0
        bucket.take()
    assert bucket.wait_s() == pytest.approx(0.5)
    clock[0] += 0.5
    assert bucket.wait_s() == 0
    bucket.take()
    clock[0] += 3600
    for _ in range(4):
        assert bucket.wait_s() == 0
        bucket.take()
    assert bucket.wait_s() > 0, "it never holds more than its burst"


def test_a_bucket_keeps_back_what_it_is_told_to(clock: list[float]) -> None:
    bucket = Bucket(4, 1, at=clock[0])
    for _ in range(2):
        assert bucket.wait_s(keep=2) == 0
        bucket.take()
    assert bucket.wait_s(keep=2) == pytest.approx(1)
    assert bucket.wait_s() == 0


@pytest.mark.parametrize("priority", [outbox.NEW, outbox.IN_STORM])
def test_the_last_reply_of_a_burst_leaves_one_to_a_card_also_in_a_storm(priority: int, clock: list[float]) -> None:
    def message(kind: str, priority: int) -> outbox.Message:
        now = datetime.now(UTC)
        return outbox.Message(1, kind, f"{kind}:1", 1, "C0DEPLOY", {}, priority, "queued", 1, 0, now)

    bucket = Bucket(POST_BURST, POSTS_PER_S, at=clock[0])
    replies = 0
    while bucket.wait_s(kept_free(message("post", outbox.CHANGED), None)) == 0:
        bucket.take()
        replies += 1
    assert replies > 0
    assert bucket.wait_s(kept_free(message("card", priority), None)) == 0
    bucket.take()
    assert bucket.wait_s(kept_free(message("post", outbox.URGENT), None)) == 0, "and one to people"


@pytest.mark.parametrize("seconds", [0.5, 1, 2, 30])
def test_a_bucket_is_empty_for_as_long_as_slack_says(clock: list[float], seconds: float) -> None:
    bucket = Bucket(4, 1, at=clock[0])
    bucket.empty_for(seconds)
    assert bucket.wait_s() == pytest.approx(seconds)
    clock[0] += seconds / 2
    assert bucket.wait_s() == pytest.approx(seconds / 2)
    clock[0] += seconds / 2
    assert bucket.wait_s() == pytest.approx(0, abs=1e-6)
    bucket.take()
    assert bucket.wait_s() == pytest.approx(1)


async def test_a_workspace_that_refuses_feedback_buttons_gets_plain_ones_from_then_on(
    engine: AsyncEngine, slack: AsyncWebClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    unrecorded(monkeypatch)
    known = {name: check for name, check in blocks._KINDS.items() if name != "context_actions"}
    monkeypatch.setitem(blocks._SURFACES, blocks.MESSAGE, by_type(known))

    async def judged(_db: AsyncConnection, incident_id: int) -> Card | None:
        return Card("It panics.", [feedback_block(incident_id, 7)])

    sender = Sender(engine, slack, judged)
    async with engine.begin() as db:
        for title in ("One", "Two"):
            incident = await an_incident(db, title=title)
            await outbox.new_card(db, incident.id, "C0DEPLOY")
            await outbox.put_card(db, incident.id, "C0DEPLOY", payload={}, priority=outbox.NEW)
    await send_all(engine, sender)
    shown = posts(sandbox)
    assert [[one["action_id"] for one in post["blocks"][0]["elements"]] for post in shown] == [
        ["feedback_up", "feedback_down"]
    ] * 2
    refused = [one for one in sandbox.slack.log.entries if "invalid_blocks" in str(one)]
    assert len(refused) == 1
