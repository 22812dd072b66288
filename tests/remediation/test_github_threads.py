"""Several requests to GitHub at once, each in a thread of its own: none is sent in another's place."""

import asyncio
import threading
from contextlib import suppress
from typing import Any

import pytest
from github.Requester import HTTPRequestsConnectionClass

from remediation.code_host import GitHubHost
from tests.remediation.site import Site
from tests.remediation.test_acting_on_github import failed_run, writes

# A thread that nobody meets goes on alone after it.
MEETS_S = 5.0


def meet(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyGithub stores a request before it sends it; from now on two are stored before either is sent."""
    store, meeting = HTTPRequestsConnectionClass.request, threading.Barrier(2)

    def request(self: Any, *given: Any, **more: Any) -> None:
        store(self, *given, **more)
        with suppress(threading.BrokenBarrierError):
            meeting.wait(MEETS_S)

    monkeypatch.setattr(HTTPRequestsConnectionClass, "request", request)


async def test_two_reads_at_once_are_each_answered_with_what_they_asked_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = site.clients.code_host
    assert isinstance(host, GitHubHost)
    store = site.world.github.store
    runs = {name: store.repositories[name].runs[-1].id for name in ("acme/catalog", "acme/checkout")}
    meet(monkeypatch)
    found = await asyncio.gather(*(host.run(name, number) for name, number in runs.items()))
    assert {one["repository"]["full_name"]: one["id"] for one in found} == runs


async def test_a_write_is_sent_once_while_something_is_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    failed, _, _ = await failed_run(site, "ci-network-catalog", "catalog")
    host = site.clients.code_host
    assert isinstance(host, GitHubHost)
    other = site.world.github.store.repositories["acme/checkout"].runs[-1].id
    meet(monkeypatch)
    _, read = await asyncio.gather(
        host.rerun("acme/catalog", failed.id, only_failed=True), host.run("acme/checkout", other)
    )
    assert [one["path"].rsplit("/", 1)[-1] for one in writes(site)] == ["rerun-failed-jobs"]
    assert len(failed.attempts) == 2
    assert read["id"] == other
