"""What a person typed after /codehealer, or in a mention: forgiving, and pure. Nothing here raises.

A line is a subcommand and its words. The words are read by what they are: which incident is meant, until when, which
filters. What cannot be read is said with its field and the remedy (`problem`).
"""

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from handlers.blocks import mrkdwn as m
from handlers.blocks.commands import SUBCOMMANDS
from knowledge.model import IncidentState
from remediation.approvals import next_time

# What people say instead, in lower case. Words that could mean something else in a sentence ("stop") are not here.
ALSO: Mapping[str, str] = {
    "state": "status", "overview": "status", "st": "status",
    "incident": "incidents", "list": "incidents", "ls": "incidents",
    "card": "show", "view": "show", "details": "show",
    "find": "search", "lookup": "search", "grep": "search",
    "diagnosis": "diagnose", "analyse": "diagnose", "analyze": "diagnose", "examine": "diagnose",
    "queue": "approve-queue", "approvals": "approve-queue", "approval": "approve-queue", "waiting": "approve-queue",
    "pending": "approve-queue", "approve": "approve-queue", "reject": "approve-queue",
    "timeline": "history", "past": "history", "log": "history",
    "alike": "similar", "like": "similar", "precedents": "similar",
    "modes": "mode",
    "silence": "mute", "muted": "mute", "mutes": "mute", "unsilence": "unmute",
    "postpone": "snooze", "defer": "snooze",
    "unpause": "resume", "continue": "resume",
    "rules": "policy", "why": "policy",
    "stat": "stats", "statistics": "stats", "figures": "stats", "metrics": "stats",
    "vote": "feedback", "thumb": "feedback", "thumbs": "feedback", "rate": "feedback",
    "commands": "help", "usage": "help", "?": "help", "h": "help", "-h": "help",
}  # fmt: skip
OF_TWO_WORDS: Mapping[tuple[str, str], str] = {
    ("approve", "queue"): "approve-queue",
    ("approval", "queue"): "approve-queue",
    ("policy", "why"): "policy",
    ("show", "incidents"): "incidents",
    ("list", "incidents"): "incidents",
    ("open", "incidents"): "incidents",
}
# Longer than any id can be, and int() would take it.
_NUMBER = re.compile(r"(?:inc(?:ident)?-?)?#?([0-9]{1,15})", re.IGNORECASE)
_PERMALINK = re.compile(r"https?://[^\s/<>|]+/archives/([CDG][A-Z0-9]{2,20})/p([0-9]{10})([0-9]{6})(\?[^\s<>|]*)?")
_THREAD = re.compile(r"[?&]thread_ts=([0-9]{10}\.[0-9]{6})(?:&|$)")
_FILLERS = frozenset({"the", "incident", "number", "no", "no.", "card", "of", "about", "for", "on", "please"})
_LAST = frozenset({"last", "latest", "newest", "recent"})
MOST_WORDS = 400


@dataclass(frozen=True, slots=True)
class Command:
    """A parsed line. `name` is one of SUBCOMMANDS, or the unknown word as typed (foreign text)."""

    name: str
    arguments: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        return self.name in SUBCOMMANDS

    @property
    def line(self) -> str:
        """What could be typed to have the same run again."""
        return " ".join((self.name, *self.arguments))


def parse_command(text: str) -> Command:
    """Case, spaces, a leading slash or dash and a number sign are ignored; nothing typed means help."""
    words = m.clean(text[:2000]).split(" ")[:MOST_WORDS]
    first = _name(words[0]) or ("help" if not words[0].strip("/-") else words[0].lower())
    rest = tuple(word.lstrip("#") for word in words[1:] if word)
    if _reference_at((words[0], *rest), 0)[0] is not None:
        return Command("show", (words[0].lstrip("#"), *rest))
    pair = OF_TWO_WORDS.get((first, rest[0].lower())) if rest else None
    if pair:
        return Command(pair, rest[1:])
    if first in {"open", "closed"} and not rest:
        return Command("incidents", (first,))
    return Command(ALSO.get(first, first), rest)


def _name(word: str) -> str:
    """A subcommand as people write it: "/Pause!" is pause."""
    return word.lower().lstrip("/-").rstrip("!.,")


def suggestion(command: Command) -> Command | None:
    """The nearest known command with the same words; None where nothing is near."""
    typed = m.clean(command.name[:200]).lower()[:40]
    near = difflib.get_close_matches(typed, [*SUBCOMMANDS, *ALSO], n=5, cutoff=0.6)
    # Letters that changed places are nearer than one that is missing: "stauts" is status, not stats.
    found = next((one for one in near if sorted(one) == sorted(typed)), near[0] if near else "")
    return Command(ALSO.get(found, found), command.arguments) if found else None


# --- which incident ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reference:
    """Which incident is meant: its number, a message (its card, or what stands in its thread), or the newest one."""

    number: int = 0
    channel: str = ""
    ts: str = ""
    thread_ts: str = ""
    newest: bool = False


def reference(words: tuple[str, ...]) -> tuple[Reference | None, tuple[str, ...]]:
    """The incident that the first words name, and the other words; None where they name none."""
    found, used = _reference_at(words, 0)
    return found, words[used:] if found else words


def _reference_at(words: tuple[str, ...], start: int) -> tuple[Reference | None, int]:
    at = start
    while at < len(words) and words[at].lower() in _FILLERS:
        at += 1
    if at >= len(words):
        return None, start
    word = words[at].strip("<>").rstrip(".,:;?!")
    if number := _NUMBER.fullmatch(word):
        return (Reference(number=int(number[1])), at + 1) if int(number[1]) else (None, start)
    if link := _PERMALINK.match(word):
        thread = _THREAD.search(link[4] or "")
        return Reference(channel=link[1], ts=f"{link[2]}.{link[3]}", thread_ts=thread[1] if thread else ""), at + 1
    if word.lower() in _LAST:
        more = at + 1 < len(words) and words[at + 1].lower() in {"one", "incident"}
        return Reference(newest=True), at + 1 + more
    return None, start


# --- until when ----------------------------------------------------------------------------------------------------

_UNITS: Mapping[str, timedelta] = {
    "m": timedelta(minutes=1), "min": timedelta(minutes=1), "mins": timedelta(minutes=1),
    "minute": timedelta(minutes=1), "minutes": timedelta(minutes=1),
    "h": timedelta(hours=1), "hr": timedelta(hours=1), "hrs": timedelta(hours=1), "hour": timedelta(hours=1),
    "hours": timedelta(hours=1),
    "d": timedelta(days=1), "day": timedelta(days=1), "days": timedelta(days=1),
    "w": timedelta(weeks=1), "week": timedelta(weeks=1), "weeks": timedelta(weeks=1),
    "month": timedelta(days=30), "months": timedelta(days=30),
}  # fmt: skip
_PART = re.compile(r"([0-9]{1,5}(?:\.[0-9]{1,2})?)\s*([a-z]+)\s*(?:,|and)?\s*")
_CLOCK = re.compile(r"([0-9]{1,2})(?:[:.]([0-5][0-9]))?\s*([ap])?\.?(m)?\.?")
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MORNING = "09:00"
MOST_TIME_WORDS = 8


def duration(text: str) -> timedelta | None:
    """ "2h", "30 min", "1 h 30 min", "half an hour", "a day"; None for anything else, and for none at all."""
    words = m.clean(text[:100]).lower()
    words = re.sub(r"^(?:for|in|the last|last|past)\s+", "", words)
    if words in {"half an hour", "half hour", "half an h"}:
        return timedelta(minutes=30)
    words = re.sub(r"^an?\s+", "1 ", words)
    if words in _UNITS:
        words = f"1 {words}"
    total, at = timedelta(0), 0
    while at < len(words):
        part = _PART.match(words, at)
        unit = _UNITS.get(part[2]) if part else None
        if part is None or unit is None:
            return None
        total, at = total + float(part[1]) * unit, part.end()
    return total or None


def moment(text: str, *, now: datetime, timezone: str) -> datetime | None:
    """The moment that "2h", "until 9am", "till 21:30", "tomorrow" or "until monday 8:00" means, after `now`.

    Clocks are read in the person's time zone (IANA's name; an unknown one counts as UTC).
    """
    words = m.clean(text[:100]).lower()
    if lasts := duration(words):
        return now + lasts
    told = re.sub(r"^(?:until|till|til|to|at|by)\s+", "", words)
    day, _, rest = told.partition(" ")
    day = day.rstrip(",")
    if day == "tomorrow":
        return _on_day(now, 1, rest, timezone)
    named = next((number for number, name in enumerate(_DAYS) if day in {name, name[:3]}), None)
    if named is not None:
        ahead = (named - now.astimezone(_zone(timezone)).weekday()) % 7 or 7
        return _on_day(now, ahead, rest, timezone)
    clock = _clock(re.sub(r"^(?:today|tonight)\s+(?:at\s+)?", "", told), bare=told != words)
    return next_time(now, clock, timezone) if clock else None


def _on_day(now: datetime, ahead: int, rest: str, timezone: str) -> datetime | None:
    clock = _clock(re.sub(r"^(?:at|,)\s*", "", rest), bare=True) if rest else MORNING
    if not clock:
        return None
    day = now.astimezone(_zone(timezone)) + timedelta(days=ahead)
    # The last moment of the day before is where the next such time is looked for.
    midnight = day.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(seconds=1)
    return next_time(midnight, clock, timezone)


def _clock(text: str, *, bare: bool) -> str:
    """ "21:30" of what is written so, as "9:30 pm", or where a `bare` hour is one, as "9"; else ""."""
    text = text.strip()
    if text in {"noon", "midday"}:
        return "12:00"
    if text == "midnight":
        return "00:00"
    found = _CLOCK.fullmatch(text)
    if found is None or (found[3] is None) != (found[4] is None) or not (bare or found[2] or found[3]):
        return ""
    hour, minute = int(found[1]), int(found[2] or 0)
    if found[3]:
        if not 1 <= hour <= 12:
            return ""
        hour = hour % 12 + (12 if found[3] == "p" else 0)
    return f"{hour:02}:{minute:02}" if hour < 24 else ""


def _zone(timezone: str) -> tzinfo:
    try:
        return ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


def with_time(
    words: tuple[str, ...], *, now: datetime, timezone: str
) -> tuple[tuple[str, ...], datetime | None]:  # fmt: skip
    """The words without the time at their end, and that moment; None where they end in none."""
    for at in range(max(0, len(words) - MOST_TIME_WORDS), len(words)):
        found = moment(" ".join(words[at:]), now=now, timezone=timezone)
        if found is not None:
            return words[:at], found
    return words, None


# --- filters of lists ------------------------------------------------------------------------------------------------

STATES: Mapping[str, IncidentState] = {
    **{state.value: state for state in IncidentState},
    **{state.value.replace("_", "-"): state for state in IncidentState},
}
_NAMED = frozenset({"service", "app", "environment", "env", "page", "before"})
_SINCE = frozenset({"since", "from", "within"})
_IGNORED = frozenset({"and", "the", "in", "for", "of", "with", "incidents", "incident", "all", "only"})
FILTERS_REMEDY = "Write open, closed, a state such as healed, service NAME, environment NAME, since 2d, or page 2."


@dataclass(frozen=True, slots=True)
class Filters:
    """Which incidents of a list. `before` is a number: those that are older. `problem` is what could not be read."""

    state: str = ""  # open, closed or a state; "" for all
    service: str = ""
    environment: str = ""
    since: datetime | None = None
    since_words: str = ""
    page: int = 1
    before: int = 0
    problem: str = ""

    def words(self) -> str:
        """The filters as they could be typed, without the page."""
        parts = [
            self.state,
            f"service {self.service}" if self.service else "",
            f"environment {self.environment}" if self.environment else "",
            f"since {self.since_words}" if self.since_words else "",
        ]
        return " ".join(part for part in parts if part)


def filters(
    words: tuple[str, ...], *, services: Collection[str], environments: Collection[str], now: datetime, timezone: str
) -> Filters:
    """The filters of `incidents`. Known names of services and environments need no word before them."""
    found: dict[str, object] = {}
    queue = [part for word in words for part in _apart(word)]
    while queue:
        word = queue.pop(0)
        low = word.lower()
        if low in _IGNORED:
            continue
        if low in {"open", "closed"} or low in STATES:
            found["state"] = STATES[low].value if low in STATES else low
        elif low in _NAMED:
            problem = _named(low, queue, found)
            if problem:
                return Filters(problem=problem)
        elif low in {*_SINCE, "last", "past", "today", "yesterday"}:
            if low in {"last", "past", "today", "yesterday"}:
                queue.insert(0, word)
            if not _take_since(queue, found, now=now, timezone=timezone):
                return Filters(problem="since: give how long ago, such as 2d, or a day, such as 2026-11-20.")
        elif name := _known(word, services):
            found["service"] = name
        elif name := _known(word, environments):
            found["environment"] = name
        else:
            return Filters(problem=f"I do not know the filter {m.code(word, 40)}. {FILTERS_REMEDY}")
    return Filters(**found)  # type: ignore[arg-type]


def _apart(word: str) -> list[str]:
    """ "service:checkout" and "env=prod" as two words."""
    name, sign, value = word.partition(":") if ":" in word else word.partition("=")
    return (
        [name, value] if sign and name.lower() in {"service", "app", "environment", "env", "since", "page"} else [word]
    )


def _known(word: str, names: Collection[str]) -> str:
    return next((name for name in names if name.lower() == word.lower()), "")


def _named(field: str, queue: list[str], found: dict[str, object]) -> str:
    """Read the value after a filter's name; what is wrong with it, or ""."""
    value = queue.pop(0) if queue else ""
    if field in {"page", "before"}:
        if not (value.isascii() and value.isdecimal() and len(value) < 16 and int(value)):
            return f"{field}: give a number from 1."
        found[field] = int(value)
        return ""
    if not value:
        return f"{field}: give its name."
    found["service" if field in {"service", "app"} else "environment"] = value[:253]
    return ""


def _take_since(queue: list[str], found: dict[str, object], *, now: datetime, timezone: str) -> bool:
    """Take as many words as make a time in the past."""
    for count in range(min(4, len(queue)), 0, -1):
        words = " ".join(queue[:count])
        at = _since(words, now=now, timezone=timezone)
        if at is not None:
            del queue[:count]
            found["since"], found["since_words"] = at, words
            return True
    return False


def _since(words: str, *, now: datetime, timezone: str) -> datetime | None:
    low = words.lower().removesuffix(" ago")
    if lasts := duration(low):
        # Nothing is older than this program; and a date has a beginning.
        return now - min(lasts, timedelta(days=36_500))
    today = now.astimezone(_zone(timezone)).replace(hour=0, minute=0, second=0, microsecond=0)
    if low in {"today", "yesterday"}:
        return today if low == "today" else today - timedelta(days=1)
    try:
        day = datetime.fromisoformat(low) if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", low) else None
    except ValueError:
        return None
    return day.replace(tzinfo=_zone(timezone)) if day else None


def days(words: tuple[str, ...], otherwise: int) -> int | None:
    """A number of days from 1 to 999: "7", "7d", "2 weeks", "last month"; `otherwise` for no word, None for others."""
    if not words:
        return otherwise
    text = " ".join(words)
    if text.isascii() and text.isdecimal():
        number = int(text[:6])
    else:
        lasts = duration(text)
        number = lasts.days if lasts else 0
    return number if 0 < number < 1000 else None


# --- in a mention ----------------------------------------------------------------------------------------------------

MOST_SENTENCE = 240
_POLITE = frozenset({"please", "pls", "thanks", "now"})
_PLEASE = re.compile(r"^(?:please|pls)[ ,]+", re.IGNORECASE)
EVERYTHING = frozenset({"everything", "all"})


def _none(words: tuple[str, ...]) -> bool:
    return not words


def _an_incident(words: tuple[str, ...]) -> bool:
    found, rest = reference(words)
    return found is not None and not rest


def _one_or_an_incident(words: tuple[str, ...]) -> bool:
    found, rest = reference(words)
    return not rest if found else 0 < len([word for word in words if word.lower() not in _FILLERS]) < 2


def _timed(words: tuple[str, ...]) -> bool:
    rest, _ = with_time(words, now=datetime(2026, 1, 1, tzinfo=UTC), timezone="UTC")
    return not rest or _one_or_an_incident(rest)


def _text(words: tuple[str, ...]) -> bool:
    return bool(words)


def _some(most: int) -> Callable[[tuple[str, ...]], bool]:
    return lambda words: len(words) <= most


def _filtering(words: tuple[str, ...]) -> bool:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return not filters(words, services=(), environments=("prod", "staging", "dev"), now=now, timezone="UTC").problem


# What may follow a subcommand in a mention. There a sentence is a question unless it is plainly a command: "pause the
# rollout of checkout" must not stop everything.
FITS: Mapping[str, Callable[[tuple[str, ...]], bool]] = {
    "status": _none,
    "incidents": _filtering,
    "show": _an_incident,
    "search": _text,
    "diagnose": lambda words: not words or _an_incident(words),
    "approve-queue": _none,
    "history": _one_or_an_incident,
    "similar": _an_incident,
    "mode": _some(3),
    "mute": _timed,
    "unmute": _one_or_an_incident,
    "snooze": _timed,
    # Anybody may pause, and one pause too many is better than none.
    "pause": lambda words: {word.lower().strip(".,!") for word in words} <= EVERYTHING,
    "resume": lambda words: {word.lower() for word in words} <= EVERYTHING or _an_incident(words),
    "policy": _an_incident,
    "stats": lambda words: days(words, 1) is not None,
    "feedback": lambda words: reference(words)[0] is not None,
    "trust": _some(2),
    "evidence": lambda words: not words or _an_incident(words),
    "postmortem": lambda words: not words or _an_incident(words),
    "help": _some(1),
}


def command_in(said: str, *, in_thread: bool) -> Command | None:
    """The command that a mention is, without the mention itself; None for a question. Empty outside a thread: help."""
    said = _PLEASE.sub("", said.strip())
    if not said:
        return None if in_thread else Command("help")
    if len(said) > MOST_SENTENCE or "\n" in said or "```" in said:
        return None
    command = parse_command(said.rstrip("? "))
    words = command.arguments
    while words and words[-1].lower().strip(".,!") in _POLITE:
        words = words[:-1]
    command = Command(command.name, words)
    fits = FITS.get(command.name)
    asked = said.rstrip().endswith("?")
    if fits is None or not fits(words) or (asked and SUBCOMMANDS[command.name].changes):
        return None
    # Without a name of ours at its front, a number or an address alone is talk.
    first = _name(m.clean(said).split(" ")[0].rstrip("?"))
    return command if first in SUBCOMMANDS or first in ALSO else None
