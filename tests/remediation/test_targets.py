"""A target is a row of the services table whose object exists; text alone never makes one."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from knowledge.model import Target
from remediation.cluster import KubernetesCluster
from remediation.policy import Policy, parse_policy
from remediation.ports import Clients
from remediation.targets import Hints, find, resolve
from tests.remediation.site import Site


async def test_a_pods_name_leads_over_its_live_owners_to_the_row(site: Site) -> None:
    pod = site.world.kubernetes.cluster.pods("checkout")[0]["metadata"]["name"]
    target = await resolve(Hints(namespace="shop", workload=pod), site.policy, site.clients)
    assert target == site.target("checkout")


@pytest.mark.parametrize(
    "hints",
    [
        Hints(namespace="shop", workload="checkout"),
        Hints(namespace="shop", owner="checkout", workload="checkout-6b8-x"),
        Hints(service="checkout"),
        Hints(service="checkout", environment="dev", cluster="somewhere"),
    ],
    ids=["workload", "owner", "service", "claims about environment and cluster change nothing"],
)
async def test_hints_find_the_one_row_and_the_row_says_the_rest(site: Site, hints: Hints) -> None:
    target = await resolve(hints, site.policy, site.clients)
    assert target == site.target("checkout")
    assert target is not None
    assert target.environment == "prod"
    assert target.cluster == "sandbox"


@pytest.mark.parametrize(
    "hints",
    [
        Hints(),
        Hints(namespace="shop", workload="never-was"),
        Hints(namespace="dev", workload="checkout"),
        Hints(namespace="shop", workload="../../secrets/x"),
        Hints(repository="acme/other", run_id="1"),
        Hints(repository="acme/catalog", run_id="12; rm"),
        Hints(repository="acme/catalog", run_id="999999"),
    ],
    ids=["nothing", "unknown", "other namespace", "path", "other repository", "no number", "no such run"],
)
async def test_without_a_single_match_there_is_no_target_and_a_reason(site: Site, hints: Hints) -> None:
    found = await find(hints, site.policy, site.clients)
    assert found.target is None
    assert found.reason


@pytest.mark.parametrize(
    ("row", "cluster", "found"),
    [
        ("eu", "eu", True), ("eu", "main", False), ("main", "main", True), ("main", "eu", False),
        # A row without a cluster is of the first; what an alert calls a cluster that is none of ours says nothing.
        ("", "main", True), ("", "eu", False), ("eu", "", True), ("eu", "prod-7", True), ("", "prod-7", True),
    ],
)  # fmt: skip
async def test_a_failure_in_one_cluster_is_never_tied_to_the_row_of_another(
    site: Site, row: str, cluster: str, found: bool
) -> None:
    policy = parse_policy(f"""
clusters: {{main: {{}}, eu: {{}}}}
services:
  - {{name: checkout, cluster: "{row}", namespace: shop, workload: {{name: checkout}}}}
  - {{name: loyalty, cluster: main, namespace: shop, workload: {{name: orders}}}}
""")
    async with two_clusters(site) as clients:
        for hints in (Hints(namespace="shop", workload="checkout"), Hints(service="checkout")):
            # Nor does what is left out lead to what only another word of the alert means.
            for named in (hints, replace(hints, service="loyalty") if hints.workload else hints):
                target = await resolve(replace(named, cluster=cluster), policy, clients)
                assert (target is not None) is found
                assert target is None or (target.name, target.cluster) == ("checkout", row)


async def test_the_cluster_of_a_failure_tells_rows_of_one_name_apart(site: Site) -> None:
    rows = "".join(
        f"  - {{name: checkout, environment: {e}, cluster: '{c}', namespace: shop, workload: {{name: checkout}}}}\n"
        for e, c in (("prod", ""), ("staging", "eu"))
    )
    policy = parse_policy(f"clusters: {{main: {{}}, eu: {{}}}}\nservices:\n{rows}")
    async with two_clusters(site) as clients:
        for cluster, environment in (("main", "prod"), ("eu", "staging")):
            for claimed in ("", "prod", "staging"):
                hints = Hints(namespace="shop", workload="checkout", cluster=cluster, environment=claimed)
                target = await resolve(hints, policy, clients)
                assert target is not None
                assert target.environment == environment
        assert await resolve(Hints(namespace="shop", workload="checkout"), policy, clients) is None


async def test_an_application_that_no_cluster_is_named_for_is_found_from_any(site: Site) -> None:
    policy = parse_policy("services: [{name: loyalty, environment: staging, argocd_app: loyalty}]")
    async with two_clusters(site) as clients:
        assert await resolve(Hints(workload="loyalty", cluster="eu"), policy, clients)


@contextlib.asynccontextmanager
async def two_clusters(site: Site) -> AsyncIterator[Clients]:
    """The same world under two names, the first of which is main."""
    assert isinstance(site.clients.cluster, KubernetesCluster)
    (access,) = site.clients.cluster.clusters.values()
    both = KubernetesCluster({"main": access, "eu": access})
    try:
        yield replace(site.clients, cluster=both)
    finally:
        await both.aclose()


async def test_a_row_without_a_workload_is_its_application(site: Site) -> None:
    wanted = Target("Application", "loyalty", "loyalty", "sandbox", "acme/loyalty", "loyalty", "staging")
    for hints in (Hints(workload="loyalty"), Hints(service="loyalty"), Hints(namespace="loyalty", owner="loyalty")):
        assert await resolve(hints, site.policy, site.clients) == wanted
    del site.world.argocd.store.apps["loyalty"]
    gone = await find(Hints(service="loyalty"), site.policy, site.clients)
    assert "does not exist" in gone.reason
    alone = replace(site.clients, argocd=None)
    assert "Argo CD is not connected" in (await find(Hints(service="loyalty"), site.policy, alone)).reason


async def test_an_applications_name_leads_to_the_workload_of_its_row(site: Site) -> None:
    renamed = [r.model_copy(update={"argocd_app": f"{r.name}-prod"}) for r in site.policy.services]
    policy = site.policy.model_copy(update={"services": tuple(renamed)})
    assert await resolve(Hints(workload="checkout-prod"), policy, site.clients) == site.target("checkout")


async def test_a_row_whose_object_is_gone_makes_no_target(site: Site) -> None:
    site.store().delete("deployments", "shop", "checkout")
    found = await find(Hints(service="checkout"), site.policy, site.clients)
    assert found.target is None
    assert "does not exist" in found.reason


async def test_two_rows_of_one_name_need_a_hint_that_tells_them_apart(site: Site) -> None:
    policy = Policy.model_validate(
        {
            "services": [
                {"name": "api", "environment": e, "namespace": n, "workload": {"name": w}}
                for e, n, w in (("prod", "shop", "checkout"), ("dev", "dev", "reports"))
            ]
        }
    )
    assert await resolve(Hints(service="api"), policy, site.clients) is None
    target = await resolve(Hints(service="api", namespace="dev"), policy, site.clients)
    assert target is not None
    assert target.environment == "dev"


async def test_a_run_of_a_service_in_several_environments_counts_as_the_strictest(site: Site) -> None:
    rows = "".join(f"  - {{name: catalog, environment: {e}, repository: acme/catalog}}\n" for e in ("dev", "prod"))
    policy = parse_policy(f"services:\n{rows}")
    await site.world.break_("ci-network-catalog")
    run_id = str(site.world.github.store.repositories["acme/catalog"].runs[-1].id)
    target = await resolve(Hints(repository="Acme/Catalog", run_id=run_id), policy, site.clients)
    assert target is not None
    assert target.environment == "prod"
    assert target.repository == "acme/catalog"


async def test_what_is_not_connected_is_a_reason(site: Site) -> None:
    alone = replace(site.clients, cluster=None, code_host=None)
    assert "no cluster" in (await find(Hints(service="checkout"), site.policy, alone)).reason
    hints = Hints(repository="acme/catalog", run_id="1")
    assert "GitHub is not connected" in (await find(hints, site.policy, alone)).reason
