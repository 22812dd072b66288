"""Signing in to a cluster again: a program of the kubeconfig's that fails now and then."""

import json
import shlex
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from knowledge.errors import Unavailable
from remediation.cluster import ClusterAccess, KubernetesCluster

CREDENTIAL = "client.authentication.k8s.io/v1beta1"


class ApiServer:
    """Knows the tokens of `good`; who brings none is system:anonymous, as with a real one. `asked` has what came."""

    def __init__(self, *good: str) -> None:
        self.good = set(good)
        self.asked: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        said = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.asked.append(said)
        if said in self.good:
            return web.json_response({"metadata": {"name": "checkout", "namespace": "shop"}})
        words = f'User "system:anonymous" cannot {request.method.lower()} it' if not said else "Unauthorized"
        status = 401 if said else 403
        return web.json_response({"kind": "Status", "code": status, "message": words}, status=status)


@asynccontextmanager
async def served(server: ApiServer) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def connected(folder: Path, user: dict[str, Any], **cluster: str) -> KubernetesCluster:
    """By a kubeconfig that is written, or written anew, in the folder."""
    body = {
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": cluster}], "users": [{"name": "bot", "user": user}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "bot"}}],
    }  # fmt: skip
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(body))
    return KubernetesCluster({"c": ClusterAccess(path)})


@pytest.fixture
def plugin(tmp_path: Path) -> tuple[dict[str, Any], Callable[[str], None]]:
    """A user that signs in by a program, and what makes that program give a token, or fail for ""."""
    answer = tmp_path / "answer"
    script = f"test -s {shlex.quote(str(answer))} && cat {shlex.quote(str(answer))}"

    def gives(token: str) -> None:
        body = {"apiVersion": CREDENTIAL, "kind": "ExecCredential", "status": {"token": token}}
        answer.write_text(json.dumps(body) if token else "")

    gives("first")
    return {"exec": {"apiVersion": CREDENTIAL, "command": "sh", "args": ["-c", script]}}, gives


async def test_a_program_that_failed_once_is_asked_again_and_nothing_goes_out_without_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plugin: Any
) -> None:
    monkeypatch.setattr("remediation.cluster.RENEW_AFTER_S", 0.0)
    user, gives = plugin
    server = ApiServer("first")
    async with served(server) as url, aclosing(connected(tmp_path, user, server=url)) as cluster:
        assert await cluster.get("c", "Pod", "shop", "checkout")
        server.good = {"second"}
        gives("")
        with pytest.raises(Unavailable, match="gave no credentials") as caught:
            await cluster.delete_pod("c", "shop", "checkout", uid="u")
        assert not caught.value.maybe_done
        assert "sh" in str(caught.value)
        gives("second")
        assert await cluster.get("c", "Pod", "shop", "checkout")
        assert server.asked == ["first", "first", "second"]


async def test_a_program_that_fails_at_the_start_does_not_end_it(tmp_path: Path, plugin: Any) -> None:
    user, gives = plugin
    gives("")
    async with served(ApiServer("later")) as url, aclosing(connected(tmp_path, user, server=url)) as cluster:
        await cluster.read_access()
        gives("later")
        assert await cluster.get("c", "Pod", "shop", "checkout")
