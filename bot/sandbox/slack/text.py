"""What Slack does to text before it stores it."""

from __future__ import annotations

import re
from typing import Any

Json = dict[str, Any]

MAX_TEXT = 40_000
_MARKED = re.compile(
    r"<(?:[@#][A-Z0-9]+(?:\|[^<>]*)?|![a-z]+(?:\^[^<>|]*)?(?:\|[^<>]*)?|(?:https?://|mailto:)[^<>\s|]+(?:\|[^<>]*)?)>"
)
_ENTITY = re.compile(r"&(?!amp;|lt;|gt;)")
_BARE_URL = re.compile(r"https?://[^\s<>|`\"]*[^\s<>|`\"'.,;:!?)\]]")
_LEAF = re.compile(r"<([^<>]+)>")


def normalise(text: str) -> str:
    """Escape stray ``& < >``, wrap bare links, and cut at 40,000 characters. Mentions and marked links stay."""
    parts: list[str] = []
    at = 0
    text = text[:MAX_TEXT]
    for marked in _MARKED.finditer(text):
        parts.extend((_plain(text[at : marked.start()]), marked.group()))
        at = marked.end()
    parts.append(_plain(text[at:]))
    return "".join(parts)[:MAX_TEXT]


def _plain(text: str) -> str:
    escaped = _ENTITY.sub("&amp;", text).replace("<", "&lt;").replace(">", "&gt;")
    return _BARE_URL.sub(lambda found: f"<{found.group()}>", escaped) if "http" in escaped else escaped


def unescape(text: str) -> str:
    """Undo Slack's three entities."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def typed(text: str, users: dict[str, str], channels: dict[str, str]) -> str:
    """Turn what a person types into what Slack's client sends: ``@name`` and ``#name`` become mentions.

    ``users`` and ``channels`` map names to ids.
    """

    def user(found: re.Match[str]) -> str:
        identifier = users.get(found.group(1))
        return f"<@{identifier}>" if identifier else found.group()

    def channel(found: re.Match[str]) -> str:
        identifier = channels.get(found.group(1))
        return f"<#{identifier}|{found.group(1)}>" if identifier else found.group()

    text = re.sub(r"(?<![<\w])@([\w.-]*\w)", user, text)
    return re.sub(r"(?<![<\w&])#([\w-]+)", channel, text)


def command_text(text: str, users: dict[str, str], channels: dict[str, str]) -> str:
    """Turn what follows a slash command into what an app with ``should_escape`` is sent: ids with names beside them."""
    names = {identifier: name for name, identifier in users.items()}
    marked = normalise(typed(text, users, channels))
    return re.sub(r"<@([A-Z0-9]+)>", lambda found: f"<@{found[1]}|{names.get(found[1], found[1])}>", marked)


def rich_text(text: str, block_id: str) -> Json:
    """Make the ``rich_text`` block that Slack's client sends along with a person's message."""
    leaves: list[Json] = []
    at = 0
    for marked in _LEAF.finditer(text):
        if marked.start() > at:
            leaves.append({"type": "text", "text": unescape(text[at : marked.start()])})
        leaves.append(_leaf(marked.group(1)))
        at = marked.end()
    if at < len(text):
        leaves.append({"type": "text", "text": unescape(text[at:])})
    return {
        "type": "rich_text",
        "block_id": block_id,
        "elements": [{"type": "rich_text_section", "elements": leaves}],
    }


def _leaf(inside: str) -> Json:
    target, _, label = inside.partition("|")
    if target.startswith("@"):
        return {"type": "user", "user_id": target[1:]}
    if target.startswith("#"):
        return {"type": "channel", "channel_id": target[1:]}
    if target in ("!here", "!channel", "!everyone"):
        return {"type": "broadcast", "range": target[1:]}
    if target.startswith("!subteam^"):
        return {"type": "usergroup", "usergroup_id": target.removeprefix("!subteam^")}
    link = {"type": "link", "url": unescape(target)}
    return link | {"text": unescape(label)} if label else link
