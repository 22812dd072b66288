"""What doctor says of rights: Argo CD's account and what the policy lets the bot do there, against the sandbox."""

from pathlib import Path

import pytest

from bot import doctor
from bot.sandbox.server import Options, running
from bot.settings import load_settings

POLICY = Path(doctor.__file__).parent / "sandbox/policy.yaml"


async def test_an_account_of_argocd_that_may_not_sync_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(Options(seed=1)) as sandbox:
        for name in ("ARGOCD_SERVER", "ARGOCD_TOKEN"):
            monkeypatch.setenv(name, sandbox.env[name])
        monkeypatch.setenv("CODEHEALER_POLICY", str(POLICY))
        (whole,) = [one for one in await doctor.examine(load_settings()) if one.check == "argocd"]
        assert whole.ok, whole
        assert "10 applications of the policy" in whole.detail
        sandbox.world.argocd.allowed.discard("sync")
        (looking,) = [one for one in await doctor.examine(load_settings()) if one.check == "argocd"]
    assert not looking.ok
    assert "checkout may not be synced" in looking.detail
    assert "docs/permissions.md" in looking.remedy
