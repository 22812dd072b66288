"""Every message and view that the bot sends in a run of the tests, checked at its end against Slack's rules."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft7Validator

from handlers.blocks.limits import validate_message, validate_view

SCHEMA = Path(__file__).parents[2] / "shared/facts/slack-blocks.schema.json"
AGENT = "CodeHealer/"
# What Slack answers to what is wrong with a message or a view; other errors are of the tests' own making.
OURS = frozenset(
    {
        "invalid_blocks",
        "invalid_blocks_format",
        "msg_blocks_too_long",
        "msg_too_long",
        "no_text",
        "invalid_view",
        "invalid_arguments",
    }
)
# Their values are people's words and our ids: they make no other shape.
WORDS = frozenset(
    {"text", "value", "block_id", "action_id", "url", "alt_text", "accessibility_label", "private_metadata"}
)
# Blocks that Slack documents and its published types do not have yet.
NEWER_THAN_SCHEMA = frozenset({"data_visualization"})
Json = dict[str, Any]


def unrecorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a test in which a stricter Slack refuses what the bot says first."""
    monkeypatch.delenv("SANDBOX_TRANSCRIPT", raising=False)


def faults(path: Path) -> list[str]:
    """What Slack would not take of what the bot sent, each told once."""
    schema = json.loads(SCHEMA.read_text()) if SCHEMA.exists() else None
    block = Draft7Validator(schema | {"$ref": "#/definitions/KnownBlock"}) if schema else None
    found: dict[str, None] = {}
    seen: set[bytes] = set()
    for line in path.read_bytes().splitlines() if path.exists() else ():
        call = orjson.loads(line)
        if AGENT not in call["agent"]:
            continue
        for fault in _of_call(call, block, seen):
            found[f"{call['method']}: {fault}"] = None
    return list(found)


def _of_call(call: Json, block: Draft7Validator | None, seen: set[bytes]) -> Iterator[str]:
    if call["error"] in OURS:
        yield f"Slack answers {call['error']} to {json.dumps(call)[:300]}"
    view = call.get("view")
    if view is not None:
        yield from validate_view(view)
    else:
        yield from validate_message(call.get("text", ""), call.get("blocks"))
    for one in (view or call).get("blocks") or ():
        shape = hashlib.sha256(orjson.dumps(_shape(one), option=orjson.OPT_SORT_KEYS)).digest()
        if block is not None and one.get("type") not in NEWER_THAN_SCHEMA and shape not in seen:
            seen.add(shape)
            yield from (f"{error.message[:200]} in {json.dumps(one)[:200]}" for error in block.iter_errors(one))


def _shape(part: Any) -> Any:
    if isinstance(part, dict):
        return {name: "" if name in WORDS and isinstance(value, str) else _shape(value) for name, value in part.items()}
    return [_shape(item) for item in part] if isinstance(part, list) else part
