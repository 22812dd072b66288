"""A model's reply: read out of whatever surrounds it, validated, and made an Answer that is still to be checked."""

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from knowledge.diagnosis import Answer
from knowledge.errors import CodeHealerError
from knowledge.model import FailureKind, Fixability

LONGEST_REPLY = 64_000


class UnreadableReply(CodeHealerError):
    """The reply is not the JSON object that was asked for; the message says what is wrong with it."""


Text = Annotated[str, Field(max_length=4000)]


class QuotedLine(BaseModel):
    model_config = ConfigDict(extra="ignore")
    evidence: int | None = None
    text: Text


class Reply(BaseModel):
    """The shape that a model has to answer in. Fields that nobody asked for are ignored."""

    model_config = ConfigDict(extra="ignore")
    kind: FailureKind
    confidence: Annotated[float, Field(ge=0, le=1)]
    cause: Annotated[str, Field(min_length=1, max_length=2000)]
    summary: Text = ""
    fixability: Fixability | None = None
    quotes: Annotated[list[QuotedLine], Field(max_length=30)] = []
    ruled_out: Annotated[list[Text], Field(max_length=20)] = []
    preferred_action: Text = ""
    missing: Annotated[list[Text], Field(max_length=20)] = []


def reply_schema() -> dict[str, Any]:
    """JSON Schema for `response_format`: closed objects, every field required, as strict servers want it."""
    text = {"type": "string"}
    quote = {
        "type": "object",
        "properties": {"evidence": {"type": "integer"}, "text": text},
        "required": ["evidence", "text"],
        "additionalProperties": False,
    }
    properties: dict[str, Any] = {
        "kind": {"type": "string", "enum": [kind.value for kind in FailureKind]},
        "confidence": {"type": "number"},
        "cause": text,
        "summary": text,
        "fixability": {"type": "string", "enum": [value.value for value in Fixability]},
        "quotes": {"type": "array", "items": quote},
        "ruled_out": {"type": "array", "items": text},
        "preferred_action": text,
        "missing": {"type": "array", "items": text},
    }
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


_OPENING = re.compile(r"<(?:think|thinking|reasoning)>", re.IGNORECASE)
_CLOSING = re.compile(r"</(?:think|thinking|reasoning)>", re.IGNORECASE)


def without_reasoning(content: str) -> str:
    """`content` without what a reasoning model thought aloud, whether its opening tag was sent or not."""
    *thoughts, last = _CLOSING.split(content)
    kept: list[str] = []
    for part in thoughts:
        opening = _OPENING.search(part)
        if opening:
            kept.append(part[: opening.start()])
        else:
            kept.clear()  # it thought from the beginning
    return "".join([*kept, last]).strip()


def read_reply(content: str) -> Reply:
    """Raises UnreadableReply with what is wrong, in words that a model can act on."""
    body = without_reasoning(content[:LONGEST_REPLY])
    start, end = body.find("{"), body.rfind("}")
    if start < 0:
        raise UnreadableReply("the reply holds no JSON object")
    if end < start:
        raise UnreadableReply("the reply is cut off before its JSON object ends")
    try:
        return Reply.model_validate_json(body[start : end + 1])
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "JSON"
        raise UnreadableReply(f"{where}: {first['msg']}"[:300]) from None


# What the prompt puts around a line: its number before it, how often it came behind it.
_LINE_NUMBER = re.compile(r"^\s*\d{1,9}\|\s?")
_MORE_LIKE_IT = re.compile(r"\s+\(and \d{1,9} more like it\)$")


def quoted_lines(reply: Reply) -> tuple[tuple[int | None, str], ...]:
    """(evidence index or None, line) for each line that is quoted, without what the prompt had put around it."""
    return tuple(
        (quote.evidence, _MORE_LIKE_IT.sub("", _LINE_NUMBER.sub("", line)))
        for quote in reply.quotes
        for line in quote.text.splitlines()
        if line.strip()
    )


def answer_from(reply: Reply, *, name: str, prompt_version: str, input_tokens: int, output_tokens: int) -> Answer:
    unsure = "The model says that the evidence does not tell." if reply.kind is FailureKind.UNKNOWN else ""
    return Answer(
        name=name,
        kind=reply.kind,
        confidence=reply.confidence,
        cause=reply.cause,
        summary=reply.summary,
        fixability=reply.fixability,
        quotes=quoted_lines(reply),
        ruled_out=tuple(reply.ruled_out),
        preferred_action=reply.preferred_action,
        unsure_because=unsure,
        missing=tuple(reply.missing[:5]),
        prompt_version=prompt_version,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
    )
