"""JSON with the secrets in its strings replaced."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from knowledge.redaction.engine import redact
from knowledge.redaction.judging import is_secret
from knowledge.redaction.names import is_innocent, is_telling, kind_of

# Short texts that held no secret: names and states come again with every alert. What held one is never kept.
_harmless: set[str] = set()
_MOST_KEPT, _LONGEST_KEPT = 8_192, 128
_PLAIN = frozenset({int, float, bool})


def redact_value(value: Any) -> Any:
    """JSON with the secrets in its strings replaced; a value beside a telling key goes whole, names stay."""
    return _redact_value(value, "", {})


def _redact_value(value: Any, key: str, seen: dict[str, str]) -> Any:
    """`seen` is what texts of this value became: an alert says the same name in many places."""
    kind = type(value)
    if value is None or kind in _PLAIN:
        return value
    if isinstance(value, str):
        return _redact_named(key, value, seen)
    if kind is dict or isinstance(value, Mapping):
        secret_data = value.get("kind") == "Secret"
        redacted: dict[Any, Any] = {}
        for name, item in value.items():
            kind = type(item)
            if secret_data and name in {"data", "stringData"}:
                redacted[name] = _hide_all(item)
            elif item is None or kind in _PLAIN or (kind is str and item in _harmless and not _telling(str(name))):
                redacted[name] = item  # as most of what comes: without a call for each
            else:
                redacted[name] = _redact_value(item, str(name), seen)
        return redacted
    if isinstance(value, list | tuple):
        return [_redact_value(item, key, seen) for item in value]
    return value


def _hide_all(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _hide_all(item) for name, item in value.items()}
    return "[redacted:kubernetes_secret]" if isinstance(value, str) and value else value


@lru_cache(maxsize=1024)
def _telling(key: str) -> bool:
    return is_telling(key.encode("utf-8", "replace"))


def _redact_named(key: str, value: str, seen: dict[str, str]) -> str:
    cleaned = value if value in _harmless else seen.get(value)
    if cleaned is None:
        cleaned = seen[value] = redact(value)
        if cleaned == value and len(value) <= _LONGEST_KEPT:
            if len(_harmless) >= _MOST_KEPT:
                _harmless.clear()
            _harmless.add(value)
    if cleaned != value or not _telling(key):
        return cleaned
    name = key.encode("utf-8", "replace")
    kind = kind_of(name)
    secret = is_secret(value.encode("utf-8", "surrogatepass"), kind, quoted=True, assigned=True)
    return f"[redacted:{kind}]" if secret and not is_innocent(name, len(name), name) else value
