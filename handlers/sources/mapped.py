"""Pure: any JSON webhook, by a mapping of the policy: which field of the body is which of an alert's.

A body that lacks a mapped title or status is refused with the field's name, so that a mapping that does not fit is seen
at the first delivery rather than in cards without a title.
"""

from collections.abc import Mapping
from typing import Any

from handlers.sources import fields
from handlers.sources.fields import Json
from knowledge.errors import BadInput
from knowledge.fingerprint import failing_labels, identifying_marks, identity, normal_severity, parse_time, workload_of
from knowledge.model import Alert, AlertStatus
from remediation.policy_file import WebhookMapping

_MISSING = object()


def parse(name: str, mapping: WebhookMapping, body: Json) -> tuple[Alert, ...]:
    """The alerts of one body; `name` is the mapping's, and tells its alerts from another one's."""
    if not mapping.alerts:
        return (_alert(name, mapping, body, body, ""),)
    entries = find(body, mapping.alerts)
    if not isinstance(entries, list):
        raise BadInput(f"The field `{mapping.alerts}`, which the mapping {name} calls alerts, must be a list.")
    found = []
    for index, entry in enumerate(entries):
        if not isinstance(entry, Mapping):
            raise BadInput(f"The field `{mapping.alerts}.{index}` must be an object.")
        found.append(_alert(name, mapping, entry, body, f"{mapping.alerts}.{index}."))
    return tuple(found)


def find(value: Any, path: str) -> Any:
    """What a path such as `alert.hosts.0.name` leads to; None where it leads nowhere."""
    for step in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(step, _MISSING)
        elif isinstance(value, list) and step.isdecimal() and len(step) < 6:
            value = value[int(step)] if int(step) < len(value) else _MISSING
        else:
            return None
        if value is _MISSING:
            return None
    return value


def _alert(name: str, mapping: WebhookMapping, entry: Json, body: Json, where: str) -> Alert:
    def value(path: str) -> Any:
        """Of the entry, else of the whole body; None where the mapping names none."""
        if not path:
            return None
        found = find(entry, path)
        return find(body, path) if found is None else found

    def needed(what: str, path: str) -> str:
        word = fields.text(value(path), fields.MAX_TITLE)
        if not word:
            text = f"The field `{where}{path}`, which the mapping {name} calls {what}, is missing, empty or no text."
            raise BadInput(text)
        return word

    title = " ".join(needed("title", mapping.title).split())
    status = _status(mapping, needed("status", mapping.status) if mapping.status else "")
    labels = {label: fields.name(value(path)) for label, path in mapping.labels.items()}
    labels = {label: word for label, word in labels.items() if word}
    failing = failing_labels(labels)
    kind, workload, owner = workload_of({label: word for label, word in failing.items() if label != "service"})
    severity = normal_severity(fields.text(value(mapping.severity), 40))
    fingerprint = fields.name(value(mapping.fingerprint))
    namespace, cluster = failing.get("namespace", ""), failing.get("cluster", "")
    marks = [*identifying_marks(failing, owned=bool(owner)), fingerprint, f"mapping={name}"]
    return Alert(
        source="generic",
        status=status,
        title=title,
        identity=identity(title, cluster=cluster, namespace=namespace, owner=owner, marks=marks),
        fingerprint=fingerprint,
        actionable=status is AlertStatus.FIRING and severity not in mapping.informational,
        severity=severity,
        summary=fields.text(value(mapping.summary)) or title,
        namespace=namespace,
        workload=workload,
        owner=owner,
        service=labels.get("service", "") or owner,
        environment=labels.get("environment", ""),
        cluster=cluster,
        repository=labels.get("repository", ""),
        branch=labels.get("branch", ""),
        commit=labels.get("commit", ""),
        started_at=parse_time(value(mapping.started_at)),
        target=fields.hints(
            kind=fields.KINDS.get(kind, ""), namespace=namespace, name=workload, cluster=cluster, owner=owner
        ),
        labels=labels,
        links=fields.links([("Source", value(mapping.link))]),
    )


def _status(mapping: WebhookMapping, word: str) -> AlertStatus:
    """Without a status everything fires; a word that is in no list fires too, unless the firing ones are listed."""
    said = word.strip().lower()
    if said in {one.lower() for one in mapping.resolved}:
        return AlertStatus.RESOLVED
    if mapping.firing and word and said not in {one.lower() for one in mapping.firing}:
        return AlertStatus.INFO
    return AlertStatus.FIRING
