"""The Web API refuses what Slack refuses, and answers in Slack's shapes."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bot.sandbox.server import Sandbox
from tests.sandbox.people import Json, Person


async def refused(call: object, error: str) -> Json:
    with pytest.raises(SlackApiError) as caught:
        await call  # type: ignore[misc]
    assert caught.value.response["error"] == error
    data: Json = caught.value.response.data
    return data


async def test_a_token_is_needed_and_must_be_the_right_one(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    base = sandbox.env["SLACK_BASE_URL"]
    cases = [
        ("auth.test", "", "not_authed"),
        ("auth.test", "xoxb" + "-wrong", "invalid_auth"),
        ("auth.test", sandbox.env["SLACK_APP_TOKEN"], "not_allowed_token_type"),
        ("apps.connections.open", sandbox.env["SLACK_BOT_TOKEN"], "not_allowed_token_type"),
    ]
    for method, token, error in cases:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with http.post(base + method, headers=headers) as response:
            assert response.status == 200
            assert (await response.json())["error"] == error
    async with http.get(base + "no.such") as response:
        assert (await response.json())["error"] == "unknown_method"


async def test_auth_test_names_the_bot_and_its_scopes(client: AsyncWebClient, sandbox: Sandbox) -> None:
    answer = await client.auth_test()

    assert (answer["user_id"], answer["bot_id"]) == ("U0CODEHEALER", "B0CODEHEALER")
    assert set(answer.headers["x-oauth-scopes"].split(",")) == sandbox.slack.scopes


async def test_a_missing_scope_is_named(client: AsyncWebClient, riley: Person) -> None:
    await riley.act("faults", slack={"without_scopes": ["reactions:write"]})
    posted = await client.chat_postMessage(channel="C0DEPLOY", text="hello")

    answer = await refused(
        client.reactions_add(channel="C0DEPLOY", timestamp=posted["ts"], name="eyes"), "missing_scope"
    )

    assert answer["needed"] == "reactions:write"
    assert "chat:write" in answer["provided"].split(",")


async def test_a_method_refuses_what_it_is_told_to_everywhere_or_in_one_channel(
    client: AsyncWebClient, riley: Person
) -> None:
    of_one, of_all = "restricted_action_read_only_channel", "plan_upgrade_required"
    refusals = {"chat.postMessage C0ALERTS": of_one, "usergroups.users.list": of_all}
    await riley.act("faults", slack={"refusals": refusals})

    await refused(client.chat_postMessage(channel="C0ALERTS", text="hello"), of_one)
    await refused(client.usergroups_users_list(usergroup="S0ONCALL"), of_all)
    assert (await client.chat_postMessage(channel="C0DEPLOY", text="hello"))["ok"]


async def test_arguments_come_by_query_form_or_json(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    url = sandbox.env["SLACK_BASE_URL"] + "chat.postMessage"
    headers = {"Authorization": f"Bearer {sandbox.env['SLACK_BOT_TOKEN']}"}
    form = {"channel": "C0DEPLOY", "text": "form", "blocks": '[{"type":"divider"}]', "team_id": "T0SANDBOX"}
    for given in (
        {"params": {"channel": "C0DEPLOY", "text": "query"}},
        {"data": form},
        {"json": form | {"text": "json"}},
    ):
        async with http.post(url, headers=headers, **given) as response:  # type: ignore[arg-type]
            assert (await response.json())["ok"]
    token_inside = {"channel": "C0DEPLOY", "text": "token", "token": sandbox.env["SLACK_BOT_TOKEN"]}
    async with http.post(url, data=token_inside) as response:
        assert (await response.json())["ok"]

    logged = sandbox.slack.log.since(0)

    assert [entry["args"]["text"] for entry in logged] == ["query", "form", "json", "token"]
    assert sandbox.env["SLACK_BOT_TOKEN"] not in str(logged)


async def test_the_bot_posts_only_where_it_is_a_member(client: AsyncWebClient) -> None:
    await refused(client.chat_postMessage(channel="C0GENERAL", text="x"), "not_in_channel")
    await refused(client.chat_postMessage(channel="C0NOWHERE", text="x"), "channel_not_found")
    await refused(client.api_call("chat.postMessage", json={"channel": "C0DEPLOY", "text": "  "}), "no_text")
    await refused(client.conversations_history(channel="C0GENERAL"), "not_in_channel")
    await refused(client.conversations_join(channel="C0GENERAL"), "missing_scope")


async def test_a_post_to_a_person_lands_in_their_direct_message(client: AsyncWebClient, riley: Person) -> None:
    posted = await client.chat_postMessage(channel="U0ONCALL", text="for you")

    assert posted["channel"] == "D0ONCALL"
    assert [m["text"] for m in await riley.messages("D0ONCALL")] == ["for you"]


async def test_text_is_escaped_and_cut(client: AsyncWebClient) -> None:
    posted = await client.chat_postMessage(
        channel="C0DEPLOY", text="a<b & <@U0DEV> &lt; <https://x.io|x> http://y.io/z."
    )
    long = await client.chat_postMessage(channel="C0DEPLOY", text="x" * 40_001)

    assert posted["message"]["text"] == "a&lt;b &amp; <@U0DEV> &lt; <https://x.io|x> <http://y.io/z>."
    assert len(long["message"]["text"]) == 40_000


async def test_timestamps_grow_and_never_repeat(client: AsyncWebClient, riley: Person) -> None:
    for number in range(50):
        await riley.act("alertpost", channel="C0ALERTS", text=f"alert {number}")

    found = (await client.conversations_history(channel="C0ALERTS"))["messages"]
    stamps = [message["ts"] for message in reversed(found)]

    assert len(set(stamps)) == 50
    assert stamps == sorted(stamps)


async def test_an_edit_keeps_or_drops_what_slack_keeps_or_drops(client: AsyncWebClient) -> None:
    divider = [{"type": "divider"}]
    posted = await client.chat_postMessage(
        channel="C0DEPLOY", text="one", blocks=divider, attachments=[{"text": "more", "color": "danger"}]
    )
    where = {"channel": "C0DEPLOY", "ts": posted["ts"]}

    kept = await client.chat_update(**where, attachments=[{"text": "other", "fallback": "other"}])
    assert kept["message"]["blocks"][0]["type"] == "divider"
    dropped = await client.chat_update(**where, text="two")

    assert "blocks" not in dropped["message"]
    assert dropped["message"]["attachments"][0]["text"] == "other"
    assert dropped["message"]["edited"]["user"] == "U0CODEHEALER"
    await refused(client.chat_update(**where, text="x" * 4001), "msg_too_long")
    await refused(client.chat_update(channel="C0DEPLOY", ts="1.000001", text="x"), "message_not_found")


async def test_only_own_messages_can_be_edited_or_deleted(client: AsyncWebClient, riley: Person) -> None:
    theirs = await riley.act("post", channel="C0DEPLOY", text="mine")

    await refused(client.chat_update(channel="C0DEPLOY", ts=theirs["ts"], text="x"), "cant_update_message")
    await refused(client.chat_delete(channel="C0DEPLOY", ts=theirs["ts"]), "cant_delete_message")


async def test_a_deleted_parent_leaves_a_tombstone(client: AsyncWebClient) -> None:
    parent = await client.chat_postMessage(channel="C0DEPLOY", text="parent")
    reply = await client.chat_postMessage(channel="C0DEPLOY", text="reply", thread_ts=parent["ts"])
    await refused(
        client.chat_postMessage(channel="C0DEPLOY", text="deeper", thread_ts=reply["ts"]), "cannot_reply_to_message"
    )

    await client.chat_delete(channel="C0DEPLOY", ts=parent["ts"])
    thread = (await client.conversations_replies(channel="C0DEPLOY", ts=parent["ts"]))["messages"]

    assert [message.get("subtype") for message in thread] == ["tombstone", None]


async def test_metadata_is_kept_and_shown_on_demand(client: AsyncWebClient) -> None:
    metadata = {"event_type": "card", "event_payload": {"incident": "1"}}
    await client.chat_postMessage(channel="C0DEPLOY", text="x", metadata=metadata)

    plain = await client.conversations_history(channel="C0DEPLOY")
    full = await client.conversations_history(channel="C0DEPLOY", include_all_metadata=True)

    assert "metadata" not in plain["messages"][0]
    assert full["messages"][0]["metadata"] == metadata
    big = {"event_type": "card", "event_payload": {"log": "x" * 5000}}
    await refused(client.chat_postMessage(channel="C0DEPLOY", text="x", metadata=big), "metadata_too_large")


async def test_history_is_paged_newest_first(client: AsyncWebClient, riley: Person) -> None:
    for number in range(7):
        await riley.act("post", channel="C0DEPLOY", text=str(number))

    pages = await client.conversations_history(channel="C0DEPLOY", limit=3)
    texts = [[message["text"] for message in page["messages"]] async for page in pages]

    assert texts == [["6", "5", "4"], ["3", "2", "1"], ["0"]]
    await refused(client.conversations_history(channel="C0DEPLOY", cursor="nonsense"), "invalid_cursor")


async def test_a_burst_of_posts_to_one_channel_is_limited(client: AsyncWebClient) -> None:
    posts = [client.chat_postMessage(channel="C0DEPLOY", text="x") for _ in range(8)]
    answers = await asyncio.gather(*posts, return_exceptions=True)

    refusals = [answer for answer in answers if isinstance(answer, SlackApiError)]
    assert 1 <= len(refusals) <= 3
    response = refusals[0].response
    assert response.status_code == 429
    assert response.headers["Retry-After"] == "1"
    assert response.data == {"ok": False, "error": "ratelimited"}
    await client.chat_postMessage(channel="C0ALERTS", text="another channel has its own limit")


async def test_a_method_is_limited_by_the_minute(client: AsyncWebClient) -> None:
    answers = await asyncio.gather(*(client.conversations_list() for _ in range(25)), return_exceptions=True)

    limited = [answer for answer in answers if isinstance(answer, SlackApiError)]
    assert 1 <= len(limited) <= 5
    assert {answer.response.status_code for answer in limited} == {429}


async def test_faults_strike_writes_before_or_after_they_happen(client: AsyncWebClient, riley: Person) -> None:
    await riley.act("faults", slack={"error_after_write_next": 1, "rate_limit_next": 0})
    await client.auth_test()
    with pytest.raises(SlackApiError) as caught:
        await client.chat_postMessage(channel="C0DEPLOY", text="written")
    assert caught.value.response.status_code == 500

    await riley.act("faults", slack={"error_before_write_next": 1})
    with pytest.raises(SlackApiError):
        await client.chat_postMessage(channel="C0DEPLOY", text="not written")

    await riley.act("faults", slack={"token_error": "token_revoked"})
    await refused(client.auth_test(), "token_revoked")
    assert [m["text"] for m in await riley.messages()] == ["written"]
    await riley.act("faults", 400, slack={"no_such": 1})


async def test_reactions_come_once_and_go(client: AsyncWebClient, riley: Person) -> None:
    posted = await client.chat_postMessage(channel="C0DEPLOY", text="x")
    where = {"channel": "C0DEPLOY", "timestamp": posted["ts"]}

    await client.reactions_add(**where, name="eyes")
    await riley.act("react", channel="C0DEPLOY", ts=posted["ts"], name="eyes")
    await refused(client.reactions_add(**where, name="eyes"), "already_reacted")
    found = (await client.reactions_get(**where))["message"]["reactions"]
    await client.reactions_remove(**where, name="eyes")

    assert found == [{"name": "eyes", "users": ["U0CODEHEALER", "U0ONCALL"], "count": 2}]
    await refused(client.reactions_remove(**where, name="eyes"), "no_reaction")
    await refused(client.reactions_add(**where, name="no such"), "invalid_name")


async def test_a_log_is_uploaded_into_a_thread(client: AsyncWebClient, riley: Person) -> None:
    parent = await client.chat_postMessage(channel="C0DEPLOY", text="parent")

    await client.files_upload_v2(
        channel="C0DEPLOY", thread_ts=parent["ts"], filename="pod.log", content="line 1\nline 2", snippet_type="text"
    )
    reply = (await riley.messages(thread_ts=parent["ts"]))[1]

    assert reply["files"][0]["preview"] == "line 1\nline 2"
    assert reply["files"][0]["mode"] == "snippet"


async def test_an_ephemeral_is_seen_by_one_person_and_is_in_no_history(
    client: AsyncWebClient, riley: Person, kim: Person
) -> None:
    await client.chat_postEphemeral(channel="C0DEPLOY", user="U0ONCALL", text="secret")

    seen = await riley.messages()
    assert [m["is_ephemeral"] for m in seen] == [True]
    await kim.act("dismiss", channel="C0DEPLOY", ts=seen[0]["ts"])
    assert await riley.messages() == seen, "nobody dismisses what others see"
    await riley.act("dismiss", channel="C0DEPLOY", ts=seen[0]["ts"])
    assert await riley.messages() == []
    assert await kim.messages() == []
    assert (await client.conversations_history(channel="C0DEPLOY"))["messages"] == []
    await refused(client.chat_postEphemeral(channel="C0ALERTS", user="U0GUEST", text="x"), "user_not_in_channel")


async def test_people_groups_and_channels_are_described(client: AsyncWebClient) -> None:
    guest = (await client.users_info(user="U0GUEST"))["user"]
    gone = (await client.users_info(user="U0GONE"))["user"]
    group = (await client.usergroups_list(include_users=True))["usergroups"][0]
    members = (await client.conversations_members(channel="C0ALERTS"))["members"]
    mine = (await client.users_conversations(types="public_channel,im"))["channels"]

    assert guest["is_restricted"] is True
    assert gone["deleted"] is True
    assert group["users"] == (await client.usergroups_users_list(usergroup=group["id"]))["users"]
    assert members == ["U0CODEHEALER", "U0DEV", "U0LEAD", "U0ONCALL"]
    assert {channel["id"] for channel in mine} >= {"C0DEPLOY", "C0ALERTS", "D0ONCALL"}
    assert "C0GENERAL" not in {channel["id"] for channel in mine}
    await refused(client.users_info(user="U0NOBODY"), "user_not_found")
    permalink = await client.chat_postMessage(channel="C0DEPLOY", text="x")
    link = await client.chat_getPermalink(channel="C0DEPLOY", message_ts=permalink["ts"])
    assert link["permalink"].endswith("/archives/C0DEPLOY/p" + permalink["ts"].replace(".", ""))


async def test_a_status_shows_until_the_bot_answers(client: AsyncWebClient, riley: Person) -> None:
    asked = await riley.act("post", channel="C0DEPLOY", text="why?")

    await client.assistant_threads_setStatus(channel_id="C0DEPLOY", thread_ts=asked["ts"], status="is reading logs")
    during = await riley.read("messages", channel="C0DEPLOY", thread_ts=asked["ts"])
    await client.chat_postMessage(channel="C0DEPLOY", thread_ts=asked["ts"], text="because")
    after = await riley.read("messages", channel="C0DEPLOY", thread_ts=asked["ts"])

    assert (during["status"], after["status"]) == ("is reading logs", "")
