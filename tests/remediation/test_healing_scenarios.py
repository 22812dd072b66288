"""Each scenario of the sandbox: from its kind to the proposed fix, carried out and verified, or left to a person."""

from datetime import timedelta

import pytest

from bot.sandbox.world.scenarios import BY_ID, SCENARIOS
from knowledge.model import ExecutionState, FailureKind
from remediation.evidence import collect
from remediation.execution import run
from remediation.verification import verify_once
from tests.remediation.site import MemoryStore, Site, execution, services

HEALED_HERE = [s.id for s in SCENARIOS if s.right_action.startswith("k8s_")]
LEFT_TO_A_PERSON = [
    s.id for s in SCENARIOS if s.right_action in {"escalate", "noop"} and s.source != "github" and not s.misleads
]


@pytest.mark.parametrize("scenario_id", HEALED_HERE)
async def test_the_right_fix_is_proposed_heals_and_is_verified(site: Site, scenario_id: str) -> None:
    scenario = BY_ID[scenario_id]
    await site.broken(scenario_id)
    incident = site.incident(scenario.service)
    plan = await site.plan(FailureKind(scenario.kind), incident)
    assert plan.action is not None, plan.no_action_because
    assert plan.action.name == scenario.right_action
    assert plan.preview
    assert plan.blast_radius
    store = MemoryStore(execution(plan.action))

    outcome = await run(store.rows[7], services(site, store))

    assert outcome.ok, outcome.detail
    assert outcome.changed
    row = store.rows[7]
    assert row.state is ExecutionState.ACTED
    assert row.finished_at is not None
    later = row.finished_at + timedelta(seconds=180)

    async def verified() -> bool:
        found = await verify_once(row, site.clients, now=later, signal_firing=False)
        assert found.verdict in {"pending", "verified", "worse"}, found.detail
        return found.verdict == "verified"

    await site.until(verified, "the fix is verified")
    assert site.service(scenario.service)["status"] == "healthy"


@pytest.mark.parametrize("scenario_id", LEFT_TO_A_PERSON)
async def test_what_no_fix_heals_is_left_to_a_person(site: Site, scenario_id: str) -> None:
    scenario = BY_ID[scenario_id]
    await site.world.break_(scenario_id)
    plan = await site.plan(FailureKind(scenario.kind), site.incident(scenario.service))
    assert plan.action is None, plan
    assert plan.no_action_because


async def test_evidence_of_a_crash_names_the_cause_and_hides_secrets(site: Site) -> None:
    await site.broken("release-crash-orders")
    incident = site.incident("orders")

    async def has_previous() -> bool:
        found = await collect(incident, site.clients)
        return any("readDefinition" in e.text for e in found if e.kind == "previous_logs")

    await site.until(has_previous, "the previous log is there")
    found = {e.kind: e for e in await collect(incident, site.clients)}
    assert "orders" in found["rollout"].text
    assert "(current)" in found["rollout"].text
    assert "Pod orders-" in found["pod_status"].text
    assert "BackOff" in found["events"].text
    causes = site.world.kubernetes.cluster.causes
    secrets = [c.fields["password"] for c in causes] + [c.fields["access_key"] for c in causes]
    assert secrets
    everything = "".join(e.text + e.could_not for e in found.values())
    assert not [s for s in secrets if s in everything]
