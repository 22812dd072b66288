"""What doctor asks Slack: the scopes that were granted, the channel of the cards, whether a pressed button is heard."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from slack_sdk.web.async_client import AsyncWebClient

from bot.doctor import Check
from bot.finding import Finding
from bot.settings import Settings
from bot.slack_app import make_client
from handlers import round_trip
from handlers.blocks.card_view import Card
from handlers.slack_calls import Refusal, read
from knowledge.errors import Unavailable

MANIFEST = Path(__file__).resolve().parents[1] / "app_manifest.yml"
POLL_S = 1.5
INVITE = "In Slack, type /invite @codehealer in that channel; a private one is not visible before."
REMEDIES = {
    "not_in_channel": INVITE,
    "channel_not_found": f"Check the id, which begins with C and is at the end of the channel's details. {INVITE}",
    "is_archived": "Name a channel that is in use.",
    "missing_scope": "Update the app from app_manifest.yml and install it again.",
}


async def _scopes(settings: Settings) -> Finding:
    """What of the manifest's scopes the token has. An installation without the manifest cannot tell."""
    if settings.in_sandbox or not MANIFEST.is_file():
        return Finding("scopes", True, "not compared: there is no token, or no app_manifest.yml beside the program")
    wanted = set(yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))["oauth_config"]["scopes"]["bot"])
    async with aiohttp.ClientSession() as session:
        me = await read(make_client(settings, session).auth_test)
    granted = {scope.strip() for scope in str(me.headers.get("x-oauth-scopes", "")).split(",") if scope.strip()}
    if missing := sorted(wanted - granted):
        return Finding("scopes", False, f"the token lacks {', '.join(missing)}", REMEDIES["missing_scope"])
    more = sorted(granted - wanted)
    beyond = f"; beyond the manifest it may {', '.join(more)}" if more else ""
    return Finding("scopes", True, f"all {len(wanted)} of the manifest{beyond}")


async def _channel(settings: Settings) -> Finding:
    """Whether a card can be posted where CODEHEALER_CHANNEL says."""
    if settings.in_sandbox:
        return Finding("channel", True, settings.channel or "the sandbox's")
    if not settings.channel:
        remedy = "Set CODEHEALER_CHANNEL to a channel id and invite the bot there."
        return Finding("channel", False, "no default channel: a card that no rule routes has nowhere to go", remedy)
    async with aiohttp.ClientSession() as session:
        try:
            answer = await read(make_client(settings, session).conversations_info, channel=settings.channel)
        except Refusal as refusal:
            return _refused("channel", refusal)
    found = answer["channel"]
    where = f"{settings.channel} (#{found.get('name', '')})"
    if found.get("is_archived"):
        return Finding("channel", False, f"{where} is archived", REMEDIES["is_archived"])
    if not found.get("is_member"):
        return Finding("channel", False, f"the bot is not in {where}", INVITE)
    return Finding("channel", True, where)


def _refused(check: str, refusal: Refusal) -> Finding:
    return Finding(check, False, str(refusal), REMEDIES.get(refusal.code, "Set it right as the sentence says."))


async def button(settings: Settings, where: str, wait_s: float, tell: Callable[[str], None]) -> Finding:
    """Post a button, wait until the running bot has heard a press of it, and leave no button behind.

    It opens no link of its own: Slack gives each press to one of an app's links, and it would take others' away.

    Args:
        where: the id of a channel or a person; "" for CODEHEALER_CHANNEL.
        wait_s: how long, in seconds.
        tell: is given the sentence that asks for the press, once the button is there.
    """
    channel = where or settings.channel
    if settings.in_sandbox:
        return Finding("button", True, "not tried: without tokens the buttons are on the sandbox's page")
    if not channel:
        return Finding(
            "button", False, "nowhere to post it", "Name a channel or a person: doctor --button --in C0123ABCD"
        )
    async with aiohttp.ClientSession() as session:
        slack, asked = make_client(settings, session), round_trip.asking()
        try:
            posted = await read(slack.chat_postMessage, channel=channel, text=asked.text, blocks=asked.blocks)
            tell(f"Press the button that is in {channel} in Slack now. I wait {wait_s:.0f} s for it.")
            return await _heard(slack, str(posted["channel"]), str(posted["ts"]), wait_s)
        except Refusal as refusal:
            return _refused("button", refusal)
        except Unavailable as error:
            return Finding("button", False, str(error), "Check the network and run it again.")


async def _heard(slack: AsyncWebClient, channel: str, ts: str, wait_s: float) -> Finding:
    began, heard = time.monotonic(), False
    try:
        while not heard and time.monotonic() - began < wait_s:
            await asyncio.sleep(POLL_S)
            heard = round_trip.HEARD in await _text(slack, channel, ts)
    finally:
        if not heard:
            await _write(slack, channel, ts, round_trip.not_pressed())
    if heard:
        return Finding("button", True, f"pressed, and heard by the bot, within {time.monotonic() - began:.0f} s")
    remedy = (
        "Does the bot run (codehealer run)? Is Interactivity on in the app's settings? Was the button pressed? "
        "A warning sign beside it in Slack means that nobody answered."
    )
    return Finding("button", False, f"no press was heard within {wait_s:.0f} s", remedy)


async def _text(slack: AsyncWebClient, channel: str, ts: str) -> str:
    """What the message says; "" while Slack is too busy to show it."""
    try:
        found: Any = await read(
            slack.conversations_history, channel=channel, oldest=ts, latest=ts, inclusive=True, limit=1
        )
    except Unavailable:
        return ""
    return " ".join(str(message.get("text", "")) for message in found["messages"])


async def _write(slack: AsyncWebClient, channel: str, ts: str, said: Card) -> None:
    await read(slack.chat_update, channel=channel, ts=ts, text=said.text, blocks=said.blocks)


CHECKS: dict[str, Check] = {"scopes": _scopes, "channel": _channel}
