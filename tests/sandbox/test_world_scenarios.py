"""The four proofs of every scenario, driven through the real API with real clients."""

from collections import defaultdict
from pathlib import Path

import pytest
import yaml

from bot.sandbox.world.causes import Symptom
from bot.sandbox.world.scenarios import (
    BY_ID,
    SCENARIOS,
    capacity,
    credentials,
    gitops,
    memory,
    platform,
    pods,
    releases,
)
from bot.sandbox.world.scenarios.table import Scenario
from bot.sandbox.world.services import SERVICES
from tests.sandbox.world_fixtures import Running, pods_of, ready, running_world, take

REAL = (
    "k8s_restart_pod", "k8s_scale", "k8s_rollback", "k8s_raise_memory", "k8s_restart_rollout", "k8s_update_image",
    "k8s_update_secret", "github_rerun", "argocd_sync",
)  # fmt: skip
POLICY = Path(__file__).parents[2] / "bot" / "sandbox" / "policy.yaml"


def named(scenarios: list[Scenario]) -> list[object]:
    return [pytest.param(s, id=s.id) for s in scenarios]


async def heals(running: Running, scenario: Scenario) -> bool:
    """Whether the scenario's right steps bring the world back, for good."""
    await take(running, scenario.service, scenario.proofs.heals)
    for _ in range(8):
        await running.turns(25)
        if running.world.is_well(scenario.id):
            await running.turns(25)
            return running.world.is_well(scenario.id)
    return False


async def badness(running: Running, scenario: Scenario) -> int:
    """How much is down: pods that are missing or not ready, or failed jobs of the newest run."""
    if scenario.source == "github":
        runs = (await running.github_get(f"repos/acme/{scenario.service}/actions/runs")).json()["workflow_runs"]
        jobs = (await running.github_get(f"repos/acme/{scenario.service}/actions/runs/{runs[0]['id']}/jobs")).json()
        return sum(j["conclusion"] == "failure" for j in jobs["jobs"])
    row = running.service(scenario.service)
    live = await pods_of(running, scenario.service)
    return sum(not ready(p) for p in live) + max(row["replicas"] - len(live), 0)


@pytest.mark.parametrize("scenario", named(list(SCENARIOS)))
async def test_the_right_action_heals(scenario: Scenario) -> None:
    async with running_world() as running:
        await running.break_(scenario.id)
        if scenario.proofs.heals:
            assert not running.world.is_well(scenario.id)
            await running.turns(25)
            assert not running.world.is_well(scenario.id), "time alone must not heal"
        assert await heals(running, scenario)


@pytest.mark.parametrize("scenario", named([s for s in SCENARIOS if s.proofs.wrong]))
async def test_a_plausible_wrong_action_leaves_it_broken(scenario: Scenario) -> None:
    async with running_world() as running:
        await running.break_(scenario.id)
        await take(running, scenario.service, scenario.proofs.wrong)
        await running.turns(60)
        assert not running.world.is_well(scenario.id)


@pytest.mark.parametrize("scenario", named([s for s in SCENARIOS if s.proofs.worse]))
async def test_one_action_makes_it_worse(scenario: Scenario) -> None:
    """More is down afterwards, or what would have healed it no longer does."""
    async with running_world() as running:
        await running.break_(scenario.id)
        await running.turns(25)
        before = await badness(running, scenario)
        assert scenario.proofs.worse is not None
        await take(running, scenario.service, scenario.proofs.worse)
        await running.turns(60)
        assert not running.world.is_well(scenario.id)
        assert await badness(running, scenario) > before or not await heals(running, scenario)


@pytest.mark.parametrize("scenario", named([s for s in SCENARIOS if s.proofs.look_alike]))
async def test_the_look_alike_needs_another_fix(scenario: Scenario) -> None:
    async with running_world() as running:
        other = await running.break_(str(scenario.proofs.look_alike))
        await take(running, other.service, scenario.proofs.heals)
        await running.turns(60)
        assert not running.world.is_well(other.id)


def test_every_remediator_has_a_cause_that_comes_back_in_another_service() -> None:
    services: dict[tuple[str, str], set[str]] = defaultdict(set)
    for scenario in SCENARIOS:
        services[scenario.right_action, scenario.group].add(scenario.service)
    for action in REAL:
        assert max(len(found) for (name, _), found in services.items() if name == action) >= 2, action
    assert any(s.kind == "healthy" for s in SCENARIOS)
    assert len(BY_ID) == len(SCENARIOS)


def test_the_policy_names_exactly_the_services_of_the_world() -> None:
    policy = yaml.safe_load(POLICY.read_text())
    rows = {
        (s["name"], s["environment"], s["namespace"], s["repository"], s.get("workload", s)["name"])
        for s in policy["services"]
    }
    assert rows == {(s.name, s.environment, s.namespace, s.repository, s.name) for s in SERVICES}


def test_every_telling_line_can_be_written() -> None:
    fields = {"now": "n", "service": "s", "version": "v", "pod": "p", "ip": "i", "password": "x", "access_key": "y"}
    modules = (capacity, credentials, gitops, memory, platform, pods, releases)
    symptoms = [v for m in modules for v in vars(m).values() if isinstance(v, Symptom)]
    assert len(symptoms) > 10
    for symptom in symptoms:
        for line in (*symptom.decisive, symptom.probe_message):
            assert "{now}" not in line.format_map(fields)
