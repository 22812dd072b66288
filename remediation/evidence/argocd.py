"""What Argo CD says about an application: sync, health, conditions and the last syncs."""

from knowledge.errors import CodeHealerError
from knowledge.model import EvidenceKind, Incident
from remediation.evidence.piece import Piece, Pieces
from remediation.ports import Clients, Json

MAX_RESOURCES = 20
MAX_HISTORY = 5


async def collect(incident: Incident, clients: Clients) -> Pieces:
    """Only for incidents that Argo CD reported; their workload is the application's name."""
    if incident.source != "argocd" or not incident.workload:
        return []
    if clients.argocd is None:
        return [Piece(EvidenceKind.ARGOCD, incident.workload, could_not="Argo CD is not connected")]
    try:
        application = await clients.argocd.application(incident.workload)
    except CodeHealerError as error:
        return [Piece(EvidenceKind.ARGOCD, incident.workload, could_not=str(error))]
    return [Piece(EvidenceKind.ARGOCD, incident.workload, _text(application))]


def _text(application: Json) -> str:
    status = application.get("status") or {}
    sync, health = status.get("sync") or {}, status.get("health") or {}
    operation = status.get("operationState") or {}
    lines = [
        f"Application {(application.get('metadata') or {}).get('name', '')}: sync {sync.get('status', 'Unknown')}, "
        f"health {health.get('status', 'Unknown')} {health.get('message', '')}".rstrip(),
        f"  Revision: {sync.get('revision', 'unknown')}",
    ]
    if operation:
        lines.append(f"  Last operation: {operation.get('phase', '')}: {operation.get('message', '')}")
    lines += [f"  Condition {c.get('type')}: {c.get('message')}" for c in status.get("conditions") or []]
    resources = (operation.get("syncResult") or {}).get("resources") or []
    bad = [r for r in resources if r.get("status") not in {"Synced", "Pruned"} or r.get("hookPhase") == "Failed"]
    lines += [_resource(r) for r in bad[:MAX_RESOURCES]]
    lines += [
        f"  Synced {h.get('deployedAt', '')}: revision {str(h.get('revision', ''))[:12]} (id {h.get('id')})"
        for h in (status.get("history") or [])[-MAX_HISTORY:]
    ]
    return "\n".join(lines)


def _resource(body: Json) -> str:
    return f"  {body.get('kind')}/{body.get('name')}: {body.get('status', '')} {body.get('message', '')}"
