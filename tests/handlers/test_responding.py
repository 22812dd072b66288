"""Answers after the acknowledgement, and what the message shortcuts keep: over the sandbox's real HTTP."""

from dataclasses import replace
from typing import Any, cast

import pytest

from bot.sandbox.server import Sandbox
from bot.sandbox.slack import views
from handlers import flow, inbox, responding, shortcuts
from handlers.blocks import fixes
from handlers.blocks.actions import encode
from handlers.clicks import read_submission
from handlers.services import Services
from knowledge.ports import Embedder
from knowledge.recall import Embedded
from knowledge.store import casebook, memory, outbox
from tests.handlers.office import jobs, rows, told
from tests.rows import NOW, S, an_incident, item

HERE, PERSON = "C0DEPLOY", "U0ONCALL"
Json = dict[str, Any]


class Acks(list[Json]):
    """What was acknowledged with."""

    async def __call__(self, **answer: Any) -> None:
        self.append(answer)


def private(sandbox: Sandbox) -> list[str]:
    return [one["text"] for one in sandbox.slack.workspace.channels[HERE].ephemerals]


async def test_what_takes_longer_than_slack_waits_comes_later_and_privately(
    services: Services, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    acks = Acks()
    body = {"user_id": PERSON, "channel_id": HERE, "text": "status", "trigger_id": "1"}
    body["response_url"] = sandbox.slack.new_response_url(HERE, PERSON)
    await responding.command(services, acks, body)
    assert "No open incidents" in acks[0]["text"]
    assert not private(sandbox)
    monkeypatch.setattr(responding, "ANSWER_S", 0.0)
    await responding.command(services, acks, body)
    assert acks[1]["text"] == responding.WAIT
    (later,) = private(sandbox)
    assert "No open incidents" in later


async def test_a_click_runs_what_looks_and_nothing_else(services: Services, sandbox: Sandbox) -> None:
    click: Json = {"user": {"id": PERSON}, "channel": {"id": HERE}, "container": {"is_ephemeral": False}}
    for line in ("status", "pause", "mute checkout", "", "frobnicate"):
        url = sandbox.slack.new_response_url(HERE, PERSON)
        action = {"action_id": "run_command", "value": encode(c=line)}
        await responding.run(services, Acks(), {**click, "response_url": url, "actions": [action]})
    first, *others = private(sandbox)
    assert "No open incidents" in first
    assert all("I cannot read that button" in one for one in others[:2])
    assert not await rows(services.engine, "SELECT 1 FROM switches")


def submitted(number: str, text: str | None) -> Json:
    values = {
        "incident": {"incident": {"type": "static_select", "selected_option": {"value": number}}},
        "fix": {"fix": {"type": "plain_text_input", "value": text}},
    }
    about = {"id": "V1", "callback_id": fixes.REMEMBER_FIX, "private_metadata": encode(c=HERE)}
    return {"user": {"id": PERSON}, "view": {**about, "state": {"values": values}}}


async def test_a_fix_that_a_member_tells_is_kept_redacted_and_a_guests_is_not(services: Services) -> None:
    assert read_submission(submitted("x", "restart"), NOW) is None
    assert read_submission(submitted("7", "  "), NOW) is None
    acks = Acks()
    await shortcuts.take_fix(services, acks, submitted("7", ""))
    assert acks == [{"response_action": "errors", "errors": {"fix": fixes.EMPTY}}]
    services = replace(services, embedder=cast(Embedder, Embedded("a model", ())))
    async with services.engine.begin() as db:
        incident = await an_incident(db, state=S.HEALED)
        await outbox.new_card(db, incident.id, HERE)
        ours = item(f"incident-{incident.id}", incident_id=incident.id)
        await memory.remember(db, ours, vector=None, vector_model="")
    stored = read_submission(submitted(str(incident.id), "turned the flag off, password=abcd1234efgh"), NOW)
    assert stored is not None
    click = stored[1]["click"]
    await shortcuts.remember(services, {**click, "user": "U0GUEST"})
    await shortcuts.remember(services, {**click, "incident_id": 99})
    refused = [words for _, words in await told(services.engine)]
    assert refused[:1] == [fixes.MEMBERS_ONLY]
    for _ in range(2):  # delivered again
        await shortcuts.remember(services, click)
    async with services.engine.connect() as db:
        kept = await casebook.get(db, f"told-{incident.id}")
        before = await casebook.get(db, ours.id)
    assert kept is not None
    assert "turned the flag off" in kept.item.fix
    assert "abcd1234efgh" not in kept.item.fix
    assert before is not None
    assert before.item.fix == ours.fix, "the record of our own fix stays"


async def test_the_form_has_the_threads_incident_and_the_messages_words(services: Services, sandbox: Sandbox) -> None:
    async with services.engine.begin() as db:
        older, newer = [await an_incident(db, title=title) for title in ("Older", "Newer")]
        await outbox.new_card(db, older.id, HERE)
        await outbox.card_shown(db, older.id, channel=HERE, ts="1.1", shown="x")
    message = {"ts": "2.2", "thread_ts": "1.1", "text": "fixed by a bigger disk"}
    body: Json = {"user": {"id": PERSON}, "channel": {"id": HERE}, "message": message}
    body["trigger_id"] = sandbox.slack.new_trigger(PERSON)
    await shortcuts.open_fix(services, Acks(), body)
    view = views.current(sandbox.slack, PERSON)
    assert view is not None
    which, fix = (block["element"] for block in view["blocks"])
    assert [option["value"] for option in which["options"]] == [str(older.id), str(newer.id)]
    assert which["initial_option"]["value"] == str(older.id)
    assert fix["initial_value"] == "fixed by a bigger disk"


@pytest.mark.parametrize(("channel", "answered"), [(HERE, True), ("C0SHARED", False), ("D0THEIRS", False)])
async def test_a_message_is_diagnosed_where_the_bot_is_and_no_other_company_reads(
    services: Services, sandbox: Sandbox, channel: str, answered: bool
) -> None:
    """Slack offers the shortcut everywhere, in talk between two people too."""
    workspace = sandbox.slack.workspace
    if channel == "C0SHARED":
        channel = "C0ALERTS"
        workspace.users["U0DEV"].team_id = "T0PARTNER"
    question = {"user": PERSON, "channel": channel, "ts": "1700000000.000100", "thread_ts": "", "text": "it panics"}
    kept = {"question": question, "key": "k"}
    await flow.accept(services, source="slack", delivery_id="k", event=shortcuts.DIAGNOSE, body=kept)
    await inbox.drain(services)
    ((stage, arguments),) = await jobs(services.engine)
    assert stage == shortcuts.DIAGNOSE
    for _ in range(2):  # a job may run twice
        await shortcuts.take_up(services, **arguments)
        await inbox.drain(services)
    assert len(await rows(services.engine, "SELECT 1 FROM incidents")) == answered
