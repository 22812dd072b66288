"""Pure: the follow-up of an incident that went quiet, and a channel's digest."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from handlers.blocks import mrkdwn as m
from handlers.blocks.actions import GIVE_BACK, MENU, TAKE
from handlers.blocks.card_buttons import buttons, decision_buttons
from handlers.blocks.card_decision import REJECT_WORDS
from handlers.blocks.card_view import Card, CardView
from handlers.blocks.commands import incident_line
from knowledge.model import Incident, RejectReason
from knowledge.store.schedule import Digest

SEEN_TO_END = "It closes by itself once it is seen to be over."
NOT_SEEN = "Nobody tells me when it is over, and no row of the services table says where to look."


def follow_up(view: CardView, hours: float, *, ends: bool = True) -> Card:
    """Said once in the thread, with what can be done on the card as it stands; it mentions nobody but who took it.

    `ends`: somebody tells when it is over, or the live system does.
    """
    assigned = view.incident.assigned_to
    whose = f"{m.mention(assigned)} has it." if assigned else "Nobody has taken it."
    first = f"⏳ Still open, without news for {m.duration(hours * 3600)}. {whose}"
    line = f"{_ways_on(view)}{SEEN_TO_END if ends else NOT_SEEN} This is said only once."
    return Card(m.without_markup(f"{first} {line}"), [m.section("follow_up", [f"{first}", line])])


def _ways_on(view: CardView) -> str:
    """What the card's buttons lead to. Without any, as while observing, only the failure's end closes the incident."""
    if decision_buttons(view):
        fixed = REJECT_WORDS[RejectReason.ALREADY_FIXED]
        return f"The fix waits for a yes or a no; if it is not needed any more, *Reject…* and *{fixed}* close this. "
    if not buttons(view):
        return ""
    if view.incident.assigned_to:
        return f"*{MENU[GIVE_BACK]}* on the card has me look again. "
    return f"*{MENU[TAKE]}* on the card says that somebody is at it. "


def digest(found: Digest, oldest: Sequence[Incident], *, since: datetime, now: datetime, zone: str = "UTC") -> Card:
    """What opened, what ended, what is open and waits, with the oldest open ones, and a chart of a week's days.

    The text says all that the chart shows but its days. `zone` is whose days they are.
    """
    opened = m.counted(found.opened, "incident")
    ended = f"{found.healed} healed by a fix, {found.ended} ended otherwise"
    lines = [f"*Since {m.date(since, now)}:* {opened} opened, {ended}."]
    stale = f", {found.stale:,} of them without an alert for more than a day" if found.stale else ""
    lines.append(f"*{m.counted(found.open, 'incident')} open now*{stale}" if found.open else "Nothing is open.")
    if found.waiting and found.first_until:
        until = m.date(found.first_until, now)
        lines.append(f"✋ {m.counted(found.waiting, 'approval')} waiting, the first until {until}")
    told = len(lines)
    lines += [incident_line(incident, now) for incident in oldest]
    if found.open > len(oldest):
        lines.append(f"({found.open - len(oldest):,} more)")
    blocks = m.sections("digest", lines)
    if any(day.opened or day.ended for day in found.days):
        blocks.append(_days_chart(found, ZoneInfo(zone)))
    return Card(m.without_markup(" ".join(lines[:told])), blocks)


def _days_chart(found: Digest, zone: ZoneInfo) -> dict[str, Any]:
    # Named after their middle: where summer time ends within the week, two would begin on the same day.
    points = [(f"{(day.day + timedelta(hours=12)).astimezone(zone):%a %d}", day) for day in found.days]
    series = [
        {"name": name, "data": [{"label": label, "value": getattr(day, what)} for label, day in points]}
        for name, what in (("Opened", "opened"), ("Ended", "ended"))
    ]
    axis = {"categories": [label for label, _ in points], "y_label": "Incidents"}
    chart = {"type": "bar", "series": series, "axis_config": axis}
    return {"type": "data_visualization", "block_id": "digest-days", "title": "Incidents by day", "chart": chart}


def own_digest(found: Sequence[Digest], *, since: datetime, now: datetime) -> Card:
    """For one person, directly: a line for each channel that they may read."""
    lines = [f"*Since {m.date(since, now)}*"]
    for one in found:
        counts = f"{one.opened:,} opened, {one.healed:,} healed by a fix, {one.ended:,} ended otherwise"
        waits = f", {m.counted(one.waiting, 'approval')} waiting" if one.waiting else ""
        lines.append(f"• <#{one.channel}>: {counts}, {one.open:,} open{waits}")
    return Card(m.without_markup(" ".join(lines)), m.sections("digest", lines))
