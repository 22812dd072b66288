"""Has a failing thing recovered without us? For sources that never say so: the watch and CI."""

from datetime import datetime, timedelta

from knowledge.errors import CodeHealerError
from knowledge.model import Diagnosis, Target, Unsure
from remediation import kube
from remediation.context import Context
from remediation.ports import Clients, Json
from remediation.remediators._workload import rollout_check

# A crash-looping container runs for a while between two crashes, and looks well meanwhile.
STEADY = timedelta(seconds=60)
# What starts a workflow with nothing but its branch, so that a later run does what an earlier one was to do. A run that
# somebody starts by hand, or for a deployment, has inputs of its own.
ALIKE = frozenset({"push", "pull_request", "pull_request_target", "schedule"})


async def is_well(target: Target, clients: Clients, *, now: datetime) -> bool:
    """True when the target is surely well and has been for `STEADY`; what can't be looked at is not."""
    try:
        if target.kind == "WorkflowRun":
            return await _run_succeeded(target, clients)
        if target.kind == "Application":
            return await _application_steady(target, clients, now)
        return await _workload_steady(target, clients, now)
    except CodeHealerError:
        return False


async def _run_succeeded(target: Target, clients: Clients) -> bool:
    if clients.code_host is None:
        return False
    run = await clients.code_host.run(target.repository, int(target.name))
    if run.get("status") != "completed":
        return False
    if run.get("conclusion") == "success":
        return True
    # Most failures of a branch are mended by the next push, and nobody runs the old run again.
    return run.get("event") in ALIKE and await clients.code_host.succeeded_since(target.repository, run)


async def _application_steady(target: Target, clients: Clients, now: datetime) -> bool:
    """Healthy, with a last operation that went through and is no news."""
    if clients.argocd is None:
        return False
    application = await clients.argocd.application(target.name)
    status, state = application.get("status") or {}, (application.get("status") or {}).get("operationState") or {}
    healthy = (status.get("health") or {}).get("status") == "Healthy"
    ended = kube.when(state.get("finishedAt"))
    return healthy and state.get("phase") == "Succeeded" and ended is not None and now - ended >= STEADY


async def _workload_steady(target: Target, clients: Clients, now: datetime) -> bool:
    cluster = clients.cluster
    if cluster is None:
        return False
    workload = await cluster.get(target.cluster, target.kind, target.namespace, target.name)
    replica_sets = await cluster.list(target.cluster, "ReplicaSet", target.namespace)
    pods = await cluster.list(target.cluster, "Pod", target.namespace, labels=kube.selector(workload))
    owned = [one for one in replica_sets if kube.controller_uid(one) == kube.uid_of(workload)]
    mine = kube.without_ended(kube.pods_of(workload, pods, owned))
    # Where the new pods are refused there are none, and the old ones are as steady as ever.
    if workload.get("kind") == "Deployment" and not rollout_check(workload).passed:
        return False
    wanted = kube.replicas_of(workload)
    return wanted > 0 and len(mine) == wanted and all(steady_for(pod, now) >= STEADY for pod in mine)


def steady_for(pod: Json, now: datetime) -> timedelta:
    """How long the pod has been ready with the containers that it has now; none where that is not to be seen."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    ready_since = next(
        (kube.when(one.get("lastTransitionTime")) for one in conditions if one.get("type") == "Ready"), None
    )
    started = [
        kube.when(((status.get("state") or {}).get("running") or {}).get("startedAt"))
        for status in (pod.get("status") or {}).get("containerStatuses") or []
    ]
    moments = [moment for moment in (ready_since, *started) if moment is not None]
    if not kube.is_ready(pod) or len(moments) <= len(started):
        return timedelta(0)
    return now - max(moments)


def is_pod_over(pod: Json, now: datetime) -> bool:
    """Whether a pod's trouble is surely over: it is well and has been, has done its work, or is on its way out."""
    leaving = (pod.get("metadata") or {}).get("deletionTimestamp")
    return bool(leaving) or (pod.get("status") or {}).get("phase") == "Succeeded" or steady_for(pod, now) >= STEADY


def believed(answer: Diagnosis | Unsure, seen: Context | None) -> Diagnosis | Unsure:
    """A "nothing is wrong" only where the live system does not say otherwise: pure."""
    if isinstance(answer, Unsure) or not answer.healthy or seen is None:
        return answer
    unready = [pod for pod in seen.pods if not kube.is_ready(pod)]
    run_failed = seen.run is not None and seen.run.get("conclusion") not in {"success", None}
    application = (seen.gitops.application if seen.gitops else None) or {}
    degraded = ((application.get("status") or {}).get("health") or {}).get("status") in {"Degraded", "Missing"}
    if unready:
        what = f"{len(unready)} of {len(seen.pods)} pods are not ready"
    elif run_failed:
        what = "the run has failed"
    elif degraded:
        what = "its Argo CD application is degraded"
    else:
        return answer
    return Unsure(
        reason=f"The evidence looks normal, but {what}.",
        missing=("the failing pod's log and status in a minute's time",),
        answered_by=answer.answered_by,
        quotes=answer.quotes,
        candidates=answer.candidates,
        injection_suspected=answer.injection_suspected,
    )
