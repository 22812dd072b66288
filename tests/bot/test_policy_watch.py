"""A policy that is changed while the bot runs."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from structlog.testing import capture_logs

from bot.policy_watch import PolicyWatch
from handlers.services import Services
from knowledge.errors import SettingsError
from remediation.policy import Policy, load_policy
from remediation.remediators import REMEDIATORS
from tests.handlers.office import made_services
from tests.rows import opened


async def test_a_changed_policy_is_obeyed_and_a_broken_one_leaves_the_last_good_one_in_force(
    database_url: str, tmp_path: Path
) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("mode: observe\n")
    async with opened(database_url) as engine:
        slack: Any = SimpleNamespace()
        services: Services = made_services(engine, slack, database_url, policy=load_policy(path))
        watch = PolicyWatch(path)
        await watch.look(services)
        path.write_text(
            "mode: approve\nworkflows: [{name: drain, title: Drain, kinds: [network],"
            " webhook: {url: 'https://ops.example.com/drain'}}]\n"
        )
        await watch.look(services)
        assert "workflow_drain" in set(REMEDIATORS)
        sources: Any = services.clients.secret_sources
        assert sources.policy is services.policy
        assert (services.policy.mode, services.people.policy.mode, watch.lines()) == ("approve", "approve", [])
        path.write_text("mode: approve\nmoode: automatic\n")
        await watch.look(services)
        assert services.policy.mode == "approve"
        (line,) = watch.lines()
        assert "the last good one is in force" in line
        assert f"{path}:2" in line
        path.unlink()
        await watch.look(services)
        assert services.policy.mode == "approve"
        assert "does not exist" in watch.problem
        path.write_text("mode: suggest\n")
        await watch.look(services)
        assert (services.policy.mode, watch.lines()) == ("suggest", [])
        assert "workflow_drain" not in set(REMEDIATORS)


async def test_where_applications_are_asked_for_changes_with_the_policy_or_neither_does(
    database_url: str, tmp_path: Path
) -> None:
    path, made, tokens = tmp_path / "policy.yaml", list[Policy](), set[str]()

    def connect(policy: Policy) -> None:
        if policy.github_hosts and not tokens:
            raise SettingsError("GHE_TOKEN is not set")
        made.append(policy)

    path.write_text("mode: observe\n")
    async with opened(database_url) as engine:
        slack: Any = SimpleNamespace()
        services: Services = made_services(engine, slack, database_url, policy=load_policy(path))
        watch = PolicyWatch(path, connect=connect)
        await watch.look(services)
        path.write_text("mode: suggest\n")
        await watch.look(services)
        assert made == [], "what is as it was is not made anew"
        servers = "argocd_servers: {eu: {url: 'https://eu.example', token_env: EU_TOKEN, applications: [shop]}}\n"
        path.write_text(f"mode: suggest\n{servers}")
        await watch.look(services)
        assert made == [services.policy]
        hosts = "github_hosts: {ghe: {url: 'https://ghe.example/api/v3', token_env: GHE_TOKEN, owners: [a]}}\n"
        path.write_text(f"mode: approve\n{hosts}")
        with capture_logs() as logs:
            for _ in range(3):  # the clock ticks on
                await watch.look(services)
        assert (services.policy.mode, made) == ("suggest", [services.policy])
        assert "GHE_TOKEN" in watch.problem
        assert [one["event"] for one in logs] == ["policy_kept"], "said once"
        tokens.add("GHE_TOKEN")
        await watch.look(services)
        assert (services.policy.mode, watch.lines()) == ("approve", []), "the same file, now that its token is there"
        assert made[1:] == [services.policy]
