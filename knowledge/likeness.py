"""The few lines by which a failure is recognised again. Pure; used alike for what is stored and for what is asked.

A short text is kept whole. Of a long one only the telling lines stay: with their neighbours, or with lines that a
program wrote about its ordinary work, an excerpt reads like every other log (docs/retrieval.md has the figures).
"""

import re

from knowledge.language_models.rules import mark
from knowledge.reduction import said_in, without_timestamp

LINES, CHARS = 12, 1_200
_LINE_CHARS = 500
# Beyond this an excerpt gains nothing, and the scan stays short whatever is pasted.
_MOST_CHARS = 4 * 1024 * 1024
_VARIABLE = re.compile(r"0x[0-9a-fA-F]+|\b[0-9a-f]{8,}(?:-[0-9a-f]{4,})*\b|\d+")
# A level that a program gives to its ordinary work, wherever a log format puts it at the start of a line.
_ORDINARY = re.compile(
    r"(?i)^[^A-Za-z]{0,40}(?:(?:info|debug|trace|notice)\b|I\d{4} )"
    r"|\"level\":\s{0,2}\"(?:info|debug|trace)\"|\blevel=(?:info|debug|trace)\b"
)
# A warning that no rule knows: it tells something only where nothing else does.
_WARNS = re.compile(r"(?i)^[^A-Za-z]{0,40}warn(?:ing)?\b|\"level\":\s{0,2}\"warn|\blevel=warn")
_NOTHING_WRONG = re.compile(r"(?i)\b(?:0|no) (?:errors?|failed|failures?|warnings?)\b|\b(?:errors?|failures?)[=:] ?0\b")


def excerpt(text: str, *, max_lines: int = LINES, max_chars: int = CHARS) -> str:
    """The telling lines of one text, in its order, without timestamps; "" only for an empty text."""
    text = text[:_MOST_CHARS]
    lines = text.split("\n")
    if len(lines) <= max_lines and len(text) <= max_chars:
        return "\n".join(said for line in lines if (said := _said(line)))
    kept: list[tuple[int, str]] = []
    size = 0
    for index in _ranked(text, lines):
        said = _said(lines[index])
        if len(kept) >= max_lines or (kept and size + len(said) > max_chars):
            break
        kept.append((index, said))
        size += len(said) + 1
    return "\n".join(said for _, said in sorted(kept))


def _said(line: str) -> str:
    line = line.rstrip()[:_LINE_CHARS]
    return said_in(line) or line


def _ranked(text: str, lines: list[str]) -> list[int]:
    """0-based numbers of the telling lines, the most telling first, one of each template."""
    weights = _weights(text, lines)
    if not weights:
        filled = [index for index, line in enumerate(lines) if line.strip()]
        return list(dict.fromkeys([*filled[-8:], *filled[:4]]))
    seen: dict[str, int] = {}
    for index in sorted(weights, key=lambda one: (-weights[one], one)):
        seen.setdefault(_VARIABLE.sub("#", lines[index][:300])[:200], index)
    return list(seen.values())


def _weights(text: str, lines: list[str]) -> dict[int, float]:
    marks = mark(text + "\n")
    known = {hit.line - 1 for hit in marks.hits}
    weights = {line - 1: 1.0 for line in marks.error_lines}
    for hit in marks.hits:
        weights[hit.line - 1] = max(weights.get(hit.line - 1, 0.0), float(hit.rule.weight))
    weights = {index: weight for index, weight in weights.items() if index < len(lines)}
    loud = {index: weight for index, weight in weights.items() if not _ordinary(lines[index], known=index in known)}
    return loud or weights


def _ordinary(line: str, *, known: bool) -> bool:
    start = without_timestamp(line[:_LINE_CHARS])
    return bool(_ORDINARY.search(start) or _NOTHING_WRONG.search(start) or (not known and _WARNS.search(start)))
