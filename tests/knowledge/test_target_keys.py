"""The keys of leases are a contract between versions: while one replaces another, both must wait for each other."""

import pytest

from knowledge.model import Target

SHOP = {"cluster": "sandbox", "repository": "acme/checkout", "service": "checkout", "environment": "prod"}

# What is written here is held by running processes of every version: a change needs a version that takes both keys.
FROZEN = [
    (Target("Deployment", "checkout", "shop", **SHOP), "sandbox/shop/Deployment/checkout"),
    (Target("StatefulSet", "ledger", "shop", **SHOP), "sandbox/shop/StatefulSet/ledger"),
    (Target("DaemonSet", "agent", "shop", **SHOP), "sandbox/shop/DaemonSet/agent"),
    (Target("Application", "checkout", "shop", **SHOP), "sandbox/shop/Application/checkout"),
    (Target("Branch", "main", "shop", **{**SHOP, "cluster": ""}), "acme/checkout/shop/Branch/main"),
]
ALONE = [
    (Target("WorkflowRun", "77", **{**SHOP, "cluster": ""}), "acme/checkout/WorkflowRun/77"),
    (Target("Pod", "lonely", "shop", **SHOP), "sandbox/shop/Pod/lonely"),
    (Target("Deployment", "unlisted", "shop", cluster="sandbox"), "sandbox/shop/Deployment/unlisted"),
]


@pytest.mark.parametrize(("target", "key"), FROZEN, ids=lambda one: getattr(one, "kind", ""))
def test_what_changes_one_service_in_one_place_has_one_lease(target: Target, key: str) -> None:
    assert target.key == key
    assert target.family == "service/checkout/prod/shop"


@pytest.mark.parametrize(("target", "key"), ALONE, ids=lambda one: getattr(one, "kind", ""))
def test_what_stands_alone_has_a_lease_of_its_own(target: Target, key: str) -> None:
    assert (target.key, target.family) == (key, key)
