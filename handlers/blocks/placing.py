"""What is said where a message cannot stand where it belongs: a card that goes on elsewhere, a channel out of reach."""

import re
from typing import Any

from handlers.blocks import mrkdwn as m
from handlers.blocks.card_view import Card

REASONS: dict[str, str] = {
    "channel_not_found": "it is not there, or I am not in it",
    "not_in_channel": "I am not in it",
    "is_archived": "it is archived",
    "restricted_action": "the workspace does not let me post in it",
    "restricted_action_read_only_channel": "I may not post in it",
    "restricted_action_thread_only_channel": "it takes nothing but replies",
    "restricted_action_non_threadable_channel": "it takes no replies",
}


def with_note(card: Card, note: str) -> Card:
    """The card with a note of ours (mrkdwn) in its last small print, so that it needs no line more than before."""
    if not note:
        return card
    blocks = [dict(block) for block in card.blocks]
    small = next((block for block in reversed(blocks) if block["type"] == "context"), None)
    if small is None:
        blocks.append(m.context("card-note", note))
    else:
        small["elements"] = m.context("", f"{note} · {small['elements'][0]['text']}")["elements"]
    return Card(f"{card.text}\n{m.without_markup(note)}", blocks)


_MENTION = re.compile(r"<(?:@[UW][A-Z0-9]{2,20}|!subteam\^S[A-Z0-9]{2,20})(?:\|[^<>]*)?>")


def muted(card: Card) -> Card:
    """The card without mentions: posted so, it notifies nobody; an edit that puts them in does not either."""

    def quiet(part: Any) -> Any:
        if isinstance(part, str):
            return _MENTION.sub("somebody", part)
        if isinstance(part, dict):
            return {name: quiet(value) for name, value in part.items()}
        return [quiet(one) for one in part] if isinstance(part, list) else part

    return Card(quiet(card.text), quiet(card.blocks))


def _channel(channel: str) -> str:
    return m.channel(channel, "its channel")


def out_of_reach(channel: str, code: str) -> str:
    """On a card in the default channel: where it belongs, and why it is not there."""
    return f"Meant for {_channel(channel)}: {REASONS.get(code, m.inline(code, 40))}."


def kept_back(incident_id: int, code: str) -> str:
    """In the default channel, of a card whose words must not go there."""
    why = REASONS.get(code, m.inline(code, 40))
    return (
        f"I cannot post the card of incident {incident_id} in its channel: {why}. Not everybody reads that channel, so "
        f"I say no more here; codehealer incidents show {incident_id} does."
    )


def goes_on_from(link: str) -> str:
    """On a card that was posted anew."""
    return f"Goes on from {m.link(link, 'an earlier card') if link else 'an earlier card'}, which cannot be edited."


def goes_on(link: str) -> str:
    """In the thread of the earlier card."""
    return (
        f"This card cannot be edited any more. It goes on {m.link(link, 'in a new one') if link else 'in a new one'}."
    )


def about_channel(channel: str) -> str:
    """Begins a private answer that could not be given where somebody clicked."""
    return f"About what you clicked in {_channel(channel)}: " if m.CHANNEL.fullmatch(channel) else ""
