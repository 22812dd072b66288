"""Signing in to GitHub as an App: a JWT for the App, a token for its installation, kept until it ends."""

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bot.clients import make_clients
from bot.settings import Settings
from knowledge.errors import NotFound, Refused, SettingsError
from remediation import permissions
from remediation.code_host import GitHubHost
from remediation.github_auth import AppKey
from remediation.remediators import REMEDIATORS
from tests.remediation.site import Site, site_policy


@pytest.fixture(scope="module")
def pems() -> tuple[str, str]:
    """(private, public)"""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )  # fmt: skip
    return private.decode(), public.decode()


@pytest.fixture
def as_app(site: Site, pems: tuple[str, str]) -> Callable[..., GitHubHost]:
    """Makes a client that is the App; with the world's key unless another one is given."""
    site.world.github.apps.keys["4711"] = pems[1]
    assert isinstance(site.clients.code_host, GitHubHost)
    token_host = site.clients.code_host

    def make(key: str = pems[0]) -> GitHubHost:
        return GitHubHost("", token_host.http, token_host.base_url, AppKey("4711", key))

    return make


def asked(site: Site) -> list[str]:
    return [r["path"].removeprefix("/github") for r in site.world.requests if r["system"] == "github"]


async def test_an_app_asks_for_its_installations_token_once_and_again_when_it_ends(site: Site, as_app: Any) -> None:
    host = as_app()
    run = site.world.github.store.repositories["acme/catalog"].runs[-1]
    assert (await host.run("acme/catalog", run.id))["id"] == run.id
    other = site.world.github.store.repositories["acme/checkout"].runs[-1]
    assert (await host.run("acme/checkout", other.id))["id"] == other.id
    tokens = [path for path in asked(site) if path.endswith("/access_tokens")]
    assert len(tokens) == 1
    assert [path for path in asked(site) if path.endswith("/installation")] == ["/repos/acme/catalog/installation"]
    assert await host.login() == "codehealer"

    # Revoked: the first request finds out, the next one has a new token.
    site.world.github.apps.given.clear()
    with pytest.raises(Refused, match="GITHUB_APP_PRIVATE_KEY"):
        await host.run("acme/catalog", run.id)
    # One that ends within seconds is renewed before each request.
    site.world.github.apps.lifetime = 10.0
    assert await host.run("acme/catalog", run.id)
    assert await host.run("acme/catalog", run.id)
    assert len([path for path in asked(site) if path.endswith("/access_tokens")]) == 3
    await host.aclose()


async def test_what_an_app_may_not_do_is_named_with_what_needs_it(site: Site, as_app: Any) -> None:
    host = as_app()
    granted = await host.granted()
    assert permissions.missing_of_app(granted, site_policy(), REMEDIATORS) == []
    site.world.github.apps.permissions |= {"contents": "read", "checks": ""}
    granted = await host.granted()
    lacking = permissions.missing_of_app(granted, site_policy(), REMEDIATORS)
    assert lacking == ["checks: read", "contents: write (github_revert_pr)"]
    await host.aclose()
    assert await site.clients.code_host.granted() is None, "a token does not tell"


async def test_a_wrong_key_and_a_repository_without_the_app_say_what_to_do(site: Site, as_app: Any) -> None:
    with pytest.raises(SettingsError, match="no RSA key") as caught:
        await as_app("-----BEGIN RSA PRIVATE KEY-----\nbm9uZQ==\n-----END RSA PRIVATE KEY-----\n").login()
    assert "bm9uZQ" not in str(caught.value)
    host = as_app()
    with pytest.raises(NotFound, match="GITHUB_APP_ID"):
        await host.run("acme/nothing", 1)
    site.world.github.apps.keys.clear()
    with pytest.raises(Refused, match="Renew GITHUB_APP_ID"):
        await as_app().login()


def settings(**given: str) -> Settings:
    return Settings(_env_file=None, **given)  # type: ignore[call-arg,arg-type]


def test_half_an_app_is_refused_and_line_breaks_may_be_escaped(pems: tuple[str, str]) -> None:
    whole = settings(GITHUB_APP_ID="4711", GITHUB_APP_PRIVATE_KEY=pems[0].replace("\n", "\\n"))
    assert whole.github_app_private_key.get_secret_value() == pems[0]
    assert pems[0][40:60] not in repr(make_clients(whole, site_policy(), None).code_host)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="belong together"):
        make_clients(settings(GITHUB_APP_ID="4711"), site_policy(), None)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="no private key in PEM"):
        make_clients(settings(GITHUB_APP_ID="4711", GITHUB_APP_PRIVATE_KEY="gone"), site_policy(), None)  # type: ignore[arg-type]
