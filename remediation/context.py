"""What is known about a target at one moment: fetched here, so that planning and previews can be pure."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import datetime

from knowledge.errors import CodeHealerError
from knowledge.model import Incident, Target
from remediation import dispatching, gitops, kube
from remediation.gitops import GitOps
from remediation.policy import Policy, service_of
from remediation.policy_file import Service
from remediation.ports import Clients, Json
from remediation.transience import Says, log_says

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")


@dataclass(frozen=True, slots=True)
class Manager:
    """Who owns the manifest. `undoes`: a direct change would be put back, or it is not known that it would not."""

    name: str
    undoes: bool
    why: str


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
    managers: tuple[Manager, ...] = ()
    run: Json | None = None
    jobs: tuple[Json, ...] = ()
    log_says: Says = "unclear"
    could_not: tuple[str, ...] = field(default=())
    gitops: GitOps | None = None
    service: Service | None = None
    # Why the service's build could not be dispatched without its cache; "" where it could, or has none.
    build_problem: str = ""

    @property
    def targets(self) -> tuple[Target, ...]:
        """The target and, as the services table names them, what deploys it: a fix may be for either."""
        others = self.gitops.targets if self.gitops else ()
        return (self.target, *(one for one in others if one != self.target))


async def gather(
    incident: Incident, target: Target, policy: Policy, clients: Clients, *, now: datetime, job_log: str = ""
) -> Context:
    """Looks at the target and what surrounds it. `job_log` is the incident's collected CI log, "" if none."""
    if target.kind == "WorkflowRun":
        service = service_of(policy, target)
        found = await _gather_run(incident, target, clients, now, job_log)
        return replace(found, service=service, build_problem=await _build_problem(service, target, clients))
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
        pods, replica_sets, autoscalers = await asyncio.gather(
            cluster.list(target.cluster, "Pod", target.namespace, labels=kube.selector(workload)),
            cluster.list(target.cluster, "ReplicaSet", target.namespace),
            cluster.list(target.cluster, "HorizontalPodAutoscaler", target.namespace),
        )
    except CodeHealerError as error:
        return Context(target, now, could_not=(str(error),))
    owned = tuple(r for r in replica_sets if kube.controller_uid(r) == workload["metadata"].get("uid"))
    mine = kube.pods_of(workload, pods, owned)
    service = service_of(policy, target)
    return Context(
        target,
        now,
        failing_since=incident.opened_at,
        failing_pod=incident.workload if any(kube.name_of(p) == incident.workload for p in mine) else "",
        max_replicas=service.max_replicas if service else 1,
        workload=workload,
        pods=mine,
        replica_sets=owned,
        autoscalers=tuple(a for a in autoscalers if kube.scales(a, workload)),
        managers=await managers_of(workload, service.argocd_app if service else "", clients),
        gitops=await gitops.look(service, clients),
        service=service,
    )


async def managers_of(workload: Json, argocd_app: str, clients: Clients) -> tuple[Manager, ...]:
    """Everyone who owns the workload's manifest, by its labels, annotations, owners and managed fields."""
    found: list[Manager] = []
    for name in kube.manager_names(workload):
        if name == "Helm":
            # Helm acts only when a person or a pipeline runs it; by itself it puts nothing back.
            found.append(Manager(name, False, "Helm owns the manifest: its next upgrade puts the chart's value back"))
        elif name != "Argo CD":
            found.append(Manager(name, True, f"{name} owns the manifest and would put it back"))
    if argocd_app or "Argo CD" in kube.manager_names(workload):
        found.append(await _argocd_manager(argocd_app or kube.argocd_app_name(workload), clients))
    return tuple(found)


async def _argocd_manager(app: str, clients: Clients) -> Manager:
    if not app or clients.argocd is None:
        missing = "the service names no argocd_app" if clients.argocd else "Argo CD is not connected"
        return Manager("Argo CD", True, f"Argo CD owns the manifest and could not be asked about self-heal: {missing}")
    try:
        application = await clients.argocd.application(app)
    except CodeHealerError as error:
        return Manager("Argo CD", True, f"Argo CD owns the manifest and could not be asked about self-heal: {error}")
    automated = ((application.get("spec") or {}).get("syncPolicy") or {}).get("automated")
    if automated is None or automated.get("enabled") is False:
        return Manager("Argo CD", False, f"Argo CD application {app} syncs by hand: it will show as out of sync")
    if automated.get("selfHeal"):
        return Manager("Argo CD", True, f"Argo CD application {app} has self-heal on and would put the manifest back")
    # Without self-heal, drift alone starts no sync; a new commit does.
    return Manager("Argo CD", False, f"Argo CD application {app} has auto-sync on: its next commit puts it back")
