"""Small checkers that say what a JSON value must look like, in the words of Slack's own complaints.

A checker takes a value and its JSON pointer and yields ``[ERROR] rule [json-pointer:/where]`` for each fault.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Faults = Iterator[str]
Checker = Callable[[Any, str], Faults]

_URL = re.compile(r"(?:https?://|mailto:|slack://)\S+", re.IGNORECASE)


def fault(rule: str, pointer: str) -> str:
    """Word one fault."""
    return f"[ERROR] {rule} [json-pointer:{pointer}]"


def string(high: int, low: int = 1) -> Checker:
    """Check a string of ``low..high`` characters."""

    def check(value: Any, pointer: str) -> Faults:
        if not isinstance(value, str):
            yield fault("must be a string", pointer)
        elif len(value) < low:
            yield fault(f"must be more than {low - 1} characters", pointer)
        elif len(value) > high:
            yield fault(f"must be less than {high + 1} characters", pointer)

    return check


def matching(pattern: str, rule: str) -> Checker:
    """Check a string against a whole-string pattern; ``rule`` words the fault."""
    compiled = re.compile(pattern)

    def check(value: Any, pointer: str) -> Faults:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            yield fault(rule, pointer)

    return check


def url(value: Any, pointer: str) -> Faults:
    """Check a URL of at most 3,000 characters."""
    if not isinstance(value, str) or not _URL.fullmatch(value):
        yield fault("invalid url", pointer)
    elif len(value) > 3000:
        yield fault("must be less than 3001 characters", pointer)


def boolean(value: Any, pointer: str) -> Faults:
    """Check true or false."""
    if not isinstance(value, bool):
        yield fault("must be a boolean", pointer)


def number(low: float | None = None, high: float | None = None, whole: bool = True) -> Checker:
    """Check a number within bounds."""

    def check(value: Any, pointer: str) -> Faults:
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            yield fault("must be an integer" if whole else "must be a number", pointer)
        elif low is not None and value < low:
            yield fault(f"must be at least {low}", pointer)
        elif high is not None and value > high:
            yield fault(f"must be at most {high}", pointer)

    return check


def one_of(*allowed: Any) -> Checker:
    """Check that a value is in a closed list."""

    def check(value: Any, pointer: str) -> Faults:
        if value not in allowed:
            yield fault(f"must be one of: {', '.join(map(str, allowed))}", pointer)

    return check


def array(item: Checker, low: int, high: int) -> Checker:
    """Check a list of ``low..high`` items."""

    def check(value: Any, pointer: str) -> Faults:
        if not isinstance(value, list):
            yield fault("must be an array", pointer)
            return
        if len(value) < low:
            yield fault(f"no fewer than {low} items allowed", pointer)
        if len(value) > high:
            yield fault(f"no more than {high} items allowed", pointer)
            return
        for index, entry in enumerate(value):
            yield from item(entry, f"{pointer}/{index}")

    return check


def record(
    required: Mapping[str, Checker],
    optional: Mapping[str, Checker] | None = None,
    either: tuple[str, ...] = (),
) -> Checker:
    """Check an object: needed fields, allowed fields, at least one of ``either``, and no other key."""
    known = {**required, **(optional or {})}

    def check(value: Any, pointer: str) -> Faults:
        if not isinstance(value, dict):
            yield fault("must be an object", pointer)
            return
        for name in required:
            if value.get(name) is None:
                yield fault(f"missing required field: {name}", pointer)
        if either and not any(value.get(name) is not None for name in either):
            yield fault(f"missing required field: {' or '.join(either)}", pointer)
        for name, entry in value.items():
            if name not in known:
                yield fault(f"additional property not allowed: {name}", pointer)
            elif entry is not None:
                yield from known[name](entry, f"{pointer}/{name}")

    return check


def by_type(kinds: Mapping[str, Checker]) -> Checker:
    """Check an object by what its ``type`` says."""

    def check(value: Any, pointer: str) -> Faults:
        kind = value.get("type") if isinstance(value, dict) else None
        checker = kinds.get(kind) if isinstance(kind, str) else None
        if not isinstance(value, dict):
            yield fault("must be an object", pointer)
        elif kind is None:
            yield fault("missing required field: type", pointer)
        elif checker is None:
            yield fault(f"unsupported type: {kind}", f"{pointer}/type")
        else:
            yield from checker(value, pointer)

    return check


def both(*checkers: Checker) -> Checker:
    """Check with each in turn; later ones run only when the earlier found nothing."""

    def check(value: Any, pointer: str) -> Faults:
        for checker in checkers:
            found = list(checker(value, pointer))
            yield from found
            if found:
                return

    return check
