"""Anthropic's Messages API: the instructions stand apart from the turns, and a reply comes in blocks.

`output_config.format` asks for JSON of a schema; models since Opus 4.7 refuse a temperature. Looked up in November
2026.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict

from knowledge.language_models.reply import UnreadableReply
from knowledge.language_models.wire import Question, Said, Wire, parsed

VERSION = "2023-06-01"


class _Block(BaseModel):
    model_config = ConfigDict(extra="ignore")
    type: str
    text: str = ""


class _Usage(BaseModel):
    model_config = ConfigDict(extra="ignore")
    input_tokens: int = 0
    output_tokens: int = 0


class _Reply(BaseModel):
    model_config = ConfigDict(extra="ignore")
    content: list[_Block]
    stop_reason: str | None = None
    usage: _Usage | None = None


def _headers(key: str) -> dict[str, str]:
    return {"x-api-key": key, "anthropic-version": VERSION, "Accept": "application/json"}


def _body(model: str, question: Question) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": model,
        "system": question.system,
        "messages": list(question.turns),
        "max_tokens": question.max_tokens,
        "temperature": question.temperature,
    }
    if question.schema is not None:
        body["output_config"] = {"format": {"type": "json_schema", "schema": question.schema}}
    return body


def _read(content: bytes, content_type: str) -> Said:
    reply = parsed(_Reply, content, content_type)
    if reply.stop_reason == "refusal":
        raise UnreadableReply("the model declined to answer")
    usage = reply.usage or _Usage()
    return Said(
        # Only what is said counts: thinking comes in blocks of its own type.
        content="".join(block.text for block in reply.content if block.type == "text"),
        cut_off=reply.stop_reason == "max_tokens",
        input_tokens=max(0, usage.input_tokens),
        output_tokens=max(0, usage.output_tokens),
    )


ANTHROPIC = Wire(
    id="anthropic",
    name="Anthropic",
    key_setting="ANTHROPIC_API_KEY",
    models_setting="CODEHEALER_ANTHROPIC_MODELS",
    base_url="https://api.anthropic.com",
    path="/v1/messages",
    headers=_headers,
    body=_body,
    read=_read,
    optional=("temperature", "output_config"),
)
