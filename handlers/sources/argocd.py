"""Pure: Argo CD notifications, as a whole Application (`app` an object) or in the short layout (`app` a name).

Both layouts are templates that docs/ tells to install; a template without `trigger` is read by its statuses.
"""

from collections.abc import Mapping

from handlers.sources import fields
from handlers.sources.fields import Json
from knowledge.errors import BadInput
from knowledge.fingerprint import identity, parse_time
from knowledge.model import Alert, AlertStatus

# Argo CD's catalog of triggers, without the "on-" of a trigger or the "app-" of a template. Any other is somebody's own
# and read by the application's statuses.
_FIRING_TRIGGERS = frozenset(
    {"sync-failed", "health-degraded", "sync-status-unknown", "out-of-sync", "sync-error", "health-missing"}
)
_RESOLVED_TRIGGERS = frozenset({"deployed", "sync-succeeded", "health-healthy", "healthy", "synced"})
_INFORMING_TRIGGERS = frozenset({"created", "deleted", "sync-running"})


def parse(body: Json, _headers: Mapping[str, str]) -> tuple[Alert, ...]:
    app = body.get("app")
    if not isinstance(app, str | Mapping):
        raise BadInput("The field `app` must be the application's name, or the whole Application.")
    read = _whole(body, fields.child(app)) if isinstance(app, Mapping) else _short(body)
    trigger = fields.name(body.get("trigger"))
    status = _status(trigger, read)
    name, namespace, cluster = read["name"], read["namespace"], read["cluster"]
    words = [f"{label} {read[key]}" for key, label in _STATUS_WORDS if read[key]]
    return (
        Alert(
            source="argocd",
            status=status,
            title=name,
            # One application has one state, so a later success answers whichever of its failures came before.
            identity=identity("argocd", cluster=cluster, namespace=namespace, owner=name),
            actionable=status is AlertStatus.FIRING,
            summary=". ".join(part for part in (", ".join(words), read["message"]) if part),
            namespace=namespace,
            workload=name,
            owner=name,
            service=name,
            cluster=cluster,
            repository=_repository(read["repo_url"]),
            branch=read["branch"],
            commit=read["revision"],
            started_at=parse_time(read["started_at"]),
            target=fields.hints(kind="Application", name=name, namespace=namespace, **_degraded(app)),
            labels=fields.hints(
                trigger=trigger,
                sync_status=read["sync"],
                health_status=read["health"],
                operation_phase=read["phase"],
                argocd_application=name,
                degraded=_degraded_list(app),
                image=read["image"],
                synced_at=read["finished_at"],
            ),
            links=fields.links([("Argo CD", read["url"])]),
        ),
    )


_STATUS_WORDS = (("sync", "sync"), ("health", "health"), ("phase", "operation"))


def _short(body: Json) -> dict[str, str]:
    keys = {"name": "app", "namespace": "namespace", "sync": "syncStatus", "health": "healthStatus", "phase": "phase"}
    read = {key: fields.name(body.get(field)) for key, field in keys.items()}
    more = {"revision": "revision", "url": "url", "repo_url": "repoURL", "started_at": "startedAt", "image": "image"}
    read |= {key: fields.text(body.get(field)) for key, field in more.items()}
    return read | {
        "message": fields.text(body.get("message")),
        "branch": "",
        "cluster": fields.name(body.get("cluster")),
        "finished_at": fields.text(body.get("finishedAt"), 40),
    }


def _whole(body: Json, app: Json) -> dict[str, str]:
    status, spec = fields.child(app, "status"), fields.child(app, "spec")
    operation = fields.child(status, "operationState")
    # An Application may have one source or several; the first names the repository.
    source = fields.child(spec, "source") or next(iter(fields.children(spec.get("sources"))), {})
    destination = fields.child(spec, "destination")
    name = fields.name(fields.child(app, "metadata").get("name"))
    if not name:
        raise BadInput("The field `app.metadata.name` is missing.")
    argocd_url = fields.text(fields.child(body, "context").get("argocdUrl"))
    images = fields.child(status, "summary").get("images")
    revision = fields.child(operation, "syncResult").get("revision") or fields.child(status, "sync").get("revision")
    return {
        "name": name,
        "namespace": fields.name(destination.get("namespace")),
        "cluster": fields.name(destination.get("name")),
        "sync": fields.name(fields.child(status, "sync").get("status")),
        "health": fields.name(fields.child(status, "health").get("status")),
        "phase": fields.name(operation.get("phase")),
        "message": fields.text(operation.get("message")),
        "revision": fields.name(revision),
        "branch": fields.name(source.get("targetRevision")),
        "repo_url": fields.text(source.get("repoURL")),
        "started_at": _since(status, operation),
        "finished_at": fields.text(operation.get("finishedAt"), 40),
        "url": f"{argocd_url.rstrip('/')}/applications/{name}" if argocd_url else "",
        "image": fields.text(images[0]) if isinstance(images, list) and len(images) == 1 else "",
    }


def _since(status: Json, operation: Json) -> str:
    """When the failure began: with its operation, or when the health turned; "" where Argo CD does not say (before
    2.14). A degraded application's last operation may be months old, and succeeded."""
    health = fields.child(status, "health")
    if operation.get("phase") in ("Failed", "Error") or health.get("status") in (None, "", "Healthy"):
        return fields.text(operation.get("startedAt"))
    return fields.text(health.get("lastTransitionTime"))


def _status(trigger: str, read: Mapping[str, str]) -> AlertStatus:
    bare = trigger.lower().removeprefix("on-").removeprefix("app-")
    if bare in _FIRING_TRIGGERS:
        return AlertStatus.FIRING
    if bare in _RESOLVED_TRIGGERS:
        return AlertStatus.RESOLVED
    if bare in _INFORMING_TRIGGERS:
        return AlertStatus.INFO
    if read["phase"] in ("Failed", "Error") or read["health"] == "Degraded":
        return AlertStatus.FIRING
    if read["sync"] == "Synced" and read["health"] == "Healthy" and read["phase"] in ("", "Succeeded"):
        return AlertStatus.RESOLVED
    # Somebody's own trigger on it; while it is being synced, or was only just made, it is on its way.
    adrift = read["sync"] in ("OutOfSync", "Unknown") and read["phase"] not in ("Running", "Terminating")
    return AlertStatus.FIRING if adrift and read["health"] not in ("Missing", "Progressing") else AlertStatus.INFO


def _degraded_list(app: object) -> str:
    """`namespace/Kind/name` of the workloads that Argo CD calls degraded or missing, separated by spaces."""
    found = []
    for resource in fields.children(fields.child(app, "status").get("resources")):
        if fields.child(resource, "health").get("status") in ("Degraded", "Missing"):
            namespace, kind, name = (fields.name(resource.get(key)) for key in ("namespace", "kind", "name"))
            found.append(f"{namespace}/{kind}/{name}")
    return " ".join(found[:20])


def _degraded(app: object) -> dict[str, str]:
    degraded = _degraded_list(app).split()
    return {"resource": degraded[0]} if len(degraded) == 1 else {}


def _repository(url: str) -> str:
    """`owner/name` out of a repository's URL, https or ssh."""
    path = url.removesuffix("/").removesuffix(".git").replace(":", "/").split("/")
    return "/".join(path[-2:]) if len(path) >= 3 else ""
