"""Wording of the offer to remember what fixed an incident. Pure."""

from handlers.blocks import mrkdwn as m
from handlers.blocks.actions import decode_fields, encode
from handlers.blocks.card_view import Card
from knowledge.store.offers import Offer

REMEMBER, DECLINE = "remember_fix", "decline_fix"
_SHOWN = 300


def offer(found: Offer) -> Card:
    """The offer with its two buttons, or what became of it."""
    fix = f"“{m.inline(found.text, _SHOWN)}”"
    name = f"offer-{found.id}-{found.state}"
    if found.state == "remembered":
        line = f"💾 Remembered for incident {found.incident_id}: {fix} (confirmed by {m.mention(found.decided_by)})."
        return Card(m.without_markup(line), [m.section(name, [line])])
    if found.state == "declined":
        line = f"Not remembered, as {m.mention(found.decided_by)} wants it."
        return Card(m.without_markup(line), [m.section(name, [line])])
    line = f"Shall I remember what fixed incident {found.incident_id}? {fix}"
    buttons = [_button(REMEMBER, "Remember", found.id), _button(DECLINE, "No", found.id)]
    return Card(
        m.without_markup(line),
        [m.section(name, [line]), {"type": "actions", "block_id": f"{name}-buttons", "elements": buttons}],
    )


def _button(action: str, label: str, number: int) -> dict[str, object]:
    spoken = f"{label}: the fix told in offer {number}"
    return {
        "type": "button",
        "action_id": action,
        "text": m.plain_text(label),
        "value": encode(n=number),
        "accessibility_label": spoken,
    }


def decode_offer(value: object) -> int | None:
    """The offer that a button is about."""
    number = decode_fields(value).get("n")
    return number if type(number) is int and 0 < number < 2**63 else None
