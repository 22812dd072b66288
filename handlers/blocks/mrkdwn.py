"""Foreign text made safe for Slack: escaped, bounded, unable to ping, unable to reorder our own words.

Every function takes untrusted text and returns something that may stand in a mrkdwn text object (or, for `plain`, in
a plain_text object). Text objects made by `mrkdwn` are verbatim, so Slack does not turn names and addresses in them
into links or mentions on its own.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

ELLIPSIS = "…"
NOT_STATED = "not stated"
_WORD_JOINER = "\u2060"
_ISOLATE, _END_ISOLATE = "\u2068", "\u2069"

_CONTROLS = re.compile(
    # Control characters but tab and newline; invisible fillers that hide words; marks that reorder text.
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]"
)
_LINE_ENDS = re.compile("\r\n?|[\u2028\u2029\x85]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_SPACES = re.compile(r"\s+")
_BROADCAST = re.compile(r"@(?=channel|here|everyone|group)", re.IGNORECASE)
_SLACK_TOKEN = re.compile("<(?=[!@#])")
_USER = re.compile(r"[UW][A-Z0-9]{1,30}")
_GROUP = re.compile(r"S[A-Z0-9]{1,30}")
CHANNEL = re.compile(r"[CG][A-Z0-9]{1,30}")
_COSTS = {"&": 5, "<": 4, ">": 4, "@": 2}


def clean(text: str, *, lines: bool = False) -> str:
    """Without control, invisible and reordering characters; on one line unless `lines`."""
    text = _LINE_ENDS.sub("\n", text)
    text = _SURROGATES.sub("\ufffd", _CONTROLS.sub("", text))
    if lines:
        return text.strip("\n")
    return _SPACES.sub(" ", text).strip()


def escape(text: str) -> str:
    """Slack's three escapes, and a word joiner inside @channel, @here and @everyone."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _BROADCAST.sub("@" + _WORD_JOINER, text)


def cut(text: str, limit: int) -> str:
    """At most `limit` characters as they will be after escaping, never in the middle of what reads as one sign."""
    if len(text) * 5 <= limit:
        return text
    total = 0
    end = len(text)
    for index, character in enumerate(text):
        total += _COSTS.get(character, 1)
        if total > limit:
            end = index
            break
    if end == len(text):
        return text
    # Room for the ellipsis, then back to a place between two signs (bounded: marks can be stacked without end).
    end = _back_by(text, end, 1)
    for _ in range(16):
        if end <= 1 or not _joined(text[end - 1], text[end]):
            break
        end -= 1
    return text[:end].rstrip() + ELLIPSIS


def _back_by(text: str, end: int, room: int) -> int:
    freed = 0
    while end > 0 and freed < room:
        end -= 1
        freed += _COSTS.get(text[end], 1)
    return end


def _joined(before: str, after: str) -> bool:
    if "\u200d" in (before, after):
        return True
    return unicodedata.category(after) in {"Mn", "Me", "Mc"} or "\U0001f3fb" <= after <= "\U0001f3ff"


def inline(text: str, limit: int, otherwise: str = NOT_STATED) -> str:
    """One line of foreign text for a mrkdwn object, escaped, of at most `limit` characters (at least 8).

    Text with right-to-left letters is isolated, so that the words around it keep their order.
    """
    # Three backticks would swallow the rest of the card into a code block.
    kept = clean(text[: 8 * limit + 64]).replace("```", "ˋˋˋ")
    if not kept:
        return otherwise
    if _reads_right_to_left(kept):
        return _ISOLATE + escape(cut(kept, limit - 2)) + _END_ISOLATE
    return escape(cut(kept, limit))


def _reads_right_to_left(text: str) -> bool:
    return any(unicodedata.bidirectional(character) in {"R", "AL"} for character in text)


def bold(text: str, limit: int, otherwise: str = NOT_STATED) -> str:
    """As `inline`, in bold; an asterisk inside cannot end it."""
    return f"*{inline(text.replace('*', '∗'), limit - 2, otherwise)}*"


def code(text: str, limit: int, otherwise: str = NOT_STATED) -> str:
    """As `inline`, as a code span; a backtick inside cannot end it."""
    return f"`{inline(text.replace('`', 'ˋ'), limit - 2, otherwise)}`"


def fence(text: str, limit: int) -> str:
    """A code block of at most `limit` characters with head and tail of `text`, saying how much is left out."""
    body = clean(text, lines=True).replace("`", "ˋ")
    if not body.strip():
        return f"```\n({NOT_STATED})\n```"
    room = limit - len("```\n\n```")
    if sum(_COSTS.get(character, 1) for character in body[: room + 1]) <= room and len(body) <= room:
        return f"```\n{escape(body)}\n```"
    half = (room - len("\n[999,999,999 characters left out]\n")) // 2
    head, tail = _within(body, half), _within(body[::-1], half)[::-1]
    left_out = len(body) - len(head) - len(tail)
    return f"```\n{escape(head)}\n[{left_out:,} characters left out]\n{escape(tail)}\n```"


def _within(text: str, limit: int) -> str:
    total = 0
    for index, character in enumerate(text):
        total += _COSTS.get(character, 1)
        if total > limit:
            return text[:index]
    return text


def plain(text: str, limit: int, otherwise: str = NOT_STATED) -> str:
    """One line for a plain_text object. Slack does not parse those; what looks like a mention is broken too."""
    kept = _BROADCAST.sub("@" + _WORD_JOINER, clean(text[: 8 * limit + 64]))
    kept = _SLACK_TOKEN.sub("<" + _WORD_JOINER, kept)
    if not kept:
        return otherwise
    return kept if len(kept) <= limit else kept[: limit - 1].rstrip() + ELLIPSIS


def plain_sentences(text: str, limit: int, otherwise: str = NOT_STATED) -> str:
    """As `plain`, ended after the last whole sentence that fits where one does."""
    kept = plain(text, limit + 1, otherwise)
    if len(kept) <= limit:
        return kept
    whole = kept[:limit].rfind(". ")
    return kept[: whole + 1] if whole > 0 else plain(text, limit, otherwise)


def link(url: str, label: str, limit: int = 200) -> str:
    """A link with its label; the label alone when the address is not http(s), too long or could end the link."""
    shown = inline(label, limit).replace("|", "/")
    if not safe_url(url):
        return shown
    return f"<{url.replace('&', '&amp;')}|{shown}>"


def safe_url(url: str) -> bool:
    """Whether `url` may be put into a link: http(s), at most 1,000 visible ASCII characters, no bracket or bar."""
    if not 0 < len(url.replace("&", "&amp;")) <= 1000 or re.search(r"[^!-~]|[<>|`]", url):
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.netloc)


def mention(identifier: str, limit: int = 60) -> str:
    """A user, user group or channel id as Slack's mention, other words as harmless text. Ids come from policy alone."""
    if _USER.fullmatch(identifier):
        return f"<@{identifier}>"
    if _GROUP.fullmatch(identifier):
        return f"<!subteam^{identifier}>"
    if CHANNEL.fullmatch(identifier):
        return f"members of <#{identifier}>"
    return inline(identifier, limit, "somebody")


def channel(identifier: str, otherwise: str = NOT_STATED) -> str:
    """A channel's id as Slack's link to it, other words as harmless text."""
    return f"<#{identifier}>" if CHANNEL.fullmatch(identifier) else inline(identifier, 40, otherwise)


def people(identifiers: Sequence[str], last: str = "or", most: int = 4) -> str:
    """Mentions in a row: "A, B or C"; beyond `most` the rest is counted."""
    shown = [mention(identifier) for identifier in identifiers[:most]]
    if len(identifiers) > most:
        shown.append(f"{len(identifiers) - most} more")
    return joined(shown, last)


def joined(words: Sequence[str], last: str = "and") -> str:
    """ "A, B and C"."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def date(at: datetime, now: datetime) -> str:
    """A moment in the reader's own time zone; UTC where the client cannot. With the day unless it is `now`'s."""
    same_day = at.date() == now.astimezone(at.tzinfo).date()
    shown = "{time}" if same_day else "{date_short_pretty} {time}"
    return f"<!date^{int(at.timestamp())}^{shown}|{utc(at, now)}>"


def utc(at: datetime, now: datetime) -> str:
    """A moment in words without markup, e.g. "14:02 UTC"."""
    offset = at.utcoffset()
    universal = at - offset if offset else at
    same_day = at.date() == now.astimezone(at.tzinfo).date()
    return universal.strftime("%H:%M UTC" if same_day else "%Y-%m-%d %H:%M UTC")


def duration(seconds: float) -> str:
    """ "40 s", "3 min", "1 h 20 min"; rounded to what a person would say."""
    whole = max(0, round(seconds))
    if whole < 90:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    if hours >= 48:
        return f"{round(hours / 24)} days"
    return f"{hours} h {rest} min" if rest else f"{hours} h"


def counted(number: int, one: str, many: str = "") -> str:
    """ "1 alert", "3 alerts"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def left_out(have: int, most: int, what: str) -> list[str]:
    """The line "(3 more checks)" where a list shows `most` of what it has."""
    return [f"({have - most:,} {what})"] if have > most else []


_OUR_DATE = re.compile(r"<!date\^\d+\^[^|>]*\|([^>]*)>")
_OUR_LINK = re.compile(r"<https?://[^|>]*\|([^>]*)>")
_OUR_BOLD = re.compile(r"\*([^*\n]+)\*")


def without_markup(text: str) -> str:
    """Our own mrkdwn as the plain text for notifications and screen readers. Mentions stay: Slack names them there."""
    text = _OUR_DATE.sub(r"\1", text)
    text = _OUR_LINK.sub(r"\1", text)
    text = re.sub(r"```\n?", "", text)
    return _OUR_BOLD.sub(r"\1", text)


def mrkdwn(text: str) -> dict[str, Any]:
    """A verbatim mrkdwn text object around text that is already safe."""
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def plain_text(text: str, *, emoji: bool = False) -> dict[str, Any]:
    """A plain_text object around text that is already bounded."""
    return {"type": "plain_text", "text": text, "emoji": emoji}


def section(block_id: str, lines: Iterable[str]) -> dict[str, Any]:
    """A section of safe lines."""
    return {"type": "section", "block_id": block_id, "text": mrkdwn("\n".join(lines))}


def context(block_id: str, line: str) -> dict[str, Any]:
    """A line of small print."""
    return {"type": "context", "block_id": block_id, "elements": [mrkdwn(line)]}


def sections(block_id: str, lines: Sequence[str], limit: int = 2900) -> list[dict[str, Any]]:
    """As many sections as `lines` need, each under Slack's 3,000 characters; no line may be longer than `limit`."""
    groups: list[list[str]] = []
    used = limit + 1
    for line in lines:
        if used + len(line) + 1 > limit:
            groups.append([])
            used = 0
        groups[-1].append(line)
        used += len(line) + 1
    return [section(f"{block_id}-{number}", group) for number, group in enumerate(groups, start=1)]
