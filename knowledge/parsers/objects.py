"""JSON objects inside a text: a whole document, `kubectl get -o json`, log lines that are objects."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_LONGEST = 2_000_000
_DEEPEST = 12
_MOST_NODES = 20_000


def object_in(text: str) -> Any:
    """The JSON value that the text is, or that begins at its first brace on a line of its own; None when it is none."""
    begin = 0 if text[:1] in {"{", "["} else text.find("\n{") + 1
    if text[begin : begin + 1] not in {"{", "["} or len(text) > _LONGEST:
        return None
    try:
        return json.JSONDecoder().raw_decode(text, begin)[0]
    except (ValueError, RecursionError):
        return None


def walk(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every object within, outermost first, 12 levels deep and 20,000 objects at most."""
    waiting: list[tuple[Any, int]] = [(value, 0)]
    for _ in range(_MOST_NODES):
        if not waiting:
            return
        node, depth = waiting.pop(0)
        if isinstance(node, Mapping):
            yield node
            inner: Sequence[Any] = list(node.values())
        else:
            inner = node if isinstance(node, list) else []
        if depth < _DEEPEST:
            waiting += [(child, depth + 1) for child in inner if isinstance(child, dict | list)]


def texts(node: Mapping[str, Any], *names: str) -> list[str]:
    """The strings, not empty, under these names."""
    return [value for name in names if isinstance(value := node.get(name), str) and value]


def objects_at(node: Any, *path: str) -> list[Mapping[str, Any]]:
    """The objects of the list that stands at a path of names."""
    found = at(node, *path)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def texts_at(node: Any, *path: str) -> list[str]:
    """The string at a path of names, when it is one and not empty."""
    found = at(node, *path)
    return [found] if isinstance(found, str) and found else []


def at(node: Any, *path: str) -> Any:
    """What stands at a path of names; None when there is nothing."""
    for name in path:
        node = node.get(name) if isinstance(node, Mapping) else None
    return node
