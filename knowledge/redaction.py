"""Secrets out, control characters out: the one choke point before database, model, Slack and log.

`redact` replaces each secret by `[redacted:KIND]` and changes nothing else; the number of lines stays. A scanner finds
anchors (a token's prefix, a telling key, `://`), then a short expression at that spot finds the secret's extent: time
grows with length only. Applying it twice changes nothing more.
"""

import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from knowledge.scanning import Scanner

Span = tuple[int, int, str]

# The longest secret looked for; private keys and manifests have limits of their own.
_VALUE = 4096
_KEY_BLOCK = 65_536
_DOCUMENT_HOLD = 4 * 1024 * 1024
_STREAM_BLOCK = 256 * 1024

_MARKER = re.compile(rb"\[redacted(:[a-z0-9_]{1,40})?\]", re.IGNORECASE)

# Keys whose value is a secret by name. Matched at the end of a longer name (DB_PASSWORD, auth.postgresPassword).
_PASS = r"(?:password|passwd|passphrase|passcode|pwd|requirepass|masterauth|userpass|[_-]pass|[a-z]Pass)"  # noqa: S105  names of keys, no key
_CREDENTIALS = r"(?:secret|secrets|token|credential|credentials|apikey|api[_. -]key|apitoken|signature[_-]?key)"
_KEYS = (
    r"(?:(?:access|secret|private|auth|account|storage|encryption|signing|routing|integration|service|master|shared"
    r"|webhook|license|licence|app|application|deploy|session|jwt|hmac|crypto|cipher|client|admin|root|user|stripe"
    r"|sentry|datadog|dd[_-]api|newrelic|consumer|merchant|publish|subscription|functions?|host|api|pepper|fernet"
    r"|django_secret|rails_master|base)[_. -]?key|sharedaccesskey|secretkeybase|salt)"
)
_TELLING = rf"(?:{_PASS}|{_CREDENTIALS}|{_KEYS})"
# Names that only look like the above.
_INNOCENT_KEY = re.compile(
    rb"(?:next|page|continue|continuation|cursor|sync|pagination|max|num|min|total|input|output|prompt|completion|public"
    rb"|tokens?_per|by|bad|partition|sort|primary|foreign|cache|object|s3|idempotency|host)[_.-]?"
    rb"(?:page)?[_.-]?(?:token|tokens|key)$|^(?:csrf|no)[_-]?token$",
    re.IGNORECASE,
)

_GAP = r"""["'\\]{0,6}\s{0,4}(?::=|=>|[:=])"""
# Anchors by name; what to do where one is found is in _RULES below.
_ANCHORS: dict[str, str] = {
    "assigned": rf"(?i)(?:{_TELLING}){_GAP}",
    "bracketed": rf"""(?i)(?:{_TELLING})["'\\]{{0,6}}\](?:\s{{0,4}})=""",
    "element": rf"(?i)<[a-z0-9_.:-]{{0,40}}(?:{_TELLING})>",
    "named_value": r"""(?i)\bvalue["'\\]{0,6}\s{0,4}[:=]""",
    "flag": rf"(?i)--?[a-z0-9_.-]{{0,40}}(?:{_TELLING})[ \t]",
    "short_flag": r"[ \t]-[pwaPu][ \t]?\S",
    "user_flag": r"[ \t]--user[ =]\S",
    "pass_argument": r"\bpass:\S",
    "url": r"://[^\s/@]",
    "go_dsn": r"@(?:tcp|unix|tcp6)\(",
    "scheme": r"(?i)\b(?:bearer|basic|bot|negotiate|digest)[ ]{1,2}[A-Za-z0-9_.~+/=-]{6}",
    "authorization": r"""(?i)(?:authorization|x-amz-credential|proxy-authenticate)["'\\]{0,6}\s{0,2}[:=]""",
    "cookie": r"""(?i)\b(?:set-)?cookie["'\\]{0,6}\s{0,2}[:=]""",
    "auth_field": r"""(?i)["']auth\\{0,4}["']\s{0,2}:\s{0,2}\\{0,4}["'][A-Za-z0-9+/]{12}""",
    "sql": r"""(?i)(?:identified\s{1,3}by|password)\s{1,3}(?:is\s{1,3})?["'`]""",
    "netrc": r"(?i)\blogin[ \t]{1,4}\S{1,64}[ \t]{1,4}password[ \t]{1,4}\S",
    "private_key": r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,4}PRIVATE KEY(?: BLOCK)?-----",
    "manifest": r"""(?i)["'\\]{0,6}\bkind["'\\]{0,6}\s{0,4}:\s{0,4}["'\\]{0,6}(?:Sealed)?Secret(?:List)?["'\\,\s#}]""",
    "query": r"(?i)[?&;](?:access_token|code_verifier|id_token|refresh_token|pass|pw|auth|key|apikey|sessionid)=",
}


def _bytes(pattern: str, flags: int = 0) -> re.Pattern[bytes]:
    return re.compile(pattern.encode(), flags)


_KEY_BEFORE = _bytes(r"[A-Za-z0-9_.$-]{1,80}\Z")
_SEPARATOR = _bytes(r"""["'\\]{0,6}\]?["'\\]{0,6}\s{0,4}(:=|=>|[:=])([ \t]{0,40})""")
_QUOTE = _bytes(r"""(\\{0,8})(["'`])""")
_BARE = _bytes(r"""[^\s"'`,;&<>(){}\[\]|\\]{1,4096}""")
_TO_SPACE = _bytes(r"""[^\s"'`]{1,4096}""")
# Not a secret but a reference to one, a type, or a mask. Looked at from the value's first character.
_PLACEHOLDER = _bytes(
    r"""(?:\[(?:redacted|masked|filtered|hidden|secret|removed|omitted)|\*{2,}|•{2,}|x{4,}\b|\.{3}|…|<|\$\{|\$\(|\$[A-Za-z_]\w*\b"""
    r"""|\{\{|\{%|%\(|%[sdvq]\b|%[A-Z_]+%|@@|\#\{|vault:|ref\+|ssm:|sm://|secretref|env:|file:|arn:|op://|projects/"""
    r"""|os\.|process\.|self\.|this\.|config\.|settings\.|args\.|opts\.|env\.|secrets\.|vars?\.|data\.|local\.|module\."""
    r"""|getenv|get_|(?i:changeme\b|your[_-]|redacted|masked|placeholder|example[_-]|dummy[_-]))"""
)
_WORD_VALUES = frozenset(
    b"true false null none nil undefined empty yes no on off string str bytes int bool boolean object optional "
    b"required invalid incorrect missing expired wrong mismatch unauthorized denied rejected revoked refused "
    b"failed failure unset set not is was are has must should cannot can for from to of in the a an and or type "
    b"provided given field value default opaque enabled disabled anonymous same-origin include omit basic bearer "
    b"kubernetes.io/tls bound auto generated found authentication authorization flag option argument parameter "
    b"sha256 md5 scram-sha-256 trust peer ident plain prompt stdin rotate rotated rotation created updated deleted "
    b"configured unchanged valid unknown".split()
)
_CALL = _bytes(r"[A-Za-z_][\w.]{0,80}\(")
_PATH = _bytes(r"(?:\.{0,2}|~)(?:/[A-Za-z0-9_.@$-]{1,64}){2,12}/?\Z")
_PATH_START = _bytes(r"/(?:var|run|etc|home|tmp|opt|usr|mnt|root|secrets?|vault|data|app|config|srv)/")
_DOTTED = _bytes(r"[a-z_]\w{0,40}(?:\.[A-Za-z_]\w{0,40}){1,6}\Z")
_DNS_NAME = _bytes(r"[a-z]+(?:[-_.][a-z]+)*(?:[-_.][a-z0-9]{1,5})?\Z")
_LETTERS = _bytes(r"[A-Za-z]+\Z")
_NUMBER = _bytes(r"-?\d{1,20}(?:\.\d+)?[a-zA-Z%]{0,3}\Z")
_LINE_START = _bytes(r"""[ \t]*(?:-[ \t]+|export[ \t]+|declare[ \t]+-[a-z]+[ \t]+|set[ \t]+|ENV[ \t]+)?["']?\Z""")


def redact(text: str) -> str:
    """`text` with every secret replaced by `[redacted:KIND]`; nothing else changes, nor the number of lines."""
    if not text:
        return text
    data = text.encode("utf-8", "surrogatepass")
    spans = _spans(data)
    if not spans:
        return text
    return _replace(data, spans).decode("utf-8", "surrogatepass")


def redact_value(value: Any) -> Any:
    """JSON with the secrets in its strings replaced; a value beside a telling key goes whole, names stay."""
    return _redact_value(value, "")


def _redact_value(value: Any, key: str) -> Any:
    if isinstance(value, str):
        return _redact_named(key, value)
    if isinstance(value, Mapping):
        secret_data = value.get("kind") == "Secret"
        return {
            name: _hide_all(item) if secret_data and name in {"data", "stringData"} else _redact_value(item, str(name))
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_redact_value(item, key) for item in value]
    return value


def _hide_all(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _hide_all(item) for name, item in value.items()}
    return "[redacted:kubernetes_secret]" if isinstance(value, str) and value else value


_TELLING_NAME = re.compile(rf"(?:{_TELLING})\Z", re.IGNORECASE)


def _redact_named(key: str, value: str) -> str:
    cleaned = redact(value)
    if cleaned != value or not key or not _TELLING_NAME.search(key) or _INNOCENT_KEY.search(key.encode()):
        return cleaned
    data = value.encode("utf-8", "surrogatepass")
    kind = _kind_of(key.encode("utf-8", "replace"))
    return f"[redacted:{kind}]" if _is_secret(data, kind, quoted=True, assigned=True) else value


def redact_stream(lines: Iterable[str]) -> Iterator[str]:
    """The same for a text that does not fit in memory: yields pieces whose concatenation is `redact` of the whole.

    Lines are held back while a private key or a Secret manifest may still be open, at most 4 MB of them.
    """
    held: list[str] = []
    size = 0
    for line in lines:
        held.append(line)
        size += len(line)
        if size >= _STREAM_BLOCK:
            block = "".join(held)
            cut = _safe_cut(block) if size < _DOCUMENT_HOLD else len(block)
            if cut:
                yield redact(block[:cut])
                held = [block[cut:]] if cut < len(block) else []
                size = len(block) - cut
            else:
                held = [block]
    if held:
        yield redact("".join(held))


_DOCUMENT_START = re.compile(r"^(?:---(?!-)|[ \t]*-?[ \t]*(?:apiVersion|data|stringData)[ \t]*:)", re.MULTILINE)


def _safe_cut(block: str) -> int:
    """Where the block may be cut without parting a key or a manifest from what tells that it is one; 0 for nowhere."""
    cut = block.rfind("\n") + 1
    begin = block.rfind("-----BEGIN ", 0, cut)
    if begin >= 0 and block.find("-----END ", begin, cut) < 0:
        cut = block.rfind("\n", 0, begin) + 1
    documents = list(_DOCUMENT_START.finditer(block, max(0, cut - _KEY_BLOCK), cut))
    if not documents:
        return cut
    last = documents[-1]
    start = block.rfind("apiVersion", 0, last.end())
    separator = max(block.rfind("\n---\n", 0, last.end() + 1), block.rfind("\n--- ", 0, last.end() + 1))
    return block.rfind("\n", 0, max(start, separator + 1, 1)) + 1


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


@cache
def _formats() -> tuple[tuple[str, str, re.Pattern[bytes]], ...]:
    raw = tomllib.loads(files("knowledge").joinpath("data/secret_formats.toml").read_text(encoding="utf-8"))
    return tuple((kind, anchor, _bytes(pattern)) for kind, anchor, pattern in raw["formats"])


@cache
def _scanner() -> Scanner:
    return Scanner([anchor for _, anchor, _ in _formats()] + list(_ANCHORS.values()))


def _spans(data: bytes) -> list[Span]:
    formats = _formats()
    names = list(_ANCHORS)
    hits = _scanner().scan(data)
    spans = (
        _manifest_spans(data)
        if any(names[i - len(formats)] == "manifest" for i, _, _ in hits if i >= len(formats))
        else []
    )
    reached: dict[int, int] = {}
    # One leftmost hit per place and rule, left to right, so that what a rule has consumed is not looked at again.
    for index, start, end in sorted(set(hits), key=lambda hit: (hit[1], hit[2])):
        if start < reached.get(index, -1):
            continue
        if index < len(formats):
            kind, _, pattern = formats[index]
            if start and _is_word(data[start - 1]) and _is_word(data[start]):
                continue
            if match := pattern.match(data, start, start + 40_000):
                found = match.span("secret") if "secret" in pattern.groupindex else match.span()
                spans.append((*found, kind))
                reached[index] = match.end()
            continue
        for span in _RULES[names[index - len(formats)]](data, start, end):
            spans.append(span)
            reached[index] = max(reached.get(index, 0), span[1])
    return _merged(data, spans)


def _is_word(byte: int) -> bool:
    return chr(byte).isalnum() and byte < 128


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
        if start >= end or _MARKER.fullmatch(data, start, end):
            continue
        if merged and start < merged[-1][1]:
            first, last, name = merged[-1]
            merged[-1] = (first, max(last, end), kind if name in _GENERIC and kind not in _GENERIC else name)
        else:
            merged.append((start, end, kind))
    # A marker that is already there is never cut up.
    return [span for span in merged if not _inside_marker(data, span)]


def _inside_marker(data: bytes, span: Span) -> bool:
    opening = data.rfind(b"[redacted", max(0, span[0] - 60), span[1])
    if opening < 0:
        return False
    match = _MARKER.match(data, opening)
    return bool(match and opening <= span[0] < match.end())


# --- what to do at an anchor -------------------------------------------------------------------------------------


def _kind_of(key: bytes) -> str:
    lowered = key.lower()
    if lowered.endswith((b"pass", b"password", b"passwd", b"pwd", b"passphrase", b"passcode", b"masterauth")):
        return "credential"  # not "password": that word itself is the most common one
    if b"token" in lowered[-12:]:
        return "token"
    if b"key" in lowered[-8:]:
        return "api_key"
    return "secret"


def _whole_key(data: bytes, start: int, end: int) -> bytes:
    """The full name whose tail the anchor found, such as DB_PASSWORD where the anchor is PASSWORD=."""
    name = re.match(rb"[A-Za-z0-9_. $-]+", data[start:end])
    tail = name.group().rstrip(b" ") if name else b""
    before = _KEY_BEFORE.search(data, max(0, start - 80), start)
    return (before.group() if before else b"") + tail


def _assigned(data: bytes, start: int, end: int) -> Iterator[Span]:
    key = _whole_key(data, start, end)
    separator = _last_separator(data, end)
    if not key or separator is None or _INNOCENT_KEY.search(key):
        return
    sign, position = separator
    yield from _value_at(data, position, key, sign, start)


def _last_separator(data: bytes, end: int) -> tuple[bytes, int] | None:
    """The sign before the value (`:`, `=`, `:=`, `=>`) and where the value begins."""
    position = end
    while position < len(data) and position - end < 40 and data[position] in b" \t":
        position += 1
    if data[end - 1 : end] == b">":
        return b"=>", position
    return (b":=" if data[end - 2 : end] == b":=" else data[end - 1 : end]), position


def _value_at(data: bytes, position: int, key: bytes, sign: bytes, anchor: int) -> Iterator[Span]:
    kind = _kind_of(key)
    if quote := _QUOTE.match(data, position):
        begin = quote.end()
        stop = _closing(data, begin, quote.group())
        if stop > begin and _is_secret(data[begin:stop], kind, quoted=True, assigned=True):
            yield begin, stop, kind
        return
    stripped = key.rpartition(b" ")[2]
    name_start = _name_start(data, anchor)
    line = (
        data.rfind(b"\n", max(0, name_start - 200), name_start) + 1
        if name_start < 200 or b"\n" in data[name_start - 200 : name_start]
        else -1
    )
    line_start = _LINE_START.match(data, line, name_start) if line >= 0 else None
    if _PLACEHOLDER.match(data, position):
        return
    wide = line_start is not None and ((sign == b"=" and stripped == stripped.upper()) or sign == b":")
    match = (_TO_SPACE if wide else _BARE).match(data, position, position + _VALUE)
    if match is None:
        return
    value = match.group()
    stop = match.end()
    if value.lower() in {b"bearer", b"basic", b"token"}:
        return
    rest = data[stop : stop + 2]
    alone = (
        rest[:1] in {b"", b"\n", b"\r", b"#"}
        or rest[:1] in b"\"'"
        or (rest[:1] == b" " and rest[1:2] in {b"", b"#", b"\n"})
    )
    assigned = sign in {b"=", b":="} or (line_start is not None and alone)
    if not wide:
        value = value.rstrip(b".:!?") if sign != b"=" else value
        stop = position + len(value)
    if _is_secret(value, kind, quoted=False, assigned=assigned):
        yield position, stop, kind


_TELLING_END = _bytes(rf"(?i)(?:{_TELLING})\Z")


def _named_value(data: bytes, start: int, end: int) -> Iterator[Span]:
    """`name: DB_PASSWORD, value: ...` of a container's environment, an XML property, a Terraform variable."""
    gap = data[max(0, start - 100) : start].rstrip(b"\"'\\, \t\r\n")
    name = _KEY_BEFORE.search(gap, max(0, len(gap) - 80))
    if name is None or not _TELLING_END.search(name.group(), max(0, len(name.group()) - 24)):
        return
    separator = _last_separator(data, end)
    if separator and not _INNOCENT_KEY.search(name.group()):
        yield from _value_at(data, separator[1], name.group(), separator[0], start)


def _name_start(data: bytes, anchor: int) -> int:
    before = _KEY_BEFORE.search(data, max(0, anchor - 80), anchor)
    start = before.start() if before else anchor
    return start - 1 if start and data[start - 1] in b"\"'" else start


def _closing(data: bytes, begin: int, opener: bytes) -> int:
    """Where the quoted value ends: at the same quote with the same escaping, else at the line's end or a space."""
    limit = min(len(data), begin + _VALUE)
    if len(opener) > 1:
        stop = data.find(opener, begin, limit)
    else:
        stop = begin
        while (stop := data.find(opener, stop, limit)) >= 0 and _escaped(data, begin, stop):
            stop += 1
    line_end = data.find(b"\n", begin, limit)
    if stop < 0 or 0 <= line_end < stop:
        bare = _TO_SPACE.match(data, begin, limit)
        return bare.end() if bare else begin
    return stop


def _escaped(data: bytes, begin: int, position: int) -> bool:
    slashes = 0
    while position - 1 - slashes >= begin and data[position - 1 - slashes] == 0x5C and slashes < 16:
        slashes += 1
    return slashes % 2 == 1


def _is_secret(value: bytes, kind: str, *, quoted: bool, assigned: bool) -> bool:
    """Whether the value beside a telling key is one, not a placeholder, reference, type, path or a word of prose."""
    if len(value) < (3 if kind == "credential" else 6) or _PLACEHOLDER.match(value) or _MARKER.search(value):
        return False
    lowered = value.lower()
    if lowered in _WORD_VALUES or _CALL.match(value) or _PATH_START.match(value):
        return False
    if _PATH.match(value) and (b"." in value or not re.search(rb"[A-Z]", value)):
        return False
    if kind == "credential":
        if b" " in value and len(value.split()) > 3:
            return False  # a sentence, such as an error message beside the key
        return assigned or bool(re.search(rb"[\d\W_]", value))
    if quoted and b" " in value:
        return False
    plain = _NUMBER.match(value) and len(value) < 16
    return not (plain or _LETTERS.match(value) or _DNS_NAME.match(value) or _DOTTED.match(value))


def _element(data: bytes, _start: int, end: int) -> Iterator[Span]:
    stop = data.find(b"<", end, end + _VALUE)
    if stop > end and b"\n" not in data[end:stop]:
        kind = _kind_of(data[max(0, end - 20) : end - 1])
        if _is_secret(data[end:stop], kind, quoted=True, assigned=True):
            yield end, stop, kind


def _flag(data: bytes, start: int, end: int) -> Iterator[Span]:
    key = data[start:end].strip(b"- \t")
    position = end
    while position < len(data) and data[position] in b" \t":
        position += 1
    if data[position : position + 1] in {b"-", b"", b"\n"}:
        return
    quote = _QUOTE.match(data, position)
    begin = quote.end() if quote else position
    if quote:
        stop = _closing(data, begin, quote.group())
    else:
        match = _TO_SPACE.match(data, begin, begin + _VALUE)
        stop = match.end() if match else begin
    value = data[begin:stop]
    if stop > begin and _is_secret(value, _kind_of(key), quoted=False, assigned=False):
        yield begin, stop, _kind_of(key)


# Programs whose short option carries a password, by option. Looked for near the beginning of the same line.
_SHORT = {
    b"p": frozenset(
        b"docker podman buildah skopeo oras crane helm nerdctl sshpass mysql mysqldump mysqladmin mysqlimport mariadb "
        b"mariadb-dump mongo mongosh mongodump mongorestore oc az cf rabbitmqadmin htpasswd smbclient 7z plink".split()
    ),
    b"w": frozenset(b"ldapsearch ldapadd ldapmodify ldapdelete ldapwhoami ldappasswd ldapcompare".split()),
    b"a": frozenset({b"redis-cli"}),
    b"P": frozenset(b"unzip zip sqlcmd bcp isql".split()),
    b"u": frozenset(b"curl http https wget xh kcadm".split()),
}
# Their -p is a port unless they log in.
_PORTS = frozenset(b"docker podman buildah skopeo oras crane helm nerdctl oc az cf".split())
_ATTACHED = frozenset(b"mysql mysqldump mysqladmin mysqlimport mariadb mariadb-dump 7z sshpass".split())
_WORD = re.compile(rb"[A-Za-z0-9][A-Za-z0-9_-]*")


@lru_cache(maxsize=64)
def _programs(line: bytes) -> frozenset[bytes]:
    return frozenset(_WORD.findall(line))


def _short_flag(data: bytes, start: int, _end: int) -> Iterator[Span]:
    option = data[start + 2 : start + 3]
    line = data.rfind(b"\n", max(0, start - 2000), start) + 1
    if start - line >= 2000:
        return
    programs = _programs(data[line : line + 160])
    if not programs & _SHORT[option] or (option == b"p" and programs & _PORTS and b"login" not in programs):
        return
    attached = data[start + 3 : start + 4] not in b" \t"
    if attached and (option != b"p" or not programs & _ATTACHED):
        return
    position = start + 3 if attached else start + 4
    quote = _QUOTE.match(data, position)
    begin = quote.end() if quote else position
    match = _TO_SPACE.match(data, begin, begin + _VALUE)
    stop = _closing(data, begin, quote.group()) if quote else (match.end() if match else begin)
    yield from _credential(data, begin, stop, pair=option == b"u")


def _user_flag(data: bytes, _start: int, end: int) -> Iterator[Span]:
    quote = _QUOTE.match(data, end - 1)
    begin = quote.end() if quote else end - 1
    match = _TO_SPACE.match(data, begin, begin + _VALUE)
    if match:
        yield from _credential(data, begin, match.end(), pair=True)


def _credential(data: bytes, begin: int, stop: int, *, pair: bool) -> Iterator[Span]:
    value = data[begin:stop]
    if pair:
        user, colon, password = value.partition(b":")
        if not colon or user.isdigit() or b"/" in user:
            return
        begin += len(user) + 1
        value = password
    if len(value) >= 3 and not value.startswith(b"-") and not value.isdigit() and not _PLACEHOLDER.match(value):
        if _MARKER.search(value) or _PATH_START.match(value):
            return
        yield begin, stop, "credential"


def _pass_argument(data: bytes, start: int, end: int) -> Iterator[Span]:
    if not re.search(rb"-pass(?:in|out)?[ =]\Z", data[max(0, start - 12) : start]):
        return
    match = _TO_SPACE.match(data, end - 1, end - 1 + _VALUE)
    if match:
        yield from _credential(data, end - 1, match.end(), pair=False)


_USER_INFO = _bytes(r"""([^\s:/@?#"'<>\\]{0,256}):([^\s"'<>`]{1,512})@(?=[A-Za-z0-9\[_$({*.-])""")
_USER_INFO_STRICT = _bytes(r"""([^\s:/@?#"'<>\\]{0,256}):([^\s"'<>`/]{1,512})@(?=[A-Za-z0-9\[_$({*.-])""")
_TOKEN_USER = _bytes(r"""([A-Za-z0-9_-]{20,255})@""")
_PORT_FIRST = _bytes(r"\d{1,5}(?:[/?#,]|\Z)")


def _url(data: bytes, start: int, _end: int) -> Iterator[Span]:
    position = start + 3
    scheme = data[max(0, start - 12) : start].lower()
    pattern = _USER_INFO_STRICT if scheme.endswith((b"http", b"https", b"ws", b"wss", b"git", b"file")) else _USER_INFO
    match = pattern.match(data, position, position + 800)
    if match is None:
        token = _TOKEN_USER.match(data, position, position + 300)
        if token and re.search(rb"\d", token.group(1)) and re.search(rb"[A-Za-z]", token.group(1)):
            yield *token.span(1), "url_credential"
        return
    password = match.group(2)
    if b"://" in password:
        password = password[: password.index(b"://")]
        cut = password.rfind(b"@")
        if cut <= 0:
            return
        password = password[:cut]
    if _PORT_FIRST.match(password) or _PLACEHOLDER.match(password) or _MARKER.search(password):
        return
    yield match.start(2), match.start(2) + len(password), "url_credential"


def _go_dsn(data: bytes, start: int, _end: int) -> Iterator[Span]:
    before = data[max(0, start - 256) : start]
    match = re.search(rb"""(?:^|[\s"'=])[^\s"':=/@]{0,64}:([^\s"']{1,190})\Z""", before)
    if match and not _PLACEHOLDER.match(match.group(1)) and not _MARKER.search(match.group(1)):
        yield start - len(match.group(1)), start, "dsn_credential"


_CREDENTIAL = _bytes(r"[A-Za-z0-9_.~+/=:|%-]{6,8192}")


def _scheme(data: bytes, start: int, _end: int) -> Iterator[Span]:
    scheme, _, _rest = data[start : start + 12].partition(b" ")
    position = start + len(scheme)
    while data[position : position + 1] == b" ":
        position += 1
    match = _CREDENTIAL.match(data, position)
    if match is None:
        return
    value = match.group().rstrip(b".:")
    word = scheme.lower()
    telling = re.search(rb"[0-9]", value) and (len(value) >= 12 or value.endswith(b"="))
    after_header = re.search(
        rb"(?i)authorization[\"'\\]{0,6}\s{0,2}[:=]\s{0,2}[\"'\\]{0,6}\Z", data[max(0, start - 40) : start]
    )
    if word in {b"bot", b"digest"} and not after_header:
        return
    if not telling and not (after_header and len(value) >= 6 and value.lower() not in _WORD_VALUES):
        return
    if word == b"basic" and not after_header and not re.search(rb"[A-Z].*[0-9=]|[0-9].*[A-Z]", value):
        return
    yield position, position + len(value), f"{word.decode()}_credential"


def _authorization(data: bytes, _start: int, end: int) -> Iterator[Span]:
    match = re.compile(rb"""\s{0,3}["'\\]{0,6}(?:([A-Za-z0-9_-]{2,30})[ ]{1,2})?([^\s"'\\]{6,4096})""").match(
        data, end, end + _VALUE
    )
    if match is None:
        return
    scheme, value = match.group(1), match.group(2)
    if _PLACEHOLDER.match(value) or _MARKER.search(value) or value.lower().rstrip(b".,") in _WORD_VALUES:
        return
    secretive = re.search(rb"[0-9]", value) or value.endswith(b"=")
    if secretive and (scheme is None or scheme.lower() not in {b"is", b"header", b"for", b"type", b"mode"}):
        yield *match.span(2), "authorization"


_COOKIE_PAIR = _bytes(r"""([^=;\s"']{1,80})=([^;\s"'\\,]{6,4096})""")
_COOKIE_ATTRIBUTES = frozenset({b"path", b"domain", b"expires", b"max-age", b"samesite", b"version", b"priority"})


def _cookie(data: bytes, _start: int, end: int) -> Iterator[Span]:
    line_end = data.find(b"\n", end, end + _VALUE)
    stop = line_end if line_end >= 0 else min(len(data), end + _VALUE)
    yield stop, stop, ""  # all of this has been looked at
    for match in _COOKIE_PAIR.finditer(data, end, stop):
        value = match.group(2)
        if match.group(1).lower() in _COOKIE_ATTRIBUTES or _PLACEHOLDER.match(value) or _MARKER.search(value):
            continue
        if not re.search(rb"[0-9]", value) and len(value) < 16:
            continue
        yield *match.span(2), "cookie"


def _auth_field(data: bytes, _start: int, end: int) -> Iterator[Span]:
    match = _bytes_auth.match(data, end - 12)
    if match and len(match.group()) >= 12:
        yield *match.span(), "registry_auth"


_bytes_auth = _bytes(r"[A-Za-z0-9+/]{8,4096}={0,2}")


def _sql(data: bytes, start: int, end: int) -> Iterator[Span]:
    if data[start : start + 1] in b"iI" and not re.search(
        rb"(?i)\b(?:user|role|login)\b", data[max(0, start - 120) : start]
    ):
        return  # "revision identified by" is no password
    stop = _closing(data, end, data[end - 1 : end])
    value = data[end:stop]
    if 3 <= len(value) <= 200 and b" " not in value and not _PLACEHOLDER.match(value) and not _MARKER.search(value):
        yield end, stop, "credential"


def _netrc(data: bytes, _start: int, end: int) -> Iterator[Span]:
    match = _TO_SPACE.match(data, end - 1, end + _VALUE)
    if match:
        yield from _credential(data, *match.span(), pair=False)


_QUERY_VALUE = _bytes(r"""[^\s"'&;<>#]{12,4096}""")


def _query(data: bytes, _start: int, end: int) -> Iterator[Span]:
    match = _QUERY_VALUE.match(data, end)
    if (
        match
        and re.search(rb"[0-9]", match.group())
        and _is_secret(match.group(), "token", quoted=False, assigned=True)
    ):
        yield *match.span(), "url_parameter"


_KEY_END = _bytes(r"-----END (?:[A-Z0-9]{1,12} ){0,4}PRIVATE KEY(?: BLOCK)?-----")
_KEY_BODY = _bytes(r"(?:[A-Za-z0-9+/=:, \t\r-]{0,200}(?:\n|\\{1,4}[rn]))*[A-Za-z0-9+/=]{0,200}")


def _private_key(data: bytes, start: int, end: int) -> Iterator[Span]:
    limit = min(len(data), end + _KEY_BLOCK)
    closing = _KEY_END.search(data, end, limit)
    if closing:
        another = data.find(b"-----BEGIN ", end, closing.start())
        if another < 0:
            yield start, closing.end(), "private_key"
            return
    body = _KEY_BODY.match(data, end, min(limit, end + 16_384))
    yield start, body.end() if body else end, "private_key"


# --- Kubernetes Secret manifests ---------------------------------------------------------------------------------

_JSON_TOKEN = _bytes(
    r"""[{}]|\\{0,8}"kind\\{0,8}"\s{0,4}:\s{0,4}\\{0,8}"Secret\\{0,8}"|\\{0,8}"(?:data|stringData)\\{0,8}"\s{0,4}:\s{0,4}\{"""
)
_JSON_VALUE = _bytes(r""":\s{0,8}(\\{0,8}")([^"\\]{1,65536})""")
_YAML_LINE = _bytes(r"""[ \t]*(?:-[ \t]+)*(?:["']?([A-Za-z0-9_.-]{1,253})["']?[ \t]*:(?:[ \t]+([^\r\n]*))?)?""")


def _manifest_spans(data: bytes) -> list[Span]:
    return _json_manifest_spans(data) + _yaml_manifest_spans(data)


def _json_manifest_spans(data: bytes) -> list[Span]:
    """Values of the flat `data` objects whose parent says "kind": "Secret", found in one pass over the braces."""
    stack: list[int] = []
    secrets: set[int] = set()
    candidates: list[tuple[int, int, int]] = []  # parent object, begin, end of the data object
    opened: dict[int, int] = {}
    for match in _JSON_TOKEN.finditer(data):
        token = match.group()
        if token == b"}":
            if stack:
                position = stack.pop()
                if position in opened:
                    candidates.append((opened[position], position, match.end()))
        elif token.endswith(b"{"):
            position = match.end() - 1
            if len(token) > 1 and stack:
                opened[position] = stack[-1]
            stack.append(position)
        elif stack:
            secrets.add(stack[-1])
    # What was cut off before its closing brace is still a secret.
    candidates += [
        (parent, position, min(len(data), position + _KEY_BLOCK))
        for position, parent in opened.items()
        if position in stack
    ]
    spans = []
    for parent, begin, end in candidates:
        if parent in secrets:
            spans += [
                (*value.span(2), "kubernetes_secret")
                for value in _JSON_VALUE.finditer(data, begin, end)
                if not _MARKER.fullmatch(value.group(2)) and value.group(2).strip()
            ]
    return spans


def _yaml_manifest_spans(data: bytes) -> list[Span]:
    """Values under `data:` and `stringData:` of documents and list items that say `kind: Secret`."""
    lines: list[tuple[int, int, bytes, int, int]] = []  # start, indent, key, value's start and end
    spans: list[Span] = []
    position = 0
    for raw in data.split(b"\n"):
        separator = raw.startswith(b"---") and not raw.startswith(b"-----")
        item = raw.lstrip().startswith(b"- ") and re.match(rb"\s*- (?:apiVersion|kind|data|stringData|metadata):", raw)
        if separator or item:
            spans += _yaml_document_spans(data, lines)
            lines = []
        match = _YAML_LINE.match(raw)
        if match and not separator:
            key = match.group(1) or b""
            indent = match.start(1) if key else len(raw) - len(raw.lstrip())
            if key and raw[indent - 1 : indent] in {b'"', b"'"}:
                indent -= 1
            value = match.span(2) if match.group(2) is not None else (len(raw), len(raw))
            lines.append((position, indent, key, position + value[0], position + value[1]))
        position += len(raw) + 1
    return spans + _yaml_document_spans(data, lines)


def _yaml_document_spans(data: bytes, lines: list[tuple[int, int, bytes, int, int]]) -> list[Span]:
    levels = {
        indent
        for _, indent, key, start, end in lines
        if key == b"kind" and re.match(rb"[\"']?Secret[\"']?\s*(?:#|$)", data[start:end])
    }
    spans: list[Span] = []
    inside: int | None = None
    for line in lines:
        start, indent, key, value_start, value_end = line
        blank = value_start == value_end and not key and not data[start : start + 1].strip()
        if inside is not None and (indent > inside or (blank and not key)):
            spans += _yaml_value(data, line)
            continue
        inside = indent if key in {b"data", b"stringData"} and indent in levels else None
    return spans


def _yaml_value(data: bytes, line: tuple[int, int, bytes, int, int]) -> list[Span]:
    start, indent, key, value_start, value_end = line
    if not key:  # a line of a block scalar
        value_start = start + indent
        line_end = data.find(b"\n", value_start)
        value_end = line_end if line_end >= 0 else len(data)
    value = data[value_start:value_end].rstrip()
    if not value or _MARKER.fullmatch(value) or re.fullmatch(rb"[|>][+-]?\d?|\{\}|\"\"|''", value):
        return []
    begin, stop = value_start, value_start + len(value)
    if value[:1] in {b'"', b"'"} and value[-1:] == value[:1] and len(value) > 2:
        begin, stop = begin + 1, stop - 1
        if _MARKER.fullmatch(data[begin:stop]):
            return []
    return [(begin, stop, "kubernetes_secret")]


def _nothing(_data: bytes, _start: int, _end: int) -> Iterator[Span]:
    return iter(())


_RULES: dict[str, Callable[[bytes, int, int], Iterator[Span]]] = {
    "assigned": _assigned,
    "bracketed": _assigned,
    "element": _element,
    "named_value": _named_value,
    "flag": _flag,
    "short_flag": _short_flag,
    "user_flag": _user_flag,
    "pass_argument": _pass_argument,
    "url": _url,
    "go_dsn": _go_dsn,
    "scheme": _scheme,
    "authorization": _authorization,
    "cookie": _cookie,
    "auth_field": _auth_field,
    "sql": _sql,
    "netrc": _netrc,
    "private_key": _private_key,
    "manifest": _nothing,  # looked at as a whole, see _manifest_spans
    "query": _query,
}


# --- control characters --------------------------------------------------------------------------------------------

_ANSI = re.compile(
    r"\x1b(?:\[[0-?]{0,64}[ -/]{0,8}[@-~]?"
    r"|\][^\x07\x1b\n]{0,2048}(?:\x07|\x1b\\)?"
    r"|[PX^_][^\x1b\n]{0,2048}(?:\x1b\\)?"
    r"|[ -/]{0,4}[0-~]?)"
    r"|\x9b[0-?]{0,64}[ -/]{0,8}[@-~]?"
)
# Control characters, bidi controls, zero-width and tag characters: what changes how a line looks without being seen.
_HIDDEN_RANGES = (
    (0x00, 0x08), (0x0B, 0x0C), (0x0E, 0x1F), (0x7F, 0x9F), (0xAD, 0xAD), (0x61C, 0x61C), (0x180E, 0x180E),
    (0x200B, 0x200F), (0x2028, 0x202E), (0x2060, 0x2069), (0xFEFF, 0xFEFF),
    (0xFFF9, 0xFFFB), (0xD800, 0xDFFF), (0xE0000, 0xE007F),
)  # fmt: skip
_HIDDEN = {code: None for first, last in _HIDDEN_RANGES for code in range(first, last + 1)}
_CLEAN_ALREADY = re.compile(r"[\t\n\x20-\x7e]*\Z")
CLEAN_LIMIT = 16 * 1024 * 1024


def clean(text: str, *, max_chars: int = CLEAN_LIMIT) -> str:
    """`text` as a terminal would have left it on the page: no ANSI codes, NULs, overwritten parts or hidden marks.

    The number of lines stays, so that line numbers hold. Longer than `max_chars`: the middle is left out and a line of
    its own says so.
    """
    if len(text) > max_chars:
        head, tail = text[: max_chars // 2], text[-(max_chars - max_chars // 2) :]
        text = f"{head}\n[{len(text) - max_chars} characters left out]\n{tail}"
    if _CLEAN_ALREADY.match(text):
        return text
    if "\x1b" in text or "\x9b" in text:
        text = _ANSI.sub("", text)
    if "\r" in text:
        text = "\n".join(_last_overwrite(line) for line in text.replace("\r\n", "\n").split("\n"))
    return text.translate(_HIDDEN)


def _last_overwrite(line: str) -> str:
    if "\r" not in line:
        return line
    stripped = line.rstrip("\r")
    return stripped[stripped.rfind("\r") + 1 :]
