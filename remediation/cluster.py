"""Kubernetes through the official client's own asynchronous half; the only file that imports that library.

Objects travel as plain JSON: the client's models of all of Kubernetes would cost more memory than the rest of the bot,
and refuse fields of servers newer than themselves.
"""

import asyncio
import contextlib
import json
import random
import time
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import stamina
import structlog
import yaml

from knowledge.errors import CodeHealerError, Refused, SettingsError, Unavailable
from knowledge.network import proxy_for
from remediation import kube
from remediation.cluster_errors import error_of
from remediation.credential_program import CredentialProgram
from remediation.ports import FIELD_MANAGER, Json
from remediation.watch_lines import Expired, change_of, lines
from remediation.writes import noted

log = structlog.get_logger(__name__)

READ_DEADLINE_S = 10.0
WRITE_DEADLINE_S = 15.0
READ_ATTEMPTS = 3
# Of a log this much is kept, its end, and at most this much is read.
LOG_BYTES = 256 * 1024
MAX_LOG_BYTES = 8_000_000
FEWER_LINES = 10
PAGE = 500
MAX_LISTED = 2000
WATCH_SECONDS = 240
BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
QUEUE_LENGTH = 1000
# A watch that ends sooner was not ended by its own time.
SHORT_WATCH_S = 0.9
# A connection breaks now and then; so many failures in a row are a trouble.
TOLD_AFTER = 3
_TOLD = frozenset({"ADDED", "MODIFIED", "DELETED"})
RENEW_AFTER_S = 60.0
# A program of a cloud provider's takes seconds.
SIGN_IN_DEADLINE_S = 15.0
# What a person must mend, such as a missing permission, is tried again so seldom.
MENDED_S = 60.0

_PATHS = {
    "Pod": ("/api/v1", "v1", "pods"),
    "Event": ("/api/v1", "v1", "events"),
    "Node": ("/api/v1", "v1", "nodes"),
    "PersistentVolumeClaim": ("/api/v1", "v1", "persistentvolumeclaims"),
    "ResourceQuota": ("/api/v1", "v1", "resourcequotas"),
    "LimitRange": ("/api/v1", "v1", "limitranges"),
    "ConfigMap": ("/api/v1", "v1", "configmaps"),
    "Secret": ("/api/v1", "v1", "secrets"),
    "Job": ("/apis/batch/v1", "batch/v1", "jobs"),
    "Deployment": ("/apis/apps/v1", "apps/v1", "deployments"),
    "ReplicaSet": ("/apis/apps/v1", "apps/v1", "replicasets"),
    "StatefulSet": ("/apis/apps/v1", "apps/v1", "statefulsets"),
    "DaemonSet": ("/apis/apps/v1", "apps/v1", "daemonsets"),
    "ControllerRevision": ("/apis/apps/v1", "apps/v1", "controllerrevisions"),
    "HorizontalPodAutoscaler": ("/apis/autoscaling/v2", "autoscaling/v2", "horizontalpodautoscalers"),
    # Of operators that a cluster may not have: asking for these is answered with 404 there.
    "ScaledObject": ("/apis/keda.sh/v1alpha1", "keda.sh/v1alpha1", "scaledobjects"),
    "VerticalPodAutoscaler": ("/apis/autoscaling.k8s.io/v1", "autoscaling.k8s.io/v1", "verticalpodautoscalers"),
    "Kustomization": ("/apis/kustomize.toolkit.fluxcd.io/v1", "kustomize.toolkit.fluxcd.io/v1", "kustomizations"),
    "HelmRelease": ("/apis/helm.toolkit.fluxcd.io/v2", "helm.toolkit.fluxcd.io/v2", "helmreleases"),
}


@dataclass(frozen=True, slots=True)
class ClusterAccess:
    """How to reach one cluster: a kubeconfig file and, if not its current one, a context."""

    kubeconfig: Path
    context: str | None = None


@dataclass
class KubernetesCluster:
    """Several clusters by name, each connected at its first use. Implements `ports.Cluster`."""

    clusters: Mapping[str, ClusterAccess]
    _clients: dict[str, Any] = field(default_factory=dict)
    _connected_at: dict[str, float] = field(default_factory=dict)
    _retired: dict[str, Any] = field(default_factory=dict)
    _locks: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    # When a sign-in failed last, and what is said of it.
    _failed: dict[str, tuple[float, str]] = field(default_factory=dict)
    _unwatched: dict[tuple[str, str, str], str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.clusters)

    async def aclose(self) -> None:
        clients = [*self._clients.values(), *self._retired.values()]
        self._clients, self._retired = {}, {}
        for client in clients:
            await client.close()

    # --- reading ------------------------------------------------------------------------------------------------

    async def get(self, cluster: str, kind: str, namespace: str, name: str) -> Json:
        body: Json = await self._read(cluster, _path(kind, namespace, name))
        return _typed(body, kind)

    async def list(
        self, cluster: str, kind: str, namespace: str, *, labels: Mapping[str, str] | None = None, fields: str = ""
    ) -> list[Json]:
        found: list[Json] = []
        async for page in self._pages(cluster, kind, namespace, labels=labels, fields=fields):
            found.extend(_typed(item, kind) for item in page.get("items") or [])
            if len(found) >= MAX_LISTED:
                log.warning("cluster.list_bounded", kind=kind, namespace=namespace, kept=MAX_LISTED)
                break
        return found[:MAX_LISTED]

    async def _pages(
        self, cluster: str, kind: str, namespace: str, *, labels: Mapping[str, str] | None = None, fields: str = ""
    ) -> AsyncIterator[Json]:
        query: dict[str, str] = {"limit": str(PAGE)}
        if labels:
            query["labelSelector"] = ",".join(f"{k}={v}" for k, v in sorted(labels.items()))
        if fields:
            query["fieldSelector"] = fields
        while True:
            page: Json = await self._read(cluster, _path(kind, namespace), query)
            yield page
            more = (page.get("metadata") or {}).get("continue")
            if not more:
                return
            query["continue"] = more

    async def logs(
        self, cluster: str, namespace: str, pod: str, container: str, *, previous: bool = False, tail_lines: int = 400
    ) -> tuple[str, int]:
        query = {"limitBytes": str(MAX_LOG_BYTES)}
        if container:
            query["container"] = container
        if previous:
            query["previous"] = "true"
        path, seen = f"{_path('Pod', namespace, pod)}/log", 0
        while True:
            query["tailLines"] = str(tail_lines)
            end, total = await self._read(cluster, path, query, text=True)
            seen = max(seen, total)
            # The limit counts from the first of the lines: where it is reached, the newest are missing.
            # What is returned may be slightly less than the limit.
            if total < MAX_LOG_BYTES - LOG_BYTES or tail_lines <= 1:
                break
            tail_lines = max(1, tail_lines // FEWER_LINES)
        if len(end) < total:
            # At a whole line: of a secret that is cut in two, nobody would know that it is one.
            end = end.partition(b"\n")[2] or end
        return end.decode("utf-8", "replace"), seen - len(end)

    async def version(self, cluster: str) -> str:
        body: Json = await self._read(cluster, "/version")
        return str(body.get("gitVersion", ""))

    async def rules(self, cluster: str, namespace: str) -> tuple[Json, ...]:
        review: Json = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectRulesReview",
            "spec": {"namespace": namespace},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
        body: Json = await self._request(cluster, "POST", path, body=review, deadline_s=READ_DEADLINE_S)
        return tuple((body.get("status") or {}).get("resourceRules") or ())

    async def _read(
        self, cluster: str, path: str, query: Mapping[str, str] | None = None, *, text: bool = False
    ) -> Any:
        """A GET, tried again on passing faults."""
        async for attempt in stamina.retry_context(
            on=Unavailable, attempts=READ_ATTEMPTS, wait_initial=0.2, wait_max=2.0, timeout=3 * READ_DEADLINE_S
        ):
            with attempt:
                return await self._request(cluster, "GET", path, query, deadline_s=READ_DEADLINE_S, text=text)
        raise AssertionError("unreachable: the last attempt returns or raises")

    # --- writing: never tried again by itself ---------------------------------------------------------------------

    async def delete_pod(self, cluster: str, namespace: str, name: str, *, uid: str, dry_run: bool = False) -> None:
        body: Json = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        if dry_run:
            body["dryRun"] = ["All"]
        path = _path("Pod", namespace, name)
        with noted(f"Kubernetes {cluster}".rstrip(), f"DELETE {path}{'?dryRun=All' if dry_run else ''}"):
            await self._request(cluster, "DELETE", path, body=body, deadline_s=WRITE_DEADLINE_S)

    async def patch(
        self,
        cluster: str,
        kind: str,
        namespace: str,
        name: str,
        operations: Sequence[Json],
        *,
        dry_run: bool = False,
    ) -> Json:
        query = {"fieldManager": FIELD_MANAGER}
        if dry_run:
            query["dryRun"] = "All"
        path = _path(kind, namespace, name)
        with noted(f"Kubernetes {cluster}".rstrip(), f"PATCH {path}{'?dryRun=All' if dry_run else ''}"):
            body: Json = await self._request(
                cluster, "PATCH", path, query, body=list(operations), deadline_s=WRITE_DEADLINE_S
            )
        return _typed(body, kind)

    # --- one request ----------------------------------------------------------------------------------------------

    async def read_access(self) -> None:
        """Read every kubeconfig without asking its cluster, so that a wrong one is told at the start.

        Raises:
            SettingsError: which cluster's kubeconfig is missing or cannot be used.
        """
        for name in self.clusters:
            try:
                await self._client(name)
            except Unavailable as error:  # it is tried again when that cluster is asked
                log.warning("cluster.not_signed_in", cluster=name, error=str(error))

    async def _client(self, cluster: str) -> tuple[str, Any]:
        name = cluster or next(iter(self.clusters), "")
        access = self.clusters.get(name)
        if access is None:
            raise Refused(f"The cluster '{name}' is not known. List it under clusters in policy.yaml.")
        if name not in self._clients:
            await self._sign_in(name, access)
        return name, self._clients[name]

    async def _sign_in(self, name: str, access: ClusterAccess) -> None:
        """Who waited while it failed is told the same, instead of running the cluster's program one after the other."""
        clock = asyncio.get_running_loop().time
        came = clock()
        # A lock each: where one cluster's program fails or hangs, no other cluster waits for it.
        async with self._locks[name]:
            if name in self._clients:
                return
            failed_at, why = self._failed.get(name, (came, ""))
            if failed_at > came:
                raise Unavailable(why)
            try:
                self._clients[name] = await _connect(name, access)
            except Unavailable as error:
                self._failed[name] = (clock(), str(error))
                raise
            self._connected_at[name] = clock()

    async def _renewed(self, name: str, client: Any) -> bool:
        """After a 401: reads the kubeconfig again, as tokens of cloud providers end every quarter of an hour.

        False when the token is too new for that to be the reason.
        """
        if self._clients.get(name) is not client:
            return True  # another request has done it
        if asyncio.get_running_loop().time() - self._connected_at[name] < RENEW_AFTER_S:
            return False
        # Requests may still be under way on it, so it is closed only when the next one retires.
        before = self._retired.pop(name, None)
        self._retired[name] = self._clients.pop(name)
        if before is not None:
            await before.close()
        return True

    async def _request(
        self,
        cluster: str,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        deadline_s: float,
        body: Any = None,
        text: bool = False,
    ) -> Any:
        """The reply's JSON; with `text` the end of its bytes and how many there were."""
        name, client = await self._client(cluster)
        write = method != "GET"
        try:
            async with asyncio.timeout(deadline_s):
                response = await _send(client, method, path, query, body=body, timeout_s=deadline_s)
                if text:
                    async with response.response:
                        data, total = await _end_of(response.response.content)
                else:
                    data = await response.read()
        except (TimeoutError, aiohttp.ServerTimeoutError) as error:
            text_ = f"Cluster {name} did not answer within {deadline_s:.0f} s. Check its API server and the network."
            raise Unavailable(text_, maybe_done=write) from error
        except aiohttp.ClientConnectorError as error:
            # Nothing was sent, so nothing can have happened.
            raise Unavailable(
                f"Cluster {name} cannot be reached ({error}). Check the address in its kubeconfig."
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"The connection to cluster {name} broke ({error}).", maybe_done=write) from error
        if response.status == 401 and await self._renewed(name, client):
            return await self._request(cluster, method, path, query, deadline_s=deadline_s, body=body, text=text)
        if not 200 <= response.status <= 299:
            raise error_of(name, f"{method} {path}", response, data)
        if text:
            return data, total
        try:
            return json.loads(data)
        except ValueError as error:
            message = f"Cluster {name} answered {method} {path} with something that is not JSON. Is its address right?"
            raise Unavailable(message, maybe_done=write) from error

    # --- watching -------------------------------------------------------------------------------------------------

    async def watch_pods(self, cluster: str, namespaces: Sequence[str] = ()) -> AsyncGenerator[Json, None]:
        """Pods and warning events, first as they are, then as they change; each is a JSON object with its kind.

        What was deleted comes once more with `deleted` true. After a broken connection the watch goes on where it
        stopped; when the server has forgotten that place (410) everything is listed again, so an observation may be
        seen twice, never missed.
        A kind or namespace that the cluster refuses is left out with a warning until it is permitted; it ends when
        nothing is left. Close it (`aclose`) to end its two connections.
        """
        queue: asyncio.Queue[Json] = asyncio.Queue(QUEUE_LENGTH)
        left_out: set[tuple[str, str]] = set()

        async def watch(kind: str, namespace: str, wait_s: float = 0.0) -> None:
            await asyncio.sleep(wait_s)
            left_out.discard((kind, namespace))
            await self._watch(cluster, kind, namespace, queue)

        among = tuple(dict.fromkeys(namespaces)) or ("",)
        places = [(kind, namespace) for kind in ("Pod", "Event") for namespace in among]
        tasks = {asyncio.create_task(watch(*place)): place for place in places}
        getter: asyncio.Task[Json] | None = None
        try:
            while True:
                getter = asyncio.create_task(queue.get())
                done, _ = await asyncio.wait([getter, *tasks], return_when=asyncio.FIRST_COMPLETED)
                if getter in done:
                    yield getter.result()
                    continue
                getter.cancel()
                for ended in [task for task in tasks if task in done]:
                    place = tasks.pop(ended)
                    self._leave_out(cluster, *place, ended.exception())
                    left_out.add(place)
                    if len(left_out) == len(places):
                        ended.result()  # a watch ends only by an error
                    tasks[asyncio.create_task(watch(*place, MENDED_S))] = place
        finally:
            ending = [*tasks, *([getter] if getter else [])]
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)

    def _leave_out(self, cluster: str, kind: str, namespace: str, error: BaseException | None) -> None:
        """Say what is not watched for now, and why."""
        known = isinstance(error, CodeHealerError)
        why = str(error) if known else type(error).__name__
        self._unwatched[cluster, kind, namespace] = why
        log.warning(
            "cluster.watch_left_out", kind=kind, namespace=namespace or "all", error=why, again_in_s=MENDED_S,
            exc_info=None if known else error,
        )  # fmt: skip

    def unwatched(self) -> str | None:
        """What of the watches that were begun is not seen, with the reason; None where all is."""
        found = [
            f"{kind}s of {namespace or 'all namespaces'} of {cluster}: {why.rstrip('.')}"
            for (cluster, kind, namespace), why in self._unwatched.items()
        ]
        return "; ".join(found) or None

    async def _watch(self, cluster: str, kind: str, namespace: str, queue: asyncio.Queue[Json]) -> None:
        """Lists, then watches, for ever. Raises what a person must mend (Refused, SettingsError), waits out faults."""
        version, failures, place = "", 0, (cluster, kind, namespace)
        while True:
            began = time.monotonic()
            try:
                if not version:
                    version = await self._list_into(cluster, kind, namespace, queue)
                    self._unwatched.pop(place, None)
                async for change in self._changes(cluster, kind, namespace, version):
                    version = change["object"]["metadata"]["resourceVersion"]
                    failures = 0
                    self._unwatched.pop(place, None)
                    if change["type"] in _TOLD:
                        gone = {"deleted": True} if change["type"] == "DELETED" else {}
                        await queue.put(_typed(change["object"], kind) | gone)
                if time.monotonic() - began >= SHORT_WATCH_S:
                    self._unwatched.pop(place, None)
                    continue  # it ended after its time, as asked for
                why, wait_s = "it ended at once", 0.0
            except Expired:
                version, why, wait_s = "", "410", 0.0
            except Unavailable as error:
                why, wait_s = str(error), error.retry_after_s or 0.0
            if why == "410" and not failures:
                failures = 1  # a first time costs a new list and nothing more
                continue
            # With jitter, so that replicas and namespaces do not come back all at once.
            wait_s = wait_s or BACKOFF_S[min(failures, len(BACKOFF_S) - 1)] * random.uniform(0.5, 1.0)  # noqa: S311
            log.info("cluster.watch_interrupted", kind=kind, error=why, again_in_s=round(wait_s, 2))
            failures += 1
            if failures >= TOLD_AFTER:
                self._unwatched[place] = why
            await asyncio.sleep(wait_s)

    async def _list_into(self, cluster: str, kind: str, namespace: str, queue: asyncio.Queue[Json]) -> str:
        version = ""
        async for page in self._pages(cluster, kind, namespace, fields=_watched_fields(kind)):
            version = str((page.get("metadata") or {}).get("resourceVersion", ""))
            for item in page.get("items") or []:
                await queue.put(_typed(item, kind))
        return version

    async def _changes(self, cluster: str, kind: str, namespace: str, version: str) -> AsyncIterator[Json]:
        """One watch connection's changes, bookmarks included. Expired on 410, Unavailable when it breaks."""
        name, client = await self._client(cluster)
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        fields = _watched_fields(kind)
        if fields:
            query["fieldSelector"] = fields
        # A connection that says nothing, not even a bookmark, for longer than the server was asked to keep it is dead.
        timeout = aiohttp.ClientTimeout(total=WATCH_SECONDS + 30, sock_connect=READ_DEADLINE_S)
        try:
            response = await _send(client, "GET", _path(kind, namespace), query, timeout_s=timeout)
            async with contextlib.AsyncExitStack() as stack:
                stack.callback(response.response.close)
                if response.status != 200:
                    data = await response.read()
                    if response.status == 410:
                        raise Expired
                    if response.status == 401 and await self._renewed(name, client):
                        raise Unavailable(f"The token for cluster {name} was renewed.")
                    raise error_of(name, f"GET {_path(kind, namespace)}", response, data)
                async for line in lines(response.response.content.iter_any()):
                    change = change_of(line)
                    if change is not None:
                        yield change
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"The watch on cluster {name} broke ({error}).") from error


def _watched_fields(kind: str) -> str:
    return "type=Warning" if kind == "Event" else ""


def _path(kind: str, namespace: str, name: str = "") -> str:
    if kind not in _PATHS:
        raise Refused(f"CodeHealer does not work with objects of kind {kind}.")
    for given in filter(None, (namespace, name)):
        if not kube.valid_name(given):
            raise Refused(f"'{given[:80]}' is no name that Kubernetes could have given. Look at where it comes from.")
    prefix, _, plural = _PATHS[kind]
    parts = [prefix]
    if namespace:
        parts += ["namespaces", quote(namespace, safe="")]
    parts.append(plural)
    if name:
        parts.append(quote(name, safe=""))
    return "/".join(parts)


def _typed(body: Json, kind: str) -> Json:
    """Items of a list come without kind and apiVersion."""
    return {"apiVersion": _PATHS[kind][1], "kind": kind, **body}


def _forget_removed_files() -> None:
    """The loader writes what is embedded in a kubeconfig into temporary files, remembers them by their content, and
    refuses a kubeconfig whose file somebody has cleaned away, rather than writing it anew."""
    from kubernetes.aio.config import kube_config  # noqa: PLC0415

    files: dict[str, str] = getattr(kube_config, "_temp_files", {})
    for content in [content for content, file in files.items() if not Path(file).is_file()]:
        del files[content]


def _program_of(access: ClusterAccess, user: object) -> str:
    """The program that this user of a kubeconfig gets its credentials from; "" where there is none."""
    users = yaml.safe_load(access.kubeconfig.read_text()).get("users") or []
    found: Json = next((one.get("user") or {} for one in users if one.get("name") == user), {})
    return str(found["exec"].get("command") or "exec") if "exec" in found else ""


async def _connect(name: str, access: ClusterAccess) -> Any:
    """A client that is signed in. Raises SettingsError for a kubeconfig that cannot be used, and Unavailable where
    the program that it names gives no credentials, or none in time."""
    # Imported at first use: the client's models take half a second and 50 MB.
    from kubernetes.aio import config  # noqa: PLC0415
    from kubernetes.aio.client import ApiClient, Configuration  # noqa: PLC0415
    from kubernetes.aio.config import kube_config  # noqa: PLC0415

    if not access.kubeconfig.is_file():
        raise SettingsError(f"Cluster {name}: the kubeconfig {access.kubeconfig} does not exist. Set KUBECONFIG.")
    configuration = Configuration()
    load: Any = config.load_kube_config  # has no annotations
    _forget_removed_files()
    kube_config.ExecProvider = CredentialProgram
    try:
        async with asyncio.timeout(SIGN_IN_DEADLINE_S):
            loaded = await load(
                str(access.kubeconfig), context=access.context, client_configuration=configuration, persist_config=False
            )
        program = _program_of(access, loaded.current_context["context"].get("user"))
    except TimeoutError as error:
        what = f"what its kubeconfig signs in with gave no credentials within {SIGN_IN_DEADLINE_S:g} s"
        raise Unavailable(f"Cluster {name}: {what}. Run it by hand.") from error
    except (config.ConfigException, OSError, ValueError, yaml.YAMLError) as error:
        why = str(error).partition("\n")[0]
        message = f"Cluster {name}: the kubeconfig {access.kubeconfig} cannot be used ({why}). Set KUBECONFIG right."
        raise SettingsError(message) from error
    except (TypeError, AttributeError) as error:  # the loader does not look at what it reads
        message = f"Cluster {name}: {access.kubeconfig} is no kubeconfig. Set KUBECONFIG right."
        raise SettingsError(message) from error
    # The loader logs the failure and goes on. A client without credentials is told 403 and not 401, so it would stay.
    if program and not configuration.api_key and not configuration.cert_file:
        message = f"Cluster {name}: {program}, which its kubeconfig names, gave no credentials. Run it by hand."
        raise Unavailable(message)
    configuration.proxy = configuration.proxy or proxy_for(configuration.host)
    client = ApiClient(configuration)
    client.user_agent = "codehealer"
    return client


async def _end_of(content: aiohttp.StreamReader) -> tuple[bytes, int]:
    """The last bytes of a log, holding no more than twice as many, and how many were read."""
    kept: deque[bytes] = deque()
    held = total = 0
    # One read gives what has come so far, which of a log are its oldest lines.
    async for chunk in content.iter_any():
        kept.append(chunk)
        held, total = held + len(chunk), total + len(chunk)
        while held - len(kept[0]) >= LOG_BYTES:
            held -= len(kept.popleft())
        if total > MAX_LOG_BYTES:
            break
    return b"".join(kept)[-LOG_BYTES:], total


async def _send(
    client: Any,
    method: str,
    path: str,
    query: Mapping[str, str] | None,
    *,
    timeout_s: float | aiohttp.ClientTimeout,
    body: Any = None,
) -> Any:
    headers = {"Accept": "application/json, */*"}
    if method == "PATCH":
        headers["Content-Type"] = "application/json-patch+json"
    verb, url, header_params, sent, posted = await client.param_serialize(
        method, path, query_params=dict(query or {}), header_params=headers, body=body, auth_settings=["BearerToken"]
    )
    timeout = timeout_s if isinstance(timeout_s, aiohttp.ClientTimeout) else aiohttp.ClientTimeout(total=timeout_s)
    return await client.call_api(verb, url, header_params, sent, posted, _request_timeout=timeout)
