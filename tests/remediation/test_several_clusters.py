"""Several clusters: each service's cluster is asked at its own address with its own token, and no other."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import yaml
from aiohttp import web

from bot.clients import cluster_access
from bot.settings import Settings
from knowledge.errors import Refused, Unavailable
from knowledge.model import Target
from remediation.cluster import KubernetesCluster
from remediation.policy import parse_policy

POLICY = """
version: 1
clusters:
  main: {{}}
  eu: {{kubeconfig: "{both}", context: eu-admin}}
  gone: {{kubeconfig: "{both}", context: gone}}
"""


class Server:
    """An API server. `asked` has (method, path, authorization)."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.method, request.path, request.headers.get("Authorization", "")))
        if request.path.endswith("/checkout"):
            return web.json_response({"metadata": {"name": "checkout", "namespace": "shop"}})
        if request.query.get("watch") != "true":
            row = {"metadata": {"name": self.url, "resourceVersion": "1"}}
            return web.json_response({"metadata": {"resourceVersion": "1"}, "items": [row]})
        reply = web.StreamResponse()
        await reply.prepare(request)
        await asyncio.Event().wait()
        return reply


@pytest_asyncio.fixture
async def servers() -> AsyncIterator[tuple[Server, Server]]:
    both, runners = (Server(), Server()), []
    for server in both:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", server.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        runners.append(runner)
    yield both
    for runner in runners:
        await runner.cleanup()


def written(path: Path, current: str, **servers: str) -> Path:
    """A kubeconfig with a context, a cluster and a user a server; the token is the name with "-token" after it."""
    names = [name.replace("_", "-") for name in servers]
    urls = dict(zip(names, servers.values(), strict=True))
    body = {
        "apiVersion": "v1", "kind": "Config", "current-context": current,
        "clusters": [{"name": name, "cluster": {"server": url}} for name, url in urls.items()],
        "users": [{"name": name, "user": {"token": f"{name}-token"}} for name in names],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}} for name in names],
    }  # fmt: skip
    path.write_text(yaml.safe_dump(body))
    return path


@pytest_asyncio.fixture
async def clusters(servers: tuple[Server, Server], tmp_path: Path) -> AsyncIterator[KubernetesCluster]:
    main, eu = servers
    usual = written(tmp_path / "main", "main", main=main.url)
    # The current context is not the one that the policy names.
    both = written(tmp_path / "both", "gone", gone="http://127.0.0.1:9", eu_admin=eu.url)
    settings = Settings(KUBECONFIG=str(usual))  # type: ignore[call-arg]
    made = KubernetesCluster(cluster_access(settings, parse_policy(POLICY.format(both=both))))
    yield made
    await made.aclose()


async def test_what_is_read_and_changed_goes_to_the_cluster_that_is_named(
    clusters: KubernetesCluster, servers: tuple[Server, Server]
) -> None:
    main, eu = servers
    assert clusters.names == ("main", "eu", "gone")
    await clusters.get("eu", "Deployment", "shop", "checkout")
    await clusters.patch("eu", "Deployment", "shop", "checkout", [])
    assert main.asked == []
    path = "/apis/apps/v1/namespaces/shop/deployments/checkout"
    assert eu.asked == [("GET", path, "Bearer eu-admin-token"), ("PATCH", path, "Bearer eu-admin-token")]
    await clusters.get("main", "Deployment", "shop", "checkout")
    assert main.asked == [("GET", path, "Bearer main-token")]
    with pytest.raises(Refused, match="'asia' is not known"):
        await clusters.get("asia", "Deployment", "shop", "checkout")
    assert (len(main.asked), len(eu.asked)) == (1, 2)


async def test_one_that_is_away_is_named_and_keeps_none_of_the_others(
    clusters: KubernetesCluster, servers: tuple[Server, Server]
) -> None:
    with pytest.raises(Unavailable, match="Cluster gone cannot be reached"):
        await clusters.patch("gone", "Deployment", "shop", "checkout", [])
    for name, server in zip(("main", "eu"), servers, strict=True):
        stream = clusters.watch_pods(name, ("shop",))
        async with asyncio.timeout(20), contextlib.aclosing(stream):
            assert (await anext(stream))["metadata"]["name"] == server.url


def test_the_same_name_in_two_clusters_is_two_targets() -> None:
    here, there = (Target("Deployment", "checkout", "shop", cluster=name) for name in ("main", "eu"))
    assert here.key != there.key
