"""The table of Block Kit: what each view, block, element and object of it may hold.

The figures are those of https://docs.slack.dev/reference/block-kit (read in the summer of 2026). Blocks that a bot of
this kind never sends (file, video, workflow buttons) are not in the tables: not for us.
"""

from typing import Any

from handlers.blocks import shapes as s
from handlers.blocks.shapes import Check, Problems, Shape

MOST_MARKDOWN = 12_000  # in all blocks of a message


def _url(value: Any, path: str) -> Problems:
    faults = list(s.string(3000)(value, path))
    yield from faults
    if not faults and not value.startswith(("https://", "http://", "mailto:", "slack://")):
        yield f"{path}: must be an address"


def _text(most: int, *, plain: bool = False) -> Check:
    def check(value: Any, path: str) -> Problems:
        kind = s.kind_of(value)
        if kind == "plain_text":
            keys: dict[str, Check] = {"type": s.one_of("plain_text"), "text": s.string(most), "emoji": s.flag}
        elif kind == "mrkdwn" and not plain:
            keys = {"type": s.one_of("mrkdwn"), "text": s.string(most), "verbatim": s.flag}
        else:
            yield f"{path}/type: must be {'plain_text' if plain else 'plain_text or mrkdwn'}"
            return
        yield from s.shaped(Shape(keys, ("type", "text")), value, path)

    return check


_id = s.string(255)
_label = _text(75, plain=True)
_placeholder = _text(150, plain=True)
_TYPE: dict[str, Check] = {"type": s.anything}
_MESSAGE = frozenset({"message"})
_MODAL = frozenset({"modal"})

# --- objects and elements ----------------------------------------------------------------------------------------

CONFIRM = Shape(
    {
        "title": _text(100, plain=True),
        "text": _text(300),
        "confirm": _text(30, plain=True),
        "deny": _text(30, plain=True),
        "style": s.one_of("primary", "danger"),
    },
    ("title", "text", "confirm", "deny"),
)

_confirm = s.shaped_as(CONFIRM)
_slack_file = s.shaped_as(Shape({"id": s.string(255), "url": _url}))
_ACTS: dict[str, Check] = {**_TYPE, "action_id": _id, "confirm": _confirm, "focus_on_load": s.flag}


def _option(texts: Check, *, url: bool = False) -> Check:
    keys: dict[str, Check] = {"text": texts, "value": s.string(150), "description": _text(75)}
    return s.shaped_as(Shape({**keys, "url": _url} if url else keys, ("text",)))


_choice = _option(_label)
_marked_choice = _option(_text(75))

_thumb = s.shaped_as(
    Shape({"text": _label, "value": s.string(2000), "accessibility_label": s.string(75)}, ("text", "value")),
)

_dispatch = s.shaped_as(
    Shape({"trigger_actions_on": s.several(s.one_of("on_enter_pressed", "on_character_entered"), 1, 2)})
)

_filter = s.shaped_as(
    Shape(
        {
            "include": s.several(s.one_of("im", "mpim", "private", "public"), 1, 4),
            "exclude_external_shared_channels": s.flag,
            "exclude_bot_users": s.flag,
        }
    )
)

_group = s.shaped_as(Shape({"label": _label, "options": s.several(_choice, 1, 100)}, ("label", "options")))
_SELECT: dict[str, Check] = {**_ACTS, "placeholder": _placeholder}
_MULTI: dict[str, Check] = {**_SELECT, "max_selected_items": s.number(1)}
_OPTIONS: dict[str, Check] = {"options": s.several(_choice, 1, 100), "option_groups": s.several(_group, 1, 100)}
_ids = s.several(_id, 1, 100)

_TYPED_TEXT: dict[str, Check] = {
    **_ACTS,
    "initial_value": s.string(3000, 0),
    "placeholder": _placeholder,
    "dispatch_action_config": _dispatch,
}

_CONVERSATIONS: dict[str, Check] = {
    "filter": _filter,
    "default_to_current_conversation": s.flag,
}

_RESPONSE: dict[str, Check] = {"response_url_enabled": s.flag}

ELEMENTS: dict[str, Shape] = {
    "button": Shape(
        {
            **_ACTS,
            "text": _label,
            "value": s.string(2000),
            "url": _url,
            "style": s.one_of("primary", "danger"),
            "accessibility_label": s.string(75),
            "agent_prompt": s.string(4000),
            "visible_to_user_ids": _ids,
        },
        ("text",),
    ),
    "static_select": Shape({**_SELECT, **_OPTIONS, "initial_option": _choice}),
    "multi_static_select": Shape({**_MULTI, **_OPTIONS, "initial_options": s.several(_choice, 1, 100)}),
    "users_select": Shape({**_SELECT, "initial_user": _id}),
    "multi_users_select": Shape({**_MULTI, "initial_users": _ids}),
    "channels_select": Shape({**_SELECT, **_RESPONSE, "initial_channel": _id}),
    "multi_channels_select": Shape({**_MULTI, "initial_channels": _ids}),
    "conversations_select": Shape({**_SELECT, **_CONVERSATIONS, **_RESPONSE, "initial_conversation": _id}),
    "multi_conversations_select": Shape({**_MULTI, **_CONVERSATIONS, "initial_conversations": _ids}),
    "external_select": Shape({**_SELECT, "initial_option": _choice, "min_query_length": s.number(0)}),
    "multi_external_select": Shape(
        {**_MULTI, "initial_options": s.several(_choice, 1, 100), "min_query_length": s.number(0)}
    ),
    "overflow": Shape({**_ACTS, "options": s.several(_option(_label, url=True), 1, 5)}, ("options",)),
    "checkboxes": Shape(
        {**_ACTS, "options": s.several(_marked_choice, 1, 10), "initial_options": s.several(_marked_choice, 1, 10)},
        ("options",),
    ),
    "radio_buttons": Shape(
        {**_ACTS, "options": s.several(_marked_choice, 1, 10), "initial_option": _marked_choice}, ("options",)
    ),
    "datepicker": Shape({**_SELECT, "initial_date": s.string(10, 10)}),
    "timepicker": Shape({**_SELECT, "initial_time": s.string(5, 5), "timezone": s.string(100)}),
    "datetimepicker": Shape({**_ACTS, "initial_date_time": s.number(1_000_000_000, 9_999_999_999)}),
    "plain_text_input": Shape(
        {**_TYPED_TEXT, "multiline": s.flag, "min_length": s.number(0, 3000), "max_length": s.number(1, 3000)}
    ),
    "email_text_input": Shape(_TYPED_TEXT),
    "url_text_input": Shape(_TYPED_TEXT),
    "number_input": Shape(
        {
            **_TYPED_TEXT,
            "is_decimal_allowed": s.flag,
            "min_value": s.string(100),
            "max_value": s.string(100),
        },
        ("is_decimal_allowed",),
    ),
    "rich_text_input": Shape(
        {**_TYPED_TEXT, "initial_value": s.anything, "min_lines": s.number(1), "max_lines": s.number(1)}
    ),
    "file_input": Shape({**_ACTS, "filetypes": s.several(s.string(40), 1, 100), "max_files": s.number(1, 10)}),
    "image": Shape({**_TYPE, "image_url": _url, "slack_file": _slack_file, "alt_text": s.string(2000)}, ("alt_text",)),
    "feedback_buttons": Shape(
        {**_TYPE, "action_id": _id, "positive_button": _thumb, "negative_button": _thumb},
        ("positive_button", "negative_button"),
    ),
    "icon_button": Shape(
        {
            **_ACTS,
            "icon": s.one_of("trash"),
            "text": _label,
            "value": s.string(2000),
            "accessibility_label": s.string(75),
            "visible_to_user_ids": s.several(_id, 1, 10),
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
    return s.typed(ELEMENTS, "element", only=only)


def _in_context(value: Any, path: str) -> Problems:
    if s.kind_of(value) == "image":
        return _element("image")(value, path)
    return _text(3000)(value, path)


# --- rich text ---------------------------------------------------------------------------------------------------

_STYLES = ("bold", "italic", "strike", "code", "underline", "highlight", "client_highlight", "unlink")
_STYLE: Check = s.shaped_as(Shape(dict.fromkeys(_STYLES, s.flag)))
_LEAF: dict[str, Check] = {**_TYPE, "style": _STYLE}

LEAVES: dict[str, Shape] = {
    "text": Shape({**_LEAF, "text": s.string(40_000)}, ("text",)),
    "link": Shape({**_LEAF, "url": _url, "text": s.string(3000), "unsafe": s.flag}, ("url",)),
    "user": Shape({**_LEAF, "user_id": _id}, ("user_id",)),
    "usergroup": Shape({**_LEAF, "usergroup_id": _id}, ("usergroup_id",)),
    "channel": Shape({**_LEAF, "channel_id": _id}, ("channel_id",)),
    "team": Shape({**_LEAF, "team_id": _id}, ("team_id",)),
    "emoji": Shape({**_LEAF, "name": _id, "unicode": _id, "url": _url}, ("name",)),
    "broadcast": Shape({**_LEAF, "range": s.one_of("here", "channel", "everyone")}, ("range",)),
    "color": Shape({**_LEAF, "value": s.string(20)}, ("value",)),
    "date": Shape(
        {**_LEAF, "timestamp": s.number(), "format": s.string(200), "url": _url, "fallback": s.string(200)},
        ("timestamp", "format"),
    ),
}

_leaves = s.several(s.typed(LEAVES, "rich text inline part"), 1, 3000)
_border = s.number(0, 1)

RICH: dict[str, Shape] = {
    "rich_text_section": Shape({**_TYPE, "elements": _leaves}, ("elements",)),
    "rich_text_quote": Shape({**_TYPE, "elements": _leaves, "border": _border}, ("elements",)),
    "rich_text_preformatted": Shape(
        {
            **_TYPE,
            "elements": s.several(s.typed(LEAVES, "rich text inline part", only=("text", "link")), 1, 3000),
            "border": _border,
            "language": s.string(40),
        },
        ("elements",),
    ),
}

RICH["rich_text_list"] = Shape(
    {
        **_TYPE,
        "elements": s.several(s.typed(RICH, "rich text part", only=("rich_text_section",)), 1, 1000),
        "style": s.one_of("bullet", "ordered"),
        "indent": s.number(0, 8),
        "offset": s.number(0),
        "border": _border,
    },
    ("elements", "style"),
)

_RICH_TEXT = Shape(
    {**_TYPE, "block_id": _id, "elements": s.several(s.typed(RICH, "rich text part"), 1, 1000)}, ("elements",)
)

# --- blocks ------------------------------------------------------------------------------------------------------

_BLOCK: dict[str, Check] = {**_TYPE, "block_id": _id}

_RAW: dict[str, Shape] = {
    "raw_text": Shape({**_TYPE, "text": s.string(10_000)}, ("text",)),
    "raw_number": Shape({**_TYPE, "value": s.number(), "text": s.string(100)}, ("value",)),
    "rich_text": _RICH_TEXT,
}

_row = s.several(s.typed(_RAW, "cell"), 1, 20)
_column = s.shaped_as(Shape({"align": s.one_of("left", "center", "right"), "is_wrapped": s.flag}))
_point = s.shaped_as(Shape({"label": s.string(20), "value": s.number()}, ("label", "value")))
_series = s.shaped_as(Shape({"name": s.string(20), "data": s.several(_point, 1, 20)}, ("name", "data")))

_axes = s.shaped_as(
    Shape(
        {"categories": s.several(s.string(20), 1, 20), "x_label": s.string(50), "y_label": s.string(50)},
        ("categories",),
    )
)

_LINES = Shape({**_TYPE, "series": s.several(_series, 1, 12), "axis_config": _axes}, ("series", "axis_config"))

CHARTS: dict[str, Shape] = {
    "line": _LINES,
    "bar": _LINES,
    "area": _LINES,
    "pie": Shape(
        {
            **_TYPE,
            "segments": s.several(
                s.shaped_as(Shape({"label": s.string(20), "value": s.number(least=1e-12)}, ("label", "value"))), 1, 12
            ),
        },
        ("segments",),
    ),
}

_icon = s.shaped_as(Shape({"type": s.one_of("icon"), "name": s.string(255)}, ("type", "name")))

_TASK = Shape(
    {
        **_BLOCK,
        "task_id": s.string(255),
        "title": s.string(255),
        "status": s.one_of("pending", "in_progress", "complete", "error"),
        "details": s.shaped_as(_RICH_TEXT),
        "output": s.shaped_as(_RICH_TEXT),
        "sources": s.several(
            s.shaped_as(Shape({"type": s.one_of("url"), "url": _url, "text": s.string(3000)}, ("type", "url", "text"))),
            1,
            50,
        ),
    },
    ("task_id", "title", "status"),
    _MESSAGE,
)

_NO_CHILDREN = {"card", "carousel", "markdown", "container"}


def _child(value: Any, path: str) -> Problems:
    only = [name for name in BLOCKS if name not in _NO_CHILDREN]
    return s.typed(BLOCKS, "block", only=only)(value, path)


BLOCKS: dict[str, Shape] = {
    "section": Shape(
        {
            **_BLOCK,
            "text": _text(3000),
            "fields": s.several(_text(2000), 1, 10),
            "accessory": _element(*_ACCESSORIES),
            "expand": s.flag,
        }
    ),
    "header": Shape({**_BLOCK, "text": _text(150, plain=True), "level": s.number(1, 4)}, ("text",)),
    "divider": Shape(_BLOCK),
    "context": Shape({**_BLOCK, "elements": s.several(_in_context, 1, 10)}, ("elements",)),
    "actions": Shape({**_BLOCK, "elements": s.several(_element(*_ACTIONS), 1, 25)}, ("elements",)),
    "context_actions": Shape(
        {**_BLOCK, "elements": s.several(_element("feedback_buttons", "icon_button"), 1, 5)}, ("elements",), _MESSAGE
    ),
    "image": Shape(
        {
            **_BLOCK,
            "image_url": _url,
            "slack_file": _slack_file,
            "alt_text": s.string(2000),
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
            "optional": s.flag,
            "dispatch_action": s.flag,
        },
        ("label", "element"),
    ),
    "markdown": Shape({**_BLOCK, "text": s.string(MOST_MARKDOWN)}, ("text",), _MESSAGE),
    "rich_text": _RICH_TEXT,
    "table": Shape(
        {**_BLOCK, "rows": s.several(_row, 1, 100), "column_settings": s.several(_column, 1, 20)},
        ("rows",),
        frozenset({"message", "home"}),
    ),
    "data_table": Shape(
        {
            **_BLOCK,
            "caption": s.string(255),
            "rows": s.several(_row, 2, 201),
            "page_size": s.number(1, 100),
            "row_header_column_index": s.number(0, 19),
        },
        ("caption", "rows"),
        frozenset({"message", "home"}),
    ),
    # On a Home Slack's pages contradict one another: it is tried there, and answered by text where it is refused.
    "data_visualization": Shape(
        {**_BLOCK, "title": s.string(50), "chart": s.typed(CHARTS, "chart")},
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
            "actions": s.several(_element("button"), 1, 3),
        }
    ),
    "container": Shape(
        {
            **_BLOCK,
            "child_blocks": s.several(_child, 1, 10),
            "title": _text(150),
            "rich_text_title": s.shaped_as(_RICH_TEXT),
            "subtitle": _text(150),
            "icon": _element("image"),
            "width": s.one_of("narrow", "standard", "wide", "full"),
            "is_collapsible": s.flag,
            "default_collapsed": s.flag,
            "has_header_divider": s.flag,
        },
        ("child_blocks",),
    ),
    "alert": Shape(
        {**_BLOCK, "text": _text(200), "level": s.one_of("default", "info", "warning", "error", "success")},
        ("text",),
        _MODAL,
    ),
    "task_card": _TASK,
    "plan": Shape(
        {**_BLOCK, "title": s.string(255), "tasks": s.several(s.shaped_as(_TASK), 0, 50)}, ("title",), _MESSAGE
    ),
}

BLOCKS["carousel"] = Shape(
    {**_BLOCK, "elements": s.several(s.typed({"card": BLOCKS["card"]}, "card"), 1, 10)},
    ("elements",),
    frozenset({"message", "home"}),
)

# --- views -------------------------------------------------------------------------------------------------------

VIEWS: dict[str, Shape] = {
    "modal": Shape(
        {
            **_TYPE,
            "title": _text(24, plain=True),
            "submit": _text(24, plain=True),
            "close": _text(24, plain=True),
            "blocks": s.anything,
            "private_metadata": s.string(3000, 0),
            "callback_id": _id,
            "external_id": _id,
            "clear_on_close": s.flag,
            "notify_on_close": s.flag,
            "submit_disabled": s.flag,
        },
        ("title", "blocks"),
    ),
    "home": Shape(
        {
            **_TYPE,
            "blocks": s.anything,
            "private_metadata": s.string(3000, 0),
            "callback_id": _id,
            "external_id": _id,
        },
        ("blocks",),
    ),
}
