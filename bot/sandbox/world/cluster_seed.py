"""The healthy cluster that every sandbox starts with: made once, as if it had run for days."""

import base64
import hashlib

from bot.sandbox.world.cluster import Cluster, Container
from bot.sandbox.world.controller import pod_status, reconcile
from bot.sandbox.world.objects import PASSWORD_KEY, REVISION, deployment, pod, replica_set, template
from bot.sandbox.world.services import SERVICES, Service

DAY = 86400.0
NODES = (("node-a1", "general"), ("node-a2", "general"), ("node-a3", "general"), ("node-b1", "search"))


def commit_sha(service: str, version: str) -> str:
    """The commit that a version was built from: the same in the repository and in the image's annotation."""
    return hashlib.sha1(f"{service}@{version}".encode(), usedforsecurity=False).hexdigest()


def seed(cluster: Cluster) -> None:
    """Fills an empty cluster."""
    now = cluster.clock()
    for namespace in sorted({s.namespace for s in SERVICES} | {"default", "kube-system"}):
        body = {"metadata": {"name": namespace, "labels": {"kubernetes.io/metadata.name": namespace}}}
        cluster.store.create(
            "namespaces", {**body, "spec": {}, "status": {"phase": "Active"}}, created_at=now - 90 * DAY
        )
    for name, pool in NODES:
        seed_node(cluster, name, pool, now)
    for service in SERVICES:
        seed_service(cluster, service, now)
    reconcile(cluster)


def seed_node(cluster: Cluster, name: str, pool: str, now: float) -> None:
    conditions = [
        {"type": "MemoryPressure", "status": "False", "reason": "KubeletHasSufficientMemory"},
        {"type": "DiskPressure", "status": "False", "reason": "KubeletHasNoDiskPressure"},
        {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status"},
    ]
    sizes = {"cpu": "8", "memory": "32Gi", "pods": "110"}
    cluster.store.create(
        "nodes",
        {
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "pool": pool}},
            "spec": {},
            "status": {"capacity": sizes, "allocatable": sizes, "conditions": conditions},
        },
        created_at=now - 60 * DAY,
    )


def seed_service(cluster: Cluster, service: Service, now: float) -> None:
    """Two revisions of a Deployment, the older one at zero, and ready pods of the newer one."""
    cluster.images |= {service.image(service.version), service.image(service.previous)}
    cluster.demand[service.name] = service.memory_use
    settings = {"LOG_LEVEL": "info", "REGION": "eu-central", "PRICING_URL": "http://pricing.shared:8080"}
    name = f"{service.name}-settings"
    cluster.store.create(
        "configmaps",
        {"metadata": {"name": name, "namespace": service.namespace}, "data": settings},
        created_at=now - 30 * DAY,
    )
    cluster.store.create(
        "services",
        {
            "metadata": {"name": service.name, "namespace": service.namespace, "labels": {"app": service.name}},
            "spec": {
                "selector": {"app": service.name},
                "ports": [{"port": 80, "targetPort": 8080}],
                "type": "ClusterIP",
            },
        },
        created_at=now - 30 * DAY,
    )
    if service.database:
        seed_secret(cluster, service, now)
    seed_account(cluster, service, now)
    body = deployment(service, service.version, commit_sha(service.name, service.version))
    live = cluster.store.create("deployments", body, created_at=now - 30 * DAY)
    older = template(service, service.previous, commit_sha(service.name, service.previous))
    past = {**live, "spec": {**live["spec"], "template": older}}
    cluster.store.create("replicasets", replica_set(past, 1, 0), created_at=now - 30 * DAY)
    current = cluster.store.create("replicasets", replica_set(live, 2, service.replicas), created_at=now - 4 * DAY)
    assert current["metadata"]["annotations"][REVISION] == "2"  # noqa: S101  the Deployment says the same
    nodes = [n for n, pool in NODES if pool == service.pool]
    for index in range(service.replicas):
        made = pod(current, cluster.rng)
        made["spec"]["nodeName"] = nodes[index % len(nodes)]
        stored = cluster.store.create("pods", made, created_at=now - 4 * DAY)
        at = now - 4 * DAY + 6
        run = Container(stage="running", since=at, started_at=at, ready=True, order=index)
        cluster.containers[stored["metadata"]["uid"]] = run
        cluster.store.set_status("pods", stored, pod_status(stored, run))


def seed_secret(cluster: Cluster, service: Service, now: float) -> None:
    """The password of the service's database: the database, its store and the Secret agree."""
    value = f"{cluster.rng.getrandbits(96):024x}"
    cluster.passwords[service.name] = value
    body = {
        "metadata": {"name": service.secret, "namespace": service.namespace},
        "type": "Opaque",
        "data": {PASSWORD_KEY: base64.b64encode(value.encode()).decode()},
    }
    cluster.store.create("secrets", body, created_at=now - 30 * DAY)


def seed_account(cluster: Cluster, service: Service, now: float) -> None:
    """The rights of the service's own account."""
    meta = {"name": f"{service.name}-reads-settings", "namespace": service.namespace}
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]}]
    cluster.store.create("roles", {"metadata": meta, "rules": rules}, created_at=now - 30 * DAY)
    cluster.store.create(
        "rolebindings",
        {
            "metadata": meta,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": meta["name"]},
            "subjects": [{"kind": "ServiceAccount", "name": service.name, "namespace": service.namespace}],
        },
        created_at=now - 30 * DAY,
    )
