"""What a person has to mend: configuration, nodes, quotas, rights, migrations, syncs; and one false alarm."""

# ruff: noqa: E501  a line of a log is written as one line

import copy
from typing import Any

from bot.sandbox.world.argocd_store import Operation
from bot.sandbox.world.causes import Surroundings, Symptom, on_every_pod
from bot.sandbox.world.controller import is_job_pod, mark_deleted
from bot.sandbox.world.scenarios.table import Proofs, Scenario
from bot.sandbox.world.state import State

Json = dict[str, Any]
FORBIDDEN = Symptom(
    "crash",
    (
        "{now} ERROR app.settings cannot watch the settings of this service",
        "kubernetes.client.exceptions.ApiException: (403) Reason: Forbidden",
        (
            'HTTP response body: configmaps is forbidden: User "system:serviceaccount:dev:reports" cannot list resource '
            '"configmaps" in API group "" in the namespace "dev"'
        ),
    ),
)
LOCK_TIMEOUT = Symptom(
    "crash",
    (
        '{{"level":30,"msg":"migration 119_add_delivery_window: begin"}}',
        '{{"level":30,"msg":"ALTER TABLE orders ADD COLUMN delivery_window tstzrange"}}',
        "error: canceling statement due to lock timeout",
        "    code: '55P03', severity: 'ERROR', table 'orders'",
        "migration 119_add_delivery_window failed, schema stays at revision 118",
    ),
)
IMMUTABLE = (
    'one or more objects failed to apply, reason: Deployment.apps "notifications" is invalid: spec.selector: Invalid value: '
    '{"matchLabels":{"app":"notifications","tier":"worker"}}: field is immutable'
)


def settings_deleted(state: State, scenario: Scenario) -> None:
    """Somebody deleted the ConfigMap; a pod was restarted since and cannot start any more."""
    service = state.service(scenario.service)
    state.cluster.store.delete("configmaps", service.namespace, f"{service.name}-settings")
    mark_deleted(state.cluster, state.cluster.pods(service.name)[0])


def node_cordoned(state: State, scenario: Scenario) -> None:
    """The only node of the pool was cordoned and one pod drained off it."""
    for node in state.cluster.store.all("nodes"):
        if node["metadata"]["labels"]["pool"] == state.service(scenario.service).pool:
            taint = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
            spec = {**node["spec"], "unschedulable": True, "taints": [taint]}
            state.cluster.store.update("nodes", {**node, "spec": spec})
    mark_deleted(state.cluster, state.cluster.pods(scenario.service)[0])


def quota_full(state: State, scenario: Scenario) -> None:
    """The namespace's quota is smaller than what runs there; no pod that ends is replaced."""
    service = state.service(scenario.service)
    count = sum(1 for _ in state.cluster.store.all("pods", service.namespace)) - 2
    body = {
        "metadata": {"name": "team-budget", "namespace": service.namespace},
        "spec": {"hard": {"pods": str(count)}},
        "status": {"hard": {"pods": str(count)}, "used": {"pods": str(count)}},
    }
    state.cluster.store.delete("resourcequotas", service.namespace, "team-budget")
    state.cluster.store.create("resourcequotas", body)
    mark_deleted(state.cluster, state.cluster.pods(service.name)[0])


def rights_removed(state: State, scenario: Scenario) -> None:
    """The RoleBinding of the service's account is gone."""
    service = state.service(scenario.service)
    name = f"{service.name}-reads-settings"
    state.cluster.store.delete("rolebindings", service.namespace, name)

    def unbound(around: Surroundings) -> bool:
        return around.find("rolebindings", service.namespace, name) is None

    state.add_cause(scenario.id, service.name, on_every_pod(FORBIDDEN, unbound))


def migration_locked(state: State, scenario: Scenario) -> None:
    """A migration waits for a lock that it never gets in the time it is given."""
    service = state.service(scenario.service)

    def symptom_of(_: Surroundings, pod: Json) -> Symptom | None:
        env = {e["name"]: e.get("value", "") for e in pod["spec"]["containers"][0].get("env", [])}
        return LOCK_TIMEOUT if is_job_pod(pod) and env.get("LOCK_TIMEOUT") == "3s" else None

    state.add_cause(scenario.id, service.name, symptom_of)
    body = migration_job(state, service.name, "3s")
    state.cluster.store.delete("jobs", service.namespace, body["metadata"]["name"])
    state.cluster.store.create("jobs", body)


def migration_job(state: State, service: str, lock_timeout: str) -> Json:
    live = state.cluster.deployment(service)
    container = copy.deepcopy(live["spec"]["template"]["spec"]["containers"][0])
    for key in ("readinessProbe", "livenessProbe", "ports", "volumeMounts"):
        container.pop(key, None)
    container |= {
        "name": "migrate",
        "env": [{"name": "LOCK_TIMEOUT", "value": lock_timeout}],
        "args": ["migrate", "up"],
    }
    labels = {"app": f"{service}-migrate", "app.kubernetes.io/name": service}
    spec = {"restartPolicy": "Never", "containers": [container], "nodeSelector": {"pool": "general"}}
    return {
        "metadata": {"name": f"{service}-migrate", "namespace": live["metadata"]["namespace"], "labels": labels},
        "spec": {"backoffLimit": 2, "template": {"metadata": {"labels": labels, "annotations": {}}, "spec": spec}},
        "status": {},
    }


def selector_changed(state: State, scenario: Scenario) -> None:
    """A commit changes a field that cannot be changed in place; the automatic sync fails."""
    repository = state.repository(scenario.service)
    path = "deploy/deployment.yaml"
    text = f"spec: {{selector: {{matchLabels: {{app: notifications, tier: worker}}}}}}  # {len(repository.commits)}\n"
    commit = state.hub.commit(repository, "Label the worker tier", {path: text})
    state.hub.start(repository, commit.sha, commit.message)
    app = state.argo.apps[scenario.service]

    def refuse(operation: Operation) -> str:
        at = repository.commit(operation.revision)
        immutable = at is not None and at.files.get(path) == text and "Replace=true" not in operation.options
        return IMMUTABLE if immutable else ""

    app.refusals[scenario.id] = refuse
    state.argo.sync(app, commit.sha, (), "automated")


def slow_but_good_release(state: State, scenario: Scenario) -> None:
    """A release that came up a little late: when the alert arrives, everything is well again."""
    state.release(scenario.service, state.next_version(scenario.service))
    pod = state.cluster.pods(scenario.service)[0]
    address = pod["status"].get("podIP", "")
    text = f'Readiness probe failed: Get "http://{address}:8080/readyz": dial tcp {address}:8080: connect: connection refused'
    state.cluster.event(pod, "Warning", "Unhealthy", text, "kubelet")


ROLLBACK = (("rollback",),)
RESTART = (("restart_broken_pod",),)
RESTART_ALL = (("restart_all_pods",),)

SCENARIOS = (
    Scenario(
        id="config-missing-notifications",
        title="The settings of notifications are gone",
        summary="Its ConfigMap was deleted; new pods of any revision cannot start.",
        service="notifications",
        kind="config_error",
        right_action="escalate",
        group="config",
        source="kubernetes",
        begin=settings_deleted,
        proofs=Proofs(
            (("create_configmap", "notifications-settings"),), RESTART, RESTART_ALL, "image-missing-payments"
        ),
    ),
    Scenario(
        id="scheduling-search",
        title="A search pod finds no node",
        summary="The only node of its pool is cordoned after maintenance.",
        service="search",
        kind="scheduling",
        right_action="escalate",
        group="scheduling",
        source="kubernetes",
        begin=node_cordoned,
        proofs=Proofs((("uncordon", "node-b1"),), RESTART, RESTART_ALL, "quota-storefront"),
    ),
    Scenario(
        id="quota-storefront",
        title="The staging namespace has used up its quota",
        summary="A pod that ended is not replaced: the namespace may not have another one.",
        service="storefront",
        kind="quota_exceeded",
        right_action="escalate",
        group="quota",
        source="alertmanager",
        begin=quota_full,
        proofs=Proofs((("set_quota", "team-budget", "20"),), (("scale", "4"),), RESTART_ALL, "scheduling-search"),
        alertname="KubeDeploymentReplicasMismatch",
        severity="warning",
        alert_text="{namespace}/{service} has had fewer pods than wanted for some time.",
    ),
    Scenario(
        id="rbac-reports",
        title="Reports may not read its settings any more",
        summary="The RoleBinding of its account was removed; every pod ends with a 403.",
        service="reports",
        kind="rbac_denied",
        right_action="escalate",
        group="rbac",
        source="kubernetes",
        begin=rights_removed,
        proofs=Proofs(
            (("create_rolebinding", "reports-reads-settings"),), RESTART, (("scale", "4"),), "release-crash-orders"
        ),
    ),
    Scenario(
        id="migration-orders",
        title="The migration of orders cannot get its lock",
        summary="The migration Job gives up after its back-off limit; the service itself still runs.",
        service="orders",
        kind="db_migration",
        right_action="escalate",
        group="migration",
        source="alertmanager",
        begin=migration_locked,
        proofs=Proofs(
            (("new_job", "orders-migrate", "60s"),),
            (("new_job", "orders-migrate", "3s"),),
            None,
            "release-crash-orders",
        ),
        alertname="KubeJobFailed",
        severity="warning",
        alert_text="The Job {service}-migrate in {namespace} failed.",
    ),
    Scenario(
        id="argocd-sync-notifications",
        title="Argo CD cannot sync notifications",
        summary="A commit changes the selector of the Deployment, which cannot be changed in place.",
        service="notifications",
        kind="argocd_sync",
        right_action="escalate",
        group="argocd-sync",
        source="argocd",
        begin=selector_changed,
        proofs=Proofs((("argocd_sync", "Replace=true"),), (("argocd_sync",),), None, "config-missing-notifications"),
    ),
    Scenario(
        id="false-alarm-catalog",
        title="Catalog's rollout was only slow",
        summary="The alert fires for a rollout that has finished meanwhile: nothing is wrong.",
        service="catalog",
        kind="healthy",
        right_action="noop",
        group="false-alarm",
        source="alertmanager",
        begin=slow_but_good_release,
        proofs=Proofs((), (), (("set_image", "absent"),), "release-port-notifications"),
        alertname="KubeDeploymentRolloutStuck",
        severity="warning",
        alert_text="The rollout of {namespace}/{service} does not progress.",
    ),
)
