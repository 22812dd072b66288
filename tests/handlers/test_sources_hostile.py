"""Whatever is sent, the answer is alerts or one clear sentence."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handlers.intake import BadSignature, read_webhook
from handlers.sources import SOURCES
from knowledge.correlation import keys_of
from knowledge.errors import BadInput
from remediation.policy import parse_policy

# Keys that the sources look for: values of wrong types must reach their code.
KNOWN = [
    "alerts",
    "status",
    "labels",
    "annotations",
    "alertname",
    "fingerprint",
    "startsAt",
    "app",
    "trigger",
    "event",
    "data",
    "event_type",
    "incident",
    "kind",
    "metadata",
    "involvedObject",
    "regarding",
    "name",
    "namespace",
    "state",
    "waiting",
    "reason",
    "lastState",
    "terminated",
    "containerStatuses",
    "conditions",
    "ownerReferences",
    "controller",
    "Message",
    "AlarmName",
    "Trigger",
    "Dimensions",
    "workflow_run",
    "check_run",
    "check_suite",
    "repository",
    "full_name",
    "text",
    "blocks",
    "attachments",
    "fields",
    "title",
    "color",
    "elements",
    "type",
    "key",
    "value",
    "tags",
    "severity",
    "object",
    "message",
    "subtype",
    "ts",
    "truncatedAlerts",
    "spec",
    "source",
    "sources",
    "resources",
    "health",
    "images",
    "steps",
    "reportingController",
    "service",
    "description",
    "host",
    "since",
    "detail",
    "alarmName",
    "configuration",
    "metrics",
    "metricStat",
    "metric",
    "dimensions",
    "ruleName",
    "groupKey",
    "groupLabels",
    "commonLabels",
    "exported_namespace",
    "author_name",
    "alert",
    "action",
    "verb",
]
PAYLOADS = Path(__file__).parents[1] / "payloads"
SENT_TO = [*sorted(SOURCES), "generic/odd"]
MAPPINGS = parse_policy(
    """
version: 1
webhooks:
  odd: {title: title, status: status.state, alerts: alerts, severity: severity, started_at: since, link: value,
        labels: {pod: labels.name, service: service.0.name, namespace: metadata.namespace}}
"""
).webhooks
TEXTS = st.sampled_from(["", "Pod", "Event", "firing", "section", "message_changed", "Degraded", "\x00\x1b[31m", "a-0"])
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS | st.text()
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KNOWN) | st.text(), inner, max_size=6),
    max_leaves=40,
)
OBJECTS = st.dictionaries(st.sampled_from(KNOWN), JSON, max_size=8)
EVENTS = st.sampled_from(
    ["", "workflow_run", "workflow_job", "check_run", "check_suite", "deployment_status", "status", "pull_request"]
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(source=st.sampled_from(SENT_TO), body=OBJECTS, event=EVENTS)
def test_any_object_gives_alerts_or_bad_input(source: str, body: dict[str, Any], event: str) -> None:
    data = json.dumps(body).encode()
    try:
        intake = read_webhook(source, {"X-GitHub-Event": event}, data, secrets=None, mappings=MAPPINGS)
    except BadInput:
        return
    for alert in intake.alerts:
        keys_of(alert)
        words = json.dumps([alert.title, alert.summary, dict(alert.labels), dict(alert.target)])
        assert "\\u0000" not in words
        assert "\\u001b" not in words


@settings(max_examples=300, deadline=None)
@given(source=st.sampled_from(sorted(SOURCES)), body=st.binary(max_size=300), secret=st.text(max_size=5))
def test_any_bytes_are_refused_in_words(source: str, body: bytes, secret: str) -> None:
    for secrets in (None, [secret]):
        with contextlib.suppress(BadInput, BadSignature):
            read_webhook(source, {"Authorization": "Bearer x"}, body, secrets=secrets)


def nested(opening: str, closing: str, levels: int) -> bytes:
    return (opening * levels + closing * levels).encode()


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    "body",
    [
        nested("[", "]", 5_000),
        nested('{"alerts":', "}", 5_000),
        b'{"alerts":' + b"[" * 5_000,
        b'{"n":1e999999,"alerts":' + nested("[", "]", 900) + b"}",
        b'{"x":' + nested('{"a":', "}", 100).replace(b":}", b":1}") + b"}",
    ],
)
def test_deep_json_is_refused(source: str, body: bytes) -> None:
    with pytest.raises(BadInput):
        read_webhook(source, {}, body, secrets=None)


def test_string_that_never_ends_is_refused() -> None:
    # Quadratic work on two megabytes would not end within the test's time.
    with pytest.raises(BadInput, match="not JSON"):
        read_webhook("generic", {}, rb'{"a":"' + rb"\"" * 900_000, secrets=None)


@pytest.mark.parametrize("word", ["[FIRING", "namespace:", "recovery", "alertname: a"])
def test_a_post_of_blanks_is_read_at_once(word: str) -> None:
    # As above: quadratic work would not end within the test's time.
    (alert,) = SOURCES["slack"].parse({"text": f"{word}{' ' * 39_000}!", "ts": "1.1", "channel": "C1"}, {})
    assert not alert.namespace


def test_brackets_in_text_are_no_depth() -> None:
    body = json.dumps({"alerts": [], "note": "[{" * 1_000}).encode()
    assert read_webhook("alertmanager", {}, body, secrets=None).alerts == ()


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "not JSON"),
        (b'{"a": 1', "not JSON"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b"[]", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b"null", "must be a JSON object"),
    ],
)
def test_what_is_no_object_is_named(body: bytes, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        read_webhook("generic", {}, body, secrets=None)


def test_huge_numbers_and_repeated_keys_are_read() -> None:
    body = b'{"title":"a","title":"b","n":1e999999,"m":' + b"9" * 5_000 + b"}"
    assert read_webhook("generic", {}, body, secrets=None).alerts[0].title == "b"


def test_control_and_escape_characters_are_cut_out() -> None:
    title = "dis\u0000k \u001b[31mfull\u001b[0m \u001b]0;owned\u0007 \ud800"
    intake = read_webhook("generic", {}, json.dumps({"title": title, "k\u0000": 1}).encode(), secrets=None)
    assert intake.alerts[0].title == "disk full \ufffd"
    assert "k" in intake.body


def test_more_alerts_than_the_limit_are_counted_as_truncated() -> None:
    body = json.dumps({"alerts": [{"labels": {"alertname": "A"}}] * 1_200, "truncatedAlerts": 5}).encode()
    intake = read_webhook("alertmanager", {}, body, secrets=None)
    assert (len(intake.alerts), intake.truncated) == (1_000, 205)


def test_instructions_in_labels_stay_text() -> None:
    labels = {"alertname": "A", "pod": "kubectl delete namespace prod", "namespace": "edge"}
    alert = read_webhook(
        "alertmanager", {}, json.dumps({"alerts": [{"labels": labels}]}).encode(), secrets=None
    ).alerts[0]
    assert alert.workload == "kubectl delete namespace prod"
    assert alert.target["namespace"] == "edge"


def spoiled(value: Any, wrong: Any) -> Iterator[Any]:
    """The value with each of its parts in turn replaced by what is wrong there."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(parts)[:60]:
        for other in (wrong, *spoiled(inner, wrong)):
            copy = dict(value) if isinstance(value, dict) else list(value)
            copy[key] = other
            yield copy


@pytest.mark.parametrize("wrong", [None, 7, {"a": [1]}, ["x", {}]], ids=["null", "number", "object", "list"])
def test_a_wrong_type_in_any_field_of_a_real_body_gives_alerts_or_bad_input(wrong: Any) -> None:
    count = 0
    for path in sorted(PAYLOADS.glob("*.json")):
        source = path.name.split("_", maxsplit=1)[0]
        for body in spoiled(json.loads(path.read_text()), wrong):
            count += 1
            try:
                alerts = SOURCES[source].parse(body, {})
            except BadInput:
                continue
            assert all(isinstance(alert.title, str) and keys_of(alert) for alert in alerts), (path.name, body)
    assert count > 1_000
