"""Block Kit's elements and composition objects with their limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .shapes import (
    Checker,
    Faults,
    array,
    boolean,
    both,
    by_type,
    fault,
    matching,
    number,
    one_of,
    record,
    string,
    url,
)


def const(value: str) -> Checker:
    """Check a ``type`` field."""
    return one_of(value)


def plain(high: int = 3000) -> Checker:
    """Check a plain_text object; mrkdwn is refused here."""
    return by_type(
        {"plain_text": record({"type": const("plain_text"), "text": string(high)}, {"emoji": boolean})},
    )


def rich_or_plain(high: int = 3000) -> Checker:
    """Check a text object of either kind."""
    return by_type(
        {
            "plain_text": record({"type": const("plain_text"), "text": string(high)}, {"emoji": boolean}),
            "mrkdwn": record({"type": const("mrkdwn"), "text": string(high)}, {"verbatim": boolean}),
        },
    )


_ACTION_ID = string(255)
_USER = matching(r"[UW][A-Z0-9]+", "invalid user id")
_STYLE = one_of("primary", "danger")
_SLACK_FILE = record({}, {"id": string(255), "url": url}, either=("id", "url"))
CONFIRM = record(
    {"text": rich_or_plain(300)},
    {"title": plain(100), "confirm": plain(30), "deny": plain(30), "style": _STYLE},
)
IMAGE = record(
    {"type": const("image"), "alt_text": string(2000)},
    {"image_url": url, "slack_file": _SLACK_FILE},
    either=("image_url", "slack_file"),
)


def option(text: Checker, with_url: bool = False) -> Checker:
    """Check one option of a select, an overflow or a group of boxes."""
    more: dict[str, Checker] = {"description": rich_or_plain(75), "value": string(150)}
    return record({"text": text}, more | ({"url": url} if with_url else {}))


_PLAIN_OPTION = option(plain(75))
_ANY_OPTION = option(rich_or_plain(75))
_GROUP = record({"label": plain(75), "options": array(_PLAIN_OPTION, 1, 100)})


def _initials_are_options(value: Any, pointer: str) -> Faults:
    groups = value.get("option_groups") or [{"options": value.get("options") or []}]
    offered = [entry for group in groups for entry in group["options"]]
    if value.get("initial_option") is not None and value["initial_option"] not in offered:
        yield fault("must be one of the provided options", f"{pointer}/initial_option")
    if any(entry not in offered for entry in value.get("initial_options") or ()):
        yield fault("must be one of the provided options", f"{pointer}/initial_options")
    values = [entry.get("value") for entry in offered]
    if len(set(values)) != len(values):
        yield fault("option values must be unique", f"{pointer}/options")


_COMMON: dict[str, Checker] = {"action_id": _ACTION_ID, "confirm": CONFIRM, "focus_on_load": boolean}
_HELD: dict[str, Checker] = {**_COMMON, "placeholder": plain(150)}
_TYPED: dict[str, Checker] = {
    "action_id": _ACTION_ID,
    "focus_on_load": boolean,
    "placeholder": plain(150),
    "dispatch_action_config": record(
        {}, {"trigger_actions_on": array(one_of("on_enter_pressed", "on_character_entered"), 1, 2)}
    ),
}
_MANY: dict[str, Checker] = {**_HELD, "max_selected_items": number(1)}
_FILTER = record(
    {},
    {
        "include": array(one_of("im", "mpim", "private", "public"), 1, 4),
        "exclude_external_shared_channels": boolean,
        "exclude_bot_users": boolean,
    },
)


def _kind(name: str, required: Mapping[str, Checker], optional: Mapping[str, Checker]) -> Checker:
    return record({"type": const(name), **required}, optional)


def _static(name: str, more: Mapping[str, Checker]) -> Checker:
    options: dict[str, Checker] = {"options": array(_PLAIN_OPTION, 1, 100), "option_groups": array(_GROUP, 1, 100)}
    return both(
        record({"type": const(name)}, {**options, **more}, either=("options", "option_groups")), _initials_are_options
    )


def _feedback_side(value: Any, pointer: str) -> Faults:
    checker = record({"text": plain(75)}, {"value": string(2000), "accessibility_label": string(75)})
    return checker(value, pointer)


BUTTON = _kind(
    "button",
    {"text": plain(75)},
    {
        "action_id": _ACTION_ID,
        "value": string(2000),
        "url": url,
        "style": _STYLE,
        "confirm": CONFIRM,
        "accessibility_label": string(75),
        "agent_prompt": string(4000),
        "agent_prompt_display": string(4000),
        "visible_to_user_ids": array(_USER, 1, 10),
    },
)

CONVERSATION_SELECTS: dict[str, Checker] = {
    "users_select": _kind("users_select", {}, {**_HELD, "initial_user": _USER}),
    "multi_users_select": _kind("multi_users_select", {}, {**_MANY, "initial_users": array(_USER, 0, 100)}),
    "channels_select": _kind(
        "channels_select", {}, {**_HELD, "initial_channel": string(255), "response_url_enabled": boolean}
    ),
    "multi_channels_select": _kind(
        "multi_channels_select", {}, {**_MANY, "initial_channels": array(string(255), 0, 100)}
    ),
    "conversations_select": _kind(
        "conversations_select",
        {},
        {
            **_HELD,
            "initial_conversation": string(255),
            "response_url_enabled": boolean,
            "default_to_current_conversation": boolean,
            "filter": _FILTER,
        },
    ),
    "multi_conversations_select": _kind(
        "multi_conversations_select",
        {},
        {
            **_MANY,
            "initial_conversations": array(string(255), 0, 100),
            "default_to_current_conversation": boolean,
            "filter": _FILTER,
        },
    ),
}

SELECTS: dict[str, Checker] = {
    **CONVERSATION_SELECTS,
    "static_select": _static("static_select", {**_HELD, "initial_option": _PLAIN_OPTION}),
    "multi_static_select": _static("multi_static_select", {**_MANY, "initial_options": array(_PLAIN_OPTION, 1, 100)}),
    "external_select": _kind(
        "external_select", {}, {**_HELD, "initial_option": _PLAIN_OPTION, "min_query_length": number(0)}
    ),
    "multi_external_select": _kind(
        "multi_external_select",
        {},
        {**_MANY, "initial_options": array(_PLAIN_OPTION, 1, 100), "min_query_length": number(0)},
    ),
}

PICKERS: dict[str, Checker] = {
    "checkboxes": both(
        _kind(
            "checkboxes",
            {"options": array(_ANY_OPTION, 1, 10)},
            {**_COMMON, "initial_options": array(_ANY_OPTION, 1, 10)},
        ),
        _initials_are_options,
    ),
    "radio_buttons": both(
        _kind("radio_buttons", {"options": array(_ANY_OPTION, 1, 10)}, {**_COMMON, "initial_option": _ANY_OPTION}),
        _initials_are_options,
    ),
    "datepicker": _kind(
        "datepicker", {}, {**_HELD, "initial_date": matching(r"\d{4}-\d\d-\d\d", "must be a date YYYY-MM-DD")}
    ),
    "timepicker": _kind(
        "timepicker",
        {},
        {**_HELD, "initial_time": matching(r"\d\d:\d\d", "must be a time HH:mm"), "timezone": string(64)},
    ),
    "datetimepicker": _kind("datetimepicker", {}, {**_COMMON, "initial_date_time": number(10**9, 10**10 - 1)}),
}

INPUTS: dict[str, Checker] = {
    "plain_text_input": _kind(
        "plain_text_input",
        {},
        {
            **_TYPED,
            "initial_value": string(3000, low=0),
            "multiline": boolean,
            "min_length": number(0, 3000),
            "max_length": number(1, 3000),
        },
    ),
    "rich_text_input": _kind(
        "rich_text_input",
        {},
        {
            **_TYPED,
            "initial_value": record(
                {"type": const("rich_text"), "elements": array(lambda *_: iter(()), 0, 500)}, {"block_id": string(255)}
            ),
            "min_lines": number(1),
            "max_lines": number(1),
        },
    ),
    "email_text_input": _kind("email_text_input", {}, {**_TYPED, "initial_value": string(3000)}),
    "url_text_input": _kind("url_text_input", {}, {**_TYPED, "initial_value": string(3000)}),
    "number_input": _kind(
        "number_input",
        {"is_decimal_allowed": boolean},
        {**_TYPED, "initial_value": string(255), "min_value": string(255), "max_value": string(255)},
    ),
    "file_input": _kind(
        "file_input",
        {},
        {"action_id": _ACTION_ID, "filetypes": array(string(32), 1, 100), "max_files": number(1, 10)},
    ),
}

OVERFLOW = _kind(
    "overflow",
    {"options": array(option(plain(75), with_url=True), 1, 5)},
    {"action_id": _ACTION_ID, "confirm": CONFIRM},
)
FEEDBACK = _kind(
    "feedback_buttons",
    {"positive_button": _feedback_side, "negative_button": _feedback_side},
    {"action_id": _ACTION_ID},
)
ICON_BUTTON = _kind(
    "icon_button",
    {"icon": one_of("trash"), "text": plain(75)},
    {
        "action_id": _ACTION_ID,
        "value": string(2000),
        "confirm": CONFIRM,
        "accessibility_label": string(75),
        "visible_to_user_ids": array(_USER, 1, 10),
    },
)

ACTION_ELEMENTS: dict[str, Checker] = {
    "button": BUTTON,
    "overflow": OVERFLOW,
    **SELECTS,
    **PICKERS,
    "rich_text_input": INPUTS["rich_text_input"],
}
ACCESSORIES: dict[str, Checker] = {
    "button": BUTTON,
    "overflow": OVERFLOW,
    "image": IMAGE,
    **SELECTS,
    **{name: checker for name, checker in PICKERS.items() if name != "datetimepicker"},
}
INPUT_ELEMENTS: dict[str, Checker] = {**SELECTS, **PICKERS, **INPUTS}
