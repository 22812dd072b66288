"""Pure: Amazon CloudWatch alarms, bare, inside an SNS envelope, or as EventBridge's event of an alarm's state."""

from collections.abc import Mapping

import orjson

from handlers.sources import fields
from handlers.sources.fields import Json
from knowledge.errors import BadInput
from knowledge.fingerprint import identifying_marks, identity, normal_severity, parse_time
from knowledge.model import Alert, AlertStatus

_STATES = {"OK": AlertStatus.RESOLVED, "INSUFFICIENT_DATA": AlertStatus.INFO}


def parse(body: Json, _headers: Mapping[str, str]) -> tuple[Alert, ...]:
    kind = fields.name(body.get("Type"))
    if kind in ("SubscriptionConfirmation", "UnsubscribeConfirmation"):
        return (_confirmation(kind, body),)
    alarm = _alarm(body)
    trigger = fields.child(alarm, "Trigger") or alarm
    title = fields.title(alarm.get("AlarmName")) or fields.title(body.get("Subject"))
    status = _STATES.get(fields.text(alarm.get("NewStateValue")).upper(), AlertStatus.FIRING)
    metric = _metric(trigger)
    dimensions = {
        fields.name(item.get("name") or item.get("Name")): fields.name(item.get("value") or item.get("Value"))
        for item in fields.children(metric.get("Dimensions"), fields.MAX_LABELS)
    }
    labels = fields.hints(
        metric=fields.name(metric.get("MetricName")),
        metric_namespace=fields.name(metric.get("Namespace")),
        account=fields.name(alarm.get("AWSAccountId")),
        region=fields.name(alarm.get("Region")),
    )
    labels = {**{key: value for key, value in dimensions.items() if key and value}, **labels}
    description = fields.text(alarm.get("AlarmDescription"))
    return (
        Alert(
            source="cloudwatch",
            status=status,
            title=title,
            identity=identity(title, marks=identifying_marks(labels, owned=False)),
            fingerprint=fields.text(alarm.get("AlarmArn")),
            actionable=status is AlertStatus.FIRING,
            severity=normal_severity(alarm.get("Severity") or alarm.get("Priority")),
            summary=". ".join(part for part in (description, fields.text(alarm.get("NewStateReason"))) if part),
            service=labels.get("ServiceName", ""),
            started_at=parse_time(alarm.get("StateChangeTime")),
            target={},
            labels=labels,
        ),
    )


def delivery_id(_headers: Mapping[str, str], body: Json) -> str | None:
    return fields.name(body.get("MessageId")) or None


def _alarm(body: Json) -> Json:
    """The alarm itself: SNS carries it as JSON text in `Message`."""
    message = body.get("Message", body)
    if isinstance(message, str):
        try:
            message = fields.clean(orjson.loads(message))
        except orjson.JSONDecodeError:
            # Any text can be published to a topic; it is still somebody's alarm.
            return {"AlarmName": body.get("Subject") or message[: fields.MAX_TITLE], "AlarmDescription": message}
    if isinstance(message, Mapping) and fields.child(message, "detail").get("alarmName"):
        message = _of_event(message)
    if not isinstance(message, Mapping) or not (message.get("AlarmName") or message.get("AlarmDescription")):
        raise BadInput("The field `AlarmName` is missing: this is no CloudWatch alarm.")
    return message


def _metric(trigger: Json) -> Json:
    """Where an alarm is of an expression, the first of the metrics that it is made of."""
    stats = (fields.child(item, "MetricStat", "Metric") for item in fields.children(trigger.get("Metrics")))
    return next((metric for metric in stats if metric), trigger)


def _of_event(event: Json) -> Json:
    """EventBridge's "CloudWatch Alarm State Change" in the words of the notifications that alarms send themselves."""
    detail = fields.child(event, "detail")
    state, configuration = fields.child(detail, "state"), fields.child(detail, "configuration")
    stats = (fields.child(item, "metricStat", "metric") for item in fields.children(configuration.get("metrics")))
    metric: Json = next((one for one in stats if one), {})
    arns = event.get("resources")
    return {
        "AlarmName": detail.get("alarmName"),
        "AlarmDescription": configuration.get("description"),
        "AlarmArn": arns[0] if isinstance(arns, list) and arns else "",
        "AWSAccountId": event.get("account"),
        "Region": event.get("region"),
        "NewStateValue": state.get("value"),
        "NewStateReason": state.get("reason"),
        "StateChangeTime": state.get("timestamp"),
        "Trigger": {
            "MetricName": metric.get("name"),
            "Namespace": metric.get("namespace"),
            "Dimensions": [
                {"name": name, "value": value} for name, value in fields.child(metric, "dimensions").items()
            ],
        },
    }


def _confirmation(kind: str, body: Json) -> Alert:
    return Alert(
        source="cloudwatch",
        status=AlertStatus.INFO,
        title=kind,
        identity=identity(kind, marks=[fields.text(body.get("TopicArn"))]),
        actionable=False,
        summary="Amazon SNS asks to confirm a subscription: open its link once, if it is yours.",
        labels=fields.hints(topic=fields.text(body.get("TopicArn"))),
        links=fields.links([("Confirm", body.get("SubscribeURL"))]),
    )
