"""Checks of one JSON value: each is a function of the value and its JSON pointer, and yields what is wrong."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Problems = Iterator[str]
Check = Callable[[Any, str], Problems]
_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Shape:
    """Which keys an object may have, how each is checked, which must be there, and on which surfaces it may stand."""

    keys: Mapping[str, Check]
    needed: tuple[str, ...] = ()
    surfaces: frozenset[str] = frozenset({"message", "modal", "home"})


def string(most: int, least: int = 1) -> Check:
    """A text of that many characters."""

    def check(value: Any, path: str) -> Problems:
        if not isinstance(value, str):
            yield f"{path}: must be a string"
        else:
            yield from counted(len(value), path, least, most, "characters")

    return check


def flag(value: Any, path: str) -> Problems:
    """True or false."""
    if not isinstance(value, bool):
        yield f"{path}: must be true or false"


def number(least: float = float("-inf"), most: float = float("inf")) -> Check:
    """A number in that range, its ends included."""

    def check(value: Any, path: str) -> Problems:
        if isinstance(value, bool) or not isinstance(value, int | float):
            yield f"{path}: must be a number"
        elif not least <= value <= most:
            yield f"{path}: must be from {least} to {most}"

    return check


def one_of(*words: str) -> Check:
    """One of these texts."""

    def check(value: Any, path: str) -> Problems:
        if not isinstance(value, str) or value not in words:
            yield f"{path}: must be one of {', '.join(words)}"

    return check


def several(check: Check, least: int, most: int) -> Check:
    """A list of that many items, each as `check` wants it."""

    def check_all(value: Any, path: str) -> Problems:
        if not isinstance(value, list):
            yield f"{path}: must be a list"
            return
        yield from sized(value, path, least, most)
        for index, item in enumerate(value[:most]):
            yield from check(item, f"{path}/{index}")

    return check_all


def shaped_as(shape: Shape) -> Check:
    """An object of that shape."""
    return lambda value, path: shaped(shape, value, path)


def shaped(shape: Shape, value: Any, path: str) -> Problems:
    """What is wrong with an object that should be of that shape."""
    if not isinstance(value, Mapping):
        yield f"{path}: must be an object"
        return
    for key in shape.needed:
        if key not in value:
            yield f"{path}/{key}: is missing"
    for key, item in value.items():
        check = shape.keys.get(key)
        if check is None:
            yield f"{path}/{str(key)[:_SHOWN]}: unknown key"
        else:
            yield from check(item, f"{path}/{key}")


def typed(table: Mapping[str, Shape], what: str, surface: str | None = None, only: Sequence[str] = ()) -> Check:
    """An object whose `type` names its shape in `table`; where `only` is given, one of these types."""

    def check(value: Any, path: str) -> Problems:
        kind = kind_of(value)
        shape = table.get(kind)
        if shape is None or (only and kind not in only):
            yield f"{path}/type: {kind[:_SHOWN] or 'nothing'} is not one of the {what}s allowed here"
            return
        if surface is not None and surface not in shape.surfaces:
            yield f"{path}/type: {kind} is not available in a {surface}"
        yield from shaped(shape, value, path)

    return check


def kind_of(value: Any) -> str:
    """The `type` of an object, "" where it has none."""
    kind = value.get("type") if isinstance(value, Mapping) else None
    return kind if isinstance(kind, str) else ""


def anything(_value: Any, _path: str) -> Problems:
    """Nothing is wrong: it is checked elsewhere."""
    yield from ()


def sized(value: Sequence[Any], path: str, least: int, most: int, what: str = "items") -> Problems:
    """What is wrong with the length of a list."""
    return counted(len(value), path, least, most, what)


def counted(have: int, path: str, least: int, most: int, what: str) -> Problems:
    """What is wrong with a number of `what`."""
    if have < least:
        yield f"{path}: must not be empty" if least == 1 else f"{path}: at least {least} {what}, has {have}"
    if have > most:
        yield f"{path}: at most {most:,} {what}, has {have:,}"
