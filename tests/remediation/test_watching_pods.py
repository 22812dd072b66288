"""The watch on pods and warning events: what it says, and that it outlives what real clusters do to it."""

import asyncio
import contextlib
from typing import Any

import pytest

from knowledge.errors import Refused
from tests.remediation.site import Site


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
    site.world.faults["k8s"].update(error_next=9, status=503)
    async with watching(site) as seen:
        await site.until(lambda: len(pods(seen)) >= 19, "all pods are listed after the errors")


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


async def test_a_missing_permission_ends_the_watch_with_the_reason(site: Site) -> None:
    site.world.kubernetes.denied.add(("list", "pods", "*"))
    assert site.clients.cluster is not None
    stream = site.clients.cluster.watch_pods("sandbox")
    with pytest.raises(Refused, match="forbids"):
        async for _ in stream:
            pass
