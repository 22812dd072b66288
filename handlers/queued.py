"""Pure: a message of a queue that others write into, as a delivery of alerts.

Understood are our own envelope `{"source", "headers"?, "body", "delivery_id"?}`, a webhook's body whose source is named
by a message attribute `source`, CloudWatch alarms and Alertmanager's notifications as they are, each of these inside an
SNS notification, and EventBridge events. Whatever else comes is refused with a reason and never guessed at.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from handlers.intake import MAX_BYTES, Intake, parse_object, read_webhook
from handlers.sources import SOURCES, fields
from handlers.sources.fields import Json
from knowledge.errors import BadInput

# Slack's own messages come over Slack; everything else may be put into a queue.
QUEUEABLE = tuple(name for name in SOURCES if name != "slack")
SIGNING = frozenset({"github", "pagerduty"})
_MAX_HEADERS = 50
_UNKNOWN = (
    "It is of no known shape. Send {source, headers, body}, or name the source in a message attribute `source`; "
    "docs/install.md has examples."
)


@dataclass(frozen=True, slots=True)
class _Letter:
    """What is to be read: a source's body as bytes, its headers, and the sender's id for it."""

    source: str
    body: bytes
    headers: Mapping[str, str]
    delivery_id: str = ""


def read_message(
    text: str, attributes: Mapping[str, str], *, allowed: Collection[str], secrets: Mapping[str, Sequence[str]]
) -> Intake:
    """The delivery in a message.

    Who may write into the queue was decided by IAM, as a token decides it for a webhook. A sender that signs is held to
    its signature where its secret is known here: whoever passes webhooks on to the queue may not have looked at it.

    Args:
        attributes: the message's string attributes.
        allowed: sources that may come by this queue.
        secrets: of the webhooks, by source.

    Raises:
        BadInput, BadSignature: it is not accepted, for the reason given.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise BadInput(f"The message is larger than {MAX_BYTES} bytes.")
    letter = _opened(text, attributes.get("source", "").strip().lower(), "")
    if letter.source not in QUEUEABLE or letter.source not in allowed:
        names = ", ".join(name for name in QUEUEABLE if name in allowed)
        raise BadInput(f"The source {letter.source[:40]!r} may not come by this queue; allowed are {names}.")
    known = secrets.get(letter.source, ()) if letter.source in SIGNING else ()
    intake = read_webhook(letter.source, letter.headers, letter.body, secrets=known or None)
    given = letter.delivery_id or intake.delivery_id
    return Intake(intake.source, intake.event, given, intake.alerts, intake.truncated, intake.body)


def _opened(text: str, source: str, delivery_id: str, *, depth: int = 0) -> _Letter:
    if source:
        return _Letter(source, text.encode("utf-8", "surrogatepass"), {}, delivery_id)
    body = parse_object(text.encode("utf-8", "surrogatepass"))
    inner = body.get("Message")
    if isinstance(inner, str) and body.get("TopicArn") and depth == 0:
        return _from_topic(text, body, inner)
    if isinstance(body.get("source"), str) and "body" in body:
        return _from_envelope(body, delivery_id)
    if isinstance(body.get("detail"), dict) and "detail-type" in body:
        return _from_event_bridge(body)
    if body.get("AlarmName") and body.get("NewStateValue"):
        return _Letter("cloudwatch", text.encode(), {}, delivery_id)
    if isinstance(body.get("alerts"), list) and isinstance(body.get("groupKey"), str):
        name = "grafana" if "orgId" in body else "alertmanager"
        return _Letter(name, text.encode(), {}, delivery_id)
    raise BadInput(_UNKNOWN)


def _from_topic(text: str, body: Json, inner: str) -> _Letter:
    """SNS's envelope: its message is one of the others, or text for people, which CloudWatch's source reads."""
    message_id = fields.name(body.get("MessageId"))
    attributes = fields.child(body, "MessageAttributes")
    source = fields.name(fields.child(attributes, "source").get("Value")).lower()
    try:
        return _opened(inner, source, message_id, depth=1)
    except BadInput:
        alarm = inner.lstrip().startswith("{") and "AlarmName" not in inner
        if source or alarm:
            raise
        return _Letter("cloudwatch", text.encode("utf-8", "surrogatepass"), {}, message_id)


def _from_envelope(body: Json, delivery_id: str) -> _Letter:
    given, headers = body["body"], body.get("headers")
    if not isinstance(given, str | dict):
        raise BadInput("The field `body` must be a JSON object, or its text.")
    if headers is not None and not isinstance(headers, Mapping):
        raise BadInput("The field `headers` must be an object of texts.")
    sent = {str(name): str(value) for name, value in list((headers or {}).items())[:_MAX_HEADERS]}
    return _Letter(
        str(body["source"]).strip().lower(),
        given.encode("utf-8", "surrogatepass") if isinstance(given, str) else orjson.dumps(given),
        sent,
        fields.name(body.get("delivery_id")) or delivery_id,
    )


def _from_event_bridge(body: Json) -> _Letter:
    """An alarm's change of state as CloudWatch's source reads it; any other event by its title and what it is about."""
    detail, kind = body["detail"], fields.text(body.get("detail-type"))
    event_id = fields.name(body.get("id"))
    named = body.get("resources")
    arns = [arn for arn in named if isinstance(arn, str)] if isinstance(named, list) else []
    place = {"AWSAccountId": body.get("account"), "Region": body.get("region")}
    if kind == "CloudWatch Alarm State Change":
        state = fields.child(detail, "state")
        alarm: dict[str, Any] = {
            **place,
            "AlarmName": detail.get("alarmName"),
            "AlarmArn": arns[0] if arns else "",
            "AlarmDescription": fields.child(detail, "configuration").get("description"),
            "NewStateValue": state.get("value"),
            "NewStateReason": state.get("reason"),
            "StateChangeTime": state.get("timestamp"),
            "Trigger": _metric_of(detail),
        }
        return _Letter("cloudwatch", orjson.dumps(alarm), {}, event_id)
    title = ": ".join(part for part in (kind, fields.text(body.get("source"))) if part)
    event = {"title": title, "startedat": body.get("time"), "resources": arns[:5], **place, "detail": detail}
    return _Letter("generic", orjson.dumps(event), {}, event_id)


def _metric_of(detail: Json) -> dict[str, Any]:
    """The first metric of an alarm, in the words of an SNS message."""
    for one in fields.children(fields.child(detail, "configuration").get("metrics"), 10):
        metric = fields.child(fields.child(one, "metricStat"), "metric")
        if metric:
            sizes = fields.child(metric, "dimensions")
            return {
                "MetricName": metric.get("name"),
                "Namespace": metric.get("namespace"),
                "Dimensions": [{"name": name, "value": value} for name, value in sizes.items()],
            }
    return {}
