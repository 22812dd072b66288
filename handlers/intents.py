"""What a person's sentence asks for, and about what: pure.

A closed set of intents and fixed patterns, so that what is said can choose what is told and looked at, and no target,
action or limit. What no pattern knows is a question for the diagnosis.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


class Intent(StrEnum):
    WHY = "why"  # what the cause is
    WHAT = "what"  # what happened, in order
    WHO = "who"  # who decided
    NOT_AUTO = "not_auto"  # why it did not run by itself
    SIMILAR = "similar"  # whether it happened before, and what helped
    DONE = "done"  # what was done, and whether it helped
    OVERVIEW = "overview"  # what is open and what waits
    HELP = "help"
    FIXED = "fixed"  # tells what fixed it
    THANKS = "thanks"  # wants no answer
    OTHER = "other"


_BAD = (
    r"(?:broken|wrong|failing|down|burning|on fire|red|degraded|unhealthy|ok|okay|fine|good|alright|all right|green|"
    r"healthy|up|happening|going on|open)"
)
_NOT_DONE = r".*\b(?:auto\w*|by (?:itself|yourself)|on (?:its|your) own|yourself|fix\w*|heal\w*|act|run|ran|do it)\b.*"
_NOW = r"(?: (?:right )?now| today| currently| at the moment)?"
_DECIDED = (
    r"(?:approv\w*|reject\w*|decid\w*|click\w*|press\w*|allow\w*|sign\w*|start\w*|ran|run|did|done|fix\w*|took|takes|"
    r"on it|working|owns?|handl\w*|undid|dismiss\w*|clos\w*|authori[sz]\w*)"
)
_ANY = r"(?:anything|something|everything|things?|all|any(?: \w+){1,3}|we)"
_OPEN = r"(?: (?:open|current|active|ongoing))?"
_TROUBLE = r"(?:incidents?|alerts?|problems?|outages?|failures?)"
# In this order: the first that matches the whole sentence says what is asked.
_SAID: tuple[tuple[Intent, tuple[str, ...]], ...] = (
    (Intent.THANKS, (
        r"(?:ok(?:ay)?|great|cool|nice|perfect|awesome|many)?[ ,]*(?:thanks?|thx|ty|cheers|thank you)\b.{0,24}",
        r"(?:ok(?:ay)?|great|cool|nice(?: one)?|perfect|awesome|well done|good (?:job|bot))",
    )),
    (Intent.HELP, (
        r"(?:help(?: me)?|what (?:can|do) you do|what can i (?:ask|do|say))(?: here)?",
        r"how do(?:es)? (?:you|this) work",
    )),
    (Intent.NOT_AUTO, (
        rf".*\bwhy (?:was|is|did|ha[sv]e?|are|do|does)?\s*(?:it|this|that|you|the fix)?\s*(?:not|never)\b{_NOT_DONE}",
        rf".*\bwhy (?:was|is|did|has|have|do|does|were|are|ca|could|wo)nt\b{_NOT_DONE}",
        r".*\b(?:why|what for)\b.*\b(?:approval|approve|permission|blocked|ask(?:ed|ing)?)\b.*",
        r".*\bwhat (?:stops|stopped|keeps|kept|prevents|prevented|blocks|blocked)\b.*",
        r".*\bwhich (?:rule|policy)\b.*",
    )),
    (Intent.OVERVIEW, (
        r".*\b(?:wait|waits|waiting|pending|need|needs|open)\b.*\bapprov\w*.*",
        r".*\bapprovals?\b.*\b(?:wait\w*|pending|open)\b.*",
        r"what (?:is |s )?(?:waiting|waits|pending)(?: for me| for us)?",
    )),
    (Intent.WHO, (
        rf".*\bwho(?:s| is| has| was| did| else| all)?\b.*\b{_DECIDED}\b.*",
        r".*\bwhose (?:decision|approval|call)\b.*",
        r".*\b(?:approved|rejected|decided) by (?:who|whom)\b.*",
        r"was (?:it|this|that) (?:approved|rejected)",
    )),
    (Intent.SIMILAR, (
        r".*\b(?:similar|precedents?)\b.*",
        r".*\b(?:like this(?: one)?|the same(?: \w+)?)\b.*\b(?:before|past|known|seen|incidents?|again|any|other)\b.*",
        r".*\b(?:seen|happen\w*|had|occur\w*|know|fail\w*|broke\w*)\b.*\b(?:before|already|previously|again|ever)\b.*",
        r".*\bhow did (?:we|you|they)\b.*\b(?:fix|solve|handle)\b.*\b(?:last time|before|then|previously)\b.*",
        r".*\b(?:last time|how often|recurring|first time)\b.*",
    )),
    (Intent.OVERVIEW, (
        rf"(?:so |hey |hi )?(?:is|are|was|were) {_ANY}\b.*\b{_BAD}\b.*",
        rf"(?:anything|something) {_BAD}.*",
        rf"what(?:s| is| are)? (?:currently |still )?(?:broken|failing|down|red|open|on fire|wrong){_NOW}",
        rf"(?:what|which|any|list|show)(?: me)?(?: the| all)?{_OPEN} {_TROUBLE}(?: are(?: there)?)?{_OPEN}{_NOW}",
        rf"how (?:are things|is everything|is it going|are we(?: doing)?|is (?:prod|production)(?: doing)?){_NOW}",
        r"(?:all|everything) (?:good|ok|okay|fine|quiet|well|green)",
        r"status(?: update| report)?",
        r"(?:what(?:s| is) )?(?:the )?(?:current )?(?:status|state)(?: of (?:prod|production|everything|things))?",
    )),
    (Intent.DONE, (
        r".*\bwhat (?:did|have|has) (?:you|the bot|we|they)(?: already)? (?:do|tr(?:y|ied)|chang|r[ua]n|fix).*",
        r"(?:so )?did (?:it|that|the fix|this|the \w+) (?:work|help|succeed|fix it)\b.*",
        r"(?:is|was) (?:it|this|that|the \w+) (?:fixed|healed|solved|verified|undone|over)\b.*",
        r".*\bwhat (?:was|is|s) (?:the fix|done|tried|changed)\b.*",
        r".*\bhow (?:was|did you|did it get|did we|is) .*\b(?:fix|fixed|heal|healed|solve|solved|resolve|resolved)\b.*",
        r".*\bwhat (?:fixed|healed|solved|resolved) (?:it|this|that|\w+)\b.*",
    )),
    (Intent.WHY, (
        r".*\bwhy\b.*",
        r".*\b(?:what|which \w+) (?:has |have |could have )?(?:caus|broke|break|kill|took down|trigger).*",
        r".*\bwhat(?:s| is| was| went) (?:wrong|the (?:root )?cause|the reason|the problem|the issue)\b.*",
        r".*\bwhat(?:s| is| was) (?:causing|breaking|killing)\b.*",
        r".*\b(?:root cause|how come|reason (?:for|of|why))\b.*",
    )),
    (Intent.WHAT, (
        r".*\bwhat(?:s| is| was| has| have)? (?:happen\w*|going on|been going on|up with)\b.*",
        r".*\bwhat(?:s| is| was)? (?:the (?:story|timeline|latest|news))\b.*",
        r".*\b(?:tell me (?:about|more|what)|catch me up|bring me up to (?:speed|date)|fill me in)\b.*",
        r".*\b(?:recap|timeline|summar\w+|sum (?:it|this) up|tl ?dr)\b.*",
        r".*\b(?:any (?:news|updates?)|updates? on|news (?:on|about|from)|status of|state of)\b.*",
        r"what did i miss\b.*",
    )),
)  # fmt: skip
_PATTERNS = tuple((intent, re.compile(pattern)) for intent, patterns in _SAID for pattern in patterns)
# Asked of now rather than of what is stored: without an open incident the live system is looked at.
_PRESENT = re.compile(r"\b(?:is|are|does|do|whats|isnt|arent|doesnt|wont|cant|keeps?|currently|now)\b")
_PUNCTUATION = re.compile(r"[^\w\s#.:/-]|(?<!\w)[.:/-]|[.:/-](?!\w)")
_SPACES = re.compile(r"\s+")
_NUMBER = re.compile(r"(?:\bincident\s*(?:no\.?|number)?\s*#?|(?<![\w&])#)(\d{1,9})\b")
_WORD = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")


def words_of(said: str) -> str:
    """A sentence in lower case without punctuation: "What's wrong?" becomes "whats wrong"."""
    plain = said.lower().replace("\u2019", "'").replace("'", "")
    return _SPACES.sub(" ", _PUNCTUATION.sub(" ", plain)).strip()


def intent_of(said: str) -> Intent:
    """What one sentence asks for."""
    if fix_told(said):
        return Intent.FIXED
    words = words_of(said)
    return next((intent for intent, pattern in _PATTERNS if pattern.fullmatch(words)), Intent.OTHER)


_FIXED = re.compile(
    r"\s*(?:(?:incident\s*)?#?\d{1,9}|ok(?:ay)?|so|fyi|btw|update|note)?[,:\s]*"
    r"(?:(?:this|that|it|the (?:issue|problem|failure|outage)) (?:was|is|got|has been|is now) (?:now )?"
    r"(?:fixed|solved|resolved|healed)(?: now)? (?:by|with|after)"
    r"|(?:we|i|they) (?:fixed|solved|resolved) (?:this|that|it) (?:by|with)"
    r"|(?:the )?(?:actual |real )?fix (?:was|is)|what (?:fixed|solved|resolved) (?:it|this|that) was)"
    r"[:\s]+(?P<fix>\S.{2,1500})",
    re.IGNORECASE | re.DOTALL,
)


def fix_told(said: str) -> str:
    """What a person says has fixed it, "" where they do not: "this was fixed by scaling the pool"; foreign text."""
    found = _FIXED.fullmatch(said.strip()[:2_000])
    return found["fix"].strip() if found and not said.rstrip().endswith("?") else ""


def of_now(said: str) -> bool:
    """Whether a sentence is about the present, as "why is checkout failing"."""
    return bool(_PRESENT.search(words_of(said)))


def incident_named(said: str) -> int | None:
    """The number of the incident that a sentence names: "incident 12", "#12"."""
    found = _NUMBER.search(said.lower())
    return int(found[1]) if found else None


def named_in(said: str, names: Iterable[str]) -> Sequence[str]:
    """Those of the names that stand in a sentence as words of their own."""
    words = set(_WORD.findall(said.lower()))
    return [name for name in dict.fromkeys(names) if name and name.lower() in words]


# --- when ---------------------------------------------------------------------------------------------------------

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
NIGHT_BEGINS, NIGHT_ENDS = time(18), time(9)
_AGO = re.compile(r"\b(?:last|past|previous) (\d{1,3})? ?(minute|min|hour|day|week)s?\b")
_UNITS = {"minute": timedelta(minutes=1), "min": timedelta(minutes=1), "hour": timedelta(hours=1),
          "day": timedelta(days=1), "week": timedelta(days=7)}  # fmt: skip
_DATE = re.compile(r"\b(\d{4}-\d{2}-\d{2})\b")
_DAY = re.compile(rf"\b(?:on |last )?({'|'.join(DAYS)})\b")


@dataclass(frozen=True, slots=True)
class When:
    """A span of time that a sentence names, and how to call it."""

    since: datetime
    until: datetime
    words: str


def when_in(said: str, now: datetime, zone: str = "UTC") -> When | None:
    """The span that a sentence names in the asker's time zone, None where it names none."""
    words, here = words_of(said), now.astimezone(_zone(zone))
    midnight = datetime.combine(here.date(), time(), here.tzinfo)
    day = timedelta(days=1)
    if re.search(r"\blast night\b|\bover ?night\b", words):
        ends = min(datetime.combine(here.date(), NIGHT_ENDS, here.tzinfo), here)
        return When(datetime.combine(here.date() - day, NIGHT_BEGINS, here.tzinfo), ends, "last night")
    if re.search(r"\bthis morning\b|\btoday\b|\btonight\b", words):
        return When(midnight, here, "today")
    if "yesterday" in words:
        return When(midnight - day, midnight, "yesterday")
    monday = midnight - here.weekday() * day
    if "weekend" in words:
        saturday = monday + 5 * day if here.weekday() >= 5 else monday - 2 * day
        return When(saturday, min(saturday + 2 * day, here), "at the weekend")
    if "this week" in words:
        return When(monday, here, "this week")
    if re.search(r"\blast week\b", words):
        return When(monday - 7 * day, monday, "last week")
    if found := _AGO.search(words):
        many, unit = int(found[1] or 1), found[2]
        number = f"{many} {unit}s" if many > 1 else unit
        return When(here - many * _UNITS[unit], here, f"in the last {number}")
    return _named_day(words, here, midnight)


def _named_day(words: str, here: datetime, midnight: datetime) -> When | None:
    if found := _DATE.search(words):
        try:
            start = datetime.combine(datetime.fromisoformat(found[1]).date(), time(), here.tzinfo)
        except ValueError:
            return None
        return When(start, start + timedelta(days=1), f"on {found[1]}")
    if found := _DAY.search(words):
        back = (here.weekday() - DAYS.index(found[1])) % 7
        start = midnight - timedelta(days=back or (7 if "last " in found[0] else 0))
        return When(start, min(start + timedelta(days=1), here), f"on {found[1].capitalize()}")
    return None


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")
