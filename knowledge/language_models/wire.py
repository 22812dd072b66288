"""What differs between hosted models on the wire; everything else about asking them is in hosted.py.

A `Wire` is one service's form of the same exchange: instructions and turns out, a text with its tokens back.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from knowledge.language_models.reply import UnreadableReply

Turns = Sequence[Mapping[str, str]]
Shape = TypeVar("Shape", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Question:
    """`turns` are {"role": user or assistant, "content"}, the first and the last one the user's.

    Without a `schema` the reply is free text.
    """

    system: str
    turns: Turns
    schema: Mapping[str, Any] | None
    temperature: float
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Said:
    content: str
    cut_off: bool
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Wire:
    """One service.

    `id` begins the name of whoever answered ("nvidia:model"). `optional` are fields of `body` that some models refuse
    with 400; they are left out then. `status_path` is where a 202 is asked after, below the base address.
    """

    id: str
    name: str
    key_setting: str
    models_setting: str
    base_url: str
    path: str
    headers: Callable[[str], dict[str, str]]
    body: Callable[[str, Question], dict[str, Any]]
    read: Callable[[bytes, str], Said]
    optional: tuple[str, ...]
    status_path: str = ""


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore")
    content: str | None = None


class _Choice(BaseModel):
    model_config = ConfigDict(extra="ignore")
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    model_config = ConfigDict(extra="ignore")
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(BaseModel):
    model_config = ConfigDict(extra="ignore")
    choices: list[_Choice]
    usage: _Usage | None = None


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", "Accept": "application/json"}


def completion_body(model: str, question: Question) -> dict[str, Any]:
    """What chat completions of the OpenAI shape have in common."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "system", "content": question.system}, *question.turns],
        "temperature": question.temperature,
    }
    if question.schema is not None:
        schema = {"name": "answer", "schema": question.schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


def read_completion(content: bytes, content_type: str) -> Said:
    """Raises UnreadableReply."""
    completion = parsed(_Completion, content, content_type)
    if not completion.choices:
        raise UnreadableReply("the reply holds no choice")
    choice = completion.choices[0]
    usage = completion.usage or _Usage()
    return Said(
        content=choice.message.content or "",
        cut_off=choice.finish_reason == "length",
        input_tokens=max(0, usage.prompt_tokens),
        output_tokens=max(0, usage.completion_tokens),
    )


def parsed(shape: type[Shape], content: bytes, content_type: str) -> Shape:
    """Raises UnreadableReply naming the content type: most often it is a proxy's HTML page."""
    try:
        return shape.model_validate_json(content)
    except ValidationError:
        kind = content_type.split(";", maxsplit=1)[0].strip()[:60] or "no content type"
        raise UnreadableReply(f"the reply is not of the service's form ({kind})") from None
