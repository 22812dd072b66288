"""Would a namespace's limits refuse pods with more memory? Pure.

Asked of the LimitRanges and ResourceQuotas themselves: a dry run of a Deployment is accepted whatever they say, because
the cluster applies them to pods, and a dry run of a pod would need the right to create pods.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from remediation import kube
from remediation.ports import Json
from remediation.quantities import amount_of

# What a quota may call the sums of memory: resource → whether limits or requests are counted.
_SUMS: Mapping[str, str] = {"limits.memory": "limits", "requests.memory": "requests", "memory": "requests"}


@dataclass(frozen=True, slots=True)
class Budgets:
    """The limits of a namespace; `unknown` says why they could not be looked at."""

    limit_ranges: tuple[Json, ...] = ()
    quotas: tuple[Json, ...] = ()
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class Growth:
    """One container's memory before and after, in bytes; a request of None counts as the limit."""

    container: str
    limit_was: int
    limit: int
    request_was: int
    request: int


def refusal(template: Json, growth: Growth, workload: Json, budgets: Budgets) -> str:
    """Why the namespace would not take the grown pods, "" when it would."""
    if budgets.unknown:
        return budgets.unknown
    return _by_limit_ranges(template, growth, budgets.limit_ranges) or _by_quotas(growth, workload, budgets.quotas)


def _by_limit_ranges(template: Json, growth: Growth, ranges: Sequence[Json]) -> str:
    pod = growth.limit + sum(
        amount_of((((c.get("resources") or {}).get("limits")) or {}).get("memory")) or 0
        for c in kube.containers(template)
        if c.get("name") != growth.container
    )
    for body in ranges:
        for item in (body.get("spec") or {}).get("limits") or []:
            most = amount_of((item.get("max") or {}).get("memory"))
            sized = {"Container": growth.limit, "Pod": pod}.get(item.get("type", ""))
            name = f"LimitRange {kube.name_of(body)}"
            if most is not None and sized is not None and sized > most:
                return f"{name} allows at most {item['max']['memory']} for one {item['type'].lower()}"
            ratio = amount_of((item.get("maxLimitRequestRatio") or {}).get("memory"))
            if ratio and item.get("type") == "Container" and growth.limit > ratio * growth.request:
                return f"{name} allows a limit of at most {ratio} times the request"
    return ""


def _by_quotas(growth: Growth, workload: Json, quotas: Iterable[Json]) -> str:
    """All pods grow, and while they are replaced one more than wanted may run."""
    replicas = kube.replicas_of(workload)
    more = {"limits": growth.limit - growth.limit_was, "requests": growth.request - growth.request_was}
    extra = {"limits": growth.limit, "requests": growth.request} if kube.surges(workload) else {}
    for body in quotas:
        status = body.get("status") or {}
        hard = status.get("hard") or (body.get("spec") or {}).get("hard") or {}
        for key, counted in _SUMS.items():
            limit, used = amount_of(hard.get(key)), amount_of((status.get("used") or {}).get(key, "0"))
            if limit is None or used is None or more[counted] <= 0:
                continue
            peak = used + max(replicas * more[counted], extra.get(counted, 0) + (replicas - 1) * more[counted])
            if peak > limit:
                return f"ResourceQuota {kube.name_of(body)} has {hard[key]} of {key}, too little for all pods"
    return ""
