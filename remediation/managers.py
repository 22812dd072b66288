"""Who owns a workload's manifest, and whether they would put a direct change back: looked up, not guessed."""

from dataclasses import dataclass
from typing import Any

from knowledge.errors import CodeHealerError
from knowledge.model import Target
from remediation import kube
from remediation.ports import ArgoCd, Clients, Json


@dataclass(frozen=True, slots=True)
class Manager:
    """Who owns the manifest. `undoes`: a direct change would be put back, or it is not known that it would not."""

    name: str
    undoes: bool
    why: str


async def managers_of(workload: Json, target: Target, argocd_app: str, clients: Clients) -> tuple[Manager, ...]:
    """Everyone who owns the workload's manifest, by its labels, annotations, owners and managed fields.

    `argocd_app` is the policy's word for it, "" where it has none; what the object itself names is asked as well.
    """
    found: list[Manager] = []
    names = kube.manager_names(workload)
    for name in names:
        if name == "Helm" and "Flux" not in names:
            # Helm acts only when a person or a pipeline runs it; by itself it puts nothing back.
            found.append(Manager(name, False, "Helm owns the manifest: its next upgrade puts the chart's value back"))
        elif name == "Flux":
            found.append(await _flux_manager(workload, target, clients))
        elif name not in {"Argo CD", "Helm"}:
            found.append(Manager(name, True, f"{name} owns the manifest and would put it back"))
    apps = list(dict.fromkeys(filter(None, (argocd_app, kube.argocd_app_name(workload)))))
    if not apps and "Argo CD" in names:
        missing = "the service names no argocd_app" if clients.argocd else "Argo CD is not connected"
        found.append(_not_asked(missing))
    found += [await _argocd_manager(app, clients) for app in apps]
    return tuple(found)


# --- Argo CD ----------------------------------------------------------------------------------------------------------


def _not_asked(why: str) -> Manager:
    return Manager("Argo CD", True, f"Argo CD owns the manifest and could not be asked about self-heal: {why}")


async def _argocd_manager(app: str, clients: Clients) -> Manager:
    argocd = clients.argocd
    if argocd is None:
        return _not_asked("Argo CD is not connected")
    try:
        application = await argocd.application(app)
    except CodeHealerError as error:
        return _not_asked(str(error))
    parent = await _parent(application, argocd)
    automated = ((application.get("spec") or {}).get("syncPolicy") or {}).get("automated")
    if automated is None or automated.get("enabled") is False:
        why = f"Argo CD application {app} syncs by hand: it will show as out of sync"
        return Manager("Argo CD", False, f"{why}{parent}")
    if automated.get("selfHeal"):
        why = f"Argo CD application {app} has self-heal on and would put the manifest back"
        return Manager("Argo CD", True, f"{why}{parent}")
    # Without self-heal, drift alone starts no sync; a new commit does.
    why = f"Argo CD application {app} has auto-sync on: its next commit puts it back"
    return Manager("Argo CD", False, f"{why}{parent}")


async def _parent(application: Json, argocd: ArgoCd) -> str:
    """The app of apps that owns the application itself: what is changed on the application is put back by that one."""
    owner = kube.controller(application)
    if owner:
        return f" (itself made by {owner.get('kind', 'an operator')} {owner.get('name', '')})"
    name = kube.argocd_app_name(application)
    if not name or name == kube.name_of(application):
        return ""
    try:
        above = await argocd.application(name)
    except CodeHealerError:
        return f" (itself part of application {name}, which could not be asked)"
    automated = ((above.get("spec") or {}).get("syncPolicy") or {}).get("automated") or {}
    heals = ", which has self-heal on" if automated.get("selfHeal") else ""
    return f" (itself part of application {name}{heals})"


# --- Flux -------------------------------------------------------------------------------------------------------------

_KUSTOMIZE, _HELM = "kustomize.toolkit.fluxcd.io", "helm.toolkit.fluxcd.io"


async def _flux_manager(workload: Json, target: Target, clients: Clients) -> Manager:
    """A Kustomization corrects drift unless it is suspended; a HelmRelease only where drift detection is on."""
    note = {**kube.labels(workload), **kube.annotations(workload)}
    if note.get(f"{_KUSTOMIZE}/reconcile") == "disabled":
        return Manager("Flux", False, "Flux is told to leave this object alone (its reconcile annotation)")
    for kind, group in (("Kustomization", _KUSTOMIZE), ("HelmRelease", _HELM)):
        name, namespace = note.get(f"{group}/name", ""), note.get(f"{group}/namespace", "")
        if name and namespace:
            return await _flux_object(kind, namespace, name, target, clients)
    return Manager("Flux", True, "Flux owns the manifest and would put it back")


async def _flux_object(kind: str, namespace: str, name: str, target: Target, clients: Clients) -> Manager:
    shown = f"Flux's {kind} {namespace}/{name}"
    if clients.cluster is None:
        return Manager("Flux", True, f"{shown} owns the manifest and could not be asked")
    try:
        body = await clients.cluster.get(target.cluster, kind, namespace, name)
    except CodeHealerError as error:
        return Manager("Flux", True, f"{shown} owns the manifest and could not be asked: {error}")
    spec: dict[str, Any] = body.get("spec") or {}
    if spec.get("suspend"):
        return Manager("Flux", False, f"{shown} is suspended: it puts its own value back when it is resumed")
    if kind == "HelmRelease" and (spec.get("driftDetection") or {}).get("mode") != "enabled":
        return Manager("Flux", False, f"{shown} corrects no drift: its next upgrade puts the chart's value back")
    return Manager("Flux", True, f"{shown} owns the manifest and would put it back")
