"""The catalogue and its page say the same, and what an entry states of itself holds together."""

from bot.remediators_page import PAGE, filled
from remediation.remediators import REMEDIATORS


def test_the_page_has_exactly_this_catalogue() -> None:
    text = PAGE.read_text("utf-8")
    assert filled(text) == text, "python -m bot.remediators_page"


def test_every_entry_says_what_it_needs_and_what_cannot_be_undone() -> None:
    for entry in REMEDIATORS.values():
        assert entry.deadline_seconds > entry.settle_seconds
        assert bool(entry.undo) == bool(entry.undo_text), entry.name
        assert entry.permissions or entry.name == "noop"
