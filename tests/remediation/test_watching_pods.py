"""The watch on pods and warning events: what it says, and that it outlives what real clusters do to it."""

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from knowledge.errors import Refused, SettingsError
from remediation.cluster import ClusterAccess, KubernetesCluster
from tests.remediation.site import Site, kubeconfig


@contextlib.asynccontextmanager
async def watching(site: Site, *namespaces: str) -> Any:
    """The observations so far, growing while the block runs."""
    assert site.clients.cluster is not None
    seen: list[dict[str, Any]] = []
    stream = site.clients.cluster.watch_pods("sandbox", namespaces)

    async def read() -> None:
        async with contextlib.aclosing(stream):  # type: ignore[type-var]
            async for body in stream:
                seen.append(body)  # noqa: PERF401  the caller looks at it while it grows

    task = asyncio.create_task(read())
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def pods(seen: list[dict[str, Any]]) -> set[str]:
    return {o["metadata"]["name"] for o in seen if o["kind"] == "Pod"}


def unwatched(site: Site) -> str | None:
    assert site.clients.cluster is not None
    return site.clients.cluster.unwatched()


def crashes(seen: list[dict[str, Any]]) -> bool:
    return any(
        (c.get("state") or {}).get("waiting", {}).get("reason") == "CrashLoopBackOff"
        for o in seen
        if o["kind"] == "Pod"
        for c in o.get("status", {}).get("containerStatuses") or []
    )


async def test_every_pod_is_seen_first_and_then_each_change(site: Site) -> None:
    async with watching(site) as seen:
        await site.until(lambda: len(pods(seen)) >= 19, "all pods are listed")
        assert all(o["apiVersion"] == "v1" for o in seen)
        await site.world.break_("release-crash-checkout")
        await site.until(lambda: crashes(seen), "the crash is seen")
        await site.until(lambda: any(o["kind"] == "Event" for o in seen), "an event is seen")
        assert {o["type"] for o in seen if o["kind"] == "Event"} == {"Warning"}


async def test_only_the_named_namespaces_are_watched(site: Site) -> None:
    async with watching(site, "payments", "dev") as seen:
        await site.until(lambda: len(pods(seen)) >= 5, "the pods are listed")
        assert {o["metadata"]["namespace"] for o in seen} == {"payments", "dev"}


async def test_a_version_that_the_server_has_forgotten_leads_to_a_new_list(site: Site) -> None:
    async with watching(site) as seen:
        await site.until(lambda: len(pods(seen)) >= 19, "all pods are listed")
        await site.world.reset()  # the store is compacted: open watches are told 410
        await site.world.break_("release-crash-checkout")
        await site.until(lambda: crashes(seen), "the crash is seen after the 410")


async def test_errors_of_the_server_are_waited_out(site: Site, monkeypatch: Any) -> None:
    monkeypatch.setattr("remediation.cluster.BACKOFF_S", (0.05,))
    site.world.faults["k8s"].update(error_next=10_000, status=503)
    async with watching(site) as seen:
        await site.until(lambda: "503" in (unwatched(site) or ""), "a trouble that lasts is told")
        site.world.faults["k8s"].update(error_next=0)
        await site.until(lambda: len(pods(seen)) >= 19, "all pods are listed after the errors")
        await site.until(lambda: unwatched(site) is None, "it is told no more")


async def test_a_connection_that_ends_is_taken_up_where_it_stopped(site: Site, monkeypatch: Any) -> None:
    monkeypatch.setattr("remediation.cluster.WATCH_SECONDS", 1)
    async with watching(site) as seen:
        await site.until(lambda: len(pods(seen)) >= 19, "all pods are listed")

        def watches() -> int:
            return sum(1 for r in site.world.requests if r["query"].get("watch") == "true")

        first = watches()
        await site.until(lambda: watches() >= first + 2, "the watch was opened again")
        lists = [r for r in site.world.requests if r["path"] == "/k8s/api/v1/pods" and "watch" not in r["query"]]
        assert len(lists) == 1
        await site.world.break_("release-crash-checkout")
        await site.until(lambda: crashes(seen), "the crash is seen")


async def test_what_is_refused_is_left_out_and_the_rest_is_watched(site: Site) -> None:
    site.world.kubernetes.denied.add(("list", "events", "*"))
    async with watching(site) as seen:
        await site.until(lambda: len(pods(seen)) >= 19, "all pods are listed")
        await site.world.break_("release-crash-checkout")
        await site.until(lambda: crashes(seen), "the crash is seen")
        assert {o["kind"] for o in seen} == {"Pod"}
        told = unwatched(site) or ""
        assert told.startswith("Events of all namespaces of sandbox: ")
        assert "Pods" not in told


async def test_what_is_permitted_later_is_watched_from_then_on(site: Site, monkeypatch: Any) -> None:
    monkeypatch.setattr("remediation.cluster.MENDED_S", 0.05)
    site.world.kubernetes.denied.add(("list", "events", "*"))
    async with watching(site) as seen:
        await site.until(lambda: len(pods(seen)) >= 19, "all pods are listed")
        await site.until(lambda: "forbids" in (unwatched(site) or ""), "the refusal is told")
        site.world.kubernetes.denied.clear()
        await site.until(lambda: unwatched(site) is None, "it is told no more")
        await site.world.break_("release-crash-checkout")
        await site.until(lambda: any(o["kind"] == "Event" for o in seen), "an event is seen")


async def test_a_kubeconfig_that_is_gone_is_told_of_each_watch(site: Site) -> None:
    cluster = site.clients.cluster
    assert isinstance(cluster, KubernetesCluster)
    cluster.clusters["sandbox"].kubeconfig.unlink()
    with pytest.raises(SettingsError, match="does not exist"):
        async for _ in cluster.watch_pods("sandbox"):
            pass
    told = unwatched(site) or ""
    assert all(f"{kind} of all namespaces of sandbox: " in told for kind in ("Pods", "Events"))


async def test_a_watch_of_which_nothing_is_permitted_ends_with_the_reason(site: Site) -> None:
    site.world.kubernetes.denied |= {("list", "pods", "*"), ("list", "events", "*")}
    assert site.clients.cluster is not None
    stream = site.clients.cluster.watch_pods("sandbox")
    with pytest.raises(Refused, match="forbids"):
        async for _ in stream:
            pass


# --- what real servers do on the wire -------------------------------------------------------------------------------


@dataclass
class ApiServer:
    """Answers lists of pods with one version each, and each watch with the next of `watches`: a status, or lines."""

    watches: list[int | list[bytes]]
    asked: list[str] = field(default_factory=list)
    lists: int = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if not request.path.endswith("/pods"):
            return web.json_response({"metadata": {"resourceVersion": "1"}, "items": []})
        if request.query.get("watch") != "true":
            self.lists += 1
            return web.json_response({"metadata": {"resourceVersion": f"{self.lists}00"}, "items": []})
        self.asked.append(request.query["resourceVersion"])
        assert request.query["allowWatchBookmarks"] == "true"
        script = self.watches.pop(0) if self.watches else []
        if isinstance(script, int):
            return web.json_response({"kind": "Status", "code": script}, status=script)
        reply = web.StreamResponse()
        await reply.prepare(request)
        for line in script:
            await reply.write(line)
        return reply


def line(kind: str, version: str, **more: Any) -> bytes:
    metadata = {"name": f"pod-{version}", "namespace": "shop", "resourceVersion": version, **more}
    return json.dumps({"type": kind, "object": {"kind": "Pod", "metadata": metadata}}).encode() + b"\n"


GONE = json.dumps({"type": "ERROR", "object": {"kind": "Status", "code": 410}}).encode() + b"\n"


async def test_the_watch_goes_on_from_bookmarks_lists_again_on_410_and_reads_objects_of_any_size(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("remediation.cluster.BACKOFF_S", (0.01,))
    large = line("ADDED", "111", annotations={"note": "x" * 300_000})
    server = ApiServer([
        [line("ADDED", "101"), line("BOOKMARK", "105")], 500, [large[:70_000], large[70_000:], line("DELETED", "112")],
        [GONE], 410, [b"no json\n", b'{"type": "ADDED", "object": null}\n', line("ADDED", "301")],
    ])  # fmt: skip
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", server.answer)
    async with TestServer(app) as running:
        cluster = KubernetesCluster({"c": ClusterAccess(kubeconfig(tmp_path, str(running.make_url("")), "t"))})
        found: list[tuple[str, bool]] = []
        async with asyncio.timeout(60), contextlib.aclosing(cluster.watch_pods("c", ("shop",))) as stream:
            async for body in stream:
                found.append((body["metadata"]["name"], body.get("deleted", False)))
                if body["metadata"]["name"] == "pod-301":
                    break
        await cluster.aclose()
    assert found == [("pod-101", False), ("pod-111", False), ("pod-112", True), ("pod-301", False)]
    assert server.asked[:6] == ["100", "105", "105", "112", "200", "300"]
