"""What is learnt of an incident in which a fix ran in vain and somebody looked again."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from handlers import learning
from handlers.services import Services
from knowledge.calibration import Outcomes
from knowledge.errors import Unavailable
from knowledge.model import (
    Action,
    Execution,
    ExecutionState,
    FailureKind,
    Incident,
    Outcome,
    TrackRecord,
    Verification,
)
from knowledge.ports import Embedder, Vector
from knowledge.store import answers, approvals, casebook, executions, incidents, memory, steers
from knowledge.store.threads import OPERATOR
from knowledge.store.trust import Case, Counted, counted
from tests.rows import APPROVERS, NOOP, NOW, S, an_incident, decision, diagnosis, plan

K = FailureKind
RESTART, SCALE = replace(NOOP, name="k8s_rollout_restart"), replace(NOOP, name="k8s_scale")


class Away:
    """An embedder that cannot be had: lessons are kept without vectors then."""

    name = "away"

    async def embed_passages(self, _texts: Sequence[str]) -> list[Vector]:
        raise Unavailable("No embedder here.")


@pytest.fixture
def learning_services(services: Services) -> Services:
    return replace(services, embedder=cast(Embedder, Away()))


async def planned(services: Services, incident: Incident, kind: FailureKind, action: Action | None) -> int | None:
    """An answer and a plan of it; the approval that was asked for, where there is something to approve."""
    async with services.engine.begin() as db:
        answer = await answers.add_diagnosis(db, incident.id, diagnosis(kind), [])
        stored = await answers.add_plan(db, incident.id, answer, plan(action), decision())
        if action is None:
            return None
        return await approvals.ask(
            db, incident_id=incident.id, plan_id=stored.id, digest=action.digest, needed=1, who=APPROVERS, until=NOW,
        )  # fmt: skip


async def ran(services: Services, incident: Incident, kind: FailureKind, action: Action, verdict: str) -> Execution:
    """A fix of that kind that was carried out, and how it ended."""
    approval = await planned(services, incident, kind, action)
    assert approval is not None
    async with services.engine.begin() as db:
        number = await executions.queue(db, incident_id=incident.id, approval_id=approval, action=action)
        assert number is not None
        assert await executions.start(db, number, fencing_token=1, snapshot={})
        done = Outcome(ok=True, changed=True, detail="Done.")
        assert await executions.finish(db, number, state=ExecutionState.ACTED, outcome=done, fencing_token=1)
        await executions.add_verification(db, number, Verification(verdict, (), ""))
        current = await executions.get(db, number)
    assert current is not None
    return current


async def records(services: Services, kind: FailureKind) -> dict[str, TrackRecord]:
    async with services.engine.connect() as db:
        return dict(await memory.track_record(db, kind=kind, environment="prod"))


async def in_vain(services: Services) -> tuple[Incident, Execution]:
    """An incident in which a restart for a crash loop did not help, and that was learnt."""
    async with services.engine.begin() as db:
        incident = await an_incident(db, state=S.NOT_VERIFIED)
    first = await ran(services, incident, K.CRASHLOOP, RESTART, "not_verified")
    await learning.learn(services, incident.id)
    assert (await records(services, K.CRASHLOOP))["k8s_rollout_restart"].failed == 1
    return incident, first


async def ended_by_itself(services: Services, incident: Incident) -> None:
    async with services.engine.begin() as db:
        for state in (S.DIAGNOSING, S.ESCALATED, S.RESOLVED):
            moved = await incidents.move(db, incident, state)
            assert moved is not None
            incident = moved
    await learning.learn(services, incident.id)


@pytest.mark.parametrize("proposed", [None, SCALE])
async def test_a_fix_in_vain_stays_failed_where_the_next_look_ran_nothing(
    learning_services: Services, proposed: Action | None
) -> None:
    incident, _ = await in_vain(learning_services)
    await planned(learning_services, incident, K.NETWORK, proposed)
    await ended_by_itself(learning_services, incident)
    assert (await records(learning_services, K.CRASHLOOP))["k8s_rollout_restart"].failed == 1
    assert await records(learning_services, K.NETWORK) == {}


async def test_a_fix_that_was_refused_takes_over_nothing(learning_services: Services) -> None:
    incident, _ = await in_vain(learning_services)
    approval = await planned(learning_services, incident, K.NETWORK, SCALE)
    assert approval is not None
    async with learning_services.engine.begin() as db:
        assert await executions.queue(db, incident_id=incident.id, approval_id=approval, action=SCALE)
        assert await executions.hold_back(db, incident.id, "somebody took over")
    await ended_by_itself(learning_services, incident)
    assert (await records(learning_services, K.CRASHLOOP))["k8s_rollout_restart"].failed == 1
    assert await records(learning_services, K.NETWORK) == {}


async def test_a_fix_in_vain_is_counted_beside_the_one_that_helped_and_found_by_no_search(
    learning_services: Services,
) -> None:
    services = learning_services
    incident, first = await in_vain(services)
    await ran(services, incident, K.NETWORK, SCALE, "verified")
    for _ in range(2):
        await learning.learn(services, incident.id)
    failed, helped = await records(services, K.CRASHLOOP), await records(services, K.NETWORK)
    assert (failed["k8s_rollout_restart"].failed, failed["k8s_rollout_restart"].verified) == (1, 0)
    assert (helped["k8s_scale"].failed, helped["k8s_scale"].verified) == (0, 1)
    name = f"incident-{incident.id}-fix-{first.id}"
    async with services.engine.begin() as db:
        case = Case(K.CRASHLOOP, "k8s_rollout_restart", "checkout", "prod")
        assert await counted(db, case) == Counted(0, 1), "it earns no trust, and costs some"
        await memory.put_feedback(db, incident.id, "U0DEV", 1)
        assert await memory.outcomes_by_kind(db, environment="prod") == {K.NETWORK: Outcomes(right=1, wrong=0)}
        found = await memory.search(db, words="CheckoutDown panics", vector=None, vector_model="", asked=OPERATOR)
        assert [one.item.id for one in found] == [f"incident-{incident.id}"]
        assert name in await casebook.reviewed_ids(db)
        before = await casebook.get(db, name, lock=True)
        assert before is not None
        await casebook.correct(
            db, before, replace(before.item, status="wrong"), ("status",), vector=None, vector_model="none"
        )
    assert await records(services, K.CRASHLOOP) == {}, "a person's correction holds for it too"


async def test_a_fix_in_vain_stays_failed_where_a_person_led_to_the_next_one(learning_services: Services) -> None:
    services = learning_services
    incident, _ = await in_vain(services)
    said: dict[str, Any] = {"payload": {"not": ["crashloop"]}, "by": "U0DEV", "most": 3}
    async with services.engine.begin() as db:
        assert await steers.add(db, incident.id, key="1.1", **said)
    await ran(services, incident, K.NETWORK, SCALE, "not_verified")
    await learning.learn(services, incident.id)
    assert await records(services, K.NETWORK) == {}, "its failing says nothing of ours"
    assert (await records(services, K.CRASHLOOP))["k8s_rollout_restart"].failed == 1
    await ran(services, incident, K.NETWORK, RESTART, "verified")
    await learning.learn(services, incident.id)
    assert (await records(services, K.NETWORK))["k8s_rollout_restart"].verified == 1
    assert (await records(services, K.CRASHLOOP))["k8s_rollout_restart"].failed == 1
