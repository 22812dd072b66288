"""Secrets in addresses: URLs and DSNs with a password, query parameters."""

import re
from collections.abc import Iterator

from knowledge.redaction.judging import is_mask, is_secret, looks_random
from knowledge.redaction.spans import Span

_USER_INFO = re.compile(rb"""([^\s:/@?#"'<>\\]{0,256}):([^\s"'<>`]{1,512})@(?=[A-Za-z0-9\[_$({*.-])""")
_USER_INFO_STRICT = re.compile(rb"""([^\s:/@?#"'<>\\]{0,256}):([^\s"'<>`/]{1,512})@(?=[A-Za-z0-9\[_$({*.-])""")
_TOKEN_USER = re.compile(rb"""([A-Za-z0-9_-]{20,255})(?::(?:x-oauth-basic|x)?)?@""")
_PORT_FIRST = re.compile(rb"\d{1,5}(?:[/?#,]|\Z)")
# Behind these an @ is common in a path, so that a password ends at the first slash.
_WEB = (b"http", b"https", b"ws", b"wss", b"git", b"file")
_QUERY_VALUE = re.compile(rb"""[^\s"'&;<>#]{12,4096}""")


def url(data: bytes, start: int, _end: int) -> Iterator[Span]:
    """`scheme://user:password@host`, `scheme://token@host`."""
    position = start + 3
    scheme = data[max(0, start - 12) : start].lower()
    strict = scheme.endswith(_WEB)
    token = _TOKEN_USER.match(data, position, position + 300)
    if token and re.search(rb"\d.*[A-Za-z]|[A-Za-z].*\d", token.group(1)):
        yield *token.span(1), "url_credential"
        return
    match = (_USER_INFO_STRICT if strict else _USER_INFO).match(data, position, position + 800)
    if match is None:
        return
    password = match.group(2)
    if b"://" in password:  # the next address of a list
        password = password[: password.index(b"://")]
        cut = password.rfind(b"@")
        if cut <= 0:
            return
        password = password[:cut]
    if not (_PORT_FIRST.match(password) or is_mask(password)):
        yield match.start(2), match.start(2) + len(password), "url_credential"


def go_dsn(data: bytes, start: int, _end: int) -> Iterator[Span]:
    """`user:password@tcp(host)`, as Go's MySQL driver has it."""
    before = data[max(0, start - 256) : start]
    word = before[max(before.rfind(c) for c in (b" ", b"\n", b'"', b"'", b"\t", b"=")) + 1 :]
    if b"=" in before and b":" not in word:  # a password with an equals sign in it
        word = before[max(before.rfind(c) for c in (b" ", b"\n", b'"', b"'", b"\t")) + 1 :].split(b"=", 1)[-1]
    user, colon, password = word.partition(b":")
    if colon and password and b"/" not in user and len(user) <= 64 and not is_mask(password):
        yield start - len(password), start, "dsn_credential"


def oracle(data: bytes, _start: int, end: int) -> Iterator[Span]:
    """`jdbc:oracle:thin:user/password@host`."""
    match = re.compile(rb"[^\s/@\"']{1,64}/([^\s@\"']{3,128})@").match(data, end)
    if match and not is_mask(match.group(1)):
        yield *match.span(1), "dsn_credential"


def parameter(data: bytes, _start: int, end: int) -> Iterator[Span]:
    """A parameter of a query whose name is too common to tell anywhere else."""
    match = _QUERY_VALUE.match(data, end)
    value = match.group() if match else b""
    telling = looks_random(value) or is_secret(value, "token", quoted=False, assigned=True)
    if match and telling and re.search(rb"[0-9]", value):
        yield *match.span(), "url_parameter"


RULES = {
    r"""://[^\s/@"'<>`]+:?[^\s"'<>`]*@""": url,
    r"@(?:tcp|unix|tcp6)\(": go_dsn,
    r"(?i):thin:|\bsqlplus[ \t]+(?:-[SL][ \t]+){0,2}": oracle,
    r"(?i)[?&;](?:access_token|code_verifier|id_token|refresh_token|pass|pw|auth|key|apikey|sessionid)=": parameter,
}
