"""Pure: PagerDuty webhooks v3. Its incidents are alerts to us; notes and service changes are information."""

from collections.abc import Mapping

from handlers.sources import fields
from handlers.sources.fields import Json
from knowledge.errors import BadInput
from knowledge.fingerprint import identity, normal_severity, parse_time
from knowledge.model import Alert, AlertStatus

_STATUSES = {
    "incident.triggered": AlertStatus.FIRING,
    "incident.reopened": AlertStatus.FIRING,
    "incident.resolved": AlertStatus.RESOLVED,
}


def parse(body: Json, _headers: Mapping[str, str]) -> tuple[Alert, ...]:
    """One alert; its labels event_type, incident_id and incident_number keep a card in step with the pager."""
    event = fields.child(body, "event")
    event_type = fields.name(event.get("event_type"))
    if not event_type:
        raise BadInput("The field `event.event_type` is missing: this is no PagerDuty v3 webhook.")
    data = fields.child(event, "data")
    # A note's incident is in `incident`, an incident's event is the incident.
    incident = data if data.get("type") == "incident" else fields.child(data, "incident")
    incident_id = fields.name(incident.get("id"))
    status = _STATUSES.get(event_type, AlertStatus.INFO) if incident_id else AlertStatus.INFO
    urgency = normal_severity(data.get("urgency"))
    service = fields.child(data, "service")
    return (
        Alert(
            source="pagerduty",
            status=status,
            title=fields.title(data.get("title")),
            identity=identity("pagerduty", marks=[incident_id or fields.name(data.get("id"))]),
            fingerprint=fields.name(data.get("incident_key")) or incident_id,
            actionable=status is AlertStatus.FIRING,
            severity=urgency,
            summary=fields.text(data.get("content") or data.get("title") or data.get("summary")),
            service=fields.name(service.get("summary")),
            started_at=parse_time(data.get("created_at") or event.get("occurred_at")),
            ended_at=parse_time(event.get("occurred_at")) if status is AlertStatus.RESOLVED else None,
            target=fields.hints(kind="PagerDutyIncident", name=incident_id),
            labels=fields.hints(
                event_type=event_type,
                incident_id=incident_id,
                incident_number=fields.name(data.get("number")),
                incident_status=fields.name(data.get("status")),
                priority=fields.name(fields.child(data, "priority").get("summary")),
                agent=fields.name(fields.child(event, "agent").get("summary")),
            ),
            links=fields.links([("PagerDuty", incident.get("html_url"))]),
        ),
    )


def delivery_id(_headers: Mapping[str, str], body: Json) -> str | None:
    """The event's id: X-Webhook-Id names the subscription's delivery and two subscriptions may tell of one event."""
    return fields.name(fields.child(body, "event").get("id")) or None


def event_of(_headers: Mapping[str, str], body: Json) -> str:
    return fields.name(fields.child(body, "event").get("event_type"))
