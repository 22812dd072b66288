"""Leases and fencing tokens: a worker that outlived its lease writes nothing."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from knowledge.errors import Unavailable
from knowledge.model import Action, Execution, ExecutionState, Outcome, Target
from remediation.execution import Busy, ExecutionServices, Overtaken, run
from remediation.ports import Clients, Cluster, Json
from remediation.remediators import REMEDIATORS
from remediation.verification import by_deadline, deadline_seconds, verify_once, with_signal
from tests.remediation.site import MemoryStore, execution

TARGET = Target("Deployment", "api", "shop", "main", "", "api", "dev")
NOOP = Action("noop", TARGET)


def services(store: MemoryStore, holder: str = "worker-1", **changes: object) -> ExecutionServices:
    return replace(ExecutionServices(store, Clients(), holder), **changes)  # type: ignore[arg-type]


async def test_an_execution_goes_through_its_states_and_tells_its_progress() -> None:
    said: list[str] = []

    async def progress(text: str) -> None:
        said.append(text)

    store = MemoryStore(execution(NOOP))
    outcome = await run(store.rows[7], services(store, progress=progress))
    assert outcome == Outcome(True, False, "Nothing was changed, as intended.")
    assert store.rows[7].state is ExecutionState.ACTED
    assert store.leases == {}
    assert said[-1] == outcome.detail


class Overtaking(MemoryStore):
    """A store in which another worker takes the execution over at a chosen point."""

    def __init__(self, point: str, *executions: Execution) -> None:
        super().__init__(*executions)
        self.point = point

    async def _overtake(self, point: str) -> None:
        if point == self.point:
            self.point = ""
            self.now += 3600  # the lease ended long ago
            token = await self.lease_acquire(TARGET.family, "worker-2/7", 60)
            assert token is not None
            assert await self.take_execution(7, fencing_token=token)

    async def lease_renew(self, key: str, token: int, ttl_s: float) -> bool:
        await self._overtake("while looking")
        return await super().lease_renew(key, token, ttl_s)

    async def start_execution(self, execution_id: int, *, snapshot: object, fencing_token: int) -> bool:
        await self._overtake("before start")
        started = await super().start_execution(execution_id, snapshot=snapshot, fencing_token=fencing_token)
        await self._overtake("after start")
        return started

    async def finish_execution(
        self, execution_id: int, *, state: ExecutionState, outcome: Outcome, fencing_token: int
    ) -> bool:
        await self._overtake("before finish")
        return await super().finish_execution(execution_id, state=state, outcome=outcome, fencing_token=fencing_token)


@pytest.mark.parametrize(
    ("point", "error"),
    [("while looking", Busy), ("before start", Overtaken), ("after start", Overtaken), ("before finish", Overtaken)],
)
async def test_a_stalled_worker_that_goes_on_writes_nothing(point: str, error: type[Exception]) -> None:
    store = Overtaking(point, execution(NOOP))
    with pytest.raises(error):
        await run(store.rows[7], services(store))
    assert store.rows[7].outcome is None
    assert store.leases[TARGET.family][0] == "worker-2/7"
    outcome = await run(store.rows[7], services(store, "worker-2"))
    assert outcome.ok
    assert store.rows[7].state is ExecutionState.ACTED


async def test_a_look_that_takes_too_long_leaves_the_execution_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        async def get(self, *_: object) -> Json:
            return await asyncio.Future()

    monkeypatch.setattr("remediation.execution.LOOK_DEADLINE_S", 0.01)
    store = MemoryStore(execution(Action("k8s_restart_rollout", TARGET)))
    with pytest.raises(Unavailable):
        await run(store.rows[7], services(store, clients=Clients(cluster=cast(Cluster, Silent()))))
    assert (store.rows[7].state, store.leases) == (ExecutionState.QUEUED, {})


async def test_two_executions_of_one_process_keep_each_other_out() -> None:
    store = MemoryStore(execution(NOOP), execution(NOOP, id=8))
    assert await store.lease_acquire(TARGET.family, "worker-1/8", 60)
    with pytest.raises(Busy):
        await run(store.rows[7], services(store))
    assert (await run(store.rows[8], services(store))).ok
    assert (await run(store.rows[7], services(store))).ok


async def test_a_workload_and_what_deploys_it_keep_each_other_out() -> None:
    application = replace(TARGET, kind="Application", name="api-dev")
    store = MemoryStore(execution(NOOP), execution(replace(NOOP, target=application), id=8))
    assert await store.lease_acquire(TARGET.family, "worker-1/7", 60)
    with pytest.raises(Busy):
        await run(store.rows[8], services(store))
    assert (await run(store.rows[7], services(store))).ok
    assert (await run(store.rows[8], services(store))).ok


async def test_a_finished_execution_answers_with_its_stored_outcome() -> None:
    done = Outcome(True, True, "done")
    store = MemoryStore(execution(NOOP, state=ExecutionState.ACTED, outcome=done))
    assert await run(store.rows[7], services(store)) == done


async def test_an_unknown_parameter_is_refused_before_anything_is_looked_at() -> None:
    store = MemoryStore(execution(replace(NOOP, parameters={"force": True})))
    outcome = await run(store.rows[7], services(store))
    assert not outcome.ok
    assert store.rows[7].state is ExecutionState.REFUSED


async def test_verification_waits_until_things_have_settled_and_ends_at_its_deadline() -> None:
    scale = REMEDIATORS["k8s_scale"]
    now = datetime.now(UTC)
    row = execution(Action("k8s_scale", TARGET), finished_at=now)
    early = await verify_once(row, Clients(), now=now + timedelta(seconds=1), signal_firing=False)
    assert (early.verdict, early.checks) == ("pending", ())
    unanswered = await verify_once(row, Clients(), now=now + timedelta(seconds=30), signal_firing=False)
    assert unanswered.verdict == "pending"
    late = await verify_once(
        row, Clients(), now=now + timedelta(seconds=deadline_seconds(scale)), signal_firing=False
    )  # fmt: skip
    assert late.verdict == "not_verified"


def test_a_signal_can_hold_success_back_but_never_make_it() -> None:
    scale, rollback = REMEDIATORS["k8s_scale"], REMEDIATORS["k8s_rollback"]
    broken = rollback.verify(Action("k8s_rollback", TARGET), {"uid": "d"}, {})
    assert with_signal(broken, rollback, False).verdict == broken.verdict != "verified"
    assert by_deadline(broken, 10, 5).verdict == "not_verified"
    assert scale.verify(Action("k8s_scale", TARGET), {"uid": "d", "to": 4}, {}).verdict == "not_verified"


def test_every_entry_of_the_catalogue_says_what_a_person_must_know() -> None:
    for name, entry in REMEDIATORS.items():
        assert entry.name == name
        assert entry.title
        assert entry.deadline_seconds >= entry.settle_seconds
        assert (entry.undo is None) == (entry.undo_text == "")
        assert entry.target_kinds
        assert entry.permissions or not entry.counts
