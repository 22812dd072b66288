"""Answers that grow while they are read: one complete answer, wherever it breaks off."""

from typing import Any

import pytest
from slack_sdk.web.async_client import AsyncWebClient
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.sandbox.server import Sandbox
from bot.sandbox.slack.methods_streams import stop_as_person
from handlers.blocks import mrkdwn as m
from handlers.outbox import Sender
from handlers.streaming import parts_of
from knowledge.store import outbox
from tests.handlers.office import posts, rows
from tests.handlers.test_outbox_sender import draw, put, send_all

LINES = ("*Why it_fails*", "• one", "• two", "• three", "• four", "• five")
TEXT = "\n".join(("Why it_fails", *LINES[1:]))
BLOCKS = [*m.sections("answer", LINES), {"type": "divider"}]
KEY, ASKED = "answer:C0DEPLOY:1", {"user": "U0DEV", "team": "T0SANDBOX"}


@pytest.fixture
def sender(engine: AsyncEngine, slack: AsyncWebClient) -> Sender:
    return Sender(engine, slack, draw)


async def asked(engine: AsyncEngine, slack: AsyncWebClient, key: str = KEY) -> str:
    """A thread in which an answer waits to be sent; its parent's ts."""
    parent = str((await slack.chat_postMessage(channel="C0DEPLOY", text="a question"))["ts"])
    payload = {"text": TEXT, "blocks": BLOCKS, "thread_ts": parent, "reader": ASKED}
    await put(engine, key, payload=payload)
    return parent


def said(message: dict[str, Any]) -> str:
    """All the words of a message's blocks, in order."""
    texts = (block.get("text", "") for block in message.get("blocks", []))
    return "\n".join(text if isinstance(text, str) else text["text"] for text in texts if text)


def whole(sandbox: Sandbox, parent: str) -> dict[str, Any]:
    """The one answer in a thread, with everything in it."""
    (answer,) = [one for one in posts(sandbox) if one.get("thread_ts") == parent and one["ts"] != parent]
    words = said(answer)
    assert "fails" in words
    assert all(line in words for line in LINES[1:])
    assert answer.get("streaming_state", "completed") == "completed"
    return answer


def test_an_answer_is_cut_by_lines_and_its_first_sentence_is_said_first() -> None:
    parts = parts_of(TEXT, BLOCKS)
    assert parts.lead == r"Why it\_fails"
    assert [part[0]["text"]["text"] for part in parts.middle] == ["• one\n• two\n• three", "• four\n• five"]
    assert parts.end == ({"type": "divider"},)
    card = [{"type": "section", "text": m.mrkdwn("a")}, {"type": "divider"}, {"type": "section", "text": m.mrkdwn("b")}]
    assert parts_of("lead", card).middle == (tuple(card),)
    many = m.sections("long", [f"line {number}" for number in range(200)])
    assert len(parts_of("lead", many).middle) <= 6


async def test_an_answer_is_streamed_once_and_is_whole_at_its_end(
    engine: AsyncEngine, slack: AsyncWebClient, sandbox: Sandbox, sender: Sender
) -> None:
    parent = await asked(engine, slack)
    await send_all(engine, sender)
    answer = whole(sandbox, parent)
    assert (answer["thread_ts"], answer["metadata"]["event_payload"]["key"]) == (parent, KEY)
    calls = [one["method"] for one in sandbox.slack.log.entries if one["method"].startswith("chat.")]
    assert calls == [
        "chat.postMessage", "chat.startStream", "chat.appendStream", "chat.appendStream", "chat.stopStream",
    ]  # fmt: skip


async def test_where_slack_does_not_stream_the_answer_is_posted(
    engine: AsyncEngine, slack: AsyncWebClient, sandbox: Sandbox, sender: Sender
) -> None:
    sandbox.slack.faults.refuse_streams = True
    parent = await asked(engine, slack)
    await send_all(engine, sender)
    assert "streaming_state" not in whole(sandbox, parent)


async def test_an_answer_that_breaks_off_is_completed_and_is_one(
    engine: AsyncEngine, slack: AsyncWebClient, sandbox: Sandbox, sender: Sender
) -> None:
    for method, fault in (
        ("chat.startStream", "error_after_write_next"),
        ("chat.appendStream", "error_before_write_next"),
        ("chat.appendStream", "rate_limit_next"),
        ("chat.stopStream", "error_after_write_next"),
    ):
        parent = await asked(engine, slack, f"{KEY}:{method}:{fault}")
        sandbox.slack.faults.update({fault: 1, "methods": [method]})
        await send_all(engine, sender)
        whole(sandbox, parent)


async def test_a_sender_that_died_in_the_middle_leaves_one_answer(
    engine: AsyncEngine, slack: AsyncWebClient, sandbox: Sandbox, sender: Sender
) -> None:
    """Killed after the beginning reached Slack, before and after its place was noted."""
    parent = await asked(engine, slack)
    for noted in (False, True):
        begun = await slack.chat_startStream(
            channel="C0DEPLOY", thread_ts=parent, markdown_text="Why", recipient_user_id="U0DEV",
            recipient_team_id="T0SANDBOX",
        )  # fmt: skip
        ts = begun["ts"] if noted else ""
        await rows_changed(engine, "UPDATE outbox SET state = 'sending', ts = :ts WHERE key = :key", ts=ts, key=KEY)
        await send_all(engine, sender)
        answer = whole(sandbox, parent)
        assert answer["ts"] == begun["ts"]
        await slack.chat_delete(channel="C0DEPLOY", ts=answer["ts"])


async def rows_changed(engine: AsyncEngine, statement: str, **values: Any) -> None:
    async with engine.begin() as db:
        await db.exec_driver_sql(statement.replace(":ts", "%(ts)s").replace(":key", "%(key)s"), values)


async def test_a_reader_who_stops_an_answer_keeps_what_was_said(
    engine: AsyncEngine, slack: AsyncWebClient, sandbox: Sandbox, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asked(engine, slack)
    append = slack.chat_appendStream

    async def pressed_first(**given: Any) -> Any:
        channel = sandbox.slack.workspace.channels["C0DEPLOY"]
        stop_as_person(sandbox.slack, channel, channel.messages[given["ts"]], "U0DEV")
        return await append(**given)

    monkeypatch.setattr(slack, "chat_appendStream", pressed_first)
    await send_all(engine, sender)
    _, answer = posts(sandbox)
    assert "one" not in said(answer)
    (row,) = await rows(engine, "SELECT state, ts FROM outbox WHERE key = :key", key=KEY)
    assert (row.state, row.ts) == ("sent", answer["ts"])
    async with engine.connect() as db:
        assert await outbox.known(db, KEY)
