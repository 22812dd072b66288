"""The one card of an incident, in each of its states: calm, at most twelve lines, edited in place.

From top to bottom: headline, cause and fix (`card_findings`), who decides (`card_decision`), buttons (`card_buttons`),
small print. What is drawn is a `CardView`; wording is constants and small functions, so it is reviewed as text.
"""

from typing import Any

from handlers.blocks import mrkdwn as m
from handlers.blocks.card_buttons import DID_NOT_HELP, HELPED, buttons, feedback_block
from handlers.blocks.card_decision import decision_lines
from handlers.blocks.card_findings import answered_by, cause_lines, fix_lines
from handlers.blocks.card_view import Card, CardView
from handlers.blocks.incident_words import lead, place, severity_word, state_words, what_fails
from knowledge.model import Execution

MOST_RELATED = 6
REACT = "React with 👍 or 👎 to say whether this helped"


def render_card(view: CardView) -> Card:
    """The card of `view`: its blocks keep Slack's limits whatever the texts in it, and `text` says the same."""
    name = f"card-{view.incident.id}"
    blocks = [m.section(f"{name}-headline", _headline(view))]
    words = [_state_line(view)]
    for part, lines in (("cause", cause_lines(view)), ("fix", fix_lines(view)), ("decision", decision_lines(view))):
        if lines:
            blocks.append(m.section(f"{name}-{part}", lines))
            words += lines
    if row := buttons(view):
        # The block's id changes with the approval, so that no client keeps the look of an old set of buttons.
        approval_id = view.approval.id if view.approval else 0
        blocks.append({"type": "actions", "block_id": f"{name}-buttons-{approval_id}", "elements": row})
    if small_print := _small_print(view):
        blocks.append(m.context(f"{name}-sources", small_print))
        words.append(small_print)
    if view.answered and not view.observing:
        blocks.append(feedback_block(view.incident.id, view.answer_id))
    text = "\n".join([lead(view), *(m.without_markup(line) for line in words)])
    return Card(text, blocks)


def _headline(view: CardView) -> list[str]:
    sign, _ = state_words(view)
    return [f"{sign} {m.bold(what_fails(view), 120)} · {place(view.incident)}", _state_line(view)]


def _state_line(view: CardView) -> str:
    incident = view.incident
    _, words = state_words(view)
    seen = "seen once"
    if incident.alert_count > 1:
        seen = f"seen {incident.alert_count:,} times, last {m.date(incident.last_alert_at, view.now)}"
    since, who = f"since {m.date(incident.opened_at, view.now)}", ""
    if incident.assigned_to and incident.open and not view.observing:
        who = f"assigned to {m.mention(incident.assigned_to)}"
    often = f"{_ordinal(view.times_this_week)} time this week" if view.times_this_week > 1 else ""
    parts = [f"*{words}*", who, severity_word(incident), since, seen, often]
    return " · ".join(part for part in parts if part)


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _small_print(view: CardView) -> str:
    related = [m.link(url, words) if url else words for words, url in view.related[:MOST_RELATED]]
    if view.diagnosis is None:
        return " · ".join(related)
    parts = [answered_by(view.diagnosis)]
    up, down = view.feedback_counts
    if up or down:
        counts = ((up, f"👍 {up} helped"), (down, f"👎 {down} did not help" if not up else f"👎 {down} did not"))
        parts.append(", ".join(words for count, words in counts if count))
    elif view.observing:
        parts.append(REACT)
    if view.source_link:
        parts.append(m.link(view.source_link, "Source"))
    if made := made_link(view.execution):
        parts.append(made)
    if view.channel_link:
        parts.append(m.link(view.channel_link, "Thread"))
    return " · ".join([*parts, *related])


def made_link(execution: Execution | None) -> str:
    """A link to the pull request that a fix opened, "" without one: a person merges it there."""
    url = str((execution.outcome.mark if execution and execution.outcome else {}).get("url") or "")
    return m.link(url, "Pull request") if m.safe_url(url) else ""


def card_lines(blocks: list[dict[str, Any]]) -> list[str]:
    """The lines that a person counts: each line of text, each row of buttons."""
    lines: list[str] = []
    for block in blocks:
        if block["type"] == "section":
            lines += str(block["text"]["text"]).split("\n")
        elif block["type"] == "context":
            lines += [str(element["text"]) for element in block["elements"]]
        elif block["type"] == "actions":
            lines.append(" ".join(f"[{element.get('text', {}).get('text', '⋯')}]" for element in block["elements"]))
        else:
            lines.append(f"[{HELPED}] [{DID_NOT_HELP}]")
    return lines
