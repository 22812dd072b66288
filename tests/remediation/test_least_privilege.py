"""The shipped roles, enforced by the cluster: they allow what each group of actions needs, and nothing else."""

from dataclasses import replace

from bot import roles
from knowledge.model import FailureKind
from remediation import kube
from remediation.evidence import collect
from remediation.permissions import ACTION_GROUPS
from remediation.remediators import REMEDIATORS
from tests.remediation.privileges import SHIPPED, TOLERATED, granted, used, uses_of
from tests.remediation.site import Site
from tests.remediation.test_watching_pods import pods, watching


def test_the_chart_has_the_roles_of_the_catalogue() -> None:
    assert roles.page() == SHIPPED.read_text(), "python -m bot.roles > deploy/chart/files/roles.yaml"
    grouped = [name for names in ACTION_GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(name for name in REMEDIATORS if name.startswith("k8s_"))


async def test_the_role_for_reading_lets_it_look_and_watch_and_all_of_it_is_used(site: Site) -> None:
    site.world.kubernetes.roles = granted()
    async with watching(site, "shop") as seen:
        await site.until(lambda: bool(pods(seen)), "the watch has begun")
        await site.broken("stuck-pod-checkout")
        running = site.world.kubernetes.cluster.pods
        await site.until(lambda: any(kube.is_failing(pod) for pod in running("checkout")), "a pod fails")
        victim = next(pod for pod in running("checkout") if kube.is_failing(pod))
        spec = {**victim["spec"], "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "absent"}}]}
        site.store().update("pods", {**victim, "spec": spec})
        incident = site.incident("checkout")
        await collect(incident, site.clients, policy=site.policy)
        plan = await site.plan(FailureKind.PROBE_FAILURE, replace(incident, workload=victim["metadata"]["name"]))
        assert plan.action is not None, plan.no_action_because
        ready = await REMEDIATORS[plan.action.name].preflight(plan.action, site.clients)
        assert ready.ok, ready.reason
        await site.until(lambda: {("pods", "watch"), ("events", "watch")} <= used(site), "both are watched")
    # All nodes are looked at only where a pod finds none.
    assert uses_of("read") | uses_of("nodes") - {("nodes", "list")} == used(site) - TOLERATED


def test_secrets_are_granted_by_name_and_only_where_they_are_named() -> None:
    rules = granted("secret")
    named = {namespace: [r for r in found if "secrets" in r["resources"]] for namespace, found in rules.items()}
    assert [rule["resourceNames"] for rule in named.pop("shop")] == [["orders-db"]]
    assert not any(named.values())
    assert not any("*" in rule[part] for found in rules.values() for rule in found for part in ("resources", "verbs"))
