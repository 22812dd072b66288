"""Private keys and other secrets of several lines."""

import re
from collections.abc import Iterator

from knowledge.redaction.judging import is_mask
from knowledge.redaction.spans import Span

KEY_BLOCK = 65_536  # the longest private key looked for, in bytes
_KEY_END = re.compile(rb"-----END (?:[A-Z0-9]{1,12} ){0,4}PRIVATE KEY(?: BLOCK)?-----")
_KEY_BODY = re.compile(rb"(?:[A-Za-z0-9+/=:, \t\r-]{0,200}(?:\n|\\{1,4}[rn]))*[A-Za-z0-9+/=]{0,200}")
_HEX_LINES = re.compile(rb"(?:[ \t]*[0-9a-f]{2,80}(?:\n|\\n|\Z)){1,400}")
_BASE64_LINES = re.compile(rb"(?:[A-Za-z0-9+/=]{1,80}(?:\r?\n|\\n|\Z)){1,64}")
_PRIVATE_MEMBER = re.compile(
    rb"""(\\{0,8}["'](?:d|p|q|dp|dq|qi|k)\\{0,8}["']\s{0,4}:\s{0,4}\\{0,8}["'])([\w-]{16,1024})"""
)


def private_key(data: bytes, start: int, end: int) -> Iterator[Span]:
    """A PEM block of any kind, on many lines or on one, with or without its end."""
    limit = min(len(data), end + KEY_BLOCK)
    another = data.find(b"-----BEGIN ", end, limit)
    closing = _KEY_END.search(data, end, another if another >= 0 else limit)
    if closing:
        yield start, closing.end(), "private_key"
        return
    body = _KEY_BODY.match(data, end, min(limit, end + 16_384))
    yield start, body.end() if body else end, "private_key"


def putty_key(data: bytes, _start: int, end: int) -> Iterator[Span]:
    """The `Private-Lines` of a PuTTY key."""
    if body := _BASE64_LINES.match(data, end):
        yield body.start(), body.start() + len(body.group().rstrip(b"\r\n")), "private_key"


def vault_block(data: bytes, _start: int, end: int) -> Iterator[Span]:
    """The hex lines below `$ANSIBLE_VAULT`."""
    if body := _HEX_LINES.match(data, end):
        yield body.start(), body.start() + len(body.group().rstrip()), "vault"


def web_key(data: bytes, start: int, _end: int) -> Iterator[Span]:
    """The private members of a JSON Web Key, found by its `kty`."""
    begin = max(data.rfind(b"{", max(0, start - 2048), start), start - 2048, 0)
    stop = data.find(b"}", start, start + 4096)
    stop = stop if stop >= 0 else min(len(data), start + 4096)
    yield stop, stop, ""
    for match in _PRIVATE_MEMBER.finditer(data, begin, stop):
        if not is_mask(match.group(2)):
            yield *match.span(2), "private_key"


RULES = {
    r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,4}PRIVATE KEY(?: BLOCK)?-----": private_key,
    r"Private-Lines: \d{1,3}\r?\n": putty_key,
    r"\$ANSIBLE_VAULT;[0-9.]{1,5};AES256[^\n]{0,80}\n": vault_block,
    r"""["']kty\\{0,8}["']\s{0,4}:""": web_key,
}
