"""Values of knowledge.model to JSON and back. Unknown keys are ignored, so that an older program reads newer rows."""

from typing import Any, TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")

# Building an adapter costs milliseconds, so each type gets one.
_adapters: dict[Any, TypeAdapter[Any]] = {}


def _adapter(shape: Any) -> TypeAdapter[Any]:
    if shape not in _adapters:
        _adapters[shape] = TypeAdapter(shape)
    return _adapters[shape]


def to_json(value: Any) -> Any:
    """A frozen dataclass as JSON values."""
    return _adapter(type(value)).dump_python(value, mode="json")


def from_json(shape: type[T], data: Any) -> T:
    value: T = _adapter(shape).validate_python(data)
    return value
