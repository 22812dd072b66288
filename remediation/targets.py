"""From an alert's hints to a target: a row of the policy's services table whose object exists. Never from text alone.

Alert fields are only look-up keys. No single match means no target, and then a failure is only diagnosed.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from knowledge.errors import CodeHealerError, NotFound
from knowledge.model import Alert, Incident, Target
from remediation import kube
from remediation.gitops import application_target
from remediation.policy_file import Policy, Service
from remediation.ports import Clients, Json

_KUBE_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_MAX_OWNERS = 4


@dataclass(frozen=True, slots=True)
class Hints:
    """What an alert says about the place of a failure; untrusted look-up keys, "" where absent."""

    service: str = ""
    environment: str = ""
    cluster: str = ""
    namespace: str = ""
    workload: str = ""
    owner: str = ""
    repository: str = ""
    run_id: str = ""


@dataclass(frozen=True, slots=True)
class Resolution:
    """The target, or why there is none, as a clause for people. `service` is the matched row."""

    target: Target | None
    reason: str
    service: Service | None = None


def hints_of(source: Incident | Alert, *, owner: str = "") -> Hints:
    """The look-up keys of an incident or alert."""
    return Hints(
        service=source.service,
        environment=source.environment,
        cluster=source.cluster,
        namespace=source.namespace,
        workload=source.workload,
        owner=owner or (source.owner if isinstance(source, Alert) else ""),
        repository=source.repository,
        run_id=source.run_id,
    )


async def resolve(hints: Hints, policy: Policy, clients: Clients) -> Target | None:
    """The target, or None: diagnosis only."""
    return (await find(hints, policy, clients)).target


async def find(hints: Hints, policy: Policy, clients: Clients) -> Resolution:
    """As `resolve`, with the reason. Never raises for what the outside says; that is the reason then."""
    if hints.run_id and hints.repository:
        return await _find_run(hints, policy, clients)
    if not (hints.workload or hints.owner or hints.service):
        return Resolution(None, "the alert names neither a workload nor a service")
    names = {hints.owner, hints.workload} - {""}
    if clients.cluster is not None and _valid(hints.namespace) and _valid(hints.workload):
        names |= await _owners(hints, clients)
    clusters = clients.cluster.names if clients.cluster is not None else ()
    row = _single(rows_for(hints, names, policy.services, clusters=clusters))
    if isinstance(row, str):
        return Resolution(None, row)
    return await _live(row, clients)


def rows_for(
    hints: Hints, names: set[str], services: Sequence[Service], *, clusters: Sequence[str] = ()
) -> list[Service]:
    """The rows that every given hint agrees with. Pure.

    A row agrees by its workload's name (with the namespace, where the alert gives one), by its Argo CD application's,
    or by the service's.
    Of these one in another cluster is left out where the hint names one of ours, `clusters`. A name that is none of
    them and the environment only narrow several rows down; they never set what a row says.
    """
    rows = [s for s in services if s.workload is not None or s.argocd_app]
    found = [s for s in rows if s.workload and s.workload.name in names and hints.namespace in {"", s.namespace}]
    if not found:
        found = [s for s in rows if s.argocd_app in names and hints.namespace in {"", s.namespace}]
    if not found and hints.service:
        found = [s for s in rows if s.name == hints.service and hints.namespace in {"", s.namespace}]
    if hints.cluster in clusters:
        # After the names are matched: left out before, a row would give way to what a lesser name leads to.
        found = [s for s in found if _cluster(s, clusters[0]) in {"", hints.cluster}]
    for wanted, of in ((hints.cluster, lambda s: s.cluster), (hints.environment, _environment), (hints.service, _name)):
        if len(found) > 1 and wanted:
            found = [s for s in found if of(s) == wanted] or found
    return found


def _cluster(service: Service, first: str) -> str:
    """Where a row's workload is: in the first where it names none. An application alone may be anywhere, ""."""
    return service.cluster or (first if service.workload else "")


def _environment(service: Service) -> str:
    return service.environment


def _name(service: Service) -> str:
    return service.name


def _single(rows: Sequence[Service]) -> Service | str:
    if not rows:
        return "no row of policy.yaml's services table matches"
    if len(rows) > 1:
        names = ", ".join(f"{s.name} ({s.environment})" for s in rows[:4])
        return f"{len(rows)} rows of policy.yaml's services table match: {names}"
    return rows[0]


def _valid(name: str) -> bool:
    return bool(_KUBE_NAME.fullmatch(name))


async def _owners(hints: Hints, clients: Clients) -> set[str]:
    """The names of the controllers above the named pod, found in the live cluster; empty when there is no such pod."""
    assert clients.cluster is not None  # noqa: S101  looked at by the caller
    cluster = hints.cluster if hints.cluster in clients.cluster.names else ""
    names: set[str] = set()
    try:
        body = await clients.cluster.get(cluster, "Pod", hints.namespace, hints.workload)
        for _ in range(_MAX_OWNERS):
            owner = kube.controller(body)
            if owner is None or owner.get("kind") not in {"ReplicaSet", "Deployment", "StatefulSet", "DaemonSet"}:
                break
            names.add(str(owner["name"]))
            body = await clients.cluster.get(cluster, str(owner["kind"]), hints.namespace, str(owner["name"]))
    except CodeHealerError:
        return names
    return names


async def _live(row: Service, clients: Clients) -> Resolution:
    """The row's target, if its object exists."""
    workload = row.workload
    if workload is None:
        return await _application(row, clients)
    if clients.cluster is None:
        return Resolution(None, "no cluster is connected", row)
    try:
        await clients.cluster.get(row.cluster, workload.kind, row.namespace, workload.name)
    except NotFound:
        place = f"{row.namespace}/{workload.kind}/{workload.name}"
        return Resolution(None, f"{place} of policy.yaml does not exist in the cluster", row)
    except CodeHealerError as error:
        return Resolution(None, f"the cluster could not be asked: {error}", row)
    target = Target(
        workload.kind, workload.name, row.namespace, row.cluster, row.repository, row.name, row.environment
    )  # fmt: skip
    return Resolution(target, "", row)


async def _application(row: Service, clients: Clients) -> Resolution:
    """The application of a row without a workload, if it exists."""
    if clients.argocd is None:
        return Resolution(None, "Argo CD is not connected", row)
    try:
        await clients.argocd.application(row.argocd_app)
    except NotFound:
        return Resolution(None, f"the application {row.argocd_app} of policy.yaml does not exist", row)
    except CodeHealerError as error:
        return Resolution(None, f"Argo CD could not be asked: {error}", row)
    return Resolution(application_target(row), "", row)


async def _find_run(hints: Hints, policy: Policy, clients: Clients) -> Resolution:
    rows = [s for s in policy.services if s.repository and s.repository.lower() == hints.repository.lower()]
    if len({s.name for s in rows}) > 1:
        named = [s for s in rows if s.name == hints.service]
        rows = named or rows
    if not rows:
        return Resolution(None, f"no row of policy.yaml's services table has the repository {hints.repository}")
    if len({s.name for s in rows}) > 1:
        return Resolution(None, f"several services of policy.yaml share the repository {hints.repository}")
    # One service may have a row an environment; a CI run belongs to none of them, so the strictest counts.
    row = min(rows, key=lambda s: {"dev": 2, "staging": 1}.get(s.environment, 0))
    if not hints.run_id.isdecimal() or len(hints.run_id) > 20:
        return Resolution(None, "the run has no numeric id", row)
    if clients.code_host is None:
        return Resolution(None, "GitHub is not connected", row)
    try:
        run: Json = await clients.code_host.run(row.repository, int(hints.run_id))
    except NotFound:
        return Resolution(None, f"run {hints.run_id} does not exist in {row.repository}", row)
    except CodeHealerError as error:
        return Resolution(None, f"GitHub could not be asked: {error}", row)
    target = Target("WorkflowRun", str(run["id"]), "", "", row.repository, row.name, row.environment)
    return Resolution(target, "", row)
