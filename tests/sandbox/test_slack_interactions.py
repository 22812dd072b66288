"""Clicks, modals, commands and response URLs, with what Slack refuses."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from slack_bolt.async_app import AsyncAck
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bot.sandbox.server import Sandbox
from tests.sandbox.people import Bot, Json, Person
from tests.waiting import until


def plain(text: str) -> Json:
    return {"type": "plain_text", "text": text}


CARD: Json = {
    "type": "actions",
    "block_id": "card",
    "elements": [
        {"type": "button", "action_id": "go", "value": "1", "text": plain("Go")},
        {"type": "button", "action_id": "mine", "text": plain("Mine"), "visible_to_user_ids": ["U0LEAD"]},
    ],
}
VOTE: Json = {
    "type": "context_actions",
    "block_id": "vote",
    "elements": [
        {
            "type": "feedback_buttons",
            "action_id": "vote",
            "positive_button": {"text": plain("Good"), "value": "up"},
            "negative_button": {"text": plain("Bad"), "value": "down"},
        }
    ],
}


def modal(title: str, **more: Any) -> Json:
    return {
        "type": "modal",
        "callback_id": "form",
        "title": plain(title),
        "submit": plain("Send"),
        "blocks": [
            {
                "type": "input",
                "block_id": "field",
                "label": plain("Field"),
                "element": {"type": "plain_text_input", "action_id": "text", "initial_value": "begin"},
            }
        ],
        **more,
    }


@pytest.fixture
def clicks(bot: Bot) -> list[Json]:
    found: list[Json] = []

    async def on_click(ack: AsyncAck, body: Json) -> None:
        await ack()
        found.append(body)

    for action in ("go", "vote", "mine"):
        bot.app.action(action)(on_click)
    return found


@pytest.fixture
async def card(client: AsyncWebClient) -> str:
    posted = await client.chat_postMessage(channel="C0DEPLOY", text="card", blocks=[CARD, VOTE])
    return str(posted["ts"])


async def test_a_click_on_a_button_that_is_gone_is_refused_unless_the_client_is_stale(
    clicks: list[Json], card: str, client: AsyncWebClient, riley: Person
) -> None:
    await client.chat_update(channel="C0DEPLOY", ts=card, text="done", blocks=[])
    click = {"channel": "C0DEPLOY", "ts": card, "block_id": "card", "action_id": "go", "value": "1"}

    refused = await riley.act("click", 409, **click)
    forced = await riley.act("click", **click, force=True)

    assert refused["error"] == "that button is no longer there"
    assert forced["acknowledged"]
    assert clicks[0]["actions"][0]["value"] == "1"
    assert clicks[0]["message"]["text"] == "done"


async def test_another_value_than_the_button_has_is_refused(clicks: list[Json], card: str, riley: Person) -> None:
    await riley.act("click", 409, channel="C0DEPLOY", ts=card, block_id="card", action_id="go", value="2")
    await riley.act("click", 409, channel="C0DEPLOY", ts=card, block_id="card", action_id="mine")

    assert clicks == []


async def test_feedback_carries_the_pressed_side(clicks: list[Json], card: str, riley: Person) -> None:
    await riley.act("click", channel="C0DEPLOY", ts=card, block_id="vote", action_id="vote", value="down")

    action = clicks[0]["actions"][0]
    assert (action["type"], action["value"], action["text"]["text"]) == ("feedback_buttons", "down", "Bad")


async def test_who_is_gone_or_cannot_see_a_channel_cannot_act_there(
    card: str, guest: Person, sandbox: Sandbox, http: aiohttp.ClientSession
) -> None:
    await guest.act("post", 404, channel="C0ALERTS", text="hello")
    await Person(http, sandbox.url, "U0GONE").act("post", 404, channel="C0DEPLOY", text="hello")
    await Person(http, sandbox.url, "U0CODEHEALER").act("post", 404, channel="C0DEPLOY", text="hello")


async def test_a_trigger_works_once_and_not_for_long(
    clicks: list[Json], card: str, client: AsyncWebClient, riley: Person, sandbox: Sandbox
) -> None:
    await riley.act("click", channel="C0DEPLOY", ts=card, block_id="card", action_id="go")
    await client.views_open(trigger_id=clicks[0]["trigger_id"], view=modal("One"))
    errors = []
    expired = sandbox.slack.new_trigger("U0ONCALL")
    sandbox.slack.triggers[expired] = (0.0, "U0ONCALL")
    for trigger in (clicks[0]["trigger_id"], expired, "1.2.3"):
        with pytest.raises(SlackApiError) as caught:
            await client.views_open(trigger_id=trigger, view=modal("Two"))
        errors.append(caught.value.response["error"])

    assert errors == ["exchanged_trigger_id", "expired_trigger_id", "invalid_trigger_id"]


async def test_a_response_url_works_five_times(
    clicks: list[Json], card: str, riley: Person, http: aiohttp.ClientSession
) -> None:
    await riley.act("click", channel="C0DEPLOY", ts=card, block_id="card", action_id="go")
    url = clicks[0]["response_url"]

    statuses = []
    for number in range(6):
        body = {"text": f"note {number}", "response_type": "ephemeral", "replace_original": False}
        async with http.post(url, json=body) as response:
            statuses.append(response.status)
            last = await response.text()

    assert statuses == [200] * 5 + [404]
    assert "used_url" in last
    assert sum(bool(m.get("is_ephemeral")) for m in await riley.messages()) == 5


async def test_a_response_can_replace_the_card(
    clicks: list[Json], card: str, riley: Person, http: aiohttp.ClientSession
) -> None:
    await riley.act("click", channel="C0DEPLOY", ts=card, block_id="card", action_id="go")

    async with http.post(clicks[0]["response_url"], json={"text": "replaced", "replace_original": True}) as response:
        assert response.status == 200

    shown = await riley.messages()
    assert [(m["ts"], m["text"], m.get("blocks")) for m in shown] == [(card, "replaced", None)]


async def test_modals_are_updated_pushed_and_cleared(
    bot: Bot, clicks: list[Json], card: str, client: AsyncWebClient, riley: Person
) -> None:
    answers = iter(
        [
            {"response_action": "update", "view": modal("Second")},
            {"response_action": "push", "view": modal("Third")},
            {"response_action": "clear"},
        ]
    )

    @bot.app.view("form")
    async def on_form(ack: AsyncAck) -> None:
        await ack(**next(answers))

    await riley.act("click", channel="C0DEPLOY", ts=card, block_id="card", action_id="go")
    opened = (await client.views_open(trigger_id=clicks[0]["trigger_id"], view=modal("First")))["view"]
    titles = []
    for _ in range(3):
        view = (await riley.read("view"))["view"]
        titles.append(view["title"]["text"])
        assert (await riley.act("submit", view_id=view["id"], values={}))["acknowledged"]

    assert titles == ["First", "Second", "Third"]
    assert (await riley.read("view"))["view"] is None
    await riley.act("submit", 409, view_id=opened["id"], values={})


async def test_a_view_changed_meanwhile_is_a_conflict(
    clicks: list[Json], card: str, client: AsyncWebClient, riley: Person
) -> None:
    await riley.act("click", channel="C0DEPLOY", ts=card, block_id="card", action_id="go")
    opened = (await client.views_open(trigger_id=clicks[0]["trigger_id"], view=modal("One")))["view"]

    changed = await client.views_update(view_id=opened["id"], hash=opened["hash"], view=modal("Two"))
    with pytest.raises(SlackApiError) as caught:
        await client.views_update(view_id=opened["id"], hash=opened["hash"], view=modal("Three"))

    assert changed["view"]["id"] == opened["id"]
    assert caught.value.response["error"] == "hash_conflict"


async def test_closing_tells_the_bot_only_when_it_asked(
    bot: Bot, clicks: list[Json], card: str, client: AsyncWebClient, riley: Person
) -> None:
    closed: list[Json] = []

    @bot.app.view_closed("form")
    async def on_close(ack: AsyncAck, body: Json) -> None:
        await ack()
        closed.append(body)

    for notify in (False, True):
        await riley.act("click", channel="C0DEPLOY", ts=card, block_id="card", action_id="go")
        view = modal("One", notify_on_close=notify)
        opened = (await client.views_open(trigger_id=clicks[-1]["trigger_id"], view=view))["view"]
        await riley.act("close", view_id=opened["id"])

    assert [body["type"] for body in closed] == ["view_closed"]


async def test_a_button_in_app_home_names_the_view(
    bot: Bot, clicks: list[Json], client: AsyncWebClient, riley: Person
) -> None:
    home = (await client.views_publish(user_id="U0ONCALL", view={"type": "home", "blocks": [CARD]}))["view"]

    await riley.act("click", view_id=home["id"], block_id="card", action_id="go")

    assert clicks[0]["container"] == {"type": "view", "view_id": home["id"]}
    assert "message" not in clicks[0]


async def test_an_unknown_command_is_refused_and_mentions_are_escaped(bot: Bot, riley: Person) -> None:
    texts: list[str] = []

    @bot.app.command("/codehealer")
    async def on_command(ack: AsyncAck, command: Json) -> None:
        await ack()
        texts.append(command["text"])

    await riley.act("command", 404, channel="C0DEPLOY", command="/nothing", text="")
    await riley.act("command", channel="C0DEPLOY", command="/codehealer", text="page @kim in #alerts a<b")

    assert texts == ["page <@U0DEV|kim> in <#C0ALERTS|alerts> a&lt;b"]


async def test_a_command_without_a_bot_fails_at_once(sandbox: Sandbox, riley: Person) -> None:
    answer = await riley.act("command", channel="C0DEPLOY", command="/codehealer", text="help")

    assert answer == {"acknowledged": False, "response": None, "error": "dispatch_failed"}


async def test_a_message_shortcut_brings_the_message(bot: Bot, riley: Person) -> None:
    found: list[Json] = []

    @bot.app.message_shortcut("diagnose_message")
    async def on_shortcut(ack: AsyncAck, body: Json) -> None:
        await ack()
        found.append(body)

    posted = await riley.act("post", channel="C0GENERAL", text="it broke")
    await riley.act("shortcut", callback_id="diagnose_message", channel="C0GENERAL", ts=posted["ts"])

    assert found[0]["message"]["text"] == "it broke"


async def test_a_page_is_told_what_changed(sandbox: Sandbox, http: aiohttp.ClientSession, riley: Person) -> None:
    async with http.ws_connect(f"{sandbox.url}sandbox/ws?user=U0DEV") as page:
        posted = await riley.act("post", channel="C0DEPLOY", text="hello")
        assert await page.receive_json(timeout=5) == {"type": "changed", "channel": "C0DEPLOY", "thread_ts": None}
        await riley.act("post", channel="C0DEPLOY", text="again", thread_ts=posted["ts"])
        assert (await page.receive_json(timeout=5))["thread_ts"] == posted["ts"]
        await riley.act("post", channel="D0ONCALL", text="private")
        await riley.act("post", channel="C0GENERAL", text="public")
        assert (await page.receive_json(timeout=5))["channel"] == "C0GENERAL"

    state = await Person(http, sandbox.url, "U0DEV").read("state")
    unread = {channel["id"]: channel["unread"] for channel in state["channels"]}
    assert unread["C0DEPLOY"] == 1
    assert "D0ONCALL" not in unread


async def test_other_websites_cannot_reach_the_control_api(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    url = f"{sandbox.url}sandbox/api/reset"
    async with http.post(url, json={}, headers={"Origin": "https://elsewhere.example"}) as response:
        assert response.status == 403
    async with http.post(url, json={}, headers={"Host": "rebound.example"}) as response:
        assert response.status == 403
    async with http.post(url, data={"a": "b"}) as response:
        assert response.status == 415


async def test_an_account_can_be_closed(bot: Bot, client: AsyncWebClient, sandbox: Sandbox, riley: Person) -> None:
    @bot.app.event("user_change")
    async def on_change() -> None: ...

    await riley.act("user", user="U0LEAD", deleted=True, approver=False)

    assert (await client.users_info(user="U0LEAD"))["user"]["deleted"] is True
    assert (await client.usergroups_users_list(usergroup="S0ONCALL"))["users"] == ["U0ONCALL"]
    await until(lambda: bot.events("user_change"))


async def test_a_channel_with_somebody_of_another_company_is_shared(
    bot: Bot, client: AsyncWebClient, riley: Person
) -> None:
    @bot.app.event("message")
    async def on_message() -> None: ...

    await riley.act("user", user="U0DEV", stranger=True)
    await riley.act("post", channel="C0DEPLOY", text="hello")
    await until(lambda: bot.events("message"))

    assert bot.events("message")[0]["is_ext_shared_channel"] is True
    assert (await client.conversations_info(channel="C0DEPLOY"))["channel"]["is_ext_shared"] is True
    assert (await client.users_info(user="U0DEV"))["user"]["is_stranger"] is True
