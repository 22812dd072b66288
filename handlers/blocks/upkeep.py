"""Pure: the follow-up of an incident that went quiet, and a channel's digest."""

from collections.abc import Sequence
from datetime import datetime

from handlers.blocks import mrkdwn as m
from handlers.blocks.card import Card
from handlers.blocks.commands import incident_line
from knowledge.model import Incident
from knowledge.store.schedule import Digest


def follow_up(incident: Incident, hours: float) -> Card:
    """Said once in the thread; it mentions nobody but who took it."""
    whose = f"{m.mention(incident.assigned_to)} has it." if incident.assigned_to else "Nobody has taken it."
    first = f"⏳ Still open, without news for {m.duration(hours * 3600)}. {whose}"
    line = "If it needs no more work, dismiss it from the card; this is said only once."
    return Card(f"{first} {line}", [m.section("follow_up", [f"{first}", line])])


def digest(found: Digest, oldest: Sequence[Incident], *, since: datetime, now: datetime) -> Card:
    """What opened, what ended and what is open, with the oldest open ones."""
    opened = m.counted(found.opened, "incident")
    ended = f"{found.healed} healed by a fix, {found.ended} ended otherwise"
    lines = [f"*Since {m.date(since, now)}:* {opened} opened, {ended}."]
    lines.append(f"*{m.counted(found.open, 'incident')} open now*" if found.open else "Nothing is open.")
    lines += [incident_line(incident, now) for incident in oldest]
    if found.open > len(oldest):
        lines.append(f"({found.open - len(oldest):,} more)")
    return Card(m.without_markup(" ".join(lines[:2])), m.sections("digest", lines))
