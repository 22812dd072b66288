"""chat.*: posting, editing, deleting, permalinks."""

from __future__ import annotations

from typing import Any

from .arguments import flag, listing, needed, text
from .blocks import MAX_MARKDOWN, check_message
from .call import SPECIAL, TIER_3, TIER_4, Call, Method, find_channel, find_message, joined_channel
from .errors import SlackError
from .posting import Content, change, checked_metadata, delete, new_content, post_as_bot, post_ephemeral
from .state import BOT_ID, BOT_USER, TEAM_DOMAIN, Channel

Json = dict[str, Any]

MAX_UPDATE_TEXT = 4000


def _target(call: Call) -> Channel:
    """Return the channel to post to: an id, a public channel's name, or a person (their DM)."""
    workspace = call.slack.workspace
    name = needed(call.args, "channel")
    person = workspace.users.get(name)
    if person is not None:
        if person.deleted or person.is_bot:
            raise SlackError("channel_not_found")
        return workspace.direct_message(person.id)
    channel = workspace.find_channel(name)
    if channel is None or (channel.is_private and BOT_USER not in channel.members):
        raise SlackError("channel_not_found")
    if channel.is_archived:
        raise SlackError("is_archived")
    if BOT_USER not in channel.members and "chat:write.public" not in call.scopes:
        raise SlackError("not_in_channel")
    return channel


def _content(call: Call) -> Content:
    """Return text, blocks and attachments, checked; SlackError("no_text") when there is nothing to show."""
    body = text(call.args, "text")
    markdown = text(call.args, "markdown_text")
    blocks, attachments = listing(call.args, "blocks"), listing(call.args, "attachments")
    if markdown:
        if body or blocks:
            raise SlackError("markdown_text_conflict")
        if len(markdown) > MAX_MARKDOWN:
            raise SlackError("msg_too_long")
        return Content(markdown, [{"type": "markdown", "text": markdown}], attachments)
    if not body.strip() and not blocks and not attachments:
        raise SlackError("no_text")
    check_message(blocks, attachments)
    return Content(body if "text" in call.args else None, blocks, attachments)


async def post_message(call: Call) -> Json:
    """chat.postMessage."""
    channel = _target(call)
    if any(call.args.get(name) for name in ("username", "icon_emoji", "icon_url")):
        call.need("chat:write.customize")
    content = _content(call)
    metadata = checked_metadata(call.args.get("metadata"))
    message = post_as_bot(
        call.slack,
        channel,
        content,
        text(call.args, "thread_ts"),
        broadcast=flag(call.args, "reply_broadcast"),
        **({"metadata": metadata} if metadata else {}),
    )
    answer: Json = {"channel": channel.id, "ts": message["ts"], "message": dict(message)}
    if not (content.text or "").strip() and content.blocks:
        warning = "missing_text_in_message"
        answer |= {"warning": warning, "response_metadata": {"warnings": [warning]}}
    return answer


def _own_message(call: Call, refusal: str) -> tuple[Channel, Json]:
    channel = find_channel(call)
    message = find_message(channel, needed(call.args, "ts"))
    if message.get("bot_id") != BOT_ID or message.get("subtype") == "tombstone":
        raise SlackError(refusal)
    return channel, message


async def update(call: Call) -> Json:
    """chat.update."""
    channel, message = _own_message(call, "cant_update_message")
    if message.get("streaming_state") == "in_progress":
        raise SlackError("streaming_state_conflict")
    content = _content(call)
    if len(content.text or "") > MAX_UPDATE_TEXT:
        raise SlackError("msg_too_long")
    new = new_content(content, BOT_USER, call.slack.workspace.next_ts())
    if call.args.get("metadata") is not None:
        new["metadata"] = checked_metadata(call.args["metadata"])
    change(call.slack, channel, message, new)
    return {"channel": channel.id, "ts": message["ts"], "text": message["text"], "message": dict(message)}


async def post_ephemeral_message(call: Call) -> Json:
    """chat.postEphemeral."""
    channel = joined_channel(call)
    user = needed(call.args, "user")
    if user not in channel.members:
        raise SlackError("user_not_in_channel")
    ts = post_ephemeral(call.slack, channel, user, _content(call), text(call.args, "thread_ts"))
    return {"message_ts": ts}


async def delete_message(call: Call) -> Json:
    """chat.delete."""
    channel, message = _own_message(call, "cant_delete_message")
    delete(call.slack, channel, message)
    return {"channel": channel.id, "ts": message["ts"]}


def permalink(channel: Channel, message: Json) -> str:
    """Return the address of a message in Slack's client."""
    ts = message["ts"]
    link = f"https://{TEAM_DOMAIN}.slack.com/archives/{channel.id}/p{ts.replace('.', '')}"
    parent = message.get("thread_ts", ts)
    return link if parent == ts else f"{link}?thread_ts={parent}&cid={channel.id}"


async def get_permalink(call: Call) -> Json:
    """chat.getPermalink."""
    channel = find_channel(call)
    message = find_message(channel, needed(call.args, "message_ts"))
    return {"channel": channel.id, "permalink": permalink(channel, message)}


METHODS: dict[str, Method] = {
    # chat.postMessage is limited by channel, not by method; see web_api.
    "chat.postMessage": Method(post_message, "chat:write", SPECIAL, writes=True),
    "chat.update": Method(update, "chat:write", TIER_3, writes=True),
    "chat.postEphemeral": Method(post_ephemeral_message, "chat:write", TIER_4, writes=True),
    "chat.delete": Method(delete_message, "chat:write", TIER_3, writes=True),
    "chat.getPermalink": Method(get_permalink, "", SPECIAL),
}
