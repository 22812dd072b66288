"""Pure: Grafana's webhook contact point: Alertmanager's layout with links to dashboards. It sends no delivery id.

Grafana before 9, and until 10 with legacy alerting, sends one rule's state instead: `state`, `ruleName` and `tags`.
"""

from collections.abc import Mapping
from dataclasses import replace

from handlers.sources import fields, labelled
from handlers.sources.fields import Json
from knowledge.errors import BadInput
from knowledge.model import Alert, AlertStatus

_NO_FAILURE = frozenset({"pending", "paused", "unknown"})


def parse(body: Json, _headers: Mapping[str, str]) -> tuple[Alert, ...]:
    if "alerts" not in body and "state" in body and ("ruleName" in body or "ruleId" in body):
        return _legacy(body)
    return labelled.parse("grafana", body)


def _legacy(body: Json) -> tuple[Alert, ...]:
    """The alert of a legacy body; its rule's tags are its labels, and the rule's number tells namesakes apart."""
    name, state = fields.title(body.get("ruleName")), fields.text(body.get("state"), 40).lower()
    if not name:
        raise BadInput("The field `ruleName` is missing: this is no alert of Grafana.")
    labels = {**fields.labels(body.get("tags")), "alertname": name, "rule_id": fields.name(body.get("ruleId"))}
    entry = {
        "status": "resolved" if state == "ok" else "firing",
        "labels": labels,
        "annotations": {"summary": body.get("message")},
        "generatorURL": body.get("ruleUrl"),
    }
    (alert,) = labelled.parse("grafana", {"alerts": [entry]})
    return (replace(alert, status=AlertStatus.INFO, actionable=False) if state in _NO_FAILURE else alert,)
