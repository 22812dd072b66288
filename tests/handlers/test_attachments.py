"""Files that people attach to a question."""

from typing import Any

import httpx
from slack_sdk.web.async_client import AsyncWebClient

from bot.sandbox.server import Sandbox
from handlers import attachments, listeners
from handlers.services import Services
from knowledge.model import Evidence
from tests.handlers.office import BOT

SECRET = "ghp" + "_" + "a1B2" * 9  # by halves, so that no scanner takes this file for a leak


async def attached(sandbox: Sandbox, name: str, content: str) -> dict[str, Any]:
    """A file that a person posts, as the message carries it."""
    async with httpx.AsyncClient() as http:
        body = {"user": "U0DEV", "channel": "C0ALERTS", "text": "", "file": {"name": name, "content": content}}
        posted = (await http.post(f"{sandbox.url}sandbox/api/post", json=body)).json()
    message = sandbox.slack.workspace.channels["C0ALERTS"].messages[posted["ts"]]
    (file,) = attachments.files_of(message)
    return dict(file)


async def read(slack: AsyncWebClient, file: dict[str, Any]) -> Evidence:
    (found,) = await attachments.read_files(slack, [file])
    return found


async def test_a_text_file_is_read_redacted_from_both_ends(sandbox: Sandbox, slack: AsyncWebClient) -> None:
    sandbox.slack.optional_scopes = True
    small = await read(slack, await attached(sandbox, "build.log", f"token={SECRET}\nnpm error ERESOLVE"))
    assert (small.could_not, small.source) == ("", "file build.log")
    assert "ERESOLVE" in small.text
    assert SECRET not in small.text
    lines = "\n".join(f"line {number} of many, of which most say nothing" for number in range(40_000))
    large = await read(slack, await attached(sandbox, "pod.log", f"{lines}\npanic: the end"))
    assert large.text.startswith("line 0 of many")
    assert large.text.endswith("panic: the end")
    assert large.truncated_chars > 1_000_000
    assert len(large.text) < 61_000


async def test_what_cannot_be_read_says_why_and_the_token_goes_nowhere_else(
    sandbox: Sandbox, slack: AsyncWebClient
) -> None:
    file = await attached(sandbox, "build.log", "error")
    assert "files:read" in (await read(slack, file)).could_not
    sandbox.slack.optional_scopes = True
    assert (await read(slack, {"id": file["id"]})).text == "error", "described by files.info"
    assert "larger than 20 MB" in (await read(slack, {**file, "size": 30_000_000})).could_not
    assert "no text" in (await read(slack, {**file, "mimetype": "image/png"})).could_not
    assert "no text" in (await read(slack, await attached(sandbox, "core.log", "\0\1"))).could_not
    for address in ("https://evil.example/x", "http://files.slack.com/x", "https://slack.com.evil.example/x"):
        assert "not kept by Slack" in (await read(slack, {**file, "url_private_download": address})).could_not
    assert "Slack said file_not_found" in (await read(slack, {"id": "F0NOWHERE"})).could_not


def test_a_direct_message_with_a_file_is_a_question_about_the_file(services: Services) -> None:
    event = {
        "type": "message", "subtype": "file_share", "channel_type": "im", "user": "U1", "channel": "D1", "ts": "1.1",
        "text": "why did this fail?", "files": [{"id": "F1"}, {"id": "F2", "mode": "tombstone"}],
    }  # fmt: skip
    stored = listeners.read_event(event, services)
    assert stored is not None
    assert stored[1]["question"]["files"] == 1
    assert listeners.read_event({**event, "user": BOT}, services) is None
