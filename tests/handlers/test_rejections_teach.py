"""What each reason for a rejection does to the next time, on the sandbox's cluster with a release that crashes."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import httpx
import pytest_asyncio

from bot.sandbox.server import Sandbox
from handlers import decisions, flow, learning
from handlers.blocks.modals import Rejection
from handlers.services import Services
from knowledge.errors import Unavailable
from knowledge.model import FailureKind, Incident, KnowledgeItem, Plan, RejectReason, Target
from knowledge.ports import Embedder, Vector
from knowledge.store import answers, approvals, incidents, memory, outbox
from remediation.argocd import ArgoCdServer
from remediation.cluster import ClusterAccess, KubernetesCluster
from remediation.ports import Clients
from tests.rows import S, an_incident, decision, diagnosis

CHECKOUT = Target("Deployment", "checkout", "shop", "sandbox", "acme/checkout", "checkout", "prod")


class Away:
    """An embedder that cannot be had: a lesson is kept without its vector then."""

    name = "away"

    async def embed_passages(self, _texts: Sequence[str]) -> list[Vector]:
        raise Unavailable("No embedder here.")


@pytest_asyncio.fixture
async def crashing(services: Services, sandbox: Sandbox) -> AsyncIterator[Services]:
    cluster = KubernetesCluster({"sandbox": ClusterAccess(Path(sandbox.env["KUBECONFIG"]))})
    await sandbox.world.break_("release-crash-checkout")
    async with asyncio.timeout(30):
        while sandbox.world.snapshot()["services"][0]["status"] == "healthy":  # noqa: ASYNC110  no event tells of it
            await asyncio.sleep(0.02)
    async with httpx.AsyncClient() as http:
        argocd = ArgoCdServer(http, sandbox.env["ARGOCD_SERVER"], sandbox.env["ARGOCD_TOKEN"])
        clients = Clients(cluster=cluster, argocd=argocd)
        yield replace(services, clients=clients, embedder=cast(Embedder, Away()))
    await cluster.aclose()


async def planned(services: Services, incident: Incident) -> Plan:
    seen = await flow.look(services, incident, ())
    return await flow._plan(services, incident, diagnosis(), seen)


async def rejected(services: Services, reason: RejectReason, title: str, plan: Plan) -> tuple[Incident, KnowledgeItem]:
    """An incident whose fix was rejected for a reason, and what was learnt of it."""
    assert plan.action is not None
    async with services.engine.begin() as db:
        incident = await an_incident(db, state=S.WAITING, title=title)
        await outbox.new_card(db, incident.id, "C0DEPLOY")
        answer = await answers.add_diagnosis(db, incident.id, diagnosis(), [])
        stored = await answers.add_plan(db, incident.id, answer, plan, decision())
        approval = await approvals.ask(
            db, incident_id=incident.id, plan_id=stored.id, digest=plan.action.digest, needed=1,
            who=("U0ONCALL",), until=datetime.max.replace(tzinfo=UTC),
        )  # fmt: skip
    rejection = Rejection(approval, plan.action.digest[:16], incident.id, reason, "")
    await decisions.reject(services, rejection, user="U0ONCALL", key=title)
    await learning.learn(services, incident.id)
    async with services.engine.connect() as db:
        after = await incidents.get(db, incident.id)
        item = await memory.get(db, f"incident-{incident.id}")
    assert after is not None
    assert item is not None
    return after, item


async def again(services: Services, title: str) -> Incident:
    """The same failure once more."""
    async with services.engine.begin() as db:
        incident = await an_incident(db, state=S.DIAGNOSING, title=title)
        moved = await incidents.move(db, incident, S.DIAGNOSING, target=CHECKOUT)
    assert moved is not None
    return moved


async def test_each_reason_for_a_rejection_has_its_effect(crashing: Services) -> None:
    services = crashing
    plan = await planned(services, await again(services, "first"))
    assert plan.action is not None
    assert plan.action.name == "k8s_rollback"
    about: dict[str, Any] = {"kind": FailureKind.CRASHLOOP, "environment": "prod"}

    after, item = await rejected(services, RejectReason.NOT_NOW, "not now", plan)
    assert (after.state, item.outcome) == ("escalated", ""), "it says nothing about the fix"
    assert (await planned(services, await again(services, "not now"))).action == plan.action

    after, item = await rejected(services, RejectReason.ALREADY_FIXED, "fixed", plan)
    assert (after.state, item.outcome, item.fix) == ("dismissed", "resolved", ""), "not by the fix that was proposed"
    async with services.engine.connect() as db:
        assert (await memory.track_record(db, **about))["k8s_rollback"].rejected == 0
        assert (await memory.outcomes_by_kind(db, environment="prod"))[FailureKind.CRASHLOOP].wrong == 0

    after, item = await rejected(services, RejectReason.WRONG_CAUSE, "cause", plan)
    assert (after.state, item.outcome) == ("escalated", "rejected")
    async with services.engine.connect() as db:
        assert (await memory.outcomes_by_kind(db, environment="prod"))[FailureKind.CRASHLOOP].wrong == 1
    assert (await planned(services, await again(services, "cause"))).action == plan.action

    after, _ = await rejected(services, RejectReason.WRONG_TARGET, "target", plan)
    assert after.state == "escalated"
    same = await planned(services, await again(services, "target"))
    assert same.action is None
    assert "the wrong thing" in same.no_action_because
    assert (await planned(services, await again(services, "another failure"))).action == plan.action

    await rejected(services, RejectReason.RIGHT_CAUSE_WRONG_FIX, "fix", plan)
    other = await planned(services, await again(services, "any"))
    assert other.action is None or other.action.name != "k8s_rollback"
    assert dict(other.excluded)["k8s_rollback"] == "people rejected it for this cause here as the wrong fix"
