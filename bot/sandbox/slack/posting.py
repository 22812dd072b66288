"""How a message comes to be, changes and goes: the same way for the bot, for other apps and for people."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

import orjson

from . import events, notifying
from .core import Slack
from .errors import SlackError
from .state import APP_ID, BOT_ID, BOT_USER, OUR_APP, TEAM_ID, App, Channel, User, new_id
from .text import normalise, rich_text

Json = dict[str, Any]

MAX_METADATA_BYTES = 4096


@dataclass(frozen=True)
class Content:
    """What a message says. None means not given, which an edit tells from an empty list."""

    text: str | None = ""
    blocks: list[Any] | None = None
    attachments: list[Any] | None = None


def with_block_ids(blocks: list[Any] | None) -> list[Json]:
    """Copy blocks, giving each without a ``block_id`` one, as Slack does."""
    return [block if block.get("block_id") else block | {"block_id": _short_id()} for block in blocks or ()]


def _short_id() -> str:
    return secrets.token_urlsafe(4)[:5]


def with_attachment_ids(attachments: list[Any] | None) -> list[Json]:
    """Copy attachments, numbering them and giving each a fallback."""
    copies: list[Json] = []
    for number, attachment in enumerate(attachments or (), 1):
        copy = {"id": number, "fallback": attachment.get("text") or "[no preview available]"} | attachment
        if copy.get("blocks"):
            copy["blocks"] = with_block_ids(copy["blocks"])
        copies.append(copy)
    return copies


def checked_metadata(metadata: Any) -> Json | None:
    """Return message metadata, or None; SlackError for a wrong shape or too much of it."""
    if metadata is None or metadata == {}:
        return None
    if not isinstance(metadata, dict) or set(metadata) - {"event_type", "event_payload", "entities"}:
        raise SlackError("invalid_metadata_format")
    if not isinstance(metadata.get("event_type"), str) or not isinstance(metadata.get("event_payload"), dict):
        raise SlackError("invalid_metadata_schema")
    if len(orjson.dumps(metadata)) > MAX_METADATA_BYTES:
        raise SlackError("metadata_too_large")
    return metadata


def bot_profile(app: App) -> Json:
    """Describe an app as messages carry it."""
    return {
        "id": app.bot_id,
        "app_id": app.id,
        "name": app.name,
        "icons": {f"image_{size}": f"https://a.slack-edge.com/bot_{size}.png" for size in (36, 48, 72)},
        "deleted": False,
        "updated": 1_700_000_000,
        "team_id": TEAM_ID,
    }


def _body(content: Content) -> Json:
    body: Json = {"text": normalise(content.text or "")}
    if content.blocks:
        body["blocks"] = with_block_ids(content.blocks)
    if content.attachments:
        body["attachments"] = with_attachment_ids(content.attachments)
    return body


def in_thread(channel: Channel, thread_ts: str, broadcast: bool = False) -> Json:
    """Return what a reply carries; {} outside a thread. SlackError when the parent is none."""
    if not thread_ts:
        return {}
    parent = channel.messages.get(thread_ts)
    if parent is None:
        raise SlackError("thread_not_found")
    if parent.get("thread_ts", thread_ts) != thread_ts:
        raise SlackError("cannot_reply_to_message")
    about: Json = {"thread_ts": thread_ts, "parent_user_id": parent.get("user", "")}
    return about | ({"subtype": "thread_broadcast", "root": dict(parent)} if broadcast else {})


def post_as_bot(
    slack: Slack,
    channel: Channel,
    content: Content,
    thread_ts: str = "",
    *,
    broadcast: bool = False,
    **more: Any,
) -> Json:
    """Post a message of our bot and tell of it; returns the stored message."""
    message: Json = {
        "type": "message",
        "user": BOT_USER,
        "bot_id": BOT_ID,
        "app_id": APP_ID,
        "team": TEAM_ID,
        "bot_profile": bot_profile(OUR_APP),
        **_body(content),
        **in_thread(channel, thread_ts, broadcast),
        **more,
        "ts": slack.workspace.next_ts(),
    }
    channel.statuses.pop(thread_ts or message["ts"], None)
    return _stored(slack, channel, message)


def post_as_app(
    slack: Slack,
    channel: Channel,
    app: App,
    content: Content,
    thread_ts: str = "",
) -> Json:
    """Post as another app, in the form that incoming webhooks give a message."""
    message: Json = {
        "type": "message",
        "subtype": "bot_message",
        "bot_id": app.bot_id,
        "app_id": app.id,
        "username": app.name,
        "team": TEAM_ID,
        "bot_profile": bot_profile(app),
        **_body(content),
        **in_thread(channel, thread_ts),
        "ts": slack.workspace.next_ts(),
    }
    return _stored(slack, channel, message)


def post_as_person(
    slack: Slack, channel: Channel, user: User, text: str, *, thread_ts: str = "", files: list[Json] | None = None
) -> Json:
    """Post what a person typed, with the rich_text block that Slack's client adds."""
    stored_text = normalise(text)
    message: Json = {
        "type": "message",
        "user": user.id,
        "client_msg_id": new_id("").lower(),
        "team": user.team_id,
        "user_team": user.team_id,
        "text": stored_text,
        **in_thread(channel, thread_ts),
        "ts": slack.workspace.next_ts(),
    }
    if stored_text:
        message["blocks"] = [rich_text(stored_text, _short_id())]
    if files:
        message |= {"subtype": "file_share", "files": files, "upload": False}
    return _stored(slack, channel, message)


def _stored(slack: Slack, channel: Channel, message: Json) -> Json:
    slack.workspace.add(channel, message)
    notifying.tell(slack.workspace, channel, message)
    events.posted(slack, channel, message)
    return message


def change(slack: Slack, channel: Channel, message: Json, new: Json) -> None:
    """Put ``new`` fields into a message (None takes a field out) and tell of the edit."""
    old = dict(message)
    for name, value in new.items():
        if value is None:
            message.pop(name, None)
        else:
            message[name] = value
    if message != old:
        events.changed(slack, channel, message, old)
    slack.workspace.on_change(channel, message.get("thread_ts"))


def new_content(content: Content, editor: str, ts: str) -> Json:
    """Work out what an edit changes.

    Text without blocks takes the old blocks away; neither text nor blocks leaves them. Attachments stay unless given.
    Only an edit without blocks shows as edited.
    """
    new: Json = {}
    if content.text is not None:
        new["text"] = normalise(content.text)
    if content.blocks is not None:
        new["blocks"] = with_block_ids(content.blocks) or None
    elif content.text is not None:
        new["blocks"] = None
    if not content.blocks:
        new["edited"] = {"user": editor, "ts": ts}
    if content.attachments is not None:
        new["attachments"] = with_attachment_ids(content.attachments) or None
    return new


def delete(slack: Slack, channel: Channel, message: Json) -> None:
    """Take a message away; a parent with replies leaves a tombstone."""
    old = dict(message)
    if channel.threads.get(message["ts"]):
        for name in ("blocks", "attachments", "files", "reactions", "metadata", "bot_id", "app_id", "bot_profile"):
            message.pop(name, None)
        message |= {"subtype": "tombstone", "user": "USLACKBOT", "text": "This message was deleted."}
        events.changed(slack, channel, message, old)
        slack.workspace.on_change(channel, message["ts"])
        return
    slack.workspace.remove(channel, message["ts"])
    events.deleted(slack, channel, old)


def post_ephemeral(
    slack: Slack,
    channel: Channel,
    user: str,
    content: Content,
    thread_ts: str = "",
) -> str:
    """Show one person a message that is in no history; returns its ts."""
    message: Json = {
        "type": "message",
        "subtype": "bot_message",
        "user": BOT_USER,
        "bot_id": BOT_ID,
        "app_id": APP_ID,
        "bot_profile": bot_profile(OUR_APP),
        "team": TEAM_ID,
        **_body(content),
        "ts": slack.workspace.next_ts(),
        "is_ephemeral": True,
        "for_user": user,
    }
    if thread_ts:
        message["thread_ts"] = thread_ts
    slack.workspace.add_ephemeral(channel, message)
    return str(message["ts"])


def react(slack: Slack, channel: Channel, message: Json, user: str, name: str) -> None:
    """Add a reaction; SlackError("already_reacted") when it is there."""
    reactions: list[Json] = message.setdefault("reactions", [])
    entry = next((r for r in reactions if r["name"] == name), None)
    if entry is None:
        entry = {"name": name, "users": [], "count": 0}
        reactions.append(entry)
    if user in entry["users"]:
        raise SlackError("already_reacted")
    entry["users"].append(user)
    entry["count"] += 1
    events.reacted(slack, channel, message, user, name, added=True)
    slack.workspace.on_change(channel, message.get("thread_ts"))


def unreact(slack: Slack, channel: Channel, message: Json, user: str, name: str) -> None:
    """Take a reaction back; SlackError("no_reaction") when there is none."""
    reactions: list[Json] = message.get("reactions", [])
    entry = next((r for r in reactions if r["name"] == name and user in r["users"]), None)
    if entry is None:
        raise SlackError("no_reaction")
    entry["users"].remove(user)
    entry["count"] -= 1
    if not entry["users"]:
        reactions.remove(entry)
    if not reactions:
        del message["reactions"]
    events.reacted(slack, channel, message, user, name, added=False)
    slack.workspace.on_change(channel, message.get("thread_ts"))
