"""chat.startStream, appendStream and stopStream: a message that grows while people look at it."""

from __future__ import annotations

from typing import Any

from .arguments import listing, needed, text
from .blocks import MAX_BLOCKS, MAX_MARKDOWN, MESSAGE, check_message
from .call import TIER_2, TIER_4, Call, Method, find_message, joined_channel
from .core import Slack
from .errors import SlackError, invalid_arguments
from .events import session_stopped
from .posting import Content, change, checked_metadata, new_content, post_as_bot
from .state import BOT_ID, BOT_USER, TEAM_ID, Channel

Json = dict[str, Any]

IN_PROGRESS, COMPLETED = "in_progress", "completed"
TASK_STATES = ("pending", "in_progress", "complete", "error")
_SIGNS = {"pending": "…", "in_progress": "▸", "complete": "✓", "error": "✗"}


def _invalid(pointer: str, rule: str) -> SlackError:
    return SlackError(
        "invalid_chunks", response_metadata={"messages": [f"[ERROR] {rule} [json-pointer:/chunks/{pointer}]"]}
    )


def _chunks(call: Call) -> list[Json]:
    """Return what a call adds, checked; one of ``markdown_text`` and ``chunks`` at most."""
    markdown, given = text(call.args, "markdown_text"), listing(call.args, "chunks")
    if markdown and given:
        raise SlackError("markdown_text_conflict")
    if markdown:
        return [{"type": "markdown_text", "text": markdown}]
    for number, chunk in enumerate(given or ()):
        _check(number, chunk)
    return given or []


def _check(number: int, chunk: Any) -> None:
    kind = chunk.get("type") if isinstance(chunk, dict) else None
    if kind == "markdown_text" and isinstance(chunk.get("text"), str) and chunk["text"]:
        return
    if kind == "blocks" and isinstance(chunk.get("blocks"), list):
        check_message(chunk["blocks"], None)
        return
    named = kind in {"task_update", "plan_update"} and isinstance(chunk.get("title"), str)
    if named and (kind == "plan_update" or (chunk.get("id") and chunk.get("status") in TASK_STATES)):
        return
    raise _invalid(str(number), "must be a markdown_text, blocks, task_update or plan_update chunk with its fields")


def _grown(message: Json, chunks: list[Json]) -> Content:
    """Return the message's content with chunks added: markdown grows the last block, a task replaces its own."""
    said, blocks = str(message.get("text") or ""), [dict(block) for block in message.get("blocks") or ()]
    for chunk in chunks:
        if chunk["type"] == "markdown_text":
            said += chunk["text"]
            if blocks and blocks[-1]["type"] == "markdown":
                blocks[-1]["text"] += chunk["text"]
            else:
                blocks.append({"type": "markdown", "text": chunk["text"]})
        elif chunk["type"] == "blocks":
            blocks += chunk["blocks"]
        else:
            name = f"task-{chunk.get('id', 'plan')}"
            line = f"{_SIGNS.get(chunk.get('status', ''), '')} {chunk['title']}".strip()
            shown = {"type": "context", "block_id": name, "elements": [{"type": "plain_text", "text": line}]}
            known = any(block.get("block_id") == name for block in blocks)
            blocks = [shown if block.get("block_id") == name else block for block in blocks]
            blocks += [] if known else [shown]
    if len(blocks) > MAX_BLOCKS[MESSAGE]:
        raise SlackError("msg_blocks_too_many")
    if sum(len(block["text"]) for block in blocks if block["type"] == "markdown") > MAX_MARKDOWN:
        raise SlackError("msg_too_long")
    check_message(blocks, None)
    return Content(said, blocks)


async def start(call: Call) -> Json:
    """chat.startStream."""
    channel = joined_channel(call)
    if call.slack.faults.refuse_streams:
        raise SlackError("channel_type_not_supported")
    recipient, team = text(call.args, "recipient_user_id"), text(call.args, "recipient_team_id")
    if not channel.is_im and not team:
        raise SlackError("missing_recipient_team_id")
    if not channel.is_im and not recipient:
        raise SlackError("missing_recipient_user_id")
    if recipient and (recipient not in call.slack.workspace.users or team not in {"", TEAM_ID}):
        raise SlackError("user_not_found")
    if any(call.args.get(name) for name in ("username", "icon_emoji", "icon_url")):
        call.need("chat:write.customize")
    content = _grown({}, _chunks(call))
    message = post_as_bot(call.slack, channel, content, text(call.args, "thread_ts"), streaming_state=IN_PROGRESS)
    return {"channel": channel.id, "ts": message["ts"]}


def _streaming(call: Call) -> tuple[Channel, Json]:
    channel = joined_channel(call)
    message = find_message(channel, needed(call.args, "ts"))
    if message.get("bot_id") != BOT_ID:
        raise SlackError("message_not_owned_by_app")
    if message["ts"] in call.slack.stopped_streams:
        raise SlackError("stopped_by_user")
    if message.get("streaming_state") != IN_PROGRESS:
        raise SlackError("message_not_in_streaming_state")
    return channel, message


async def append(call: Call) -> Json:
    """chat.appendStream. Nobody is told of a part by an event; the page sees it grow."""
    channel, message = _streaming(call)
    chunks = _chunks(call)
    if not chunks:
        raise invalid_arguments("one of markdown_text and chunks is needed")
    content = _grown(message, chunks)
    message["text"], message["blocks"] = content.text, content.blocks
    call.slack.workspace.on_change(channel, message.get("thread_ts"))
    return {"channel": channel.id, "ts": message["ts"]}


async def stop(call: Call) -> Json:
    """chat.stopStream: the last part, and ``blocks`` at the end; the app is told of the finished message as an edit."""
    channel, message = _streaming(call)
    content = _grown(message, _chunks(call))
    last = listing(call.args, "blocks") or []
    content = _grown({"text": content.text, "blocks": content.blocks}, [{"type": "blocks", "blocks": last}])
    metadata = checked_metadata(call.args.get("metadata"))
    new = new_content(content, BOT_USER, call.slack.workspace.next_ts())
    new |= {"streaming_state": COMPLETED, "edited": None, **({"metadata": metadata} if metadata else {})}
    change(call.slack, channel, message, new)
    shown = {name: message[name] for name in ("text", "bot_id", "ts", "type")}
    return {"channel": channel.id, "ts": message["ts"], "message": shown}


def stop_as_person(slack: Slack, channel: Channel, message: Json, user: str) -> None:
    """A person presses Stop: what was said stays, the app's next part is refused, and it is told."""
    if message.get("streaming_state") != IN_PROGRESS:
        raise SlackError("message_not_in_streaming_state")
    slack.stopped_streams.add(message["ts"])
    change(slack, channel, message, {"streaming_state": COMPLETED})
    session_stopped(slack, channel, user, message)


METHODS: dict[str, Method] = {
    "chat.startStream": Method(start, "chat:write", TIER_2, writes=True),
    "chat.appendStream": Method(append, "chat:write", TIER_4, writes=True),
    "chat.stopStream": Method(stop, "chat:write", TIER_2, writes=True),
}
