"""Slack's framework for Node lives in the sandbox too: a second client, which shares no code with the first."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from bot.sandbox.server import Sandbox
from tests.programs import MISSING, need_program
from tests.sandbox.people import Json, Person

MODULES = Path(sys.prefix) / "bolt-js" / "node_modules"
APP = Path(__file__).parent / "bolt_js" / "app.cjs"
# Only how long a failure takes to be called one: Node starts on a busy machine.
PATIENCE = 60


class NodeApp:
    """The app in its process, and what it says it heard."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._heard: list[Json] = []

    async def hears(self, what: str) -> Json:
        """The body of the next thing of this kind that it hears, or has heard since the last such call."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while True:
                for one in self._heard:
                    if one["what"] == what:
                        self._heard.remove(one)
                        body: Json = one["body"]
                        return body
                line = await self._process.stdout.readline()
                assert line, f"the app ended before it heard {what}"
                self._heard.append(orjson.loads(line))


@pytest.fixture
async def app(sandbox: Sandbox) -> AsyncIterator[NodeApp]:
    if not MODULES.is_dir():
        pytest.skip(f"{MISSING}@slack/bolt")
    process = await asyncio.create_subprocess_exec(
        need_program("node", "nodejs"), str(APP),
        env={**os.environ, **sandbox.env, "NODE_PATH": str(MODULES)},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 20,
    )  # fmt: skip
    assert process.stdin is not None
    try:
        started = NodeApp(process)
        await started.hears("started")
        yield started
    finally:
        process.stdin.close()
        await asyncio.wait_for(process.wait(), PATIENCE)


async def test_it_is_mentioned_posts_is_clicked_and_gets_its_modal_back(
    app: NodeApp, sandbox: Sandbox, riley: Person
) -> None:
    asked = await riley.act("post", channel="C0DEPLOY", text="@codehealer why?")
    mention, message = await app.hears("app_mention"), await app.hears("message")
    assert mention["event_id"] != message["event_id"]
    assert message["event"]["channel_type"] == "channel"
    await app.hears("answered")
    await riley.act("react", channel="C0DEPLOY", ts=asked["ts"], name="+1")
    assert (await app.hears("reaction_added"))["event"]["reaction"] == "+1", "not its own, which the framework drops"
    _, answer = await riley.messages(thread_ts=asked["ts"])
    assert answer["text"] == "found"

    where = {"channel": "C0DEPLOY", "ts": answer["ts"], "block_id": "decision", "action_id": "approve"}
    assert await riley.act("click", **where, value="plan-1") == {"acknowledged": True}
    clicked = await app.hears("approve")
    assert clicked["actions"][0]["value"] == "plan-1"
    assert clicked["container"]["thread_ts"] == asked["ts"]

    await app.hears("responded")
    view = (await riley.read("view"))["view"]
    values = {"why": {"text": {"type": "plain_text_input", "value": "because"}}}
    assert (await riley.act("submit", view_id=view["id"], values=values))["errors"] == {"why": "Say more"}
    assert (await riley.act("submit", view_id=view["id"], values=values))["response_action"] is None
    assert (await app.hears("reason"))["view"]["state"]["values"] == values
    assert (await riley.read("view"))["view"] is None
    private = [m["text"] for m in await riley.messages(thread_ts=asked["ts"]) if m.get("is_ephemeral")]
    assert private == ["only you see this"]

    said = await riley.act("command", channel="C0DEPLOY", command="/codehealer", text="help")
    assert said["response"]["text"] == "you said help"
    assert (await riley.act("home"))["view"]["blocks"][0]["text"]["text"] == "All quiet"
    await riley.act("shortcut", callback_id="diagnose_message", channel="C0DEPLOY", ts=asked["ts"])
    await app.hears("uploaded")
    shared = [file["preview"] for m in await riley.messages(thread_ts=asked["ts"]) for file in m.get("files", ())]
    assert shared == ["exit 137"]

    assert sandbox.slack.sockets.counts["unacknowledged"] == 0
    refused = [(entry["method"], entry["error"]) for entry in sandbox.slack.log.entries if not entry["ok"]]
    assert refused == []
