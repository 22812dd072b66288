"""Socket Mode as Slack runs it: tickets, links, acks, redelivery, and what goes wrong."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from slack_bolt.async_app import AsyncAck
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bot.sandbox.server import Sandbox
from tests.sandbox.people import Bot, Json, Person
from tests.waiting import until


@pytest.fixture
def app_client(sandbox: Sandbox, client: AsyncWebClient) -> AsyncWebClient:
    client.token = sandbox.env["SLACK_APP_TOKEN"]
    return client


def listening(bot: Bot) -> None:
    @bot.app.event("message")
    async def on_message() -> None: ...

    @bot.app.event("app_mention")
    async def on_mention() -> None: ...


async def test_a_ticket_opens_one_link_once(app_client: AsyncWebClient, http: aiohttp.ClientSession) -> None:
    url = (await app_client.apps_connections_open(app_token=app_client.token or ""))["url"]

    async with http.ws_connect(url) as link:
        hello = await link.receive_json(timeout=5)
        assert hello["type"] == "hello"
        assert hello["num_connections"] == 1
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await http.ws_connect(url)

    assert caught.value.status == 408


async def test_the_eleventh_link_is_one_too_many(app_client: AsyncWebClient, http: aiohttp.ClientSession) -> None:
    links = []
    for _ in range(11):
        url = (await app_client.apps_connections_open(app_token=app_client.token or ""))["url"]
        links.append(await http.ws_connect(url))
    first = [await link.receive_json(timeout=5) for link in links]
    for link in links:
        await link.close()

    assert [frame["type"] for frame in first] == ["hello"] * 10 + ["disconnect"]
    assert first[-1]["reason"] == "too_many_websockets"


async def test_each_envelope_goes_to_one_link_and_every_link_gets_some(
    app_client: AsyncWebClient, http: aiohttp.ClientSession, sandbox: Sandbox, riley: Person
) -> None:
    got: list[list[str]] = [[], []]

    async def take(number: int) -> None:
        url = (await app_client.apps_connections_open(app_token=app_client.token or ""))["url"]
        async with http.ws_connect(url) as link:
            async for frame in link:
                envelope = frame.json()
                if envelope["type"] == "events_api":
                    got[number].append(envelope["payload"]["event_id"])
                    await link.send_json({"envelope_id": envelope["envelope_id"], "payload": {}})

    tasks = [asyncio.create_task(take(number)) for number in range(2)]
    await until(lambda: len(sandbox.slack.sockets.links) == 2)
    for number in range(20):
        await riley.act("post", channel="C0DEPLOY", text=str(number))
    await until(lambda: sum(map(len, got)) == 20)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert len({event for events in got for event in events}) == 20
    assert all(got)
    assert sandbox.slack.sockets.counts["delivered"] == 20


async def test_pings_are_answered_with_the_same_body(app_client: AsyncWebClient, http: aiohttp.ClientSession) -> None:
    url = (await app_client.apps_connections_open(app_token=app_client.token or ""))["url"]
    async with http.ws_connect(url, autoping=False) as link:
        await link.receive_json(timeout=5)
        await link.ping(b"sdk-ping-pong:1")
        frame = await link.receive(timeout=5)

    assert (frame.type, frame.data) == (aiohttp.WSMsgType.PONG, b"sdk-ping-pong:1")


async def test_pings_can_go_unanswered(app_client: AsyncWebClient, http: aiohttp.ClientSession, riley: Person) -> None:
    url = (await app_client.apps_connections_open(app_token=app_client.token or ""))["url"]
    async with http.ws_connect(url, autoping=False) as link:
        await link.receive_json(timeout=5)
        await riley.act("faults", slack={"no_pong": True})
        await link.ping(b"lost")
        await riley.act("post", channel="C0DEPLOY", text="after the ping")
        await link.receive_json(timeout=5)
        await riley.act("faults", slack={"no_pong": False})
        await link.ping(b"found")
        frames = [await link.receive(timeout=5)]
        while frames[-1].type is not aiohttp.WSMsgType.PONG:
            frames.append(await link.receive(timeout=5))

    assert frames[-1].data == b"found"


async def test_events_can_come_twice_with_one_event_id(bot: Bot, riley: Person) -> None:
    listening(bot)
    await riley.act("faults", slack={"duplicate_events": True})

    await riley.act("post", channel="C0DEPLOY", text="once")
    await until(lambda: len(bot.heard) == 2)

    assert len({body["event_id"] for body in bot.heard}) == 1


async def test_events_can_come_out_of_order(bot: Bot, riley: Person) -> None:
    listening(bot)
    await riley.act("faults", slack={"reorder": True})

    for text in ("first", "second", "third"):
        await riley.act("post", channel="C0DEPLOY", text=text)
    await until(lambda: len(bot.heard) == 3)

    assert [body["event"]["text"] for body in bot.heard] == ["third", "second", "first"]


async def test_nothing_acknowledged_is_tried_four_times(
    app_client: AsyncWebClient, http: aiohttp.ClientSession, riley: Person
) -> None:
    url = (await app_client.apps_connections_open(app_token=app_client.token or ""))["url"]
    frames: list[Json] = []
    async with http.ws_connect(url) as link:
        await link.receive_json(timeout=5)
        await riley.act("post", channel="C0DEPLOY", text="hello")
        for _ in range(4):
            frames.append(await link.receive_json(timeout=20))  # noqa: PERF401 - one after the other, with a deadline each

    assert [frame["retry_attempt"] for frame in frames] == [0, 1, 2, 3]
    assert [frame["retry_reason"] for frame in frames] == ["", "timeout", "timeout", "timeout"]
    assert len({frame["envelope_id"] for frame in frames}) == 4
    assert len({frame["payload"]["event_id"] for frame in frames}) == 1


async def test_events_of_a_moment_without_a_link_come_when_the_bot_is_back(bot: Bot, riley: Person) -> None:
    listening(bot)
    await riley.act("faults", slack={"drop_socket": True})

    await riley.act("post", channel="C0DEPLOY", text="in the gap")
    await bot.handler.client.connect_to_new_endpoint(force=True)

    await until(lambda: bot.heard)
    assert bot.heard[0]["event"]["text"] == "in the gap"


@pytest.mark.parametrize("reason", ["warning", "refresh_requested"])
async def test_a_bot_asked_to_reconnect_comes_back(bot: Bot, sandbox: Sandbox, riley: Person, reason: str) -> None:
    listening(bot)
    before = sandbox.slack.sockets.links[0]

    await riley.act("faults", slack={"disconnect_reason": reason})
    await until(lambda: sandbox.slack.sockets.links and before not in sandbox.slack.sockets.links)
    await riley.act("post", channel="C0DEPLOY", text="still here?")

    await until(lambda: bot.heard)


async def test_a_disabled_link_cannot_be_opened_again(
    app_client: AsyncWebClient, http: aiohttp.ClientSession, riley: Person
) -> None:
    token = app_client.token or ""
    url = (await app_client.apps_connections_open(app_token=token))["url"]
    async with http.ws_connect(url) as link:
        await link.receive_json(timeout=5)
        await riley.act("faults", slack={"disconnect_reason": "link_disabled"})
        assert (await link.receive_json(timeout=5))["reason"] == "link_disabled"

    with pytest.raises(SlackApiError):
        await app_client.apps_connections_open(app_token=token)
    await riley.act("faults", slack={"link_disabled": False})
    await app_client.apps_connections_open(app_token=token)


async def test_refused_connections_get_no_answer(client: AsyncWebClient, riley: Person) -> None:
    await riley.act("faults", slack={"refuse_connections": True})
    with pytest.raises(aiohttp.ClientError):
        await client.auth_test()

    await riley.act("faults", slack={"refuse_connections": False})
    await client.auth_test()


async def test_a_click_nobody_acknowledges_says_so(bot: Bot, client: AsyncWebClient, riley: Person) -> None:
    @bot.app.action("go")
    async def on_go() -> None: ...

    button = {"type": "button", "action_id": "go", "text": {"type": "plain_text", "text": "Go"}}
    posted = await client.chat_postMessage(
        channel="C0DEPLOY", text="x", blocks=[{"type": "actions", "block_id": "b", "elements": [button]}]
    )

    answer = await riley.act("click", channel="C0DEPLOY", ts=posted["ts"], block_id="b", action_id="go")

    assert answer == {"acknowledged": False}


async def test_only_subscribed_events_from_joined_channels_arrive(bot: Bot, riley: Person) -> None:
    heard: list[Any] = []

    @bot.app.event("message")
    async def on_message(event: Json, ack: AsyncAck) -> None:
        heard.append((event["channel"], event.get("subtype"), event.get("text")))

    @bot.app.event("member_joined_channel")
    async def on_join(event: Json) -> None:
        heard.append((event["channel"], event["type"], event["user"]))

    await riley.act("post", channel="C0GENERAL", text="not for the bot")
    await riley.act("command", channel="C0GENERAL", command="/invite", text="@codehealer")
    await until(lambda: heard)
    posted = await riley.act("alertpost", app="Alertmanager", text="", attachments=[{"title": "[FIRING:1] Down"}])
    await until(lambda: len(heard) == 2)
    await riley.act("alertpost", ts=posted["ts"], text="", attachments=[{"title": "[RESOLVED] Down"}])
    await until(lambda: len(heard) == 3)

    assert heard == [
        ("C0GENERAL", "member_joined_channel", "U0CODEHEALER"),
        ("C0ALERTS", "bot_message", ""),
        ("C0ALERTS", "message_changed", None),
    ]
    firing = next(body["event"] for body in bot.heard if body["event"].get("subtype") == "bot_message")
    assert (firing["bot_id"], firing["app_id"]) == ("B0ALERTMGR", "A0ALERTMGR")
    assert firing["attachments"][0]["title"] == "[FIRING:1] Down"
