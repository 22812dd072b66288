"""Pure: webhooks in Alertmanager's layout (Alertmanager v4, Grafana's contact point): alerts with labels."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from handlers.sources import fields
from handlers.sources.fields import Json
from knowledge.correlation import GROUP, GROUP_ALONE, SUBJECT, subject_key
from knowledge.errors import BadInput
from knowledge.fingerprint import (
    failing_labels,
    identifying_marks,
    identity,
    normal_severity,
    parse_time,
    workload_of,
)
from knowledge.model import Alert, AlertStatus

# Alerts that tell that alerting works, or steer other alerts: the shipped rules of kubernetes-mixin, and what Grafana's
# test buttons send.
_ABOUT_ALERTING = frozenset({"watchdog", "infoinhibitor", "deadmansswitch", "testalert", "testnotification"})
_MAX_GROUP_KEY = 20_000
_NO_SEVERITY = "none"
_SERVICE_LABELS = ("service", "app", "app_kubernetes_io_name", "label_app_kubernetes_io_name")


def parse(source: str, body: Json) -> tuple[Alert, ...]:
    """One Alert per entry of `alerts`. BadInput where that isn't a list of objects."""
    entries = body.get("alerts")
    if not isinstance(entries, list):
        raise BadInput("The field `alerts` must be a list of alerts.")
    group_status = fields.text(body.get("status"))
    alerts = tuple(_alert(source, entry, group_status, index) for index, entry in enumerate(entries))
    key = fields.text(body.get("groupKey"), _MAX_GROUP_KEY)
    return _of_group(alerts, key, body) if key else alerts


def _of_group(alerts: tuple[Alert, ...], key: str, body: Json) -> tuple[Alert, ...]:
    """With the names by which Alertmanager tells others of the same group, and whether one thing alone is in it.

    notify/pagerduty in Alertmanager: the deduplication key is the SHA-256 of the group's key. A post in Slack has the
    subject of template/default.tmpl instead: the group's labels, and in brackets the others that its alerts share.
    """
    group = hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
    more = {GROUP: group}
    if len({(alert.cluster, alert.namespace, alert.owner or alert.workload) for alert in alerts}) == 1:
        more |= {GROUP_ALONE: "true"}
    # A line that is about several failures joins none of them.
    if len({alert.identity for alert in alerts}) == 1:
        more |= fields.hints(**{SUBJECT: subject_key(_subject(body))})
    return tuple(replace(alert, labels={**alert.labels, **more}) for alert in alerts)


def _subject(body: Json) -> str:
    group, common = fields.labels(body.get("groupLabels")), fields.labels(body.get("commonLabels"))
    others = [common[name] for name in _sorted(common) if name not in group]
    return " ".join([*(group[name] for name in _sorted(group)), f"({' '.join(others)})" if others else ""])


def _sorted(labels: Mapping[str, str]) -> list[str]:
    """As Alertmanager's templates sort them: by name, the alert's first."""
    return sorted(labels, key=lambda name: (name != "alertname", name))


def _alert(source: str, entry: Any, group_status: str, index: int) -> Alert:
    if not isinstance(entry, dict):
        raise BadInput(f"The field `alerts[{index}]` must be an object.")
    labels = fields.labels(entry.get("labels"))
    annotations = fields.labels(entry.get("annotations"))
    status = _status(fields.text(entry.get("status")) or group_status)
    severity = normal_severity(labels.get("severity") or labels.get("priority"))
    title = fields.title(labels.get("alertname") or annotations.get("summary"))
    failing = failing_labels(labels)
    kind, workload, owner = workload_of(failing)
    namespace, cluster = failing.get("namespace", ""), failing.get("cluster", "")
    informational = severity == _NO_SEVERITY or title.lower().replace(" ", "") in _ABOUT_ALERTING
    return Alert(
        source=source,
        status=status,
        title=title,
        identity=identity(
            title,
            cluster=cluster,
            namespace=namespace,
            owner=owner,
            marks=identifying_marks(failing, owned=bool(owner)),
        ),
        fingerprint=fields.name(entry.get("fingerprint")),
        actionable=status is not AlertStatus.INFO and not informational,
        severity=severity,
        summary=annotations.get("description") or annotations.get("message") or annotations.get("summary", ""),
        namespace=namespace,
        workload=workload[: fields.MAX_NAME],
        owner=owner,
        service=next((failing[name] for name in _SERVICE_LABELS if failing.get(name)), "") or owner,
        environment=failing.get("environment") or failing.get("env", ""),
        cluster=cluster,
        repository=failing.get("repository", ""),
        commit=failing.get("commit", ""),
        started_at=parse_time(entry.get("startsAt")),
        ended_at=parse_time(entry.get("endsAt")) if status is AlertStatus.RESOLVED else None,
        target=fields.hints(
            kind=fields.KINDS.get(kind, ""), namespace=namespace, name=workload, cluster=cluster, owner=owner
        ),
        labels=labels,
        links=fields.links(
            [
                ("Runbook", annotations.get("runbook_url")),
                ("Graph", entry.get("generatorURL")),
                ("Dashboard", entry.get("dashboardURL")),
                ("Silence", entry.get("silenceURL")),
            ]
        ),
    )


def _status(word: str) -> AlertStatus:
    # Alertmanager knows these two; whatever else calls itself an alert is treated as one rather than missed.
    return AlertStatus.RESOLVED if word.lower() == "resolved" else AlertStatus.FIRING
