"""What the clients send is what the official API descriptions allow."""

import re
from datetime import timedelta
from functools import cache
from typing import Any

import kubernetes_validate
import pytest
from jsonschema import Draft202012Validator

from bot.sandbox.world.scenarios import BY_ID
from knowledge.errors import BadInput, NotFound, Refused, Unavailable
from knowledge.model import ExecutionState, FailureKind
from remediation.evidence import collect
from remediation.execution import run, undo
from remediation.permissions import ACTION_GROUPS, LOOKING_ON_GITHUB
from remediation.remediators import REMEDIATORS
from remediation.verification import verify_once
from tests.remediation import descriptions
from tests.remediation.descriptions import PAGERDUTY, operation
from tests.remediation.privileges import beyond_reading, github_permissions, granted, used
from tests.remediation.site import MemoryStore, Site, execution, services
from tests.remediation.test_acting_on_the_cluster import CASES

KUBERNETES_VERSION = "1.34"


@cache
def description(name: str) -> Any:
    found = descriptions.description(name)
    if found is None:
        pytest.skip(f"{name} is not beside the project")
    return found


def sent(site: Site, system: str) -> list[dict[str, Any]]:
    return [r for r in site.world.requests if r["system"] == system]


def writes(site: Site) -> list[str]:
    """What the cluster was asked to change, as the audit log tells it."""
    changes = [r for r in sent(site, "k8s") if r["method"] in {"PATCH", "DELETE"} and "dryRun" not in r["query"]]
    return [f"{r['method']} {r['path'].removeprefix('/k8s')}" for r in changes if "dryRun" not in (r["body"] or {})]


@pytest.mark.shared
async def test_github_requests_are_described(site: Site) -> None:
    description(descriptions.GITHUB)
    await site.world.break_("ci-network-catalog")
    repository = site.world.github.store.repositories["acme/catalog"]
    await site.until(lambda: repository.runs[-1].last.conclusion == "failure", "the run failed")
    incident = site.incident(
        "catalog", namespace="", workload="", repository="acme/catalog", run_id=str(repository.runs[-1].id)
    )
    await collect(incident, site.clients)
    await collect(site.incident("catalog", target=site.target("catalog")), site.clients, policy=site.policy)
    assert {f"{name}: {level}" for name, level in github_permissions(site).items()} == set(LOOKING_ON_GITHUB)
    plan = await site.plan(FailureKind.GITHUBACTION_TRANSIENT, incident)
    store = MemoryStore(execution(plan.action))
    await run(store.rows[7], services(site, store))
    assert site.clients.code_host is not None
    await site.clients.code_host.jobs("acme/catalog", repository.runs[-1].id, attempt=1)
    seen = {
        (method, template.rsplit("/", 1)[-1]) for method, template in descriptions.check_github(site.world.requests)
    }
    assert {("POST", "rerun-failed-jobs"), ("GET", "jobs"), ("GET", "logs"), ("GET", "{run_id}")} <= seen
    assert {("GET", "annotations"), ("GET", "{basehead}"), ("GET", "runs")} <= seen


_PLURALS = {
    "api/v1": "pods|events|nodes|persistentvolumeclaims|resourcequotas|limitranges|configmaps|secrets",
    "apis/apps/v1": "deployments|replicasets|statefulsets|daemonsets|controllerrevisions",
    "apis/autoscaling/v2": "horizontalpodautoscalers",
    "apis/batch/v1": "jobs",
    # Of operators: their own descriptions say so.
    "apis/keda.sh/v1alpha1": "scaledobjects",
    "apis/autoscaling.k8s.io/v1": "verticalpodautoscalers",
}
KUBERNETES_PATHS = re.compile(
    "|".join(
        rf"/{prefix}(?:/namespaces/[a-z0-9-]+)?/(?:{plurals})(?:/[a-z0-9.-]+(?:/log)?)?"
        for prefix, plurals in _PLURALS.items()
    )
)
KUBERNETES_QUERY = {
    "GET": {"labelSelector", "fieldSelector", "limit", "continue", "container", "previous", "tailLines", "limitBytes"},
    "PATCH": {"fieldManager", "dryRun"},
    "DELETE": set(),
}


@pytest.mark.parametrize("name", CASES)
async def test_kubernetes_requests_and_what_they_make_are_valid(site: Site, name: str) -> None:
    """And the chart's role for the action grants each of them, and nothing that is not used."""
    scenario, kind = CASES[name]
    service = BY_ID[scenario].service
    site.world.kubernetes.roles = granted(next(group for group, names in ACTION_GROUPS.items() if name in names))
    await site.broken(scenario)
    incident = site.incident(service)
    await collect(incident, site.clients, policy=site.policy)
    plan = await site.plan(kind, incident)
    assert plan.action.name == name
    store = MemoryStore(execution(plan.action))
    await run(store.rows[7], services(site, store))
    row = store.rows[7]
    assert row.state is ExecutionState.ACTED
    assert row.finished_at is not None
    assert row.outcome is not None
    assert [write.request for write in row.outcome.writes] == writes(site)
    await verify_once(row, site.clients, now=row.finished_at + timedelta(minutes=1), signal_firing=False)
    if REMEDIATORS[name].undo:
        undone = await undo(row, services(site, store))
        assert undone is not None
        assert [write.request for write in (*row.outcome.writes, *undone.writes)] == writes(site)
    assert beyond_reading(name) <= used(site)
    for request in sent(site, "k8s"):
        assert KUBERNETES_PATHS.fullmatch(request["path"].removeprefix("/k8s")), request["path"]
        assert set(request["query"]) <= KUBERNETES_QUERY[request["method"]], request
        if request["method"] == "DELETE":
            assert set(request["body"]) <= {"apiVersion", "kind", "preconditions", "dryRun"}
        if request["method"] == "PATCH":
            assert all({"op", "path", "value"} == set(o) for o in request["body"])
    # What a patch made is checked against the strict schema of its kind.
    target = site.target(service)
    for plural, live_name in (("deployments", service), ("secrets", f"{service}-db")):
        live = site.store().get(plural, target.namespace, live_name)
        if live is not None:
            kubernetes_validate.validate(live, KUBERNETES_VERSION, strict=True)


@pytest.mark.shared
async def test_pagerduty_events_fit_their_description(site: Site) -> None:
    document = description("pagerduty.events-v2.openapi.json")
    pager = site.clients.pager
    assert pager is not None
    await pager.trigger("incident-1", "checkout is down", severity="strange", link="https://x.example/1")
    await pager.acknowledge("incident-1")
    await pager.resolve("incident-1")
    body = document["paths"]["/enqueue"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    validator = Draft202012Validator({**body, "components": document.get("components", {})})
    requests = sent(site, "pagerduty")
    assert [r["body"]["event_action"] for r in requests] == ["trigger", "acknowledge", "resolve"]
    assert {r["path"] for r in requests} == {"/pagerduty/v2/enqueue"}
    for request in requests:
        assert request["body"]["dedup_key"] == "incident-1"
        if request["body"]["event_action"] == "trigger":
            assert list(validator.iter_errors(request["body"])) == []
    assert site.world.pagerduty.alerts["incident-1"]["status"] == "resolved"


@pytest.mark.shared
async def test_others_incidents_in_pagerduty_are_changed_as_its_rest_api_describes(site: Site) -> None:
    description(PAGERDUTY)
    pager, theirs = site.clients.pager_incidents, site.world.pagerduty.opened("checkout is down")
    assert pager is not None
    assert await pager.acknowledge(theirs["id"], "Somebody is on it.")
    assert not await pager.acknowledge(theirs["id"], "Somebody is on it.")
    assert await pager.resolve(theirs["id"], "Healed.")
    assert not await pager.resolve(theirs["id"], "Healed.")
    assert not await pager.acknowledge(theirs["id"], "Somebody is on it."), "which would open it again"
    assert (theirs["status"], theirs["notes"]) == ("resolved", ["Somebody is on it.", "Healed."])
    seen = set()
    for request in sent(site, "pagerduty"):
        template, described = operation(PAGERDUTY, request["method"], request["path"].removeprefix("/pagerduty"))
        seen.add((request["method"], template))
        if request["method"] != "GET":
            schema = described["requestBody"]["content"]["application/json"]["schema"]
            assert list(Draft202012Validator(schema).iter_errors(request["body"])) == []
    assert seen == {("GET", "/incidents/{id}"), ("PUT", "/incidents/{id}"), ("POST", "/incidents/{id}/notes")}


@pytest.mark.shared
async def test_pagerduty_is_asked_who_is_on_call_as_its_rest_api_describes(site: Site) -> None:
    description(PAGERDUTY)
    schedules = site.clients.schedules
    assert schedules is not None
    site.world.pagerduty.schedules = {"PSHOP01": ["PFIRST1", "PSECOND"], "POTHER1": ["PELSE01"]}
    assert await schedules.on_call("PSHOP01") == ["PFIRST1", "PSECOND"]
    assert await schedules.on_call("PNOBODY") == []
    with pytest.raises(BadInput):
        await schedules.on_call("../users")
    (request, _) = sent(site, "pagerduty")
    _, described = operation(PAGERDUTY, request["method"], request["path"].removeprefix("/pagerduty"))
    assert described["operationId"] == "listOnCalls"


async def test_pagerdutys_rest_api_says_what_is_missing(site: Site) -> None:
    pager, theirs = site.clients.pager_incidents, site.world.pagerduty.opened("checkout is down")
    assert pager is not None
    with pytest.raises(NotFound):
        await pager.acknowledge("QNOWHERE", "x")
    with pytest.raises(BadInput):
        await pager.acknowledge("../users", "x")
    site.world.faults["pagerduty"].update(error_next=1, status=502, after_write=True)
    site.world.pagerduty.token = "another"
    with pytest.raises(Refused, match="PAGERDUTY_TOKEN"):
        await pager.resolve(theirs["id"], "Healed.")
    assert theirs["status"] == "triggered"


async def test_pagerduty_refusals_and_faults_are_told_apart(site: Site) -> None:
    pager = site.clients.pager
    assert pager is not None
    site.world.faults["pagerduty"].update(error_next=1, status=503)
    with pytest.raises(Unavailable):
        await pager.resolve("incident-1")
    site.world.pagerduty.routing_key = "another"
    with pytest.raises(Refused, match="PAGERDUTY_ROUTING_KEY"):
        await pager.resolve("incident-1")


@pytest.mark.shared
async def test_argocd_requests_are_described(site: Site) -> None:
    description(descriptions.ARGOCD)
    argocd = site.clients.argocd
    assert argocd is not None
    application = await argocd.application("checkout")
    assert application["metadata"]["name"] == "checkout"
    site.store().delete("deployments", "shop", "checkout")
    incident = site.incident("checkout", source="argocd", namespace="")
    found = await collect(incident, site.clients)
    assert [e.kind for e in found] == ["argocd", "changes"]
    assert "Deployment/checkout is OutOfSync" in found[0].text
    await argocd.revision("checkout", application["status"]["sync"]["revision"])
    assert await argocd.may("sync", application)
    assert not await argocd.may("delete", application)
    for dry_run in (True, False):
        await argocd.sync("reports", revision="HEAD", dry_run=dry_run, infos={"codehealer.dev/execution": "7"})
        await site.until(lambda: not running(site, "reports"), "the sync ended")
        await argocd.rollback("reports", 0, dry_run=dry_run)
        await site.until(lambda: not running(site, "reports"), "the rollback ended")
    seen = {template.rsplit("/", 1)[-1] for _, template in descriptions.check_argocd(site.world.requests)}
    assert seen == {"{name}", "{subresource}", "managed-resources", "resource-tree", "metadata", "sync", "rollback"}


def running(site: Site, name: str) -> bool:
    return bool(site.world.argocd.store.apps[name].operation.phase == "Running")
