"""Messages that grow while people look at them, refused where Slack refuses them."""

from __future__ import annotations

from slack_sdk.web.async_client import AsyncWebClient

from tests.sandbox.people import Bot, Person
from tests.sandbox.test_slack_web_api import refused
from tests.waiting import until

CHANNEL = "C0DEPLOY"
TO = {"recipient_user_id": "U0ONCALL", "recipient_team_id": "T0SANDBOX"}


async def test_a_stream_grows_and_ends_as_a_message_that_was_edited(
    bot: Bot, client: AsyncWebClient, riley: Person
) -> None:
    asked = await riley.act("post", channel=CHANNEL, text="why?")
    place = {"channel": CHANNEL, "ts": ""}
    begun = await client.chat_startStream(channel=CHANNEL, thread_ts=asked["ts"], markdown_text="Because ", **TO)
    place["ts"] = begun["ts"]
    await client.chat_appendStream(**place, markdown_text="of **that**.")
    section = {"type": "section", "text": {"type": "mrkdwn", "text": "more"}}
    task = {"type": "task_update", "id": "1", "title": "Looking", "status": "in_progress"}
    await client.chat_appendStream(**place, chunks=[task, {"type": "blocks", "blocks": [section]}])
    (_, growing) = await riley.messages(CHANNEL, thread_ts=asked["ts"])
    assert (growing["text"], growing["streaming_state"]) == ("Because of **that**.", "in_progress")
    await refused(client.chat_update(**place, text="no"), "streaming_state_conflict")

    metadata = {"event_type": "answer", "event_payload": {"key": "k"}}
    done = {**task, "status": "complete"}
    ended = await client.chat_stopStream(**place, chunks=[done], blocks=[section], metadata=metadata)

    assert ended["message"]["text"] == "Because of **that**."
    page = await client.conversations_replies(channel=CHANNEL, ts=asked["ts"], include_all_metadata=True)
    told = page["messages"][-1]
    assert (told["streaming_state"], told["metadata"]) == ("completed", metadata)
    assert [block["type"] for block in told["blocks"]] == ["markdown", "context", "section", "section"]
    assert told["blocks"][1]["elements"][0]["text"] == "✓ Looking"
    assert "edited" not in told
    await refused(client.chat_appendStream(**place, markdown_text="late"), "message_not_in_streaming_state")
    await client.chat_update(**place, text="a finished one can be edited")


async def test_a_stream_is_refused_without_its_reader_and_with_wrong_parts(
    client: AsyncWebClient, riley: Person
) -> None:
    asked = await riley.act("post", channel=CHANNEL, text="why?")
    where = {"channel": CHANNEL, "thread_ts": asked["ts"]}
    await refused(client.chat_startStream(**where), "missing_recipient_team_id")
    await refused(client.chat_startStream(**where, recipient_team_id="T0SANDBOX"), "missing_recipient_user_id")
    await refused(client.chat_startStream(**where, **{**TO, "recipient_user_id": "U0NOBODY"}), "user_not_found")
    await refused(client.chat_startStream(**where, **TO, chunks=[{"type": "wibble"}]), "invalid_chunks")
    await refused(client.chat_startStream(channel="C0GENERAL", thread_ts="1.1", **TO), "not_in_channel")
    posted = await client.chat_postMessage(channel=CHANNEL, text="plain")
    other = {"channel": CHANNEL, "ts": posted["ts"]}
    await refused(client.chat_appendStream(**other, markdown_text="x"), "message_not_in_streaming_state")
    await refused(
        client.chat_appendStream(channel=CHANNEL, ts=asked["ts"], markdown_text="x"), "message_not_owned_by_app"
    )
    begun = await client.chat_startStream(**where, **TO)
    place = {"channel": CHANNEL, "ts": begun["ts"]}
    await refused(client.chat_appendStream(**place, markdown_text="x" * 12_001), "msg_too_long")
    blocks = [{"type": "divider"}] * 51
    await refused(client.chat_stopStream(**place, blocks=blocks), "msg_blocks_too_many")
    direct = await client.conversations_open(users="U0ONCALL")
    first = await client.chat_postMessage(channel=direct["channel"]["id"], text="hello")
    assert await client.chat_startStream(channel=direct["channel"]["id"], thread_ts=first["ts"])
    await riley.act("faults", slack={"refuse_streams": True})
    await refused(client.chat_startStream(**where, **TO), "channel_type_not_supported")


async def test_a_person_stops_a_stream_and_the_app_is_told(bot: Bot, client: AsyncWebClient, riley: Person) -> None:
    asked = await riley.act("post", channel=CHANNEL, text="why?")
    begun = await client.chat_startStream(channel=CHANNEL, thread_ts=asked["ts"], markdown_text="Be", **TO)
    await riley.act("stop", channel=CHANNEL, ts=begun["ts"])
    await refused(client.chat_appendStream(channel=CHANNEL, ts=begun["ts"], markdown_text="cause"), "stopped_by_user")
    (event,) = await until(lambda: bot.events("agent_session_stopped"))
    assert event["event"]["streaming_message_ts"] == [begun["ts"]]
    assert event["event"]["thread_ts"] == asked["ts"]
