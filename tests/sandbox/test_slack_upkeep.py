"""What becomes of the workspace itself, and what an app hears of it."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bot.sandbox.server import Sandbox
from tests.sandbox.people import Bot, Person
from tests.waiting import until


async def refusal(call: object) -> str:
    with pytest.raises(SlackApiError) as caught:
        await call  # type: ignore[misc]
    return str(caught.value.response["error"])


async def test_channels_are_made_renamed_archived_and_deleted(
    bot: Bot, client: AsyncWebClient, riley: Person, kim: Person
) -> None:
    secret = (await riley.act("channel", name="war-room", private=True))["channel"]
    assert await refusal(client.conversations_info(channel=secret)) == "channel_not_found"
    await kim.act("post", 404, channel=secret, text="let me in")
    await riley.act("channel", 400, name="alerts")

    await riley.act("command", channel=secret, command="/invite", text="@codehealer")
    assert (await client.conversations_info(channel=secret))["channel"]["is_private"] is True
    await riley.act("channel", channel=secret, what="rename", name="peace-room")
    await riley.act("channel", channel=secret, what="archive")
    assert await refusal(client.chat_postMessage(channel=secret, text="anybody?")) == "is_archived"
    assert await refusal(client.conversations_join(channel="C0GENERAL")) == "missing_scope"
    await riley.act("channel", channel=secret, what="unarchive")
    await client.chat_postMessage(channel=secret, text="anybody?")
    await riley.act("channel", channel=secret, what="delete")
    assert await refusal(client.chat_postMessage(channel=secret, text="anybody?")) == "channel_not_found"

    await until(lambda: bot.events("group_deleted"))
    told = {body["event"]["type"] for body in bot.heard} & {"group_rename", "group_archive", "group_unarchive"}
    # The manifest of these tests asks for no renames of private channels, and for no unarchiving.
    assert told == {"group_archive"}


async def test_people_edit_and_delete_their_own_messages(bot: Bot, riley: Person, kim: Person) -> None:
    @bot.app.event("app_mention")
    async def on_mention() -> None: ...

    @bot.app.event("message")
    async def on_message() -> None: ...

    posted = await riley.act("post", channel="C0DEPLOY", text="why does it fail?")
    await kim.act("edit", 409, channel="C0DEPLOY", ts=posted["ts"], text="mine now")
    await riley.act("edit", channel="C0DEPLOY", ts=posted["ts"], text="@codehealer why does it fail?")
    await until(lambda: bot.events("app_mention"))
    assert bot.events("app_mention")[0]["event"]["ts"] == posted["ts"]
    await riley.act("edit", channel="C0DEPLOY", ts=posted["ts"], text="@codehealer why does checkout fail?")
    await riley.act("edit", channel="C0DEPLOY", ts=posted["ts"])

    await until(lambda: len(bot.events("message")) == 4)
    kinds = [body["event"].get("subtype") for body in bot.events("message")]
    assert sorted(map(str, kinds)) == ["None", "message_changed", "message_changed", "message_deleted"]
    assert len(bot.events("app_mention")) == 1, "a mention that was there already is no news"
    assert await riley.messages() == []


async def test_an_app_that_is_taken_out_hears_of_it_and_may_do_nothing_more(
    bot: Bot, client: AsyncWebClient, riley: Person
) -> None:
    await riley.act("uninstall")

    await until(lambda: bot.events("app_uninstalled") and bot.events("tokens_revoked"))
    assert await refusal(client.chat_postMessage(channel="C0DEPLOY", text="still here")) == "account_inactive"


async def test_deadlines_go_by_a_clock_that_can_be_put_forward(
    sandbox: Sandbox, client: AsyncWebClient, http: aiohttp.ClientSession, riley: Person
) -> None:
    token = sandbox.env["SLACK_APP_TOKEN"]
    url = (await client.apps_connections_open(app_token=token))["url"]
    later = (await client.apps_connections_open(app_token=token))["url"]
    async with http.ws_connect(f"{url}&debug_reconnects=true", autoping=False) as link:
        await link.receive_json(timeout=5)
        asked = await riley.act("post", channel="C0DEPLOY", text="why?")
        first = await link.receive_json(timeout=5)
        await client.assistant_threads_setStatus(channel_id="C0DEPLOY", thread_ts=asked["ts"], status="is reading")
        trigger = sandbox.slack.new_trigger("U0ONCALL")

        await riley.act("clock", seconds=20)
        while (frame := await link.receive(timeout=10)).type is not aiohttp.WSMsgType.PING:
            pass  # redeliveries
        await riley.act("clock", seconds=400)
        while (frame := await link.receive(timeout=10)).type is not aiohttp.WSMsgType.TEXT or (
            frame.json()["type"] != "disconnect"
        ):
            pass

    assert first["retry_attempt"] == 0
    assert frame.json()["reason"] == "warning", "a link for debugging is closed after six minutes"
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await http.ws_connect(later)
    assert await refusal(client.views_open(trigger_id=trigger, view=MODAL)) == "expired_trigger_id"
    shown = await riley.read("messages", channel="C0DEPLOY", thread_ts=asked["ts"])
    assert shown["status"] == ""
    await riley.act("clock", 400, seconds=-1)


MODAL = {
    "type": "modal",
    "title": {"type": "plain_text", "text": "Later"},
    "blocks": [{"type": "divider"}],
}


async def test_a_hundred_messages_at_once_all_arrive(bot: Bot, riley: Person, sandbox: Sandbox) -> None:
    @bot.app.event("message")
    async def on_message() -> None: ...

    await riley.act("burst", count=100)
    await until(lambda: len(bot.heard) >= 100)
    await until(lambda: len(sandbox.slack.sockets.acknowledged) >= 100)

    assert len({body["event_id"] for body in bot.heard}) == 100


async def test_a_late_acknowledgement_counts_as_none(
    sandbox: Sandbox, client: AsyncWebClient, http: aiohttp.ClientSession, riley: Person
) -> None:
    url = (await client.apps_connections_open(app_token=sandbox.env["SLACK_APP_TOKEN"]))["url"]
    async with http.ws_connect(url) as link:
        await link.receive_json(timeout=5)
        await riley.act("post", channel="C0DEPLOY", text="hello")
        first = await link.receive_json(timeout=5)
        again = await link.receive_json(timeout=5)
        await link.send_json({"envelope_id": first["envelope_id"], "payload": {}})
        third = await link.receive_json(timeout=5)

    assert [frame["retry_attempt"] for frame in (first, again, third)] == [0, 1, 2]
    assert sandbox.slack.sockets.counts["unacknowledged"] >= 2


async def test_opening_a_link_can_be_limited_or_refused(
    sandbox: Sandbox, client: AsyncWebClient, riley: Person
) -> None:
    token = sandbox.env["SLACK_APP_TOKEN"]
    await riley.act("faults", slack={"rate_limit_next": 1, "methods": ["apps.connections.open"]})
    assert await refusal(client.apps_connections_open(app_token=token)) == "ratelimited"
    await riley.act("faults", slack={"token_error": "invalid_auth", "methods": []})
    assert await refusal(client.apps_connections_open(app_token=token)) == "invalid_auth"


async def test_lists_have_empty_pages_and_history_the_limits_of_sold_apps(
    client: AsyncWebClient, riley: Person
) -> None:
    for number in range(20):
        await riley.act("post", channel="C0DEPLOY", text=str(number))
    await riley.act("faults", slack={"empty_pages": True, "short_pages": 15})
    pages = await client.conversations_history(channel="C0DEPLOY", limit=100)
    sizes = [len(page["messages"]) async for page in pages]
    channels = [len(page["channels"]) async for page in await client.users_conversations()]

    assert sizes == [0, 15, 0, 5]
    assert channels[0] == 0
    assert sum(channels) == 2
    await riley.act("faults", slack={"empty_pages": False, "history_per_minute": 1})
    await client.conversations_history(channel="C0DEPLOY")
    assert await refusal(client.conversations_history(channel="C0DEPLOY")) == "ratelimited"


async def test_a_write_can_happen_without_an_answer(client: AsyncWebClient, riley: Person) -> None:
    await riley.act("faults", slack={"hang_after_write_next": 1})

    post = asyncio.create_task(client.chat_postMessage(channel="C0DEPLOY", text="written"))  # type: ignore[arg-type]
    async with asyncio.timeout(10):
        while not await riley.messages():
            pass

    assert [m["text"] for m in await riley.messages()] == ["written"]
    assert not post.done()
    post.cancel()
    await asyncio.gather(post, return_exceptions=True)
