"""Has somebody changed the target since a fix was proposed for it? What an approval relies on is compared."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from knowledge.errors import CodeHealerError, NotFound
from knowledge.model import Target
from remediation import kube
from remediation.argocd_state import history
from remediation.context import Context
from remediation.ports import Clients, Json


def seen_of(context: Context, target: Target) -> dict[str, Any]:
    """What to compare later of the fix's target: pure. Empty where nothing of it was seen.

    A branch gets commits all day; whether one of them matters is left to the look just before acting. Status,
    annotations and resourceVersion change by themselves and are left out; the number of replicas counts unless an
    autoscaler or the number of nodes sets it.
    """
    if target.kind == "WorkflowRun":
        return {"attempt": context.run.get("run_attempt")} if context.run is not None else {}
    if target.kind == "Application":
        return _deployed((context.gitops.application if context.gitops else None) or {})
    if target.kind == "Branch" or context.workload is None:
        return {}
    if context.autoscalers or context.workload.get("kind") == "DaemonSet":
        return _workload(context.workload)
    return {**_workload(context.workload), "replicas": kube.replicas_of(context.workload)}


def _workload(workload: Json) -> dict[str, Any]:
    # With the mark of a restart, which a comparison of revisions leaves out: it is a person's doing as well.
    template = json.dumps((workload.get("spec") or {}).get("template"), sort_keys=True, default=str)
    return {"uid": kube.uid_of(workload), "template": hashlib.sha256(template.encode()).hexdigest()[:32]}


def _deployed(application: Json) -> dict[str, Any]:
    rows = history(application)
    return {"deployed": rows[-1].id, "revision": rows[-1].revision} if rows else {}


async def changed(target: Target, seen: Mapping[str, Any], clients: Clients) -> str:
    """What has changed, as a clause for people; "" where nothing has or it cannot be told now.

    What cannot be told is left to the look just before acting, which refuses for itself.
    """
    if not seen:
        return ""
    try:
        if target.kind == "WorkflowRun":
            return await _run_again(target, seen, clients)
        if target.kind == "Application":
            return await _deployed_anew(target, seen, clients)
        if target.kind == "Branch":
            return ""
        return await _workload_changed(target, seen, clients)
    except NotFound:
        return "the target is gone"
    except CodeHealerError:
        return ""


async def _run_again(target: Target, seen: Mapping[str, Any], clients: Clients) -> str:
    if clients.code_host is None:
        return ""
    run = await clients.code_host.run(target.repository, int(target.name))
    return "" if run.get("run_attempt") == seen.get("attempt") else "the run was started again"


async def _deployed_anew(target: Target, seen: Mapping[str, Any], clients: Clients) -> str:
    # What was kept by an earlier version is of the workload, and tells nothing of the application.
    if clients.argocd is None or "deployed" not in seen:
        return ""
    now = _deployed(await clients.argocd.application(target.name))
    return f"Argo CD deployed {str(now.get('revision', ''))[:10]}" if now and now != dict(seen) else ""


async def _workload_changed(target: Target, seen: Mapping[str, Any], clients: Clients) -> str:
    if clients.cluster is None:
        return ""
    now = await clients.cluster.get(target.cluster, target.kind, target.namespace, target.name)
    found = _workload(now)
    if found["uid"] != seen.get("uid"):
        return "it was deleted and made anew"
    if found["template"] != seen.get("template"):
        return "its pod template was changed"
    if "replicas" in seen and kube.replicas_of(now) != seen["replicas"]:
        return f"it was scaled from {seen['replicas']} to {kube.replicas_of(now)}"
    return ""
