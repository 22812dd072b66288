"""Is a failing thing under maintenance? Pure, from the policy."""

from collections.abc import Collection
from datetime import datetime
from zoneinfo import ZoneInfo

from remediation.policy_file import Maintenance, Policy


def maintained(
    policy: Policy, *, services: Collection[str], namespace: str, environment: str, now: datetime
) -> Maintenance | None:
    """The entry that is in force for a thing by any of its names, the one that lasts longest."""
    in_force = [
        entry
        for entry in policy.maintenance
        if ends_at(entry) > now >= _moment(entry.start, entry)
        and (
            set(entry.services) & set(services)
            or (namespace and namespace in entry.namespaces)
            or environment in entry.environments
        )
    ]
    return max(in_force, key=ends_at, default=None)


def ends_at(entry: Maintenance) -> datetime:
    return _moment(entry.end, entry)


def _moment(at: datetime, entry: Maintenance) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=ZoneInfo(entry.timezone))
