# ruff: noqa: E501  an expression stays on one line: broken up it cannot be searched for
"""Whether what stands beside a telling name is a secret, or a placeholder, a reference, a type, a path, a word of prose."""

import re

from knowledge.redaction.names import is_telling

VALUE = 4096  # the longest secret looked for, in bytes; keys and manifests have limits of their own
MARKER = re.compile(rb"\[redacted(:[a-z0-9_]{1,40})?\]", re.IGNORECASE)
# Looked at from the value's first character.
PLACEHOLDER = re.compile(
    rb"""(?:\[(?:redacted|masked|filtered|hidden|secret|removed|omitted)|\*{2,}|\xe2\x80\xa2{2,}|x{4,}\b|\.{3}|\xe2\x80\xa6|<"""
    rb"""|\$\{|\$\(|\$[A-Za-z_]\w*\b(?!\$)|\{\{|\{%|%\(|%[sdvq]\b|%[A-Z_]+%|%env\(|!(?:vault|reference|ref|sub|getatt)\b|@@|\#\{"""
    rb"""|vault:|ref\+|ssm:|sm://|secretref|env:|file:|arn:|op://|projects/"""
    rb"""|os\.|process\.|self\.|this\.|config\.|settings\.|args\.|opts\.|env\.|secrets\.|vars?\.|data\.|local\.|module\."""
    rb"""|getenv|get_|(?i:changeme\b|your[_-]|redacted|masked|placeholder|example[_-]|dummy[_-]))"""
)
WORDS = frozenset(
    b"true false null none nil undefined empty yes no on off string str bytes int bool boolean object optional "
    b"required invalid incorrect missing expired wrong mismatch unauthorized denied rejected revoked refused "
    b"failed failure unset set not is was are has must should cannot can for from to of in the a an and or type "
    b"provided given field value default opaque enabled disabled anonymous same-origin include omit basic bearer "
    b"kubernetes.io/tls bound auto generated found authentication authorization flag option argument parameter "
    b"sha256 md5 scram-sha-256 trust peer ident plain prompt stdin rotate rotated rotation created updated deleted "
    b"configured unchanged valid unknown via with using by this that instead as at when you your".split()
)
_CALL = re.compile(rb"[A-Za-z_][\w.]{0,80}\(")
_PATH = re.compile(rb"(?:\.{0,2}|~)(?:/[A-Za-z0-9_.@$-]{1,64}){2,12}/?\Z")
PATH_START = re.compile(rb"~?/(?:\.?ssh|var|run|etc|home|tmp|opt|usr|mnt|root|secrets?|vault|data|app|config|srv)/")
_DOTTED = re.compile(rb"[a-z_]\w{0,40}(?:\.[A-Za-z_]\w{0,40}){1,6}\Z")
_DNS_NAME = re.compile(rb"[a-z]+(?:[-_.][a-z]+)*(?:[-_.][a-z0-9]{1,5}){0,3}\Z")
_LETTERS = re.compile(rb"[A-Za-z]+\Z")
_NUMBER = re.compile(rb"-?\d{1,20}(?:\.\d+)?[a-zA-Z%]{0,3}\Z")
_VARIABLE = re.compile(rb"[A-Z][A-Z]*(?:_[A-Z0-9]{1,12})+\Z")
_ORDINARY = re.compile(
    rb"""(?ix) \d{4}-\d\d-\d\d | \d{1,3}(?:\.\d{1,3}){3}\b | v?\d+(?:\.\d+){1,3} | [\w.+-]+@[\w-]+\.[\w.]+\Z
    | [a-z]+:// | [\w-]{1,40}/[\w./-]+\Z | 0x[0-9a-f]+\Z | sha(?:1|256|512)[:-]
    | [a-z]+(?:[-_.][a-z]+)*(?:[-_.]?[a-z0-9]{1,5}){0,2}\Z | [\w.-]+:\d{1,5}\Z | [\w-]+\.(?:json|ya?ml|go|py|js|ts|txt|pem|key|crt)\b"""
)


def is_mask(value: bytes) -> bool:
    """A placeholder, a reference, or a marker that is already there."""
    return bool(PLACEHOLDER.match(value) or MARKER.search(value))


def is_secret(value: bytes, kind: str, *, quoted: bool, assigned: bool) -> bool:
    """Of a value beside a telling name; `assigned` where `=` or a line of its own says that it is one."""
    if len(value) < (3 if kind == "credential" else 6) or is_mask(value):
        return False
    if value.lower() in WORDS or _CALL.match(value) or PATH_START.match(value):
        return False
    if _PATH.match(value) and (b"." in value or not re.search(rb"[A-Z]", value)):
        return False
    if kind == "credential":
        if b" " in value and len(value.split()) > 3:
            return False  # a sentence, such as an error message beside the name
        return assigned or bool(re.search(rb"[\d\W_]", value))
    if quoted and b" " in value:
        return False
    if _VARIABLE.match(value) and is_telling(value):
        return False  # the name of a variable: "missing secret: DB_PASSWORD"
    plain = _NUMBER.match(value) and len(value) < 16
    return not (plain or _LETTERS.match(value) or _DNS_NAME.match(value) or _DOTTED.match(value))


def is_opaque(value: bytes) -> bool:
    """Of a word that follows a telling one without any sign: `using token VALUE`. Twelve characters or more."""
    if not re.fullmatch(rb"[A-Za-z0-9+/=_-]{12,}", value) or _ORDINARY.match(value) or is_mask(value):
        return False
    mixed = re.search(rb"[a-z]", value) and re.search(rb"[A-Z]", value)
    return len(re.findall(rb"\d", value)) >= 2 and bool(mixed or len(value) >= 24) and not PATH_START.match(value)


def looks_random(value: bytes) -> bool:
    """Of a value in a sentence, or beside a vendor's name: no word, date, version, address, path or file.

    Eight characters or more with a digit, and capitals among small letters, a sign, or length.
    """
    if len(value) < 8 or is_mask(value) or _ORDINARY.match(value) or PATH_START.match(value):
        return False
    digit, small, capital = (bool(re.search(p, value)) for p in (rb"\d", rb"[a-z]", rb"[A-Z]"))
    sign = bool(re.search(rb"[!$*+/=_#%^&?~-]", value))
    if not (small or capital):
        return False
    return (small and capital and (digit or sign)) or (digit and (len(value) >= 16 or sign))
