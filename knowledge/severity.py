"""How bad senders' words for severity are, so that an incident is as severe as the worst of its alerts. Pure."""

from collections.abc import Iterable

UNKNOWN_WORD = 3
# Every sender has its own words. One that is not here counts as a warning: neither lost nor louder than what is known.
RANKS: dict[str, int] = {
    "": 0,
    **dict.fromkeys(("none", "ok", "normal", "debug", "info", "information", "informational", "notice"), 1),
    **dict.fromkeys(("low", "minor", "p5", "sev5", "p4", "sev4"), 2),
    **dict.fromkeys(("warning", "warn", "medium", "moderate", "average", "p3", "sev3"), UNKNOWN_WORD),
    **dict.fromkeys(("error", "high", "major", "severe", "p2", "sev2"), 4),
    **dict.fromkeys(
        ("critical", "page", "p1", "p0", "sev1", "sev0", "emergency", "fatal", "blocker", "disaster", "alert"), 5
    ),
}

# Words for what nobody may sleep through.
CRITICAL = frozenset(word for word, one in RANKS.items() if one == max(RANKS.values()))


def rank(word: str) -> int:
    """From 0 (nothing is said) to 5 (critical)."""
    return RANKS.get(word.lower(), UNKNOWN_WORD)


def worst(words: Iterable[str]) -> str:
    """The most severe of some words, the first of equals; "" of none."""
    return max(words, key=rank, default="")
