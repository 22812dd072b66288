"""Whom a new message notifies, as Slack's clients would: never an edit, and never its author."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .state import USERGROUP_ID, Channel, Workspace, author

Json = dict[str, Any]

PREVIEW_CHARS = 100
_PERSON = re.compile(r"<@([UW][A-Z0-9]+)(?:\|[^<>]*)?>")
_GROUP = re.compile(r"<!subteam\^([A-Z0-9]+)(?:\|[^<>]*)?>")
_ALL = re.compile(r"<!(?:channel|here|everyone)(?:\|[^<>]*)?>")


def tell(workspace: Workspace, channel: Channel, message: Json) -> None:
    """Note who is notified of a message that was just posted, why, and what the notification says."""
    about = {"channel": channel.id, "ts": message["ts"], "text": message.get("text", "")[:PREVIEW_CHARS]}
    for user, why in _notified(workspace, channel, message):
        workspace.notifications.append({"user": user, "why": why, **about})


def _notified(workspace: Workspace, channel: Channel, message: Json) -> Iterator[tuple[str, str]]:
    said = "\n".join(_marked(message))
    named = set(_PERSON.findall(said))
    grouped = set(workspace.group_members) if USERGROUP_ID in _GROUP.findall(said) else set()
    everybody = bool(_ALL.search(said))
    for user in sorted(channel.members - {author(message)}):
        if workspace.users[user].is_bot:
            continue
        if channel.is_im:
            yield user, "direct"
        elif user in named:
            yield user, "mention"
        elif user in grouped:
            yield user, "group"
        elif everybody:
            yield user, "channel"
        elif message.get("subtype") == "thread_broadcast":
            yield user, "broadcast"


def _marked(message: Json) -> Iterator[str]:
    """Every text of a message in which a mention would count."""
    yield message.get("text", "")
    parts: list[Any] = [message.get("blocks"), message.get("attachments")]
    while parts:
        part = parts.pop()
        if isinstance(part, list):
            parts += part
        elif isinstance(part, dict):
            if part.get("type") == "user":
                yield f"<@{part.get('user_id')}>"
            elif part.get("type") == "usergroup":
                yield f"<!subteam^{part.get('usergroup_id')}>"
            elif part.get("type") == "broadcast":
                yield "<!channel>"
            elif part.get("type") in {"mrkdwn", "markdown"}:
                yield str(part.get("text", ""))
            parts += [value for value in part.values() if isinstance(value, list | dict)]
