"""The form of "Remember this fix": which incident, and what fixed it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handlers.blocks import mrkdwn as m
from handlers.blocks.actions import decode_fields, encode
from handlers.blocks.incident_words import STATE_WORDS, title_words
from knowledge.model import Incident

REMEMBER_FIX = "remember_fix"
WHICH, FIX = "incident", "fix"
MOST_OPTIONS = 25
LONGEST_FIX = 600
NOTHING = "I know no incident that I may tell of here, so there is nothing to keep a fix with."
MEMBERS_ONLY = "Only full members of this workspace may do this."
NOTED = "Noted. Once it is kept, similar failures show it with what was done."
NOT_KEPT = "The fix was not kept: the incident is gone, or what is said there stays in its own channel."
EMPTY = "Say what fixed it."


def fix_modal(found: Sequence[Incident], *, chosen: int, text: str, channel: str) -> dict[str, Any]:
    """Asks which of the incidents a fix was for, `chosen` beforehand where it is among them, and what it was."""
    options = [_option(one) for one in found[:MOST_OPTIONS]]
    first = next((option for option in options if option["value"] == str(chosen)), None)
    select = {"type": "static_select", "action_id": WHICH, "options": options}
    said = m.clean(text, lines=True)[:LONGEST_FIX].strip()
    written = {"type": "plain_text_input", "action_id": FIX, "multiline": True, "max_length": LONGEST_FIX}
    hint = "Kept with the incident and shown where something like it happens. Secrets are cut out."
    return {
        "type": "modal",
        "callback_id": REMEMBER_FIX,
        "title": m.plain_text("Remember this fix"),
        "submit": m.plain_text("Remember"),
        "close": m.plain_text("Cancel"),
        "private_metadata": encode(c=channel),
        "blocks": [
            {
                "type": "input",
                "block_id": WHICH,
                "label": m.plain_text("Which incident?"),
                "element": select | ({"initial_option": first} if first else {}),
            },
            {
                "type": "input",
                "block_id": FIX,
                "label": m.plain_text("What fixed it?"),
                "hint": m.plain_text(hint),
                "element": written | ({"initial_value": said} if said else {}),
            },
        ],
    }


def _option(incident: Incident) -> dict[str, Any]:
    sign, _ = STATE_WORDS[incident.state]
    where = incident.service or incident.workload or incident.repository
    words = " · ".join(part for part in (where, title_words(incident.title)) if part)
    return {"text": m.plain_text(f"{sign} {incident.id}: {m.plain(words, 50)}"), "value": str(incident.id)}


@dataclass(frozen=True, slots=True)
class ToldFix:
    """A submitted form. `text` is foreign; `channel` is where the shortcut was used."""

    incident_id: int
    text: str
    channel: str


def read_fix(view: Mapping[str, Any]) -> ToldFix | None:
    """A submitted form; None when it is none of ours, or says nothing."""
    number = _value(view, WHICH, "selected_option", "value")
    text = m.clean(_value(view, FIX, "value"), lines=True).strip()
    channel = decode_fields(view.get("private_metadata")).get("c")
    if not (number.isdecimal() and len(number) < 16) or not text or not isinstance(channel, str):
        return None
    return ToldFix(int(number), text[:LONGEST_FIX], channel)


def _value(view: Mapping[str, Any], name: str, *path: str) -> str:
    found: Any = view
    for key in ("state", "values", name, name, *path):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, str) else ""
