"""Pure: everything that a Slack message says, as plain text: top text, blocks, attachments, in reading order."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from handlers.sources import fields
from handlers.sources.fields import Json

_MAX_TEXT = 40_000
_MAX_BLOCK_DEPTH = 12
_MAX_BLOCKS = 300
# <url|text>, <@U1>, <#C1|name>, <!date^…|fallback>, <!subteam^S1|name>, <!here>
_MARKUP = re.compile(r"<([^<>\n]{1,3000})>")
_ENTITIES = (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&"))
_TEXT_KEYS = ("text", "title", "subtitle", "body", "details", "label")
_NESTED_KEYS = ("fields", "elements", "accessory", "child_blocks", "blocks", "rows", "cells", "actions", "sources")


def message_text(message: Json, *, quoted: bool = True) -> str:
    """The message's words, decoded. `quoted` false leaves out what it only quotes: unfurled and shared messages."""
    parts = [fields.text(message.get("text"), _MAX_TEXT)]
    parts += _blocks_text(message.get("blocks"))
    for attachment in attachments(message):
        if quoted or not is_quoted(attachment):
            parts += _attachment_text(attachment)
    lines = dict.fromkeys(part for part in parts if part)  # apps repeat their blocks in `text`
    return decode("\n".join(lines))[:_MAX_TEXT]


def attachments(message: Json) -> list[Json]:
    return fields.children(message.get("attachments"), 20)


def is_quoted(attachment: Json) -> bool:
    """True for what somebody else wrote and Slack only shows: link previews and shared messages."""
    return any(attachment.get(flag) for flag in ("is_msg_unfurl", "is_share", "is_app_unfurl"))


def decode(value: str) -> str:
    """Slack's markup as people read it; `&lt;` and its like last, so that they cannot form markup."""
    value = _MARKUP.sub(_readable, value)
    for entity, char in _ENTITIES:
        value = value.replace(entity, char)
    return value


def urls(message: Json) -> list[str]:
    """Every link of the message, first come first, without repeats."""
    found: dict[str, None] = {}
    for attachment in attachments(message):
        for key in ("title_link", "from_url", "author_link"):
            found[fields.text(attachment.get(key), 2_000)] = None
        for action in fields.children(attachment.get("actions"), 20):
            found[fields.text(action.get("url"), 2_000)] = None
    for source in _walk([message.get("blocks"), message.get("attachments")], 0):
        for key in ("url", "pretext", "text", "value"):
            word = fields.text(source.get(key), 8_000)
            found.update(dict.fromkeys(_in_text(word)))
    found.update(dict.fromkeys(_in_text(fields.text(message.get("text"), _MAX_TEXT))))
    return [url for url in found if url.startswith(("https://", "http://"))][:50]


def _in_text(value: str) -> list[str]:
    return [url.rstrip(".,)") for url in re.findall(r"https?://[^\s<>|\"'`]{1,1900}", value)[:50]]


def _readable(match: re.Match[str]) -> str:
    inner = match[1]
    target, _, label = inner.partition("|")
    if label:
        return label
    if target.startswith("!"):
        return "@" + target[1:].split("^", 1)[0]
    return target


def _attachment_text(attachment: Json) -> list[str]:
    parts = [fields.text(attachment.get(key), 8_000) for key in ("pretext", "title", "text")]
    for field in fields.children(attachment.get("fields"), 50):
        title, value = fields.text(field.get("title"), 300), fields.text(field.get("value"), 4_000)
        parts.append(f"{title}: {value}" if title and value else title or value)
    parts.append(fields.text(attachment.get("footer"), 300))
    parts += _blocks_text(attachment.get("blocks"))
    return parts if any(parts) else [fields.text(attachment.get("fallback"), 4_000)]


def _blocks_text(blocks: object) -> list[str]:
    return [part for block in fields.children(blocks, _MAX_BLOCKS) for part in _block_text(block, 0)]


def _block_text(block: Json, depth: int) -> list[str]:
    if depth > _MAX_BLOCK_DEPTH:
        return []
    kind = block.get("type")
    if kind in ("rich_text_section", "rich_text_preformatted", "rich_text_quote"):
        return ["".join(_leaf(leaf) for leaf in fields.children(block.get("elements"), _MAX_BLOCKS))]
    parts = []
    for key in _TEXT_KEYS:
        value = block.get(key)
        parts.append(fields.text(value, 12_000) if isinstance(value, str) else fields.text(_inner(value), 12_000))
    for key in _NESTED_KEYS:
        value = block.get(key)
        items = [value] if isinstance(value, Mapping) else value if isinstance(value, list) else []
        for item in items[:_MAX_BLOCKS]:
            inner = item if isinstance(item, list) else [item]  # a table's row is a list of cells
            for one in inner[:100]:
                if isinstance(one, Mapping):
                    parts += _block_text(one, depth + 1)
    return [part for part in parts if part]


def _inner(value: object) -> object:
    return value.get("text") if isinstance(value, Mapping) else None


def _leaf(leaf: Json) -> str:
    kind = leaf.get("type")
    if kind == "link":
        return fields.text(leaf.get("text"), 2_000) or fields.text(leaf.get("url"), 2_000)
    if kind == "emoji":
        return f":{fields.name(leaf.get('name'))}:"
    if kind == "user":
        return f"@{fields.name(leaf.get('user_id'))}"
    if kind == "channel":
        return f"#{fields.name(leaf.get('channel_id'))}"
    if kind == "broadcast":
        return f"@{fields.name(leaf.get('range'))}"
    value = leaf.get("text")
    # Not stripped: the spaces between the leaves are theirs.
    return value[:12_000] if isinstance(value, str) else fields.text(leaf.get("fallback"), 300)


def _walk(value: Any, depth: int) -> Iterator[Json]:
    if depth > _MAX_BLOCK_DEPTH:
        return
    if isinstance(value, Mapping):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value[:_MAX_BLOCKS]:
            if isinstance(item, list | Mapping):
                yield from _walk(item, depth + 1)
