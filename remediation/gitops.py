"""What is known about the Argo CD application of a service, and which targets come with it."""

from dataclasses import dataclass

from knowledge.errors import CodeHealerError
from knowledge.model import Target
from remediation.policy_file import Service
from remediation.ports import Clients, Json


@dataclass(frozen=True, slots=True)
class GitOps:
    """`target` is the application as a target, made of the services table alone; `problem` says why it is not known."""

    target: Target
    application: Json | None = None
    problem: str = ""


def application_target(service: Service) -> Target:
    """The service's application. It keeps the row's namespace, so that rules about namespaces reach it."""
    return Target(
        "Application", service.argocd_app, service.namespace, service.cluster, service.repository, service.name,
        service.environment,
    )  # fmt: skip


async def look(service: Service | None, clients: Clients) -> GitOps | None:
    """None for a service without an application."""
    if service is None or not service.argocd_app:
        return None
    target = application_target(service)
    if clients.argocd is None:
        return GitOps(target, problem="Argo CD is not connected: set ARGOCD_SERVER and ARGOCD_TOKEN")
    try:
        return GitOps(target, await clients.argocd.application(service.argocd_app))
    except CodeHealerError as error:
        return GitOps(target, problem=str(error))
