"""What doctor says of rights: Argo CD's account and what the policy lets the bot do there, against the sandbox."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bot import doctor
from bot.finding import Finding
from bot.sandbox.server import Options, Sandbox, running
from bot.settings import Settings, load_settings
from tests.remediation.descriptions import PAGERDUTY, description, operation
from tests.remediation.privileges import granted

POLICY = Path(doctor.__file__).parent / "sandbox/policy.yaml"


async def findings(check: str, settings: Settings) -> list[Finding]:
    found = await doctor.CHECKS[check](settings)
    return found if isinstance(found, list) else [found]


async def test_an_account_of_argocd_that_may_not_sync_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(Options(seed=1)) as sandbox:
        for name in ("ARGOCD_SERVER", "ARGOCD_TOKEN"):
            monkeypatch.setenv(name, sandbox.env[name])
        monkeypatch.setenv("CODEHEALER_POLICY", str(POLICY))
        (whole,) = await findings("argocd", load_settings())
        assert whole.ok, whole
        assert "10 applications of the policy" in whole.detail
        sandbox.world.argocd.allowed.discard("sync")
        (looking,) = await findings("argocd", load_settings())
    assert not looking.ok
    assert "checkout may not be synced" in looking.detail
    assert "docs/permissions.md" in looking.remedy


@pytest.fixture
def set_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Settings]:
    """Settings of these variables of the sandbox, and a policy."""

    def make(sandbox: Sandbox, policy: str, *names: str, **other: str) -> Settings:
        for name, value in {**{name: sandbox.env[name] for name in names}, **other}.items():
            monkeypatch.setenv(name, value)
        path = tmp_path / "policy.yaml"
        path.write_text(policy)
        monkeypatch.setenv("CODEHEALER_POLICY", str(path))
        return load_settings()

    return make


ONE_SERVICE = """
mode: %s
environments: {prod: {actions: [k8s_rollback, github_revert_pr, argocd_sync]}}
services:
  - name: checkout
    namespace: shop
    workload: {name: checkout}
    repository: acme/checkout
    argocd_app: checkout
"""


@pytest.mark.parametrize(
    ("mode", "acts"), [("observe", False), ("suggest", False), ("approve", True), ("automatic", True)]
)
async def test_what_only_looks_needs_no_right_to_change_and_is_told_what_comes_before_approving(
    set_up: Callable[..., Settings], mode: str, acts: bool
) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )  # fmt: skip
    async with running(Options(seed=1)) as sandbox:
        world = sandbox.world
        world.kubernetes.roles = granted()
        world.github.apps.keys["4711"] = public.decode()
        world.github.apps.permissions |= {"contents": "read", "pull_requests": ""}
        world.argocd.allowed.discard("sync")
        settings = set_up(
            sandbox, ONE_SERVICE % mode, "KUBECONFIG", "GITHUB_BASE_URL", "ARGOCD_SERVER", "ARGOCD_TOKEN",
            GITHUB_APP_ID="4711", GITHUB_APP_PRIVATE_KEY=private.decode(),
        )  # fmt: skip
        words = {
            "permissions": "verbs: [patch]",
            "github": "contents: write (github_revert_pr)",
            "argocd": "checkout may not be synced",
        }
        for check, lacking in words.items():
            (found,) = await findings(check, settings)
            assert found.ok is not acts, found
            assert (lacking in found.detail) is acts, found
            assert (found.remedy.startswith("Before approve, ") and lacking in found.remedy) is not acts, found
        # What looking takes is missed in every mode.
        world.kubernetes.roles = {}
        world.github.apps.permissions |= {"checks": ""}
        del world.argocd.store.apps["checkout"]
        for check, lacking in (("permissions", "pods"), ("github", "checks: read"), ("argocd", "not to be seen")):
            (found,) = await findings(check, settings)
            assert not found.ok
            assert lacking in found.detail


ON_CALL = """
routes:
  - name: shop
    match: {namespaces: [shop]}
    channel: C0SHOP
    on_call: {pagerduty_schedule: PSHOP01, pagerduty_users: {PONE001: U0DEV}}
"""
PAGER = ("PAGERDUTY_ROUTING_KEY", "PAGERDUTY_TOKEN", "PAGERDUTY_BASE_URL", "PAGERDUTY_FROM")


async def test_what_pagerduty_lets_our_keys_do_is_told_and_nobody_is_paged(set_up: Callable[..., Settings]) -> None:
    async with running(Options(seed=1)) as sandbox:
        pagerduty = sandbox.world.pagerduty
        settings = set_up(sandbox, ON_CALL, *PAGER)

        async def look(**changes: object) -> Finding:
            for name, value in changes.items():
                setattr(pagerduty, name, value)
            (found,) = await findings("pagerduty", settings)
            return found

        gone = await look()
        assert not gone.ok
        assert "there is no schedule PSHOP01" in gone.detail
        assert "docs/permissions.md" in gone.remedy
        whole = await look(schedules={"PSHOP01": []})
        assert whole.ok, whole
        assert "takes events by the routing key" in whole.detail
        assert "reads and writes, and sees PSHOP01" in whole.detail
        assert "may read but not write (403)" in (await look(read_only=True)).detail
        assert "no user codehealer@acme.example: correct PAGERDUTY_FROM" in (await look(users=())).detail
        refused = await look(routing_key="another", token="another")
        assert "Check PAGERDUTY_ROUTING_KEY" in refused.detail
        assert "PAGERDUTY_TOKEN may not read incidents (401)" in refused.detail
        assert [one["actions"] for one in pagerduty.alerts.values() if "trigger" in one["actions"]] == []
        assert not any(one["notes"] for one in pagerduty.incidents.values())
        if description(PAGERDUTY):
            sent = [one for one in sandbox.world.requests if one["system"] == "pagerduty"]
            rest = [one for one in sent if not one["path"].endswith("/v2/enqueue")]
            asked = {operation(PAGERDUTY, one["method"], one["path"].removeprefix("/pagerduty"))[0] for one in rest}
            assert asked == {"/users/me", "/users", "/incidents", "/incidents/{id}/notes", "/schedules/{id}"}


SERVERS = """
clusters:
  main: {}
  away: {kubeconfig: %s}
services:
  - {name: checkout, environment: prod, cluster: main, namespace: shop, workload: {name: checkout}}
  - {name: search, environment: prod, namespace: shop, workload: {name: search}}
  - {name: shop-eu, environment: prod, cluster: away, namespace: shop, workload: {name: checkout}}
argocd_servers:
  eu: {url: 'http://127.0.0.1:9', token_env: EU_TOKEN, applications: [shop-eu]}
github_hosts:
  ghe: {url: 'http://127.0.0.1:9/api/v3', token_env: EU_TOKEN, owners: [platform]}
"""


def elsewhere(sandbox: Sandbox, path: Path) -> Path:
    """A kubeconfig of a cluster where nothing answers."""
    known = Path(sandbox.env["KUBECONFIG"]).read_text("utf-8")
    path.write_text(known.replace(sandbox.url, "http://127.0.0.1:9/"))
    return path


async def test_each_server_is_told_of_by_name_and_one_that_is_away_hides_no_other(
    set_up: Callable[..., Settings], tmp_path: Path
) -> None:
    async with running(Options(seed=1)) as sandbox:
        away = elsewhere(sandbox, tmp_path / "kubeconfig")
        names = ("ARGOCD_SERVER", "ARGOCD_TOKEN", "GITHUB_TOKEN", "GITHUB_BASE_URL", "KUBECONFIG")
        settings = set_up(sandbox, SERVERS % away, *names, EU_TOKEN="x")
        begins = {
            "argocd": ("ARGOCD_SERVER", "eu: "), "github": ("GITHUB_BASE_URL", "ghe: "),
            "kubernetes": ("main: ", "away: "), "permissions": ("main: all that the policy lists, in 1", "away: "),
        }  # fmt: skip
        told = await asyncio.gather(*(findings(check, settings) for check in begins))
        for check, found in zip(begins, told, strict=True):
            assert [(one.check, one.ok) for one in found] == [(check, True), (check, False)]
            assert all(one.detail.startswith(words) for one, words in zip(found, begins[check], strict=True)), found
