"""Pure: any other JSON object, by the words that monitoring tools commonly use for their fields.

A guess must never close an incident: an alert is firing unless a plain `status` or `state` near the top says otherwise
in one of few words, or a field of a well-known sender that is there to say so. What only hints at recovery
(`alert_type: ALERT_RECOVERY`, `UP`) is shown as any other alert.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from handlers.sources import fields
from handlers.sources.fields import Json
from knowledge.fingerprint import (
    failing_labels,
    identifying_marks,
    identity,
    normal_severity,
    parse_time,
    workload_of,
)
from knowledge.model import Alert, AlertStatus

_MAX_DEPTH = 5
_MAX_FIELDS = 3_000
# Best first. All keys are compared in lower case without `_`, `-`, `.` and spaces.
_TITLES = (
    "title", "alertname", "alerttitle", "checkname", "rulename", "alertrule", "monitorname", "monitorfriendlyname",
    "conditionname", "eventname", "triggername", "policyname", "subject", "summary",
    "headline", "name", "event", "message", "description", "text", "reason",
)  # fmt: skip
_PLAIN_TITLES = _TITLES[: _TITLES.index("headline")]
_SUMMARIES = ("description", "summary", "message", "details", "output", "longoutput", "text", "body", "reason")
_SEVERITIES = (
    "severity",
    "alertseverity",
    "eventseverity",
    "importancelevel",
    "level",
    "priority",
    "urgency",
    "criticality",
)
_FINGERPRINTS = ("fingerprint", "dedupkey", "alertid", "monitorid", "checkid", "incidentid", "issueidentifier")
_STARTS = (
    "startsat",
    "startedat",
    "start",
    "triggeredat",
    "firedat",
    "fireddatetime",
    "timestamp",
    "createdat",
    "occurredat",
    "date",
)
_ENDS = ("endsat", "endedat", "end", "resolvedat")
_LINKS = ("url", "link", "htmlurl", "weburl", "alerturl", "permalink", "dashboardurl")
_LABELS = {
    "namespace": ("namespace", "namespacename", "k8snamespace", "k8snamespacename", "kubenamespace"),
    "pod": ("pod", "podname", "k8spodname"),
    "deployment": ("deployment", "deploymentname", "k8sdeploymentname", "kubedeployment"),
    "statefulset": ("statefulset", "k8sstatefulsetname"),
    "daemonset": ("daemonset", "k8sdaemonsetname"),
    "job_name": ("jobname", "k8sjobname"),
    "node": ("node", "nodename", "k8snodename"),
    "service": ("service", "servicename", "project", "application", "app", "component"),
    "cluster": ("cluster", "clustername", "k8sclustername"),
    "environment": ("environment", "env", "deploymentenvironment"),
    "instance": ("host", "hostname", "instance", "server"),
    "repository": ("repository", "repo"),
    "commit": ("commit", "commitsha", "sha", "revision"),
    "branch": ("branch",),
}
_RESOLVED = frozenset({"resolved", "recovered", "ok", "closed", "normal", "inactive", "cleared"})
# Where a well-known sender says what became of its alert, and its words for the end of it. No other sender has a field
# of that name with that word for something else.
_ENDINGS: Mapping[str, frozenset[str]] = {
    "monitorcondition": frozenset({"resolved"}),  # Azure Monitor's common schema
    "alerttransition": frozenset({"recovered", "warn recovered", "no data recovered"}),  # Datadog
    "currentstate": frozenset({"up", "resolved", "ok", "closed"}),  # Pingdom, New Relic (classic)
    "action": frozenset({"close", "closed", "resolve", "resolved"}),  # Opsgenie, Sentry
}
# Further down these are said of the parts of what fails.
_ROOT_ONLY = frozenset({"action", "currentstate"})
_INFORMATION = frozenset({"info", "informational", "information", "debug", "none", "notice"})


def parse(body: Json, _headers: Mapping[str, str]) -> tuple[Alert, ...]:
    flat = _flatten(body)
    labels = {name: word for name, keys in _LABELS.items() if (word := _first(flat, keys, fields.MAX_NAME))}
    severity = normal_severity(_first(flat, _SEVERITIES, 40))
    status = AlertStatus.RESOLVED if _plain_status(body) in _RESOLVED or _ended(body, flat) else AlertStatus.FIRING
    fingerprint = _first(flat, _FINGERPRINTS, fields.MAX_NAME)
    alert = alert_of(labels, title=_title(body, flat), status=status, severity=severity, marks=[fingerprint])
    return (
        replace(
            alert,
            fingerprint=fingerprint,
            actionable=status is AlertStatus.FIRING and severity not in _INFORMATION,
            summary=_first(flat, _SUMMARIES, fields.MAX_TEXT) or alert.title,
            started_at=_time(flat, _STARTS),
            ended_at=_time(flat, _ENDS) if status is AlertStatus.RESOLVED else None,
            links=fields.links([("Source", value) for value in _values(flat, _LINKS)][:5]),
        ),
    )


def alert_of(
    labels: Mapping[str, str], *, title: str, status: AlertStatus, severity: str, marks: Sequence[str]
) -> Alert:
    """An alert of any JSON, by its labels under our names; `marks` tell it from others of the same thing."""
    title = " ".join(title.split())
    failing = failing_labels(labels)
    # A project's or service's name is no workload's.
    kind, workload, owner = workload_of({name: word for name, word in failing.items() if name != "service"})
    namespace, cluster = failing.get("namespace", ""), failing.get("cluster", "")
    told_apart = [*identifying_marks(failing, owned=bool(owner)), *marks]
    return Alert(
        source="generic",
        status=status,
        title=title,
        identity=identity(title, cluster=cluster, namespace=namespace, owner=owner, marks=told_apart),
        severity=severity,
        namespace=namespace,
        workload=workload,
        owner=owner,
        service=labels.get("service", "") or owner,
        environment=labels.get("environment", ""),
        cluster=cluster,
        repository=labels.get("repository", ""),
        branch=labels.get("branch", ""),
        commit=labels.get("commit", ""),
        target=fields.hints(
            kind=fields.KINDS.get(kind, ""), namespace=namespace, name=workload, cluster=cluster, owner=owner
        ),
        labels=labels,
    )


def _flatten(body: Json) -> dict[str, list[Any]]:
    """Values by normal key, nearest to the root first. Reads `{"key": k, "value": v}` lists and `k:v,k:v` tags too."""
    found: dict[str, list[Any]] = {}
    queue: deque[tuple[Any, int]] = deque([(body, 0)])
    left = _MAX_FIELDS
    while queue and left > 0:
        value, depth = queue.popleft()
        pairs: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, Mapping) else ()
        if isinstance(value, list):
            queue.extend((item, depth + 1) for item in value[:100] if depth < _MAX_DEPTH)
            pairs = _pairs(value)
        for key, item in pairs:
            left -= 1
            if isinstance(item, Mapping | list):
                if depth < _MAX_DEPTH:
                    queue.append((item, depth + 1))
            else:
                found.setdefault(_normal(key), []).append(item)
                if _normal(key) in ("tags", "labels") and isinstance(item, str):
                    for tag in item[:4_000].split(","):
                        name, colon, word = tag.partition(":")
                        if colon:
                            found.setdefault(_normal(name), []).append(word)
    return found


def _pairs(items: list[Any]) -> Iterable[tuple[str, Any]]:
    """Entries of lists that stand for objects: `{"key","value"}` and `[name, value]`."""
    for item in items[:100]:
        if isinstance(item, Mapping) and isinstance(item.get("key"), str):
            value = item.get("value")
            yield item["key"], next(iter(value.values()), None) if isinstance(value, Mapping) else value
        elif isinstance(item, list) and len(item) == 2 and isinstance(item[0], str):
            yield item[0], item[1]


def _normal(key: object) -> str:
    return "".join(char for char in str(key)[:100].lower() if char.isalnum())


def _values(flat: Mapping[str, list[Any]], keys: Iterable[str]) -> Iterable[Any]:
    return (value for key in keys for value in flat.get(key, ()))


def _first(flat: Mapping[str, list[Any]], keys: Iterable[str], limit: int) -> str:
    return next((word for value in _values(flat, keys) if (word := fields.text(value, limit))), "")


def _time(flat: Mapping[str, list[Any]], keys: Iterable[str]) -> Any:
    return next((found for value in _values(flat, keys) if (found := parse_time(value))), None)


def _title(body: Json, flat: Mapping[str, list[Any]]) -> str:
    """The body's own, else that of its alert or incident: beside these are the names of integrations and teams."""
    if word := _first({_normal(key): [value] for key, value in body.items()}, _PLAIN_TITLES, fields.MAX_TITLE):
        return word
    for key in ("alert", "incident"):
        if word := _first(_flatten(fields.child(body, key)), _TITLES, fields.MAX_TITLE):
            return word
    return _first(flat, _TITLES, fields.MAX_TITLE)


def _plain_status(body: Json) -> str:
    """`status` or `state` of the body, or of the `incident` or `alert` directly inside it, in lower case."""
    for part in (body, fields.child(body, "incident"), fields.child(body, "alert")):
        for key in ("status", "state", "Status", "State"):
            if isinstance(part.get(key), str):
                return fields.text(part[key], 40).lower()
    return ""


def _ended(body: Json, flat: Mapping[str, list[Any]]) -> bool:
    root = {_normal(key): [value] for key, value in body.items()}
    for key, words in _ENDINGS.items():
        values = (root if key in _ROOT_ONLY else flat).get(key, ())
        if any(fields.text(value, 40).lower() in words for value in values):
            return True
    return False
