"""Has it recovered by itself? Only what the live system shows, for long enough, counts."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from knowledge.model import AnswerSource, FailureKind, Target, Unsure
from remediation import kube
from remediation.context import Context
from remediation.gitops import application_target
from remediation.ports import Clients
from remediation.recovery import STEADY, believed, is_well
from tests.remediation.site import Site, diagnosis, with_an_evicted_pod

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
HEALTHY = diagnosis(FailureKind.HEALTHY)
SOURCE = AnswerSource("built-in")


def pod(ready: bool) -> dict[str, Any]:
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    return {"kind": "Pod", "metadata": {"name": "web-1"}, "status": {"phase": "Running", "conditions": [condition]}}


def seen(*pods: dict[str, Any], conclusion: str | None = None, run: bool = False) -> Context:
    target = Target("Deployment", "checkout", "shop", "sandbox")
    return Context(target, NOW, pods=pods, run={"conclusion": conclusion} if run else None)


@pytest.mark.parametrize(
    ("context", "words"),
    [
        (None, ""),
        (seen(), ""),
        (seen(pod(True), pod(True)), ""),
        (seen(pod(True), pod(False)), "1 of 2 pods are not ready"),
        (seen(run=True, conclusion="failure"), "the run has failed"),
        (seen(run=True, conclusion="success"), ""),
        (seen(run=True), ""),
    ],
    ids=["no target", "nothing seen", "all ready", "one unready", "run failed", "run passed", "run goes on"],
)
def test_nothing_is_wrong_is_believed_only_where_the_live_system_agrees(context: Context | None, words: str) -> None:
    answer = believed(HEALTHY, context)
    if words:
        assert isinstance(answer, Unsure)
        assert words in answer.reason
        assert answer.missing
    else:
        assert answer is HEALTHY


def test_other_answers_are_left_as_they_are() -> None:
    unsure = Unsure("no evidence", (), SOURCE)
    for answer in (diagnosis(FailureKind.CRASHLOOP), unsure):
        assert believed(answer, seen(pod(False))) is answer


async def test_a_workload_is_well_when_all_its_pods_have_been_ready_for_a_while(site: Site) -> None:
    target = site.target("checkout")
    later = datetime.now(UTC) + STEADY + timedelta(seconds=30)
    await site.until(lambda: site.service("checkout")["status"] == "healthy", "the world is up")
    assert await is_well(target, site.clients, now=later)
    await site.broken("release-crash-checkout")

    async def crashing() -> bool:
        return not await is_well(target, site.clients, now=later)

    await site.until(crashing, "its new pod, which is not there at once, is no steady one")


async def test_a_rollout_whose_pods_are_refused_is_not_well_although_the_old_ones_are_steady(site: Site) -> None:
    target, store = site.target("checkout"), site.store()
    later = datetime.now(UTC) + STEADY + timedelta(seconds=30)
    await site.until(lambda: site.service("checkout")["status"] == "healthy", "the world is up")
    store.create("resourcequotas", {
        "metadata": {"name": "full", "namespace": target.namespace}, "spec": {"hard": {"pods": "1"}},
    })  # fmt: skip
    assert await is_well(target, site.clients, now=later)
    live = store.get("deployments", target.namespace, target.name)
    operations = [
        {"op": "add", "path": "/spec/template/metadata/annotations", "value": {"release": "next"}},
        {"op": "add", "path": "/spec/strategy", "value": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}},
    ]
    await site.clients.cluster.patch(  # type: ignore[union-attr]
        target.cluster, target.kind, target.namespace, target.name, operations
    )
    assert not await is_well(target, site.clients, now=later), "the controller has not looked yet"
    generation = live["metadata"]["generation"] + 1

    def rolling() -> bool:
        now = store.get("deployments", target.namespace, target.name)
        status = now["status"]
        return bool(status.get("observedGeneration", 0) >= generation and not status.get("updatedReplicas"))

    await site.until(rolling, "its new replica set has no pod")
    ready = [pod for pod in site.world.kubernetes.cluster.pods("checkout") if kube.is_ready(pod)]
    assert len(ready) == live["spec"]["replicas"]
    assert not await is_well(target, site.clients, now=later)


async def test_a_pod_that_was_evicted_is_no_pod_of_the_workload_any_more(site: Site) -> None:
    target = site.target("checkout")
    later = datetime.now(UTC) + STEADY + timedelta(seconds=30)
    await site.until(lambda: site.service("checkout")["status"] == "healthy", "the world is up")
    clients = with_an_evicted_pod(site.clients)
    assert await is_well(target, clients, now=later)
    site.clients = clients
    found = await site.context(site.incident("checkout"), target)
    assert not [one for one in found.pods if kube.is_failing(one)]


async def test_an_application_is_well_when_it_is_healthy_and_its_last_operation_is_no_news(site: Site) -> None:
    target = application_target(next(row for row in site.policy.services if row.name == "loyalty"))
    now = datetime.now(UTC)
    await site.until(lambda: site.service("loyalty")["status"] == "healthy", "the world is up")
    assert await is_well(target, site.clients, now=now)
    application = site.world.argocd.store.apps["loyalty"]
    application.operation.finished_at = now.timestamp()
    assert not await is_well(target, site.clients, now=now)
    await site.broken("argocd-degraded-loyalty")
    found = await site.context(site.incident("loyalty"), target)
    sick = {"status": {"health": {"status": "Degraded"}}}
    assert found.gitops is not None
    answer = believed(HEALTHY, replace(found, gitops=replace(found.gitops, application=sick)))
    assert isinstance(answer, Unsure)
    assert "application is degraded" in answer.reason
    assert not await is_well(target, Clients(), now=now)


async def test_a_run_is_over_when_it_or_a_later_one_like_it_has_succeeded(site: Site) -> None:
    store = site.world.github.store
    repository = store.repositories["acme/catalog"]

    async def over(*, ended: str = "success", started_by: str = "push", **later: str) -> bool:
        """Of a run that failed, after a later one that ended so."""
        failed, newer = (store.start(repository, repository.head.sha, title) for title in ("Old", "New"))
        for run, conclusion in ((failed, "failure"), (newer, ended)):
            run.announced, run.event = True, started_by
            run.last.status, run.last.conclusion = "completed", conclusion
        for name, value in later.items():
            setattr(newer, name, value)
        target = Target("WorkflowRun", str(failed.id), repository="acme/catalog")
        well = await is_well(target, site.clients, now=NOW)
        repository.runs.remove(newer)
        return well

    assert await over()
    assert not await over(ended="failure")
    assert not await over(ended="cancelled")
    assert not await over(branch="rounding")
    assert not await over(event="schedule")
    assert not await over(started_by="workflow_dispatch"), "what people start by hand has inputs of its own"


async def test_what_became_ready_a_moment_ago_is_not_well_yet(site: Site) -> None:
    target = site.target("payments-api")
    await site.until(lambda: site.service("payments-api")["status"] == "healthy", "the world is up")
    pods = await site.clients.cluster.list("sandbox", "Pod", target.namespace)  # type: ignore[union-attr]
    conditions = [one for found in pods for one in found["status"]["conditions"] if one["type"] == "Ready"]
    newest = max(datetime.fromisoformat(one["lastTransitionTime"].replace("Z", "+00:00")) for one in conditions)
    assert not await is_well(target, site.clients, now=newest + STEADY - timedelta(seconds=1))


async def test_what_can_not_be_looked_at_is_not_well(site: Site) -> None:
    target = site.target("checkout")
    later = datetime.now(UTC) + timedelta(hours=1)
    assert not await is_well(target, Clients(), now=later)
    gone = Target("Deployment", "nothing", "shop", "sandbox")
    assert not await is_well(gone, site.clients, now=later)
    run = Target("WorkflowRun", "1", repository="acme/checkout")
    assert not await is_well(run, Clients(), now=later)
    assert not await is_well(run, site.clients, now=later)
