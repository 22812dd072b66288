"""Every source's body becomes alerts: the project's own payloads, in the documented shapes."""

import json
from pathlib import Path

import pytest

from handlers.intake import Intake, UnknownSource, alert_json, read_webhook
from handlers.sources import SOURCES, fields, slack_text
from knowledge.errors import BadInput
from knowledge.model import Alert, AlertStatus
from remediation.policy import parse_policy

PAYLOADS = Path(__file__).parent.parent / "payloads"


def read(name: str, source: str | None = None) -> Intake:
    return read_webhook(
        source or name.split("_", maxsplit=1)[0], {}, (PAYLOADS / f"{name}.json").read_bytes(), secrets=None
    )


def first(name: str) -> Alert:
    return read(name).alerts[0]


def test_alertmanager_names_the_failing_pod_and_not_the_exporter() -> None:
    alert = first("alertmanager_crashloop")
    assert (alert.title, alert.namespace, alert.workload, alert.owner) == (
        "KubePodCrashLooping", "store", "checkout-7d9f6c5b84-x2kqp", "checkout",
    )  # fmt: skip
    assert alert.service == "checkout"
    assert alert.status is AlertStatus.FIRING
    assert alert.actionable
    assert alert.severity == "warning"
    assert alert.started_at is not None
    assert alert.target == {
        "kind": "Pod", "namespace": "store", "name": "checkout-7d9f6c5b84-x2kqp", "cluster": "eu-1",
        "owner": "checkout",
    }  # fmt: skip
    assert [link.title for link in alert.links] == ["Runbook", "Graph"]


def test_resolved_alert_has_the_identity_of_the_firing_one() -> None:
    resolved = first("alertmanager_crashloop_resolved")
    assert resolved.status is AlertStatus.RESOLVED
    assert resolved.actionable
    assert resolved.identity == first("alertmanager_crashloop").identity
    assert resolved.ended_at is not None


def test_grouped_alerts_are_split_and_those_left_out_are_counted() -> None:
    intake = read("alertmanager_node_group")
    assert [alert.workload for alert in intake.alerts] == ["worker-b", "cart-6b8f9c7d54-w9k2p", "indexer-0"]
    assert intake.truncated == 2


def test_label_order_does_not_change_the_identity() -> None:
    body = json.loads((PAYLOADS / "alertmanager_crashloop.json").read_text())
    labels = body["alerts"][0]["labels"]
    body["alerts"][0]["labels"] = dict(reversed(labels.items()))
    again = read_webhook("alertmanager", {}, json.dumps(body).encode(), secrets=None)
    assert again.alerts[0].identity == first("alertmanager_crashloop").identity


def test_grafana_alert_links_to_its_dashboard() -> None:
    alert = first("grafana_latency")
    assert (alert.title, alert.workload, alert.severity) == ("Checkout latency", "checkout", "critical")
    assert "Dashboard" in [link.title for link in alert.links]


@pytest.mark.parametrize("severity", ["none"])
@pytest.mark.parametrize("source", ["alertmanager", "grafana"])
def test_alert_about_alerting_itself_is_not_actionable(source: str, severity: str) -> None:
    body = {"status": "firing", "alerts": [{"labels": {"alertname": "Watchdog", "severity": severity}}]}
    alert = read_webhook(source, {}, json.dumps(body).encode(), secrets=None).alerts[0]
    assert alert.status is AlertStatus.FIRING
    assert not alert.actionable


def test_failed_workflow_run_is_a_firing_alert_with_its_run() -> None:
    alert = first("github_workflow_run_failure")
    assert (alert.status, alert.actionable, alert.title) == (AlertStatus.FIRING, True, "CI")
    assert alert.repository == "northwind-store/checkout"
    assert (alert.branch, alert.run_id) == ("main", "13612345678")
    assert alert.commit == "4be1f0c2a9d87365e4c1b2a3f4d5e6f708192a3b"
    assert alert.target == {"kind": "WorkflowRun", "repository": "northwind-store/checkout", "name": "13612345678"}
    assert alert.labels["commit_title"] == "Read the payment mode from the environment"


@pytest.mark.parametrize("conclusion", ["success", "cancelled", "skipped", "neutral", "action_required", "stale", None])
def test_what_did_not_fail_on_github_is_information(conclusion: str | None) -> None:
    body = json.loads((PAYLOADS / "github_workflow_run_failure.json").read_text())
    body["workflow_run"]["conclusion"] = conclusion
    alert = read_webhook("github", {"X-GitHub-Event": "workflow_run"}, json.dumps(body).encode(), secrets=None).alerts[
        0
    ]
    assert (alert.status, alert.actionable) == (AlertStatus.INFO, False)


def test_failed_job_names_its_failed_step() -> None:
    assert first("github_workflow_job_failure").summary == "Failed step: Run go test ./..."


def test_run_of_a_check_and_of_a_deployment_is_found_in_their_links() -> None:
    for name in ("github_check_run_failure", "github_deployment_status_failure"):
        assert first(name).run_id == "13612345678"


def test_unknown_github_event_is_information() -> None:
    intake = read_webhook("github", {"x-github-event": "star"}, b'{"action":"created"}', secrets=None)
    assert (intake.event, intake.alerts[0].status, intake.alerts[0].actionable) == ("star", AlertStatus.INFO, False)


def test_github_delivery_id_is_the_header() -> None:
    headers = {"X-GitHub-Event": "ping", "X-GitHub-Delivery": "11110000-0000-11f0-8000-3af22dc5fd3d"}
    assert read_webhook("github", headers, b"{}", secrets=None).delivery_id == "11110000-0000-11f0-8000-3af22dc5fd3d"


def test_argocd_failure_and_recovery_of_one_application_are_one_identity() -> None:
    degraded, deployed = first("argocd_degraded"), first("argocd_deployed")
    assert (degraded.status, degraded.actionable) == (AlertStatus.FIRING, True)
    assert (deployed.status, deployed.actionable) == (AlertStatus.RESOLVED, False)
    assert degraded.identity == deployed.identity == first("argocd_sync_failed_short").identity
    assert degraded.repository == "northwind-store/checkout"
    assert degraded.labels["degraded"] == "store/Deployment/checkout"


def test_pagerduty_events_of_one_incident_share_an_identity() -> None:
    triggered, acknowledged, resolved = (
        first(f"pagerduty_{state}") for state in ("triggered", "acknowledged", "resolved")
    )
    assert [alert.status for alert in (triggered, acknowledged, resolved)] == [
        AlertStatus.FIRING, AlertStatus.INFO, AlertStatus.RESOLVED,
    ]  # fmt: skip
    assert triggered.identity == acknowledged.identity == resolved.identity
    assert acknowledged.labels["event_type"] == "incident.acknowledged"
    assert read("pagerduty_triggered").delivery_id == "01EVENT0000000000000000001"


@pytest.mark.parametrize(
    ("name", "title", "owner"),
    [
        ("kubernetes_event_core", "BackOff", "checkout"),
        ("kubernetes_event_events_v1", "FailedScheduling", "cart"),
        ("kubernetes_pod_crashloop", "crashloop-error", "checkout"),
    ],
)
def test_kubernetes_objects_name_reason_and_controller(name: str, title: str, owner: str) -> None:
    alert = first(name)
    assert (alert.title, alert.owner, alert.namespace) == (title, owner, "store")
    assert alert.actionable


def test_watch_line_is_read_like_its_object() -> None:
    pod = json.loads((PAYLOADS / "kubernetes_pod_crashloop.json").read_text())
    line = json.dumps({"type": "MODIFIED", "object": pod}).encode()
    assert read_webhook("kubernetes", {}, line, secrets=None).alerts == read("kubernetes_pod_crashloop").alerts


@pytest.mark.parametrize(
    ("status", "title"),
    [
        ({}, None),
        ({"phase": "Running", "containerStatuses": [{"ready": True, "state": {"running": {}}}]}, None),
        ({"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}, None),
        ({"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]}, "imagepullbackoff"),
        (
            {
                "containerStatuses": [
                    {
                        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                        "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}},
                    }
                ]
            },
            "oomkilled",
        ),
        ({"containerStatuses": [{"state": {"terminated": {"reason": "Completed", "exitCode": 0}}}]}, None),
        ({"containerStatuses": [{"state": {"terminated": {"reason": "Error", "exitCode": 2}}}]}, "error"),
        ({"phase": "Failed", "reason": "Evicted"}, "evicted"),
        (
            {
                "phase": "Pending",
                "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}],
            },
            "unschedulable",
        ),
        ({"initContainerStatuses": [{"state": {"terminated": {"exitCode": 139}}}]}, "segfault"),
    ],
)
def test_pod_state_fires_only_when_something_is_wrong(status: object, title: str | None) -> None:
    pod = {"kind": "Pod", "metadata": {"name": "pg-0", "namespace": "data"}, "status": status}
    alert = read_webhook("kubernetes", {}, json.dumps(pod).encode(), secrets=None).alerts[0]
    assert alert.actionable is (title is not None)
    if title:
        assert alert.title == title


@pytest.mark.parametrize(
    ("ended", "unready_since", "told"),
    [
        ("2026-11-02T08:00:00Z", "2026-11-23T09:00:00Z", False),
        ("2026-11-23T08:30:00Z", "2026-11-23T09:00:00Z", True),
        ("2026-11-23T08:30:00Z", "2026-11-23T08:30:00Z", True),
        ("", "2026-11-23T09:00:00Z", True),
        ("2026-11-02T08:00:00Z", "", True),
    ],
)
def test_an_end_long_before_a_pod_got_unready_is_not_told_as_its_cause(
    ended: str, unready_since: str, told: bool
) -> None:
    container = {
        "ready": False,
        "state": {"running": {"startedAt": ended}},
        "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137, "finishedAt": ended}},
    }
    ready = {"type": "Ready", "status": "False", "lastTransitionTime": unready_since}
    status = {"phase": "Running", "containerStatuses": [container], "conditions": [ready]}
    pod = {"kind": "Pod", "metadata": {"name": "pg-0", "namespace": "data"}, "status": status}
    alert = read_webhook("kubernetes", {}, json.dumps(pod).encode(), secrets=None).alerts[0]
    assert (alert.title, "OOMKilled" in alert.summary) == ("notready", told)


def test_cloudwatch_alarm_is_read_out_of_its_sns_envelope() -> None:
    intake = read("cloudwatch_sns")
    alert = intake.alerts[0]
    assert (alert.title, alert.status, alert.labels["QueueName"]) == ("orders-queue-age", AlertStatus.FIRING, "orders")
    assert intake.delivery_id == "da41e39f-ea4d-435a-b922-c6aae3915ebe"


def test_sns_subscription_is_shown_but_not_acted_upon() -> None:
    body = {"Type": "SubscriptionConfirmation", "SubscribeURL": "https://sns.example.org/confirm"}
    alert = read_webhook("cloudwatch", {}, json.dumps(body).encode(), secrets=None).alerts[0]
    assert (alert.status, alert.actionable) == (AlertStatus.INFO, False)


def test_slack_post_of_alertmanager_is_read_out_of_its_attachment() -> None:
    alert = first("slack_alertmanager")
    assert (alert.title, alert.status, alert.severity) == ("KubePodCrashLooping", AlertStatus.FIRING, "warning")
    assert (alert.namespace, alert.owner) == ("store", "checkout")
    assert (alert.channel, alert.message_ts) == ("C0ALERTS01", "1772442900.000100")


def test_slack_post_is_not_trusted_by_itself() -> None:
    assert not first("slack_alertmanager").trusted
    assert first("alertmanager_crashloop").trusted


def test_slack_post_edited_from_firing_to_resolved_is_resolved() -> None:
    message = json.loads((PAYLOADS / "slack_alertmanager.json").read_text())
    message["attachments"][0] |= {"title": "[RESOLVED] KubePodCrashLooping store", "color": "2eb886"}
    edit = {"subtype": "message_changed", "channel": "C0ALERTS01", "event_ts": "1772443900.1", "message": message}
    intake = read_webhook("slack", {}, json.dumps(edit).encode(), secrets=None)
    assert intake.alerts[0].status is AlertStatus.RESOLVED
    assert intake.alerts[0].identity == first("slack_alertmanager").identity
    assert intake.delivery_id != read("slack_alertmanager").delivery_id


def test_slack_posts_of_other_apps_carry_their_links() -> None:
    assert first("slack_github").run_id == "13612345678"
    assert first("slack_argocd").labels["argocd_application"] == "checkout-prod"
    resolved = first("slack_pagerduty")
    assert (resolved.labels["incident_id"], resolved.status) == ("Q3CHECKOUT0001", AlertStatus.RESOLVED)


def test_a_recovery_that_argocd_posts_is_of_the_failure_that_it_posted() -> None:
    message = json.loads((PAYLOADS / "slack_argocd.json").read_text())
    failed = json.loads(json.dumps(message))
    why = {"title": "Message", "value": "one or more objects failed to apply, reason: node: not ready"}
    failed["attachments"][0]["fields"].append(why)
    message["attachments"][0]["color"] = "18be52"
    message["text"] = "Application checkout-prod is running well."
    one, other = (
        read_webhook("slack", {}, json.dumps(body).encode(), secrets=None).alerts[0] for body in (failed, message)
    )
    assert (one.status, other.status) == (AlertStatus.FIRING, AlertStatus.RESOLVED)
    assert one.identity == other.identity == first("slack_argocd").identity


def test_small_talk_of_an_app_is_information() -> None:
    alert = read_webhook("slack", {}, b'{"text":"Good morning, the cafeteria opens at 12"}', secrets=None).alerts[0]
    assert (alert.status, alert.actionable) == (AlertStatus.INFO, False)


def test_slack_text_is_decoded_after_its_markup() -> None:
    message = {
        "text": "see <https://example.org/a|the run> by <@U1> &lt;script&gt; <!date^1^x|today>",
        "attachments": [{"is_msg_unfurl": True, "text": "quoted by somebody"}, {"fallback": "only this"}],
        "blocks": [
            {
                "type": "rich_text",
                "elements": [
                    {
                        "type": "rich_text_section",
                        "elements": [{"type": "text", "text": "exit "}, {"type": "text", "text": "1"}],
                    }
                ],
            }
        ],
    }  # fmt: skip
    text = slack_text.message_text(message, quoted=False)
    assert text.splitlines() == ["see the run by @U1 <script> today", "exit 1", "only this"]


def test_unknown_json_is_read_by_common_words() -> None:
    alert = first("generic_monitor")
    assert (alert.title, alert.severity, alert.environment) == ("Queue worker stalled", "high", "staging")
    assert (alert.namespace, alert.workload) == ("store", "worker")
    assert alert.actionable


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"title": "x", "status": "resolved"}, AlertStatus.RESOLVED),
        ({"incident": {"summary": "x", "state": "closed"}}, AlertStatus.RESOLVED),
        ({"title": "x has recovered"}, AlertStatus.FIRING),
        ({"title": "x", "checks": [{"status": "ok"}]}, AlertStatus.FIRING),
    ],
)
def test_only_a_plain_status_resolves_unknown_json(body: object, status: AlertStatus) -> None:
    alert = read_webhook("generic", {}, json.dumps(body).encode(), secrets=None).alerts[0]
    assert alert.status is status


# --- what the documentation of senders allows -----------------------------------------------------------------------


def argo(**values: object) -> Alert:
    status = {"sync": {"status": values.get("sync")}, "health": {"status": values.get("health")}}
    status["operationState"] = {"phase": values.get("phase"), "startedAt": "2026-03-02T09:00:00Z"}
    status["health"]["lastTransitionTime"] = values.get("turned")
    app = {"metadata": {"name": "shop"}, "spec": {}, "status": status}
    body = {"app": app, "trigger": values.get("trigger")}
    return read_webhook("argocd", {}, json.dumps(body).encode(), secrets=None).alerts[0]


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"sync": "OutOfSync", "health": "Healthy", "phase": "Failed"}, "firing"),
        ({"sync": "Synced", "health": "Degraded", "phase": "Succeeded"}, "firing"),
        ({"sync": "OutOfSync", "health": "Healthy", "phase": "Succeeded"}, "firing"),
        ({"sync": "Unknown", "health": "Healthy"}, "firing"),
        ({"sync": "OutOfSync", "health": "Healthy", "phase": "Running"}, "info"),
        ({"sync": "OutOfSync", "health": "Missing"}, "info"),
        ({"sync": "Synced", "health": "Progressing", "phase": "Succeeded"}, "info"),
        ({"sync": "Synced", "health": "Healthy", "phase": "Succeeded"}, "resolved"),
        ({"sync": "Synced", "health": "Healthy", "trigger": "on-out-of-sync"}, "firing"),
        ({"trigger": "app-health-degraded"}, "firing"),
        ({"trigger": "app-deployed"}, "resolved"),
        ({"trigger": "on-created"}, "info"),
        ({"trigger": ["on-deployed"]}, "info"),
    ],
)
def test_an_application_is_read_by_its_trigger_else_by_its_state(values: dict[str, object], status: str) -> None:
    alert = argo(**values)
    assert (alert.status.value, alert.actionable) == (status, status == "firing")


def test_a_degraded_application_began_to_fail_when_its_health_turned() -> None:
    """Not with its last operation, which went well: a second failure would count as a repeat of the first."""
    turned = argo(sync="Synced", health="Degraded", phase="Succeeded", turned="2026-03-04T10:00:00Z").started_at
    assert turned is not None
    assert turned.isoformat() == "2026-03-04T10:00:00+00:00"
    assert argo(sync="Synced", health="Degraded", phase="Succeeded").started_at is None
    assert argo(sync="OutOfSync", health="Degraded", phase="Failed").started_at is not None


def test_flux_tells_of_an_objects_failure_and_of_its_recovery() -> None:
    failed, well = first("flux_health_check_failed"), first("flux_reconciled")
    assert (failed.status, failed.actionable, failed.severity) == (AlertStatus.FIRING, True, "error")
    assert (failed.title, failed.namespace, failed.cluster) == ("checkout", "flux-system", "eu-1")
    assert (failed.branch, failed.commit) == ("main", "4f4c5e1d0c1b2a3948576655443322110ffeeddc")
    assert failed.target["kind"] == "Kustomization"
    assert (well.status, well.actionable) == (AlertStatus.RESOLVED, False)
    assert well.identity == failed.identity


def test_what_flux_merely_tells_is_information() -> None:
    body = json.loads((PAYLOADS / "flux_reconciled.json").read_text()) | {"reason": "Progressing"}
    (alert,) = read_webhook("flux", {}, json.dumps(body).encode(), secrets=None).alerts
    assert (alert.status, alert.actionable) == (AlertStatus.INFO, False)


@pytest.mark.parametrize(
    ("body", "title", "severity"),
    [
        (
            {"data": {"essentials": {"alertRule": "CPU over 90", "severity": "Sev1", "description": "d"}}},
            "CPU over 90",
            "sev1",
        ),
        ({"event_id": "42", "event_name": "High CPU", "event_severity": "Disaster"}, "High CPU", "disaster"),
        ({"monitorFriendlyName": "Shop", "alertDetails": "timeout"}, "Shop", ""),
        ({"check_name": "Shop", "current_state": "DOWN", "importance_level": "HIGH"}, "Shop", "high"),
        ({"incident": {"policy_name": "p", "condition_name": "5xx"}}, "5xx", ""),
        ({"alert": {"message": "Disk full", "priority": "P1"}}, "Disk full", "p1"),
    ],
)
def test_the_words_of_common_monitors_are_known(body: object, title: str, severity: str) -> None:
    (alert,) = read_webhook("generic", {}, json.dumps(body).encode(), secrets=None).alerts
    assert (alert.title, alert.severity, alert.actionable) == (title, severity, True)


# --- a mapping of the policy ----------------------------------------------------------------------------------------

MAPPINGS = parse_policy(
    """
version: 1
webhooks:
  nagios:
    title: service.description
    status: service.state
    firing: [CRITICAL, WARNING]
    resolved: [OK]
    severity: service.state
    summary: output
    fingerprint: id
    started_at: since
    link: url
    labels: {namespace: host.0.ns, deployment: service.name, cluster: site}
  default: {alerts: events, title: name, labels: {service: app}}
"""
).webhooks
NAGIOS = {
    "id": 7, "since": "2026-03-02T09:00:00Z", "url": "https://nagios.example/7", "output": "3 of 4", "site": "eu",
    "service": {"description": "Pods ready", "state": "CRITICAL", "name": "checkout"}, "host": [{"ns": "shop"}],
}  # fmt: skip


def mapped(body: object, source: str = "generic/nagios") -> tuple[Alert, ...]:
    return read_webhook(source, {}, json.dumps(body).encode(), secrets=None, mappings=MAPPINGS).alerts


def test_a_mapping_of_the_policy_reads_any_json() -> None:
    (alert,) = mapped(NAGIOS)
    assert (alert.source, alert.status, alert.actionable) == ("generic", AlertStatus.FIRING, True)
    assert (alert.title, alert.namespace, alert.workload, alert.cluster) == ("Pods ready", "shop", "checkout", "eu")
    assert (alert.severity, alert.fingerprint, alert.summary) == ("critical", "7", "3 of 4")
    assert alert.links[0].url == "https://nagios.example/7"
    (over,) = mapped(NAGIOS | {"service": NAGIOS["service"] | {"state": "ok"}})
    assert (over.status, over.identity) == (AlertStatus.RESOLVED, alert.identity)
    (other,) = mapped(NAGIOS | {"service": NAGIOS["service"] | {"state": "PENDING"}})
    assert (other.status, other.actionable) == (AlertStatus.INFO, False)


def test_a_mapping_may_split_a_list_and_fill_in_from_around_it() -> None:
    found = mapped({"app": "shop", "events": [{"name": "a"}, {"name": "b", "app": "pay"}]}, "generic")
    assert [(alert.title, alert.service) for alert in found] == [("a", "shop"), ("b", "pay")]


@pytest.mark.parametrize(
    ("source", "body", "field"),
    [
        ("generic/nagios", NAGIOS | {"service": {"state": "OK"}}, "`service.description`"),
        ("generic/nagios", NAGIOS | {"service": {"description": "x", "state": {}}}, "`service.state`"),
        ("generic", {"events": {}}, "`events`"),
        ("generic", {"events": [1]}, "`events.0`"),
        ("generic", {"events": [{"name": "a"}, {"nome": "b"}]}, "`events.1.name`"),
    ],
)
def test_a_mapping_that_does_not_fit_names_the_field(source: str, body: object, field: str) -> None:
    with pytest.raises(BadInput, match=field):
        mapped(body, source)


@pytest.mark.parametrize("source", ["generic/zabbix", "generic/", "github/nagios"])
def test_a_mapping_that_is_not_there_is_an_unknown_source(source: str) -> None:
    with pytest.raises(UnknownSource):
        mapped(NAGIOS, source)


@pytest.mark.parametrize(
    ("source", "body", "field"),
    [
        ("alertmanager", {"alerts": None}, "`alerts`"),
        ("grafana", {"alerts": ["x"]}, "`alerts[0]`"),
        ("argocd", {}, "`app`"),
        ("pagerduty", {}, "`event.event_type`"),
        ("kubernetes", {"kind": "Secret"}, "`kind`"),
        ("cloudwatch", {}, "`AlarmName`"),
        ("flux", {"involvedObject": {"kind": "Kustomization"}}, "`involvedObject.name`"),
    ],
)
def test_error_names_the_field(source: str, body: object, field: str) -> None:
    with pytest.raises(BadInput, match=field.replace("[", r"\[").replace("]", r"\]")):
        read_webhook(source, {}, json.dumps(body).encode(), secrets=None)


def test_normalized_alert_has_the_documented_fields() -> None:
    assert set(alert_json(first("github_workflow_run_failure"))) == {
        "status", "actionable", "severity", "title", "namespace", "workload", "owner", "service", "environment",
        "fingerprint", "identity", "target", "repository", "branch", "commit", "run_id", "labels",
    }  # fmt: skip


def test_every_source_has_a_payload() -> None:
    assert {path.name.split("_")[0] for path in PAYLOADS.glob("*.json")} >= set(SOURCES)


@pytest.mark.parametrize(
    "text", ["x\x00y", "\x1b[31mred", "\x08\x0c", "\ud800x", "\x85", "\x7f", "ok\n\t", "é\\b", "plain"]
)
def test_what_is_taken_for_clean_is_clean(text: str) -> None:
    for value in ({"a": text}, {text: [1, None, {"b": text}]}, {"a": 2**70, "b": text}):
        assert fields.cleaned(value) == fields.clean(value)
