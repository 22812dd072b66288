"""The decision line of a card: who decides and until when, which rule blocks, or what became of it.

One function a state, in the table `_DECISION_LINES`.
"""

from collections.abc import Callable

from handlers.blocks import mrkdwn as m
from handlers.blocks.card_view import CardView
from knowledge.model import (
    Approval,
    ApprovalState,
    Ask,
    Auto,
    Blocked,
    Decision,
    Execution,
    ExecutionState,
    IncidentState,
    RejectReason,
    RuleResult,
    Unsure,
)

S = IncidentState

REJECT_WORDS: dict[str, str] = {
    RejectReason.WRONG_CAUSE: "Wrong cause",
    RejectReason.WRONG_TARGET: "Wrong target",
    RejectReason.RIGHT_CAUSE_WRONG_FIX: "Right cause, wrong fix",
    RejectReason.NOT_NOW: "Not now",
    RejectReason.ALREADY_FIXED: "Already fixed",
}

NO_APPROVERS = "Nobody (the policy names no further approver)"


def decision_lines(view: CardView) -> list[str]:
    """Who decides and until when, which rule blocks, or what became of it: at most two escaped lines."""
    return _DECISION_LINES[view.incident.state](view)


def _nothing_yet(view: CardView) -> list[str]:
    if view.diagnosis is not None and view.diagnosis.answered_by.provisional:
        return ["First look: a model is still being asked. Nothing to decide yet."]
    return ["Collecting evidence. The cause will stand here."]


def _suggestion(view: CardView) -> list[str]:
    if view.observing:
        return ["Observe mode: nothing runs and nobody is asked."]
    if not view.incident.trusted:
        return ["Only a suggestion: pasted text and posts of unknown apps never get an action."]
    if view.decision is not None and view.decision.mode == "suggest":
        return ["Only a suggestion: in suggest mode nothing runs from here."]
    return ["Only a suggestion: nothing runs from here."]


def _asks(view: CardView) -> list[str]:
    approval = view.approval
    if approval is None:
        return ["Asking for approval."]
    if view.scheduled:
        return _scheduled(view, approval)
    until = m.date(approval.until, view.now)
    left = [one for one in approval.who if one not in approval.approved_by]
    who = m.people(left) if left else NO_APPROVERS
    have = len(approval.approved_by)
    may = f"{who} may approve until {until}."
    if approval.snoozed_until and approval.snoozed_until > view.now:
        by = f" by {m.mention(approval.snoozed_by)}" if approval.snoozed_by else ""
        then = m.date(approval.snoozed_until, view.now)
        may = f"Put off until {then}{by}; it asks again then. {who} may still approve."
    if view.decision is not None and any(rule.rule == "dry-run" and not rule.passed for rule in view.decision.rules):
        may = f"{may} Dry run: nothing will be changed."
    if approval.needed < 2:
        return [f"*Decision:* {may}"]
    by = f" ({m.people(approval.approved_by, 'and')})" if have else ""
    hour = f", for {m.date(approval.run_at, view.now)}" if have and approval.run_at else ""
    return [f"*Decision:* {have} of {approval.needed} approvals{by}, from different people{hour}.", may]


def _scheduled(view: CardView, approval: Approval) -> list[str]:
    at = m.date(approval.run_at, view.now) if approval.run_at else "later"
    return [
        f"*Decision:* approved by {m.people(approval.approved_by, 'and')} for {at}.",
        "It is looked at again then, and runs only if it still fails and nothing else has changed.",
    ]


def _blocks(view: CardView) -> list[str]:
    decision = view.decision
    if decision is None or not isinstance(decision.verdict, Blocked):
        return [f"Policy does not allow this fix. {_note(view)}".rstrip()]
    rules = blocking_rules(decision)
    override = decision.verdict.override or next((rule.override for rule in rules if rule.override), "")
    may = f"To override: {m.mention(override, 160)}." if override else "Nobody may override this."
    if view.observing:
        may = "Observe mode: nothing runs and nobody is asked."
    if not rules:
        return [f"*Blocked:* {m.inline(decision.verdict.why, 240)}", may]
    first = rules[0]
    more = f" (and {m.counted(len(rules) - 1, 'more rule')}, see Details)" if len(rules) > 1 else ""
    return [f"*Blocked by:* {rule_words(first)}{more}", may]


def blocking_rules(decision: Decision) -> list[RuleResult]:
    """The rules that failed and block, in policy's order."""
    return [rule for rule in decision.rules if not rule.passed and rule.otherwise == "block"]


def rule_words(rule: RuleResult) -> str:
    """A rule with its limit and the actual value, escaped."""
    return f"{m.inline(rule.rule, 60)}, limit {m.inline(rule.limit, 80)}, actual {m.inline(rule.actual, 80)}"


def _approved(view: CardView) -> str:
    """Who let the fix run: people by name, or policy."""
    approval = view.approval
    if approval is not None and approval.approved_by and not approval.automatic:
        return f"Approved by {m.people(approval.approved_by, 'and')}"
    automatic = approval is not None and approval.automatic
    if automatic or (view.decision is not None and isinstance(view.decision.verdict, Auto)):
        return "Automatic: policy lets this run by itself"
    return "Approved"


def _runs(view: CardView) -> list[str]:
    started = view.execution.started_at if view.execution else None
    since = f" · started {m.date(started, view.now)}" if started else ""
    expected = view.plan.expected_seconds if view.plan else 0
    return [f"{_approved(view)}{since}{f' · takes about {m.duration(expected)}' if expected > 0 else ''}."]


def _checks(view: CardView) -> list[str]:
    lines = [f"{_approved(view)}. {_outcome(view)}"]
    if view.verification is not None and view.verification.detail:
        lines.append(f"So far: {m.inline(view.verification.detail, 200)}")
    return lines


def _outcome(view: CardView, otherwise: str = "The fix was carried out.") -> str:
    outcome = view.execution.outcome if view.execution else None
    if outcome is None:
        return otherwise
    if outcome.ok and not outcome.changed:
        return f"Nothing was changed. {m.inline(outcome.detail, 200, '')}".rstrip()
    return m.inline(outcome.detail, 200, otherwise)


def _verified(view: CardView) -> list[str]:
    detail = view.verification.detail if view.verification else ""
    ended = view.incident.resolved_at or (view.execution.finished_at if view.execution else None)
    took = ""
    if ended is not None and ended >= view.incident.opened_at:
        took = f" That was {m.duration((ended - view.incident.opened_at).total_seconds())} after the first alert."
    return [f"*Verified:* {m.inline(detail, 220, 'the failing signal is gone.')}{took}", f"{_approved(view)}."]


def _not_verified(view: CardView) -> list[str]:
    if view.verification is not None and view.verification.verdict == "worse":
        undo = _outcome(view) if view.plan and view.plan.undo else "This fix cannot be undone."
        return [f"*Worse than before:* {m.inline(view.verification.detail, 220)}", f"{_approved(view)}. {undo}"]
    detail = view.verification.detail if view.verification else view.decided_note
    return [
        f"*Not verified:* {m.inline(detail, 220, 'no sign yet that the fix helped.')}",
        f"{_approved(view)}. Please check whether it helped.",
    ]


def _undone(view: CardView) -> list[str]:
    detail = view.verification.detail if view.verification else view.decided_note
    return [
        f"*Undone:* {m.inline(detail, 220, 'the fix made things worse.')}",
        f"{_approved(view)}. The state before the fix is restored; the failure goes on.",
    ]


def _needs_person(view: CardView) -> list[str]:
    return [f"*Why:* {_why_a_person(view)}"]


def _why_a_person(view: CardView) -> str:
    approval, outcome = view.approval, view.execution.outcome if view.execution else None
    if approval is not None and approval.state is ApprovalState.REJECTED:
        by = f" by {m.mention(approval.decided_by)}" if approval.decided_by else ""
        return f"The fix was rejected{by}. {_note(view, m.inline(reason_words(approval.reason), 240, ''))}".rstrip()
    if view.incident.assigned_to:
        asked = approval is not None and approval.state is ApprovalState.WITHDRAWN
        held = view.execution is not None and view.execution.state is ExecutionState.REFUSED
        rest = " What was asked is withdrawn." if asked else " What was approved was not started." if held else ""
        return f"{m.mention(view.incident.assigned_to)} is on it.{rest}"
    if approval is not None and approval.state is ApprovalState.EXPIRED:
        return f"Nobody decided until {m.date(approval.until, view.now)}."
    if view.execution is not None and outcome is not None and pretended(view.execution):
        return m.inline(outcome.detail, 240)
    if outcome is not None and not outcome.ok:
        return f"The fix failed. {m.inline(outcome.detail, 220, '')}".rstrip()
    if view.decided_note:
        return _sentence(_note(view))
    if isinstance(view.diagnosis, Unsure):
        return "The cause is not known well enough to act on it."
    return "No fix here is safe enough for the bot."


def _dismissed(view: CardView) -> list[str]:
    if view.incident.merged_into:
        return [f"Its alerts belong to incident {view.incident.merged_into} now, whose card goes on."]
    decided_by = view.approval.decided_by if view.approval else ""
    by = f" by {m.mention(decided_by)}" if decided_by else ""
    return [f"Dismissed{by}. {_note(view)}".rstrip()]


def _resolved(view: CardView) -> list[str]:
    ended = view.incident.resolved_at
    at = f" at {m.date(ended, view.now)}" if ended else ""
    otherwise = (
        "No fix of this bot was needed." if view.execution is None else "The fix was not proved to be the cause."
    )
    return [f"The alert ended{at}. {_note(view, otherwise)}"]


_DECISION_LINES: dict[IncidentState, Callable[[CardView], list[str]]] = {
    S.DETECTED: _nothing_yet,
    S.DIAGNOSING: _nothing_yet,
    S.PROPOSED: _suggestion,
    S.WAITING: _asks,
    S.BLOCKED: _blocks,
    S.RUNNING: _runs,
    S.VERIFYING: _checks,
    S.HEALED: _verified,
    S.NOT_VERIFIED: _not_verified,
    S.UNDONE: _undone,
    S.ESCALATED: _needs_person,
    S.DISMISSED: _dismissed,
    S.RESOLVED: _resolved,
}


def responsible_people(view: CardView) -> tuple[str, ...]:
    """Ids to mention in a state that needs a person: who is on call, and who may approve or else is responsible.

    Nobody while observing, and in quiet hours. To be called gives nobody a right: approvers are the policy's.
    """
    if view.observing or view.quiet_until:
        return ()
    if view.incident.state is S.WAITING and view.approval is not None:
        asked = [who for who in view.approval.who if who not in view.approval.approved_by]
        return tuple(dict.fromkeys((*view.on_call, *asked)))
    if view.responsible:
        return view.responsible
    if view.approval is not None and view.approval.who:
        return view.approval.who
    verdict = view.decision.verdict if view.decision else None
    return verdict.who if isinstance(verdict, Ask) else ()


def reason_words(reason: str) -> str:
    """A stored reason, "reject_reason: comment" or free text, in a person's words; not escaped."""
    given, colon, comment = reason.partition(":")
    label = REJECT_WORDS.get(given.strip())
    if label is None:
        return reason
    return f"{label}: {comment.strip()}" if colon and comment.strip() else f"{label}."


def _note(view: CardView, otherwise: str = "") -> str:
    return m.inline(reason_words(view.decided_note), 240, otherwise)


def _sentence(words: str) -> str:
    """A clause as people read it after a colon of ours."""
    ended = words if words.endswith((".", "!", "?", "…")) else f"{words}."
    return ended[:1].upper() + ended[1:]


def pretended(execution: Execution) -> bool:
    """A dry run: it was tried and nothing was begun."""
    done = execution.state is ExecutionState.ACTED and execution.started_at is None
    return done and execution.outcome is not None and not execution.outcome.changed
