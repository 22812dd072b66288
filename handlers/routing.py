"""Where an alert's card goes and whose posts count: pure, from the policy."""

from dataclasses import replace

from knowledge.model import Alert
from remediation import routes
from remediation.policy import Policy, Service


def trusts_app(policy: Policy, *ids: str | None) -> bool:
    """Whether a Slack app (by bot or app id) is on the allow-list: only then may its alerts lead to an action."""
    return any(app and app in policy.slack.alert_apps for app in ids)


def service_row(policy: Policy, alert: Alert) -> Service | None:
    """The one row that an alert's names point to, for its channel only: a target is looked up in the live system."""
    workload = alert.owner or alert.workload
    return routes.row_of(
        policy, service=alert.service, namespace=alert.namespace, workload=workload, repository=alert.repository
    )


def channel_for(policy: Policy, alert: Alert, default: str) -> str:
    """The route's channel, else the service's, else the default, else where the alert was posted.

    Words that are not trusted point to no service's channel, as they fit no route that asks for something.
    """
    route = routes.route_of(policy, routes.subject_of(policy, alert))
    row = service_row(policy, alert) if alert.trusted else None
    return (route.channel if route else "") or (row.channel if row else "") or default or alert.channel


def about_service(policy: Policy, alert: Alert, name: str) -> Alert:
    """A question that names a service, with that row's place filled in."""
    row = next((one for one in policy.services if one.name == name), None)
    if row is None:
        return alert
    workload = row.workload.name if row.workload else ""
    return replace(
        alert,
        service=row.name,
        environment=row.environment,
        namespace=row.namespace or "",
        workload=workload,
        owner=workload,
        cluster=row.cluster or "",
    )
