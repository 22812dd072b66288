"""Signing in to a cluster again: a program of the kubeconfig's that fails now and then, files that are cleaned away."""

import asyncio
import base64
import json
import os
import shlex
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from knowledge.errors import Unavailable
from remediation.cluster import ClusterAccess, KubernetesCluster
from tests.test_network import HOST, authority
from tests.waiting import until

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
async def served(server: ApiServer, tls: Any = None) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
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


def waiting(folder: Path) -> dict[str, Any]:
    """A user whose program notes its number in `started` and fails once there is a file `go`."""
    at = shlex.quote(str(folder))
    script = f"echo $$ >> {at}/started; until test -e {at}/go; do sleep 0.02; done; exit 1"
    return {"exec": {"apiVersion": CREDENTIAL, "command": "sh", "args": ["-c", script]}}


def started(folder: Path) -> list[int]:
    file = folder / "started"
    return [int(line) for line in file.read_text().splitlines()] if file.exists() else []


async def test_a_cluster_whose_program_does_not_answer_holds_up_no_other(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    async with served(ApiServer("first")) as url:
        hangs = connected(tmp_path / "a", waiting(tmp_path), server=url).clusters["c"]
        works = connected(tmp_path / "b", {"token": "first"}, server=url).clusters["c"]
        async with aclosing(KubernetesCluster({"a": hangs, "b": works, "c": works})) as cluster:
            assert await cluster.get("b", "Pod", "shop", "checkout")
            asked = [asyncio.create_task(cluster.delete_pod("a", "shop", str(n), uid="u")) for n in range(10)]
            try:
                async with asyncio.timeout(20):
                    await until(lambda: started(tmp_path))
                    assert await cluster.get("b", "Pod", "shop", "checkout")
                    assert await cluster.get("c", "Pod", "shop", "checkout"), "nor one that is asked for the first time"
                assert not any(one.done() for one in asked)
            finally:
                (tmp_path / "go").touch()
                told = await asyncio.gather(*asked, return_exceptions=True)
    assert {str(one).partition(" Run")[0] for one in told} == {
        "Cluster a: sh, which its kubeconfig names, gave no credentials."
    }
    assert len(started(tmp_path)) == 1, "all who waited for it are told the same"


async def test_a_program_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with aclosing(connected(tmp_path, waiting(tmp_path), server="http://127.0.0.1:9")) as cluster:
        asked = asyncio.create_task(cluster.get("c", "Pod", "shop", "checkout"))
        await until(lambda: started(tmp_path))
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        monkeypatch.setattr("remediation.cluster.SIGN_IN_DEADLINE_S", 0.1)
        with pytest.raises(Unavailable, match="gave no credentials within"):
            await cluster.get("c", "Pod", "shop", "checkout")
    for number in started(tmp_path):
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)


async def test_an_authority_in_the_kubeconfig_outlives_the_cleaning_of_the_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("remediation.cluster.RENEW_AFTER_S", 0.0)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    trusted, tls = authority(tmp_path)
    embedded = {
        "certificate-authority-data": base64.b64encode(trusted.read_bytes()).decode(), "tls-server-name": HOST,
    }  # fmt: skip
    server = ApiServer("first")
    async with (
        served(server, tls) as url,
        aclosing(connected(tmp_path, {"token": "first"}, server=url, **embedded)) as cluster,
    ):
        assert await cluster.get("c", "Pod", "shop", "checkout")
        files = list(temporary.iterdir())
        assert files
        for one in files:
            one.unlink()
        server.good = {"second"}
        connected(tmp_path, {"token": "second"}, server=url, **embedded)
        assert await cluster.get("c", "Pod", "shop", "checkout")
