"""What doctor asks of clusters, GitHub hosts, Argo CD servers and PagerDuty: each by its name, and each for itself."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence

import httpx

from bot.clients import argocd_servers, github_hosts, open_clients, pagerduty_api
from bot.finding import Finding
from bot.settings import Settings
from bot.team_files import read_policy
from knowledge.errors import CodeHealerError
from remediation import permissions
from remediation.argocd import ArgoCdServer
from remediation.argocd_servers import USUAL_ARGOCD
from remediation.code_host import GitHubHost
from remediation.pager_rights import PagerDutyKey
from remediation.policy import Policy
from remediation.policy_file import Service
from remediation.ports import Clients, Cluster
from remediation.remediators import REMEDIATORS

# Below doctor's own for a whole check, so that one that is away does not hide what the others say.
DEADLINE_S = 12.0
AWAY = "Check its address, its credentials and the network."
# A resolve for a key that nobody opened is taken and changes nothing, so that it pages nobody.
UNUSED_DEDUP_KEY = "codehealer-doctor"


@contextlib.asynccontextmanager
async def opened(settings: Settings, policy: Policy) -> AsyncIterator[Clients]:
    """The clients of what is set up, until the check is over."""
    async with httpx.AsyncClient(timeout=DEADLINE_S) as http, open_clients(settings, policy, http) as clients:
        yield clients


async def each(looks: Mapping[str, Awaitable[Finding]], check: str) -> list[Finding]:
    """Side by side, by name; one that fails or does not answer is a finding of its own."""
    return list(await asyncio.gather(*(_bounded(check, name, look) for name, look in looks.items())))


async def _bounded(check: str, name: str, look: Awaitable[Finding]) -> Finding:
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await look
    except TimeoutError:
        return Finding(check, False, f"{name}: no answer within {DEADLINE_S:.0f} s", AWAY)
    except CodeHealerError as error:
        return Finding(check, False, f"{name}: {error}", AWAY)


async def kubernetes(settings: Settings) -> list[Finding]:
    async with opened(settings, read_policy(settings)) as clients:
        if clients.cluster is None:
            return [Finding("kubernetes", True, "not set up", "Set KUBECONFIG to watch a cluster.")]
        return await each({name: _version(clients.cluster, name) for name in clients.cluster.names}, "kubernetes")


async def _version(cluster: Cluster, name: str) -> Finding:
    return Finding("kubernetes", True, f"{name}: {await cluster.version(name)}")


async def rights(settings: Settings) -> list[Finding]:
    """Whether each cluster allows what the policy lists, namespace by namespace."""
    policy = read_policy(settings)
    async with opened(settings, policy) as clients:
        cluster = clients.cluster
        if cluster is None:
            return [Finding("permissions", True, "no cluster to ask")]
        places: dict[str, dict[str, list[Service]]] = {}
        for (name, namespace), rows in permissions.places(policy).items():
            # A row without a cluster's name is about the first one.
            places.setdefault(name or cluster.names[0], {}).setdefault(namespace, []).extend(rows)
        looks = {name: _rights(cluster, name, there, policy) for name, there in places.items()}
        return await each(looks, "permissions") or [Finding("permissions", True, "no service has a workload")]


async def _rights(cluster: Cluster, name: str, there: Mapping[str, Sequence[Service]], policy: Policy) -> Finding:
    lacking: list[str] = []
    every: list[str] = []
    for namespace, rows in there.items():
        rules = await cluster.rules(name, namespace)
        for found, once_approved in ((lacking, False), (every, True)):
            lines = permissions.missing(rules, rows, policy, REMEDIATORS, once_approved=once_approved)
            found += [f"{namespace}: {line}" for line in lines]
    if lacking:
        remedy = "Add these rules to the codehealer Role of the namespace."
        return Finding("permissions", False, f"{name}: {'; '.join(lacking)}", remedy)
    return _enough("permissions", f"{name}: ", f", in {len(there)} namespaces", "add these rules", every)


def _enough(check: str, before: str, after: str, do: str, later: Sequence[str]) -> Finding:
    """Nothing is missing for what the policy's modes allow; `later` is what would be, were it all to be approved."""
    if not later:
        return Finding(check, True, f"{before}all that the policy lists{after}")
    return Finding(check, True, f"{before}all that its modes take{after}", f"Before approve, {do}: {'; '.join(later)}")


async def github(settings: Settings) -> list[Finding]:
    policy = read_policy(settings)
    async with httpx.AsyncClient(timeout=DEADLINE_S) as http:
        hosts = github_hosts(settings, policy, http)
        try:
            found = await each({name: _github(name, host, policy) for name, host in hosts.items()}, "github")
        finally:
            for host in hosts.values():
                await host.aclose()
    return found or [Finding("github", True, "not set up", "Set GITHUB_TOKEN to read failed runs and re-run them.")]


async def _github(name: str, host: GitHubHost, policy: Policy) -> Finding:
    login, granted = await host.login(), await host.granted()
    if granted is None:
        return Finding("github", True, f"{name}: token of {login}; GitHub does not tell what it may do")
    lacking = permissions.missing_of_app(granted, policy, REMEDIATORS)
    if lacking:
        remedy = "Give the App these permissions in its settings, and accept them where it is installed."
        return Finding("github", False, f"{name}: App {login} lacks {'; '.join(lacking)}", remedy)
    every = permissions.missing_of_app(granted, policy, REMEDIATORS, once_approved=True)
    return _enough("github", f"{name}: App {login}, with ", "", "give it", every)


async def argocd(settings: Settings) -> list[Finding]:
    policy = read_policy(settings)
    async with httpx.AsyncClient(timeout=DEADLINE_S) as http:
        servers = argocd_servers(settings, policy, http)
        found = await each({name: _argocd(name, server, policy) for name, server in servers.items()}, "argocd")
    return found or [
        Finding("argocd", True, "not set up", "Set ARGOCD_SERVER and ARGOCD_TOKEN to ask about self-heal.")
    ]


async def _argocd(name: str, server: ArgoCdServer, policy: Policy) -> Finding:
    of = {app: server for server, one in policy.argocd_servers.items() for app in one.applications}
    every, synced = permissions.applications(policy)
    _, synced_later = permissions.applications(policy, once_approved=True)
    named = {app for app in every if of.get(app, USUAL_ARGOCD) == name}
    version = await server.version()
    rows = {str((one.get("metadata") or {}).get("name", "")): one for one in (await server.applications()).rows}
    wrong = [f"{app} is not to be seen" for app in sorted(named - rows.keys())]
    may = {app: await server.may("sync", rows[app]) for app in sorted(named & synced_later & rows.keys())}
    kept = [app for app, allowed in may.items() if not allowed]
    wrong += [f"{app} may not be synced" for app in kept if app in synced]
    lines = "the lines of argocd-rbac-cm"
    if wrong:
        remedy = f"See docs/permissions.md for {lines}, or correct argocd_app in the policy."
        return Finding("argocd", False, f"{name} {version}: {'; '.join(wrong)}", remedy)
    later = "; ".join(f"{app} may not be synced" for app in kept)
    remedy = f"Before approve, see docs/permissions.md for {lines}: {later}" if later else ""
    return Finding("argocd", True, f"{name} {version}: {len(named)} applications of the policy", remedy)


async def pagerduty(settings: Settings) -> Finding:
    """What PagerDuty takes from us: nobody is paged for it, and nothing is changed there."""
    policy = read_policy(settings)
    schedules = {
        route.on_call.pagerduty_schedule
        for route in policy.routes
        if route.on_call and route.on_call.pagerduty_schedule
    }
    said: list[str] = []
    wrong: list[str] = []
    async with opened(settings, policy) as clients:
        if clients.pager is not None:
            try:
                await clients.pager.resolve(UNUSED_DEDUP_KEY)
                said.append("takes events by the routing key")
            except CodeHealerError as error:
                wrong.append(str(error))
    if token := settings.pagerduty_token.get_secret_value():
        async with httpx.AsyncClient(timeout=DEADLINE_S) as http:
            key = PagerDutyKey(http, token, settings.pagerduty_from, pagerduty_api(settings))
            owner = await key.owner()
            limits = await key.wrong(owner, schedules)
        there = f", and sees {', '.join(sorted(schedules))}" if schedules else ""
        said.append(f"PAGERDUTY_TOKEN of {owner or 'the account'}" + ("" if limits else f" reads and writes{there}"))
        wrong += limits
    elif schedules:
        wrong.append(f"the policy names the schedule {', '.join(sorted(schedules))}, and PAGERDUTY_TOKEN is not set")
    if wrong:
        return Finding("pagerduty", False, "; ".join([*wrong, *said]), "See PagerDuty in docs/permissions.md.")
    if not said:
        return Finding("pagerduty", True, "not set up", "Set PAGERDUTY_ROUTING_KEY to page when a fix fails.")
    return Finding("pagerduty", True, "; ".join(said))
