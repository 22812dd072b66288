"""The button that `codehealer doctor --button` posts: whoever presses it, the running bot says so in its place."""

from typing import Any

from handlers.blocks import mrkdwn as m
from handlers.blocks.card_view import Card
from handlers.clicks import Body
from handlers.services import Services

BUTTON = "doctor_button"
ASKED = "A test of the buttons: please press this one."
HEARD = "The button works: the bot heard it"
NOT_PRESSED = "The test of the buttons ended before anybody's press was heard."


def asking() -> Card:
    button = {
        "type": "button",
        "action_id": BUTTON,
        "text": m.plain_text("Press me"),
        "accessibility_label": "Press to test that buttons work",
    }
    row = {"type": "actions", "block_id": "test", "elements": [button]}
    return Card(ASKED, [m.section("asked", [ASKED]), row])


def _said(words: str) -> Card:
    return Card(words, [m.section("said", [words])])


def heard(user: str) -> Card:
    return _said(f"{HEARD}. {m.mention(user)} pressed it.")


def not_pressed() -> Card:
    return _said(NOT_PRESSED)


async def hear(services: Services, ack: Any, body: Body) -> None:
    """Say so in the message itself; a second press says the same again."""
    await ack()
    container, said = body["container"], heard(str(body["user"]["id"]))
    await services.slack.chat_update(
        channel=str(container["channel_id"]), ts=str(container["message_ts"]), text=said.text, blocks=said.blocks
    )
