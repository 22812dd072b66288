"""A policy that is changed while the bot runs."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bot.policy_watch import PolicyWatch
from handlers.services import Services
from remediation.policy import load_policy
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
