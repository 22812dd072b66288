"""A card that cannot be edited, a channel out of reach, an answer that cannot be shown: nothing is dropped silently."""

from typing import Any

import pytest
from slack_sdk.web.async_client import AsyncWebClient
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.cli.incidents import DELETED
from bot.sandbox.server import Sandbox
from handlers import cards
from handlers.blocks.card_view import Card
from handlers.outbox import AWAY_ATTEMPTS, MAX_ATTEMPTS, Sender
from knowledge.store import incidents, outbox, storms
from tests.handlers.office import posts, rows
from tests.handlers.test_outbox_sender import change_card as changed
from tests.handlers.test_outbox_sender import draw, put, put_card, send_all, texts
from tests.rows import alert, an_incident

HOME, OTHER = "C0DEPLOY", "C0ALERTS"
# A word of Slack's that says nothing to us: it may be about the message, the channel, or for a moment.
UNKNOWN = "app_access_restricted"


@pytest.fixture
def sender(engine: AsyncEngine, slack: AsyncWebClient) -> Sender:
    return Sender(engine, slack, draw, home=HOME)


async def give_up_edits(sandbox: Sandbox, ts: str) -> None:
    """As when Slack closes a message to edits: it is no message of ours any more."""
    sandbox.slack.workspace.channels[HOME].messages[ts]["bot_id"] = "B0ANOTHER"


async def test_a_card_that_cannot_be_edited_goes_on_in_a_new_post_and_each_links_the_other(
    engine: AsyncEngine, sandbox: Sandbox, sender: Sender
) -> None:
    incident_id = await put_card(engine)
    await send_all(engine, sender)
    (old,) = posts(sandbox)
    await give_up_edits(sandbox, old["ts"])
    await changed(engine, incident_id)
    # Slack's answer to the new post is lost: it is found, and nothing is said twice.
    sandbox.slack.faults.update({"error_after_write_next": 1, "methods": ["chat.postMessage"]})
    await send_all(engine, sender)
    _, new, reply = posts(sandbox)
    assert new["text"].startswith("CheckoutDown: diagnosing\nGoes on from an earlier card")
    assert f"/{HOME}/p{old['ts'].replace('.', '')}|an earlier card>" in str(new["blocks"])
    assert reply["thread_ts"] == old["ts"]
    assert f"/{HOME}/p{new['ts'].replace('.', '')}|in a new one>" in reply["text"]
    async with engine.begin() as db:
        await outbox.put_card(db, incident_id, HOME, payload={})
    await send_all(engine, sender)
    assert len(posts(sandbox)) == 3, "told once"
    assert "Goes on from" in posts(sandbox)[1]["text"], "it says so for good"


async def test_a_card_whose_channel_is_out_of_reach_stands_in_the_default_one_with_its_thread_and_says_so(
    engine: AsyncEngine, sandbox: Sandbox, sender: Sender
) -> None:
    incident_id = await put_card(engine, "C0NOWHERE")
    reply = {"text": "why", "in_thread": True}
    await put(engine, "reply", incident_id=incident_id, channel="C0NOWHERE", payload=reply)
    await send_all(engine, sender)
    card, said = posts(sandbox)
    assert card["text"] == "CheckoutDown: detected\nMeant for <#C0NOWHERE>: it is not there, or I am not in it."
    assert said["thread_ts"] == card["ts"]
    (row,) = await rows(engine, "SELECT channel, meant_channel FROM incidents")
    assert row.channel == HOME, "what is said later goes there too"
    assert row.meant_channel == "C0NOWHERE", "whose modes still bind it"


async def tried(engine: AsyncEngine, key: str, times: int = MAX_ATTEMPTS) -> None:
    """As if a message had been tried so often that the next time is the last."""
    async with engine.begin() as db:
        given = {"often": times - 1, "key": key}
        await db.execute(text("UPDATE outbox SET attempts = :often WHERE key = :key"), given)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("restricted_action", "the workspace does not let me post in it"),
        ("restricted_action_read_only_channel", "I may not post in it"),
        ("restricted_action_thread_only_channel", "it takes nothing but replies"),
        (UNKNOWN, UNKNOWN),
    ],
)
async def test_a_card_that_its_channel_does_not_take_stands_in_the_default_one_with_its_thread_and_says_so(
    engine: AsyncEngine, sandbox: Sandbox, sender: Sender, code: str, why: str
) -> None:
    sandbox.slack.faults.update({"refusals": {f"chat.postMessage {OTHER}": code}})
    incident_id = await put_card(engine, OTHER)
    await put(engine, "reply", incident_id=incident_id, channel=OTHER, payload={"text": "why", "in_thread": True})
    if code == UNKNOWN:
        await tried(engine, f"card:{incident_id}")
    await send_all(engine, sender)
    card, said = posts(sandbox)
    assert card["text"] == f"CheckoutDown: detected\nMeant for <#{OTHER}>: {why}."
    assert said["thread_ts"] == card["ts"]


async def test_of_a_closed_channels_card_the_default_channel_learns_only_that_there_is_one(
    engine: AsyncEngine, sandbox: Sandbox, sender: Sender
) -> None:
    incident_id = await put_card(engine, "G0CLOSED")
    async with engine.begin() as db:
        await incidents.add_alert(db, alert("Secret plans", closed=True), incident_id)
    await send_all(engine, sender)
    (told,) = texts(sandbox)
    assert f"codehealer incidents show {incident_id}" in told
    assert "CheckoutDown" not in told


async def test_what_somebody_asked_is_not_answered_in_another_channel(
    engine: AsyncEngine, sandbox: Sandbox, sender: Sender
) -> None:
    async with engine.begin() as db:
        incident = await an_incident(db, title="The salaries", source="question", channel="D0THEIRS", thread_ts="1.1")
        await outbox.new_card(db, incident.id, "D0THEIRS")
        await outbox.put_card(db, incident.id, "D0THEIRS", payload={"thread_ts": "1.1"})
    await send_all(engine, sender)
    assert "salaries" not in str(texts(sandbox))


async def test_a_storm_whose_message_reaches_nobody_leaves_each_incident_a_card_of_its_own(
    engine: AsyncEngine, sandbox: Sandbox, slack: AsyncWebClient
) -> None:
    async def tell(_db: AsyncConnection, _key: str) -> Card:
        return Card("many at once", [])

    incident_id = await put_card(engine, "C0NOWHERE")
    async with engine.begin() as db:
        await storms.join(db, await storms.begin(db, "C0NOWHERE"), incident_id)
    await send_all(engine, Sender(engine, slack, draw, render_summary=tell, home=HOME))
    (card,) = texts(sandbox)
    assert card.startswith("CheckoutDown: detected\nMeant for")


@pytest.mark.parametrize(
    ("fault", "times"),
    [
        ({"refusals": {f"chat.postMessage {OTHER}": UNKNOWN}}, MAX_ATTEMPTS),
        ({"refuse_connections": True}, AWAY_ATTEMPTS),
    ],
    ids=["refused", "away for a day"],
)
async def test_a_storm_whose_message_is_given_up_leaves_each_incident_a_card_of_its_own(
    engine: AsyncEngine, sandbox: Sandbox, slack: AsyncWebClient, fault: dict[str, Any], times: int
) -> None:
    async def tell(_db: AsyncConnection, _key: str) -> Card:
        return Card("many at once", [])

    sender = Sender(engine, slack, draw, render_summary=tell, home=HOME)
    incident_id = await put_card(engine, OTHER)
    async with engine.begin() as db:
        storm_id = await storms.begin(db, OTHER)
        await storms.join(db, storm_id, incident_id)
    await tried(engine, f"storm:{storm_id}", times)
    sandbox.slack.faults.update(fault)
    await sender.send_due()
    sandbox.slack.faults.update({"refuse_connections": False, "refusals": {}})
    await send_all(engine, sender)
    assert await rows(engine, "SELECT state FROM outbox WHERE key LIKE 'storm:%'") == [("failed",)]
    (card,) = posts(sandbox, OTHER)
    assert card["text"] == "CheckoutDown: detected"
    assert "thread_ts" not in card


@pytest.mark.parametrize(
    ("channel", "code"),
    [("C0NOWHERE", ""), (OTHER, "restricted_action_read_only_channel"), (OTHER, UNKNOWN)],
)
async def test_what_the_approvals_channel_does_not_take_is_asked_in_the_cards_thread(
    engine: AsyncEngine, sandbox: Sandbox, sender: Sender, channel: str, code: str
) -> None:
    sandbox.slack.faults.update({"refusals": {f"chat.postMessage {channel}": code} if code else {}})
    incident_id = await put_card(engine)
    otherwise = {"channel": HOME, "payload": {"text": "please approve", "in_thread": True, "broadcast": True}}
    asked = {"text": "please approve here", "otherwise": otherwise}
    await put(engine, "call", incident_id=incident_id, channel=channel, payload=asked)
    if code == UNKNOWN:
        await tried(engine, "call")
    await send_all(engine, sender)
    card, call = posts(sandbox)
    assert (call["text"], call["thread_ts"]) == ("please approve", card["ts"])


@pytest.mark.parametrize("channel", [OTHER, "", "D0DEV"], ids=["not in the channel", "from the App Home", "in a DM"])
async def test_a_refusal_that_cannot_be_shown_where_it_was_clicked_is_said_directly(
    engine: AsyncEngine, sandbox: Sandbox, sender: Sender, channel: str
) -> None:
    sandbox.slack.workspace.channels[OTHER].members.discard("U0DEV")
    async with engine.begin() as db:
        await cards.tell(db, key="k", channel=channel, user="U0DEV", text="You may not decide this one.")
    await send_all(engine, sender)
    (told,) = sandbox.slack.workspace.direct_message("U0DEV").messages.values()
    assert told["text"].endswith("You may not decide this one.")
    assert told["text"].startswith(f"About what you clicked in <#{OTHER}>") is (channel == OTHER)


async def test_a_deleted_incidents_card_and_call_say_so_and_have_no_buttons_left(
    engine: AsyncEngine, sandbox: Sandbox, slack: AsyncWebClient
) -> None:
    async def with_button(db: AsyncConnection, incident_id: int) -> Card | None:
        card = await draw(db, incident_id)
        button = {"type": "button", "action_id": "approve", "text": {"type": "plain_text", "text": "Approve"}}
        if card:
            card.blocks.append({"type": "actions", "elements": [button]})
        return card

    sender = Sender(engine, slack, with_button)
    incident_id = await put_card(engine)
    call = {"text": "please approve", "in_thread": True, "broadcast": True}
    await put(engine, outbox.call_key(incident_id, 1), incident_id=incident_id, payload=call)
    await send_all(engine, sender)
    async with engine.begin() as db:
        for _ in range(2):  # a person who is impatient
            await outbox.bid_farewell(db, incident_id, DELETED.format(incident_id))
        await incidents.erase(db, incident_id)
    await send_all(engine, sender)
    assert texts(sandbox) == [DELETED.format(incident_id)] * 2
    assert "approve" not in str([message.get("blocks") for message in posts(sandbox)])
