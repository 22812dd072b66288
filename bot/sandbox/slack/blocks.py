"""Checks blocks, attachments and views as Slack does before it takes them.

Written from Slack's published limits alone, so that it can find faults in what the bot believes them to be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import orjson

from .elements import (
    ACCESSORIES,
    ACTION_ELEMENTS,
    BUTTON,
    FEEDBACK,
    ICON_BUTTON,
    IMAGE,
    INPUT_ELEMENTS,
    plain,
    rich_or_plain,
)
from .errors import SlackError
from .rich import RICH_TEXT, characters
from .shapes import Checker, Faults, array, boolean, both, by_type, fault, number, one_of, record, string, url

Json = dict[str, Any]

MESSAGE, MODAL, HOME = "message", "modal", "home"
MAX_BLOCKS = {MESSAGE: 50, MODAL: 100, HOME: 100}
MAX_VIEW_BYTES = 250_000
MAX_MARKDOWN = 12_000
# Slack's pages name no figure for the whole message; this is where its own servers were seen to stop.
MAX_MESSAGE_BYTES = 100_000
MAX_ATTACHMENTS = 100

_PICTURE = {"image_url": url, "slack_file": record({}, {"id": string(255), "url": url}, either=("id", "url"))}
_RAW_CELLS: dict[str, Checker] = {
    "raw_text": record({"type": one_of("raw_text"), "text": string(10_000, low=0)}),
    "raw_number": record(
        {"type": one_of("raw_number"), "value": number(whole=False), "text": string(255)},
    ),
}
_CELL = by_type({**_RAW_CELLS, "rich_text": RICH_TEXT})
_LABEL = string(20)


def _block(name: str, required: dict[str, Checker], optional: dict[str, Checker] | None = None, **more: Any) -> Checker:
    return record({"type": one_of(name), **required}, {"block_id": string(255), **(optional or {})}, **more)


def _table(value: Any, pointer: str) -> Faults:
    if characters(value["rows"]) > 10_000:
        yield fault("table must have less than 10001 characters", f"{pointer}/rows")


def _data_table(value: Any, pointer: str) -> Faults:
    widths = {len(row) for row in value["rows"]}
    if len(widths) > 1:
        yield fault("all rows must have the same number of cells", f"{pointer}/rows")
    if any(cell["type"] == "rich_text" for cell in value["rows"][0]):
        yield fault("header cells must be raw_text", f"{pointer}/rows/0")
    if characters(value["rows"]) > 20_000:
        yield fault("table must have less than 20001 characters", f"{pointer}/rows")


def _chart(value: Any, pointer: str) -> Faults:
    chart = value["chart"]
    if chart["type"] == "pie":
        names = [segment["label"] for segment in chart["segments"]]
    else:
        names = [series["name"] for series in chart["series"]]
        categories = chart["axis_config"]["categories"]
        for index, series in enumerate(chart["series"]):
            if [point["label"] for point in series["data"]] != categories:
                yield fault("labels must match the categories", f"{pointer}/chart/series/{index}/data")
    if len(set(names)) != len(names):
        yield fault("names must be unique", f"{pointer}/chart")


def _plan(value: Any, pointer: str) -> Faults:
    identifiers = [task["task_id"] for task in value.get("tasks") or ()]
    if len(set(identifiers)) != len(identifiers):
        yield fault("task_id must be unique", f"{pointer}/tasks")


def _actions_differ(value: Any, pointer: str) -> Faults:
    given = [element.get("action_id") for element in value["elements"] if element.get("action_id")]
    for action_id, times in Counter(given).items():
        if times > 1:
            yield fault(f"`action_id` {action_id} already exists", f"{pointer}/elements")


_SERIES = array(
    record(
        {
            "name": _LABEL,
            "data": array(record({"label": _LABEL, "value": number(whole=False)}), 1, 20),
        }
    ),
    1,
    12,
)
_AXES = record({"categories": array(_LABEL, 1, 20)}, {"x_label": string(50), "y_label": string(50)})
_CHARTS: dict[str, Checker] = {
    name: record({"type": one_of(name), "series": _SERIES, "axis_config": _AXES}) for name in ("line", "bar", "area")
}
_CHARTS["pie"] = record(
    {
        "type": one_of("pie"),
        "segments": array(record({"label": _LABEL, "value": number(low=1e-9, whole=False)}), 1, 12),
    }
)


def _task(*statuses: str) -> Checker:
    return _block(
        "task_card",
        {"task_id": string(255), "title": string(255), "status": one_of(*statuses)},
        {
            "details": RICH_TEXT,
            "output": RICH_TEXT,
            "sources": array(record({"type": one_of("url"), "url": url, "text": string(255)}), 1, 20),
        },
    )


_CARD = _block(
    "card",
    {},
    {
        "title": rich_or_plain(150),
        "subtitle": rich_or_plain(150),
        "body": rich_or_plain(200),
        "subtext": rich_or_plain(200),
        "hero_image": IMAGE,
        "icon": IMAGE,
        "slack_icon": record({"type": one_of("icon"), "name": string(255)}),
        "actions": array(by_type({"button": BUTTON}), 1, 3),
    },
    either=("title", "subtitle", "body", "hero_image", "actions"),
)

_BASIC: dict[str, Checker] = {
    "section": _block(
        "section",
        {},
        {
            "text": rich_or_plain(3000),
            "fields": array(rich_or_plain(2000), 1, 10),
            "accessory": by_type(ACCESSORIES),
            "expand": boolean,
        },
        either=("text", "fields"),
    ),
    "header": _block("header", {"text": plain(150)}, {"level": number(1, 4)}),
    "divider": _block("divider", {}),
    "context": _block(
        "context",
        {"elements": array(by_type({"image": IMAGE, "plain_text": rich_or_plain(), "mrkdwn": rich_or_plain()}), 1, 10)},
    ),
    "actions": both(_block("actions", {"elements": array(by_type(ACTION_ELEMENTS), 1, 25)}), _actions_differ),
    "image": _block(
        "image",
        {"alt_text": string(2000)},
        {**_PICTURE, "title": plain(2000)},
        either=("image_url", "slack_file"),
    ),
    "rich_text": RICH_TEXT,
}

_KINDS: dict[str, Checker] = {
    **_BASIC,
    "input": _block(
        "input",
        {"label": plain(2000), "element": by_type(INPUT_ELEMENTS)},
        {"hint": plain(2000), "optional": boolean, "dispatch_action": boolean},
    ),
    "context_actions": both(
        _block(
            "context_actions",
            {"elements": array(by_type({"feedback_buttons": FEEDBACK, "icon_button": ICON_BUTTON}), 1, 5)},
        ),
        _actions_differ,
    ),
    "markdown": _block("markdown", {"text": string(MAX_MARKDOWN)}),
    "table": both(
        _block(
            "table",
            {"rows": array(array(_CELL, 1, 20), 1, 100)},
            {
                "column_settings": array(
                    record({}, {"align": one_of("left", "center", "right"), "is_wrapped": boolean}), 0, 20
                )
            },
        ),
        _table,
    ),
    "data_table": both(
        _block(
            "data_table",
            {"caption": string(2000), "rows": array(array(_CELL, 1, 20), 2, 201)},
            {"page_size": number(1, 100), "row_header_column_index": number(0, 19)},
        ),
        _data_table,
    ),
    "data_visualization": both(
        _block("data_visualization", {"title": string(50), "chart": by_type(_CHARTS)}),
        _chart,
    ),
    "card": _CARD,
    "carousel": _block("carousel", {"elements": array(by_type({"card": _CARD}), 1, 10)}),
    "container": _block(
        "container",
        {"child_blocks": array(by_type(_BASIC), 1, 10)},
        {
            "title": plain(150),
            "rich_text_title": RICH_TEXT,
            "subtitle": rich_or_plain(150),
            "icon": IMAGE,
            "width": one_of("narrow", "standard", "wide", "full"),
            "is_collapsible": boolean,
            "default_collapsed": boolean,
            "has_header_divider": boolean,
        },
        either=("title", "rich_text_title"),
    ),
    "alert": _block(
        "alert",
        {"text": rich_or_plain(200)},
        {"level": one_of("default", "info", "warning", "error", "success")},
    ),
    "task_card": _task("in_progress", "complete", "error"),
    "plan": both(
        _block(
            "plan",
            {"title": string(255)},
            {"tasks": array(by_type({"task_card": _task("pending", "in_progress", "complete", "error")}), 0, 50)},
        ),
        _plan,
    ),
}

_EVERYWHERE = tuple(_BASIC)
_ON_HOME = ("input", "card", "table", "data_table", "data_visualization", "carousel", "container")
_SURFACES: dict[str, Checker] = {
    MESSAGE: by_type({name: checker for name, checker in _KINDS.items() if name != "alert"}),
    MODAL: by_type({name: _KINDS[name] for name in (*_EVERYWHERE, "input", "card", "alert")}),
    HOME: by_type({name: _KINDS[name] for name in (*_EVERYWHERE, *_ON_HOME)}),
}
_AT_MOST = {"table": 1, "data_visualization": 2}


def block_faults(blocks: Any, surface: str, pointer: str = "/blocks") -> list[str]:
    """Return every fault of a list of blocks on ``message``, ``modal`` or ``home``."""
    found = list(array(_SURFACES[surface], 0, MAX_BLOCKS[surface])(blocks, pointer))
    return found or list(_across(blocks, pointer))


def _across(blocks: list[Json], pointer: str) -> Iterator[str]:
    identifiers = Counter(block["block_id"] for block in blocks if block.get("block_id"))
    for identifier, times in identifiers.items():
        if times > 1:
            yield fault(f"`block_id` {identifier} already exists", pointer)
    kinds = Counter(block["type"] for block in blocks)
    for kind, most in _AT_MOST.items():
        if kinds[kind] > most:
            yield fault(f"no more than {most} blocks of type {kind} allowed", pointer)
    if sum(len(block["text"]) for block in blocks if block["type"] == "markdown") > MAX_MARKDOWN:
        yield fault(f"markdown blocks must have less than {MAX_MARKDOWN + 1} characters together", pointer)


def check_message(blocks: list[Any] | None, attachments: list[Any] | None) -> None:
    """Raise the SlackError that a message with these parts gets; return when it is fine."""
    faults = block_faults(blocks, MESSAGE) if blocks is not None else []
    if len(attachments or ()) > MAX_ATTACHMENTS:
        raise SlackError("too_many_attachments")
    for index, attachment in enumerate(attachments or ()):
        if not isinstance(attachment, dict):
            raise SlackError("invalid_attachments")
        if attachment.get("blocks") is not None:
            faults += block_faults(attachment["blocks"], MESSAGE, f"/attachments/{index}/blocks")
    if faults:
        raise SlackError("invalid_blocks", errors=[_short(f) for f in faults], response_metadata={"messages": faults})
    if len(orjson.dumps(blocks or [])) > MAX_MESSAGE_BYTES:
        raise SlackError("msg_blocks_too_long")


def _short(message: str) -> str:
    return message.removeprefix("[ERROR] ")


_MODAL = record(
    {"type": one_of("modal"), "title": plain(24), "blocks": lambda *_: iter(())},
    {
        "submit": plain(24),
        "close": plain(24),
        "callback_id": string(255, low=0),
        "external_id": string(255, low=0),
        "private_metadata": string(3000, low=0),
        "clear_on_close": boolean,
        "notify_on_close": boolean,
        "submit_disabled": boolean,
    },
)
_HOME = record(
    {"type": one_of("home"), "blocks": lambda *_: iter(())},
    {
        "callback_id": string(255, low=0),
        "external_id": string(255, low=0),
        "private_metadata": string(3000, low=0),
    },
)


def check_view(view: Any, surface: str) -> None:
    """Raise the SlackError that a modal or a home view gets; return when it is fine."""
    faults = list((_MODAL if surface == MODAL else _HOME)(view, "/view"))
    if not faults:
        faults = block_faults(view["blocks"], surface, "/view/blocks")
    if not faults and surface == MODAL and not view.get("submit"):
        faults = [
            fault("missing required field: submit (the view has an input block)", "/view")
            for block in view["blocks"]
            if block["type"] == "input"
        ][:1]
    if faults:
        raise SlackError("invalid_arguments", response_metadata={"messages": faults})
    if len(orjson.dumps(view)) > MAX_VIEW_BYTES:
        raise SlackError("view_too_large")
