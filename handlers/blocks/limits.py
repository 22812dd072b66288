"""Slack's limits on Block Kit, checked before every send: each value by the tables, and the rules across values.

Like Slack, an unknown key, an empty text and an element on a surface that does not have it are faults. Lengths are
counted in characters.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, Literal

from handlers.blocks import shapes as s
from handlers.blocks.block_shapes import BLOCKS, MOST_MARKDOWN, VIEWS
from handlers.blocks.shapes import Problems

Surface = Literal["message", "modal", "home"]
MOST_BLOCKS: dict[str, int] = {"message": 50, "modal": 100, "home": 100}
MOST_VIEW_BYTES = 250_000
MOST_TEXT = 40_000


def validate_blocks(surface: Surface, blocks: object) -> list[str]:
    """What Slack would refuse in `blocks`, each as "JSON pointer: rule"; empty when it would take them."""
    if not isinstance(blocks, list):
        return ["/blocks: must be a list"]
    found = list(s.sized(blocks, "/blocks", 0, MOST_BLOCKS[surface], "blocks"))
    for index, block in enumerate(blocks[: MOST_BLOCKS[surface]]):
        found += s.typed(BLOCKS, "block", surface)(block, f"/blocks/{index}")
    found += _across(blocks)
    return found


def validate_view(view: Mapping[str, Any]) -> list[str]:
    """What Slack would refuse in a modal or home view."""
    kind = view.get("type")
    if kind not in {"modal", "home"}:
        return ["/type: must be modal or home"]
    found = list(s.shaped(VIEWS[kind], view, ""))
    blocks = view.get("blocks")
    found += validate_blocks(kind, blocks)
    has_input = isinstance(blocks, list) and any(s.kind_of(block) == "input" for block in blocks)
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
        rule = _RULES.get(s.kind_of(block))
        yield from rule(block, path) if rule else ()
    for kind, most in (("table", 1), ("data_visualization", 2)):
        have = sum(1 for block in blocks if s.kind_of(block) == kind)
        if have > most:
            yield f"/blocks: at most {most} {kind}, has {have}"
    texts = [block.get("text") for block in blocks if s.kind_of(block) == "markdown"]
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
    if s.kind_of(element) in {"static_select", "multi_static_select"} and ("options" in element) == (
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
    most = 20_000 if s.kind_of(block) == "data_table" else 10_000
    cells = [cell for row in _list(block, "rows") if isinstance(row, list) for cell in row if isinstance(cell, Mapping)]
    have = sum(len(cell["text"]) for cell in cells if isinstance(cell.get("text"), str))
    yield from s.counted(have, f"{path}/rows", 0, most, "characters in all cells")


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
