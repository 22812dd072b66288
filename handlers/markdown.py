"""Foreign text made safe for Markdown: redacted, bounded, unable to call anybody, to link or to end our sections."""

import re
from collections.abc import Sequence

from handlers.blocks.mrkdwn import ELLIPSIS, safe_url
from knowledge.redaction import clean, redact

_USER = re.compile(r"<@([UW][A-Z0-9]{1,30})(?:\|[^<>]{0,100})?>")
# A backslash does not keep @name and #12 from being linked where people discuss such files; a code span does.
_SPECIAL = re.compile(
    r"(?<!\w)(@[\w-](?:[\w/.-]{0,80}[\w-])?|#\d{1,9})|([\\`*\[\]<>|~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))|&(?=#?\w+;)"
)
_LINE_START = re.compile(r"^(?:[#+=-]|\d{1,9}(?=[.)]))")
_TICKS = re.compile(r"`{3,}")


def inline(text: str, limit: int, otherwise: str = "not stated") -> str:
    """`text` on one line, of at most `limit` characters before escaping; an id of Slack's stays an id."""
    words = " ".join(redact(clean(_USER.sub(r"\1", text))).split())
    if len(words) > limit:
        words = words[: limit - 1].rstrip() + ELLIPSIS
    return _SPECIAL.sub(_escaped, words) or otherwise


def _escaped(found: re.Match[str]) -> str:
    if found[1]:
        return f"`{found[1]}`"
    return f"\\{found[2]}" if found[2] else "&amp;"


def code(text: str, limit: int = 200) -> str:
    """A name or an id as code."""
    words = " ".join(redact(clean(text)).replace("`", "'").split())[:limit]
    return f"`{words}`" if words else "not stated"


def block(lines: Sequence[str]) -> str:
    """Lines as they are, in a fence that none of them ends."""
    text = redact(clean("\n".join(lines)))
    fence = "`" * max(3, 1 + max((len(ticks) for ticks in _TICKS.findall(text)), default=0))
    return f"{fence}\n{text}\n{fence}"


def quoted(text: str, limit: int) -> str:
    """A text of several lines as a block quote, a paragraph a line."""
    lines = (inline(line, limit, "") for line in text.split("\n"))
    return "\n>\n".join(f"> {_LINE_START.sub(_backslash, line)}" for line in lines if line)


def _backslash(found: re.Match[str]) -> str:
    return f"{found[0]}\\" if found[0][0].isdigit() else f"\\{found[0]}"


def address(url: str) -> str:
    """A link that shows where it leads; "" for what is no web address."""
    return f"<{redact(url)}>" if safe_url(url) else ""
