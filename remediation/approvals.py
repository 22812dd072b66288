"""Who may decide an approval, until when, and when enough people have. Pure; the store does the compare-and-set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from knowledge.model import Action, Approval, ApprovalState, Target
from knowledge.severity import CRITICAL
from remediation.approvers import ids, lists_in_force
from remediation.policy import environment_of
from remediation.policy_file import Approvers, Environment, Limits, Policy

# What still waits: for people, or for its hour.
STILL_ASKED = frozenset({ApprovalState.OPEN, ApprovalState.SCHEDULED})


@dataclass(frozen=True, slots=True)
class Person:
    """Whoever clicked, as Slack describes them now. `foreign`: of another workspace or unknown; `restricted`: a guest.

    `groups` and `channels` are the user groups and channels that they belong to, as far as the policy names them;
    `unseen` are those of the policy that Slack does not know (any more) or does not show us.
    """

    id: str
    is_bot: bool = False
    deleted: bool = False
    restricted: bool = False
    foreign: bool = False
    groups: frozenset[str] = frozenset()
    channels: frozenset[str] = frozenset()
    unseen: frozenset[str] = frozenset()
    timezone: str = field(default="UTC", compare=False)


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
    ApprovalState.SCHEDULED: "This was already approved{by}, for later; it runs once.",
    ApprovalState.APPROVED: "This was already approved{by}; it runs once.",
    ApprovalState.REJECTED: "This was already rejected{by}.",
    ApprovalState.EXPIRED: "This request has expired. Ask @codehealer to diagnose it again.",
    ApprovalState.WITHDRAWN: "This request was withdrawn{because}.",
}


def may_decide(approval: Approval, user: Person, policy: Policy, action: Action | None) -> str:
    """ "" when the person may approve or reject; else the sentence that says why not. Fails closed."""
    refusal = _nobody_we_know(user)
    if refusal:
        return refusal
    lists = lists_in_force(policy, _rules(policy, action), action.name if action else "")
    if not all(ids(one) for one in lists):
        return "Nobody may approve this yet: list people under approvers in policy.yaml."
    # Both count: who was asked when the request was made, and who the policy names now, on every list in force.
    asked = set(approval.who)
    of_person = {user.id, *user.groups, *user.channels}
    if of_person & asked & set(ids(lists[-1])) and all(of_person & set(ids(one)) for one in lists):
        return ""
    return f"You may not decide this one. It needs {_who(lists[-1], asked)}.{_unseen(user, lists)}"


def _nobody_we_know(user: Person) -> str:
    if user.is_bot:
        return "Bots cannot decide; a person has to."
    if user.deleted:
        return "Your account is deactivated, so it cannot decide."
    if user.foreign:
        return "Only members of this workspace may decide; you are here through Slack Connect."
    if user.restricted:
        return "Guests may not decide. Ask one of the approvers."
    return ""


def _rules(policy: Policy, action: Action | None) -> Environment:
    return environment_of(policy, action.target.environment if action else "prod")[1]


def _who(approvers: Approvers, asked: set[str]) -> str:
    people = ", ".join(f"<@{user}>" for user in approvers.users if user in asked)
    return people or "the approvers named in policy.yaml"


def _unseen(user: Person, lists: Sequence[Approvers]) -> str:
    """A group that was deleted lets nobody in, and an operator must hear of it."""
    gone = sorted(user.unseen.intersection(one for approvers in lists for one in ids(approvers)))
    if not gone:
        return ""
    return f" Slack shows me no {', '.join(gone)}, which policy.yaml names, so nobody may decide through it."


def check_click(
    approval: Approval,
    user: Person,
    digest: str,
    *,
    now: datetime,
    policy: Policy,
    paused: bool,
    action: Action | None = None,
) -> Allowed | Denied:
    """Whether this click on Approve counts. The store must still compare and set the approval's state and list."""
    refusal = may_decide(approval, user, policy, action) or _stale(approval, digest, now)
    if refusal:
        return Denied(refusal)
    if paused:
        return Denied("CodeHealer is paused, so nothing may start. `/codehealer resume` ends the pause.")
    if policy.read_only:
        return Denied("CodeHealer is read-only (policy.yaml: read_only), so nothing may start.")
    if user.id in approval.requester.split(",") and _rules(policy, action).no_self_approval:
        return Denied("You asked for this, or changed it, so somebody else must approve it (no_self_approval).")
    if user.id in approval.approved_by:
        missing = approval.needed - len(approval.approved_by)
        return Denied(f"You have approved this already; {missing} more from somebody else.")
    approved_by = (*approval.approved_by, user.id)
    return Allowed(approved_by, len(approved_by) >= approval.needed)


def requesters(*asked: str) -> str:
    """Everybody who asked, or changed what was asked, as a request keeps them: ids with commas between, each once."""
    return ",".join(dict.fromkeys(one for some in asked for one in some.split(",") if one))


def check_reject(
    approval: Approval, user: Person, *, now: datetime, policy: Policy, action: Action | None = None
) -> Allowed | Denied:
    """Whether this click on Reject counts. Allowed also while paused, and of what waits for its hour: it stops it."""
    refusal = may_decide(approval, user, policy, action) or _closed(approval)
    if not refusal and approval.state is ApprovalState.OPEN:
        refusal = _stale(approval, approval.digest, now)
    return Denied(refusal) if refusal else Allowed(approval.approved_by, True)


def check_change(
    approval: Approval, user: Person, digest: str, *, now: datetime, policy: Policy, action: Action | None = None
) -> Allowed | Denied:
    """Whether this person may change the parameters, or put the question off: who may decide, while it is asked."""
    refusal = may_decide(approval, user, policy, action) or _stale(approval, digest, now)
    return Denied(refusal) if refusal else Allowed(approval.approved_by, False)


def check_taking(user: Person) -> str:
    """ "" when the person may say "I'm on it": anybody of the workspace, since it only stops what would run."""
    return _nobody_we_know(user).replace("decide", "take this over")


def check_giving_back(
    user: Person, assigned_to: str, policy: Policy, target: Target | None, *, alone: bool = True
) -> str:  # fmt: skip
    """ "" when the person may let the bot work again on what somebody took over: that person, or an approver there.

    Not `alone` is whoever took it out of somebody else's hands, whose word is not theirs to take back.
    """
    refusal = _nobody_we_know(user).replace("decide", "hand this back")
    if refusal or (user.id == assigned_to and alone):
        return refusal
    lists = lists_in_force(policy, environment_of(policy, target.environment if target else "prod")[1], "")
    of_person = {user.id, *user.groups, *user.channels}
    if all(of_person & set(ids(one)) for one in lists):
        return ""
    if user.id == assigned_to:
        return "It was in other hands before yours, so those who approve fixes here hand it back."
    return f"<@{assigned_to}> is on it, and hands it back; so may those who approve fixes here."


def still_approved(approval: Approval, people: Sequence[Person], policy: Policy, action: Action) -> str:
    """ "" when everybody who approved it, earlier or for later, may still do so, and enough did; else why not."""
    for person in people:
        refusal = may_decide(approval, person, policy, action)
        if refusal:
            return f"<@{person.id}>, who approved it, may not do so any more."
    needed = max(approval.needed, _rules(policy, action).approvals)
    if len(people) < needed:
        return f"It needs {needed} approvals by now, and has {len(people)}."
    return ""


def _closed(approval: Approval) -> str:
    if approval.state in STILL_ASKED:
        return ""
    by = f" by <@{approval.decided_by}>" if approval.decided_by else ""
    because = f": {approval.reason}" if approval.reason else ""
    return _CLOSED[approval.state].format(by=by, because=because)


def _stale(approval: Approval, digest: str, now: datetime) -> str:
    if approval.state is ApprovalState.SCHEDULED:
        return _CLOSED[approval.state].format(by=f" by <@{approval.decided_by}>" if approval.decided_by else "")
    if approval.state is not ApprovalState.OPEN:
        return _closed(approval)
    if now >= approval.until:
        return _CLOSED[ApprovalState.EXPIRED]
    if digest != approval.digest:
        return "The proposal has changed since this card was drawn. Look at the newest card and decide there."
    return ""


# --- times -------------------------------------------------------------------------------------------------------


def next_time(now: datetime, clock: str, timezone: str) -> datetime:
    """The next moment at which it is `clock` ("06:00") in a time zone, within 24 hours or so; unknown zones are UTC.

    Where the clock is put forward, a time that does not exist is the same distance after midnight; of one that exists
    twice, the first counts.
    """
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError):
        zone = ZoneInfo("UTC")
    hour, minute = (int(part) for part in clock.split(":"))
    local = now.astimezone(zone)
    for days in range(3):
        found = (local + timedelta(days=days)).replace(hour=hour, minute=minute, second=0, microsecond=0, fold=0)
        if found.timestamp() > now.timestamp():
            break
    return found


def minutes_for(limits: Mapping[str, int], severity: str) -> int | None:
    """The limit of a severity, of critical for what means the same, else that of "*"; None where there is none."""
    word = "critical" if severity in CRITICAL else severity
    return limits.get(severity, limits.get(word, limits.get("*")))


def unanswered(asked_at: datetime, severity: str, limits: Limits, now: datetime) -> tuple[bool, bool]:
    """(whether people must be reminded by now, whether the pager must ring)."""
    waited = now - asked_at
    remind, page = (minutes_for(table, severity) for table in (limits.remind_minutes, limits.page_minutes))
    return (
        remind is not None and waited >= timedelta(minutes=remind),
        page is not None and waited >= timedelta(minutes=page),
    )
