"""What every fix on GitHub has in common, in one table: pretended, refused, failed before the write, lost after it."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from bot.sandbox.world.scenarios import BY_ID
from knowledge.model import Action, ExecutionState, FailureKind
from remediation.execution import run
from remediation.permissions import LOOKING_ON_GITHUB
from remediation.remediators import REMEDIATORS
from tests.remediation.privileges import github_permissions
from tests.remediation.site import MemoryStore, Site, execution, services


@dataclass(frozen=True, slots=True)
class Row:
    scenario: str
    writes: tuple[str, ...]  # the ends of the paths that are written to, in order

    @property
    def service(self) -> str:
        return BY_ID[self.scenario].service


ROWS = {
    "github_rerun": Row("ci-network-catalog", ("rerun-failed-jobs",)),
    "github_cancel_run": Row("ci-hung-payments", ("cancel",)),
    "github_revert_pr": Row("ci-test-orders", ("trees", "commits", "refs", "pulls")),
    "docker_clear_cache": Row("ci-cache-storefront", ("dispatches",)),
    "github_secret_rotate": Row("ci-token-search", ("REGISTRY_TOKEN", "rerun-failed-jobs")),
}


async def proposed(site: Site, name: str) -> Action:
    row = ROWS[name]
    await site.world.break_(row.scenario)
    where = site.world.github.store.repositories[f"acme/{row.service}"]
    failed = where.runs[-1]
    open_still = site.world.github.store.hanging
    await site.until(
        lambda: (
            any(job.failure for job in failed.last.jobs)
            and (failed.last.status == "completed" or failed.id in open_still)
        ),
        "the run failed",
    )
    incident = site.incident(
        row.service, source="github", namespace="", workload="", repository=where.name, run_id=str(failed.id)
    )
    jobs = await site.clients.code_host.jobs(where.name, failed.id)  # type: ignore[union-attr]
    red = next(job for job in jobs if job["conclusion"] == "failure")
    log, _ = await site.clients.code_host.job_log(where.name, red["id"])  # type: ignore[union-attr]
    plan = await site.plan(FailureKind(BY_ID[row.scenario].kind), incident, job_log=log)
    assert plan.action is not None, plan.no_action_because
    assert plan.action.name == name
    return plan.action


def written(site: Site) -> list[str]:
    rows = [r for r in site.world.requests if r["system"] == "github" and r["method"] != "GET"]
    return [str(r["path"]).rsplit("/", 1)[-1] for r in rows]


class FailingAtTheFirstWrite:
    """The real client; its first write meets a fault before or after it took effect."""

    def __init__(self, site: Site, *, after_write: bool) -> None:
        self._site, self._after, self._met = site, after_write, False

    def __getattr__(self, name: str) -> Any:
        if name in {"write", "rerun", "cancel"} and not self._met:
            self._met = True
            self._site.world.faults["github"].update(error_next=1, status=502, after_write=self._after)
        return getattr(self._site.clients.code_host, name)


@pytest.mark.parametrize("name", ROWS)
async def test_it_is_done_once_whatever_happens_on_the_way(site: Site, name: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("remediation.execution.SETTLE_PAUSE_S", 0.05)
    action, row = await proposed(site, name), ROWS[name]

    pretended = await run(execution(action), services(site, MemoryStore(execution(action)), dry_run=True))
    assert (pretended.ok, pretended.changed, written(site)) == (True, False, []), pretended.detail

    store = MemoryStore(execution(action))
    broken: Any = replace(site.clients, code_host=FailingAtTheFirstWrite(site, after_write=False))
    outcome = await run(store.rows[7], services(site, store, clients=broken))
    assert (outcome.ok, outcome.changed) == (False, False), outcome.detail
    assert store.rows[7].state is ExecutionState.FAILED
    site.world.requests.clear()

    store = MemoryStore(execution(action))
    store.die_after = "started"
    with pytest.raises(KeyboardInterrupt):
        await run(store.rows[7], services(site, store))
    assert written(site) == []
    lost: Any = replace(site.clients, code_host=FailingAtTheFirstWrite(site, after_write=True))
    first = await run(store.rows[7], services(site, store, clients=lost))
    assert first.writes[0].result != "done"
    # A fix of several writes may end at the lost one; it says so, and what it has done is there once.
    done = written(site)
    assert done == list(row.writes[: len(done)])
    assert len(set(done)) == len(done), done
    if len(row.writes) == 1:
        assert (first.ok, store.rows[7].state) == (True, ExecutionState.ACTED), first.detail


class SlowAtTheFirstWrite:
    """The real client; GitHub takes its first write, and answers after the client has given it up."""

    def __init__(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        self._site, self._patch, self._met = site, monkeypatch, False

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._site.clients.code_host, name)
        if name not in {"write", "rerun", "cancel"} or self._met:
            return real
        self._met = True
        return self._given_up(real)

    def _given_up(self, real: Any) -> Any:
        async def first(*arguments: Any, **named: Any) -> Any:
            with self._patch.context() as patch:
                # Long enough that the request has arrived by then, however slow the machine is.
                patch.setattr("remediation.github_calls.DEADLINE_S", 1.0)
                self._site.world.faults["github"].update(slow_ms=1500)
                try:
                    return await real(*arguments, **named)
                finally:
                    self._site.world.faults["github"].update(slow_ms=0)

        return first


@pytest.mark.parametrize("name", ROWS)
async def test_a_slow_github_is_given_up_and_what_it_did_is_found(
    site: Site, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    action, row = await proposed(site, name), ROWS[name]
    store = MemoryStore(execution(action))
    slow: Any = replace(site.clients, code_host=SlowAtTheFirstWrite(site, monkeypatch))
    outcome = await run(store.rows[7], services(site, store, clients=slow))
    await site.until(
        lambda: all(r["status"] for r in site.world.requests if r["system"] == "github"), "the late answer was given"
    )
    done = written(site)
    assert done == list(row.writes[: len(done)])
    assert done
    if len(row.writes) == 1:
        assert (outcome.ok, store.rows[7].state) == (True, ExecutionState.ACTED), outcome.detail
    else:
        assert store.rows[7].state in {ExecutionState.ACTED, ExecutionState.FAILED}


@pytest.mark.parametrize("name", ROWS)
async def test_what_changed_meanwhile_is_refused_before_anything_is_written(site: Site, name: str) -> None:
    action = await proposed(site, name)
    hub, where = site.world.github.store, site.world.github.store.repositories[f"acme/{ROWS[name].service}"]
    if name == "github_revert_pr":
        hub.commit(where, "On top", {"src/totals.txt": "rounding = up\n"})
    elif name == "docker_clear_cache":
        hub.commit(where, "No dispatch", {".github/workflows/ci.yml": "on: push\n"})
    else:  # somebody started it again, which is another attempt
        run_ = where.runs[-1]
        hub.hanging.clear()
        hub.rerun(run_, only_failed=False)
    store = MemoryStore(execution(action))
    outcome = await run(store.rows[7], services(site, store))
    assert (outcome.ok, outcome.changed) == (False, False), outcome.detail
    assert store.rows[7].state is ExecutionState.REFUSED
    assert written(site) == []


@pytest.mark.parametrize("name", ROWS)
async def test_it_takes_the_permissions_that_its_entry_states_and_tells_of_every_write(site: Site, name: str) -> None:
    action, row = await proposed(site, name), ROWS[name]
    store = MemoryStore(execution(action))
    outcome = await run(store.rows[7], services(site, store))
    assert outcome.ok, outcome.detail
    needed = {f"{permission}: {level}" for permission, level in github_permissions(site).items()}
    stated = set(REMEDIATORS[name].permissions)
    # A secret is in one of three places; this one is the repository's.
    elsewhere = {"environments: write", "organization secrets: write"}
    written_to = {text for text in needed if text.endswith("write")}
    assert written_to == {text for text in stated - elsewhere if text.endswith("write")}
    assert {text.partition(":")[0] for text in needed} <= {t.partition(":")[0] for t in (*stated, *LOOKING_ON_GITHUB)}
    assert [write.request.rsplit("/", 1)[-1] for write in outcome.writes] == list(row.writes) == written(site)
    assert {(write.system, write.result) for write in outcome.writes} == {("GitHub", "done")}
