"""The Kubernetes remediators when things do not go well: refused, changed meanwhile, broken off, only pretended."""

import copy
import socket
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from bot.sandbox.world.scenarios import BY_ID
from knowledge.errors import Conflict, NotFound, Refused, SettingsError, Unavailable
from knowledge.model import Action, ExecutionState, FailureKind
from remediation import kube
from remediation.cluster import ClusterAccess, KubernetesCluster
from remediation.execution import Busy, run, undo
from remediation.ports import Clients
from remediation.registry import NotOffered
from remediation.remediators import REMEDIATORS
from remediation.verification import verify_once
from tests.remediation.privileges import granted
from tests.remediation.site import MemoryStore, Site, execution, kubeconfig, services, with_an_evicted_pod

# action → (scenario, kind) that makes the planner propose it.
CASES = {
    "k8s_restart_pod": ("stuck-pod-checkout", FailureKind.PROBE_FAILURE),
    "k8s_scale": ("overload-catalog", FailureKind.PERFORMANCE),
    "k8s_rollback": ("release-crash-checkout", FailureKind.CRASHLOOP),
    "k8s_raise_memory": ("oom-orders", FailureKind.OOMKILLED),
    "k8s_restart_rollout": ("wedged-all-checkout", FailureKind.PROBE_FAILURE),
    "k8s_update_image": ("image-typo-search", FailureKind.IMAGEPULLBACKOFF),
    "k8s_update_secret": ("password-rotated-orders", FailureKind.CREDENTIALS),
}
# What is refused first to who may only read, where it is not the patch of the workload.
LACKING = {"k8s_restart_pod": ("delete", "pods"), "k8s_update_secret": ("get", "secrets")}
# How many writes one run makes; a rotation writes the Secret and restarts what reads it.
WRITES = {"k8s_update_secret": 2}
ONE_WRITE = [name for name in CASES if name not in WRITES]
# An action that undo takes back → what it changed, as a snapshot of the world shows it.
UNDONE = ["k8s_scale", "k8s_rollback", "k8s_raise_memory", "k8s_update_image"]


async def proposed(site: Site, name: str) -> Action:
    scenario, kind = CASES[name]
    await site.broken(scenario)
    plan = await site.plan(kind, site.incident(BY_ID[scenario].service))
    assert plan.action is not None, plan.no_action_because
    assert plan.action.name == name
    return plan.action


def touched(site: Site, action: Action) -> Any:
    """What an action would change: the workload's spec and annotations, its Secret, and whether its pod goes."""
    target = action.target
    live = site.store().get("deployments", target.namespace, target.name)
    secret = site.store().get("secrets", target.namespace, action.parameters.get("secret", ""))
    pod = site.store().get("pods", target.namespace, action.parameters.get("pod", ""))
    leaving = pod["metadata"].get("deletionTimestamp") if pod else None
    return copy.deepcopy(live["spec"]), live["metadata"].get("annotations"), leaving, copy.deepcopy(secret)


def failing_at_the_write(site: Site, *, after_write: bool) -> Clients:
    """The real clients, with a fault switched on in the world just before the write is sent."""
    real = site.clients.cluster
    assert real is not None

    class Cluster:
        def __getattr__(self, attribute: str) -> Any:
            if attribute in {"patch", "delete_pod"}:
                site.world.faults["k8s"].update(error_next=1, status=500, after_write=after_write)
            return getattr(real, attribute)

    return replace(site.clients, cluster=Cluster())


def writes(site: Site) -> list[dict[str, Any]]:
    return [r for r in site.world.requests if r["system"] == "k8s" and r["method"] != "GET"]


@pytest.mark.parametrize("name", CASES)
async def test_a_dry_run_asks_the_cluster_and_changes_nothing(site: Site, name: str) -> None:
    action = await proposed(site, name)
    before = touched(site, action)
    store = MemoryStore(execution(action))
    outcome = await run(store.rows[7], services(site, store, dry_run=True))
    assert outcome.ok
    assert not outcome.changed
    assert "Dry run" in outcome.detail
    assert touched(site, action) == before
    assert len(writes(site)) == 1
    last = writes(site)[0]
    assert last["query"].get("dryRun") == "All" or last["body"].get("dryRun") == ["All"]


@pytest.mark.parametrize("name", CASES)
async def test_a_target_that_vanished_is_refused_and_nothing_is_sent(site: Site, name: str) -> None:
    action = await proposed(site, name)
    target = action.target
    site.store().delete("deployments", target.namespace, target.name)
    store = MemoryStore(execution(action))
    outcome = await run(store.rows[7], services(site, store))
    assert not outcome.ok
    assert not outcome.changed
    assert store.rows[7].state is ExecutionState.REFUSED
    assert writes(site) == []


@pytest.mark.parametrize("name", CASES)
async def test_a_missing_permission_is_named_and_nothing_changes(site: Site, name: str) -> None:
    action = await proposed(site, name)
    before = touched(site, action)
    verb, resource = LACKING.get(name, ("patch", "deployments"))
    site.world.kubernetes.roles = granted()
    store = MemoryStore(execution(action))
    outcome = await run(store.rows[7], services(site, store))
    assert not outcome.ok
    assert not outcome.changed
    assert "is forbidden" in outcome.detail
    assert "codehealer Role: {apiGroups: [" in outcome.detail
    assert f"resources: [{resource}], verbs: [{verb}]}}" in outcome.detail
    assert store.rows[7].state in {ExecutionState.FAILED, ExecutionState.REFUSED}
    assert touched(site, action) == before


@pytest.mark.parametrize("name", ONE_WRITE)
@pytest.mark.parametrize("after_write", [False, True], ids=["before the write", "after the write"])
async def test_a_lost_answer_is_settled_by_looking(site: Site, name: str, after_write: bool) -> None:
    action = await proposed(site, name)
    remediator = REMEDIATORS[name]
    ready = await remediator.preflight(action, site.clients)
    assert ready.ok, ready.reason
    row = execution(action, state=ExecutionState.STARTED, snapshot=ready.snapshot)
    store = MemoryStore(row)
    with pytest.raises(Unavailable) as caught:
        await remediator.execute(action, ready.snapshot, 7, failing_at_the_write(site, after_write=after_write))
    assert caught.value.maybe_done

    outcome = await run(row, services(site, store))

    assert outcome.ok
    assert outcome.changed
    # Sent again only where the first one surely had no effect.
    assert len(writes(site)) == (1 if after_write else 2)
    assert store.rows[7].state is ExecutionState.ACTED


@pytest.mark.parametrize("name", CASES)
async def test_an_error_of_the_cluster_during_the_run_ends_with_what_the_target_shows(site: Site, name: str) -> None:
    action = await proposed(site, name)
    store = MemoryStore(execution(action))
    clients = failing_at_the_write(site, after_write=True)
    outcome = await run(store.rows[7], services(site, store, clients=clients))
    assert outcome.ok
    assert outcome.changed
    assert len(writes(site)) == WRITES.get(name, 1)


@pytest.mark.parametrize("name", ONE_WRITE)
async def test_a_slow_cluster_is_given_up_and_settled(site: Site, name: str, monkeypatch: Any) -> None:
    action = await proposed(site, name)
    ready = await REMEDIATORS[name].preflight(action, site.clients)
    # Long enough that the request has arrived by then, however slow the machine is.
    monkeypatch.setattr("remediation.cluster.WRITE_DEADLINE_S", 1.0)
    site.world.faults["k8s"].update(slow_ms=1500)
    with pytest.raises(Unavailable, match="did not answer within") as caught:
        await REMEDIATORS[name].execute(action, ready.snapshot, 7, site.clients)
    assert caught.value.maybe_done
    site.world.faults["k8s"].update(slow_ms=0)
    await site.until(lambda: writes(site)[-1]["status"] != 0, "the late request was answered after all")
    found = await REMEDIATORS[name].settled(action, ready.snapshot, 7, site.clients)
    assert found is not None
    assert found.changed == (writes(site)[-1]["status"] == 200)


@pytest.mark.parametrize("point", ["started", "acted"])
@pytest.mark.parametrize("name", CASES)
async def test_a_kill_at_either_side_of_the_act_runs_it_once(site: Site, name: str, point: str) -> None:
    action = await proposed(site, name)
    store = MemoryStore(execution(action))
    store.die_after = point
    with pytest.raises(KeyboardInterrupt):
        await run(store.rows[7], services(site, store))
    assert store.rows[7].state is ExecutionState.STARTED
    outcome = await run(store.rows[7], services(site, store))
    assert outcome.ok
    assert outcome.changed
    assert len(writes(site)) == WRITES.get(name, 1)
    again = await run(store.rows[7], services(site, store))
    assert again == outcome
    assert len(writes(site)) == WRITES.get(name, 1)


async def test_a_workload_changed_since_the_snapshot_is_left_alone(site: Site) -> None:
    action = await proposed(site, "k8s_scale")
    ready = await REMEDIATORS["k8s_scale"].preflight(action, site.clients)
    target = action.target
    live = copy.deepcopy(site.store().get("deployments", target.namespace, target.name))
    live["spec"]["replicas"] += 1
    site.store().update("deployments", live)
    with pytest.raises(Conflict):
        await REMEDIATORS["k8s_scale"].execute(action, ready.snapshot, 7, site.clients)
    assert site.service("catalog")["replicas"] == ready.snapshot["replicas"] + 1
    again = await REMEDIATORS["k8s_scale"].preflight(action, site.clients)
    assert not again.ok
    assert "replicas by now" in again.reason


async def test_a_pod_that_took_the_old_ones_name_is_not_deleted(site: Site) -> None:
    action = await proposed(site, "k8s_restart_pod")
    target, pod = action.target, action.parameters["pod"]
    assert site.clients.cluster is not None
    with pytest.raises(Conflict):
        await site.clients.cluster.delete_pod(target.cluster, target.namespace, pod, uid="another")
    with pytest.raises(NotFound):
        await site.clients.cluster.delete_pod(target.cluster, target.namespace, "never-was", uid="another")
    assert site.store().get("pods", target.namespace, pod)["metadata"].get("deletionTimestamp") is None


async def test_a_pod_that_recovered_meanwhile_is_not_deleted(site: Site) -> None:
    action = await proposed(site, "k8s_restart_pod")
    site.world.kubernetes.cluster.causes.clear()
    await site.until(lambda: site.service("checkout")["ready"] == 3, "the pod is ready again")
    store = MemoryStore(execution(action))
    outcome = await run(store.rows[7], services(site, store))
    assert not outcome.ok
    assert "ready again" in outcome.detail
    assert writes(site) == []


async def test_a_bare_pod_is_never_offered_nor_deleted(site: Site) -> None:
    await site.broken("stuck-pod-checkout")
    context = await site.context(site.incident("checkout"))
    bare = tuple(
        {**p, "metadata": {k: v for k, v in p["metadata"].items() if k != "ownerReferences"}} for p in context.pods
    )
    answer = REMEDIATORS["k8s_restart_pod"].propose(replace(context, pods=bare))
    assert isinstance(answer, NotOffered)
    assert "controller" in answer.reason


async def test_an_autoscaler_is_noticed_before_scaling(site: Site) -> None:
    action = await proposed(site, "k8s_scale")
    site.store().create(
        "horizontalpodautoscalers",
        {
            "metadata": {"name": "catalog", "namespace": "shop"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "catalog"},
                "maxReplicas": 9,
            },
        },
    )
    plan = await site.plan(FailureKind.PERFORMANCE, site.incident("catalog"))
    assert plan.action is None
    assert "autoscaler catalog" in plan.no_action_because
    store = MemoryStore(execution(action))
    outcome = await run(store.rows[7], services(site, store))
    assert not outcome.ok
    assert "Autoscaler catalog" in outcome.detail
    assert writes(site) == []


async def test_scaling_never_more_than_doubles_nor_passes_the_services_limit(site: Site) -> None:
    await site.broken("overload-catalog")
    context = await site.context(site.incident("catalog"))
    was = kube.replicas_of(context.workload or {})
    propose = REMEDIATORS["k8s_scale"].propose
    doubled, capped = propose(replace(context, max_replicas=100)), propose(replace(context, max_replicas=was + 1))
    assert isinstance(doubled, Action)
    assert doubled.parameters["replicas"] == 2 * was
    assert isinstance(capped, Action)
    assert capped.parameters["replicas"] == was + 1
    assert isinstance(propose(replace(context, max_replicas=was)), NotOffered)
    forged = Action("k8s_scale", context.target, {"replicas": 50, "was": was, "limit": 1000})
    refused = await REMEDIATORS["k8s_scale"].preflight(forged, site.clients)
    assert not refused.ok


async def test_parameters_that_the_catalogue_does_not_know_are_refused(site: Site) -> None:
    action = Action("k8s_scale", site.target("catalog"), {"replicas": "4", "was": 2, "limit": 8, "force": True})
    store = MemoryStore(execution(action))
    outcome = await run(store.rows[7], services(site, store))
    assert store.rows[7].state is ExecutionState.REFUSED
    assert "k8s_scale" in outcome.detail
    assert writes(site) == []


async def test_a_fix_that_does_not_help_is_not_verified_and_never_success(site: Site) -> None:
    await site.broken("release-crash-checkout")
    propose = REMEDIATORS["k8s_restart_pod"].propose

    async def offered() -> bool:
        return isinstance(propose(await site.context(site.incident("checkout"))), Action)

    await site.until(offered, "a pod crash-loops")
    action = propose(await site.context(site.incident("checkout")))
    assert isinstance(action, Action)
    store = MemoryStore(execution(action))
    assert (await run(store.rows[7], services(site, store))).ok
    row = store.rows[7]
    assert row.finished_at is not None
    early = await verify_once(row, site.clients, now=row.finished_at, signal_firing=True)
    assert early.verdict == "pending"
    late = await verify_once(row, site.clients, now=row.finished_at + timedelta(hours=1), signal_firing=True)
    assert late.verdict in {"not_verified", "worse"}
    assert any(not c.passed for c in late.checks)


@pytest.mark.parametrize("name", CASES)
async def test_more_failing_pods_than_before_are_worse_whatever_was_done(site: Site, name: str) -> None:
    action = await proposed(site, name)
    entry = REMEDIATORS[name]
    ready = await entry.preflight(action, site.clients)
    state = await entry.look(action, ready.snapshot, site.clients)
    waiting = {"name": "app", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    broken = {"phase": "Running", "conditions": [], "containerStatuses": [waiting]}
    state = {**state, "pods": [{**pod, "status": broken} for pod in state["pods"]]}
    found = entry.verify(action, {**ready.snapshot, "ready": 2, "failing": 0}, state)
    assert found.verdict == "worse"
    assert "CrashLoopBackOff" in found.detail


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
async def test_stateful_and_daemon_sets_are_restarted_too(site: Site, kind: str) -> None:
    plural, target = f"{kind.lower()}s", replace(site.target("checkout"), kind=kind, name="cache")
    template = copy.deepcopy(site.store().get("deployments", "shop", "checkout")["spec"]["template"])
    template["metadata"] = {"labels": {"app": "cache"}}
    spec = {"selector": {"matchLabels": {"app": "cache"}}, "template": template}
    counts = ("desiredNumberScheduled", "currentNumberScheduled", "numberMisscheduled", "numberReady")
    status = dict.fromkeys(counts, 1)
    if kind == "StatefulSet":
        spec |= {"replicas": 1, "serviceName": "cache", "podManagementPolicy": "Parallel"}
        status = {"replicas": 1}
    meta = {"name": "cache", "namespace": "shop"}
    made = site.store().create(plural, {"metadata": meta, "spec": spec, "status": status})
    owner = {"apiVersion": "apps/v1", "kind": kind, "name": "cache", "uid": made["metadata"]["uid"], "controller": True}
    meta = {"name": "cache-0", "namespace": "shop", "labels": {"app": "cache"}, "ownerReferences": [owner]}
    nowhere = {**template["spec"], "nodeSelector": {"pool": "nowhere"}}
    site.store().create("pods", {"metadata": meta, "spec": nowhere, "status": {"phase": "Pending"}})
    store = MemoryStore(execution(Action("k8s_restart_rollout", target)))
    outcome = await run(store.rows[7], services(site, store))
    assert outcome.ok, outcome.detail
    live = site.store().get(plural, "shop", "cache")
    assert kube.RESTARTED_AT in live["spec"]["template"]["metadata"]["annotations"]
    kubernetes_validate.validate(live, "1.34", strict=True)


@pytest.mark.parametrize("name", ["k8s_restart_pod", "k8s_restart_rollout", "k8s_update_secret"])
async def test_a_pod_that_was_evicted_days_ago_keeps_no_fix_from_being_verified(site: Site, name: str) -> None:
    site.clients = with_an_evicted_pod(site.clients)
    action = await proposed(site, name)
    store = MemoryStore(execution(action))
    outcome = await run(store.rows[7], services(site, store))
    assert outcome.ok, outcome.detail

    async def verified() -> bool:
        acted = store.rows[7]
        assert acted.finished_at is not None
        now = acted.finished_at + timedelta(minutes=3)
        found = await verify_once(acted, site.clients, now=now, signal_firing=False)
        return found.verdict == "verified"

    await site.until(verified, "the fix is verified")


async def test_a_cluster_that_cannot_be_asked_verifies_nothing(site: Site) -> None:
    action = await proposed(site, "k8s_rollback")
    store = MemoryStore(execution(action))
    await run(store.rows[7], services(site, store))
    row = store.rows[7]
    assert row.finished_at is not None
    site.world.faults["k8s"].update(error_next=1000, status=503)
    at = row.finished_at + timedelta(seconds=30)
    assert (await verify_once(row, site.clients, now=at, signal_firing=False)).verdict == "pending"
    late = row.finished_at + timedelta(hours=1)
    assert (await verify_once(row, site.clients, now=late, signal_firing=False)).verdict == "not_verified"


async def test_a_signal_that_still_fires_keeps_a_healthy_target_unverified(site: Site) -> None:
    action = await proposed(site, "k8s_scale")
    store = MemoryStore(execution(action))
    await run(store.rows[7], services(site, store))
    await site.until(lambda: site.service("catalog")["status"] == "healthy", "it is healthy")
    row = store.rows[7]
    assert row.finished_at is not None
    at = row.finished_at + timedelta(minutes=3)
    verdicts = {
        firing: (await verify_once(row, site.clients, now=at, signal_firing=firing)).verdict
        for firing in (True, None, False)
    }
    # Pods that are ready do not show that the overload is over: only the alert can.
    assert verdicts == {True: "pending", None: "pending", False: "verified"}


@pytest.mark.parametrize("name", UNDONE)
async def test_undo_puts_back_what_was_changed_and_only_once(site: Site, name: str) -> None:
    action = await proposed(site, name)
    before, *_ = touched(site, action)
    store = MemoryStore(execution(action))
    await run(store.rows[7], services(site, store))
    changed, *_ = touched(site, action)
    assert changed != before
    outcome = await undo(store.rows[7], services(site, store))
    assert outcome is not None
    assert outcome.ok, outcome.detail
    after, *_ = touched(site, action)
    assert after == before
    assert store.rows[7].state is ExecutionState.UNDONE
    sent = len(writes(site))
    assert await undo(store.rows[7], services(site, store)) == outcome
    assert len(writes(site)) == sent


@pytest.mark.parametrize("name", UNDONE)
async def test_undo_leaves_what_somebody_else_changed_since(site: Site, name: str) -> None:
    action = await proposed(site, name)
    store = MemoryStore(execution(action))
    await run(store.rows[7], services(site, store))
    target = action.target
    live = copy.deepcopy(site.store().get("deployments", target.namespace, target.name))
    live["spec"]["replicas"] = 7
    container = live["spec"]["template"]["spec"]["containers"][0]
    container["image"], container["resources"]["limits"]["memory"] = "another", "900Mi"
    theirs = site.store().update("deployments", live)["spec"]
    outcome = await undo(store.rows[7], services(site, store))
    assert outcome is not None
    assert "somebody else" in outcome.detail
    assert touched(site, action)[0] == theirs
    assert store.rows[7].state is ExecutionState.ACTED


async def test_a_restart_cannot_be_undone_and_says_so(site: Site) -> None:
    action = await proposed(site, "k8s_restart_pod")
    store = MemoryStore(execution(action))
    await run(store.rows[7], services(site, store))
    for name in CASES:
        assert bool(REMEDIATORS[name].undo) == bool(REMEDIATORS[name].undo_text) == (name in UNDONE)
    assert await undo(store.rows[7], services(site, store)) is None


async def test_one_fix_at_a_time_on_a_target(site: Site) -> None:
    action = await proposed(site, "k8s_restart_pod")
    store = MemoryStore(execution(action))
    assert await store.lease_acquire(action.target.family, "another worker", 60)
    with pytest.raises(Busy):
        await run(store.rows[7], services(site, store))
    assert store.rows[7].state is ExecutionState.QUEUED
    assert writes(site) == []


async def test_a_write_names_its_execution_and_its_field_manager(site: Site) -> None:
    action = await proposed(site, "k8s_rollback")
    store = MemoryStore(execution(action))
    await run(store.rows[7], services(site, store))
    (sent,) = writes(site)
    assert sent["query"]["fieldManager"] == "codehealer"
    assert {"op": "add", "path": "/metadata/annotations/codehealer.dev~1execution", "value": "7"} in sent["body"]
    assert [o["path"] for o in sent["body"] if o["op"] == "test"] == ["/metadata/uid", "/metadata/generation"]


async def test_without_a_cluster_the_execution_says_what_to_set(site: Site) -> None:
    action = Action("k8s_scale", site.target("catalog"), {"replicas": 4, "was": 2, "limit": 8})
    store = MemoryStore(execution(action))
    outcome = await run(store.rows[7], services(site, store, clients=replace(site.clients, cluster=None)))
    assert not outcome.ok
    assert "KUBECONFIG" in outcome.detail


async def test_argocd_with_self_heal_forbids_what_it_would_undo(site: Site, monkeypatch: Any) -> None:
    await site.broken("release-crash-checkout")
    argocd = site.clients.argocd
    assert argocd is not None
    real = await argocd.application("checkout")

    class SelfHealing:
        async def application(self, _name: str) -> dict[str, Any]:
            return {**real, "spec": {**real["spec"], "syncPolicy": {"automated": {"selfHeal": True}}}}

    site.clients = replace(site.clients, argocd=SelfHealing())
    plan = await site.plan(FailureKind.CRASHLOOP, site.incident("checkout"))
    assert plan.action is not None
    assert plan.action.name == "github_revert_pr"
    why = dict(plan.excluded)["k8s_rollback"]
    assert why == "Argo CD application checkout has self-heal on and would put the manifest back"
    site.clients = replace(site.clients, argocd=None)
    plan = await site.plan(FailureKind.CRASHLOOP, site.incident("checkout"))
    assert any(name == "k8s_rollback" and "could not be asked" in why for name, why in plan.excluded)


async def test_refusals_are_final_and_faults_are_not(site: Site) -> None:
    cluster = site.clients.cluster
    assert cluster is not None
    site.world.kubernetes.denied.add(("list", "pods", "*"))
    with pytest.raises(Refused, match="forbids"):
        await cluster.list("sandbox", "Pod", "shop")
    before = len(site.world.requests)
    site.world.faults["k8s"].update(error_next=1, status=503)
    assert (await cluster.get("sandbox", "Deployment", "shop", "checkout"))["kind"] == "Deployment"
    assert len(site.world.requests) - before == 2
    with pytest.raises(NotFound):
        await cluster.get("sandbox", "Deployment", "shop", "never-was")
    with pytest.raises(Refused, match="not known"):
        await cluster.get("elsewhere", "Deployment", "shop", "checkout")


async def test_a_token_that_ended_is_read_again_from_the_kubeconfig(site: Site, monkeypatch: Any) -> None:
    cluster = site.clients.cluster
    assert isinstance(cluster, KubernetesCluster)
    assert await cluster.get("sandbox", "Deployment", "shop", "checkout")
    site.world.kubernetes.token = "the next one"
    with pytest.raises(Refused, match="does not accept our token"):
        await cluster.get("sandbox", "Deployment", "shop", "checkout")
    monkeypatch.setattr("remediation.cluster.RENEW_AFTER_S", 0.0)
    path = cluster.clusters["sandbox"].kubeconfig
    path.write_text(path.read_text().replace(site.tokens.kubernetes, "the next one"))
    assert await cluster.get("sandbox", "Deployment", "shop", "checkout")


async def test_an_unreachable_cluster_and_an_absent_kubeconfig_say_what_to_mend(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    there = ClusterAccess(kubeconfig(tmp_path, f"http://127.0.0.1:{port}", "t"))
    cluster = KubernetesCluster({"down": there, "absent": ClusterAccess(tmp_path / "never-was")})
    with pytest.raises(Unavailable, match="cannot be reached") as caught:
        await cluster.delete_pod("down", "shop", "checkout", uid="u")
    assert not caught.value.maybe_done
    with pytest.raises(SettingsError, match="KUBECONFIG"):
        await cluster.version("absent")
    await cluster.aclose()
