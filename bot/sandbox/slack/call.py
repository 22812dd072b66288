"""One Web API call as a method function sees it, and what a table of methods holds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from .arguments import needed
from .core import Slack
from .errors import SlackError
from .state import BOT_USER, Channel, decode_cursor, encode_cursor

Json = dict[str, Any]

TIER_2, TIER_3, TIER_4, SPECIAL = 20, 50, 100, 600
SEARCHER = "bot or user"


@dataclass(frozen=True)
class Call:
    """What a method is given: the workspace, its arguments and the scopes of the token."""

    slack: Slack
    args: Json
    scopes: frozenset[str]

    def need(self, scope: str) -> None:
        """Raise ``missing_scope`` unless the token has a scope."""
        if scope not in self.scopes:
            raise SlackError("missing_scope", needed=scope, provided=",".join(sorted(self.scopes)))


@dataclass(frozen=True)
class Method:
    """A Web API method: what it does, the scope it needs ("" for none), its calls a minute, and its token.

    ``kind`` is the kind of token: ``bot``, ``app``, SEARCHER for a bot's or a user's, or "" for none at all.
    """

    run: Callable[[Call], Awaitable[Json]]
    scope: str = ""
    per_minute: int = SPECIAL
    kind: str = "bot"
    writes: bool = False


_FAMILY = {"channel": "channels", "group": "groups", "im": "im"}


def family_scope(channel: Channel, what: str) -> str:
    """Return e.g. ``groups:history`` for a private channel."""
    return f"{_FAMILY[channel.kind]}:{what}"


def find_channel(call: Call, name: str = "channel") -> Channel:
    """Return the channel an argument names, if the bot may know of it."""
    channel = call.slack.workspace.channels.get(needed(call.args, name))
    if channel is None or (channel.is_private and BOT_USER not in channel.members):
        raise SlackError("channel_not_found")
    return channel


def joined_channel(call: Call, name: str = "channel") -> Channel:
    """Return the channel an argument names, if the bot is in it."""
    channel = find_channel(call, name)
    if BOT_USER not in channel.members:
        raise SlackError("not_in_channel")
    return channel


def find_message(channel: Channel, ts: str) -> Json:
    """Return a stored message."""
    message = channel.messages.get(ts)
    if message is None:
        raise SlackError("message_not_found")
    return message


def page_of(items: list[Any], cursor: str, limit: int) -> tuple[list[Any], str]:
    """Cut one page; returns it and the next cursor ("" at the end)."""
    start = 0
    if cursor:
        try:
            start = int(decode_cursor(cursor))
        except ValueError as error:
            raise SlackError("invalid_cursor") from error
    end = start + limit
    return items[start:end], encode_cursor(str(end)) if end < len(items) else ""
