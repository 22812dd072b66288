"""The ``rich_text`` block: lists, quotes, code and their leaves."""

from __future__ import annotations

from typing import Any

from .shapes import Checker, array, boolean, by_type, number, one_of, record, string, url


def _any_style(names: tuple[str, ...]) -> Checker:
    return record({}, dict.fromkeys(names, boolean))


_TEXT_STYLE = _any_style(("bold", "italic", "strike", "code", "underline", "highlight", "client_highlight", "unlink"))


def _leaf(name: str, required: dict[str, Checker], optional: dict[str, Checker] | None = None) -> Checker:
    return record({"type": one_of(name), **required}, {"style": _TEXT_STYLE, **(optional or {})})


_LONG = string(40_000)
LEAVES: dict[str, Checker] = {
    "text": _leaf("text", {"text": _LONG}),
    "link": _leaf("link", {"url": url}, {"text": string(3000, low=0), "unsafe": boolean}),
    "user": _leaf("user", {"user_id": string(64)}),
    "usergroup": _leaf("usergroup", {"usergroup_id": string(64)}),
    "channel": _leaf("channel", {"channel_id": string(64)}),
    "team": _leaf("team", {"team_id": string(64)}),
    "emoji": _leaf("emoji", {"name": string(255)}, {"unicode": string(255), "url": url}),
    "broadcast": _leaf("broadcast", {"range": one_of("here", "channel", "everyone")}),
    "date": _leaf("date", {"timestamp": number(0), "format": string(255)}, {"url": url, "fallback": string(3000)}),
    "color": _leaf("color", {"value": string(32)}),
}
_leaves = array(by_type(LEAVES), 0, 2000)
_code_leaves = array(by_type({name: LEAVES[name] for name in ("text", "link")}), 0, 2000)
_BORDER: dict[str, Checker] = {"border": one_of(0, 1)}
_section = record({"type": one_of("rich_text_section"), "elements": _leaves})
PARTS: dict[str, Checker] = {
    "rich_text_section": _section,
    "rich_text_list": record(
        {
            "type": one_of("rich_text_list"),
            "style": one_of("bullet", "ordered"),
            "elements": array(by_type({"rich_text_section": _section}), 1, 500),
        },
        {"indent": number(0, 8), "offset": number(0), **_BORDER},
    ),
    "rich_text_quote": record({"type": one_of("rich_text_quote"), "elements": _leaves}, _BORDER),
    "rich_text_preformatted": record(
        {"type": one_of("rich_text_preformatted"), "elements": _code_leaves}, {**_BORDER, "language": string(64)}
    ),
}
RICH_TEXT = record({"type": one_of("rich_text"), "elements": array(by_type(PARTS), 1, 500)}, {"block_id": string(255)})


def characters(value: Any) -> int:
    """Count the characters of every ``text`` under a value."""
    if isinstance(value, dict):
        own = len(value["text"]) if isinstance(value.get("text"), str) else 0
        return own + sum(characters(entry) for name, entry in value.items() if name != "text" or not own)
    if isinstance(value, list):
        return sum(characters(entry) for entry in value)
    return 0
