"""Blocks: what Slack's limits forbid is refused with a pointer, what its published types allow is taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bot.sandbox.slack.blocks import HOME, MESSAGE, MODAL, block_faults, check_message, check_view
from bot.sandbox.slack.errors import SlackError

Json = dict[str, Any]

SCHEMA = Path(__file__).resolve().parents[3] / "shared" / "facts" / "slack-blocks.schema.json"


def plain(text: str) -> Json:
    return {"type": "plain_text", "text": text}


def button(action_id: str = "go", **more: Any) -> Json:
    return {"type": "button", "action_id": action_id, "text": plain("Go"), **more}


def section(text: str) -> Json:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


CELL: Json = {"type": "raw_text", "text": "a"}
CODE: Json = {
    "type": "rich_text",
    "elements": [
        {"type": "rich_text_preformatted", "elements": [{"type": "text", "text": "OOMKilled"}]},
        {
            "type": "rich_text_list",
            "style": "bullet",
            "elements": [{"type": "rich_text_section", "elements": [{"type": "user", "user_id": "U0DEV"}]}],
        },
    ],
}
FEEDBACK: Json = {
    "type": "context_actions",
    "elements": [
        {
            "type": "feedback_buttons",
            "action_id": "vote",
            "positive_button": {"text": plain("Good"), "value": "up"},
            "negative_button": {"text": plain("Bad"), "value": "down"},
        },
        {"type": "icon_button", "action_id": "bin", "icon": "trash", "text": plain("Remove")},
    ],
}
OPTION: Json = {"text": plain("One"), "value": "1"}

GOOD = {
    "section": section("*hello*"),
    "fields": {"type": "section", "fields": [plain("a"), {"type": "mrkdwn", "text": "b"}], "accessory": button()},
    "header": {"type": "header", "text": plain("Title")},
    "divider": {"type": "divider"},
    "context": {
        "type": "context",
        "elements": [plain("a"), {"type": "image", "image_url": "https://x.io/a.png", "alt_text": "a"}],
    },
    "actions": {"type": "actions", "elements": [button(value="1", style="danger", confirm={"text": plain("Sure?")})]},
    "select": {
        "type": "actions",
        "elements": [{"type": "static_select", "action_id": "s", "options": [OPTION], "initial_option": OPTION}],
    },
    "overflow": {
        "type": "section",
        "text": plain("a"),
        "accessory": {"type": "overflow", "action_id": "o", "options": [OPTION]},
    },
    "markdown": {"type": "markdown", "text": "# hi"},
    "rich_text": CODE,
    "feedback": FEEDBACK,
    "table": {"type": "table", "rows": [[CELL, CELL]], "column_settings": [{"align": "right"}]},
    "data_table": {
        "type": "data_table",
        "caption": "Pods",
        "rows": [[CELL], [{"type": "raw_number", "value": 1, "text": "1"}]],
    },
    "card": {"type": "card", "title": {"type": "mrkdwn", "text": "t"}, "actions": [button()]},
    "container": {"type": "container", "title": plain("t"), "child_blocks": [section("a")]},
    "task": {"type": "task_card", "task_id": "1", "title": "t", "status": "complete", "details": CODE},
    "image": {"type": "image", "image_url": "https://x.io/a.png", "alt_text": "a"},
}

BAD: dict[str, tuple[list[Any], str]] = {
    "unknown type": ([{"type": "hologram"}], "/blocks/0/type"),
    "no type": ([{}], "/blocks/0"),
    "not an object": (["x"], "/blocks/0"),
    "missing text": ([{"type": "header"}], "/blocks/0"),
    "empty text": ([section("")], "/blocks/0/text/text"),
    "long section": ([section("x" * 3001)], "/blocks/0/text/text"),
    "long header": ([{"type": "header", "text": plain("x" * 151)}], "/blocks/0/text/text"),
    "mrkdwn header": ([{"type": "header", "text": {"type": "mrkdwn", "text": "x"}}], "/blocks/0/text/type"),
    "11 fields": ([{"type": "section", "fields": [plain("x")] * 11}], "/blocks/0/fields"),
    "long field": ([{"type": "section", "fields": [plain("x" * 2001)]}], "/blocks/0/fields/0/text"),
    "11 in context": ([{"type": "context", "elements": [plain("x")] * 11}], "/blocks/0/elements"),
    "empty context": ([{"type": "context", "elements": []}], "/blocks/0/elements"),
    "26 actions": ([{"type": "actions", "elements": [button(str(n)) for n in range(26)]}], "/blocks/0/elements"),
    "same action twice": ([{"type": "actions", "elements": [button(), button()]}], "/blocks/0/elements"),
    "long button": (
        [{"type": "actions", "elements": [button() | {"text": plain("x" * 76)}]}],
        "/blocks/0/elements/0/text/text",
    ),
    "long value": ([{"type": "actions", "elements": [button(value="x" * 2001)]}], "/blocks/0/elements/0/value"),
    "unknown style": ([{"type": "actions", "elements": [button(style="loud")]}], "/blocks/0/elements/0/style"),
    "unknown key": ([section("x") | {"colour": "red"}], "/blocks/0"),
    "bad url": ([{"type": "actions", "elements": [button(url="not a url")]}], "/blocks/0/elements/0/url"),
    "input element in actions": (
        [{"type": "actions", "elements": [{"type": "plain_text_input"}]}],
        "/blocks/0/elements/0/type",
    ),
    "51 blocks": ([{"type": "divider"}] * 51, "/blocks"),
    "same block_id twice": ([{"type": "divider", "block_id": "a"}, {"type": "divider", "block_id": "a"}], "/blocks"),
    "long block_id": ([{"type": "divider", "block_id": "x" * 256}], "/blocks/0/block_id"),
    "two tables": ([GOOD["table"], GOOD["table"]], "/blocks"),
    "101 rows": ([{"type": "table", "rows": [[CELL]] * 101}], "/blocks/0/rows"),
    "21 columns": ([{"type": "table", "rows": [[CELL] * 21]}], "/blocks/0/rows/0"),
    "long table": ([{"type": "table", "rows": [[{"type": "raw_text", "text": "x" * 6000}]] * 2}], "/blocks/0/rows"),
    "long markdown together": ([{"type": "markdown", "text": "x" * 7000}] * 2, "/blocks"),
    "alert in a message": ([{"type": "alert", "text": plain("x")}], "/blocks/0/type"),
    "pending task alone": (
        [{"type": "task_card", "task_id": "1", "title": "t", "status": "pending"}],
        "/blocks/0/status",
    ),
    "four card buttons": (
        [{"type": "card", "title": plain("t"), "actions": [button(str(n)) for n in range(4)]}],
        "/blocks/0/actions",
    ),
    "six feedbacks": ([{"type": "context_actions", "elements": FEEDBACK["elements"][:1] * 6}], "/blocks/0/elements"),
    "foreign initial option": (
        [
            {
                "type": "actions",
                "elements": [{"type": "static_select", "options": [OPTION], "initial_option": OPTION | {"value": "2"}}],
            }
        ],
        "/blocks/0/elements/0/initial_option",
    ),
    "long option": (
        [{"type": "actions", "elements": [{"type": "static_select", "options": [OPTION | {"value": "x" * 151}]}]}],
        "/blocks/0/elements/0/options/0/value",
    ),
    "bold in code": (
        [
            {
                "type": "rich_text",
                "elements": [{"type": "rich_text_preformatted", "elements": [{"type": "emoji", "name": "x"}]}],
            }
        ],
        "/blocks/0/elements/0/elements/0/type",
    ),
    "empty rich text": ([{"type": "rich_text", "elements": []}], "/blocks/0/elements"),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_blocks_are_taken(name: str) -> None:
    assert block_faults([GOOD[name]], MESSAGE) == []


@pytest.mark.parametrize("name", BAD)
def test_bad_blocks_are_refused_with_a_pointer(name: str) -> None:
    blocks, pointer = BAD[name]

    faults = block_faults(blocks, MESSAGE)

    assert faults
    assert faults[0].startswith("[ERROR] ")
    assert faults[0].endswith(f" [json-pointer:{pointer}]")


@pytest.mark.shared
@pytest.mark.skipif(not SCHEMA.exists(), reason="the schema of Slack's published types is not beside the project")
def test_what_is_good_here_is_good_by_slacks_published_types() -> None:
    schema = json.loads(SCHEMA.read_text()) | {"$ref": "#/definitions/KnownBlock"}
    validator = jsonschema.Draft7Validator(schema)

    for name, block in GOOD.items():
        assert [error.message for error in validator.iter_errors(block)] == [], name


@pytest.mark.shared
@pytest.mark.skipif(not SCHEMA.exists(), reason="the schema of Slack's published types is not beside the project")
def test_every_block_type_that_slack_publishes_is_known_here() -> None:
    definitions = json.loads(SCHEMA.read_text())["definitions"]
    for reference in definitions["KnownBlock"]["anyOf"]:
        name = reference["$ref"].rpartition("/")[2]
        shapes = definitions[name].get("anyOf") or definitions[name].get("allOf") or [definitions[name]]
        kind = next(p["type"]["const"] for p in (s.get("properties", {}) for s in shapes) if "type" in p)
        # A video needs a domain of ours for unfurling, and a file block cannot be posted at all.
        if kind in ("video", "file"):
            continue
        unknown = f"unsupported type: {kind}"
        assert any(unknown not in str(block_faults([{"type": kind}], surface)) for surface in (MESSAGE, MODAL, HOME))


async def test_the_answer_has_slacks_form(client: AsyncWebClient) -> None:
    with pytest.raises(SlackApiError) as caught:
        await client.chat_postMessage(channel="C0DEPLOY", text="x", blocks=[section("")])

    assert caught.value.response["error"] == "invalid_blocks"
    assert caught.value.response["response_metadata"]["messages"] == [
        "[ERROR] must be more than 0 characters [json-pointer:/blocks/0/text/text]"
    ]


def test_blocks_of_an_attachment_are_checked_too() -> None:
    with pytest.raises(SlackError) as caught:
        check_message(None, [{"blocks": [section("")]}])

    assert "/attachments/0/blocks/0/text/text" in caught.value.more["response_metadata"]["messages"][0]


MODAL_VIEW: Json = {"type": "modal", "title": plain("t"), "blocks": [section("x")]}
INPUT: Json = {"type": "input", "label": plain("l"), "element": {"type": "plain_text_input", "action_id": "a"}}


@pytest.mark.parametrize(
    ("view", "pointer"),
    [
        (MODAL_VIEW | {"title": plain("x" * 25)}, "/view/title/text"),
        (MODAL_VIEW | {"private_metadata": "x" * 3001}, "/view/private_metadata"),
        (MODAL_VIEW | {"blocks": [INPUT]}, "/view"),
        (MODAL_VIEW | {"blocks": [{"type": "divider"}] * 101}, "/view/blocks"),
        (MODAL_VIEW | {"blocks": [FEEDBACK]}, "/view/blocks/0/type"),
        ({"type": "modal", "blocks": []}, "/view"),
    ],
)
def test_bad_modals_are_refused(view: Json, pointer: str) -> None:
    with pytest.raises(SlackError) as caught:
        check_view(view, MODAL)

    assert caught.value.code == "invalid_arguments"
    assert caught.value.more["response_metadata"]["messages"][0].endswith(f"[json-pointer:{pointer}]")


def test_a_modal_with_an_input_and_a_submit_is_taken() -> None:
    check_view(MODAL_VIEW | {"blocks": [INPUT, {"type": "alert", "text": plain("x")}], "submit": plain("Send")}, MODAL)


def test_a_home_takes_no_submit() -> None:
    with pytest.raises(SlackError):
        check_view({"type": "home", "blocks": [], "submit": plain("Send")}, HOME)


async def test_blocks_validate_needs_no_token(sandbox: Any, http: Any) -> None:
    url = sandbox.env["SLACK_BASE_URL"] + "blocks.validate"
    async with http.post(url, json={"blocks": [section("x")]}) as response:
        assert await response.json() == {"ok": True}
    async with http.post(url, json={"message": {"blocks": [{"type": "header", "text": plain("")}]}}) as response:
        answer = await response.json()

    assert answer["error"] == "invalid_message"
    assert answer["errors"][0]["pointer"] == "/0/text/text"
