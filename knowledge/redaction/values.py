"""JSON with the secrets in its strings replaced."""

from collections.abc import Mapping
from typing import Any

from knowledge.redaction.engine import redact
from knowledge.redaction.judging import is_secret
from knowledge.redaction.names import is_innocent, is_telling, kind_of


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


def _redact_named(key: str, value: str) -> str:
    cleaned = redact(value)
    name = key.encode("utf-8", "replace")
    if cleaned != value or not is_telling(name):
        return cleaned
    kind = kind_of(name)
    secret = is_secret(value.encode("utf-8", "surrogatepass"), kind, quoted=True, assigned=True)
    return f"[redacted:{kind}]" if secret and not is_innocent(name, len(name), name) else value
