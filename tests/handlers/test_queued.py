"""Messages of a queue: what others put there is read as what it is, or refused with the reason."""

import hashlib
import hmac
import json
from typing import Any

import pytest

from bot import aws_settings
from handlers.queued import QUEUEABLE, read_message
from handlers.sources.verify import BadSignature
from knowledge.errors import BadInput

ALARM = {
    "AlarmName": "checkout 5xx", "NewStateValue": "ALARM", "NewStateReason": "Threshold crossed",
    "StateChangeTime": "2026-11-23T09:00:00.000+0000", "Region": "EU (Ireland)", "AlarmArn": "arn:aws:cloudwatch:x",
}  # fmt: skip
NOTIFICATION = {"version": "4", "groupKey": "{}:{}", "receiver": "codehealer", "status": "firing", "alerts": [
    {"status": "firing", "labels": {"alertname": "CheckoutDown", "namespace": "shop"}, "annotations": {},
     "startsAt": "2026-11-23T09:00:00Z", "endsAt": "0001-01-01T00:00:00Z", "fingerprint": "f1"}]}  # fmt: skip
RUN = {"action": "completed", "repository": {"full_name": "acme/checkout"}, "workflow_run": {
    "id": 7, "name": "CI", "conclusion": "failure", "head_branch": "main", "head_sha": "a" * 40,
    "html_url": "https://github.com/acme/checkout/actions/runs/7"}}  # fmt: skip
CHANGE = {
    "version": "0", "id": "event-1", "detail-type": "CloudWatch Alarm State Change", "source": "aws.cloudwatch",
    "account": "1", "time": "2026-11-23T09:00:00Z", "region": "eu-west-1", "resources": ["arn:aws:cloudwatch:x"],
    "detail": {"alarmName": "checkout 5xx", "state": {"value": "ALARM", "reason": "Threshold crossed",
                                                      "timestamp": "2026-11-23T09:00:00.000+0000"},
               "configuration": {"description": "too many errors"}},
}  # fmt: skip


def topic(message: object, **more: object) -> dict[str, Any]:
    text = message if isinstance(message, str) else json.dumps(message)
    return {"Type": "Notification", "MessageId": "sns-1", "TopicArn": "arn:aws:sns:x", "Message": text, **more}


def read(message: object, allowed: Any = QUEUEABLE, secrets: Any = None, **attributes: str) -> Any:
    text = message if isinstance(message, str) else json.dumps(message)
    return read_message(text, attributes, allowed=allowed, secrets=secrets or {})


def envelope(source: str, body: object, **more: object) -> dict[str, object]:
    return {"source": source, "body": body, **more}


SENT = {
    "an alarm as it is": (ALARM, {}, "cloudwatch", "checkout 5xx", None),
    "an alarm through a topic": (topic(ALARM), {}, "cloudwatch", "checkout 5xx", "sns-1"),
    "an alarm through EventBridge": (CHANGE, {}, "cloudwatch", "checkout 5xx", "event-1"),
    "an event through a topic": (topic(CHANGE), {}, "cloudwatch", "checkout 5xx", "event-1"),
    "words through a topic": (topic("disk is full", Subject="Disk"), {}, "cloudwatch", "Disk", "sns-1"),
    "another event": (
        {**CHANGE, "detail-type": "ECS Task State Change", "source": "aws.ecs", "detail": {"stopCode": "x"}}, {},
        "generic", "ECS Task State Change: aws.ecs", "event-1",
    ),
    "a notification as it is": (NOTIFICATION, {}, "alertmanager", "CheckoutDown", None),
    "a notification with its source": (NOTIFICATION, {"source": "Alertmanager"}, "alertmanager", "CheckoutDown", None),
    "an envelope": (
        envelope("alertmanager", NOTIFICATION, delivery_id="mine"), {}, "alertmanager", "CheckoutDown", "mine",
    ),
    "an envelope in a topic": (
        topic(envelope("alertmanager", NOTIFICATION)), {}, "alertmanager", "CheckoutDown", "sns-1",
    ),
    "an envelope with headers": (
        envelope("github", json.dumps(RUN), headers={"X-GitHub-Event": "workflow_run", "X-GitHub-Delivery": "guid"}),
        {}, "github", "CI failed", "guid",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SENT)
def test_what_is_sent_is_read_as_what_it_is(name: str) -> None:
    message, attributes, source, title, delivery_id = SENT[name]
    found = read(message, **attributes)
    assert (found.source, found.delivery_id) == (source, delivery_id)
    assert [title.split()[0] in alert.title for alert in found.alerts] == [True]
    assert found.alerts[0].actionable


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ({"hello": "world"}, "no known shape"),
        ("not json", "not JSON"),
        ("[1, 2]", "must be a JSON object"),
        ("[" * 5000, "nested too deeply"),
        (envelope("slack", {}), "may not come by this queue"),
        (envelope("nobody", {}), "may not come by this queue"),
        (envelope("generic", 7), "`body` must be"),
        (envelope("generic", {}, headers=[1]), "`headers` must be"),
        (envelope("alertmanager", {"alerts": 3}), "alerts"),
        (topic({"hello": "world"}), "no known shape"),
        (topic(topic(ALARM)), "no CloudWatch alarm"),
        ({"detail-type": 7, "detail": {}, "resources": 3, "id": {}}, ""),
        ({"codehealer_job": 1}, "no known shape"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_reason(message: object, why: str) -> None:
    if not why:
        assert read(message).alerts
        return
    with pytest.raises(BadInput, match=why):
        read(message)


def test_only_sources_that_the_operator_allows_come_by_the_queue() -> None:
    with pytest.raises(BadInput, match="'alertmanager' may not come by this queue; allowed are cloudwatch"):
        read(NOTIFICATION, allowed=("cloudwatch",))


def test_a_sender_that_signs_is_held_to_its_signature_where_its_secret_is_known() -> None:
    """An API gateway passes on whatever the internet sends to it."""
    body = json.dumps(RUN)
    right = "sha256=" + hmac.new(b"known", body.encode(), hashlib.sha256).hexdigest()
    headers = {"X-GitHub-Event": "workflow_run", "X-Hub-Signature-256": right}
    assert read(envelope("github", body, headers=headers), secrets={"github": ["known"]}).alerts
    for wrong in ({"X-GitHub-Event": "workflow_run"}, {**headers, "X-Hub-Signature-256": right[:-4] + "0000"}):
        with pytest.raises(BadSignature):
            read(envelope("github", body, headers=wrong), secrets={"github": ["known"]})


def test_the_settings_know_every_source_that_may_come_by_a_queue() -> None:
    assert aws_settings.QUEUEABLE == QUEUEABLE
