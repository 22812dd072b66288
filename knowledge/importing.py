"""Past incidents from elsewhere: one line of JSON becomes one knowledge item, or the reason why it cannot. Pure."""

import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from knowledge.errors import BadInput
from knowledge.model import OUTCOMES, FailureKind, KnowledgeItem
from knowledge.redaction import clean, redact
from knowledge.reduction import reduce_log

SOURCE = "import"
REQUIRED = ("id", "text")
FIELDS = (*REQUIRED, "kind", "cause", "fix", "outcome", "service", "environment", "occurred_at", "link")
LONGEST_ID, LONGEST_NAME, LONGEST_LINK, LONGEST_WORDS = 200, 200, 2_000, 10_000
# As long as the excerpt of an own incident. A text shorter than this in both respects is kept whole.
EXCERPT_CHARS, EXCERPT_LINES = 4_000, 60
# The names of our own incidents' items, and of their earlier fixes: an imported one must never stand in their place.
OWN_ID = re.compile(r"incident-\d+(?:-fix-\d+)?")


@dataclass(frozen=True, slots=True)
class PastIncident:
    """One line as read: redacted, cleaned and reduced. `occurred_at` is None where the line does not say.

    `digest` is equal for lines that say the same; `unknown` names fields that are left out.
    """

    item: KnowledgeItem
    dated: bool
    digest: str
    unknown: tuple[str, ...] = ()


def read_past_incident(line: Mapping[str, Any], *, now: datetime) -> PastIncident:
    """Validate one object of the import's contract.

    Raises:
        BadInput: names the field, what is wrong with it, and the remedy.
    """
    said = {name: _words(name, value) for name in FIELDS if (value := line.get(name)) is not None}
    for name in REQUIRED:
        if not said.get(name, "").strip():
            raise BadInput(f"the field {name} is missing or empty; {_WHY[name]}")
    identifier = _identifier(said["id"])
    occurred_at = read_moment("occurred_at", said.get("occurred_at", ""), now=now)
    kind = one_of("kind", said.get("kind", "").lower(), list(FailureKind))
    fields = {
        "kind": kind,
        "outcome": one_of("outcome", said.get("outcome", "").lower(), OUTCOMES),
        "cause": said.get("cause", "")[:LONGEST_WORDS],
        "fix": said.get("fix", "")[:LONGEST_WORDS],
        "service": one_line("service", said.get("service", "")),
        "environment": one_line("environment", said.get("environment", "")),
        "link": web_address("link", said.get("link", "")),
        "excerpt": excerpt(said["text"]),
    }
    told = json.dumps([fields, occurred_at.isoformat() if occurred_at else ""], sort_keys=True)
    item = KnowledgeItem(
        id=identifier,
        source=SOURCE,
        occurred_at=occurred_at or now,
        **{**fields, "kind": FailureKind(kind) if kind else None},  # type: ignore[arg-type]
    )
    unknown = tuple(name for name in line if name not in FIELDS)
    return PastIncident(item, occurred_at is not None, hashlib.sha256(told.encode()).hexdigest(), unknown)


_WHY = {
    "id": "give each incident an id of its own, so that the same line again changes nothing",
    "text": "give what the failure looked like: its log or error lines",
}


def _words(name: str, value: object) -> str:
    if name == "id" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise BadInput(f"the field {name} is {_type(value)}; write a string")
    # The order matters: a secret that is cut into by control characters is found in the cleaned text.
    whole = value.encode("utf-8", "replace").decode()  # half a surrogate pair is no text that can be stored
    return redact(clean(whole)).strip("\n" if name == "text" else None)


def _type(value: object) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), "no string")


def _identifier(value: str) -> str:
    if len(value) > LONGEST_ID or "\n" in value:
        raise BadInput(f"the field id must be one line of at most {LONGEST_ID} characters; shorten it")
    if "[redacted:" in value:
        raise BadInput("the field id holds what looks like a secret; give another id")
    if OWN_ID.fullmatch(value):
        raise BadInput(f"the field id: {value} is a name of CodeHealer's own incidents; put something before it")
    return value


def one_line(name: str, value: str) -> str:
    """A name: one line, at most 200 characters."""
    if "\n" in value or len(value) > LONGEST_NAME:
        raise BadInput(f"the field {name} must be one line of at most {LONGEST_NAME} characters; shorten it")
    return value


def one_of(name: str, value: str, known: "list[FailureKind] | tuple[str, ...]") -> str:
    """`value` when it is known or empty."""
    if value and value not in known:
        near = difflib.get_close_matches(value, known, n=1, cutoff=0.75)
        guess = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
        raise BadInput(f"the field {name}: {value[:60]!r} is not known; {guess}")
    return value


def web_address(name: str, value: str) -> str:
    """An http(s) address or ""."""
    if not value:
        return ""
    try:
        parts = urlsplit(value)
        right = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        right = False
    if not right or len(value) > LONGEST_LINK or any(c.isspace() for c in value):
        raise BadInput(f"the field {name} is no web address; write https://…")
    return value


def read_moment(name: str, value: str, *, now: datetime) -> datetime | None:
    """A moment in ISO form, UTC where it names no zone; None for "". The future and before 1970 are refused."""
    if not value:
        return None
    try:
        found = datetime.fromisoformat(value)
        found = found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadInput(f"the field {name}: {value[:60]!r} is no time; write it like 2026-11-23T09:00:00Z") from None
    if found > now or found.year < 1970:
        where = "in the future" if found > now else "before 1970"
        raise BadInput(f"the field {name}: {value} lies {where}; correct it")
    return found


def excerpt(text: str) -> str:
    """The telling lines of a redacted, cleaned text; a short text as it is."""
    if len(text) <= EXCERPT_CHARS and text.count("\n") < EXCERPT_LINES:
        return text
    reduced = reduce_log(text, max_lines=EXCERPT_LINES, max_chars=EXCERPT_CHARS)
    return "\n".join(line for _, line in reduced.lines)[:EXCERPT_CHARS]
