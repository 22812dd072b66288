"""Who may decide an approval, until when, and when enough people have. Pure; the store does the compare-and-set."""

from dataclasses import dataclass
from datetime import datetime

from knowledge.model import Approval, ApprovalState
from remediation.policy_file import Policy


@dataclass(frozen=True, slots=True)
class Person:
    """Whoever clicked, as Slack describes them now. `foreign`: of another workspace or unknown; `restricted`: a guest.

    `groups` and `channels` are the user groups and channels that they belong to, as far as the policy names them.
    """

    id: str
    is_bot: bool = False
    deleted: bool = False
    restricted: bool = False
    foreign: bool = False
    groups: frozenset[str] = frozenset()
    channels: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Allowed:
    """The click counts. `approved_by` is the new list; `enough` when the action may start."""

    approved_by: tuple[str, ...]
    enough: bool


@dataclass(frozen=True, slots=True)
class Denied:
    """One sentence for the person who clicked."""

    reason: str


_CLOSED = {
    ApprovalState.APPROVED: "This was already approved{by}; it runs once.",
    ApprovalState.REJECTED: "This was already rejected{by}.",
    ApprovalState.EXPIRED: "This request has expired. Ask @codehealer to diagnose it again.",
    ApprovalState.WITHDRAWN: "This request was withdrawn{because}.",
}


def may_decide(approval: Approval, user: Person, policy: Policy) -> str:
    """ "" when the person may approve or reject; else the sentence that says why not. Fails closed."""
    if user.is_bot:
        return "Bots cannot decide; a person has to."
    if user.deleted:
        return "Your account is deactivated, so it cannot decide."
    if user.foreign:
        return "Only members of this workspace may decide; you are here through Slack Connect."
    if user.restricted:
        return "Guests may not decide. Ask one of the approvers."
    approvers = policy.approvers
    if not (approvers.users or approvers.groups or approvers.channels):
        return "Nobody may approve yet: list people under approvers in policy.yaml."
    # Both lists count: who was asked when the request was made, and who the policy names now.
    asked = set(approval.who)
    named = {*approvers.users, *approvers.groups, *approvers.channels} & asked
    if {user.id, *user.groups, *user.channels} & named:
        return ""
    people = ", ".join(f"<@{u}>" for u in approvers.users if u in asked) or "the approvers named in policy.yaml"
    return f"You may not decide this one. It needs {people}."


def check_click(
    approval: Approval, user: Person, digest: str, *, now: datetime, policy: Policy, paused: bool
) -> Allowed | Denied:  # fmt: skip
    """Whether this click on Approve counts. The store must still compare and set the approval's state and list."""
    refusal = may_decide(approval, user, policy) or _stale(approval, digest, now)
    if refusal:
        return Denied(refusal)
    if paused:
        return Denied("CodeHealer is paused, so nothing may start. `/codehealer resume` ends the pause.")
    if policy.read_only:
        return Denied("CodeHealer is read-only (policy.yaml: read_only), so nothing may start.")
    if user.id in approval.approved_by:
        missing = approval.needed - len(approval.approved_by)
        return Denied(f"You have approved this already; {missing} more from somebody else.")
    approved_by = (*approval.approved_by, user.id)
    return Allowed(approved_by, len(approved_by) >= approval.needed)


def check_reject(approval: Approval, user: Person, *, now: datetime, policy: Policy) -> Allowed | Denied:
    """Whether this click on Reject counts. Allowed also while paused: rejecting changes nothing outside."""
    refusal = may_decide(approval, user, policy) or _stale(approval, approval.digest, now)
    return Denied(refusal) if refusal else Allowed(approval.approved_by, True)


def _stale(approval: Approval, digest: str, now: datetime) -> str:
    if approval.state is not ApprovalState.OPEN:
        by = f" by <@{approval.decided_by}>" if approval.decided_by else ""
        because = f": {approval.reason}" if approval.reason else ""
        return _CLOSED[approval.state].format(by=by, because=because)
    if now >= approval.until:
        return _CLOSED[ApprovalState.EXPIRED]
    if digest != approval.digest:
        return "The proposal has changed since this card was drawn. Look at the newest card and decide there."
    return ""
