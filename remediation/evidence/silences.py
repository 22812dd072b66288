"""Whether somebody silenced the alert: a person may know of the failure already, or be working on it."""

from knowledge.errors import CodeHealerError
from knowledge.model import Alert, EvidenceKind
from remediation.evidence.changes import stamp
from remediation.evidence.piece import Piece, Pieces, Subject
from remediation.ports import Silence, Silences

SOURCE = "alertmanager"
MAX_ALERTS = 3


async def collect(subject: Subject) -> Pieces:
    """Nothing where Alertmanager is not connected, or did not send the alert."""
    client = subject.clients.silences
    alerts = [alert for alert in subject.alerts if alert.source == SOURCE and alert.fingerprint]
    if client is None or not alerts:
        return []
    newest = {alert.fingerprint: alert for alert in alerts}
    lines: list[str] = []
    for alert in list(newest.values())[-MAX_ALERTS:]:
        try:
            lines += await _of(client, alert)
        except CodeHealerError as error:
            return [Piece(EvidenceKind.SILENCE, SOURCE, could_not=str(error))]
    return [Piece(EvidenceKind.SILENCE, SOURCE, "\n".join(dict.fromkeys(lines)))] if lines else []


async def _of(client: Silences, alert: Alert) -> list[str]:
    name = alert.labels.get("alertname", "")
    return [_line(name, one) for one in await client.silences_of(name, alert.fingerprint)] if name else []


def _line(name: str, silence: Silence) -> str:
    comment = " ".join(silence.comment.split())[:300] or "no comment"
    return f"{name} is silenced until {stamp(silence.ends_at)} by {silence.created_by or 'somebody'}: {comment}"
