"""Slack's limits, one fault at a time, and the same verdict from a schema made of Slack's own types."""

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from handlers.blocks import card, commands, modals, thread
from handlers.blocks.block_shapes import BLOCKS, ELEMENTS
from handlers.blocks.limits import Surface, validate_blocks, validate_message, validate_view
from tests.handlers import card_states as states

SCHEMA = Path(__file__).parents[3] / "shared/facts/slack-blocks.schema.json"


def plain(text: str = "x") -> dict[str, Any]:
    return {"type": "plain_text", "text": text}


def section(text: str = "x", **more: Any) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}, **more}


def button(action_id: str = "a", **more: Any) -> dict[str, Any]:
    return {"type": "button", "action_id": action_id, "text": plain(), **more}


def actions(*elements: dict[str, Any]) -> dict[str, Any]:
    return {"type": "actions", "elements": list(elements)}


def option(value: str = "v", text: str = "x") -> dict[str, Any]:
    return {"text": plain(text), "value": value}


def select(**more: Any) -> dict[str, Any]:
    return {"type": "static_select", "action_id": "s", **more}


def text_input(**more: Any) -> dict[str, Any]:
    return {"type": "input", "label": plain(), "element": {"type": "plain_text_input", **more}}


def rich(*elements: dict[str, Any]) -> dict[str, Any]:
    return {"type": "rich_text", "elements": list(elements)}


def table(rows: int, columns: int = 1, text: str = "x") -> dict[str, Any]:
    return {"type": "table", "rows": [[{"type": "raw_text", "text": text}] * columns] * rows}


def chart(labels: list[str], categories: list[str]) -> dict[str, Any]:
    series = [{"name": "5xx", "data": [{"label": label, "value": 1} for label in labels]}]
    return {
        "type": "data_visualization",
        "title": "Errors",
        "chart": {"type": "line", "series": series, "axis_config": {"categories": categories}},
    }


def thumbs() -> dict[str, Any]:
    thumb = {"text": plain(), "value": "1"}
    return {"type": "feedback_buttons", "action_id": "f", "positive_button": thumb, "negative_button": thumb}


CONFIRM = {"title": plain(), "text": plain(), "confirm": plain(), "deny": plain()}

GOOD: list[tuple[Surface, list[dict[str, Any]]]] = [
    ("message", [section("x" * 3000, accessory=button(confirm=CONFIRM, style="danger"))]),
    ("message", [{"type": "section", "fields": [plain("x" * 2000)] * 10}]),
    ("message", [{"type": "header", "text": plain("x" * 150)}, {"type": "divider"}]),
    ("message", [{"type": "context", "elements": [plain()] * 10}]),
    ("message", [actions(*(button(str(number)) for number in range(25)))]),
    ("message", [{"type": "context_actions", "elements": [thumbs()]}]),
    ("message", [actions(select(options=[option()] * 100, initial_option=option()))]),
    ("message", [{"type": "markdown", "text": "x" * 12_000}]),
    ("message", [table(100, 20)]),
    ("message", [chart(["10:00"], ["10:00"])]),
    ("message", [{"type": "image", "image_url": "https://e.example/a.png", "alt_text": "a"}]),
    (
        "message",
        [
            rich(
                {"type": "rich_text_section", "elements": [{"type": "text", "text": "a", "style": {"bold": True}}]},
                {"type": "rich_text_preformatted", "elements": [{"type": "text", "text": "log"}]},
                {
                    "type": "rich_text_list",
                    "style": "bullet",
                    "elements": [{"type": "rich_text_section", "elements": [{"type": "user", "user_id": "U1"}]}],
                },
            )
        ],
    ),
    ("modal", [text_input(multiline=True, max_length=3000)]),
    ("modal", [{"type": "alert", "text": plain("x" * 200), "level": "error"}]),
    ("modal", [section()] * 100),
    ("home", [section()] * 100),
]

# Surface, blocks, and what the one complaint says.
BAD: list[tuple[Surface, Any, str]] = [
    ("message", "no list", "/blocks: must be a list"),
    ("message", [7], "/blocks/0/type: nothing is not one of the blocks allowed here"),
    ("message", [{"type": "marquee"}], "/blocks/0/type: marquee is not one of the blocks allowed here"),
    ("message", [section()] * 51, "/blocks: at most 50 blocks, has 51"),
    ("home", [section()] * 101, "/blocks: at most 100 blocks, has 101"),
    ("message", [section("")], "/blocks/0/text/text: must not be empty"),
    ("message", [section("x" * 3001)], "/blocks/0/text/text: at most 3,000 characters, has 3,001"),
    ("message", [{"type": "section"}], "/blocks/0: needs text or fields"),
    ("message", [{"type": "section", "fields": [plain()] * 11}], "/blocks/0/fields: at most 10 items"),
    ("message", [{"type": "section", "fields": [plain("x" * 2001)]}], "/blocks/0/fields/0/text: at most 2,000"),
    ("message", [section(colour="red")], "/blocks/0/colour: unknown key"),
    ("message", [section(block_id="x" * 256)], "/blocks/0/block_id: at most 255"),
    ("message", [section(block_id="a"), section(block_id="a")], "/blocks/1/block_id: used twice"),
    ("message", [{"type": "header", "text": {"type": "mrkdwn", "text": "x"}}], "/text/type: must be plain_text"),
    ("message", [{"type": "header", "text": plain("x" * 151)}], "/blocks/0/text/text: at most 150"),
    ("message", [{"type": "header"}], "/blocks/0/text: is missing"),
    ("message", [{"type": "context", "elements": []}], "/blocks/0/elements: must not be empty"),
    ("message", [{"type": "context", "elements": [plain()] * 11}], "/blocks/0/elements: at most 10"),
    ("message", [actions()], "/blocks/0/elements: must not be empty"),
    ("message", [actions(*(button(str(n)) for n in range(26)))], "/blocks/0/elements: at most 25"),
    ("message", [actions(button(), button())], "/blocks/0/elements/1/action_id: used twice"),
    ("message", [actions(button(style="warning"))], "/blocks/0/elements/0/style: must be one of primary, danger"),
    ("message", [actions(button(text=plain("x" * 76)))], "/blocks/0/elements/0/text/text: at most 75"),
    ("message", [actions(button(value="x" * 2001))], "/blocks/0/elements/0/value: at most 2,000"),
    ("message", [actions(button(url="javascript:x"))], "/blocks/0/elements/0/url: must be an address"),
    ("message", [actions(button(accessibility_label="x" * 76))], "/accessibility_label: at most 75"),
    ("message", [actions(button(confirm={**CONFIRM, "text": plain("x" * 301)}))], "/confirm/text/text: at most 300"),
    ("message", [actions(button(confirm={**CONFIRM, "deny": plain("x" * 31)}))], "/confirm/deny/text: at most 30"),
    ("message", [actions(thumbs())], "feedback_buttons is not one of the elements allowed here"),
    ("message", [actions({"type": "plain_text_input"})], "plain_text_input is not one of the elements allowed here"),
    ("message", [actions(select(options=[option()] * 101))], "/elements/0/options: at most 100"),
    ("message", [actions(select())], "/elements/0: needs either options or option_groups"),
    ("message", [actions(select(options=[option("v" * 151)]))], "/options/0/value: at most 150"),
    (
        "message",
        [actions(select(options=[option()], initial_option=option("w")))],
        "/initial_option: is not among the options",
    ),
    (
        "message",
        [actions({"type": "overflow", "options": [option()] * 6})],
        "/blocks/0/elements/0/options: at most 5",
    ),
    ("modal", [actions({"type": "radio_buttons", "options": [option()] * 11})], "/options: at most 10"),
    ("message", [{"type": "markdown", "text": "x" * 7000}] * 2, "/blocks: at most 12,000 characters in all markdown"),
    ("modal", [{"type": "markdown", "text": "x"}], "/blocks/0/type: markdown is not available in a modal"),
    ("home", [{"type": "context_actions", "elements": [thumbs()]}], "context_actions is not available in a home"),
    ("message", [{"type": "alert", "text": plain()}], "/blocks/0/type: alert is not available in a message"),
    ("message", [table(1), table(1)], "/blocks: at most 1 table, has 2"),
    ("message", [table(101)], "/blocks/0/rows: at most 100"),
    ("message", [table(1, 21)], "/blocks/0/rows/0: at most 20"),
    ("message", [table(11, 1, "x" * 1000)], "/blocks/0/rows: at most 10,000 characters in all cells"),
    ("message", [chart(["a"], ["b"])], "/data: labels must be the categories"),
    ("message", [chart(["a"], ["a"])] * 3, "/blocks: at most 2 data_visualization, has 3"),
    ("message", [{"type": "image", "alt_text": "a"}], "/blocks/0: needs either image_url or slack_file"),
    (
        "message",
        [{"type": "image", "image_url": "https://e.example/a", "alt_text": ""}],
        "/blocks/0/alt_text: must not be empty",
    ),
    ("message", [rich()], "/blocks/0/elements: must not be empty"),
    (
        "message",
        [rich({"type": "rich_text_preformatted", "elements": [{"type": "user", "user_id": "U1"}]})],
        "/blocks/0/elements/0/elements/0/type: user is not one of the rich text inline parts allowed here",
    ),
    (
        "message",
        [{"type": "task_card", "task_id": "1", "title": "x", "status": "pending"}],
        "/blocks/0/status: pending is for tasks inside a plan",
    ),
    (
        "message",
        [{"type": "container", "child_blocks": [{"type": "markdown", "text": "x"}]}],
        "/blocks/0/child_blocks/0/type: markdown is not one of the blocks allowed here",
    ),
    ("modal", [text_input(max_length=3001)], "/blocks/0/element/max_length: must be from 1 to 3000"),
]  # fmt: skip


@pytest.mark.parametrize(("surface", "blocks"), GOOD)
def test_what_slack_takes_passes(surface: Surface, blocks: list[dict[str, Any]]) -> None:
    assert validate_blocks(surface, blocks) == []


@pytest.mark.parametrize(("surface", "blocks", "complaint"), BAD, ids=[complaint for *_, complaint in BAD])
def test_what_slack_refuses_is_said_with_its_place(surface: Surface, blocks: Any, complaint: str) -> None:
    found = validate_blocks(surface, blocks)
    assert len(found) == 1
    assert complaint in found[0]


MODAL: dict[str, Any] = {"type": "modal", "title": plain("Title"), "blocks": [section()]}


@pytest.mark.parametrize(
    ("view", "complaint"),
    [
        ({"type": "page"}, "/type: must be modal or home"),
        ({**MODAL, "title": plain("x" * 25)}, "/title/text: at most 24"),
        ({**MODAL, "private_metadata": "x" * 3001}, "/private_metadata: at most 3,000"),
        ({**MODAL, "callback_id": "x" * 256}, "/callback_id: at most 255"),
        ({**MODAL, "blocks": [text_input()]}, "/submit: a modal with an input needs it"),
        ({"type": "home", "blocks": [section()], "submit": plain()}, "/submit: unknown key"),
        ({**MODAL, "blocks": [section("x" * 3000)] * 100}, "/: a view is at most 250,000 bytes"),
    ],
)
def test_what_slack_refuses_in_a_view_is_said(view: dict[str, Any], complaint: str) -> None:
    found = validate_view(view)
    assert len(found) == 1
    assert complaint in found[0]


def test_a_message_needs_a_text_beside_its_blocks() -> None:
    assert validate_message("x", [section()]) == []
    assert validate_message(" ", [section()]) == ["/text: must not be empty"]
    assert validate_message("x" * 40_001) == ["/text: at most 40,000 characters, has 40,001"]


# --- against Slack's published types -----------------------------------------------------------------------------

# Newer than the types that the schema was made from (facts/slack-platform.md 4.6).
NEWER_THAN_SCHEMA = {"data_visualization"}


def schema(definition: str) -> Draft7Validator:
    if not SCHEMA.exists():
        pytest.skip(f"{SCHEMA} is absent: blocks are not compared with Slack's published types")
    loaded = json.loads(SCHEMA.read_text())
    return Draft7Validator({"$ref": f"#/definitions/{definition}", "definitions": loaded["definitions"]})


@cache
def known_blocks() -> Draft7Validator:
    return schema("KnownBlock")


def products() -> list[dict[str, Any]]:
    """Every block of every message that the bot makes."""
    cards = [card.render_card(view) for view in states.VARIANTS.values()]
    waiting = states.STATES[states.S.WAITING]
    cards += [
        thread.needs_person_reply(waiting),
        thread.progress_reply(waiting, states.ACTED),
        thread.verification_reply(waiting, states.WORSE),
        thread.question_answer(states.DIAGNOSIS, states.EVIDENCE, states.NOW, incident=states.INCIDENT),
        commands.help_answer(),
        commands.unknown_answer("staus"),
        commands.show_answer(waiting),
        commands.status_answer(commands.StatusView(states.NOW, (states.INCIDENT,), mode="approve")),
    ]
    evidence = thread.evidence_reply(waiting, states.EVIDENCE)
    return [block for made in [*cards, *([evidence] if evidence else [])] for block in made.blocks]


@pytest.mark.shared
def test_every_block_that_the_bot_makes_fits_slacks_published_types() -> None:
    known = schema("KnownBlock")
    assert [error.message for block in products() for error in known.iter_errors(block)] == []


@pytest.mark.shared
def test_every_modal_that_the_bot_makes_fits_slacks_published_types() -> None:
    known = schema("ModalView")
    made = [
        modals.reject_modal(states.APPROVAL, states.INCIDENT, states.PLAN),
        modals.feedback_modal(states.INCIDENT, 34),
        modals.details_modal(states.STATES[states.S.BLOCKED]),
        modals.notice_modal("You may not decide this one."),
    ]
    assert [error.message for view in made for error in known.iter_errors(view)] == []
    assert [complaint for view in made for complaint in validate_view(view)] == []


@pytest.mark.shared
def test_what_our_table_takes_slacks_published_types_take_too() -> None:
    known = schema("KnownBlock")
    for _, blocks in GOOD:
        for block in blocks[:1]:
            if block["type"] not in NEWER_THAN_SCHEMA:
                assert list(known.iter_errors(block)) == [], block["type"]


@pytest.mark.shared
def test_our_table_knows_every_key_of_slacks_published_blocks_and_elements() -> None:
    if not SCHEMA.exists():
        pytest.skip(f"{SCHEMA} is absent: blocks are not compared with Slack's published types")
    definitions = json.loads(SCHEMA.read_text())["definitions"]
    ours = {**BLOCKS, **ELEMENTS}
    checked = set()
    for name, definition in definitions.items():
        keys = definition.get("properties", {})
        kind = keys.get("type", {}).get("const")
        is_ours = kind in BLOCKS if name.endswith("Block") else kind in ELEMENTS
        if is_ours and name not in {"ImageElement"}:
            checked.add(kind)
            assert set(keys) - set(ours[kind].keys) == set(), name
            assert set(ours[kind].needed) <= set(definition.get("required", ())) | {"element"}, name
    assert len(checked) > 20


# What a value of ours could turn into by a mistake in the program.
WRONG: list[Any] = [None, 7, True, "", "odd", [], {}, {"type": "odd"}, {"type": "mrkdwn", "text": "x"}, [plain()]]


@st.composite
def damaged(draw: st.DrawFn, blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """A block of ours in which one thing, somewhere, is missing or another."""
    block: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(blocks)))
    places: list[tuple[Any, Any]] = []
    parts: list[Any] = [block]
    while parts:
        part = parts.pop()
        keys: list[Any] = list(part) if isinstance(part, dict) else list(range(len(part)))
        places += [(part, key) for key in keys]
        parts += [part[key] for key in keys if isinstance(part[key], dict | list)]
    part, key = draw(st.sampled_from(places))
    if draw(st.booleans()):
        part[key] = draw(st.sampled_from(WRONG))
    else:
        del part[key]
    return block


@pytest.mark.shared
@settings(max_examples=300, deadline=None)
@given(damaged([*products(), *(block for _, blocks in GOOD for block in blocks[:1])]))
def test_our_table_refuses_whatever_slacks_published_types_refuse(block: dict[str, Any]) -> None:
    if str(block.get("type")) in NEWER_THAN_SCHEMA:
        return
    surfaces: tuple[Surface, ...] = ("message", "modal", "home")
    if any(not validate_blocks(surface, [block]) for surface in surfaces):
        errors = [error.message[:200] for error in known_blocks().iter_errors(block)]
        assert errors == [], "our table takes it"
