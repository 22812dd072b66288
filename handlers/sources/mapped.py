"""Pure: any JSON webhook, by a mapping of the policy: which field of the body is which of an alert's.

A body that lacks a mapped title or status is refused with the field's name, so that a mapping that does not fit is seen
at the first delivery rather than in cards without a title.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from handlers.sources import fields, generic
from handlers.sources.fields import Json
from knowledge.errors import BadInput
from knowledge.fingerprint import normal_severity, parse_time
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

    title = needed("title", mapping.title)
    status = _status(mapping, needed("status", mapping.status) if mapping.status else "")
    labels = {label: fields.name(value(path)) for label, path in mapping.labels.items()}
    labels = {label: word for label, word in labels.items() if word}
    severity = normal_severity(fields.text(value(mapping.severity), 40))
    fingerprint = fields.name(value(mapping.fingerprint))
    alert = generic.alert_of(
        labels, title=title, status=status, severity=severity, marks=[fingerprint, f"mapping={name}"]
    )
    return replace(
        alert,
        fingerprint=fingerprint,
        actionable=status is AlertStatus.FIRING and severity not in mapping.informational,
        summary=fields.text(value(mapping.summary)) or alert.title,
        started_at=parse_time(value(mapping.started_at)),
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
