"""Pure: an error, or a refused click, becomes the sentence that a person reads. Privately, always."""

from collections.abc import Callable

from handlers.blocks import mrkdwn as m
from knowledge.errors import BadInput, CodeHealerError, Conflict, NotFound, Refused, SettingsError, Unavailable

UNEXPECTED = "Something went wrong on my side, and it is in the log. Please try again in a minute."
TOO_LONG = "That took too long, so I stopped waiting. Please try again in a minute."
TOO_LATE = "That took too long, so Slack opens no form for this click any more. Please click again."
NOT_STORED = "My database did not answer in time, so nothing is done. Please do it again in a minute; it counts once."
NOT_OURS = "I cannot read that button any more. Please use the newest card of this incident."
CHANGED = "The fix has changed since this card was drawn. Please read the card again and decide on what it says now."
ASKED_TWICE = "This fix is asked for twice. Please click Approve on the card again, read why, and confirm."
FORBIDDEN = (
    "Nothing was started: the policy forbids this by now: {why}. The request stays open for when that has changed."
)
NOT_ENOUGH = "Nothing was started: {why} Ask @codehealer to look again, and it is asked anew."
NOT_EDITABLE = "Nothing about this fix can be changed; approve it as it is, or reject it and say what would be right."
NOT_SEEN = "The target could not be looked at just now, so nothing is changed. Please try again in a minute."
OUTSIDE = "Other companies read this channel, so I say nothing about failures here. Please ask me in one of our own."
OVER = "This incident is over, so there is nothing to take on."
HAS_A_CARD = "That one has a card by now, or has ended."
REGROUPED = "Nothing was split or merged: the incident has changed since the form was opened. Please open it again."
FIX_UNDER_WAY = "Nothing was split or merged: a fix is under way for this incident. Please try again when it has ended."
PAUSED = "CodeHealer is paused, so nothing runs. Once it is resumed, the approval can be given."
GUEST = "Guests and people from other workspaces may ask, but not approve."
FEEDBACK_THANKS = "Thank you; you can change your vote at any time."

_MOST = 400


def _unavailable(error: Exception) -> str:
    words = _message(error)
    if isinstance(error, Unavailable) and error.maybe_done:
        return f"{words} It may have happened all the same, so I look before I try again."
    return f"{words} I try again by myself."


def _message(error: Exception) -> str:
    text = m.inline(str(error), _MOST, UNEXPECTED)
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


# The nearest class in an error's ancestry decides.
SENTENCES: dict[type[Exception], Callable[[Exception], str]] = {
    BadInput: lambda error: f"I could not read that. {_message(error)}",
    SettingsError: lambda error: f"A setting needs an operator's attention. {_message(error)}",
    NotFound: lambda error: f"{_message(error)} It may be gone already.",
    Conflict: lambda error: f"{_message(error)} Please look at the card again.",
    Refused: lambda error: f"Refused: {_message(error)}",
    Unavailable: _unavailable,
    CodeHealerError: _message,
    TimeoutError: lambda _: TOO_LONG,
}


def sentence_for(error: Exception) -> str:
    """What a person reads about `error`, escaped, of at most 600 characters; of unforeseen ones nothing internal."""
    for kind in type(error).__mro__:
        words = SENTENCES.get(kind)
        if words is not None:
            return words(error)
    return UNEXPECTED
