"""Re-running failed jobs over the real GitHub client, and what GitHub's own rules forbid."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from bot.sandbox.world.scenarios import SCENARIOS
from knowledge.errors import NotFound, Refused, Unavailable
from knowledge.model import Action, ExecutionState, FailureKind, Incident
from remediation import targets
from remediation.code_host import GitHubHost
from remediation.evidence import collect
from remediation.execution import run
from remediation.ports import Clients
from remediation.remediators.github_rerun import why_not
from remediation.verification import verify_once
from tests.remediation.site import MemoryStore, Site, execution, services

PIPELINES = [s for s in SCENARIOS if s.source == "github"]


async def failed_run(site: Site, scenario_id: str, service: str) -> tuple[Any, Incident, str]:
    """The run in the world, an incident with its target, and the collected log."""
    await site.world.break_(scenario_id)
    repository = site.world.github.store.repositories[f"acme/{service}"]
    failed = repository.runs[-1]
    await site.until(
        lambda: (
            any(job.failure for job in failed.last.jobs)
            and (failed.last.status == "completed" or failed.id in site.world.github.store.hanging)
        ),
        "the run failed",
    )
    incident = site.incident(
        service, source="github", namespace="", workload="", repository=f"acme/{service}", run_id=str(failed.id)
    )
    target = await targets.resolve(targets.hints_of(incident), site.policy, site.clients)
    assert target is not None
    incident = replace(incident, target=target)
    log = "\n".join(e.text for e in await collect(incident, site.clients) if e.kind == "job_log")
    assert log
    return failed, incident, log


async def proposed(site: Site) -> tuple[Any, Action]:
    failed, incident, log = await failed_run(site, "ci-network-catalog", "catalog")
    plan = await site.plan(FailureKind.GITHUBACTION_TRANSIENT, incident, job_log=log)
    assert plan.action is not None, plan.no_action_because
    return failed, plan.action


def writes(site: Site) -> list[dict[str, Any]]:
    return [r for r in site.world.requests if r["system"] == "github" and r["method"] != "GET"]


@pytest.mark.parametrize("scenario", PIPELINES, ids=lambda s: s.id)
async def test_only_a_passing_fault_is_run_again(site: Site, scenario: Any) -> None:
    _, incident, log = await failed_run(site, scenario.id, scenario.service)
    plan = await site.plan(FailureKind(scenario.kind), incident, job_log=log)
    assert (plan.action.name if plan.action else "escalate") == scenario.right_action, plan.no_action_because
    # Even when the cause is taken for a passing one, a log that shows otherwise forbids the rerun.
    as_network = await site.plan(FailureKind.NETWORK, incident, job_log=log)
    assert (as_network.action is not None) == (scenario.right_action == "github_rerun"), scenario.id


async def test_the_failed_jobs_run_again_and_the_run_is_verified(site: Site) -> None:
    failed, action = await proposed(site)
    store = MemoryStore(execution(action))
    outcome = await run(store.rows[7], services(site, store))
    assert outcome.ok, outcome.detail
    assert outcome.mark == {"attempt": 2}
    assert [r["path"].rsplit("/", 1)[-1] for r in writes(site)] == ["rerun-failed-jobs"]
    row = store.rows[7]
    assert row.finished_at is not None
    at = row.finished_at + timedelta(seconds=10)
    early = await verify_once(row, site.clients, now=at, signal_firing=None)
    assert early.verdict in {"pending", "verified"}
    await site.until(lambda: failed.last.status == "completed", "the second attempt ended")
    found = await verify_once(row, site.clients, now=at, signal_firing=None)
    assert found.verdict == "verified", found.detail


async def test_a_second_attempt_that_fails_is_not_verified(site: Site) -> None:
    failed, action = await proposed(site)
    site.world.github.store.causes["still"] = next(iter(site.world.github.store.causes.values()))
    store = MemoryStore(execution(action))
    await run(store.rows[7], services(site, store))
    row = store.rows[7]
    assert row.finished_at is not None
    await site.until(lambda: failed.last.status == "completed", "the second attempt ended")
    failed.last.conclusion = "failure"
    found = await verify_once(row, site.clients, now=row.finished_at + timedelta(seconds=10), signal_firing=None)
    assert found.verdict == "not_verified"


async def test_a_dry_run_starts_nothing(site: Site) -> None:
    failed, action = await proposed(site)
    store = MemoryStore(execution(action))
    outcome = await run(store.rows[7], services(site, store, dry_run=True))
    assert outcome.ok
    assert not outcome.changed
    assert writes(site) == []
    assert len(failed.attempts) == 1


async def test_a_run_that_somebody_else_started_again_is_left_alone(site: Site) -> None:
    failed, action = await proposed(site)
    site.world.github.store.rerun(failed, only_failed=True)
    store = MemoryStore(execution(action))
    outcome = await run(store.rows[7], services(site, store))
    assert not outcome.ok
    assert store.rows[7].state is ExecutionState.REFUSED
    assert writes(site) == []
    assert len(failed.attempts) == 2


async def test_a_run_that_a_newer_one_came_after_is_left_alone(site: Site) -> None:
    failed, action = await proposed(site)
    hub, where = site.world.github.store, site.world.github.store.repositories["acme/catalog"]
    newer = hub.start(where, hub.commit(where, "Newer", {"README.md": "newer\n"}).sha, "Newer")
    store = MemoryStore(execution(action))
    outcome = await run(store.rows[7], services(site, store))
    assert (outcome.ok, store.rows[7].state) == (False, ExecutionState.REFUSED)
    assert outcome.detail == f"Not re-run: run {newer.number} of this workflow came after run {failed.number}."
    assert writes(site) == []
    assert len(failed.attempts) == 1


async def test_a_run_that_comes_between_the_look_and_the_act_is_not_undone(site: Site) -> None:
    failed, action = await proposed(site)
    hub, where = site.world.github.store, site.world.github.store.repositories["acme/catalog"]
    store = MemoryStore(execution(action))
    store.die_after = "started"
    with pytest.raises(KeyboardInterrupt):
        await run(store.rows[7], services(site, store))
    hub.start(where, failed.sha, "By hand").event = "workflow_dispatch"
    outcome = await run(store.rows[7], services(site, store))
    assert (outcome.ok, outcome.changed, store.rows[7].state) == (False, False, ExecutionState.FAILED)
    assert "came after" in outcome.detail
    assert writes(site) == []


ONE: dict[str, Any] = {
    "workflow_id": 5, "run_number": 10, "head_branch": "main", "event": "push", "head_repository": {"id": 1},
}  # fmt: skip


@pytest.mark.parametrize(
    ("ours", "other", "counts"),
    [
        ({}, {}, True),
        ({}, {"event": "workflow_dispatch"}, True),
        ({}, {"run_number": 9}, False),
        ({}, {"conclusion": "failure"}, True),
        ({}, {"conclusion": "skipped"}, False),
        ({}, {"event": "pull_request"}, False),
        ({"event": "pull_request"}, {"event": "pull_request"}, True),
        ({"event": "pull_request"}, {"event": "pull_request", "head_repository": {"id": 2}}, False),
        ({"event": "release", "head_branch": "v1"}, {"event": "release", "head_branch": "v2"}, True),
        ({"head_branch": None}, {"head_branch": None}, True),
        ({"head_branch": None}, {"head_branch": "main"}, False),
    ],
)
async def test_which_later_run_takes_the_place_of_one(
    ours: dict[str, Any], other: dict[str, Any], counts: bool, monkeypatch: Any
) -> None:
    ours, other = ONE | ours, ONE | {"run_number": 11} | other
    asked: dict[str, Any] = {}

    async def listing(_self: Any, _repository: str, path: str, query: Any = None) -> Any:
        asked.update(query)
        return {"workflow_runs": [other, ours]}

    monkeypatch.setattr(GitHubHost, "read", listing)
    async with httpx.AsyncClient() as http:
        host = GitHubHost("token", http)
        assert (await host.later_run("acme/catalog", ours) is not None) is counts
        await host.aclose()
    assert asked.get("branch") == (None if ours["event"] == "release" else ours["head_branch"])


@pytest.mark.parametrize("after_write", [False, True], ids=["before the write", "after the write"])
async def test_a_lost_answer_is_settled_by_the_attempt(site: Site, after_write: bool, monkeypatch: Any) -> None:
    monkeypatch.setattr("remediation.execution.SETTLE_PAUSE_S", 0.05)
    failed, action = await proposed(site)
    real = site.clients.code_host
    assert real is not None

    class FailingAtTheWrite:
        def __getattr__(self, name: str) -> Any:
            if name == "rerun":
                site.world.faults["github"].update(error_next=1, status=502, after_write=after_write)
            return getattr(real, name)

    store = MemoryStore(execution(action))
    clients = Clients(code_host=FailingAtTheWrite())
    outcome = await run(store.rows[7], services(site, store, clients=clients))
    assert outcome.ok == after_write
    assert outcome.changed == after_write
    assert len(failed.attempts) == (2 if after_write else 1)
    assert len(writes(site)) == 1


@pytest.mark.parametrize("point", ["started", "acted"])
async def test_a_kill_at_either_side_of_the_act_runs_it_once(site: Site, point: str) -> None:
    failed, action = await proposed(site)
    store = MemoryStore(execution(action))
    store.die_after = point
    with pytest.raises(KeyboardInterrupt):
        await run(store.rows[7], services(site, store))
    outcome = await run(store.rows[7], services(site, store))
    assert outcome.ok
    assert len(failed.attempts) == 2
    assert len(writes(site)) == 1


async def test_a_slow_github_is_given_up_in_time(site: Site, monkeypatch: Any) -> None:
    _, action = await proposed(site)
    monkeypatch.setattr("remediation.github_calls.DEADLINE_S", 0.5)
    site.world.faults["github"].update(slow_ms=1000)
    assert site.clients.code_host is not None
    with pytest.raises(Unavailable) as caught:
        await site.clients.code_host.rerun(action.target.repository, int(action.target.name), only_failed=True)
    assert caught.value.maybe_done


async def test_github_rules_are_known_before_asking(site: Site) -> None:
    failed, incident, log = await failed_run(site, "ci-network-catalog", "catalog")

    async def why() -> str:
        plan = await site.plan(FailureKind.GITHUBACTION_TRANSIENT, incident, job_log=log)
        assert plan.action is None
        reason: str = plan.no_action_because
        return reason

    failed.last.number = 3
    assert "failed 3 times" in await why()
    failed.last.number = 1
    failed.created_at -= 31 * 86400
    assert "30 days" in await why()
    failed.created_at += 31 * 86400
    failed.last.conclusion = "cancelled"
    assert "concluded cancelled" in await why()
    running = {"status": "in_progress", "conclusion": None}
    assert "in_progress" in why_not(running, incident.opened_at)


async def test_all_jobs_run_again_only_where_a_person_says_so(site: Site) -> None:
    failed, action = await proposed(site)
    assert action.parameters["jobs"] == "failed"
    store = MemoryStore(execution(replace(action, parameters={**action.parameters, "jobs": "all"})))
    outcome = await run(store.rows[7], services(site, store))
    assert outcome.detail == "All jobs run again as attempt 2."
    assert [r["path"].rsplit("/", 1)[-1] for r in writes(site)] == ["rerun"]
    assert not [job for job in failed.last.jobs if job.conclusion]


async def test_a_run_that_hangs_is_cancelled_once(site: Site) -> None:
    failed, incident, _ = await failed_run(site, "ci-network-catalog", "catalog")
    hung = site.world.github.store.rerun(failed, only_failed=True)
    hung.created_at -= 2 * 3600
    for job in hung.jobs:
        # A job that started in a while to come does not end before then.
        job.status, job.conclusion, job.started_at = "in_progress", None, hung.updated_at + 3600
    plan = await site.plan(FailureKind.GITHUBACTION_TRANSIENT, incident)
    assert plan.action is not None, plan.no_action_because
    assert plan.action.name == "github_cancel_run"
    pretended = await run(execution(plan.action), services(site, MemoryStore(execution(plan.action)), dry_run=True))
    assert (pretended.ok, pretended.changed) == (True, False)
    store = MemoryStore(execution(plan.action))
    store.die_after = "acted"
    with pytest.raises(KeyboardInterrupt):
        await run(store.rows[7], services(site, store))
    assert (await run(store.rows[7], services(site, store))).changed
    assert [r["path"].rsplit("/", 1)[-1] for r in writes(site)] == ["cancel"]
    row = store.rows[7]
    assert row.finished_at is not None
    found = await verify_once(row, site.clients, now=row.finished_at + timedelta(seconds=10), signal_firing=None)
    assert found.verdict == "verified"
    again = MemoryStore(execution(plan.action))
    assert "nothing to cancel" in (await run(again.rows[7], services(site, again))).detail


async def test_errors_of_github_say_the_next_step(site: Site) -> None:
    host = site.clients.code_host
    assert host is not None
    with pytest.raises(NotFound, match="GITHUB_TOKEN"):
        await host.run("acme/catalog", 1)
    with pytest.raises(Refused, match=r"policy\.yaml"):
        await host.run("../../user", 1)
    site.world.faults["github"].update(error_next=1, status=500)
    assert await host.login()
    site.world.faults["github"].update(error_next=9, status=401)
    with pytest.raises(Refused, match="does not accept the token"):
        await host.login()


async def test_the_end_of_a_long_log_is_read_and_the_rest_counted(site: Site) -> None:
    _, incident, whole = await failed_run(site, "ci-test-orders", "orders")
    host = site.clients.code_host
    assert host is not None
    assert incident.target is not None
    jobs = await host.jobs(incident.target.repository, int(incident.run_id))
    job = next(j for j in jobs if j["conclusion"] == "failure")
    full, none_left = await host.job_log(incident.target.repository, job["id"])
    tail, left_out = await host.job_log(incident.target.repository, job["id"], limit_bytes=500)
    assert none_left == 0
    assert len(tail.encode()) <= 500
    assert full.endswith(tail)
    assert left_out == len(full.encode()) - 500
    assert whole
