"""The sceptical second look at a reply: what a model is asked, and why it can only lower the confidence. Pure."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from knowledge.language_models.reply import LONGEST_REPLY, Reply, UnreadableReply, without_reasoning


class SecondLook(BaseModel):
    model_config = ConfigDict(extra="ignore")
    confidence: Annotated[float, Field(ge=0, le=1)]
    objection: Annotated[str, Field(max_length=4000)] = ""


def second_look_schema() -> dict[str, Any]:
    properties = {"confidence": {"type": "number"}, "objection": {"type": "string"}}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def read_second_look(content: str) -> SecondLook:
    """Raises UnreadableReply."""
    body = without_reasoning(content[:LONGEST_REPLY])
    try:
        return SecondLook.model_validate_json(body[body.find("{") : body.rfind("}") + 1])
    except ValidationError:
        raise UnreadableReply("the second look is not the JSON object that was asked for") from None


def lowered(reply: Reply, doubt: SecondLook) -> Reply:
    """The reply with the lower of both confidences; the objection is kept among what was considered."""
    objection = [f"second look: {doubt.objection}"[:4000]] if doubt.objection else []
    return reply.model_copy(
        update={
            "confidence": min(reply.confidence, doubt.confidence),
            "ruled_out": [*reply.ruled_out[:19], *objection],
        }
    )
