"""Slack's limits on Block Kit, checked before every send: a table of what each block and element may hold.

The figures are those of https://docs.slack.dev/reference/block-kit (read in the summer of 2026). Like Slack, an unknown
key, an empty text and an element on a surface that does not have it are faults. Lengths are counted in characters.
Blocks that a bot of this kind never sends (file, video, workflow buttons) are not in the tables: not for us.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

Surface = Literal["message", "modal", "home"]
Problems = Iterator[str]
Check = Callable[[Any, str], Problems]

MOST_BLOCKS: dict[str, int] = {"message": 50, "modal": 100, "home": 100}
MOST_VIEW_BYTES = 250_000
MOST_MARKDOWN = 12_000
MOST_TEXT = 40_000
_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Shape:
    """Which keys an object may have, how each is checked, which must be there, and on which surfaces it may stand."""

    keys: Mapping[str, Check]
    needed: tuple[str, ...] = ()
    surfaces: frozenset[str] = frozenset({"message", "modal", "home"})


def validate_blocks(surface: Surface, blocks: object) -> list[str]:
    """What Slack would refuse in `blocks`, each as "JSON pointer: rule"; empty when it would take them."""
    if not isinstance(blocks, list):
        return ["/blocks: must be a list"]
    found = list(_sized(blocks, "/blocks", 0, MOST_BLOCKS[surface], "blocks"))
    for index, block in enumerate(blocks[: MOST_BLOCKS[surface]]):
        found += _typed(BLOCKS, "block", surface)(block, f"/blocks/{index}")
    found += _across(blocks)
    return found


def validate_view(view: Mapping[str, Any]) -> list[str]:
    """What Slack would refuse in a modal or home view."""
    kind = view.get("type")
    if kind not in {"modal", "home"}:
        return ["/type: must be modal or home"]
    found = list(_shaped(VIEWS[kind], view, ""))
    blocks = view.get("blocks")
    found += validate_blocks(kind, blocks)
    has_input = isinstance(blocks, list) and any(_kind(block) == "input" for block in blocks)
    if kind == "modal" and has_input and "submit" not in view:
        found.append("/submit: a modal with an input needs it")
    if len(json.dumps(view)) > MOST_VIEW_BYTES:
        found.append(f"/: a view is at most {MOST_VIEW_BYTES:,} bytes")
    return found


def validate_message(text: str, blocks: object = None) -> list[str]:
    """What Slack would refuse in a message, and a missing `text`, which Slack takes but people need."""
    found = [] if blocks is None else validate_blocks("message", blocks)
    if not text.strip():
        found.append("/text: must not be empty")
    if len(text) > MOST_TEXT:
        found.append(f"/text: at most {MOST_TEXT:,} characters, has {len(text):,}")
    return found


# --- checks of one value -----------------------------------------------------------------------------------------


def _string(most: int, least: int = 1) -> Check:
    def check(value: Any, path: str) -> Problems:
        if not isinstance(value, str):
            yield f"{path}: must be a string"
        else:
            yield from _counted(len(value), path, least, most, "characters")

    return check


def _counted(have: int, path: str, least: int, most: int, what: str) -> Problems:
    if have < least:
        yield f"{path}: must not be empty" if least == 1 else f"{path}: at least {least} {what}, has {have}"
    if have > most:
        yield f"{path}: at most {most:,} {what}, has {have:,}"


def _sized(value: Sequence[Any], path: str, least: int, most: int, what: str = "items") -> Problems:
    return _counted(len(value), path, least, most, what)


def _flag(value: Any, path: str) -> Problems:
    if not isinstance(value, bool):
        yield f"{path}: must be true or false"


def _number(least: float = float("-inf"), most: float = float("inf")) -> Check:
    def check(value: Any, path: str) -> Problems:
        if isinstance(value, bool) or not isinstance(value, int | float):
            yield f"{path}: must be a number"
        elif not least <= value <= most:
            yield f"{path}: must be from {least} to {most}"

    return check


def _one_of(*words: str) -> Check:
    def check(value: Any, path: str) -> Problems:
        if not isinstance(value, str) or value not in words:
            yield f"{path}: must be one of {', '.join(words)}"

    return check


def _url(value: Any, path: str) -> Problems:
    faults = list(_string(3000)(value, path))
    yield from faults
    if not faults and not value.startswith(("https://", "http://", "mailto:", "slack://")):
        yield f"{path}: must be an address"


def _several(check: Check, least: int, most: int) -> Check:
    def check_all(value: Any, path: str) -> Problems:
        if not isinstance(value, list):
            yield f"{path}: must be a list"
            return
        yield from _sized(value, path, least, most)
        for index, item in enumerate(value[:most]):
            yield from check(item, f"{path}/{index}")

    return check_all


def _object(shape: Shape) -> Check:
    return lambda value, path: _shaped(shape, value, path)


def _shaped(shape: Shape, value: Any, path: str) -> Problems:
    if not isinstance(value, Mapping):
        yield f"{path}: must be an object"
        return
    for key in shape.needed:
        if key not in value:
            yield f"{path}/{key}: is missing"
    for key, item in value.items():
        check = shape.keys.get(key)
        if check is None:
            yield f"{path}/{str(key)[:_SHOWN]}: unknown key"
        else:
            yield from check(item, f"{path}/{key}")


def _typed(table: Mapping[str, Shape], what: str, surface: str | None = None, only: Sequence[str] = ()) -> Check:
    """An object whose `type` names its shape in `table`; where `only` is given, one of these types."""

    def check(value: Any, path: str) -> Problems:
        kind = _kind(value)
        shape = table.get(kind)
        if shape is None or (only and kind not in only):
            yield f"{path}/type: {kind[:_SHOWN] or 'nothing'} is not one of the {what}s allowed here"
            return
        if surface is not None and surface not in shape.surfaces:
            yield f"{path}/type: {kind} is not available in a {surface}"
        yield from _shaped(shape, value, path)

    return check


def _kind(value: Any) -> str:
    kind = value.get("type") if isinstance(value, Mapping) else None
    return kind if isinstance(kind, str) else ""


def _text(most: int, *, plain: bool = False) -> Check:
    def check(value: Any, path: str) -> Problems:
        kind = _kind(value)
        if kind == "plain_text":
            keys: dict[str, Check] = {"type": _one_of("plain_text"), "text": _string(most), "emoji": _flag}
        elif kind == "mrkdwn" and not plain:
            keys = {"type": _one_of("mrkdwn"), "text": _string(most), "verbatim": _flag}
        else:
            yield f"{path}/type: must be {'plain_text' if plain else 'plain_text or mrkdwn'}"
            return
        yield from _shaped(Shape(keys, ("type", "text")), value, path)

    return check


def _anything(_value: Any, _path: str) -> Problems:
    yield from ()


_id = _string(255)
_label = _text(75, plain=True)
_placeholder = _text(150, plain=True)
_TYPE: dict[str, Check] = {"type": _anything}
_MESSAGE = frozenset({"message"})
_MODAL = frozenset({"modal"})

# --- objects and elements ----------------------------------------------------------------------------------------

CONFIRM = Shape(
    {
        "title": _text(100, plain=True),
        "text": _text(300),
        "confirm": _text(30, plain=True),
        "deny": _text(30, plain=True),
        "style": _one_of("primary", "danger"),
    },
    ("title", "text", "confirm", "deny"),
)
_confirm = _object(CONFIRM)
_slack_file = _object(Shape({"id": _string(255), "url": _url}))
_ACTS: dict[str, Check] = {**_TYPE, "action_id": _id, "confirm": _confirm, "focus_on_load": _flag}


def _option(texts: Check, *, url: bool = False) -> Check:
    keys: dict[str, Check] = {"text": texts, "value": _string(150), "description": _text(75)}
    return _object(Shape({**keys, "url": _url} if url else keys, ("text",)))


_choice = _option(_label)
_marked_choice = _option(_text(75))
_thumb = _object(
    Shape({"text": _label, "value": _string(2000), "accessibility_label": _string(75)}, ("text", "value")),
)
_dispatch = _object(Shape({"trigger_actions_on": _several(_one_of("on_enter_pressed", "on_character_entered"), 1, 2)}))
_filter = _object(
    Shape(
        {
            "include": _several(_one_of("im", "mpim", "private", "public"), 1, 4),
            "exclude_external_shared_channels": _flag,
            "exclude_bot_users": _flag,
        }
    )
)
_group = _object(Shape({"label": _label, "options": _several(_choice, 1, 100)}, ("label", "options")))
_SELECT: dict[str, Check] = {**_ACTS, "placeholder": _placeholder}
_MULTI: dict[str, Check] = {**_SELECT, "max_selected_items": _number(1)}
_OPTIONS: dict[str, Check] = {"options": _several(_choice, 1, 100), "option_groups": _several(_group, 1, 100)}
_ids = _several(_id, 1, 100)
_TYPED_TEXT: dict[str, Check] = {
    **_ACTS,
    "initial_value": _string(3000, 0),
    "placeholder": _placeholder,
    "dispatch_action_config": _dispatch,
}
_CONVERSATIONS: dict[str, Check] = {
    "filter": _filter,
    "default_to_current_conversation": _flag,
}
_RESPONSE: dict[str, Check] = {"response_url_enabled": _flag}

ELEMENTS: dict[str, Shape] = {
    "button": Shape(
        {
            **_ACTS,
            "text": _label,
            "value": _string(2000),
            "url": _url,
            "style": _one_of("primary", "danger"),
            "accessibility_label": _string(75),
            "agent_prompt": _string(4000),
            "visible_to_user_ids": _ids,
        },
        ("text",),
    ),
    "static_select": Shape({**_SELECT, **_OPTIONS, "initial_option": _choice}),
    "multi_static_select": Shape({**_MULTI, **_OPTIONS, "initial_options": _several(_choice, 1, 100)}),
    "users_select": Shape({**_SELECT, "initial_user": _id}),
    "multi_users_select": Shape({**_MULTI, "initial_users": _ids}),
    "channels_select": Shape({**_SELECT, **_RESPONSE, "initial_channel": _id}),
    "multi_channels_select": Shape({**_MULTI, "initial_channels": _ids}),
    "conversations_select": Shape({**_SELECT, **_CONVERSATIONS, **_RESPONSE, "initial_conversation": _id}),
    "multi_conversations_select": Shape({**_MULTI, **_CONVERSATIONS, "initial_conversations": _ids}),
    "external_select": Shape({**_SELECT, "initial_option": _choice, "min_query_length": _number(0)}),
    "multi_external_select": Shape(
        {**_MULTI, "initial_options": _several(_choice, 1, 100), "min_query_length": _number(0)}
    ),
    "overflow": Shape({**_ACTS, "options": _several(_option(_label, url=True), 1, 5)}, ("options",)),
    "checkboxes": Shape(
        {**_ACTS, "options": _several(_marked_choice, 1, 10), "initial_options": _several(_marked_choice, 1, 10)},
        ("options",),
    ),
    "radio_buttons": Shape(
        {**_ACTS, "options": _several(_marked_choice, 1, 10), "initial_option": _marked_choice}, ("options",)
    ),
    "datepicker": Shape({**_SELECT, "initial_date": _string(10, 10)}),
    "timepicker": Shape({**_SELECT, "initial_time": _string(5, 5), "timezone": _string(100)}),
    "datetimepicker": Shape({**_ACTS, "initial_date_time": _number(1_000_000_000, 9_999_999_999)}),
    "plain_text_input": Shape(
        {**_TYPED_TEXT, "multiline": _flag, "min_length": _number(0, 3000), "max_length": _number(1, 3000)}
    ),
    "email_text_input": Shape(_TYPED_TEXT),
    "url_text_input": Shape(_TYPED_TEXT),
    "number_input": Shape(
        {
            **_TYPED_TEXT,
            "is_decimal_allowed": _flag,
            "min_value": _string(100),
            "max_value": _string(100),
        },
        ("is_decimal_allowed",),
    ),
    "rich_text_input": Shape(
        {**_TYPED_TEXT, "initial_value": _anything, "min_lines": _number(1), "max_lines": _number(1)}
    ),
    "file_input": Shape({**_ACTS, "filetypes": _several(_string(40), 1, 100), "max_files": _number(1, 10)}),
    "image": Shape({**_TYPE, "image_url": _url, "slack_file": _slack_file, "alt_text": _string(2000)}, ("alt_text",)),
    "feedback_buttons": Shape(
        {**_TYPE, "action_id": _id, "positive_button": _thumb, "negative_button": _thumb},
        ("positive_button", "negative_button"),
    ),
    "icon_button": Shape(
        {
            **_ACTS,
            "icon": _one_of("trash"),
            "text": _label,
            "value": _string(2000),
            "accessibility_label": _string(75),
            "visible_to_user_ids": _several(_id, 1, 10),
        },
        ("icon", "text"),
    ),
}

_INPUTS = tuple(
    name for name in ELEMENTS if name not in {"button", "overflow", "image", "feedback_buttons", "icon_button"}
)
_ACTIONS = tuple(
    name
    for name in ELEMENTS
    if name
    not in {
        "image", "feedback_buttons", "icon_button", "plain_text_input", "email_text_input", "url_text_input",
        "number_input", "file_input",
    }
)  # fmt: skip
_ACCESSORIES = (*(name for name in _ACTIONS if name != "rich_text_input"), "image")


def _element(*only: str) -> Check:
    return _typed(ELEMENTS, "element", only=only)


def _in_context(value: Any, path: str) -> Problems:
    if _kind(value) == "image":
        return _element("image")(value, path)
    return _text(3000)(value, path)


# --- rich text ---------------------------------------------------------------------------------------------------

_STYLES = ("bold", "italic", "strike", "code", "underline", "highlight", "client_highlight", "unlink")
_STYLE: Check = _object(Shape(dict.fromkeys(_STYLES, _flag)))
_LEAF: dict[str, Check] = {**_TYPE, "style": _STYLE}
LEAVES: dict[str, Shape] = {
    "text": Shape({**_LEAF, "text": _string(40_000)}, ("text",)),
    "link": Shape({**_LEAF, "url": _url, "text": _string(3000), "unsafe": _flag}, ("url",)),
    "user": Shape({**_LEAF, "user_id": _id}, ("user_id",)),
    "usergroup": Shape({**_LEAF, "usergroup_id": _id}, ("usergroup_id",)),
    "channel": Shape({**_LEAF, "channel_id": _id}, ("channel_id",)),
    "team": Shape({**_LEAF, "team_id": _id}, ("team_id",)),
    "emoji": Shape({**_LEAF, "name": _id, "unicode": _id, "url": _url}, ("name",)),
    "broadcast": Shape({**_LEAF, "range": _one_of("here", "channel", "everyone")}, ("range",)),
    "color": Shape({**_LEAF, "value": _string(20)}, ("value",)),
    "date": Shape(
        {**_LEAF, "timestamp": _number(), "format": _string(200), "url": _url, "fallback": _string(200)},
        ("timestamp", "format"),
    ),
}
_leaves = _several(_typed(LEAVES, "rich text inline part"), 1, 3000)
_border = _number(0, 1)
RICH: dict[str, Shape] = {
    "rich_text_section": Shape({**_TYPE, "elements": _leaves}, ("elements",)),
    "rich_text_quote": Shape({**_TYPE, "elements": _leaves, "border": _border}, ("elements",)),
    "rich_text_preformatted": Shape(
        {
            **_TYPE,
            "elements": _several(_typed(LEAVES, "rich text inline part", only=("text", "link")), 1, 3000),
            "border": _border,
            "language": _string(40),
        },
        ("elements",),
    ),
}
RICH["rich_text_list"] = Shape(
    {
        **_TYPE,
        "elements": _several(_typed(RICH, "rich text part", only=("rich_text_section",)), 1, 1000),
        "style": _one_of("bullet", "ordered"),
        "indent": _number(0, 8),
        "offset": _number(0),
        "border": _border,
    },
    ("elements", "style"),
)
_RICH_TEXT = Shape(
    {**_TYPE, "block_id": _id, "elements": _several(_typed(RICH, "rich text part"), 1, 1000)}, ("elements",)
)

# --- blocks ------------------------------------------------------------------------------------------------------

_BLOCK: dict[str, Check] = {**_TYPE, "block_id": _id}
_RAW: dict[str, Shape] = {
    "raw_text": Shape({**_TYPE, "text": _string(10_000)}, ("text",)),
    "raw_number": Shape({**_TYPE, "value": _number(), "text": _string(100)}, ("value",)),
    "rich_text": _RICH_TEXT,
}
_row = _several(_typed(_RAW, "cell"), 1, 20)
_column = _object(Shape({"align": _one_of("left", "center", "right"), "is_wrapped": _flag}))
_point = _object(Shape({"label": _string(20), "value": _number()}, ("label", "value")))
_series = _object(Shape({"name": _string(20), "data": _several(_point, 1, 20)}, ("name", "data")))
_axes = _object(
    Shape({"categories": _several(_string(20), 1, 20), "x_label": _string(50), "y_label": _string(50)}, ("categories",))
)
_LINES = Shape({**_TYPE, "series": _several(_series, 1, 12), "axis_config": _axes}, ("series", "axis_config"))
CHARTS: dict[str, Shape] = {
    "line": _LINES,
    "bar": _LINES,
    "area": _LINES,
    "pie": Shape(
        {
            **_TYPE,
            "segments": _several(
                _object(Shape({"label": _string(20), "value": _number(least=1e-12)}, ("label", "value"))), 1, 12
            ),
        },
        ("segments",),
    ),
}
_icon = _object(Shape({"type": _one_of("icon"), "name": _string(255)}, ("type", "name")))
_TASK = Shape(
    {
        **_BLOCK,
        "task_id": _string(255),
        "title": _string(255),
        "status": _one_of("pending", "in_progress", "complete", "error"),
        "details": _object(_RICH_TEXT),
        "output": _object(_RICH_TEXT),
        "sources": _several(
            _object(Shape({"type": _one_of("url"), "url": _url, "text": _string(3000)}, ("type", "url", "text"))), 1, 50
        ),
    },
    ("task_id", "title", "status"),
    _MESSAGE,
)
_NO_CHILDREN = {"card", "carousel", "markdown", "container"}


def _child(value: Any, path: str) -> Problems:
    only = [name for name in BLOCKS if name not in _NO_CHILDREN]
    return _typed(BLOCKS, "block", only=only)(value, path)


BLOCKS: dict[str, Shape] = {
    "section": Shape(
        {
            **_BLOCK,
            "text": _text(3000),
            "fields": _several(_text(2000), 1, 10),
            "accessory": _element(*_ACCESSORIES),
            "expand": _flag,
        }
    ),
    "header": Shape({**_BLOCK, "text": _text(150, plain=True), "level": _number(1, 4)}, ("text",)),
    "divider": Shape(_BLOCK),
    "context": Shape({**_BLOCK, "elements": _several(_in_context, 1, 10)}, ("elements",)),
    "actions": Shape({**_BLOCK, "elements": _several(_element(*_ACTIONS), 1, 25)}, ("elements",)),
    "context_actions": Shape(
        {**_BLOCK, "elements": _several(_element("feedback_buttons", "icon_button"), 1, 5)}, ("elements",), _MESSAGE
    ),
    "image": Shape(
        {
            **_BLOCK,
            "image_url": _url,
            "slack_file": _slack_file,
            "alt_text": _string(2000),
            "title": _text(2000, plain=True),
        },
        ("alt_text",),
    ),
    "input": Shape(
        {
            **_BLOCK,
            "label": _text(2000, plain=True),
            "element": _element(*_INPUTS),
            "hint": _text(2000, plain=True),
            "optional": _flag,
            "dispatch_action": _flag,
        },
        ("label", "element"),
    ),
    "markdown": Shape({**_BLOCK, "text": _string(MOST_MARKDOWN)}, ("text",), _MESSAGE),
    "rich_text": _RICH_TEXT,
    "table": Shape(
        {**_BLOCK, "rows": _several(_row, 1, 100), "column_settings": _several(_column, 1, 20)},
        ("rows",),
        frozenset({"message", "home"}),
    ),
    "data_table": Shape(
        {
            **_BLOCK,
            "caption": _string(255),
            "rows": _several(_row, 2, 201),
            "page_size": _number(1, 100),
            "row_header_column_index": _number(0, 19),
        },
        ("caption", "rows"),
        frozenset({"message", "home"}),
    ),
    # On a Home Slack's pages contradict one another: it is tried there, and answered by text where it is refused.
    "data_visualization": Shape(
        {**_BLOCK, "title": _string(50), "chart": _typed(CHARTS, "chart")},
        ("title", "chart"),
        frozenset({"message", "home"}),
    ),
    "card": Shape(
        {
            **_BLOCK,
            "title": _text(150),
            "subtitle": _text(150),
            "body": _text(200),
            "subtext": _text(200),
            "hero_image": _element("image"),
            "icon": _element("image"),
            "slack_icon": _icon,
            "actions": _several(_element("button"), 1, 3),
        }
    ),
    "container": Shape(
        {
            **_BLOCK,
            "child_blocks": _several(_child, 1, 10),
            "title": _text(150),
            "rich_text_title": _object(_RICH_TEXT),
            "subtitle": _text(150),
            "icon": _element("image"),
            "width": _one_of("narrow", "standard", "wide", "full"),
            "is_collapsible": _flag,
            "default_collapsed": _flag,
            "has_header_divider": _flag,
        },
        ("child_blocks",),
    ),
    "alert": Shape(
        {**_BLOCK, "text": _text(200), "level": _one_of("default", "info", "warning", "error", "success")},
        ("text",),
        _MODAL,
    ),
    "task_card": _TASK,
    "plan": Shape({**_BLOCK, "title": _string(255), "tasks": _several(_object(_TASK), 0, 50)}, ("title",), _MESSAGE),
}
BLOCKS["carousel"] = Shape(
    {**_BLOCK, "elements": _several(_typed({"card": BLOCKS["card"]}, "card"), 1, 10)},
    ("elements",),
    frozenset({"message", "home"}),
)

VIEWS: dict[str, Shape] = {
    "modal": Shape(
        {
            **_TYPE,
            "title": _text(24, plain=True),
            "submit": _text(24, plain=True),
            "close": _text(24, plain=True),
            "blocks": _anything,
            "private_metadata": _string(3000, 0),
            "callback_id": _id,
            "external_id": _id,
            "clear_on_close": _flag,
            "notify_on_close": _flag,
            "submit_disabled": _flag,
        },
        ("title", "blocks"),
    ),
    "home": Shape(
        {
            **_TYPE,
            "blocks": _anything,
            "private_metadata": _string(3000, 0),
            "callback_id": _id,
            "external_id": _id,
        },
        ("blocks",),
    ),
}

# --- rules that look at more than one value ----------------------------------------------------------------------


def _across(blocks: Sequence[Any]) -> Problems:
    seen: set[str] = set()
    for index, block in enumerate(blocks):
        if not isinstance(block, Mapping):
            continue
        path = f"/blocks/{index}"
        block_id = block.get("block_id")
        if isinstance(block_id, str):
            if block_id in seen:
                yield f"{path}/block_id: used twice"
            seen.add(block_id)
        rule = _RULES.get(_kind(block))
        yield from rule(block, path) if rule else ()
    for kind, most in (("table", 1), ("data_visualization", 2)):
        have = sum(1 for block in blocks if _kind(block) == kind)
        if have > most:
            yield f"/blocks: at most {most} {kind}, has {have}"
    texts = [block.get("text") for block in blocks if _kind(block) == "markdown"]
    written = sum(len(text) for text in texts if isinstance(text, str))
    if written > MOST_MARKDOWN:
        yield f"/blocks: at most {MOST_MARKDOWN:,} characters in all markdown blocks, has {written:,}"


def _list(value: Mapping[str, Any], key: str) -> list[Any]:
    found = value.get(key)
    return found if isinstance(found, list) else []


def _section_rule(block: Mapping[str, Any], path: str) -> Problems:
    if "text" not in block and "fields" not in block:
        yield f"{path}: needs text or fields"
    yield from _choices(block.get("accessory"), f"{path}/accessory")


def _actions_rule(block: Mapping[str, Any], path: str) -> Problems:
    seen: set[str] = set()
    for index, element in enumerate(_list(block, "elements")):
        where = f"{path}/elements/{index}"
        action_id = element.get("action_id") if isinstance(element, Mapping) else None
        if isinstance(action_id, str):
            if action_id in seen:
                yield f"{where}/action_id: used twice in this block"
            seen.add(action_id)
        yield from _choices(element, where)


def _input_rule(block: Mapping[str, Any], path: str) -> Problems:
    return _choices(block.get("element"), f"{path}/element")


def _choices(element: Any, path: str) -> Problems:
    """A select has options or groups, not both, and starts with some of them."""
    if not isinstance(element, Mapping):
        return
    if _kind(element) in {"static_select", "multi_static_select"} and ("options" in element) == (
        "option_groups" in element
    ):
        yield f"{path}: needs either options or option_groups"
    groups = [_list(group, "options") for group in _list(element, "option_groups") if isinstance(group, Mapping)]
    options = list(chain(_list(element, "options"), *groups))
    first = element.get("initial_option")
    started = [*([first] if first is not None else []), *_list(element, "initial_options")]
    if options and any(option not in options for option in started):
        yield f"{path}/initial_option: is not among the options"


def _image_rule(block: Mapping[str, Any], path: str) -> Problems:
    if ("image_url" in block) == ("slack_file" in block):
        yield f"{path}: needs either image_url or slack_file"


def _table_rule(block: Mapping[str, Any], path: str) -> Problems:
    most = 20_000 if _kind(block) == "data_table" else 10_000
    cells = [cell for row in _list(block, "rows") if isinstance(row, list) for cell in row if isinstance(cell, Mapping)]
    have = sum(len(cell["text"]) for cell in cells if isinstance(cell.get("text"), str))
    yield from _counted(have, f"{path}/rows", 0, most, "characters in all cells")


def _plan_rule(block: Mapping[str, Any], path: str) -> Problems:
    ids = [task.get("task_id") for task in _list(block, "tasks") if isinstance(task, Mapping)]
    if len({str(task_id) for task_id in ids}) < len(ids):
        yield f"{path}/tasks: task_id used twice"


def _task_rule(block: Mapping[str, Any], path: str) -> Problems:
    if block.get("status") == "pending":
        yield f"{path}/status: pending is for tasks inside a plan"


def _chart_rule(block: Mapping[str, Any], path: str) -> Problems:
    chart = block.get("chart")
    if not isinstance(chart, Mapping):
        return
    axes = chart.get("axis_config")
    categories = _list(axes, "categories") if isinstance(axes, Mapping) else []
    series = [entry for entry in _list(chart, "series") if isinstance(entry, Mapping)]
    if len({str(entry.get("name")) for entry in series}) < len(series):
        yield f"{path}/chart/series: name used twice"
    for index, entry in enumerate(series):
        labels = [point.get("label") for point in _list(entry, "data") if isinstance(point, Mapping)]
        if labels != categories:
            yield f"{path}/chart/series/{index}/data: labels must be the categories, in order"


_RULES: dict[str, Callable[[Mapping[str, Any], str], Problems]] = {
    "section": _section_rule,
    "actions": _actions_rule,
    "context_actions": _actions_rule,
    "input": _input_rule,
    "image": _image_rule,
    "table": _table_rule,
    "data_table": _table_rule,
    "plan": _plan_rule,
    "task_card": _task_rule,
    "data_visualization": _chart_rule,
}
