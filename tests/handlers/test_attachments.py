"""Files that people attach to a question."""

from typing import Any

import httpx
from slack_sdk.web.async_client import AsyncWebClient

from bot.sandbox.server import Sandbox
from bot.sandbox.slack.posting import post_as_person
from handlers import attachments, cards, listeners
from handlers.mentions import QUESTION_SOURCE
from handlers.services import Services
from knowledge.model import Evidence, Incident
from knowledge.store import incidents
from tests.handlers.office import BOT
from tests.rows import alert

SECRET = "ghp" + "_" + "a1B2" * 9  # by halves, so that no scanner takes this file for a leak


async def attached(sandbox: Sandbox, name: str, content: str, **more: str) -> dict[str, Any]:
    """A file that a person posts, as the message carries it."""
    async with httpx.AsyncClient() as http:
        file = {"name": name, "content": content}
        body = {"user": "U0DEV", "channel": "C0ALERTS", "text": "", "file": file, **more}
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


async def thread_of(sandbox: Sandbox, services: Services, *replies: str) -> Incident:
    """The incident of a question in a thread of these replies."""
    workspace = sandbox.slack.workspace
    channel, person = workspace.channels["C0ALERTS"], workspace.users["U0DEV"]
    parent = str(post_as_person(sandbox.slack, channel, person, "checkout is down")["ts"])
    for reply in replies:
        post_as_person(sandbox.slack, channel, person, reply, thread_ts=parent)
    async with services.engine.begin() as db:
        question = alert("checkout is down", source=QUESTION_SOURCE)
        return await incidents.open_incident(db, question, channel="C0ALERTS", thread_ts=parent)


async def test_a_long_thread_is_read_to_its_end_with_the_files_there(sandbox: Sandbox, services: Services) -> None:
    sandbox.slack.optional_scopes = True
    replies = [f"reply {number}" for number in range(149)]
    incident = await thread_of(sandbox, services, *replies)
    log = {"text": "panic: no such host db", "thread_ts": incident.thread_ts}
    await attached(sandbox, "pod.log", "exit code 137", **log)
    said, file = await cards.read_thread(services, incident)
    assert said.text.split("\n") == ["checkout is down", *replies, log["text"]]
    assert (said.truncated_chars, file.text) == (0, "exit code 137")


async def test_of_a_thread_that_is_too_long_the_newest_is_read_and_it_says_how_much_is_not(
    sandbox: Sandbox, services: Services
) -> None:
    # A message begins where the rest is cut off, so that no secret is cut in two before it is known for one.
    replies = [f"token={SECRET} {'word ' * 600}{number}" for number in range(30)]
    incident = await thread_of(sandbox, services, *replies, "panic: the end")
    (said,) = await cards.read_thread(services, incident)
    assert said.text.endswith("29\npanic: the end")
    assert cards.MAX_THREAD_CHARS - 100 < len(said.text) <= cards.MAX_THREAD_CHARS
    assert said.truncated_chars > 30_000
    assert SECRET[:12] not in said.text


async def test_of_a_thread_that_slack_does_not_show_to_its_end_the_beginning_is_read(
    sandbox: Sandbox, services: Services
) -> None:
    incident = await thread_of(sandbox, services, *(f"reply {number}" for number in range(20)))
    sandbox.slack.faults.update({"short_pages": 15, "history_per_minute": 1})
    said, rest = await cards.read_thread(services, incident)
    assert said.text.endswith("reply 14")
    assert (rest.source, rest.could_not) == ("rest of the thread", "Slack is busy (ratelimited).")


async def test_a_thread_that_slack_does_not_show_says_why(sandbox: Sandbox, services: Services) -> None:
    incident = await thread_of(sandbox, services)
    for fault in ({"refusals": {"conversations.replies": "thread_not_found"}}, {"refuse_connections": True}):
        sandbox.slack.faults.update(fault)
        (said,) = await cards.read_thread(services, incident)
        assert said.text == ""
        assert "Slack" in said.could_not


def test_a_direct_message_with_a_file_is_a_question_about_the_file(services: Services) -> None:
    event = {
        "type": "message", "subtype": "file_share", "channel_type": "im", "user": "U1", "channel": "D1", "ts": "1.1",
        "text": "why did this fail?", "files": [{"id": "F1"}, {"id": "F2", "mode": "tombstone"}],
    }  # fmt: skip
    stored = listeners.read_event(event, services)
    assert stored is not None
    assert stored[1]["question"]["files"] == 1
    assert listeners.read_event({**event, "user": BOT}, services) is None
