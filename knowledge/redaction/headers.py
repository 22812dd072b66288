"""Secrets in HTTP headers, as clients, servers and languages print them."""

import re
from collections.abc import Iterator

from knowledge.redaction.judging import VALUE, WORDS, is_mask
from knowledge.redaction.spans import Span

_CREDENTIAL = re.compile(rb"[A-Za-z0-9_.~+/=:|%-]{6,8192}")
_AFTER_HEADER = re.compile(rb"(?i)authorization[\"'\\]{0,6}\s{0,2}[:=]\s{0,2}[\"'\\\[]{0,6}\Z")
_AUTHORIZATION = re.compile(rb"""\s{0,3}["'\\\[]{0,6}(?:([A-Za-z0-9_-]{2,30})[ ]{1,2})?([^\s"'\\,\]&]{6,4096})""")
_COOKIE_PAIR = re.compile(rb"""([^=;\s"']{1,80})=([^;\s"'\\,]{6,4096})""")
_COOKIE_ATTRIBUTES = frozenset({b"path", b"domain", b"expires", b"max-age", b"samesite", b"version", b"priority"})
_REGISTRY_AUTH = re.compile(rb"[A-Za-z0-9+/]{8,4096}={0,2}")


def scheme(data: bytes, start: int, _end: int) -> Iterator[Span]:
    """`Bearer VALUE`, `Basic VALUE`, with the header's name before it or without."""
    word, _, _rest = data[start : start + 12].partition(b" ")
    word = word.lower()
    position = start + len(word)
    while data[position : position + 1] == b" " and position - start < 40:
        position += 1
    match = _CREDENTIAL.match(data, position)
    if match is None:
        return
    value = match.group().rstrip(b".:")
    telling = re.search(rb"[0-9]", value) and (len(value) >= 12 or value.endswith(b"="))
    header = _AFTER_HEADER.search(data, max(0, start - 40), start)
    if word in {b"bot", b"digest"} and not header:
        return
    if not telling and not (header and len(value) >= 6 and value.lower() not in WORDS):
        return
    if word == b"basic" and not header and not re.search(rb"[A-Z].*[0-9=]|[0-9].*[A-Z]", value):
        return
    if value.lower().startswith((b"realm=", b"error=")):
        return
    yield position, position + len(value), f"{word.decode()}_credential"


def authorization(data: bytes, _start: int, end: int) -> Iterator[Span]:
    """`Authorization: [scheme] VALUE`, whatever the scheme."""
    match = _AUTHORIZATION.match(data, end, end + VALUE)
    if match is None:
        return
    name, value = match.group(1), match.group(2)
    if is_mask(value) or value.lower().rstrip(b".,") in WORDS:
        return
    secretive = re.search(rb"[0-9]", value) or value.endswith(b"=")
    if secretive and (name is None or name.lower() not in {b"is", b"header", b"for", b"type", b"mode"}):
        yield *match.span(2), "authorization"


def cookie(data: bytes, _start: int, end: int) -> Iterator[Span]:
    """The values of all cookies of a header, without attributes and short words."""
    line_end = data.find(b"\n", end, end + VALUE)
    stop = line_end if line_end >= 0 else min(len(data), end + VALUE)
    yield stop, stop, ""
    for match in _COOKIE_PAIR.finditer(data, end, stop):
        value = match.group(2)
        if match.group(1).lower() in _COOKIE_ATTRIBUTES or is_mask(value):
            continue
        if re.search(rb"[0-9]", value) or len(value) >= 16:
            yield *match.span(2), "cookie"


def cookie_flag(data: bytes, start: int, end: int) -> Iterator[Span]:
    """`curl -b 'name=value'`."""
    yield from cookie(data, start, end - 1)


def auth_field(data: bytes, _start: int, end: int) -> Iterator[Span]:
    """`"auth": "…"` of a Docker configuration."""
    match = _REGISTRY_AUTH.match(data, end - 12)
    if match and len(match.group()) >= 12:
        yield *match.span(), "registry_auth"


RULES = {
    r"(?i)\b(?:bearer|basic|bot|negotiate|digest)[ ]{1,2}[A-Za-z0-9_.~+/=-]{6}": scheme,
    r"""(?i)authorization["'\\]{0,6}\s{0,2}[:=]""": authorization,
    r"""(?i)\b(?:set-)?cookie["'\\]{0,6}\s{0,2}[:=]""": cookie,
    r"""[ \t]-b[ \t]{1,3}["'][^\s=\"']""": cookie_flag,
    r"""(?i)["']auth\\{0,4}["']\s{0,2}:\s{0,2}\\{0,4}["'][A-Za-z0-9+/]{12}""": auth_field,
}
