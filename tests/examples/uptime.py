"""Alerts of a service that asks addresses from outside: the example of docs/extending.md."""

from collections.abc import Mapping

from handlers.sources import fields
from handlers.sources.fields import Json
from knowledge.errors import BadInput
from knowledge.fingerprint import identity
from knowledge.model import Alert, AlertStatus


def parse(body: Json, _headers: Mapping[str, str]) -> tuple[Alert, ...]:
    """One check's change of state: `{"check", "state": "up" or "down", "url", "error"}`."""
    name, state = fields.name(body.get("check")), fields.name(body.get("state"))
    if not name or state not in {"up", "down"}:
        raise BadInput(
            "The fields `check` and `state` (up or down) are needed: this is no message of the uptime service."
        )
    down = state == "down"
    alert = Alert(
        source="uptime",
        status=AlertStatus.FIRING if down else AlertStatus.RESOLVED,
        title=f"{name} does not answer" if down else f"{name} answers",
        identity=identity("uptime", owner=name, marks=[]),
        actionable=down,
        severity="critical",
        summary=fields.text(body.get("error")),
        service=name,
        owner=name,
        labels=fields.hints(url=fields.text(body.get("url"))),
    )
    return (alert,)
