"""What an Argo CD Application says about itself, read out of its JSON. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

from remediation import kube
from remediation.ports import EXECUTION_ANNOTATION, Json

RUNNING = frozenset({"Running", "Terminating"})
FAILED = frozenset({"Failed", "Error"})
# A revision counts as one that served when it stood so long before the next one was deployed.
SERVED = timedelta(minutes=5)
_PARENT_LABEL = "argocd.argoproj.io/instance"
_PARENT_ANNOTATION = "argocd.argoproj.io/tracking-id"


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """Where an application stands. `revision` is what Git has now; `started_at` and `phase` are the last operation's.

    `automatic`: a new commit is synced by itself. `self_heal`: a change in the cluster is put back, too. `parent` names
    the application or ApplicationSet that writes this application, "" without one.
    """

    sync: str
    health: str
    revision: str
    phase: str
    message: str
    started_at: str
    automatic: bool
    self_heal: bool
    parent: str
    several_sources: bool

    @property
    def running(self) -> bool:
        return self.phase in RUNNING


@dataclass(frozen=True, slots=True)
class Deployed:
    """One row of the history: a revision that was synced."""

    id: int
    revision: str
    at: datetime | None


def sync_status(application: Json) -> SyncStatus:
    status, spec = _child(application, "status"), _child(application, "spec")
    operation = _child(status, "operationState")
    automated = _child(spec, "syncPolicy").get("automated")
    automatic = isinstance(automated, Mapping) and automated.get("enabled") is not False
    # What is only requested has no state yet.
    requested = bool(application.get("operation"))
    return SyncStatus(
        sync=str(_child(status, "sync").get("status") or "Unknown"),
        health=str(_child(status, "health").get("status") or "Unknown"),
        revision=_revision(_child(status, "sync")),
        phase="Running" if requested else str(operation.get("phase") or ""),
        message=str(operation.get("message") or ""),
        started_at=str(operation.get("startedAt") or ""),
        automatic=automatic,
        self_heal=automatic and bool((automated or {}).get("selfHeal")),
        parent=_parent(application),
        several_sources=bool(spec.get("sources")),
    )


def history(application: Json) -> tuple[Deployed, ...]:
    """What was deployed, oldest first, as far back as Argo CD keeps it."""
    rows = _child(application, "status").get("history") or []
    return tuple(
        Deployed(int(row.get("id") or 0), _revision(row), kube.when(row.get("deployedAt")))
        for row in rows
        if isinstance(row, dict) and _revision(row)
    )


def last_good(application: Json) -> Deployed | None:
    """The newest earlier row of another revision that stood `SERVED` long: Argo CD keeps no history of health."""
    rows = history(application)
    for row, after in reversed(list(pairwise(rows))):
        long = row.at is not None and after.at is not None and after.at - row.at >= SERVED
        if row.revision != rows[-1].revision and long:
            return row
    return None


def marked(application: Json, execution_id: int) -> bool:
    """Whether the last or the requested operation is the one that this execution asked for."""
    state = _child(_child(application, "status"), "operationState")
    return any(
        info.get("name") == EXECUTION_ANNOTATION and info.get("value") == str(execution_id)
        for operation in (_child(application, "operation"), _child(state, "operation"))
        for info in operation.get("info") or []
        if isinstance(info, dict)
    )


def failing_text(application: Json) -> str:
    """What the last operation and the comparison complain of, a line each."""
    status = _child(application, "status")
    operation = _child(status, "operationState")
    lines = [str(c.get("message") or "") for c in status.get("conditions") or [] if _is_error(c)]
    if operation.get("phase") in FAILED:
        lines.append(str(operation.get("message") or ""))
        results = _child(operation, "syncResult").get("resources") or []
        lines += [str(r.get("message") or "") for r in results if r.get("status") == "SyncFailed" or _hook_failed(r)]
    return "\n".join(dict.fromkeys(line for line in lines if line))


def out_of_sync(application: Json) -> tuple[str, ...]:
    rows = _child(application, "status").get("resources") or []
    return tuple(f"{r.get('kind')}/{r.get('name')}" for r in rows if r.get("status") == "OutOfSync")


def parent_of_applications(application: Json) -> bool:
    """Whether it is an app of apps: what it deploys are applications themselves."""
    rows = _child(application, "status").get("resources") or []
    return any(r.get("kind") in {"Application", "ApplicationSet"} for r in rows)


def source_of(application: Json) -> tuple[str, str, str]:
    """(owner/name of the repository, branch or "HEAD", folder) of the only Git source; all "" where there is another.

    What is no folder of a Git repository, such as a Helm chart, cannot be reverted there.
    """
    spec = _child(application, "spec")
    source = _child(spec, "source")
    if spec.get("sources") or not source.get("path") or source.get("chart"):
        return "", "", ""
    return repository_of(str(source.get("repoURL") or "")), str(source.get("targetRevision") or "HEAD"), source["path"]


def repository_of(url: str) -> str:
    """owner/name out of an https, ssh or scp-like address of a repository; "" where it is none."""
    path = urlsplit(url).path if "://" in url else url.partition(":")[2]
    parts = path.removesuffix("/").removesuffix(".git").strip("/").split("/")
    return "/".join(parts) if len(parts) == 2 and all(parts) else ""


def _revision(row: Mapping[str, Any]) -> str:
    """Of an application with several sources the first one's."""
    several = row.get("revisions") or []
    return str(row.get("revision") or (several[0] if several else ""))


def _parent(application: Json) -> str:
    metadata = _child(application, "metadata")
    for owner in metadata.get("ownerReferences") or []:
        if owner.get("kind") in {"ApplicationSet", "Application"}:
            return f"{owner['kind']} {owner.get('name', '')}".strip()
    tracked = str(_child(metadata, "annotations").get(_PARENT_ANNOTATION) or "").partition(":")[0]
    name = str(_child(metadata, "labels").get(_PARENT_LABEL) or tracked)
    return f"Application {name}" if name and name != metadata.get("name") else ""


def _is_error(condition: Json) -> bool:
    return str(condition.get("type") or "").endswith("Error")


def _hook_failed(result: Json) -> bool:
    return result.get("hookPhase") in FAILED


def _child(of: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = of.get(key)
    return found if isinstance(found, Mapping) else {}
