"""Pure: reading fields of JSON that anybody may have written: a wrong type reads as absent, and all is bounded."""

import re
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import orjson

from knowledge.errors import BadInput
from knowledge.model import Link

Json = Mapping[str, Any]

# A workload's label → the kind of object that it names.
KINDS: Mapping[str, str] = {
    "pod": "Pod",
    "deployment": "Deployment",
    "statefulset": "StatefulSet",
    "daemonset": "DaemonSet",
    "job_name": "Job",
    "node": "Node",
}
MAX_TITLE = 300
MAX_NAME = 253
MAX_TEXT = 4_000
MAX_LABELS = 100
_MAX_LABEL = 1_000
_MAX_URL = 2_000
MAX_DEPTH = 64

# Terminal sequences (colours, titles) and control characters: PostgreSQL stores no NUL, people read no escapes.
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]{0,500}(?:\x07|\x1b\\)|\x1b.")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")


def clean_text(value: str) -> str:
    """Without escape sequences, control characters (but line ends and tabs) and halves of surrogate pairs."""
    if value.isprintable():
        return value
    return _SURROGATES.sub("\ufffd", _CONTROLS.sub("", _ESCAPES.sub("", value)))


def clean(value: Any, max_depth: int = MAX_DEPTH) -> Any:
    """Parsed JSON with every text and key cleaned. BadInput where it is nested more deeply than `max_depth`."""
    if value is None:
        return None
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        _require_depth(max_depth)
        return {clean_text(key): clean(item, max_depth - 1) for key, item in value.items()}
    if isinstance(value, list):
        _require_depth(max_depth)
        return [clean(item, max_depth - 1) for item in value]
    return value


# JSON whose text may need cleaning: escaped or raw control characters.
_UNCLEAN = re.compile(rb"\\[bf]|\\u(?:00[0189]|007[fF]|[dD][89a-fA-F])|[\x7f]|\xc2[\x80-\x9f]")


def surely_clean(document: bytes, max_depth: int = MAX_DEPTH) -> bool:
    """Whether a JSON document needs no cleaning; walking it is dear.

    With no more brackets than levels are allowed it cannot be nested too deeply.
    """
    if document.count(b"{") + document.count(b"[") > max_depth:
        return False
    plain = document.isascii() and b"\\" not in document and b"\x7f" not in document
    return plain or not _UNCLEAN.search(document)


def cleaned(value: dict[str, Any]) -> dict[str, Any]:
    """`clean` for what is mostly clean already."""
    try:
        document = orjson.dumps(value)
    except TypeError:  # half a surrogate pair, a number beyond 64 bits
        document = b"\x7f"
    return value if surely_clean(document) else clean(value)


def _require_depth(left: int) -> None:
    if left <= 0:
        raise BadInput("The JSON is nested too deeply: send a flatter body.")


def text(value: object, limit: int = MAX_TEXT) -> str:
    """A string as it is, a number as digits, anything else as ""."""
    if isinstance(value, str):
        return value[:limit].strip()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)[:limit]
    return ""


def name(value: object) -> str:
    return text(value, MAX_NAME)


def title(value: object) -> str:
    return " ".join(text(value, MAX_TITLE).split())


def child(value: object, *path: str) -> Json:
    """The object at the end of a path of keys, {} where it is none."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def children(value: object, limit: int = 200) -> list[Json]:
    """The objects of an array; whatever else is in it is left out."""
    return [item for item in value[:limit] if isinstance(item, Mapping)] if isinstance(value, list) else []


def labels(value: object) -> dict[str, str]:
    """Labels as strings; nested values are left out."""
    if not isinstance(value, Mapping):
        return {}
    found = {}
    for key, item in islice(value.items(), MAX_LABELS):
        label, content = text(key, MAX_NAME), text(item, _MAX_LABEL)
        if label and content:
            found[label] = content
    return found


_NO_URL = frozenset(" <>|\n\"'")


def links(pairs: Iterable[tuple[str, object]]) -> tuple[Link, ...]:
    """The pairs (title, url) whose url is http or https: what a card may link to."""
    found = []
    for caption, value in pairs:
        url = text(value, _MAX_URL)
        if url.startswith(("https://", "http://")) and _NO_URL.isdisjoint(url):
            found.append(Link(caption, url))
    return tuple(found)


def hints(**values: str) -> dict[str, str]:
    """Look-up hints for the server's own search of the target, without the empty ones."""
    return {key: value for key, value in values.items() if value}
