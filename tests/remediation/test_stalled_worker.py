"""A worker that is stopped past its lease and goes on: it writes nothing. And an undo that a crash breaks off."""

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import cycle, islice
from typing import Any

import pytest
from sqlalchemy import text

from knowledge.model import ExecutionState, FailureKind
from knowledge.store import executions
from knowledge.store.executions import StoredExecutions
from remediation.execution import LEASE_S, Busy, ExecutionServices, Overtaken, run, undo
from remediation.ports import Clients
from tests.remediation.site import MemoryStore, Site, execution, services
from tests.rows import an_execution, opened

# The calls of the store between which a worker may be stopped; "before" what it asks for, or "after".
CALLS = ("take_execution", "start_execution", "lease_renew", "finish_execution", "lease_release")
STOPS = tuple((call, when) for call in CALLS for when in ("before", "after"))
TIMES = 100


class Stopped:
    """The real store, as a worker sees it that is stopped at one call while `meanwhile` happens."""

    def __init__(self, store: StoredExecutions, call: str, when: str, meanwhile: Callable[[], Awaitable[None]]) -> None:
        self._store, self._call, self._when, self._meanwhile = store, call, when, meanwhile

    def __getattr__(self, name: str) -> Any:
        async def call(*arguments: Any, **named: Any) -> Any:
            stopped = name == self._call
            if stopped and self._when == "before":
                self._call = ""
                await self._meanwhile()
            found = await getattr(self._store, name)(*arguments, **named)
            if stopped and self._when == "after":
                self._call = ""
                await self._meanwhile()
            return found

        return call


AGAIN = text("UPDATE executions SET state = 'queued', outcome = NULL, snapshot = '{}', fencing_token = 0")
LEASE_ENDS = text("UPDATE leases SET expires_at = now()")
ROWS = text("SELECT to_jsonb(e) || to_jsonb(l) FROM executions e, leases l")


async def test_a_worker_stopped_past_its_lease_writes_nothing_each_time_of_100(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("remediation.execution.SETTLE_PAUSE_S", 0.0)
    written = []
    async with opened(database_url) as engine, engine.connect() as watch:
        await watch.execution_options(isolation_level="AUTOCOMMIT")
        store = StoredExecutions(engine)
        async with engine.begin() as db:
            row = await executions.get(db, await an_execution(db))
        assert row is not None
        seen: list[Any] = []

        async def another_has_it() -> None:
            await watch.execute(LEASE_ENDS)
            await run(row, ExecutionServices(store, Clients(), "second"))
            seen.append((await watch.execute(ROWS)).scalar_one())

        for call, when in islice(cycle(STOPS), TIMES):
            await watch.execute(AGAIN)
            await watch.execute(LEASE_ENDS)
            stopped: Any = Stopped(store, call, when, another_has_it)
            with contextlib.suppress(Busy, Overtaken):
                await run(row, ExecutionServices(stopped, Clients(), "first"))
            if (await watch.execute(ROWS)).scalar_one() != seen[-1]:
                written.append((call, when))
    assert (len(seen), written) == (TIMES, [])


async def test_what_it_still_sends_to_the_cluster_changes_nothing(site: Site) -> None:
    await site.broken("overload-catalog")
    plan = await site.plan(FailureKind.PERFORMANCE, site.incident("catalog"))
    store = MemoryStore(execution(plan.action))
    real = site.clients.cluster
    assert real is not None
    second: list[Any] = []

    class Slow:
        """Is stopped just before it sends, until another worker has taken over and is done."""

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        async def patch(self, *arguments: Any, **named: Any) -> Any:
            store.now += 3600
            second.append(await run(store.rows[7], services(site, store, holder="second")))
            return await real.patch(*arguments, **named)

    with pytest.raises(Overtaken):
        await run(store.rows[7], services(site, store, clients=replace(site.clients, cluster=Slow())))
    assert second[0].changed
    assert store.rows[7].outcome == second[0]
    sent = [r["status"] for r in site.world.requests if r["system"] == "k8s" and r["method"] == "PATCH"]
    assert sent[0] == 200
    assert all(status in {409, 422} for status in sent[1:]), sent


async def test_an_undo_is_not_sent_where_nothing_may_be_and_is_told_where_it_was_sent_before(site: Site) -> None:
    await site.broken("overload-catalog")
    plan = await site.plan(FailureKind.PERFORMANCE, site.incident("catalog"))
    store = MemoryStore(execution(plan.action))
    await run(store.rows[7], services(site, store))
    fixed = site.service("catalog")["replicas"]

    def changes() -> int:
        return len([r for r in site.world.requests if r["system"] == "k8s" and r["method"] == "PATCH"])

    def read_only() -> str:
        return "CodeHealer is read-only"

    outcome = await undo(store.rows[7], services(site, store, read_only=read_only))
    assert outcome is not None
    assert not outcome.ok
    assert "It was not undone, because CodeHealer is read-only." in outcome.detail
    assert (store.rows[7].state, site.service("catalog")["replicas"], changes()) == (ExecutionState.ACTED, fixed, 1)
    store.die_after = "acted"
    with pytest.raises(KeyboardInterrupt):
        await undo(store.rows[7], services(site, store))
    outcome = await undo(store.rows[7], services(site, store, read_only=read_only))
    assert outcome is not None
    assert (outcome.ok, store.rows[7].state, changes()) == (True, ExecutionState.UNDONE, 2)


@pytest.mark.parametrize("point", ["undo begun", "acted"])
@pytest.mark.parametrize(
    ("scenario", "kind", "name"),
    [
        ("overload-catalog", FailureKind.PERFORMANCE, "catalog"),
        ("release-crash-checkout", FailureKind.CRASHLOOP, "checkout"),
    ],
)
async def test_an_undo_that_a_crash_breaks_off_ends_with_what_the_target_shows(
    site: Site, scenario: str, kind: FailureKind, name: str, point: str
) -> None:
    await site.broken(scenario)
    before = site.service(name)
    plan = await site.plan(kind, site.incident(name))
    store = MemoryStore(execution(plan.action))
    await run(store.rows[7], services(site, store))
    store.die_after = point
    with pytest.raises(KeyboardInterrupt):
        await undo(store.rows[7], services(site, store))
    assert store.rows[7].state is ExecutionState.ACTED
    store.now += LEASE_S
    outcome = await undo(store.rows[7], services(site, store, holder="after the restart"))
    assert outcome is not None
    assert outcome.ok, outcome.detail
    assert store.rows[7].state is ExecutionState.UNDONE
    after = site.service(name)
    assert (after["replicas"], after["image"]) == (before["replicas"], before["image"])
    changes = [r for r in site.world.requests if r["system"] == "k8s" and r["method"] == "PATCH"]
    assert len(changes) == 2, "the fix and its undo, once each"
