"""Pure: the one message about what was failing already when the bot came."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from handlers.blocks import mrkdwn as m
from handlers.blocks.actions import decode_fields, encode
from handlers.blocks.card_view import Card
from handlers.blocks.incident_words import place, title_words
from knowledge.model import Alert, Incident
from knowledge.store.baseline import Item

OPEN = "open_baseline"
WHY = "Nothing was diagnosed and nobody is called for these. What fails from now on gets a card of its own."
OVER = "👋 What was failing when I came has ended, or has a card of its own."
_SHOWN = 10


def baseline_card(items: Sequence[Item]) -> Card:
    """What was failing, with a way to have a card for one of them."""
    if not items:
        return Card(OVER, [m.section("baseline", [OVER])])
    were = "thing was" if len(items) == 1 else "things were"
    lines = [f"👋 *{len(items)} {were} already failing when I came:*"]
    lines += [f"• {_named(item.alert)}" for item in items[:_SHOWN]]
    if len(items) > _SHOWN:
        lines.append(f"… and {len(items) - _SHOWN} more")
    lines.append(WHY)
    options = [_option(item) for item in items]
    choice = {
        "type": "static_select",
        "action_id": OPEN,
        "placeholder": m.plain_text("Open a card for…"),
        "options": options,
    }
    blocks = [*m.sections("baseline", lines), {"type": "actions", "block_id": "baseline-open", "elements": [choice]}]
    return Card("\n".join(m.without_markup(line) for line in lines), blocks)


def greeting_card(open_ones: Sequence[Incident], now: datetime) -> Card:
    """What is open already for the services of a channel that the bot was invited to."""
    counted = m.counted(len(open_ones), "open incident")
    lines = [f"👋 *{counted} of this channel's services, whose cards stand elsewhere:*"]
    lines += [
        f"• {one.id}: {m.inline(title_words(one.title), 80)} · {place(one)} · since {m.date(one.opened_at, now)}"
        for one in open_ones[:_SHOWN]
    ]
    if len(open_ones) > _SHOWN:
        lines.append(f"… and {len(open_ones) - _SHOWN} more")
    lines.append("`/codehealer show 12` shows one of them. The cards of new ones come here.")
    return Card("\n".join(m.without_markup(line) for line in lines), m.sections("greeting", lines))


def _place(alert: Alert) -> str:
    name = alert.owner or alert.workload or alert.service or alert.repository
    return f"{alert.namespace}/{name}" if alert.namespace and name else name or alert.namespace


def _named(alert: Alert) -> str:
    return f"{m.inline(title_words(alert.title), 80)} · {m.inline(_place(alert), 80, 'unknown place')}"


def _option(item: Item) -> dict[str, Any]:
    label = m.plain(f"{title_words(item.alert.title)} · {_place(item.alert)}", 75)
    return {"text": m.plain_text(label), "value": encode(n=item.id)}


def decode_choice(value: object) -> int | None:
    """The stored alert that a person wants a card for."""
    number = decode_fields(value).get("n")
    return number if type(number) is int and 0 < number < 2**63 else None
