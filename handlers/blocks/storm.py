"""Pure: the one message that tells of a storm, edited in place."""

from datetime import datetime

from handlers.blocks import mrkdwn as m
from handlers.blocks.card_view import Card
from handlers.blocks.incident_words import STATE_WORDS, title_words
from handlers.blocks.thread import NEEDS_PERSON
from knowledge.model import IncidentState
from knowledge.model.failing import CLOSED_STATES
from knowledge.store.storms import Storm

WHERE = "Their cards are in this thread; critical ones stand in the channel. `/codehealer status` lists what is open."
_SHOWN = 8


def storm_card(storm: Storm, now: datetime) -> Card:
    """How many incidents, how many of them are open and need a person, and the first of these by name."""
    every = sum(storm.states.values())
    still = sum(many for state, many in storm.states.items() if IncidentState(state) not in CLOSED_STATES)
    people = sum(many for state, many in storm.states.items() if IncidentState(state) in NEEDS_PERSON)
    head = f"🌩️ *Storm:* {m.counted(every, 'more incident')} since {m.date(storm.began_at, now)}"
    counts = f"{still} open, {people} of them for a person" if still else "all of them are over"
    lines = [head, f"{counts} · last one {m.date(storm.last_at, now)}"]
    for one in storm.listed[:_SHOWN]:
        sign, words = STATE_WORDS[IncidentState(one.state)]
        what = m.inline(title_words(one.title), 60)
        lines.append(f"{sign} {one.id}: {what} · {m.inline(one.service, 40, 'unknown service')} · {words}")
    if still > len(storm.listed[:_SHOWN]):
        lines.append(f"… and {still - len(storm.listed[:_SHOWN])} more")
    lines.append(WHERE)
    return Card("\n".join(m.without_markup(line) for line in lines), m.sections(f"storm-{storm.id}", lines))
