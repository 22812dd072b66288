"""Pure: how incidents are split and merged by a person: the form, what is read from it, and what the threads say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handlers.blocks import mrkdwn as m
from handlers.blocks.actions import decode_incident, encode
from handlers.blocks.card_view import Card
from handlers.blocks.incident_words import place, title_words
from knowledge.model import Incident

REGROUP = "regroup_incidents"
PART, INTO = "part", "into"
MOST_CHOICES = 100
NOTHING = "Nothing can be split off this incident, and no other is open that it could be merged into."
EXACTLY_ONE = "Choose what to split off, or what to merge into: one of the two."


@dataclass(frozen=True, slots=True)
class Part:
    """Alerts of an incident that can be split off together. `name` is foreign text; `alone`: one of a workload's."""

    id: str
    name: str
    alerts: int
    alone: bool


def regroup_modal(incident: Incident, parts: Sequence[Part], others: Sequence[Incident]) -> dict[str, Any]:
    """Asks what to split off the incident, or which other one it belongs to."""
    lines = [
        f"*{m.inline(title_words(incident.title), 120)}* · {place(incident)}",
        "What you decide holds for the next alerts of the same kind too.",
    ]
    blocks = [m.section("what", lines)]
    if parts:
        options = [_option(one.id, f"{one.name} ({m.counted(one.alerts, 'alert')})") for one in parts[:MOST_CHOICES]]
        blocks.append(_select(PART, "Split off into an incident of its own", options))
    if others:
        options = [_option(str(one.id), f"{one.id}: {_short(one)}") for one in others[:MOST_CHOICES]]
        blocks.append(_select(INTO, "Or merge this incident into", options))
    return {
        "type": "modal",
        "callback_id": REGROUP,
        "title": m.plain_text("Split or merge"),
        "submit": m.plain_text("Do it"),
        "close": m.plain_text("Cancel"),
        "private_metadata": encode(i=incident.id),
        "blocks": blocks,
    }


def _short(incident: Incident) -> str:
    return f"{title_words(incident.title)} · {incident.service or incident.workload or incident.repository}"


def _option(value: str, label: str) -> dict[str, Any]:
    return {"text": m.plain_text(m.plain(label, 75)), "value": value}


def _select(name: str, label: str, options: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "type": "input",
        "block_id": name,
        "optional": True,
        "label": m.plain_text(label),
        "element": {"type": "static_select", "action_id": name, "options": options},
    }


@dataclass(frozen=True, slots=True)
class Regrouping:
    """What a person chose: a part to split off, or the incident to merge into."""

    incident_id: int
    part: str = ""
    into: int | None = None


def read_regrouping(view: Mapping[str, Any]) -> Regrouping | None:
    """A submitted form; None when it is none of ours, or when not exactly one thing is chosen."""
    incident_id = decode_incident(view.get("private_metadata"))
    part, into = _chosen(view, PART), _chosen(view, INTO)
    if incident_id is None or bool(part) == bool(into) or (into and not (into.isdecimal() and len(into) < 16)):
        return None
    return Regrouping(incident_id, part[:40], int(into) if into else None)


def regroup_errors(view: Mapping[str, Any]) -> dict[str, str]:
    """What to say under which field of the form; empty when it can be taken."""
    if read_regrouping(view) is not None:
        return {}
    inputs = [str(block.get("block_id")) for block in view.get("blocks", []) if block.get("type") == "input"]
    return {(inputs or [PART])[-1]: EXACTLY_ONE}


def _chosen(view: Mapping[str, Any], name: str) -> str:
    found: Any = view
    for key in ("state", "values", name, name, "selected_option", "value"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, str) else ""


def note(words: str, *, about: str = "", by: str = "") -> Card:
    """One line for a thread: what was split or merged, and who said so. `about` is foreign text, `by` a user's id."""
    who = f" (<@{by}> said so)" if by else ""
    line = f"{words}{f': {m.inline(about, 200)}' if about else ''}{who}."
    return Card(m.without_markup(line), [m.section("regrouped", [line])])
