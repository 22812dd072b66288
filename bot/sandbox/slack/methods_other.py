"""reactions.*, files.*, assistant.threads.*, blocks.validate."""

from __future__ import annotations

import mimetypes
import re
import secrets
import time
from typing import Any

from .arguments import integer, listing, needed, text
from .blocks import HOME, MESSAGE, MODAL, block_faults, check_message, check_view
from .call import SPECIAL, TIER_2, TIER_3, TIER_4, Call, Method, find_message, joined_channel
from .core import Slack
from .errors import SlackError, invalid_arguments
from .methods_chat import permalink
from .posting import Content, post_as_bot, react, unreact
from .state import BOT_USER, Channel, File, new_id

Json = dict[str, Any]

REACTION = re.compile(r"[a-z0-9_+'-]{1,100}(::skin-tone-[2-6])?")
MAX_SNIPPET = 1_000_000
MAX_ALT = 1_000
MAX_FILE = 16_000_000
MAX_FILES = 1000
STATUS_SECONDS = 120


def _reaction(call: Call) -> tuple[Channel, Json, str]:
    channel = joined_channel(call)
    message = find_message(channel, needed(call.args, "timestamp"))
    name = needed(call.args, "name").strip(":")
    if not REACTION.fullmatch(name):
        raise SlackError("invalid_name")
    return channel, message, name


async def add_reaction(call: Call) -> Json:
    """reactions.add."""
    channel, message, name = _reaction(call)
    react(call.slack, channel, message, BOT_USER, name)
    return {}


async def remove_reaction(call: Call) -> Json:
    """reactions.remove."""
    channel, message, name = _reaction(call)
    unreact(call.slack, channel, message, BOT_USER, name)
    return {}


async def get_reactions(call: Call) -> Json:
    """reactions.get, for a message."""
    channel = joined_channel(call)
    message = find_message(channel, needed(call.args, "timestamp"))
    return {
        "type": "message",
        "channel": channel.id,
        "message": message | {"permalink": permalink(channel, message)},
    }


def file_json(slack: Slack, file: File) -> Json:
    """Describe a file as messages and files.info do."""
    kind = file.snippet_type or (file.name.rsplit(".", 1)[-1] if "." in file.name else "text")
    content = file.content or b""
    address = f"{slack.base_url}/files-pri/{file.id}/{file.name}"
    about: Json = {
        "id": file.id,
        "created": file.created,
        "timestamp": file.created,
        "name": file.name,
        "title": file.title or file.name,
        "mimetype": mimetypes.guess_type(file.name)[0] or "text/plain",
        "filetype": kind,
        "pretty_type": "Plain Text" if kind == "text" else kind.upper(),
        "user": file.user,
        "size": len(content),
        "mode": "snippet" if file.snippet_type else "hosted",
        **({"alt_txt": file.alt_txt} if file.alt_txt else {}),
        "is_external": False,
        "url_private": address,
        "url_private_download": address,
        "permalink": f"https://sandbox.slack.com/files/{file.user}/{file.id}/{file.name}",
    }
    shown = content[:4000].decode(errors="replace")
    if about["mimetype"].startswith("text/") or file.snippet_type:
        about |= {"preview": shown[:1000], "lines": content.count(b"\n") + 1}
    return about


def keep_file(slack: Slack, file: File) -> None:
    """Store a file; the oldest ones go."""
    files = slack.workspace.files
    files[file.id] = file
    while len(files) > MAX_FILES:
        files.pop(next(iter(files)))


async def upload_url(call: Call) -> Json:
    """files.getUploadURLExternal."""
    length = integer(call.args, "length", 0, 1, MAX_FILE + 1)
    snippet = text(call.args, "snippet_type")
    if not length:
        raise invalid_arguments("missing required field: length")
    if length > MAX_FILE:
        raise SlackError("file_upload_size_restricted")
    if snippet and length > MAX_SNIPPET:
        raise SlackError("snippet_too_large")
    file = File(
        new_id("F"),
        needed(call.args, "filename").replace("/", "_"),
        length,
        BOT_USER,
        snippet,
        alt_txt=text(call.args, "alt_txt")[:MAX_ALT],
        created=int(time.time()),
    )
    keep_file(call.slack, file)
    key = secrets.token_urlsafe(18)
    uploads = call.slack.uploads
    uploads[key] = file.id
    while len(uploads) > MAX_FILES:
        uploads.pop(next(iter(uploads)))
    return {"upload_url": f"{call.slack.base_url}/upload/{key}", "file_id": file.id}


async def complete_upload(call: Call) -> Json:
    """files.completeUploadExternal: shares uploaded files into a channel or a thread."""
    entries = listing(call.args, "files")
    if not entries:
        raise invalid_arguments("missing required field: files")
    known = call.slack.workspace.files
    chosen: list[File] = []
    for entry in entries:
        file = known.get(str(entry.get("id"))) if isinstance(entry, dict) else None
        if file is None or file.content is None or file.shared:
            raise SlackError("file_not_found")
        file.title = str(entry.get("title") or file.name)
        chosen.append(file)
    blocks = listing(call.args, "blocks")
    check_message(blocks, None)
    channel_id = text(call.args, "channel_id") or text(call.args, "channels")
    if channel_id:
        if channel_id not in call.slack.workspace.channels:
            raise SlackError("invalid_channel")
        channel = joined_channel(Call(call.slack, {"channel": channel_id}, call.scopes))
        for file in chosen:
            file.shared = True
        post_as_bot(
            call.slack,
            channel,
            Content(text(call.args, "initial_comment"), blocks),
            text(call.args, "thread_ts"),
            subtype="file_share",
            files=[file_json(call.slack, file) for file in chosen],
            upload=True,
        )
    return {"files": [file_json(call.slack, file) for file in chosen]}


async def file_info(call: Call) -> Json:
    """files.info."""
    file = call.slack.workspace.files.get(needed(call.args, "file"))
    if file is None or file.content is None:
        raise SlackError("file_not_found")
    about = file_json(call.slack, file)
    return {"file": about, "content": file.content[:100_000].decode(errors="replace")}


def _thread(call: Call, required: bool = True) -> tuple[Channel, str]:
    channel = joined_channel(Call(call.slack, {"channel": needed(call.args, "channel_id")}, call.scopes))
    thread_ts = text(call.args, "thread_ts")
    if (required or thread_ts) and thread_ts not in channel.messages:
        raise SlackError("invalid_thread_ts")
    return channel, thread_ts


async def set_status(call: Call) -> Json:
    """assistant.threads.setStatus: shown until the bot posts, or for two minutes."""
    channel, thread_ts = _thread(call)
    if "status" not in call.args:
        raise invalid_arguments("missing required field: status")
    status = text(call.args, "status")
    if status:
        channel.statuses[thread_ts] = {"text": status, "ends": call.slack.clock.now() + STATUS_SECONDS}
    else:
        channel.statuses.pop(thread_ts, None)
    call.slack.workspace.on_change(channel, thread_ts)
    return {}


async def set_prompts(call: Call) -> Json:
    """assistant.threads.setSuggestedPrompts."""
    channel, thread_ts = _thread(call, required=False)
    if not call.slack.manifest.agent:
        raise SlackError("not_agent_app")
    prompts = listing(call.args, "prompts") or []
    if not 1 <= len(prompts) <= 4 or not all(
        isinstance(p, dict) and p.get("title") and p.get("message") for p in prompts
    ):
        raise invalid_arguments("must have 1 to 4 prompts with a title and a message", "/prompts")
    call.slack.workspace.prompts[channel.id] = {"title": text(call.args, "title"), "prompts": prompts}
    call.slack.workspace.on_change(channel, thread_ts or None)
    return {}


async def set_title(call: Call) -> Json:
    """assistant.threads.setTitle."""
    channel, thread_ts = _thread(call)
    channel.messages[thread_ts]["assistant_title"] = needed(call.args, "title")
    call.slack.workspace.on_change(channel, thread_ts)
    return {}


async def validate_blocks(call: Call) -> Json:
    """blocks.validate: takes no token."""
    given = [name for name in ("blocks", "message", "view") if call.args.get(name) is not None]
    if len(given) != 1:
        raise invalid_arguments("exactly one of blocks, message, view is needed")
    value = call.args[given[0]]
    if given[0] == "view":
        surface = HOME if isinstance(value, dict) and value.get("type") == "home" else MODAL
        try:
            check_view(value, surface)
        except SlackError as error:
            faults = error.more.get("response_metadata", {}).get("messages", [error.code])
            raise SlackError("invalid_view", errors=_constraints(faults)) from error
        return {}
    blocks = value.get("blocks") if given[0] == "message" and isinstance(value, dict) else value
    faults = block_faults(blocks, MESSAGE, "")
    if faults:
        raise SlackError(f"invalid_{given[0]}", errors=_constraints(faults))
    return {}


def _constraints(faults: list[str]) -> list[Json]:
    found = []
    for message in faults:
        rule, _, pointer = message.removeprefix("[ERROR] ").partition(" [json-pointer:")
        found.append({"code": "failed_constraint", "message": rule, "pointer": pointer.removesuffix("]")})
    return found


METHODS: dict[str, Method] = {
    "reactions.add": Method(add_reaction, "reactions:write", TIER_3, writes=True),
    "reactions.remove": Method(remove_reaction, "reactions:write", TIER_2, writes=True),
    "reactions.get": Method(get_reactions, "reactions:read", TIER_3),
    "files.getUploadURLExternal": Method(upload_url, "files:write", TIER_4, writes=True),
    "files.completeUploadExternal": Method(complete_upload, "files:write", TIER_4, writes=True),
    "files.info": Method(file_info, "files:read", TIER_4),
    "assistant.threads.setStatus": Method(set_status, "chat:write", SPECIAL, writes=True),
    "assistant.threads.setSuggestedPrompts": Method(set_prompts, "assistant:write", TIER_4, writes=True),
    "assistant.threads.setTitle": Method(set_title, "assistant:write", TIER_4, writes=True),
    "blocks.validate": Method(validate_blocks, kind=""),
}
