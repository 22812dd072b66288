"""Names beside which a secret stands, names that only look like those, and what the secret is then called."""

import re

# Matched at the end of a longer name: DB_PASSWORD, auth.postgresPassword.
_PASSWORDS = tuple(
    "password passwd passphrase passcode pwd requirepass masterauth userpass keypass storepass"  # noqa: SIM905
    " _pass -pass .pass _pat -pat".split()
)
_CREDENTIALS = tuple(
    "secret secrets token credential credentials apikey pepper sonar.login secretkeybase secret_key_base salt".split()  # noqa: SIM905
)
_KEYS = tuple(
    "access secret private auth account storage encryption signing routing integration service master shared"  # noqa: SIM905
    " webhook license licence app application deploy session jwt hmac crypto cipher client admin root user stripe"
    " sentry datadog dd_api newrelic consumer merchant publish subscription function functions host api fernet base"
    " signature".split()
)
_ENDS = tuple(word.encode() for word in _PASSWORDS + _CREDENTIALS)
_KEY_ENDS = tuple(word.encode() for word in _KEYS)
# The same as one expression, for rules that look for a name within a longer anchor.
TELLING = rf"(?:{'|'.join(re.escape(word) for word in _PASSWORDS + _CREDENTIALS)}|(?:{'|'.join(_KEYS)})[_. -]?key)"


def is_telling(name: bytes) -> bool:
    """Whether a name says that its value is a secret: DB_PASSWORD, apiKey, smtpPass, `pass` alone."""
    lowered = name.lower()
    if lowered.endswith(_ENDS) or lowered == b"pass":
        return True
    if lowered.endswith(b"key"):
        return lowered[:-3].rstrip(b"_. -").endswith(_KEY_ENDS)
    if lowered.endswith((b"key-data", b"key_data")):
        return True
    return name.endswith(b"Pass") and name[-5:-4].isalpha() and name[-5:-4].islower()


_NAME_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.$-"
_INNOCENT = re.compile(
    rb"(?:next|page|continue|continuation|cursor|sync|pagination|max|num|min|total|input|output|prompt|completion|public"
    rb"|tokens?_per|by|bad|partition|sort|primary|foreign|cache|object|s3|idempotency|host)[_.-]?"
    rb"(?:page)?[_.-]?(?:token|tokens|key)\Z|^(?:csrf|no)[_-]?token\Z|^(?:ch|g|ht|smb)passwd\Z",
    re.IGNORECASE,
)
# What stands before a name and turns it into something else: a checksum of a secret.
_OTHER_THING = tuple(
    word + sign for word in (b"checksum", b"hash", b"sha256", b"md5", b"digest") for sign in (b"/", b"_", b"-", b".")
)


def name_before(data: bytes, end: int, most: int = 80) -> bytes:
    """The characters of a name that end at `end`, at most 80; b"" when there are none."""
    window = data[max(0, end - most) : end]
    return window[len(window.rstrip(_NAME_BYTES)) :]


def name_at(data: bytes, end: int) -> bytes:
    """The name that ends at `end`; "api key" and the like with their space."""
    name = name_before(data, end)
    if name.lower() == b"key":
        word = name_before(data, end - 4) if data[end - 4 : end - 3] == b" " else b""
        return word + b" " + name if word else name
    return name


def is_innocent(data: bytes, end: int, name: bytes) -> bool:
    """Whether the name that ends at `end` holds no secret: page tokens, cache keys, a checksum, a part of an ARN."""
    if _INNOCENT.search(name):
        return True
    begin = end - len(name)
    before = data[max(0, begin - 10) : begin]
    if before.lower().endswith(_OTHER_THING):
        return True
    word = data[max(0, begin - 200) : begin]
    return b"arn:" in word and b"arn:" in word[max(word.rfind(c) for c in (b" ", b"\n", b'"', b"'")) + 1 :]


def kind_of(name: bytes) -> str:
    """What a secret beside `name` is called in `[redacted:KIND]`."""
    lowered = name.lower()
    # "credential", not "password": that word itself is the most common password, and would look like a leftover.
    if lowered.endswith((b"pass", b"password", b"passwd", b"pwd", b"passphrase", b"passcode", b"masterauth")):
        return "credential"
    if b"token" in lowered[-12:]:
        return "token"
    if b"key" in lowered[-8:]:
        return "api_key"
    return "secret"
