"""From the settings and the policy to the clients of outside systems; Slack and the models are opened elsewhere."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from bot.settings import Settings
from knowledge.environment import environment, value_of
from knowledge.errors import SettingsError
from remediation.alertmanager import AlertmanagerServer
from remediation.argocd import ArgoCdServer
from remediation.argocd_servers import USUAL_ARGOCD, ArgoCdServers
from remediation.cluster import ClusterAccess, KubernetesCluster
from remediation.code_host import GitHubHost
from remediation.github_auth import AppKey, SignIn
from remediation.pager import PagerDuty
from remediation.pager_incidents import BASE_URL as PAGERDUTY_API
from remediation.pager_incidents import PagerDutyIncidents
from remediation.policy import Policy
from remediation.ports import ArgoCd, Clients, CodeHost, Pager
from remediation.prometheus import PrometheusServer
from remediation.rotation import PolicySources
from remediation.sealing import PolicyRepositorySecrets
from remediation.status_pages import StatusPageReader, parse_pages
from remediation.webhooks import WebhookSender


@asynccontextmanager
async def open_clients(
    settings: Settings, policy: Policy, http: httpx.AsyncClient, *, read_access: bool = False
) -> AsyncIterator[Clients]:
    """The clients of `make_clients`, closed at the end; with `read_access` every kubeconfig is read already.

    Raises SettingsError for a token that is not set, or a kubeconfig that cannot be used.
    """
    clients = make_clients(settings, policy, http)
    try:
        if read_access and isinstance(clients.cluster, KubernetesCluster):
            await clients.cluster.read_access()
        yield clients
    finally:
        for client in (clients.cluster, clients.code_host, clients.argocd, clients.pager):
            if client is not None:
                await client.aclose()


def make_clients(settings: Settings, policy: Policy, http: httpx.AsyncClient) -> Clients:
    """The systems that are configured; the others are None, and what needs them says so."""
    access = cluster_access(settings, policy)
    return Clients(
        cluster=KubernetesCluster(access) if access else None,
        **clients_with_tokens(settings, http, policy),
        status_pages=StatusPageReader(http, parse_pages(settings.status_pages)),
        secret_sources=PolicySources(policy),
        webhooks=WebhookSender(http),
        repository_secrets=PolicyRepositorySecrets(policy),
    )


def cluster_access(settings: Settings, policy: Policy) -> dict[str, ClusterAccess]:
    """The clusters by name: those of the policy, or one named "default" where only KUBECONFIG is set."""
    access = {
        name: ClusterAccess(Path(entry.kubeconfig or settings.kubeconfig), entry.context)
        for name, entry in policy.clusters.items()
        if entry.kubeconfig or settings.kubeconfig
    }
    return access or ({"default": ClusterAccess(Path(settings.kubeconfig))} if settings.kubeconfig else {})


def clients_with_tokens(settings: Settings, http: httpx.AsyncClient, policy: Policy) -> dict[str, Any]:
    """Those clients, by their field in Clients, that have a token which may be rotated."""
    code_host: CodeHost | None = None
    pager: Pager | None = None
    servers = argocd_servers(settings, policy, http)
    argocd: ArgoCd | None = servers.get(USUAL_ARGOCD)
    if policy.argocd_servers:
        by_application = {app: name for name, one in policy.argocd_servers.items() for app in one.applications}
        argocd = ArgoCdServers(servers, by_application)
    app, token = _github_app(settings), settings.github_token.get_secret_value()
    if app or token or policy.github_hosts:
        code_host = GitHubHost(token, http, settings.github_base_url, app, _further_github(policy))
    if key := settings.pagerduty_routing_key.get_secret_value():
        pager = PagerDuty(http, key, settings.pagerduty_base_url)
    rest = _pager_incidents(settings, http)
    return {
        "code_host": code_host,
        "argocd": argocd,
        "pager": pager,
        "pager_incidents": rest,
        "schedules": rest,
        "metrics": _metrics(settings, http),
        "silences": _silences(settings, http),
    }


def argocd_servers(settings: Settings, policy: Policy, http: httpx.AsyncClient) -> dict[str, ArgoCdServer]:
    """By name: the policy's, and that of the settings. Raises SettingsError for a token that is not set."""
    found = {}
    if settings.argocd_server:
        token = settings.argocd_token.get_secret_value()
        found[USUAL_ARGOCD] = ArgoCdServer(http, settings.argocd_server, token)
    return found | {
        name: ArgoCdServer(http, one.url, _token_of(one.token_env)) for name, one in policy.argocd_servers.items()
    }


def github_hosts(settings: Settings, policy: Policy, http: httpx.AsyncClient) -> dict[str, GitHubHost]:
    """Each host alone, by name: the policy's, and that of the settings. Raises SettingsError: a token is not set."""
    app, token = _github_app(settings), settings.github_token.get_secret_value()
    found = {"GITHUB_BASE_URL": GitHubHost(token, http, settings.github_base_url, app)} if app or token else {}
    return found | {
        name: GitHubHost(_token_of(one.token_env), http, one.url) for name, one in policy.github_hosts.items()
    }


def _further_github(policy: Policy) -> dict[str, SignIn]:
    """Owner in lower case → who we are on its host of the policy. Raises SettingsError for a token that is not set."""
    made = {name: SignIn(one.url, _token_of(one.token_env)) for name, one in policy.github_hosts.items()}
    return {owner.lower(): made[name] for name, one in policy.github_hosts.items() for owner in one.owners}


def policy_tokens(policy: Policy) -> dict[str, str]:
    """The tokens of its servers and hosts as they are now, by their variables. Raises SettingsError: one is not set."""
    servers = (*policy.argocd_servers.values(), *policy.github_hosts.values())
    return {one.token_env: _token_of(one.token_env) for one in servers}


def _token_of(variable: str) -> str:
    token = value_of(variable, environment())
    if not token:
        raise SettingsError(f"The policy names the variable {variable} as a token_env, which is not set. Set it.")
    return token


def _github_app(settings: Settings) -> AppKey | None:
    """The App that we are on GitHub. Raises SettingsError for half of one."""
    app_id, key = settings.github_app_id.strip(), settings.github_app_private_key.get_secret_value()
    if bool(app_id) != bool(key):
        raise SettingsError("GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY belong together: set both, or neither.")
    if key and not key.startswith("-----BEGIN "):
        text = "GITHUB_APP_PRIVATE_KEY is no private key in PEM. Paste the whole file that GitHub gave you."
        raise SettingsError(text)
    return AppKey(app_id, key) if app_id else None


def _pager_incidents(settings: Settings, http: httpx.AsyncClient) -> PagerDutyIncidents | None:
    token = settings.pagerduty_token.get_secret_value()
    return PagerDutyIncidents(http, token, settings.pagerduty_from, pagerduty_api(settings)) if token else None


def pagerduty_api(settings: Settings) -> str:
    """The address of PagerDuty's REST API."""
    usual = Settings.model_fields["pagerduty_base_url"].default
    moved = settings.pagerduty_base_url if settings.pagerduty_base_url != usual else ""
    return settings.pagerduty_api_url or moved or PAGERDUTY_API


def _metrics(settings: Settings, http: httpx.AsyncClient) -> PrometheusServer | None:
    token = settings.prometheus_token.get_secret_value()
    return PrometheusServer(http, settings.prometheus_url, token) if settings.prometheus_url else None


def _silences(settings: Settings, http: httpx.AsyncClient) -> AlertmanagerServer | None:
    token = settings.alertmanager_token.get_secret_value()
    return AlertmanagerServer(http, settings.alertmanager_url, token) if settings.alertmanager_url else None
