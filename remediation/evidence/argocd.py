"""What Argo CD says about an application: sync, health, conditions, hooks, history, and how it differs from Git."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from knowledge.errors import CodeHealerError
from knowledge.model import EvidenceKind
from remediation import kube
from remediation.evidence import changes
from remediation.evidence.piece import Piece, Pieces, Subject, within
from remediation.ports import ArgoCd, CodeHost, Json

MAX_RESOURCES = 20
MAX_HISTORY = 5
# Of its parts; what the application says of itself stays when one of them takes longer.
PART_DEADLINE_S = 8.0
SYNCED = frozenset({"Synced", "Pruned"})
WELL = frozenset({"Healthy", "Suspended", ""})
# Their values are configuration or secrets: differences are named by key alone.
NAMES_ONLY = frozenset({"Secret", "ConfigMap"})


async def collect(subject: Subject) -> Pieces:
    """For incidents that Argo CD reported, by the application's name, and for services that name an application.

    Of the latter only what changed is told, unless a sync failed: that an application is degraded says no more than
    its pods do. Where the application is the target, nothing else tells of it.
    """
    incident, argocd = subject.incident, subject.clients.argocd
    is_target = incident.target is not None and incident.target.kind == "Application"
    reported = incident.source == "argocd" or is_target
    row = None if subject.is_run else subject.service
    name = row.argocd_app if row and row.argocd_app else incident.workload if reported else ""
    if not name or (argocd is None and not reported):
        return []
    if argocd is None:
        return [Piece(EvidenceKind.ARGOCD, name, could_not="Argo CD is not connected")]
    kind = EvidenceKind.ARGOCD if reported else EvidenceKind.CHANGES
    try:
        application = await argocd.application(name)
    except CodeHealerError as error:
        return [Piece(kind, name, could_not=str(error))]
    changed = _changes(argocd, subject, name, application)
    parts = [within(PART_DEADLINE_S, changed, EvidenceKind.CHANGES, name)]
    if reported or _sync_failed(application):
        parts.insert(0, _told(argocd, name, application))
    return [piece for part in await asyncio.gather(*parts) for piece in part]


def _sync_failed(application: Json) -> bool:
    status = application.get("status") or {}
    conditions = status.get("conditions") or []
    phase = (status.get("operationState") or {}).get("phase")
    return phase in {"Failed", "Error"} or any(str(c.get("type", "")).endswith("Error") for c in conditions)


# --- the application ----------------------------------------------------------------------------------------------


async def _told(argocd: ArgoCd, name: str, application: Json) -> Pieces:
    lines = _lines(application)
    trees, drift = await asyncio.gather(_unwell(argocd, name, application), _drift(argocd, name, application))
    return [Piece(EvidenceKind.ARGOCD, name, "\n".join([*lines, *trees, *drift]))]


def _lines(application: Json) -> list[str]:
    status = application.get("status") or {}
    sync, health = status.get("sync") or {}, status.get("health") or {}
    operation = status.get("operationState") or {}
    lines = [
        f"Application {(application.get('metadata') or {}).get('name', '')}: sync {sync.get('status', 'Unknown')}, "
        f"health {health.get('status', 'Unknown')} {health.get('message', '')}".rstrip(),
        f"  Revision: {sync.get('revision') or ', '.join(sync.get('revisions') or []) or 'unknown'}",
    ]
    if operation:
        retries = f" after {operation['retryCount']} retries" if operation.get("retryCount") else ""
        lines.append(f"  Last operation: {operation.get('phase', '')}{retries}: {operation.get('message', '')}")
    # The condition of a failed sync repeats what the operation says.
    said = str(operation.get("message") or "") or None
    conditions = [c for c in status.get("conditions") or [] if not (said and said in str(c.get("message")))]
    lines += [f"  Condition {c.get('type')}: {c.get('message')}" for c in conditions]
    results = (operation.get("syncResult") or {}).get("resources") or []
    lines += [_result(r) for r in results if _failed(r)][:MAX_RESOURCES]
    out = [r for r in status.get("resources") or [] if r.get("status") not in {*SYNCED, None}]
    lines += [f"  {r.get('kind')}/{r.get('name')} is {r.get('status')}" for r in out[:MAX_RESOURCES]]
    lines += [
        f"  Synced {h.get('deployedAt', '')}: revision {_revision_of(h)[:12]} (id {h.get('id')})"
        for h in (status.get("history") or [])[-MAX_HISTORY:]
    ]
    return lines


def _failed(result: Json) -> bool:
    return result.get("status") not in {*SYNCED, None, ""} or result.get("hookPhase") in {"Failed", "Error"}


def _result(body: Json) -> str:
    is_hook = body.get("hookType") and body.get("hookPhase")
    hook = f"{body['hookType']} hook {body['hookPhase']}: " if is_hook else ""
    return f"  {body.get('kind')}/{body.get('name')}: {hook}{body.get('status', '')} {body.get('message', '')}"


async def _unwell(argocd: ArgoCd, name: str, application: Json) -> list[str]:
    """Resources that are not healthy, with Argo CD's reason; since 3.0 only the tree has them."""
    if str(((application.get("status") or {}).get("health") or {}).get("status") or "") in WELL:
        return []
    try:
        async with asyncio.timeout(PART_DEADLINE_S):
            nodes = await argocd.resource_tree(name)
    except (CodeHealerError, TimeoutError) as error:
        return [f"  Its resources could not be had: {str(error) or 'no answer in time'}"]
    bad = [node for node in nodes if str((node.get("health") or {}).get("status") or "") not in WELL]
    return [_unwell_line(node) for node in bad[:MAX_RESOURCES]]


def _unwell_line(node: Json) -> str:
    why = f": {node['health']['message']}" if node["health"].get("message") else ""
    return f"  {node.get('kind')}/{node.get('name')} is {node['health']['status']}{why}"


async def _drift(argocd: ArgoCd, name: str, application: Json) -> list[str]:
    """Where resources that are out of sync differ from Git."""
    if ((application.get("status") or {}).get("sync") or {}).get("status") != "OutOfSync":
        return []
    try:
        async with asyncio.timeout(PART_DEADLINE_S):
            resources = await argocd.managed_resources(name)
    except (CodeHealerError, TimeoutError) as error:
        return [f"  The difference to Git could not be had: {str(error) or 'no answer in time'}"]
    lines: list[str] = []
    for resource in resources:
        found = _differences(resource)
        lines += [f"  {resource.get('kind')}/{resource.get('name')} differs from Git:", *found] if found else []
    return lines[: 2 * MAX_RESOURCES]


def _differences(resource: Json) -> list[str]:
    live = _state(resource, "normalizedLiveState", "liveState")
    wanted = _state(resource, "predictedLiveState", "targetState")
    if live is None or wanted is None:
        return ["    it is not in the cluster"] if live is None and wanted is not None else []
    names_only = resource.get("kind") in NAMES_ONLY
    return [f"    {one}" for one in changes.differences(live, wanted, names_only=names_only)]


def _state(resource: Json, *keys: str) -> Any:
    """The first of these states that is there, from its JSON text; None for absent and "null"."""
    for key in keys:
        text = resource.get(key)
        if isinstance(text, str) and text and text != "null":
            try:
                return json.loads(text)
            except ValueError:
                continue
    return None


# --- what changed -------------------------------------------------------------------------------------------------


async def _changes(argocd: ArgoCd, subject: Subject, name: str, application: Json) -> Pieces:
    """From the revision that was deployed before to the newest one, with the subject of its commit and all commits."""
    status = application.get("status") or {}
    old, new = _revisions(status)
    if not old or not new:
        return []
    deployed = kube.when(str(((status.get("history") or [{}])[-1]).get("deployedAt") or ""))
    if changes.is_old(deployed, subject.incident.opened_at) and not _sync_failed(application):
        text = f"Argo CD: the last revision is from {changes.before(deployed, subject.incident.opened_at)}"
        return [Piece(EvidenceKind.CHANGES, f"Argo CD {name}", text)]
    head, compared = await asyncio.gather(_subject_of(argocd, name, new), _compared(subject, old, new))
    sync, health = (status.get("sync") or {}).get("status"), (status.get("health") or {}).get("status")
    lines = [
        f"Argo CD revision {old[:10]} → {new[:10]}{head}{f' ({compared[0]})' if compared and compared[0] else ''}",
        f"  Argo CD application {name}: {sync or 'Unknown'}, {health or 'Unknown'}",
        *compared[1:],
    ]
    return [Piece(EvidenceKind.CHANGES, f"Argo CD {name}", "\n".join(lines))]


def _revisions(status: Json) -> tuple[str, str]:
    """(the revision deployed before, the newest that was deployed or tried); "" where there is none."""
    history = [r for row in status.get("history") or [] if (r := _revision_of(row))]
    tried = str(((status.get("operationState") or {}).get("syncResult") or {}).get("revision") or "")
    # A failed sync leaves no row, so what it tried is the newest.
    known = [*history, *([tried] if tried and (not history or tried != history[-1]) else [])]
    newest = known[-1] if known else ""
    return next((one for one in reversed(known) if one != newest), ""), newest


def _revision_of(row: Json) -> str:
    """Of an application with several sources the first one's."""
    several: Sequence[Any] = row.get("revisions") or []
    return str(row.get("revision") or (several[0] if several else ""))


async def _subject_of(argocd: ArgoCd, name: str, revision: str) -> str:
    try:
        meta = await argocd.revision(name, revision)
    except CodeHealerError:
        return ""  # the revision's id alone says what changed; a chart has no commit
    said = changes.subject(str(meta.get("message") or ""))
    return f' "{said}"' if said else ""


async def _compared(subject: Subject, old: str, new: str) -> list[str]:
    """The lines of what the commits between two revisions change; the first sums up, "" where that is not known."""
    host: CodeHost | None = subject.clients.code_host
    if host is None or not subject.repository:
        return []
    try:
        compared = await host.compare(subject.repository, old, new)
        return changes.commits_change(compared, newest=False).splitlines()
    except CodeHealerError as error:
        # Manifests are often in another repository than the service's.
        return ["", f"  the commits could not be compared in {subject.repository}: {error}"]
