"""Which route of the policy a failure takes, and what follows from it. Pure."""

from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

from knowledge.model import Alert, Incident
from knowledge.severity import RANKS, rank
from remediation.policy_file import Policy, Service
from remediation.policy_routes import Route
from remediation.policy_times import clock, within


@dataclass(frozen=True, slots=True)
class Subject:
    """What a route is chosen by. Of what is not trusted nothing is believed: only a route for everything fits it."""

    service: str
    namespace: str
    repository: str
    environment: str
    severity: str
    trusted: bool


def row_of(policy: Policy, *, service: str, namespace: str, workload: str, repository: str) -> Service | None:
    """The one row of the services table that these names point to."""
    rows = [
        row
        for row in policy.services
        if (row.workload and row.namespace == namespace and row.workload.name == workload)
        or (repository and row.repository == repository)
        or (service and row.name == service)
    ]
    return rows[0] if len(rows) == 1 else None


def subject_of(policy: Policy, failing: Alert | Incident) -> Subject:
    """What is known of a failure; the services table says what its alert does not."""
    target = failing.target if isinstance(failing, Incident) else None
    workload = (failing.owner or failing.workload) if isinstance(failing, Alert) else failing.workload
    row = row_of(
        policy,
        service=failing.service,
        namespace=failing.namespace,
        workload=workload,
        repository=failing.repository,
    )
    return Subject(
        service=(target.service if target else "") or (row.name if row else failing.service),
        namespace=(target.namespace if target else "") or failing.namespace or (row.namespace if row else ""),
        repository=failing.repository or (row.repository if row else ""),
        environment=(target.environment if target else "") or (row.environment if row else failing.environment),
        severity=failing.severity,
        trusted=failing.trusted,
    )


def route_of(policy: Policy, subject: Subject) -> Route | None:
    """The first route that fits; None where none does."""
    return next((route for route in policy.routes if _fits(route, subject)), None)


def _fits(route: Route, subject: Subject) -> bool:
    match = route.match
    if match.anything:
        return True
    if not subject.trusted:
        return False
    names = (
        (match.services, subject.service),
        (match.namespaces, subject.namespace),
        (match.repositories, subject.repository),
        (match.environments, subject.environment),
    )
    if any(patterns and not _named(name, patterns) for patterns, name in names):
        return False
    return not match.severities or any(_as_severe(subject.severity, word) for word in match.severities)


def _named(name: str, patterns: tuple[str, ...]) -> bool:
    return bool(name) and any(fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)


def _as_severe(severity: str, word: str) -> bool:
    """Senders have several words for the same: "critical" fits "p1" too."""
    known = severity in RANKS and word in RANKS
    return severity == word or (bool(severity) and known and rank(severity) == rank(word))


def quiet_until(route: Route | None, severity: str, now: datetime) -> str:
    """Until when nobody is mentioned for something of that severity, as "07:00 Europe/Paris"; "" when people are."""
    hours = route.quiet_hours if route else None
    if hours is None or rank(severity) >= rank(hours.below) or not within(hours, now):
        return ""
    return f"{clock(hours.end)} {hours.timezone}"


def words(route: Route | None) -> str:
    """A route for people, e.g. "payments → C0PAY, approvals C0APPROVE, on call S0PAY"; not escaped."""
    if route is None:
        return "no route fits: the service's own channel, else the default one"
    parts = [f"{route.name} → {route.channel or 'the usual channel'}"]
    if route.approvals:
        parts.append(f"approvals {route.approvals}")
    if on_call := route.on_call:
        schedule = (f"PagerDuty {on_call.pagerduty_schedule}",) if on_call.pagerduty_schedule else ()
        parts.append(f"on call {', '.join((*schedule, *on_call.users, *on_call.groups))}")
    if hours := route.quiet_hours:
        span = f"{clock(hours.start)}-{clock(hours.end)} {hours.timezone}"
        parts.append(f"quiet {span} below {hours.below}")
    return ", ".join(parts)


def channels(policy: Policy, default: str) -> dict[str, tuple[str, ...]]:
    """Every channel that a message may be sent to, and what names it."""
    found: dict[str, list[str]] = {default: ["CODEHEALER_CHANNEL"]} if default else {}
    named = [(route.channel, f"route {route.name}") for route in policy.routes]
    named += [(route.approvals, f"approvals of route {route.name}") for route in policy.routes]
    named += [(row.channel, f"service {row.name}") for row in policy.services]
    for channel, what in named:
        if channel:
            found.setdefault(channel, []).append(what)
    return {channel: tuple(dict.fromkeys(what)) for channel, what in found.items()}
