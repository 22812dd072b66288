"""What ends by itself is seen to be over: by the live system, and without asking it too often."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text

from bot.sandbox.server import Sandbox
from handlers import tending, upkeep
from handlers.blocks.upkeep import NOT_SEEN, SEEN_TO_END
from handlers.services import Services
from knowledge.fingerprint import owner_of_pod
from knowledge.model import Alert, Target
from knowledge.store import incidents
from tests.handlers.office import rows
from tests.handlers.test_regrouping import came
from tests.rows import S, alert, an_incident
from tests.waiting import until

REPOSITORY = "acme/catalog"
TICK = timedelta(seconds=10)


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
    looking: Services, sandbox: Sandbox
) -> None:
    began = datetime.now(UTC)
    services = replace(looking, now=lambda: began)
    numbers = await failed_runs(services, sandbox, 20)
    for _ in range(3):
        before = len(asked_of(sandbox))
        await ticked(services, 30)  # five minutes
        asked = asked_of(sandbox)[before:]
        looks = [number for path in asked for number in numbers if path.endswith(f"/actions/runs/{number}")]
        assert sorted(looks) == sorted(numbers), "each once"
        assert len(asked) <= 2 * len(numbers)
    assert set(await states(services)) == {"escalated"}


async def test_a_red_run_is_over_once_a_later_one_of_its_branch_is_green(looking: Services, sandbox: Sandbox) -> None:
    await failed_runs(looking, sandbox, 2)
    store = sandbox.world.github.store
    repository = store.repositories[REPOSITORY]
    newer = store.start(repository, repository.head.sha, "Mend the build")
    newer.announced, newer.branch = True, "branch-1"
    newer.last.status, newer.last.conclusion = "completed", "success"
    await tending.recheck_open(looking)
    assert await states(looking) == ["escalated", "resolved"]


async def test_an_incident_of_two_red_runs_is_over_when_both_are(looking: Services, sandbox: Sandbox) -> None:
    (number, other) = await failed_runs(looking, sandbox, 2)
    async with looking.engine.begin() as db:
        (_, first) = await incidents.listed(db)
        deploy = alert("Deploy", source="github", repository=REPOSITORY, run_id=other)
        assert await incidents.count_alert(db, first.id, deploy)
    (own, of_deploy) = sandbox.world.github.store.repositories[REPOSITORY].runs[-2:]
    assert [str(own.id), str(of_deploy.id)] == [number, other]
    own.last.conclusion = "success"
    services = replace(looking, now=lambda: datetime.now(UTC))
    await tending.recheck_open(services)
    assert await states(services) == ["escalated", "escalated"]
    of_deploy.last.conclusion = "success"
    await ticked(services, 31)
    assert await states(services) == ["resolved", "resolved"]


# --- what the watch told of and no row of the services table knows ----------------------------------------------------


def of_pod(name: str, **changes: Any) -> Alert:
    target = {"kind": "Pod", "name": name, "namespace": "shop", "cluster": "sandbox"}
    about: dict[str, Any] = {"workload": name, "owner": owner_of_pod(name), "target": target}
    return alert("crashloop", **{"source": "kubernetes", "fingerprint": "", **about, **changes})


async def escalated(services: Services, *told: Alert) -> None:
    """An incident that was left to people, without a target."""
    await came(services, told[0])
    async with services.engine.begin() as db:
        (one,) = await incidents.listed(db)
        for another in told[1:]:
            assert await incidents.count_alert(db, one.id, another)
        for state in (S.DIAGNOSING, S.ESCALATED):
            moved = await incidents.move(db, one, state)
            assert moved is not None
            one = moved
        assert one.target is None


def in_an_hour(services: Services) -> Services:
    return replace(services, now=lambda: datetime.now(UTC) + timedelta(hours=1))


def pods_of(sandbox: Sandbox, name: str) -> list[str]:
    return [str(one["metadata"]["name"]) for one in sandbox.world.kubernetes.cluster.pods(name)]


async def test_a_watched_pod_without_a_row_is_over_once_it_is_well_for_a_while(
    looking: Services, sandbox: Sandbox
) -> None:
    (pod, *_) = pods_of(sandbox, "orders")
    await escalated(looking, of_pod(pod), of_pod("orders-5d8f7c9b6d-2gone", started_at=None))
    newest = newest_moment(sandbox, "orders")
    await tending.recheck_open(replace(looking, now=lambda: newest + timedelta(seconds=59)))
    assert await states(looking) == ["escalated"]
    await tending.recheck_open(replace(looking, now=lambda: newest + timedelta(seconds=61)))
    assert await states(looking) == ["resolved"]


def newest_moment(sandbox: Sandbox, name: str) -> datetime:
    """When the last of a service's pods began or became ready."""
    found = sandbox.world.kubernetes.cluster.pods(name)
    moments = [one["lastTransitionTime"] for pod in found for one in pod["status"]["conditions"]]
    moments += [one["state"]["running"]["startedAt"] for pod in found for one in pod["status"]["containerStatuses"]]
    return max(datetime.fromisoformat(one.replace("Z", "+00:00")) for one in moments)


async def test_a_pod_that_is_gone_is_over_when_those_after_it_are_well(looking: Services, sandbox: Sandbox) -> None:
    before = pods_of(sandbox, "checkout")
    await sandbox.world.break_("release-crash-checkout")
    await until(lambda: set(pods_of(sandbox, "checkout")) - set(before))
    new = (set(pods_of(sandbox, "checkout")) - set(before)).pop()
    gone = f"{new.rpartition('-')[0]}-2gone"
    await escalated(looking, of_pod(gone))
    await tending.recheck_open(in_an_hour(looking))
    assert await states(looking) == ["escalated"], "one that came after it crashes"


@pytest.mark.parametrize(
    "other",
    [
        {"target": {"kind": "Node", "name": "n1"}},
        {"trusted": False},
        {"source": "argocd"},
        {"source": "alertmanager"},
        {"cluster": "another"},
    ],
    ids=lambda changes: "".join(str(value) for value in changes.values()),
)
async def test_what_pods_alone_do_not_tell_is_not_over_with_them(
    looking: Services, sandbox: Sandbox, other: dict[str, Any]
) -> None:
    (pod, *_) = pods_of(sandbox, "orders")
    await escalated(looking, of_pod(pod), of_pod(pod, identity="other", **other))
    await tending.recheck_open(in_an_hour(looking))
    assert await states(looking) == ["escalated"]


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({}, SEEN_TO_END),
        ({"target": {"kind": "Node", "name": "n1"}}, NOT_SEEN),
        ({"source": "github"}, NOT_SEEN),
        ({"source": "argocd"}, SEEN_TO_END),
        ({"source": "alertmanager"}, SEEN_TO_END),
    ],
    ids=["a pod", "a node", "a run", "an application", "an alert"],
)
async def test_a_follow_up_promises_an_end_only_where_one_is_seen(
    services: Services, told: dict[str, Any], words: str
) -> None:
    await escalated(services, of_pod("orders-5d8f7c9b6d-x2kqp", **told))
    async with services.engine.begin() as db:
        for change in ("UPDATE incidents SET opened_at = {0}, last_alert_at = {0}", "UPDATE audit SET at = {0}"):
            await db.execute(text(change.format("now() - interval '1 day'")))
    await upkeep.follow_up(services)
    (said,) = await rows(services.engine, "SELECT payload ->> 'text' AS words FROM outbox WHERE key LIKE 'follow-up:%'")
    assert words in said.words
