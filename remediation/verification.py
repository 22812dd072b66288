"""Did the fix work? One look at a time; the flow schedules the next until the deadline.

Missing data is never success.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from knowledge.errors import CodeHealerError, NotFound
from knowledge.model import Execution, RuleResult, Verification
from remediation import recovery
from remediation.policy import Policy, Service, service_of
from remediation.ports import Clients, Json
from remediation.recovery import STEADY
from remediation.registry import Remediator, check
from remediation.remediators import REMEDIATORS

# Seconds between two looks; what waits for a person's hand, hours perhaps, is looked at ever more seldom.
LOOK_EVERY_S = 5
SOON_OVER_S = 900
SELDOM_S = 120.0


def deadline_seconds(remediator: Remediator, policy: Policy | None = None) -> int:
    """After the execution ended: policy.yaml's limits.verification_seconds, else the catalogue's own."""
    stated = policy.limits.verification_seconds if policy else {}
    return stated.get(remediator.name, stated.get("*", remediator.deadline_seconds))


def settle_seconds(remediator: Remediator, policy: Policy | None = None) -> int:
    """Before the first look: policy.yaml's limits.settle_seconds, else the catalogue's own."""
    stated = policy.limits.settle_seconds if policy else {}
    return stated.get(remediator.name, stated.get("*", remediator.settle_seconds))


def steady_seconds(remediator: Remediator, policy: Policy | None = None) -> float:
    """How long pods must have been well for it to count: a policy that looks sooner than `STEADY` is content with less.

    Kubernetes calls a container without a readiness probe ready as soon as it runs, however soon it will crash.
    """
    stated = policy.limits.settle_seconds if policy else {}
    return min(stated.get(remediator.name, stated.get("*", math.inf)), STEADY.total_seconds())


def next_look_s(execution: Execution, now: datetime, every_s: float) -> float:
    """Seconds until the next look of a pending verification."""
    ended_at = execution.finished_at or execution.started_at
    if ended_at is None or REMEDIATORS[execution.action.name].deadline_seconds <= SOON_OVER_S:
        return every_s
    return max(every_s, min(SELDOM_S, (now - ended_at).total_seconds() / 10))


async def verify_once(
    execution: Execution,
    clients: Clients,
    *,
    now: datetime,
    signal_firing: bool | None,
    policy: Policy | None = None,
    resolves_after_s: int = 0,
    new_failures: Sequence[str] = (),
) -> Verification:
    """One look at the target after an execution that acted.

    Args:
        signal_firing: whether the incident's own signal still fires; None when its source never says that it resolved;
            False for the Kubernetes watch, whose signal is the very state that is looked at here.
        resolves_after_s: how late that source may be in saying so.
        new_failures: titles of what began to fail in the same place since.

    Returns:
        "pending" while it may still turn out well (look again in LOOK_EVERY_S seconds), else a final verdict.
        After the deadline, pending becomes "not_verified"; where only the source's word is missing, the deadline is
        as much later as the source may be.
    """
    remediator = REMEDIATORS[execution.action.name]
    age_s = _age_s(execution, now)
    deadline_s = deadline_seconds(remediator, policy)
    settle_s = settle_seconds(remediator, policy)
    if age_s < settle_s <= deadline_s:
        return Verification("pending", (), f"Settling: the first look is after {settle_s} s.")
    found, pods = await _look(execution, remediator, clients)
    if found.verdict == "verified":
        found = with_steadiness(found, pods, now, steady_seconds(remediator, policy))
    if found.verdict == "verified" and remediator.counts:
        found = with_new_failures(found, new_failures)
    if found.verdict == "verified" and policy is not None:
        found = await _with_metrics(found, service_of(policy, execution.action.target), clients, now)
    well = found.verdict == "verified"
    found = with_signal(found, remediator, signal_firing)
    if well and found.verdict == "pending" and signal_firing:
        deadline_s += resolves_after_s
    return by_deadline(found, age_s, deadline_s)


def _age_s(execution: Execution, now: datetime) -> float:
    ended_at = execution.finished_at or execution.started_at
    return (now - ended_at).total_seconds() if ended_at else 0.0


def told_meanwhile(
    execution: Execution, found: Verification, *, now: datetime, policy: Policy | None = None
) -> Verification:  # fmt: skip
    """What a look comes to during which an alert told of the failure: it may have looked too early to see it. Pure."""
    came = check("alerts during the look", "none", "one came", False)
    pending = Verification("pending", (*found.checks, came), "An alert came while it was looked at.")
    return by_deadline(pending, _age_s(execution, now), deadline_seconds(REMEDIATORS[execution.action.name], policy))


async def _look(
    execution: Execution, remediator: Remediator, clients: Clients
) -> tuple[Verification, Sequence[Json]]:  # fmt: skip
    """What a look at the target showed, and the pods that were looked at."""
    # What was made, such as a run, is known by the outcome's mark.
    snapshot = {**execution.snapshot, "mark": dict(execution.outcome.mark) if execution.outcome else {}}
    try:
        state = await remediator.look(execution.action, snapshot, clients)
    except NotFound as error:
        gone = check("target", "there", "gone", False, otherwise="not_verified")
        return Verification("not_verified", (gone,), str(error)), ()
    except CodeHealerError as error:
        return Verification("pending", (check("target", "looked at", "could not", False),), str(error)), ()
    return remediator.verify(execution.action, snapshot, state), state.get("pods") or ()


def with_steadiness(found: Verification, pods: Sequence[Json], now: datetime, least_s: float) -> Verification:
    """Every pod must have been ready for a while, its containers not begun anew. Pure."""
    staying = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    youngest_s = min((recovery.steady_for(pod, now).total_seconds() for pod in staying), default=least_s)
    steady = check("pods steady", f"for {least_s:g} s", f"the newest for {youngest_s:.0f} s", youngest_s >= least_s)
    checks = (*found.checks, steady) if staying else found.checks
    if steady.passed:
        return replace(found, checks=checks)
    return Verification("pending", checks, f"{found.detail} But one has been so for {max(youngest_s, 0):.0f} s only.")


def with_new_failures(found: Verification, titles: Sequence[str]) -> Verification:
    """Nothing else may have begun to fail since; what has may still end. Pure."""
    actual = f"{len(titles)}: {', '.join(titles)[:160]}" if titles else "nothing"
    nothing = check("new failures since the fix", "nothing", actual, not titles)
    checks = (*found.checks, nothing)
    if nothing.passed:
        return replace(found, checks=checks)
    return Verification("pending", checks, f"{found.detail} New since the fix: {actual}.")


async def _with_metrics(
    found: Verification, service: Service | None, clients: Clients, now: datetime
) -> Verification:  # fmt: skip
    """The service's own queries (healthy_when) must hold; one that cannot be asked proves nothing."""
    checks = [await _holds(query, clients, now) for query in (service.healthy_when if service else ())]
    every = (*found.checks, *checks)
    failed = [one for one in checks if not one.passed]
    if not failed:
        return replace(found, checks=every)
    said = "; ".join(f"{one.limit}: {one.actual}" for one in failed)
    return Verification("pending", every, f"{found.detail} But {said}.")


async def _holds(query: str, clients: Clients, now: datetime) -> RuleResult:
    if clients.metrics is None:
        return check("healthy when", query, "not asked: PROMETHEUS_URL is not set", False)
    try:
        samples = await clients.metrics.query(query, now)
    except CodeHealerError as error:
        return check("healthy when", query, str(error), False)
    values = [one.value for one in samples]
    shown = ", ".join(f"{value:g}" for value in values[:3]) or "no series"
    holds = bool(values) and all(value != 0 and not math.isnan(value) for value in values)
    return check("healthy when", query, shown, holds)


def with_signal(found: Verification, remediator: Remediator, signal_firing: bool | None) -> Verification:
    """The original signal must be gone; where only it can show success, silence about it proves nothing. Pure."""
    if not remediator.counts:
        return found
    needed = remediator.needs_signal or signal_firing is not None
    if not needed:
        return found
    actual = {True: "still firing", False: "resolved", None: "its source does not say"}[signal_firing]
    signal = RuleResult("original signal", "resolved", actual, signal_firing is False, "pending")
    checks = (*found.checks, signal)
    if signal.passed or found.verdict != "verified":
        return replace(found, checks=checks)
    return Verification("pending", checks, f"{found.detail} The original signal: {actual}.")


def by_deadline(found: Verification, age_s: float, deadline_s: int) -> Verification:
    """What is still pending at the deadline is not verified. Pure."""
    if found.verdict != "pending" or age_s < deadline_s:
        return found
    return replace(found, verdict="not_verified", detail=f"Not verified within {deadline_s} s: {found.detail}")
