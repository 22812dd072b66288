"""Did the fix work? One look at a time; the flow schedules the next until the deadline.

Missing data is never success.
"""

from dataclasses import replace
from datetime import datetime

from knowledge.errors import CodeHealerError, NotFound
from knowledge.model import Execution, RuleResult, Verification
from remediation.policy_file import Policy
from remediation.ports import Clients
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


def next_look_s(execution: Execution, now: datetime, every_s: float) -> float:
    """Seconds until the next look of a pending verification."""
    ended_at = execution.finished_at or execution.started_at
    if ended_at is None or REMEDIATORS[execution.action.name].deadline_seconds <= SOON_OVER_S:
        return every_s
    return max(every_s, min(SELDOM_S, (now - ended_at).total_seconds() / 10))


async def verify_once(
    execution: Execution, clients: Clients, *, now: datetime, signal_firing: bool | None, policy: Policy | None = None
) -> Verification:
    """One look at the target after an execution that acted.

    Args:
        signal_firing: whether the incident's own signal still fires; None when its source never says that it resolved;
            False for the Kubernetes watch, whose signal is the very state that is looked at here.

    Returns:
        "pending" while it may still turn out well (look again in LOOK_EVERY_S seconds), else a final verdict.
        After the deadline, pending becomes "not_verified".
    """
    remediator = REMEDIATORS[execution.action.name]
    ended_at = execution.finished_at or execution.started_at
    age_s = (now - ended_at).total_seconds() if ended_at else 0.0
    deadline_s = deadline_seconds(remediator, policy)
    settle_s = settle_seconds(remediator, policy)
    if age_s < settle_s <= deadline_s:
        return Verification("pending", (), f"Settling: the first look is after {settle_s} s.")
    # What was made, such as a run, is known by the outcome's mark.
    snapshot = {**execution.snapshot, "mark": dict(execution.outcome.mark) if execution.outcome else {}}
    try:
        state = await remediator.look(execution.action, snapshot, clients)
    except NotFound as error:
        gone = check("target", "there", "gone", False, otherwise="not_verified")
        found = Verification("not_verified", (gone,), str(error))
    except CodeHealerError as error:
        found = Verification("pending", (check("target", "looked at", "could not", False),), str(error))
    else:
        found = remediator.verify(execution.action, snapshot, state)
    return by_deadline(with_signal(found, remediator, signal_firing), age_s, deadline_s)


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
