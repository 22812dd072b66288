"""What is known about a target at one moment: fetched here, so that planning and previews can be pure."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from knowledge.errors import CodeHealerError
from knowledge.model import Incident, Target
from remediation import between, culprits, dispatching, gitops, kube, revisions, rotation
from remediation.between import Between
from remediation.budgets import Budgets
from remediation.gitops import GitOps
from remediation.managers import Manager, managers_of
from remediation.policy import Policy, service_of
from remediation.policy_file import Service
from remediation.ports import Clients, Cluster, Json
from remediation.rotation import WORKLOADS, SecretState
from remediation.transience import Says, log_says

__all__ = ["WORKLOADS", "Changed", "Context", "Manager", "gather"]

MAX_CONFIG_MAPS = 6


@dataclass(frozen=True, slots=True)
class Changed:
    """Something that the pods read, such as "ConfigMap checkout-settings", and when it was last written."""

    name: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Context:
    """The live state around one target. Empty fields were not looked at or `could_not` be had.

    `failing_since` is when the incident began; `failing_pod` is the alert's pod where it is one of `pods`.
    """

    target: Target
    looked_at: datetime
    failing_since: datetime | None = None
    failing_pod: str = ""
    max_replicas: int = 1
    workload: Json | None = None
    pods: tuple[Json, ...] = ()
    replica_sets: tuple[Json, ...] = ()
    autoscalers: tuple[Json, ...] = ()
    memory_setters: tuple[str, ...] = ()  # vertical autoscalers that decide the workload's memory
    memory_cap: str = ""  # the policy's, "" where it names none
    budgets: Budgets = field(default_factory=Budgets)
    secrets: tuple[SecretState, ...] = ()
    configuration: tuple[Changed, ...] = ()
    managers: tuple[Manager, ...] = ()
    between: Between | None = None  # the running revision and the last that is known to have run well
    run: Json | None = None
    jobs: tuple[Json, ...] = ()
    log_says: Says = "unclear"
    could_not: tuple[str, ...] = field(default=())
    gitops: GitOps | None = None
    service: Service | None = None
    # Why the service's build could not be dispatched without its cache; "" where it could, or has none.
    build_problem: str = ""
    culprit: culprits.Culprit | str = ""  # of a red run: the commit that broke it, or why none is known

    @property
    def targets(self) -> tuple[Target, ...]:
        """The target and, as the services table names them, what deploys it: a fix may be for either."""
        others = self.gitops.targets if self.gitops else ()
        if isinstance(self.culprit, culprits.Culprit):
            others = (*others, self.culprit.target)
        return (self.target, *(one for one in others if one != self.target))


async def gather(
    incident: Incident, target: Target, policy: Policy, clients: Clients, *, now: datetime, job_log: str = ""
) -> Context:
    """Looks at the target and what surrounds it. `job_log` is the incident's collected CI log, "" if none."""
    if target.kind == "WorkflowRun":
        service = service_of(policy, target)
        found = await _gather_run(incident, target, clients, now, job_log)
        return replace(
            found,
            service=service,
            build_problem=await _build_problem(service, target, clients),
            culprit=await _culprit(found.run, service, target, clients),
        )
    if target.kind == "Application":
        return await _gather_application(incident, target, policy, clients, now)
    return await _gather_workload(incident, target, policy, clients, now)


async def _gather_run(
    incident: Incident, target: Target, clients: Clients, now: datetime, job_log: str
) -> Context:  # fmt: skip
    if clients.code_host is None:
        return Context(target, now, could_not=("GitHub is not connected: set GITHUB_TOKEN",))
    try:
        run, jobs = await asyncio.gather(
            clients.code_host.run(target.repository, int(target.name)),
            clients.code_host.jobs(target.repository, int(target.name)),
        )
    except CodeHealerError as error:
        return Context(target, now, could_not=(str(error),))
    return Context(
        target,
        now,
        failing_since=incident.opened_at,
        run=run,
        jobs=tuple(jobs),
        log_says=log_says(job_log),
    )


async def _culprit(
    run: Json | None, service: Service | None, target: Target, clients: Clients
) -> culprits.Culprit | str:  # fmt: skip
    """With the namespace of the service's row: its branch is of one family with its workload and application."""
    if run is None or clients.code_host is None:
        return ""
    namespace = service.namespace if service else target.namespace
    return await culprits.look(clients.code_host, run, replace(target, namespace=namespace))


async def _build_problem(service: Service | None, target: Target, clients: Clients) -> str:
    build = service.builds if service else None
    if build is None or clients.code_host is None:
        return ""
    try:
        return await dispatching.problem(
            clients.code_host, target.repository, build.workflow, build.ref, {build.input: build.value}
        )
    except CodeHealerError as error:
        return str(error)


async def _gather_application(
    incident: Incident, target: Target, policy: Policy, clients: Clients, now: datetime
) -> Context:  # fmt: skip
    service = service_of(policy, target)
    found = await gitops.look(service, clients)
    problem = found.problem if found else "its row of the services table names no argocd_app"
    could_not = (problem,) if problem else ()
    opened = incident.opened_at
    return Context(target, now, failing_since=opened, could_not=could_not, gitops=found, service=service)


async def _gather_workload(
    incident: Incident, target: Target, policy: Policy, clients: Clients, now: datetime
) -> Context:  # fmt: skip
    cluster = clients.cluster
    if cluster is None:
        return Context(target, now, could_not=("No cluster is connected: set KUBECONFIG or policy.yaml's clusters",))
    try:
        workload = await cluster.get(target.cluster, target.kind, target.namespace, target.name)
        found, kept, autoscalers = await asyncio.gather(
            cluster.list(target.cluster, "Pod", target.namespace, labels=kube.selector(workload)),
            revisions.kept(cluster, target, workload),
            revisions.autoscalers(cluster, target, workload),
        )
    except CodeHealerError as error:
        return Context(target, now, could_not=(str(error),))
    pods = kube.without_ended(kube.pods_of(workload, found, kept))
    service = service_of(policy, target)
    memory_cap = (service.max_memory if service else "") or policy.limits.memory_cap
    replica_sets = revisions.alike(kept, pods)
    (budgets, setters, secrets, configuration), (managers, lies_between, deployed) = await asyncio.gather(
        asyncio.gather(
            _budgets(cluster, target) if memory_cap else _none(),
            _memory_setters(cluster, target, workload),
            rotation.states(service, target, policy, cluster),
            _configuration(cluster, target, workload),
        ),
        asyncio.gather(
            managers_of(workload, target, service.argocd_app if service else "", clients),
            between.looked_at(target, workload, replica_sets, clients),
            gitops.look(service, clients),
        ),
    )
    return Context(
        target,
        now,
        failing_since=incident.opened_at,
        failing_pod=incident.workload if any(kube.name_of(p) == incident.workload for p in pods) else "",
        max_replicas=service.max_replicas if service else 1,
        workload=workload,
        pods=pods,
        replica_sets=tuple(replica_sets),
        autoscalers=tuple(autoscalers),
        memory_setters=setters,
        memory_cap=memory_cap,
        budgets=budgets,
        secrets=secrets,
        configuration=(*configuration, *_rotated(secrets)),
        managers=managers,
        between=lies_between,
        gitops=deployed,
        service=service,
    )


async def _none() -> Budgets:
    return Budgets()


async def _budgets(cluster: Cluster, target: Target) -> Budgets:
    try:
        ranges, quotas = await asyncio.gather(
            cluster.list(target.cluster, "LimitRange", target.namespace),
            cluster.list(target.cluster, "ResourceQuota", target.namespace),
        )
    except CodeHealerError as error:
        return Budgets(unknown=f"the namespace's limits could not be looked at: {error}")
    return Budgets(tuple(ranges), tuple(quotas))


async def _memory_setters(cluster: Cluster, target: Target, workload: Json) -> tuple[str, ...]:
    found = await revisions.optional(cluster, target, "VerticalPodAutoscaler")
    acting = [v for v in found if ((v.get("spec") or {}).get("updatePolicy") or {}).get("updateMode", "Auto") != "Off"]
    return tuple(kube.name_of(v) for v in acting if kube.scales(v, workload))


async def _configuration(cluster: Cluster, target: Target, workload: Json) -> tuple[Changed, ...]:
    """When the ConfigMaps that the pods read were last written; those that cannot be had are left out."""

    async def one(name: str) -> Changed | None:
        try:
            at = kube.changed_at(await cluster.get(target.cluster, "ConfigMap", target.namespace, name))
        except CodeHealerError:
            return None
        return Changed(f"ConfigMap {name}", at) if at else None

    names = kube.config_maps(kube.template_of(workload))[:MAX_CONFIG_MAPS]
    return tuple(found for found in await asyncio.gather(*map(one, names)) if found)


def _rotated(secrets: Sequence[SecretState]) -> Iterator[Changed]:
    """Of the Secrets, only those that the policy names are known at all."""
    for one in secrets:
        if one.changed_at:
            yield Changed(f"Secret {one.configured.name}", one.changed_at)
