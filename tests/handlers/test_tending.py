"""What ends by itself is seen to be over: by the live system, and without asking it too often."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import httpx
import pytest_asyncio

from bot.sandbox.server import Sandbox
from handlers import tending
from handlers.services import Services
from knowledge.model import Target
from knowledge.store import incidents
from remediation.cluster import ClusterAccess, KubernetesCluster
from remediation.code_host import GitHubHost
from remediation.ports import Clients
from tests.handlers.office import rows
from tests.remediation.descriptions import check_github
from tests.rows import S, alert, an_incident

REPOSITORY = "acme/catalog"
TICK = timedelta(seconds=10)


@pytest_asyncio.fixture
async def world(services: Services, sandbox: Sandbox) -> AsyncIterator[Services]:
    """The services with the real clients on the sandbox's cluster and its GitHub."""
    env = sandbox.env
    async with httpx.AsyncClient() as http:
        cluster = KubernetesCluster({"sandbox": ClusterAccess(Path(env["KUBECONFIG"]))})
        host = GitHubHost(env["GITHUB_TOKEN"], http, env["GITHUB_BASE_URL"])
        yield replace(services, clients=Clients(cluster=cluster, code_host=host))
        await cluster.aclose()
        await host.aclose()
    check_github(sandbox.world.requests)


async def states(services: Services) -> list[str]:
    return [row.state for row in await rows(services.engine, "SELECT state FROM incidents ORDER BY id")]


# --- runs of GitHub Actions ------------------------------------------------------------------------------------------


async def failed_runs(services: Services, sandbox: Sandbox, many: int) -> list[str]:
    """So many failed runs, each with an open incident; their numbers. Nothing else runs there meanwhile."""
    store = sandbox.world.github.store
    repository = store.repositories[REPOSITORY]
    found = []
    for number in range(many):
        run = store.start(repository, repository.head.sha, f"Build {number}")
        run.announced, run.branch = True, f"branch-{number}"
        run.last.status, run.last.conclusion = "completed", "failure"
        async with services.engine.begin() as db:
            one = await an_incident(db, state=S.DIAGNOSING, source="github", title=f"Build {number}")
            target = Target("WorkflowRun", str(run.id), "", "", REPOSITORY, "catalog", "prod")
            assert await incidents.move(db, one, S.ESCALATED, target=target)
        found.append(str(run.id))
    return found


async def ticked(services: Services, times: int) -> None:
    for _ in range(times):
        at = services.now() + TICK
        services.now = partial(lambda at: at, at)
        await tending.recheck_open(services)


def asked_of(sandbox: Sandbox) -> list[str]:
    return [str(one["path"]) for one in sandbox.world.requests if one["system"] == "github"]


async def test_of_many_open_runs_a_few_are_looked_at_at_a_time_and_each_in_its_turn(
    world: Services, sandbox: Sandbox
) -> None:
    began = datetime.now(UTC)
    services = replace(world, now=lambda: began)
    numbers = await failed_runs(services, sandbox, 20)
    for _ in range(3):
        before = len(asked_of(sandbox))
        await ticked(services, 30)  # five minutes
        asked = asked_of(sandbox)[before:]
        looks = [number for path in asked for number in numbers if path.endswith(f"/actions/runs/{number}")]
        assert sorted(looks) == sorted(numbers), "each once"
        assert len(asked) <= 2 * len(numbers)
    assert set(await states(services)) == {"escalated"}


async def test_a_red_run_is_over_once_a_later_one_of_its_branch_is_green(world: Services, sandbox: Sandbox) -> None:
    await failed_runs(world, sandbox, 2)
    store = sandbox.world.github.store
    repository = store.repositories[REPOSITORY]
    newer = store.start(repository, repository.head.sha, "Mend the build")
    newer.announced, newer.branch = True, "branch-1"
    newer.last.status, newer.last.conclusion = "completed", "success"
    await tending.recheck_open(world)
    assert await states(world) == ["escalated", "resolved"]


async def test_an_incident_of_two_red_runs_is_over_when_both_are(world: Services, sandbox: Sandbox) -> None:
    (number, other) = await failed_runs(world, sandbox, 2)
    async with world.engine.begin() as db:
        (_, first) = await incidents.listed(db)
        deploy = alert("Deploy", source="github", repository=REPOSITORY, run_id=other)
        assert await incidents.count_alert(db, first.id, deploy)
    (own, of_deploy) = sandbox.world.github.store.repositories[REPOSITORY].runs[-2:]
    assert [str(own.id), str(of_deploy.id)] == [number, other]
    own.last.conclusion = "success"
    services = replace(world, now=lambda: datetime.now(UTC))
    await tending.recheck_open(services)
    assert await states(services) == ["escalated", "escalated"]
    of_deploy.last.conclusion = "success"
    await ticked(services, 31)
    assert await states(services) == ["resolved", "resolved"]
