"""The part of Argo CD's API that a bot needs: applications, sync, rollback, resource tree, revision metadata."""

import copy
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from bot.sandbox.world.argocd_store import App, ArgoStore
from bot.sandbox.world.clockwork import rfc3339
from bot.sandbox.world.cluster import Cluster
from bot.sandbox.world.objects import image_of, is_ready, owner_uid

Json = dict[str, Any]


class ArgoError(Exception):
    """A gRPC status as the gateway shows it: `code` is gRPC's number."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def health(cluster: Cluster, app: App) -> tuple[str, str]:
    """Argo CD's health of the application, by the Deployment's own conditions."""
    live = cluster.store.get("deployments", app.service.namespace, app.service.name)
    if live is None:
        return "Missing", ""
    conditions = {c["type"]: c for c in (live.get("status") or {}).get("conditions", [])}
    if conditions.get("Progressing", {}).get("reason") == "ProgressDeadlineExceeded":
        return "Degraded", f'Deployment "{app.service.name}" exceeded its progress deadline'
    status, _ = cluster.status(app.service.name)
    if status == "healthy":
        return "Healthy", ""
    word = "Degraded" if status == "broken" else "Progressing"
    return word, "Waiting for rollout to finish"


def sync_status(store: ArgoStore, cluster: Cluster, app: App) -> tuple[str, str]:
    """(Synced or OutOfSync, the revision compared to)."""
    head = store.hub.repositories[app.service.repository].head.sha
    live = cluster.store.get("deployments", app.service.namespace, app.service.name)
    version = image_of(live).rpartition(":")[2] if live else ""
    deployed = store.manifests(app.service, app.history[-1].revision)
    same = version == store.version_at(app.service, head) and deployed == store.manifests(app.service, head)
    return ("Synced" if same else "OutOfSync"), head


@dataclass
class ArgoApi:
    store: ArgoStore
    cluster: Cluster
    token: str
    clock: Callable[[], float]
    # What the account's role allows to be done to applications.
    allowed: set[str] = field(default_factory=lambda: {"get", "sync"})

    async def handle(self, request: web.Request, path: str) -> web.StreamResponse:
        """Answers one request; `path` is what follows the prefix."""
        raw = await request.read()
        try:
            body = self._answer(request, path.strip("/"), raw)
            status = 200
        except ArgoError as problem:
            status, text = problem.status, str(problem)
            body = {"error": text, "code": problem.code, "message": text}
        return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")

    def _answer(self, request: web.Request, path: str, raw: bytes) -> Any:
        if path == "api/version":
            return {"Version": "v3.6.1+3c3a8ad"}
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not given:
            raise ArgoError(401, 16, "no session information")
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            raise ArgoError(401, 16, "invalid session: token signature is invalid")
        try:
            body = orjson.loads(raw) if raw else {}
        except orjson.JSONDecodeError:
            raise ArgoError(400, 3, "invalid character in request body") from None
        if path == "api/v1/session/userinfo":
            return {"loggedIn": True, "username": "codehealer", "iss": "argocd"}
        if path == "api/v1/applications" and request.method == "GET":
            rows = [self.application(a) for a in self.store.apps.values()]
            return {"apiVersion": "argoproj.io/v1alpha1", "kind": "ApplicationList", "metadata": {}, "items": rows}
        asked = re.match(r"api/v1/account/can-i/applications/(\w+)/[^/]+/[^/]+\Z", path)
        if asked and request.method == "GET":
            return {"value": "yes" if asked[1] in self.allowed else "no"}
        found = re.match(r"api/v1/applications/([^/]+)(?:/(.*))?\Z", path)
        if not found:
            raise ArgoError(404, 5, "Not Found")
        app = self.store.apps.get(found[1])
        if app is None:
            raise ArgoError(404, 5, f'applications.argoproj.io "{found[1]}" not found')
        rest = found[2] or ""
        revision = re.match(r"revisions/([0-9a-f]+)/metadata\Z", rest)
        if revision and request.method == "GET":
            return self.revision(app, revision[1])
        handler = ROUTES.get((request.method, rest))
        if handler is None:
            raise ArgoError(404, 5, "Not Found")
        return handler(self, app, body)

    def application(self, app: App) -> Json:
        """The whole Application object."""
        service, operation = app.service, app.operation
        synced, head = sync_status(self.store, self.cluster, app)
        word, why = health(self.cluster, app)
        source = self.source(app)
        spec: Json = {
            "project": "default",
            "source": source,
            "destination": {"server": "https://kubernetes.default.svc", "namespace": service.namespace},
        }
        if app.auto_sync:
            spec["syncPolicy"] = {"automated": {"prune": False, "selfHeal": app.self_heal}}
        state: Json = {
            "operation": {
                "sync": {"revision": operation.revision, "prune": operation.prune, "dryRun": operation.dry_run},
                "initiatedBy": {"username": operation.by, "automated": operation.by == "automated"},
                "info": [{"name": name, "value": value} for name, value in operation.infos],
            },
            "phase": operation.phase,
            "message": operation.message,
            "startedAt": rfc3339(operation.stamp),
            "syncResult": {"revision": operation.revision, "source": source, "resources": self.results(app)},
        }
        if operation.finished_at:
            state["finishedAt"] = rfc3339(operation.finished_at)
        conditions = []
        if operation.phase == "Failed":
            text = f"Failed last sync attempt to {operation.revision}: {operation.message}"
            conditions = [{"type": "SyncError", "message": text, "lastTransitionTime": rfc3339(operation.started_at)}]
        history = [
            {"id": d.id, "revision": d.revision, "deployedAt": rfc3339(d.at), "source": source}
            for d in app.history[-10:]
        ]
        return {
            "metadata": {"name": service.name, "namespace": "argocd", "uid": f"app-{service.name}"},
            "spec": spec,
            "status": {
                "sync": {"status": synced, "revision": head, "comparedTo": {"source": source}},
                "health": {"status": word, **({"message": why} if why else {})},
                "history": history,
                "operationState": state,
                "reconciledAt": rfc3339(self.clock()),
                "sourceType": "Kustomize",
                "resources": [
                    {
                        "group": "apps",
                        "version": "v1",
                        "kind": "Deployment",
                        "namespace": service.namespace,
                        "name": service.name,
                        "status": synced,
                        "health": {"status": word},
                    }
                ],
                "conditions": conditions,
                "summary": {"images": [service.image(self.store.version_at(service, app.history[-1].revision))]},
            },
        }

    def source(self, app: App) -> Json:
        return {
            "repoURL": f"https://github.com/{app.service.repository}.git",
            "path": "deploy",
            "targetRevision": "HEAD",
        }

    def results(self, app: App) -> list[Json]:
        status = "SyncFailed" if app.operation.phase == "Failed" else "Synced"
        message = app.operation.message if status == "SyncFailed" else f"deployment.apps/{app.service.name} configured"
        return [
            {
                "group": "apps",
                "version": "v1",
                "kind": "Deployment",
                "namespace": app.service.namespace,
                "name": app.service.name,
                "status": status,
                "message": message,
                "syncPhase": "Sync",
            }
        ]

    def get(self, app: App, _: Json) -> Json:
        return self.application(app)

    def sync(self, app: App, body: Json) -> Json:
        """Starts a sync. Refused while another operation runs and for a revision that does not exist."""
        if app.operation.phase == "Running":
            raise ArgoError(400, 9, "another operation is already in progress")
        revision, dry_run = str(body.get("revision") or "") or "HEAD", bool(body.get("dryRun"))
        commit = self.store.hub.repositories[app.service.repository].commit(revision)
        if commit is None:
            raise ArgoError(400, 3, f"Unable to resolve '{revision}' to a commit SHA")
        if app.auto_sync and revision != "HEAD" and not dry_run:
            raise ArgoError(400, 9, f"Cannot sync to {revision}: auto-sync currently set to HEAD")
        options = tuple(str(o) for o in ((body.get("syncOptions") or {}).get("items") or []))
        infos = tuple((str(i.get("name", "")), str(i.get("value", ""))) for i in body.get("infos") or [])
        prune = bool(body.get("prune"))
        self.store.sync(app, commit.sha, options, "codehealer", infos=infos, prune=prune, dry_run=dry_run)
        return self.application(app)

    def rollback(self, app: App, body: Json) -> Json:
        """Back to a row of the history by its id; ids may come as text, as gRPC's gateway takes them."""
        if app.auto_sync:
            raise ArgoError(400, 9, "rollback cannot be initiated when auto-sync is enabled")
        if app.operation.phase == "Running":
            raise ArgoError(400, 9, "another operation is already in progress")
        wanted = str(body.get("id", ""))
        row = next((d for d in app.history if str(d.id) == wanted), None)
        if row is None:
            raise ArgoError(400, 3, f"application {app.service.name} does not have deployment with id {wanted or 0}")
        self.store.sync(app, row.revision, (), "codehealer", dry_run=bool(body.get("dryRun")))
        return self.application(app)

    def tree(self, app: App, _: Json) -> Json:
        """Deployment, ReplicaSets and Pods with their parents."""
        store, namespace = self.cluster.store, app.service.namespace
        live = store.get("deployments", namespace, app.service.name)
        nodes: list[Json] = []
        if live is None:
            return {"nodes": nodes}
        nodes.append(
            tree_node("apps", live, [], "Healthy" if health(self.cluster, app)[0] == "Healthy" else "Progressing")
        )
        for body in store.all("replicasets", namespace):
            if owner_uid(body) == live["metadata"]["uid"]:
                nodes.append(tree_node("apps", body, [live], "Healthy"))
                mine = [p for p in store.all("pods", namespace) if owner_uid(p) == body["metadata"]["uid"]]
                nodes += [tree_node("", p, [body], "Healthy" if is_ready(p) else "Degraded") for p in mine]
        return {"nodes": nodes}

    def managed(self, app: App, _: Json) -> Json:
        """The Deployment as it is and as the repository's head wants it; both as JSON in a text, as Argo CD has it."""
        service = app.service
        live = self.cluster.store.get("deployments", service.namespace, service.name)
        wanted = copy.deepcopy(live)
        if wanted is not None:
            head = sync_status(self.store, self.cluster, app)[1]
            image = service.image(self.store.version_at(service, head))
            wanted["spec"]["template"]["spec"]["containers"][0]["image"] = image
        live_text, wanted_text = (orjson.dumps(state).decode() for state in (live, wanted))
        item: Json = {
            "group": "apps",
            "kind": "Deployment",
            "namespace": service.namespace,
            "name": service.name,
            "liveState": live_text,
            "targetState": wanted_text,
            "normalizedLiveState": live_text,
            "predictedLiveState": wanted_text,
            "resourceVersion": live["metadata"]["resourceVersion"] if live else "",
            "modified": live_text != wanted_text,
        }
        return {"items": [item]}

    def revision(self, app: App, revision: str) -> Json:
        commit = self.store.hub.repositories[app.service.repository].commit(revision)
        if commit is None:
            raise ArgoError(400, 3, f"Unable to resolve '{revision}' to a commit SHA")
        author = f"{commit.author} <{commit.author}@acme.example>"
        return {"author": author, "date": rfc3339(commit.at), "message": commit.message}


def tree_node(group: str, body: Json, parents: list[Json], word: str) -> Json:
    meta = body["metadata"]
    refs = [
        {
            "group": "apps",
            "kind": p["kind"],
            "namespace": meta["namespace"],
            "name": p["metadata"]["name"],
            "uid": p["metadata"]["uid"],
        }
        for p in parents
    ]
    return {
        "group": group,
        "version": "v1",
        "kind": body["kind"],
        "namespace": meta["namespace"],
        "name": meta["name"],
        "uid": meta["uid"],
        "parentRefs": refs,
        "resourceVersion": meta["resourceVersion"],
        "createdAt": meta["creationTimestamp"],
        "health": {"status": word},
        "images": [image_of(body)],
    }


ROUTES: dict[tuple[str, str], Callable[[ArgoApi, App, Json], Json]] = {
    ("GET", ""): ArgoApi.get,
    ("POST", "sync"): ArgoApi.sync,
    ("POST", "rollback"): ArgoApi.rollback,
    ("GET", "resource-tree"): ArgoApi.tree,
    ("GET", "managed-resources"): ArgoApi.managed,
}
