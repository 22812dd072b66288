"""Reads the arguments of a Web API call from its query, its form and its JSON body, and gives them types."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from .errors import SlackError, invalid_arguments

JSON_IN_TEXT = (
    "blocks",
    "message",
    "attachments",
    "metadata",
    "view",
    "files",
    "prompts",
    "loading_messages",
    "file_ids",
    "chunks",
)

Json = dict[str, Any]


async def read_arguments(request: web.Request) -> Json:
    """Merge query, form and JSON body; later ones win.

    Raises SlackError("invalid_json") for a JSON body that is none, ("invalid_form_data") for a broken form.
    """
    given: Json = dict(request.query)
    if request.method == "POST" and request.can_read_body:
        if request.content_type == "application/json":
            given |= _json_body(await request.read())
        elif request.content_type in ("application/x-www-form-urlencoded", "multipart/form-data"):
            try:
                given |= dict(await request.post())
            except ValueError as error:
                raise SlackError("invalid_form_data") from error
        elif await request.read():
            raise SlackError("invalid_post_type")
    for name in JSON_IN_TEXT:
        if isinstance(given.get(name), str):
            given[name] = _decoded(name, given[name])
    return given


def _json_body(body: bytes) -> Json:
    if not body:
        return {}
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise SlackError("invalid_json") from error
    if not isinstance(value, dict):
        raise SlackError("json_not_object")
    return value


def _decoded(name: str, text: str) -> Any:
    if not text:
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise SlackError("invalid_blocks_format" if name == "blocks" else "invalid_arguments") from error


def needed(args: Json, name: str) -> str:
    """Return a non-empty text argument or raise ``invalid_arguments``."""
    value = args.get(name)
    if value is None or value == "":
        raise invalid_arguments(f"missing required field: {name}")
    return text(args, name)


def text(args: Json, name: str, default: str = "") -> str:
    """Return a text argument; numbers are taken as their text."""
    value = args.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise invalid_arguments(f"must be a string: {name}")
    return str(value)


def integer(args: Json, name: str, default: int, low: int, high: int) -> int:
    """Return a whole number within ``low..high`` (above is cut, below is an error)."""
    value = args.get(name)
    if value in (None, ""):
        return default
    try:
        number = int(str(value))
    except ValueError as error:
        raise invalid_arguments(f"must be an integer: {name}") from error
    if number < low:
        raise SlackError("invalid_limit" if name == "limit" else "invalid_arguments")
    return min(number, high)


def flag(args: Json, name: str, default: bool = False) -> bool:
    """Return a boolean; in a query it travels as 1/0, in JSON as true/false."""
    value = args.get(name)
    if value in (None, ""):
        return default
    return value is True or str(value).lower() in ("1", "true")


def listing(args: Json, name: str) -> list[Any] | None:
    """Return an array argument, None when it was not given."""
    value = args.get(name)
    if value is not None and not isinstance(value, list):
        raise SlackError("invalid_blocks_format" if name == "blocks" else "invalid_array_arg")
    return value


def comma_separated(args: Json, name: str) -> list[str]:
    """Return the parts of ``a,b``; an array is taken too."""
    value = args.get(name)
    parts = value if isinstance(value, list) else str(value or "").split(",")
    return [str(part).strip() for part in parts if str(part).strip()]
