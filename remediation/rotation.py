"""The Secrets of a service that may be given a new value: what is known of them without ever keeping a value."""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from knowledge.errors import CodeHealerError
from knowledge.model import Target
from remediation import kube
from remediation.policy import Policy, Service, service_of
from remediation.policy_file import ServiceSecret
from remediation.ports import Cluster, Json
from remediation.secret_sources import SecretSource

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")
# Types whose value is another program's, and is made anew by it.
_FOREIGN_TYPES = ("kubernetes.io/service-account-token", "helm.sh/", "bootstrap.kubernetes.io/")
MAX_USERS = 10


@dataclass(frozen=True, slots=True)
class SecretState:
    """One configured key of a Secret as it is now, without its value.

    `problem` is why it cannot be given a new value, "" where it can; `users` are (kind, name) of the workloads that
    read it, in order, and `pods` how many they have together; `changed_at` is when the Secret was last written.
    """

    configured: ServiceSecret
    uid: str = ""
    resource_version: str = ""
    changed_at: datetime | None = None
    users: tuple[tuple[str, str], ...] = ()
    pods: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class PolicySources:
    """Implements `ports.SecretSources`. A source is looked up when it is used: a stored plan never names a command."""

    policy: Policy

    def source_of(self, target: Target, secret: str, key: str) -> SecretSource | None:
        row = service_of(self.policy, target)
        named = row.secrets if row else ()
        return next((one.source for one in named if (one.name, one.key) == (secret, key)), None)


async def states(service: Service | None, target: Target, policy: Policy, cluster: Cluster) -> tuple[SecretState, ...]:
    """Every key that the service's row configures; nothing is asked of the cluster where it configures none."""
    if service is None or not service.secrets:
        return ()
    try:
        workloads = await workloads_of(cluster, target)
    except CodeHealerError as error:
        return tuple(SecretState(one, problem=str(error)) for one in service.secrets)
    found = await asyncio.gather(*(_state(one, target, policy, cluster, workloads) for one in service.secrets))
    return tuple(found)


async def workloads_of(cluster: Cluster, target: Target) -> list[Json]:
    """All workloads of the target's namespace whose pods are made from a template and live on."""
    lists = await asyncio.gather(*(cluster.list(target.cluster, kind, target.namespace) for kind in WORKLOADS))
    return [body for found in lists for body in found]


async def _state(
    configured: ServiceSecret, target: Target, policy: Policy, cluster: Cluster, workloads: list[Json]
) -> SecretState:
    try:
        body = await cluster.get(target.cluster, "Secret", target.namespace, configured.name)
    except CodeHealerError as error:
        return SecretState(configured, problem=str(error))
    reading = [w for w in workloads if reads(kube.template_of(w), configured.name, configured.key)]
    return SecretState(
        configured,
        uid=kube.uid_of(body),
        resource_version=str(body["metadata"].get("resourceVersion", "")),
        changed_at=kube.changed_at(body),
        users=tuple(sorted((str(w["kind"]), kube.name_of(w)) for w in reading)),
        pods=sum(map(kube.replicas_of, reading)),
        problem=_problem(body, configured) or _users_problem(reading, target, policy),
    )


def _problem(body: Json, configured: ServiceSecret) -> str:
    name = f"Secret {configured.name}"
    if configured.key not in (body.get("data") or {}):
        return f"{name} has no key {configured.key}"
    if body.get("immutable"):
        return f"{name} is immutable"
    if str(body.get("type", "")).startswith(_FOREIGN_TYPES):
        return f"{name} is of type {body['type']}, which another program fills"
    owner = kube.controller(body)
    names = kube.manager_names(body)
    if owner or names:
        return f"{names[0] if names else 'an operator'} owns {name} and would put its own value back"
    return ""


def _users_problem(reading: list[Json], target: Target, policy: Policy) -> str:
    """Only what the services table lists as this service's own, in this place.

    The rules and the dry run that are looked at are the target's; the lease is the service's (`Target.family`), so it
    covers every workload that is restarted.
    """
    if len(reading) > MAX_USERS:
        return f"{len(reading)} workloads read it, more than {MAX_USERS}"
    listed = {
        (s.workload.kind, s.workload.name): s.name
        for s in policy.services
        if s.workload and s.namespace == target.namespace and s.cluster == target.cluster
        if s.environment == target.environment
    }
    for body in reading:
        name = f"{body['kind']} {kube.name_of(body)}"
        service = listed.get((body["kind"], kube.name_of(body)))
        if service is None:
            return f"{name} reads it too, and no row of the services table lists that"
        if service != target.service:
            return f"{name} of {service} reads it too, and would be restarted outside the rules for {service}"
        if hindrance := kube.rollout_hindrance(body, failing=False):
            return f"{name} reads it and could not be restarted: {hindrance}"
    return ""


def reads(template: Json, secret: str, key: str) -> bool:
    """Whether pods of a template read that key: as a variable, as all variables, or as a file."""
    spec = template.get("spec") or {}
    for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]:
        for variable in container.get("env") or []:
            reference = ((variable.get("valueFrom") or {}).get("secretKeyRef")) or {}
            if (reference.get("name"), reference.get("key")) == (secret, key):
                return True
        if any((source.get("secretRef") or {}).get("name") == secret for source in container.get("envFrom") or []):
            return True
    return any(_mounts(volume, secret) for volume in spec.get("volumes") or [])


def _mounts(volume: Json, secret: str) -> bool:
    if (volume.get("secret") or {}).get("secretName") == secret:
        return True
    projected = (volume.get("projected") or {}).get("sources") or []
    return any((source.get("secret") or {}).get("name") == secret for source in projected)
