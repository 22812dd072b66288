"""Who would put a change back: Argo CD with its parents, Flux, Helm, autoscalers; asked, not guessed."""

import copy
from dataclasses import replace
from typing import Any

import pytest

from knowledge.errors import NotFound, Refused
from knowledge.model import FailureKind
from remediation.cluster_errors import granting
from remediation.managers import managers_of
from tests.remediation.site import Site

KUSTOMIZE = "kustomize.toolkit.fluxcd.io"
HELM = "helm.toolkit.fluxcd.io"


class Applications:
    """Argo CD with these applications."""

    def __init__(self, **specs: dict[str, Any]) -> None:
        self.specs = specs

    async def application(self, name: str) -> dict[str, Any]:
        if name not in self.specs:
            raise NotFound(f"{name} is not there.")
        return self.specs[name]


def application(name: str, *, heals: bool, part_of: str = "") -> dict[str, Any]:
    labels = {"argocd.argoproj.io/instance": part_of} if part_of else {}
    automated = {"prune": True, "selfHeal": heals}
    return {"metadata": {"name": name, "labels": labels}, "spec": {"syncPolicy": {"automated": automated}}}


def workload(**notes: str) -> dict[str, Any]:
    return {"kind": "Deployment", "metadata": {"name": "api", "annotations": notes}, "spec": {}}


async def test_every_application_that_owns_it_is_asked_and_its_parent_named(site: Site) -> None:
    tracked = workload(**{"argocd.argoproj.io/tracking-id": "real:apps/Deployment:shop/api"})
    argocd = Applications(
        policy=application("policy", heals=False),
        real=application("real", heals=True, part_of="everything"),
        everything=application("everything", heals=True),
    )
    clients = replace(site.clients, argocd=argocd)  # type: ignore[arg-type]
    named, real = await managers_of(tracked, site.target("checkout"), "policy", clients)
    assert (named.undoes, real.undoes) == (False, True)
    assert real.why.endswith("(itself part of application everything, which has self-heal on)")
    made = application("made", heals=False)
    made["metadata"]["ownerReferences"] = [{"kind": "ApplicationSet", "name": "all", "uid": "u", "controller": True}]
    clients = replace(clients, argocd=Applications(made=made))  # type: ignore[arg-type]
    (by_set,) = await managers_of(workload(), site.target("checkout"), "made", clients)
    assert by_set.why.endswith("(itself made by ApplicationSet all)")
    (unasked,) = await managers_of(workload(), site.target("checkout"), "gone", clients)
    assert unasked.undoes


async def test_flux_is_asked_whether_it_corrects_drift(site: Site) -> None:
    target, store = site.target("checkout"), site.store()

    async def undoes(kind: str, spec: dict[str, Any] | None) -> bool:
        plural, group = ("kustomizations", KUSTOMIZE) if kind == "Kustomization" else ("helmreleases", HELM)
        store.delete(plural, "flux", "api")
        if spec is not None:
            store.create(plural, {"metadata": {"name": "api", "namespace": "flux"}, "spec": spec})
        owned = workload(**{f"{group}/name": "api", f"{group}/namespace": "flux"})
        (found,) = await managers_of(owned, target, "", site.clients)
        assert found.name == "Flux"
        return found.undoes

    assert await undoes("Kustomization", {})
    assert not await undoes("Kustomization", {"suspend": True})
    assert not await undoes("HelmRelease", {})
    assert await undoes("HelmRelease", {"driftDetection": {"mode": "enabled"}})
    assert await undoes("Kustomization", None)
    (told,) = await managers_of(workload(**{f"{KUSTOMIZE}/reconcile": "disabled"}), target, "", site.clients)
    assert not told.undoes


async def test_kedas_scaled_object_is_noticed_as_an_autoscaler(site: Site) -> None:
    await site.broken("overload-catalog")
    spec = {"scaleTargetRef": {"name": "catalog"}, "maxReplicaCount": 9}
    site.store().create("scaledobjects", {"metadata": {"name": "by-queue", "namespace": "shop"}, "spec": spec})
    found = await site.plan(FailureKind.PERFORMANCE, site.incident("catalog"))
    assert found.action is None
    assert "autoscaler by-queue" in found.no_action_because


async def test_pods_that_started_before_their_settings_changed_are_restarted_and_else_not(site: Site) -> None:
    await site.broken("moved-pricing-catalog")
    kind = FailureKind.UPSTREAM_UNAVAILABLE
    assert (await site.plan(kind, site.incident("catalog"))).action.name == "k8s_restart_rollout"
    settings = site.store().get("configmaps", "shop", "catalog-settings")
    unchanged = copy.deepcopy(settings)
    del unchanged["metadata"]["managedFields"]
    site.store().objects["configmaps"]["shop", "catalog-settings"] = unchanged
    found = await site.plan(kind, site.incident("catalog"))
    assert found.action is None
    assert "old configuration" in dict(found.excluded)["k8s_restart_rollout"]


async def test_a_name_that_no_cluster_gives_is_refused_before_it_is_sent(site: Site) -> None:
    cluster, before = site.clients.cluster, len(site.world.requests)
    assert cluster is not None
    for namespace, name in (("shop", "../secrets/x"), ("shop", "Checkout"), ("sh op", "checkout"), ("shop", "a" * 300)):
        with pytest.raises(Refused, match="no name that Kubernetes could have given"):
            await cluster.get("sandbox", "Deployment", namespace, name)
    assert len(site.world.requests) == before


def test_a_refusal_names_the_line_that_grants_it() -> None:
    lines = {
        "GET /api/v1/namespaces/shop/pods": '{apiGroups: [""], resources: [pods], verbs: [list]}',
        "GET /api/v1/namespaces/shop/pods/a/log": '{apiGroups: [""], resources: [pods/log], verbs: [get]}',
        "PATCH /apis/batch/v1/namespaces/shop/jobs/a": '{apiGroups: ["batch"], resources: [jobs], verbs: [patch]}',
        "GET /api/v1/nodes": '{apiGroups: [""], resources: [nodes], verbs: [list]}',
        "DELETE /api/v1/namespaces/shop/pods/a": '{apiGroups: [""], resources: [pods], verbs: [delete]}',
    }
    assert {request: granting(request) for request in lines} == lines
