"""Slack's own Python framework lives in the sandbox as it does in Slack."""

from __future__ import annotations

import asyncio
from typing import Any

from slack_bolt.async_app import AsyncAck, AsyncRespond
from slack_sdk.web.async_client import AsyncWebClient

from tests.sandbox.people import Bot, Json, Person
from tests.waiting import until

BUTTONS: Json = {
    "type": "actions",
    "block_id": "decision",
    "elements": [
        {
            "type": "button",
            "action_id": "approve",
            "value": "plan-1",
            "style": "primary",
            "text": {"type": "plain_text", "text": "Approve"},
        }
    ],
}
MODAL: Json = {
    "type": "modal",
    "callback_id": "reason",
    "title": {"type": "plain_text", "text": "Why?"},
    "submit": {"type": "plain_text", "text": "Send"},
    "blocks": [
        {
            "type": "input",
            "block_id": "why",
            "label": {"type": "plain_text", "text": "Reason"},
            "element": {"type": "plain_text_input", "action_id": "text"},
        }
    ],
}


async def test_a_bot_is_mentioned_answers_is_clicked_opens_a_modal_and_gets_it_back(bot: Bot, riley: Person) -> None:
    clicks: list[Json] = []
    submissions: list[Json] = []

    @bot.app.event("app_mention")
    async def on_mention(event: Json, client: AsyncWebClient) -> None:
        posted = await client.chat_postMessage(channel=event["channel"], thread_ts=event["ts"], text="looking")
        await client.chat_update(channel=event["channel"], ts=posted["ts"], text="found", blocks=[BUTTONS])

    @bot.app.event("message")
    async def on_message() -> None: ...

    @bot.app.action("approve")
    async def on_approve(ack: AsyncAck, body: Json, client: AsyncWebClient, respond: AsyncRespond) -> None:
        await ack()
        clicks.append(body)
        await client.views_open(trigger_id=body["trigger_id"], view=MODAL)
        await respond(text="only you see this", response_type="ephemeral", replace_original=False)

    @bot.app.view("reason")
    async def on_reason(ack: AsyncAck, body: Json) -> None:
        if not submissions:
            await ack(response_action="errors", errors={"why": "Say more"})
        else:
            await ack()
        submissions.append(body)

    asked = await riley.act("post", channel="C0DEPLOY", text="@codehealer why does it crash? a < b & c")

    thread: list[Json] = []

    async def answered() -> None:
        async with asyncio.timeout(5):
            while not any(message["text"] == "found" for message in thread):
                thread[:] = await riley.messages(thread_ts=asked["ts"])
                await asyncio.sleep(0.01)

    await answered()
    question, answer = thread
    assert question["text"] == "<@U0CODEHEALER> why does it crash? a &lt; b &amp; c"
    assert question["reply_count"] == 1
    assert answer["parent_user_id"] == "U0ONCALL"
    mention, message = bot.events("app_mention")[0], bot.events("message")[0]
    assert mention["event_id"] != message["event_id"]
    assert message["event"]["channel_type"] == "channel"

    pressed = await riley.act(
        "click", channel="C0DEPLOY", ts=answer["ts"], block_id="decision", action_id="approve", value="plan-1"
    )
    assert pressed == {"acknowledged": True}
    click = clicks[0]
    assert click["message"]["ts"] == answer["ts"]
    assert click["container"] == {
        "type": "message",
        "message_ts": answer["ts"],
        "channel_id": "C0DEPLOY",
        "is_ephemeral": False,
        "thread_ts": asked["ts"],
    }
    assert click["actions"][0]["value"] == "plan-1"

    view = await _view(riley)
    values: dict[str, Any] = {"why": {"text": {"type": "plain_text_input", "value": "because"}}}
    unfilled = await riley.act("submit", view_id=view["id"], values={})
    assert unfilled["errors"] == {"why": "Please complete this required field."}
    refused = await riley.act("submit", view_id=view["id"], values=values)
    assert refused["errors"] == {"why": "Say more"}
    accepted = await riley.act("submit", view_id=view["id"], values=values)
    assert accepted == {"acknowledged": True, "response_action": None, "errors": {}}
    assert (await riley.read("view"))["view"] is None
    assert submissions[-1]["view"]["state"]["values"] == values

    private = [m for m in await riley.messages(thread_ts=asked["ts"]) if m.get("is_ephemeral")]
    assert [m["text"] for m in private] == ["only you see this"]


async def _view(person: Person) -> Json:
    async with asyncio.timeout(5):
        while True:
            view: Json | None = (await person.read("view"))["view"]
            if view:
                return view
            await asyncio.sleep(0.01)


async def test_a_command_shows_its_answer_to_the_person_alone(bot: Bot, riley: Person, kim: Person) -> None:
    @bot.app.command("/codehealer")
    async def on_command(ack: AsyncAck, command: Json) -> None:
        await ack(f"you said {command['text']}")

    answer = await riley.act("command", channel="C0DEPLOY", command="/codehealer", text=" help ")

    assert answer["acknowledged"]
    assert answer["response"]["text"] == "you said help"
    assert [m["text"] for m in await riley.messages()] == ["you said help"]
    assert await kim.messages() == []


async def test_an_event_without_an_ack_comes_again_with_the_same_event_id(bot: Bot, riley: Person) -> None:
    attempts: list[str] = []

    @bot.app.middleware
    async def fail_twice(request: Any, body: Json, next_: Any) -> Any:
        attempts.append((request.headers.get("x-slack-retry-num") or ["0"])[0])
        if len(attempts) < 3:
            raise RuntimeError("the database is down")
        return await next_()

    @bot.app.event("message")
    async def on_message() -> None: ...

    await riley.act("post", channel="C0DEPLOY", text="hello")
    await until(lambda: len(attempts) == 3)

    assert len({body["event_id"] for body in bot.heard}) == 1
    assert attempts == ["0", "1", "2"]


async def test_app_home_is_published_and_shown(bot: Bot, riley: Person) -> None:
    @bot.app.event("app_home_opened")
    async def on_home(event: Json, client: AsyncWebClient) -> None:
        block = {"type": "section", "text": {"type": "mrkdwn", "text": "All quiet"}}
        await client.views_publish(user_id=event["user"], view={"type": "home", "blocks": [block]})

    shown = await riley.act("home")

    assert shown["view"]["blocks"][0]["text"]["text"] == "All quiet"
