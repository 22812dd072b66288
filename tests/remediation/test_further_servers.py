"""Several Argo CD servers and GitHub hosts: each thing is asked for where the policy puts it, with its token."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from aiohttp import web

from bot.clients import make_clients
from bot.settings import Settings
from knowledge.errors import Refused, SettingsError
from remediation.policy import Policy, default_policy, parse_policy
from remediation.ports import Clients

POLICY = """
version: 1
argocd_servers:
  eu: {{url: {eu}, token_env: ARGOCD_TOKEN_EU, applications: [shop-eu]}}
github_hosts:
  ghe: {{url: {eu}/api/v3, token_env: GITHUB_TOKEN_GHE, owners: [Platform]}}
"""


class Place:
    """A server that answers for Argo CD and GitHub alike. `asked` has (path, authorization)."""

    def __init__(self, *applications: str) -> None:
        self.asked: list[tuple[str, str]] = []
        self.applications = applications
        self.url = ""
        self.status = 200

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.path, request.headers.get("Authorization", "")))
        rows = [{"metadata": {"name": name}} for name in self.applications]
        return web.json_response({"items": rows, "number": 7}, status=self.status)


@pytest_asyncio.fixture
async def places() -> AsyncIterator[tuple[Place, Place]]:
    both = (Place("shop", "shop-eu"), Place("shop", "shop-eu"))
    runners = []
    for place in both:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", place.answer)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        place.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        runners.append(runner)
    yield both
    for runner in runners:
        await runner.cleanup()


@pytest_asyncio.fixture
async def clients(
    places: tuple[Place, Place], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Clients]:
    usual, eu = places
    (tmp_path / "token").write_text("argo-eu\n")
    monkeypatch.setenv("ARGOCD_TOKEN_EU_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("GITHUB_TOKEN_GHE", "github-eu")
    settings = Settings(
        ARGOCD_SERVER=usual.url, ARGOCD_TOKEN="argo", GITHUB_TOKEN="github", GITHUB_BASE_URL=usual.url  # type: ignore[call-arg]
    )  # fmt: skip
    async with httpx.AsyncClient() as http:
        made = make_clients(settings, parse_policy(POLICY.format(eu=eu.url)), http)
        yield made
        assert made.code_host is not None
        await made.code_host.aclose()


async def test_an_application_is_asked_for_on_its_own_server(clients: Clients, places: tuple[Place, Place]) -> None:
    usual, eu = places
    assert clients.argocd is not None
    await clients.argocd.application("shop-eu")
    await clients.argocd.sync("shop-eu", revision="a" * 40)
    await clients.argocd.rollback("shop", 3)
    assert [path for path, _ in eu.asked] == ["/api/v1/applications/shop-eu", "/api/v1/applications/shop-eu/sync"]
    assert [path for path, _ in usual.asked] == ["/api/v1/applications/shop/rollback"]
    assert {one for _, one in eu.asked} == {"Bearer argo-eu"}
    assert {one for _, one in usual.asked} == {"Bearer argo"}
    listed = [row["metadata"]["name"] for row in (await clients.argocd.applications()).rows]
    assert listed == ["shop", "shop-eu"], "each once, from where it belongs"
    usual.status = 403
    without = await clients.argocd.applications()
    assert [row["metadata"]["name"] for row in without.rows] == ["shop-eu"]
    assert "forbids it (403)" in without.away["ARGOCD_SERVER"]


async def test_a_repository_is_asked_for_on_its_owners_host(clients: Clients, places: tuple[Place, Place]) -> None:
    usual, eu = places
    host = clients.code_host
    assert host is not None
    await host.read("platform/api", "/pulls/7")
    await host.write("POST", "PLATFORM/api", "/actions/runs/1/cancel", needs="actions: write")
    await host.read("acme/shop", "/pulls/7")
    assert [path for path, _ in eu.asked] == [
        "/api/v3/repos/platform/api/pulls/7",
        "/api/v3/repos/PLATFORM/api/actions/runs/1/cancel",
    ]
    assert [path for path, _ in usual.asked] == ["/repos/acme/shop/pulls/7"]
    assert {one for _, one in eu.asked} == {"token github-eu"}
    assert {one for _, one in usual.asked} == {"token github"}


def further(more: str = "") -> Policy:
    return parse_policy(POLICY.format(eu="https://eu.example") + more)


async def test_without_a_usual_one_what_is_not_listed_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARGOCD_TOKEN_EU", "argo-eu")
    monkeypatch.setenv("GITHUB_TOKEN_GHE", "github-eu")
    async with httpx.AsyncClient() as http:
        made = make_clients(Settings(), further(), http)
        assert made.argocd is not None
        assert made.code_host is not None
        with pytest.raises(Refused, match="list it under argocd_servers"):
            await made.argocd.application("shop")
        with pytest.raises(Refused, match="list it under github_hosts"):
            await made.code_host.read("acme/shop", "/pulls/7")
        await made.code_host.aclose()


def test_a_token_that_is_not_set_and_a_name_that_is_listed_twice_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARGOCD_TOKEN_EU", raising=False)
    with pytest.raises(SettingsError, match="ARGOCD_TOKEN_EU as a token_env, which is not set"):
        make_clients(Settings(), further(), httpx.AsyncClient())
    with pytest.raises(SettingsError, match="list 'platform'; list it once"):
        further("  other: {url: https://x.example, token_env: T, owners: [platform]}\n")


async def test_a_webhooks_token_lies_in_a_file_that_a_variable_names_and_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    monkeypatch.setenv("OPS_TOKEN_FILE", str(file))
    async with httpx.AsyncClient() as http:
        sender = make_clients(Settings(), default_policy(), http).webhooks
        assert sender is not None
        for value in ("one", "two"):
            file.write_text(f"{value}\n")
            assert await sender.token("OPS_TOKEN") == value
        file.unlink()
        with pytest.raises(SettingsError, match=r"OPS_TOKEN_FILE names .*, which cannot be read"):
            await sender.token("OPS_TOKEN")
        monkeypatch.delenv("OPS_TOKEN_FILE")
        assert await sender.token("OPS_TOKEN") is None
