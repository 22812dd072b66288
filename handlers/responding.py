"""Answers to commands and to clicks on our answers: in time with the acknowledgement, else by Slack's response_url."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import structlog
from slack_sdk.errors import SlackClientError
from slack_sdk.webhook.async_client import AsyncWebhookClient

from handlers import commands
from handlers.blocks.card_view import Card
from handlers.blocks.commands import decode_line, said
from handlers.clicks import key_of
from handlers.reading import reader_of
from handlers.replies import NOT_STORED, TOO_LONG
from handlers.services import Services
from knowledge.network import proxy_for

log = structlog.get_logger(__name__)

Body = Mapping[str, Any]
# Slack shows an error after three seconds, and the way there and back takes some of them.
ANSWER_S = 2.2
LATEST_S = 60.0
SENDING_S = 5
TELLING_S = 0.3
WAIT = "One moment, I am looking it up."


async def command(services: Services, ack: Any, body: Body) -> None:
    """A slash command: its private answer, or a word that it comes and then the answer in that word's place."""
    user, channel = str(body.get("user_id") or ""), str(body.get("channel_id") or "")
    began = time.monotonic()
    reader = await reader_of(services, channel, user)
    key = key_of("command", str(body.get("trigger_id") or ""), user)
    text = str(body.get("text") or "")
    asked = asyncio.ensure_future(commands.private_answer(services, text, reader, user=user, key=key))
    done, _ = await asyncio.wait([asked], timeout=ANSWER_S - (time.monotonic() - began))
    if done:
        await ack(**_shown(asked.result()))
        return
    await ack(text=WAIT, response_type="ephemeral")
    await send(services, str(body.get("response_url") or ""), await _late(asked))


async def run(services: Services, ack: Any, body: Body) -> None:
    """A click on "More" or on a suggestion: the answer takes the place of a private one, and is private elsewhere."""
    await ack()
    line = decode_line(body["actions"][0].get("value"))
    user, where = str(body["user"]["id"]), body.get("container") or {}
    channel = str((body.get("channel") or {}).get("id") or where.get("channel_id") or "")
    reader = await reader_of(services, channel, user)
    card = await _late(commands.clicked(services, line, reader))
    await send(services, str(body.get("response_url") or ""), card, instead=where.get("is_ephemeral") is True)


async def _late(asked: Awaitable[Card]) -> Card:
    try:
        async with asyncio.timeout(LATEST_S):
            return await asked
    except TimeoutError:
        return said("failed", TOO_LONG)


def _shown(card: Card) -> dict[str, Any]:
    blocks = {"blocks": card.blocks} if card.blocks else {}
    return {"text": card.text, "response_type": "ephemeral", **blocks}


async def tell_not_stored(services: Services, url: str) -> None:
    """Say it beside the warning sign that Slack puts on the button; for a moment only, since Slack waits as well."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(TELLING_S):
            await send(services, url, said("failed", NOT_STORED))


async def send(services: Services, url: str, card: Card, *, instead: bool = False) -> None:
    """Post to a response_url, which Slack takes five times within half an hour. Nobody else waits for it."""
    if urlsplit(url).scheme not in {"http", "https"}:
        return
    client = AsyncWebhookClient(url, timeout=SENDING_S, ssl=services.slack.ssl, retry_handlers=[])
    client.proxy = proxy_for(url)  # set afterwards: the library takes HTTPS_PROXY whatever NO_PROXY says
    try:
        answer = await client.send_dict({**_shown(card), "replace_original": instead})
    except (SlackClientError, aiohttp.ClientError, TimeoutError) as error:
        log.warning("answer_not_sent", error=type(error).__name__)
        return
    if answer.status_code != 200:
        log.warning("answer_not_sent", status=answer.status_code)
