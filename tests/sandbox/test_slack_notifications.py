"""Whom a message notifies, by Slack's rules: mentions, groups, everybody, direct messages and broadcasts; no edit."""

from __future__ import annotations

import pytest
from slack_sdk.web.async_client import AsyncWebClient

from tests.sandbox.people import Json, Person

MARKED = {"type": "section", "text": {"type": "mrkdwn", "text": "<@U0DEV> please"}}
PLAIN = {"type": "context", "elements": [{"type": "plain_text", "text": "<@U0DEV> <!channel>"}]}
RICH = {
    "type": "rich_text",
    "elements": [{"type": "rich_text_section", "elements": [{"type": "user", "user_id": "U0DEV"}]}],
}


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ({"text": "hello <@U0DEV>"}, "mention"),
        ({"text": "hello", "blocks": [MARKED]}, "mention"),
        ({"text": "hello", "blocks": [RICH]}, "mention"),
        ({"text": "<!here> hello"}, "channel"),
        ({"text": "hello", "channel": "U0DEV"}, "direct"),
        ({"text": "hello <!subteam^S0ONCALL>"}, None),
        ({"text": "hello &lt;@U0DEV&gt;", "blocks": [PLAIN]}, None),
    ],
)
async def test_a_post_notifies_whom_it_names(
    client: AsyncWebClient, kim: Person, message: Json, why: str | None
) -> None:
    posted = await client.chat_postMessage(**{"channel": "C0DEPLOY", **message})
    heard = (await kim.read("notifications"))["notifications"]
    assert [(one["ts"], one["why"]) for one in heard] == ([(posted["ts"], why)] if why else [])


async def test_a_group_and_a_broadcast_are_heard_by_members_and_an_edit_by_nobody(
    client: AsyncWebClient, riley: Person, kim: Person
) -> None:
    posted = await client.chat_postMessage(channel="C0DEPLOY", text="<!subteam^S0ONCALL> look")
    thread = {"channel": "C0DEPLOY", "thread_ts": posted["ts"]}
    await client.chat_postMessage(**thread, text="quiet")
    await client.chat_postMessage(**thread, text="loud", reply_broadcast=True)
    await client.chat_update(channel="C0DEPLOY", ts=posted["ts"], text="<@U0DEV> <!channel> look")
    assert [one["why"] for one in (await riley.read("notifications"))["notifications"]] == ["group", "broadcast"]
    assert [one["why"] for one in (await kim.read("notifications"))["notifications"]] == ["broadcast"]
