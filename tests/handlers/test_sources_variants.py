"""The layouts and wordings that senders use beside their commonest one."""

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from handlers.intake import read_webhook
from knowledge.errors import BadInput
from knowledge.model import Alert, AlertStatus

PAYLOADS = Path(__file__).parent.parent / "payloads"


def read(source: str, body: Any) -> Alert:
    (alert,) = read_webhook(source, {}, json.dumps(body).encode(), secrets=None).alerts
    return alert


def payload(name: str, **changes: Any) -> Any:
    return json.loads((PAYLOADS / f"{name}.json").read_text()) | changes


def measured(**labels: str) -> Alert:
    return read("alertmanager", {"status": "firing", "alerts": [{"labels": {"alertname": "Full", **labels}}]})


# --- exporters, which speak about others --------------------------------------------------------


def test_a_release_of_state_metrics_is_never_the_failing_workload() -> None:
    own = {
        "job": "kube-state-metrics", "container": "kube-state-metrics", "instance": "10.8.1.4:8080",
        "service": "prom-kube-state-metrics", "pod": "prom-kube-state-metrics-6d9c8f7b5d-q8zxv",
    }  # fmt: skip
    alert = measured(**own, namespace="queue", statefulset="rabbit")
    assert (alert.workload, alert.owner, alert.service) == ("rabbit", "rabbit", "rabbit")


def test_disks_of_two_nodes_are_two_failures_though_one_daemon_set_measures_both() -> None:
    own = {"job": "node-exporter", "namespace": "infra", "container": "node-exporter"}
    here, there = (
        measured(**own, pod=f"prom-node-exporter-{end}", instance=f"{end}:9100", mountpoint="/var")
        for end in ("x2b4c", "9wq4z")
    )
    assert (here.owner, there.owner) == ("", "")
    assert here.identity != there.identity


def test_kubelet_measures_claims_and_is_not_what_fails() -> None:
    own = {"job": "kubelet", "service": "prom-kubelet", "instance": "10.0.0.4:10250", "node": "worker-b"}
    alert = measured(**own, namespace="data", persistentvolumeclaim="data-pg-0")
    assert (alert.workload, alert.service) == ("", "")


def test_an_exporter_beside_its_database_names_the_databases_pod() -> None:
    alert = measured(job="redis", container="redis-exporter", namespace="data", pod="redis-0")
    assert (alert.workload, alert.owner) == ("redis-0", "redis")


def test_an_exporter_that_crashes_is_what_fails() -> None:
    pod = {"namespace": "infra", "pod": "redis-exporter-6d9c8f7b5d-q8zxv", "container": "redis-exporter"}
    assert measured(**pod).owner == "redis-exporter"
    assert measured(**pod, job="kube-state-metrics").owner == "redis-exporter"


def test_a_scrape_that_fails_is_about_the_exporter() -> None:
    alert = measured(alertname="TargetDown", job="blackbox", service="blackbox", namespace="infra")
    assert alert.workload == "blackbox"


@pytest.mark.parametrize(
    ("labels", "owner"),
    [
        ({"cronjob": "nightly"}, "nightly"),
        ({"replicaset": "web-66b7c9d5f4"}, "web"),
        ({"workload": "web", "workload_type": "deployment"}, "web"),
    ],
)
def test_what_stands_for_a_workload_names_it(labels: dict[str, str], owner: str) -> None:
    assert measured(namespace="shop", **labels).owner == owner


# --- other layouts of a sender -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "status", "actionable"),
    [
        ("alerting", AlertStatus.FIRING, True),
        ("no_data", AlertStatus.FIRING, True),
        ("ok", AlertStatus.RESOLVED, True),
        ("pending", AlertStatus.INFO, False),
        ("paused", AlertStatus.INFO, False),
    ],
)
def test_grafanas_legacy_alerting_is_read(state: str, status: AlertStatus, actionable: bool) -> None:
    alert = read("grafana", payload("grafana_legacy", state=state))
    assert (alert.status, alert.actionable) == (status, actionable)
    assert (alert.title, alert.namespace, alert.workload, alert.severity) == (
        "Queue depth", "mail", "mailer", "critical",
    )  # fmt: skip
    assert alert.identity == read("grafana", payload("grafana_legacy")).identity


def test_grafanas_legacy_test_button_is_not_actionable() -> None:
    body = payload("grafana_legacy", ruleId=0, ruleName="Test notification", tags={})
    assert not read("grafana", body).actionable


@pytest.mark.parametrize("wrapped", [False, True])
def test_cloudwatch_alarm_is_read_out_of_eventbridges_event(wrapped: bool) -> None:
    event = payload("cloudwatch_eventbridge")
    alert = read("cloudwatch", {"Type": "Notification", "Message": json.dumps(event)} if wrapped else event)
    assert (alert.title, alert.status, alert.service) == ("api-5xx", AlertStatus.FIRING, "api")
    assert alert.fingerprint == event["resources"][0]
    event["detail"]["state"]["value"] = "OK"
    assert read("cloudwatch", event).status is AlertStatus.RESOLVED


def test_githubs_form_carries_the_json_that_it_signs() -> None:
    text = (PAYLOADS / "github_workflow_run_failure.json").read_bytes()
    headers = {"Content-Type": "application/x-www-form-urlencoded", "X-GitHub-Event": "workflow_run"}
    form = urlencode({"payload": text}).encode()
    headers["X-Hub-Signature-256"] = f"sha256={hmac.new(b'its-secret', form, hashlib.sha256).hexdigest()}"
    assert read_webhook("github", headers, form, secrets=["its-secret"]).body == json.loads(text)


@pytest.mark.parametrize("body", [b"", b"payload=", b"other=1", b"&".join([b"a=1"] * 50), b"{}", b"payload=%5B%5D"])
def test_a_form_without_its_json_is_refused_in_words(body: bytes) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    with pytest.raises(BadInput, match=r"payload|JSON object"):
        read_webhook("github", headers, body, secrets=None)


def test_dimensions_of_an_alarm_on_an_expression_are_its_first_metrics() -> None:
    metric = {"MetricName": "Errors", "Namespace": "AWS/ECS", "Dimensions": [{"name": "ServiceName", "value": "api"}]}
    metrics = [{"Id": "e1", "Expression": "m1/m2"}, {"Id": "m1", "MetricStat": {"Metric": metric}}]
    alert = read("cloudwatch", {"AlarmName": "rate", "NewStateValue": "ALARM", "Trigger": {"Metrics": metrics}})
    assert (alert.service, alert.labels["metric"]) == ("api", "Errors")


@pytest.mark.parametrize(
    ("health", "phase", "status"),
    [("Degraded", "Succeeded", "firing"), ("Healthy", "Failed", "firing"), ("Healthy", "Succeeded", "resolved")],
)
def test_somebodys_own_trigger_is_read_by_the_applications_state(health: str, phase: str, status: str) -> None:
    body = {"trigger": "on-prod", "app": "shop", "healthStatus": health, "phase": phase, "syncStatus": "Synced"}
    assert read("argocd", body).status.value == status


def test_event_that_eventrouter_wraps_is_read_like_itself() -> None:
    event = payload("kubernetes_event_core")
    assert read("kubernetes", {"verb": "ADDED", "event": event}) == read("kubernetes", event)


def test_pod_of_a_node_that_is_lost_fires() -> None:
    pod = {"kind": "Pod", "metadata": {"name": "a-0", "namespace": "n"}, "status": {"phase": "Unknown"}}
    assert (read("kubernetes", pod).title, read("kubernetes", pod).actionable) == ("unknown", True)


@pytest.mark.parametrize(
    ("firing", "ending"),
    [
        ({"data": {"essentials": {"alertRule": "x", "monitorCondition": "Fired"}}},
         {"data": {"essentials": {"alertRule": "x", "monitorCondition": "Resolved"}}}),
        ({"title": "x", "alert_transition": "Re-Triggered"}, {"title": "x", "alert_transition": "Recovered"}),
        ({"check_name": "x", "current_state": "DOWN"}, {"check_name": "x", "current_state": "UP"}),
        ({"ProblemTitle": "x", "State": "OPEN"}, {"ProblemTitle": "x", "State": "RESOLVED"}),
        ({"action": "Create", "alert": {"message": "x"}}, {"action": "Close", "alert": {"message": "x"}}),
        ({"action": "critical", "data": {"title": "x"}}, {"action": "resolved", "data": {"title": "x"}}),
    ],
    ids=["azure", "datadog", "pingdom", "dynatrace", "opsgenie", "sentry"],
)  # fmt: skip
def test_a_well_known_senders_own_field_ends_its_alert(firing: object, ending: object) -> None:
    assert read("generic", firing).status is AlertStatus.FIRING
    assert read("generic", ending).status is AlertStatus.RESOLVED


def test_a_part_that_is_well_ends_no_failure() -> None:
    body = {"title": "Database down", "checks": [{"name": "ping", "current_state": "up"}], "rule": {"action": "close"}}
    assert read("generic", body).status is AlertStatus.FIRING


def test_an_alerts_title_is_not_its_integrations_name() -> None:
    body = {"action": "Create", "alert": {"message": "Orders stall"}, "source": {"name": "web", "type": "API"}}
    assert read("generic", body).title == "Orders stall"
    assert read("generic", body | {"title": "Orders stall in eu-1"}).title == "Orders stall in eu-1"


# --- wordings in Slack -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("Deployment of api completed with 3 errors", "firing"),
        ("Tests: 120 passed, 3 failed", "firing"),
        ("Host db could not be resolved", "firing"),
        ("The outage has not been resolved: errors go on", "firing"),
        ("Recovery failed for pg-0", "firing"),
        ("Disaster recovery: replication lag is critical", "firing"),
        ("Failed to back up database orders", "firing"),
        ("Error: no backend of checkout is healthy", "firing"),
        ("Critical: only 1 of 3 replicas of checkout is healthy", "firing"),
        ("api.example.org resolved to a private address, requests fail", "firing"),
        ("web1 is back up", "resolved"),
        ("Node n1 is ok", "resolved"),
        ("3 of 3: web is healthy", "resolved"),
        ("PROBLEM: High load on web1", "firing"),
        ("No data: load on web1", "firing"),
        ("Resolved: CPU critical on web1", "resolved"),
        ("RECOVERY: disk critical on web1", "resolved"),
        ("OK: High load on web1", "resolved"),
        ("Monitor is UP: api (https://api.example.org). It was down for 5 minutes.", "resolved"),
        ("The error rate is back to normal", "resolved"),
        ("[okta] Too many failed logins", "firing"),
        ("[FIRING:2, RESOLVED:1] Too many logins", "firing"),
        ("2 new commits pushed to main by ada\n`aaaaaaa` - Fix crash on failed login", "info"),
        ("Pull request opened by ada\n#12 Show why a payment failed", "info"),
        ("Rollout of web v12 started", "info"),
    ],
)
def test_a_post_says_in_words_whether_it_fires(text: str, status: str) -> None:
    assert read("slack", {"text": text}).status.value == status


def test_brackets_of_a_log_end_no_failure() -> None:
    log = "Starting nginx [OK]\n[OK] cache\nError: the disk is full"
    assert read("slack", {"attachments": [{"color": "danger", "title": "web1", "text": log}]}).status.value == "firing"
    other = {"text": "From the cluster eu-1", "attachments": [{"text": "[RESOLVED] KubeNodeNotReady"}]}
    assert read("slack", other).status.value == "resolved"


def test_labels_in_bold_and_code_are_read_from_a_post() -> None:
    text = "*alertname:* `HighErrorRate`\n*namespace:* `shop`\n • *pod:* `checkout-7d9f6c5b84-x2kqp`"
    alert = read("slack", {"attachments": [{"color": "danger", "title": "[FIRING:1] HighErrorRate", "text": text}]})
    assert (alert.title, alert.namespace, alert.owner) == ("HighErrorRate", "shop", "checkout")
