"""The Kubernetes API over the store: discovery, objects, watches, logs, scale, eviction, access reviews."""

import asyncio
import base64
import copy
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
import yaml
from aiohttp import web

from bot.sandbox.world.clockwork import rfc3339, rfc3339_micro
from bot.sandbox.world.cluster import Cluster
from bot.sandbox.world.controller import mark_deleted
from bot.sandbox.world.kubernetes_patch import PatchError, json_patch, merge_patch, strategic_merge
from bot.sandbox.world.kubernetes_replies import (
    ApiError,
    already_exists,
    bad_request,
    check,
    conflict,
    forbidden,
    invalid,
    matches_fields,
    matches_labels,
    not_found,
    typed,
)
from bot.sandbox.world.kubernetes_store import BY_ADDRESS, RESOURCES, Change, ConflictError, GoneError, Resource

Json = dict[str, Any]
VERSION = {
    "major": "1",
    "minor": "34",
    "gitVersion": "v1.34.2",
    "gitCommit": "8cc511e399b929453cd98ae65b419c3cc227ec79",
    "gitTreeState": "clean",
    "buildDate": "2026-02-11T18:38:15Z",
    "goVersion": "go1.24.9",
    "compiler": "gc",
    "platform": "linux/amd64",
}
VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
RULE_VERBS = ("get", "list", "watch", "create", "update", "patch", "delete")
BOOKMARK_SECONDS = 5.0
MAX_WATCH_SECONDS = 1800.0


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a resource, taken apart."""

    method: str
    resource: Resource
    namespace: str
    name: str
    subresource: str
    query: dict[str, str]
    body: bytes
    content_type: str

    @property
    def verb(self) -> str:
        if self.method == "GET" and not self.name:
            return "watch" if truthy(self.query.get("watch")) else "list"
        return "deletecollection" if self.method == "DELETE" and not self.name else VERBS[self.method]

    @property
    def dry_run(self) -> bool:
        value = self.query.get("dryRun", "")
        if value not in {"", "All"}:
            raise invalid(
                "DeleteOptions",
                "",
                [("FieldValueNotSupported", "dryRun", f'Unsupported value: "{value}": supported values: "All"')],
            )
        return value == "All"


def _rules_status(rules: list[Json]) -> Json:
    status = {"resourceRules": rules, "nonResourceRules": [], "incomplete": False}
    return {
        "kind": "SelfSubjectRulesReview",
        "apiVersion": "authorization.k8s.io/v1",
        "metadata": {},
        "spec": {},
        "status": status,
    }


def truthy(text: str | None) -> bool:
    return text is not None and text.lower() in {"1", "true"}


def reply(body: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")


@dataclass
class KubernetesApi:
    """`denied` holds (verb, resource or resource/subresource, namespace or *) rows that RBAC does not grant.

    `roles` are the rules that it does, by namespace, "" for those of the whole cluster; None grants everything.
    """

    cluster: Cluster
    token: str
    denied: set[tuple[str, str, str]] = field(default_factory=set)
    roles: dict[str, list[Json]] | None = None
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request, path: str) -> web.StreamResponse:
        """Answers one request; `path` is what follows the prefix."""
        try:
            self._authenticate(request)
            found = self._discovery(path)
            if found is not None:
                return reply(found)
            body = await request.read()
            if path == "apis/authorization.k8s.io/v1/selfsubjectaccessreviews" and request.method == "POST":
                return reply(self._access_review(decode(body)), 201)
            if path == "apis/authorization.k8s.io/v1/selfsubjectrulesreviews" and request.method == "POST":
                return reply(self._rules_review(decode(body)), 201)
            call = parse_call(request, path, body)
            self._authorize(call)
            if call.verb == "watch":
                return await self._watch(request, call)
            return self._answer(call)
        except ApiError as problem:
            return reply(problem.body, problem.code)
        except PatchError as problem:
            code = problem.status
            error = ApiError(code, "Invalid" if code == 422 else "BadRequest", str(problem))
            return reply(error.body, code)

    def _authenticate(self, request: web.Request) -> None:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            raise ApiError(401, "Unauthorized", "Unauthorized")

    def _discovery(self, path: str) -> Any:
        path = path.rstrip("/")
        groups = sorted({(r.group, r.version) for r in RESOURCES if r.group})
        if path == "version":
            return VERSION
        if path in {"healthz", "readyz", "livez"}:
            return "ok"
        if path == "api":
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        if path == "apis":
            versions = [{"groupVersion": f"{g}/{v}", "version": v} for g, v in groups]
            rows = [
                {"name": g, "versions": [one], "preferredVersion": one}
                for (g, _), one in zip(groups, versions, strict=True)
            ]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": rows}
        for group, version in [("", "v1"), *groups]:
            prefix = f"apis/{group}/{version}" if group else "api/v1"
            if path == prefix:
                return resource_list(group, version)
        return None

    def _allowed(self, verb: str, group: str, resource: str, namespace: str, name: str = "") -> bool:
        if any(v in {verb, "*"} and r in {resource, "*"} and n in {namespace, "*"} for v, r, n in self.denied):
            return False
        if self.roles is None:
            return True
        rules = [*self.roles.get("", []), *(self.roles.get(namespace, []) if namespace else [])]
        return any(
            group in rule["apiGroups"]
            and resource in rule["resources"]
            and verb in rule["verbs"]
            and (not rule.get("resourceNames") or name in rule["resourceNames"])
            for rule in rules
        )

    def _authorize(self, call: Call) -> None:
        resource = call.resource.plural + (f"/{call.subresource}" if call.subresource else "")
        if not self._allowed(call.verb, call.resource.group, resource, call.namespace, call.name):
            raise forbidden(call.verb, call.resource.group, resource, call.namespace, call.name)

    def _access_review(self, body: Json) -> Json:
        asked = (body.get("spec") or {}).get("resourceAttributes") or {}
        resource = asked.get("resource", "") + (f"/{asked['subresource']}" if asked.get("subresource") else "")
        allowed = self._allowed(
            asked.get("verb", ""), asked.get("group", ""), resource, asked.get("namespace", ""), asked.get("name", "")
        )
        status = {"allowed": allowed, **({} if allowed else {"reason": "no RBAC rule grants this"})}
        return {
            "kind": "SelfSubjectAccessReview",
            "apiVersion": "authorization.k8s.io/v1",
            "metadata": {},
            "spec": body.get("spec") or {},
            "status": status,
        }

    def _rules_review(self, body: Json) -> Json:
        """Everything that is not denied, a rule for each resource; with roles, theirs."""
        namespace = (body.get("spec") or {}).get("namespace", "")
        if self.roles is not None:
            return _rules_status([*self.roles.get("", []), *self.roles.get(namespace, [])])
        served = [(r.group, r.plural) for r in RESOURCES if r.namespaced] + [("", "pods/log")]
        rules = [
            {"apiGroups": [group], "resources": [plural], "verbs": verbs}
            for group, plural in served
            if (verbs := [verb for verb in RULE_VERBS if self._allowed(verb, group, plural, namespace)])
        ]
        return _rules_status(rules)

    def _answer(self, call: Call) -> web.Response:
        handler = SUBRESOURCES.get((call.resource.plural, call.subresource))
        if handler is not None:
            return handler(self, call)
        if call.subresource:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        return METHODS[call.verb](self, call)

    # --- plain objects -----------------------------------------------------------------------------------------------

    def find(self, call: Call) -> Json:
        found = self.cluster.store.get(call.resource.plural, call.namespace, call.name)
        if found is None:
            raise not_found(call.resource.group, call.resource.plural, call.name)
        return found

    def selected(self, call: Call, body: Json) -> bool:
        if call.namespace and body["metadata"].get("namespace", "") != call.namespace:
            return False
        return matches_labels(body, call.query.get("labelSelector", "")) and matches_fields(
            call.resource.plural, body, call.query.get("fieldSelector", "")
        )

    def get(self, call: Call) -> web.Response:
        return reply(self.find(call))

    def list(self, call: Call) -> web.Response:
        store, resource = self.cluster.store, call.resource
        items = [b for b in store.all(resource.plural, call.namespace) if self.selected(call, b)]
        items.sort(key=lambda b: (b["metadata"].get("namespace", ""), b["metadata"]["name"]))
        meta: Json = {"resourceVersion": str(store.version)}
        start, limit = continue_at(call.query.get("continue", "")), int(call.query.get("limit") or 0)
        page = items[start : start + limit] if limit else items[start:]
        left = len(items) - start - len(page)
        if left > 0:
            meta["continue"] = base64.urlsafe_b64encode(str(start + limit).encode()).decode()
            meta["remainingItemCount"] = left
        body = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version, "metadata": meta, "items": page}
        return reply(body)

    def create(self, call: Call) -> web.Response:
        body, resource = self.decoded(call, decode(call.body)), call.resource
        meta = body.setdefault("metadata", {})
        if resource.namespaced:
            meta["namespace"] = call.namespace
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = meta["generateName"] + f"{self.cluster.rng.getrandbits(20):05x}"
        check(resource.plural, resource.group, resource.kind, None, body)
        if self.cluster.store.get(resource.plural, meta.get("namespace", ""), meta["name"]) is not None:
            raise already_exists(resource.group, resource.plural, meta["name"])
        if call.dry_run:
            shown = {**body, "apiVersion": resource.api_version, "kind": resource.kind}
            shown["metadata"] = {
                **meta,
                "uid": "00000000-0000-4000-8000-000000000000",
                "creationTimestamp": rfc3339(self.cluster.clock()),
            }
            return reply(shown, 201)
        return reply(self.cluster.store.create(resource.plural, body), 201)

    def decoded(self, call: Call, body: Json) -> Json:
        """Without the fields that the API does not know. ApiError 400 for them under fieldValidation=Strict."""
        clean, unknown = typed(body)
        if unknown and call.query.get("fieldValidation") == "Strict":
            shown = ", ".join(f'unknown field "{name}"' for name in unknown)
            raise bad_request(
                f'{call.resource.kind} in version "{call.resource.version}" cannot be handled: '
                f"strict decoding error: {shown}"
            )
        result: Json = clean
        return result

    def write(self, call: Call, before: Json, after: Json) -> Json:
        """Checks and stores `after`, unless it is a dry run; the object as it is (or would be)."""
        resource = call.resource
        after = self.decoded(call, after)
        check(resource.plural, resource.group, resource.kind, before, after)
        expected = after["metadata"].get("resourceVersion")
        if expected and expected != before["metadata"]["resourceVersion"]:
            raise conflict(resource.group, resource.plural, call.name)
        if after["metadata"].get("uid", before["metadata"]["uid"]) != before["metadata"]["uid"]:
            given, stored = after["metadata"]["uid"], before["metadata"]["uid"]
            why = f"Precondition failed: UID in precondition: {given}, UID in object meta: {stored}"
            raise conflict(resource.group, resource.plural, call.name, why)
        after = {**after, "status": before["status"]} if "status" in before else after
        if call.dry_run:
            shown = copy.deepcopy(after)
            if "generation" in before["metadata"] and after.get("spec") != before.get("spec"):
                shown["metadata"]["generation"] = before["metadata"]["generation"] + 1
            return shown
        try:
            return self.cluster.store.update(resource.plural, after, expected_version=expected)
        except ConflictError:
            raise conflict(resource.group, resource.plural, call.name) from None

    def update(self, call: Call) -> web.Response:
        before = self.find(call)
        after = decode(call.body)
        after.setdefault("metadata", {}).setdefault("name", call.name)
        if call.resource.namespaced:
            after["metadata"]["namespace"] = call.namespace
        return reply(self.write(call, before, after))

    def patch(self, call: Call) -> web.Response:
        before = self.cluster.store.get(call.resource.plural, call.namespace, call.name)
        if before is None:
            if call.content_type.startswith("application/apply-patch"):
                return self.create(call)
            before = self.find(call)
        after = patched(call, before)
        if call.subresource == "status":
            after = {**before, "status": after.get("status", {})}
        return reply(self.write(call, before, after))

    def delete(self, call: Call) -> web.Response:
        body = self.find(call)
        options = decode(call.body) if call.body else {}
        wanted = options.get("preconditions") or {}
        for key, shown in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
            if wanted.get(key) and wanted[key] != body["metadata"][key]:
                stored = body["metadata"][key]
                why = f"Precondition failed: {shown} in precondition: {wanted[key]}, {shown} in object meta: {stored}"
                raise conflict(call.resource.group, call.resource.plural, call.name, why)
        if call.dry_run or options.get("dryRun") == ["All"]:
            return reply(body)
        if call.resource.plural == "pods":
            grace = options.get("gracePeriodSeconds", call.query.get("gracePeriodSeconds"))
            if str(grace) == "0":
                self.cluster.store.delete("pods", call.namespace, call.name)
                return reply(body)
            return reply(mark_deleted(self.cluster, body))
        self.cluster.store.delete(call.resource.plural, call.namespace, call.name)
        details = {"name": call.name, "kind": call.resource.plural, "uid": body["metadata"]["uid"]}
        return reply({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})

    def refuse(self, call: Call) -> web.Response:
        raise ApiError(405, "MethodNotAllowed", f"the server does not allow {call.verb} here")

    # --- subresources ------------------------------------------------------------------------------------------------

    def log(self, call: Call) -> web.Response:
        pod = self.find(call)
        names = [c["name"] for c in pod["spec"]["containers"]]
        container = call.query.get("container") or names[0]
        if container not in names:
            raise bad_request(f"container {container} is not valid for pod {call.name}")
        previous = truthy(call.query.get("previous"))
        try:
            lines = self.cluster.log(pod, previous=previous)
        except LookupError:
            if previous:
                raise bad_request(
                    f'previous terminated container "{container}" in pod "{call.name}" not found'
                ) from None
            why = self.cluster.container(pod).waiting[0]
            shown = {
                "ErrImagePull": "image can't be pulled",
                "ImagePullBackOff": "trying and failing to pull image",
            }.get(why, why)
            raise bad_request(f'container "{container}" in pod "{call.name}" is waiting to start: {shown}') from None
        if call.query.get("sinceSeconds"):
            since = self.cluster.clock() - int(call.query["sinceSeconds"])
            lines = [pair for pair in lines if pair[0] >= since]
        if call.query.get("tailLines"):
            tail = int(call.query["tailLines"])
            lines = lines[-tail:] if tail else []
        stamped = truthy(call.query.get("timestamps"))
        text = "".join((f"{rfc3339_micro(at)} {line}\n" if stamped else f"{line}\n") for at, line in lines).encode()
        if call.query.get("limitBytes"):
            text = text[: int(call.query["limitBytes"])]
        return web.Response(body=text, content_type="text/plain")

    def evict(self, call: Call) -> web.Response:
        pod = self.find(call)
        body = decode(call.body) if call.body else {}
        labels = pod["metadata"].get("labels") or {}
        for budget in self.cluster.store.all("poddisruptionbudgets", call.namespace):
            wanted = budget["spec"]["selector"]["matchLabels"]
            covered = all(labels.get(k) == v for k, v in wanted.items())
            alike = [
                p for p in self.cluster.pods(labels.get("app", "")) if p["metadata"]["uid"] != pod["metadata"]["uid"]
            ]
            ready = sum(self.cluster.container(p).ready for p in alike)
            if covered and ready < int(budget["spec"]["minAvailable"]):
                text = "Cannot evict pod as it would violate the pod's disruption budget."
                raise ApiError(429, "TooManyRequests", text)
        if not call.dry_run and (body.get("deleteOptions") or {}).get("dryRun") != ["All"]:
            mark_deleted(self.cluster, pod)
        return reply({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}, 201)

    def scale(self, call: Call) -> web.Response:
        before = self.find(call)
        if call.method == "GET":
            return reply(scale_of(before))
        shown = scale_of(before)
        after_scale = patched(call, shown) if call.method == "PATCH" else decode(call.body)
        replicas = (after_scale.get("spec") or {}).get("replicas", 0)
        after = copy.deepcopy(before)
        after["spec"]["replicas"] = replicas
        version = (after_scale.get("metadata") or {}).get("resourceVersion")
        if version:
            after["metadata"]["resourceVersion"] = version
        return reply(scale_of(self.write(call, before, after)))

    def status(self, call: Call) -> web.Response:
        if call.method == "GET":
            return self.get(call)
        before = self.find(call)
        after = patched(call, before) if call.method == "PATCH" else decode(call.body)
        if call.dry_run:
            return reply({**before, "status": after.get("status", {})})
        return reply(self.cluster.store.set_status(call.resource.plural, before, after.get("status", {})))

    # --- watch -------------------------------------------------------------------------------------------------------

    async def _watch(self, request: web.Request, call: Call) -> web.StreamResponse:
        """Streams changes as JSON lines until the timeout, the client or the server ends it."""
        store = self.cluster.store
        matches_fields(call.resource.plural, {"metadata": {}}, call.query.get("fieldSelector", ""))
        asked = call.query.get("resourceVersion", "")
        try:
            last = int(asked) if asked not in {"", "0"} else store.version
            if asked not in {"", "0"}:
                store.since(last, call.resource.plural)
        except ValueError:
            raise bad_request(f'Invalid value: "{asked}": must be a resource version') from None
        except GoneError as problem:
            raise ApiError(410, "Expired", str(problem)) from None
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        if asked in {"", "0"}:
            for body in store.all(call.resource.plural, call.namespace):
                if self.selected(call, body):
                    await send(response, "ADDED", body)
        try:
            await self._stream(response, call, last)
        except (ConnectionResetError, ConnectionAbortedError):
            return response  # the client left; nothing is lost
        return response

    async def _stream(self, response: web.StreamResponse, call: Call, last: int) -> None:
        store, loop = self.cluster.store, asyncio.get_running_loop()
        end = loop.time() + min(float(call.query.get("timeoutSeconds") or MAX_WATCH_SECONDS), MAX_WATCH_SECONDS)
        bookmarks = truthy(call.query.get("allowWatchBookmarks"))
        next_bookmark = loop.time() + BOOKMARK_SECONDS
        while not self.closing.is_set() and loop.time() < end:
            store, changed = self.cluster.store, self.cluster.store.changed
            try:
                changes = store.since(last, call.resource.plural)
            except GoneError as problem:
                await send(response, "ERROR", ApiError(410, "Expired", str(problem)).body)
                return
            last = max(last, store.version)
            for change in changes:
                event = self._event(call, change)
                if event is not None:
                    await send(response, *event)
            if bookmarks and loop.time() >= next_bookmark:
                next_bookmark = loop.time() + BOOKMARK_SECONDS
                meta = {"resourceVersion": str(last), "creationTimestamp": None}
                body = {"kind": call.resource.kind, "apiVersion": call.resource.api_version, "metadata": meta}
                await send(response, "BOOKMARK", body)
            if not changes:
                until = min(end, next_bookmark) - loop.time()
                await wait_any((changed, self.closing), max(until, 0.01))
        if bookmarks and not self.closing.is_set():
            meta = {"resourceVersion": str(last), "creationTimestamp": None}
            await send(
                response,
                "BOOKMARK",
                {"kind": call.resource.kind, "apiVersion": call.resource.api_version, "metadata": meta},
            )

    def _event(self, call: Call, change: Change) -> tuple[str, Json] | None:
        """What a watcher with this selector sees of a change."""
        seen_before = change.before is not None and self.selected(call, change.before)
        seen_after = change.after is not None and self.selected(call, change.after)
        if seen_after and change.after is not None:
            return ("MODIFIED" if seen_before else "ADDED"), change.after
        if seen_before and change.before is not None:
            body = change.after or change.before
            return "DELETED", body
        return None


async def wait_any(events: tuple[asyncio.Event, ...], seconds: float) -> None:
    """Returns when one of the events is set or after so many seconds."""
    tasks = [asyncio.ensure_future(e.wait()) for e in events]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def send(response: web.StreamResponse, kind: str, body: Json) -> None:
    await response.write(orjson.dumps({"type": kind, "object": body}) + b"\n")


def decode(body: bytes) -> Json:
    """The JSON (or YAML) object of a request body. ApiError 400 when it is none."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            value = yaml.safe_load(body)
        except yaml.YAMLError:
            value = None
    if not isinstance(value, dict):
        raise bad_request("the object provided is unrecognized (must be of type JSON object)")
    return value


def patched(call: Call, before: Json) -> Json:
    """The object after the patch, by the patch's media type. ApiError 415 for an unknown one."""
    kind = call.content_type
    if kind == "application/json-patch+json":
        return json_patch(before, orjson.loads(call.body))
    if kind == "application/merge-patch+json":
        merged: Json = merge_patch(before, decode(call.body))
        return merged
    if kind == "application/strategic-merge-patch+json":
        result: Json = strategic_merge(before, decode(call.body))
        return result
    if kind.startswith("application/apply-patch"):
        if not call.query.get("fieldManager"):
            raise bad_request(
                'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
            )
        applied: Json = strategic_merge(before, decode(call.body))
        return applied
    text = (
        "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, "
        "application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml"
    )
    raise ApiError(415, "UnsupportedMediaType", text)


def scale_of(body: Json) -> Json:
    meta = body["metadata"]
    labels = body["spec"]["selector"]["matchLabels"]
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {k: meta[k] for k in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")},
        "spec": {"replicas": body["spec"].get("replicas", 1)},
        "status": {
            "replicas": body.get("status", {}).get("replicas", 0),
            "selector": ",".join(f"{k}={v}" for k, v in labels.items()),
        },
    }


def continue_at(token: str) -> int:
    try:
        return int(base64.urlsafe_b64decode(token.encode()).decode()) if token else 0
    except ValueError:
        raise bad_request("continue key is not valid") from None


def resource_list(group: str, version: str) -> Json:
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    rows = [
        {"name": r.plural, "singularName": r.kind.lower(), "namespaced": r.namespaced, "kind": r.kind, "verbs": verbs}
        for r in RESOURCES
        if (r.group, r.version) == (group, version)
    ]
    name = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": rows}


def parse_call(request: web.Request, path: str, body: bytes) -> Call:
    """Takes /api/v1/… or /apis/group/version/… apart. ApiError 404 for anything that is not served."""
    parts = [p for p in path.split("/") if p]
    unknown = ApiError(404, "NotFound", "the server could not find the requested resource")
    if parts[:2] == ["api", "v1"]:
        group, version, rest = "", "v1", parts[2:]
    elif parts[:1] == ["apis"] and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        raise unknown
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    resource = BY_ADDRESS.get((group, version, rest[0])) if rest else None
    if resource is None or len(rest) > 3 or request.method not in VERBS:
        raise unknown
    name, sub = (rest[1] if len(rest) > 1 else ""), (rest[2] if len(rest) > 2 else "")
    if name and resource.namespaced and not namespace:
        raise unknown
    content_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return Call(request.method, resource, namespace, name, sub, dict(request.query), body, content_type)


Handler = Callable[[KubernetesApi, Call], web.Response]
METHODS: dict[str, Handler] = {
    "get": KubernetesApi.get,
    "list": KubernetesApi.list,
    "create": KubernetesApi.create,
    "update": KubernetesApi.update,
    "patch": KubernetesApi.patch,
    "delete": KubernetesApi.delete,
    "deletecollection": KubernetesApi.refuse,
}
SUBRESOURCES: dict[tuple[str, str], Handler] = {
    ("pods", "log"): KubernetesApi.log,
    ("pods", "eviction"): KubernetesApi.evict,
    ("pods", "status"): KubernetesApi.status,
    ("deployments", "scale"): KubernetesApi.scale,
    ("deployments", "status"): KubernetesApi.status,
    ("statefulsets", "scale"): KubernetesApi.scale,
    ("replicasets", "scale"): KubernetesApi.scale,
}
