"""Finding all secrets of a text in one scan, and cutting them out."""

import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from knowledge.redaction import addresses, assigned, blocks, commands, headers, manifests
from knowledge.redaction.judging import MARKER
from knowledge.redaction.spans import Span
from knowledge.scanning import Crowded, Scanner

# So many anchors a scan is allowed, and one for so many bytes besides. Real logs stay below a tenth of it; a text that
# is above was made to cost time.
_ANCHORS_FREE, _BYTES_AN_ANCHOR = 1_000, 60
_ANCHORS_A_LINE = 300
_LONG_LINE = 2_000
_LONGEST_TOKEN = 40_000

Rule = Callable[[bytes, int, int], Iterator[Span]]


@dataclass(frozen=True, slots=True)
class _Format:
    """A token that its form gives away: matched where its anchor begins, unless that is within a word.

    `before` is what of the token stands before its anchor, None where the anchor is its beginning.
    """

    kind: str
    pattern: re.Pattern[bytes]
    before: re.Pattern[bytes] | None = None

    def __call__(self, data: bytes, start: int, _end: int) -> Iterator[Span]:
        if self.before is not None:
            head = self.before.search(data, max(0, start - 80), start)
            if head and (match := self.pattern.match(data, start, start + _LONGEST_TOKEN)):
                yield head.start(), match.end(), self.kind
            return
        if start and _in_word(data[start - 1]) and _in_word(data[start]):
            return
        if match := self.pattern.match(data, start, start + _LONGEST_TOKEN):
            yield *(match.span("secret") if "secret" in self.pattern.groupindex else match.span()), self.kind


@cache
def _table() -> tuple[tuple[str, ...], tuple[Rule, ...], int]:
    """(expressions, rules) side by side, and how many of them, the first, are found by their end alone.

    The last expression, without a rule, is the manifests' anchor.
    """
    raw = tomllib.loads(files("knowledge").joinpath("data/secret_formats.toml").read_text(encoding="utf-8"))
    rules: list[tuple[str, Rule]] = [*assigned.END_RULES.items(), *commands.END_RULES.items()]
    by_end = len(rules)
    rules += [(anchor, _format(kind, *patterns)) for kind, anchor, *patterns in raw["formats"]]
    for family in (assigned, commands, addresses, headers, blocks):
        rules += family.RULES.items()
    return (*(anchor for anchor, _ in rules), manifests.ANCHOR), tuple(rule for _, rule in rules), by_end


def _format(kind: str, pattern: str, before: str = "") -> Rule:
    head = re.compile(rf"(?:{before})\Z".encode()) if before else None
    return _Format(kind, re.compile(pattern.encode()), head)


@cache
def _scanner() -> Scanner:
    expressions, _, by_end = _table()
    return Scanner(expressions, by_end=by_end)


def redact(text: str) -> str:
    """`text` with every secret replaced by `[redacted:KIND]`; nothing else changes, nor the number of lines.

    A line with more places to look at than any tool prints is replaced as a whole: it was made to cost time.
    """
    if not text:
        return text
    data = text.encode("utf-8", "surrogatepass")
    try:
        hits = _scanner().scan(data, _ANCHORS_FREE + len(data) // _BYTES_AN_ANCHOR)
        if not hits:
            return text
    except Crowded:
        data = _without_crowded_lines(data)
        hits = _scanner().scan(data)
    spans = _spans(data, hits)
    if not spans:
        return text if hits == [] else data.decode("utf-8", "surrogatepass")
    return _replace(data, spans).decode("utf-8", "surrogatepass")


def _without_crowded_lines(data: bytes) -> bytes:
    lines = data.split(b"\n")
    for number, line in enumerate(lines):
        if len(line) > _LONG_LINE:
            try:
                _scanner().scan(line, _ANCHORS_A_LINE + len(line) // _BYTES_AN_ANCHOR)
            except Crowded:
                lines[number] = b"[redacted:crowded_line]"
    return b"\n".join(lines)


def _spans(data: bytes, hits: list[tuple[int, int, int]]) -> list[Span]:
    rules = _table()[1]
    longest: dict[tuple[int, int], int] = {}
    by_end = _table()[2]
    for index, start, end in hits:
        place = (start if index >= by_end else end, index)
        if end > longest.get(place, 0):
            longest[place] = end
    spans: list[Span] = []
    secret_manifests: list[int] = []
    reached: dict[int, int] = {}
    # Left to right, so that what a rule has consumed is not looked at again.
    for (start, index), end in sorted(longest.items()):
        if index == len(rules):
            secret_manifests.append(start)
        elif start >= reached.get(index, -1):
            for span in rules[index](data, start, end):
                spans.append(span)
                reached[index] = max(reached.get(index, 0), span[1])
    if secret_manifests:
        spans += manifests.manifest_spans(data, secret_manifests)
    return _merged(data, spans)


def _in_word(byte: int) -> bool:
    return byte < 128 and chr(byte).isalnum()


# Kinds that say where a secret stood; a token's own format says more.
_GENERIC = (
    frozenset({"authorization", "credential", "token", "api_key", "secret", "cookie", "jwt", "registry_auth"})
    | {f"{where}_credential" for where in ("bearer", "basic", "bot", "negotiate", "digest", "url", "dsn")}
    | {"url_parameter"}
)


def _merged(data: bytes, spans: list[Span]) -> list[Span]:
    """Spans in order without overlap; the most telling of the overlapping kinds names the whole."""
    merged: list[Span] = []
    for start, end, kind in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start >= end or MARKER.fullmatch(data, start, end):
            continue
        if merged and start < merged[-1][1]:
            first, last, name = merged[-1]
            merged[-1] = (first, max(last, end), kind if name in _GENERIC and kind not in _GENERIC else name)
        else:
            merged.append((start, end, kind))
    # A marker that is already there is never cut up.
    return [span for span in merged if not _inside_marker(data, span)]


def _inside_marker(data: bytes, span: Span) -> bool:
    opening = data.rfind(b"[redacted", max(0, span[0] - 60), span[0] + 9)
    match = MARKER.match(data, opening) if opening >= 0 else None
    return bool(match and opening <= span[0] < match.end())


def _replace(data: bytes, spans: list[Span]) -> bytes:
    parts: list[bytes] = []
    position = 0
    for start, end, kind in spans:
        parts.append(data[position:start])
        parts.append(b"[redacted:%s]" % kind.encode())
        parts.append(b"\n" * data.count(b"\n", start, end))
        position = end
    parts.append(data[position:])
    return b"".join(parts)
