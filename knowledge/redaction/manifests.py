# ruff: noqa: E501  an expression stays on one line: broken up it cannot be searched for
"""Kubernetes Secret manifests: the values of `data` and `stringData`, in YAML, JSON and JSON in JSON; names stay."""

import re
from collections.abc import Iterable

from knowledge.redaction.judging import MARKER
from knowledge.redaction.spans import Span

# What says that a manifest is a Secret's; the whole of it is then looked at.
ANCHOR = r"""(?i)["'\\]{0,6}\bkind["'\\]{0,6}\s{0,4}:\s{0,4}["'\\]{0,6}(?:Sealed)?Secret(?:List)?["'\\,\s#}]"""
MANIFEST = 1_600_000  # a Secret holds at most 1 MiB, which base64 makes a third longer

# CI logs put a time stamp, sometimes job and step, before each line; diffs put a sign.
_PREFIX = re.compile(
    rb"(?:[^\t\n]{1,120}\t[^\t\n]{1,120}\t)?(?:\xef\xbb\xbf)?"
    rb"(?:\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.,\d]{0,12}(?:Z|[+-]\d\d:?\d\d)?[ \t])?(?:std(?:out|err) [FP] )?(?:[+<>|] ?(?!\d))?"
)
_YAMLISH = re.compile(rb"""\s*\Z|[ \t]+\S|[ \t]*#|-[ \t]|["']?[\w./-]{1,253}["']?[ \t]*:(?:\s|\Z)""")
_JSONISH = re.compile(rb"""\s*\Z|\s*["{}\[\]]""")
_SEPARATOR = re.compile(rb"---(?!-)")
_ITEM = re.compile(rb"\s*- (?:apiVersion|kind|data|stringData|metadata):")
_JSON_TOKEN = re.compile(
    rb"""[{}]|\\{0,8}"kind\\{0,8}"\s{0,4}:\s{0,4}\\{0,8}"Secret\\{0,8}"|\\{0,8}"(?:data|stringData)\\{0,8}"\s{0,4}:\s{0,4}\{"""
)
_JSON_VALUE = re.compile(rb""":\s{0,8}(\\{0,8}")([^"\\]{1,1600000})""")
_YAML_LINE = re.compile(rb"""[ \t]*(?:-[ \t]+)*(?:["']?([A-Za-z0-9_.-]{1,253})["']?[ \t]*:(?:[ \t]+([^\r\n]*))?)?""")
_KIND = re.compile(rb"[\"']?Secret[\"']?\s*(?:#|\Z)")
_NO_VALUE = re.compile(rb"[|>][+-]?\d?|\{\}|\"\"|''")

_Line = tuple[int, int, bytes, int, int]  # start without prefix, indent, key, the value's start and end


def manifest_spans(data: bytes, anchors: Iterable[int]) -> list[Span]:
    spans: list[Span] = []
    json_done = yaml_done = -1
    for anchor in sorted(set(anchors)):
        quoted = data[anchor : anchor + 1] in b"\"'\\" and data[anchor : anchor + 1]
        if quoted and anchor >= json_done:
            begin, json_done = _region(data, anchor, _JSONISH)
            begin = data.rfind(b"\n", 0, max(0, begin - 1)) + 1  # the line that the object begins on
            spans += _json_spans(data, begin, json_done)
        if anchor >= yaml_done:
            begin, yaml_done = _region(data, anchor, _YAMLISH)
            spans += _yaml_spans(data, begin, yaml_done)
    return spans


def _region(data: bytes, anchor: int, fits: re.Pattern[bytes]) -> tuple[int, int]:
    """The lines around the anchor's that look like the same document, at most `MANIFEST` bytes each way."""
    begin = data.rfind(b"\n", 0, anchor) + 1
    end = _line_end(data, anchor)
    while begin and anchor - begin < MANIFEST:
        previous = data.rfind(b"\n", 0, begin - 1) + 1
        if not _belongs(data[previous : begin - 1], fits):
            break
        begin = previous
    while end < len(data) and end - anchor < MANIFEST:
        following = _line_end(data, end + 1)
        if not _belongs(data[end + 1 : following], fits):
            break
        end = following
    return begin, end


def _line_end(data: bytes, position: int) -> int:
    found = data.find(b"\n", position)
    return found if found >= 0 else len(data)


def _belongs(line: bytes, fits: re.Pattern[bytes]) -> bool:
    prefix = _PREFIX.match(line)
    rest = line[prefix.end() :] if prefix else line
    return fits.match(rest) is not None and not _SEPARATOR.match(rest)


def _json_spans(data: bytes, begin: int, end: int) -> list[Span]:
    """Values of the flat `data` objects whose parent says "kind": "Secret", found in one pass over the braces."""
    stack: list[int] = []
    secrets: set[int] = set()
    opened: dict[int, int] = {}  # a data object's position: its parent's
    closed: dict[int, int] = {}
    for match in _JSON_TOKEN.finditer(data, begin, end):
        token = match.group()
        if token == b"}":
            if stack:
                closed[stack.pop()] = match.end()
        elif token.endswith(b"{"):
            position = match.end() - 1
            if len(token) > 1 and stack:
                opened[position] = stack[-1]
            stack.append(position)
        elif stack:
            secrets.add(stack[-1])
    spans: list[Span] = []
    reached = begin
    for position, parent in sorted(opened.items()):
        if parent not in secrets:
            continue
        # What was cut off before its closing brace is still a secret.
        stop = closed.get(position, end)
        spans += [
            (*value.span(2), "kubernetes_secret")
            for value in _JSON_VALUE.finditer(data, max(position, reached), stop)
            if not MARKER.fullmatch(value.group(2)) and value.group(2).strip()
        ]
        reached = max(reached, stop)
    return spans


def _yaml_spans(data: bytes, begin: int, end: int) -> list[Span]:
    """Values under `data:` and `stringData:` of documents and list items that say `kind: Secret`."""
    lines: list[_Line] = []
    spans: list[Span] = []
    position = begin
    for whole in data[begin:end].split(b"\n"):
        prefix = _PREFIX.match(whole)
        skipped = prefix.end() if prefix else 0
        raw = whole[skipped:]
        if _SEPARATOR.match(raw) or _ITEM.match(raw):
            spans += _document_spans(data, lines)
            lines = []
        if (match := _YAML_LINE.match(raw)) and not _SEPARATOR.match(raw):
            key = match.group(1) or b""
            indent = match.start(1) if key else len(raw) - len(raw.lstrip())
            if key and raw[indent - 1 : indent] in {b'"', b"'"}:
                indent -= 1
            value = match.span(2) if match.group(2) is not None else (len(raw), len(raw))
            start = position + skipped
            lines.append((start, indent, key, start + value[0], start + value[1]))
        position += len(whole) + 1
    return spans + _document_spans(data, lines)


def _document_spans(data: bytes, lines: list[_Line]) -> list[Span]:
    levels = {indent for _, indent, key, start, end in lines if key == b"kind" and _KIND.match(data[start:end])}
    spans: list[Span] = []
    inside: int | None = None
    for line in lines:
        start, indent, key, value_start, value_end = line
        blank = value_start == value_end and not key and not data[start : start + 1].strip()
        if inside is not None and (indent > inside or (blank and not key)):
            spans += _value(data, line)
            continue
        inside = indent if key in {b"data", b"stringData"} and indent in levels else None
    return spans


def _value(data: bytes, line: _Line) -> list[Span]:
    start, indent, key, value_start, value_end = line
    if not key:  # a line of a block scalar
        value_start = start + indent
        value_end = _line_end(data, value_start)
    value = data[value_start:value_end].rstrip()
    if not value or MARKER.fullmatch(value) or _NO_VALUE.fullmatch(value):
        return []
    begin, stop = value_start, value_start + len(value)
    if value[:1] in {b'"', b"'"} and value[-1:] == value[:1] and len(value) > 2:
        begin, stop = begin + 1, stop - 1
        if MARKER.fullmatch(data[begin:stop]):
            return []
    return [(begin, stop, "kubernetes_secret")]
