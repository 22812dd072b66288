# ruff: noqa: E501  an expression stays on one line: broken up it cannot be searched for
"""Secrets on a command line: flags, `user:password` pairs, what is piped into a login, SQL, .netrc."""

import re
from collections.abc import Iterator

from knowledge.redaction.judging import PATH_START, is_mask, is_opaque, is_secret, looks_random
from knowledge.redaction.names import TELLING, is_innocent, kind_of
from knowledge.redaction.spans import Span, closing, to_space

_QUOTE = re.compile(rb"""(\\{0,8})(["'`])""")
# Which program takes which of the short flags as a secret; for others the letter means something else.
_SHORT_FLAGS: dict[bytes, re.Pattern[bytes]] = {
    flag: re.compile(rf"(?:^|[\s/|;&(\"'])(?:{programs})(?=\s)".encode())
    for flag, programs in {
        b"p": r"mysql\w*|mariadb\w*|docker|podman|buildah|skopeo|crane|oras|helm|mongo\w*|sshpass|az|7za?|rar|unrar|cqlsh"
        r"|sqlcmd|ipmitool|oc|nerdctl|ctr|argocd|pgbouncer|influx|rabbitmqadmin|expect|net",
        b"P": r"ssh-keygen|mqtt\w*|mosquitto\w*|zip|unzip|sqlcmd|bcp|isql|ipmitool|winexe",
        b"w": r"ldap\w+|ldapsearch",
        b"a": r"redis-cli|valkey-cli|keydb-cli|https?|httpie",
        b"u": r"curl|wget|http|https|httpie|ab|lftp|siege|mc|hey",
        b"U": r"smbclient|rpcclient|net|winexe|curl|wmic",
        b"k": r"openssl",
    }.items()
}


def flag(data: bytes, start: int, end: int) -> Iterator[Span]:
    """`--token VALUE`, `-storepass VALUE`."""
    if start and data[start - 1] not in b" \t\n\"'`[(,;|&":
        return  # "x-api-key rejected": no flag begins within a word
    name = data[start : end - 1].lstrip(b"-")
    begin = end
    while data[begin : begin + 1] in {b" ", b"\t"} and begin - end < 20:
        begin += 1
    quote = _QUOTE.match(data, begin)
    begin = quote.end() if quote else begin
    stop = closing(data, begin, quote.group()) if quote else to_space(data, begin)
    value = data[begin:stop]
    if value.startswith(b"-") or is_innocent(name, len(name), name) or value.lower().startswith((b"http:", b"https:")):
        return
    if is_secret(value, kind_of(name), quoted=bool(quote), assigned=True):
        yield begin, stop, kind_of(name)


def short_flag(data: bytes, start: int, end: int) -> Iterator[Span]:
    """`-p secret`, `-psecret`, `-u user:secret`, `-U user%secret`, of the programs that take it so."""
    letter = data[start + 2 : start + 3]
    line = data.rfind(b"\n", max(0, start - 400), start) + 1 or max(0, start - 400)
    programs = _SHORT_FLAGS.get(letter)
    if programs is None or not programs.search(data[line : start + 1]):
        return
    begin = end - 1
    quote = _QUOTE.match(data, begin)
    begin = quote.end() if quote else begin
    stop = closing(data, begin, quote.group()) if quote else to_space(data, begin)
    if letter == b"p" and re.search(rb"\brun\b|\bcreate\b|\bexec\b", data[line:start]):
        return  # docker run -p: a port
    pair = {b"U": b"%,:", b"u": b":,"}.get(letter, b"")
    if letter == b"a" and b"redis" not in data[line:start]:
        pair = b":"
    yield from _credential(data, begin, stop, pair)


def user_flag(data: bytes, _start: int, end: int) -> Iterator[Span]:
    """`--user name:secret`."""
    quote = _QUOTE.match(data, end - 1)
    begin = quote.end() if quote else end - 1
    yield from _credential(data, begin, to_space(data, begin), b":")


def _credential(data: bytes, begin: int, stop: int, pair: bytes = b"") -> Iterator[Span]:
    value = data[begin:stop]
    if pair:
        cut = next((i for i, c in enumerate(value[:256]) if c in pair), -1)
        if cut < 0 or value[:cut].isdigit() or b"/" in value[:cut]:
            return
        begin += cut + 1
        value = value[cut + 1 :]
    if len(value) < 3 or value.startswith(b"-") or value.isdigit() or is_mask(value) or PATH_START.match(value):
        return
    yield begin, stop, "credential"


def pass_argument(data: bytes, start: int, end: int) -> Iterator[Span]:
    """`-passin pass:secret` of openssl."""
    if re.search(rb"-pass(?:in|out)?[ =]\Z", data[max(0, start - 12) : start]):
        yield from _credential(data, end - 1, to_space(data, end - 1))


def stored(data: bytes, _start: int, end: int) -> Iterator[Span]:
    """`aws configure set aws_secret_access_key VALUE`, `CONFIG SET requirepass VALUE`."""
    begin = end if data[end - 1 : end] in {b'"', b"'"} else end - 1
    stop = to_space(data, begin)
    value = data[begin:stop]
    if (
        re.search(rb"\d", value)
        and not value.startswith(b"-")
        and is_secret(value, "secret", quoted=True, assigned=True)
    ):
        yield begin, stop, "credential"


def piped(data: bytes, start: int, _end: int) -> Iterator[Span]:
    """`echo SECRET | docker login --password-stdin`."""
    match = re.compile(rb"""echo[ \t]+(?:-n[ \t]+)?["']?([^\s"'|]{3,4096})""").match(data, start)
    if match and not is_mask(match.group(1)) and b"$" not in match.group(1)[:1]:
        yield *match.span(1), "credential"


def sql(data: bytes, start: int, end: int) -> Iterator[Span]:
    """`IDENTIFIED BY 'x'`, `WITH PASSWORD 'x'`, `SET PASSWORD FOR … = 'x'`."""
    if data[start : start + 1] in b"iI" and not re.search(
        rb"(?i)\b(?:user|role|login)\b", data[max(0, start - 120) : start]
    ):
        return  # "revision identified by" is no password
    stop = closing(data, end, data[end - 1 : end])
    value = data[end:stop]
    if 3 <= len(value) <= 200 and b" " not in value and not is_mask(value):
        yield end, stop, "credential"


def netrc(data: bytes, _start: int, end: int) -> Iterator[Span]:
    """`login x password y`, on one line or on three."""
    yield from _credential(data, end - 1, to_space(data, end - 1))


def beside(data: bytes, _start: int, end: int) -> Iterator[Span]:
    """`requirepass VALUE`, `using token VALUE`, `api key 'VALUE'`: only what is opaque."""
    begin = end - 1
    quote = _QUOTE.match(data, begin)
    begin = quote.end() if quote else begin
    stop = closing(data, begin, quote.group()) if quote else to_space(data, begin)
    value = data[begin:stop].rstrip(b".,;:)")
    if is_opaque(value):
        yield begin, begin + len(value), "credential"


def login(data: bytes, start: int, end: int) -> Iterator[Span]:
    """`user:password@host` without a scheme; an image with a digest looks the same."""
    password = data[start + 1 : end - 2]
    user = re.compile(rb"(?:^|[\s\"'=(])[A-Za-z][\w.-]{0,40}\Z").search(data[max(0, start - 42) : start])
    if user and data[end - 1 : end + 6] != b"sha256:" and looks_random(password):
        yield start + 1, end - 2, "credential"


def pgpass(data: bytes, _start: int, end: int) -> Iterator[Span]:
    """A line of .pgpass: `host:port:database:user:password`."""
    stop = to_space(data, end - 1)
    if looks_random(data[end - 1 : stop]) and data[stop : stop + 1] in {b"", b"\n", b"\r"}:
        yield end - 1, stop, "credential"


def told(data: bytes, _start: int, end: int) -> Iterator[Span]:
    """`The password for user elastic is VALUE`: a sentence that ends in, or quotes, a value that is no word."""
    begin = end - 1
    quote = _QUOTE.match(data, begin)
    begin = quote.end() if quote else begin
    stop = closing(data, begin, quote.group()) if quote else to_space(data, begin)
    value = data[begin:stop] if quote else data[begin:stop].rstrip(b".,;)")
    ends = quote or not data[begin + len(value) : begin + len(value) + 3].split(b"\n")[0].strip(b" .,;)\r")
    if ends and len(value) <= 200 and looks_random(value):
        yield begin, begin + len(value), "credential"


END_RULES = {
    rf"""(?i)(?:{TELLING})["']?[ \t]{{1,4}}["'`]?[A-Za-z0-9]""": beside,
    r"""\bAUTH["']?[ \t](?:"?default"?[ \t])?["']?[A-Za-z0-9]""": beside,
}
RULES = {
    rf"(?i)--?[a-z0-9_.-]{{0,40}}(?:{TELLING})[ \t]": flag,
    r"[ \t]-[pwaPuUk][ \t]?\S": short_flag,
    r"[ \t]--(?:(?:proxy-)?user|(?:src-|dest-)?creds)[ =]\S": user_flag,
    r"\bpass:\S": pass_argument,
    rf"""(?i)\bset[ \t]{{1,3}}[a-z0-9_./:-]{{0,80}}(?:{TELLING}|_auth)[ \t]{{1,3}}\S""": stored,
    r"(?i)\becho[ \t][^|\n]*\|[^|\n]*(?:--password-stdin|--with-token|--token-stdin|chpasswd|passwd --stdin|sudo -S)": piped,
    r"""(?i)(?:identified[ ]{1,3}(?:with[ ]{1,3}[a-z0-9_]{1,40}[ ]{1,3})?by|password(?:[ ]{1,3}for[ ]{1,3}\S{1,80}[ ]{0,3}=)?)[ ]{1,3}(?:is[ ]{1,3})?["'`]""": sql,
    r"(?i)\blogin[ \t]{1,4}\S{1,64}\s{1,4}password[ \t]{1,4}\S": netrc,
    r"""(?i)\b(?:password|passphrase|passcode|secret|secret key|api key|access token|auth token)[ \t][a-z0-9@._'()-][ a-z0-9@._'()-]{0,60}(?:[:=]|\bis|\bto)[ \t]{1,3}\S""": told,
    r"""(?i)\bunseal key[ \t]?\d{0,2}:[ \t]{1,3}\S""": told,
    r""":[^\s:/@"'<>]{6,64}@[A-Za-z0-9]""": login,
    r"^[a-z*][a-z0-9.*-]*:(?:[0-9]{2,5}|\*):[^\s:]{1,63}:[^\s:]{1,63}:[^\s:]": pgpass,
    r"(?i)\bpassword[^\n:]{0,60}:[ \t\r]{0,3}\n[ \t\r]{0,3}\n?[A-Za-z0-9]": told,
}
