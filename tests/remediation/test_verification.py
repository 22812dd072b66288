"""What a fix must show besides its target: the source's word in its own time, the service's queries, nothing new."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import remediation
from knowledge.errors import Unavailable
from knowledge.model import ExecutionState, FailureKind, Verification
from remediation import kube
from remediation.execution import run
from remediation.policy import Policy, parse_policy
from remediation.ports import Clients, Sample
from remediation.registry import check
from remediation.remediators import REMEDIATORS
from remediation.verification import deadline_seconds, verify_once, with_new_failures
from tests.remediation.site import MemoryStore, Site, execution, services

VERIFIED = Verification("verified", (check("pods ready", "2", "2", True),), "All pods are ready.")


class Answers:
    """Prometheus, as far as verification asks it."""

    def __init__(self, answer: list[float] | Unavailable) -> None:
        self.answer = answer

    async def query(self, promql: str, at: datetime) -> list[Sample]:
        assert promql == "up > 0"
        assert at.tzinfo is not None
        if isinstance(self.answer, Unavailable):
            raise self.answer
        return [Sample({}, value) for value in self.answer]

    async def version(self) -> str:
        return "3"


async def healed(site: Site) -> Any:
    await site.broken("stuck-pod-payments")
    plan = await site.plan(FailureKind.PROBE_FAILURE, site.incident("payments-api"))
    store = MemoryStore(execution(plan.action))
    await run(store.rows[7], services(site, store))
    assert store.rows[7].state is ExecutionState.ACTED

    async def well() -> bool:
        later = datetime.now(UTC) + timedelta(seconds=90)
        found = await verify_once(store.rows[7], site.clients, now=later, signal_firing=None)
        return found.verdict == "verified"

    await site.until(well, "the fix is verified")
    return store.rows[7]


def asking(policy: Policy, answer: list[float] | Unavailable | None, clients: Clients) -> dict[str, Any]:
    """The site's policy with a query for its services, and clients with an answer to it."""
    rows = tuple(row.model_copy(update={"healthy_when": ("up > 0",)}) for row in policy.services)
    metrics = Answers(answer) if answer is not None else None
    return {"policy": policy.model_copy(update={"services": rows}), "clients": replace(clients, metrics=metrics)}


async def test_a_new_container_that_has_run_for_a_moment_proves_nothing(site: Site) -> None:
    """One without a readiness probe is ready at once, and may crash in half a minute as the one before it did."""
    row = await healed(site)
    pods = await site.clients.cluster.list("sandbox", "Pod", row.action.target.namespace)  # type: ignore[union-attr]
    mine = [pod for pod in pods if kube.name_of(pod).startswith("payments-api") and kube.is_ready(pod)]
    started = max(at for at in map(kube.running_since, mine) if at)
    shipped = parse_policy((Path(remediation.__file__).parent / "policy_default.yaml").read_text())

    async def after(seconds: int, settle: dict[str, int]) -> Verification:
        policy = shipped.model_copy(update={"limits": shipped.limits.model_copy(update={"settle_seconds": settle})})
        at = started + timedelta(seconds=seconds)
        return await verify_once(row, site.clients, now=at, signal_firing=False, policy=policy)

    early = await after(12, {})
    assert early.verdict == "pending"
    assert ("pods steady", "for 60 s", False) in [(one.rule, one.limit, one.passed) for one in early.checks]
    assert (await after(59, {})).verdict == "pending"
    assert (await after(75, {})).verdict == "verified"
    # A policy may be content with less, and waiting longer before the first look asks for no more.
    assert (await after(8, {"k8s_restart_pod": 10})).verdict == "pending"
    assert (await after(25, {"*": 10})).verdict == "verified"
    assert (await after(135, {"*": 120})).verdict == "verified"


async def test_the_services_own_queries_and_the_sources_word_hold_success_back(site: Site) -> None:
    row = await healed(site)
    at = row.finished_at + timedelta(seconds=90)
    answers: list[list[float] | Unavailable | None] = [
        [1.0, 3.0], [1.0, 0.0], [math.nan], [], Unavailable("It does not answer."), None,
    ]  # fmt: skip
    verdicts = []
    for answer in answers:
        with_queries = asking(site.policy, answer, site.clients)
        found = await verify_once(row, now=at, signal_firing=None, **with_queries)
        verdicts.append(found.verdict)
        assert found.checks[-1].rule == "healthy when"
    assert verdicts == ["verified", *["pending"] * 5]
    # The pods are well, and Alertmanager says so only minutes later.
    late = row.finished_at + timedelta(seconds=deadline_seconds(REMEDIATORS["k8s_restart_pod"]) + 1)
    firing: dict[str, Any] = {"signal_firing": True, "now": late}
    assert (await verify_once(row, site.clients, **firing)).verdict == "not_verified"
    assert (await verify_once(row, site.clients, resolves_after_s=360, **firing)).verdict == "pending"
    later = late + timedelta(seconds=360)
    assert (await verify_once(row, site.clients, resolves_after_s=360, now=later, signal_firing=True)).verdict == (
        "not_verified"
    )
    new = await verify_once(row, site.clients, now=at, signal_firing=False, new_failures=("Disk full",))
    assert (new.verdict, "Disk full" in new.detail) == ("pending", True)


@pytest.mark.parametrize(("titles", "verdict"), [((), "verified"), (("A", "B"), "pending")])
def test_what_began_to_fail_since_is_named(titles: tuple[str, ...], verdict: str) -> None:
    found = with_new_failures(VERIFIED, titles)
    assert found.verdict == verdict
    assert found.checks[-1].actual == ("2: A, B" if titles else "nothing")
