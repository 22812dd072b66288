"""The one card of an incident, in each of its states: calm, at most twelve lines, edited in place.

Wording is constants and small functions, so it is reviewed as text. The words of a state are in `STATE_WORDS`, what is
asked of people in `WANTED`, the decision line in `_DECISION_LINES`.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from handlers.blocks import mrkdwn as m
from knowledge.model import (
    KIND_NAMES,
    Approval,
    ApprovalState,
    Ask,
    Auto,
    Blocked,
    Decision,
    Diagnosis,
    Execution,
    ExecutionState,
    Incident,
    IncidentState,
    Plan,
    Precedent,
    RejectReason,
    Risk,
    RuleResult,
    Unsure,
    Verification,
)
from knowledge.model.failing import CLOSED_STATES

APPROVE, REJECT, DETAILS, FEEDBACK = "approve", "reject", "details", "feedback"
# The same as plain buttons.
FEEDBACK_UP, FEEDBACK_DOWN = "feedback_up", "feedback_down"
# Approve where a person is asked a second time; the menu of what else can be done; its entries.
APPROVE_TWICE, MORE, TAKE, GIVE_BACK = "approve_twice", "more", "take", "give_back"
EDIT, LATER, SNOOZE, REGROUP = "edit", "later", "snooze", "regroup"
POSTMORTEM, EVIDENCE = "postmortem", "evidence"
MENU: dict[str, str] = {
    EDIT: "Edit…",
    LATER: "Approve for later…",
    SNOOZE: "Snooze…",
    TAKE: "I'm on it",
    GIVE_BACK: "Hand back",
    REGROUP: "Split or merge…",  # Slack takes five entries: who is on it hands it back, and nobody else can
}
# The entries of an incident's menu where nothing is asked.
WITHOUT_REQUEST: dict[str, str] = {
    REGROUP: MENU[REGROUP], POSTMORTEM: "Draft a postmortem", EVIDENCE: "Show all evidence",
}  # fmt: skip
MOST_TEXT = 3000  # chat.update takes 4,000
MOST_RELATED = 6

S = IncidentState

# A sign, and the words that say the same without it.
STATE_WORDS: dict[IncidentState, tuple[str, str]] = {
    S.DETECTED: ("👀", "Detected"),
    S.DIAGNOSING: ("🔍", "Looking for the cause"),
    S.PROPOSED: ("💡", "Fix suggested"),
    S.WAITING: ("✋", "Waiting for approval"),
    S.BLOCKED: ("⛔", "Fix blocked by policy"),
    S.RUNNING: ("⚙️", "Fix is running"),
    S.VERIFYING: ("🔎", "Checking whether the fix helped"),
    S.HEALED: ("✅", "Healed"),
    S.NOT_VERIFIED: ("❓", "Fix done, effect not verified"),
    S.UNDONE: ("↩️", "Fix undone"),
    S.ESCALATED: ("🙋", "Needs a person"),
    S.DISMISSED: ("➖", "Dismissed"),
    S.RESOLVED: ("☑️", "Resolved"),
}

# What people are wanted to do, in at most 26 characters: it stands in the first 100 of every notification.
WANTED: dict[IncidentState, str] = {
    S.DETECTED: "nothing to decide yet",
    S.DIAGNOSING: "nothing to decide yet",
    S.PROPOSED: "suggestion only",
    S.WAITING: "approve or reject",
    S.BLOCKED: "override or fix by hand",
    S.RUNNING: "nothing to decide",
    S.VERIFYING: "nothing to decide",
    S.HEALED: "healed, nothing to do",
    S.NOT_VERIFIED: "please check the result",
    S.UNDONE: "fix undone, please look",
    S.ESCALATED: "needs a person",
    S.DISMISSED: "dismissed",
    S.RESOLVED: "resolved, nothing to do",
}

# Where a request waits for its hour instead of for people.
SCHEDULED_WORDS = ("⏰", "Approved for later")
SCHEDULED_WANTED = "nothing to decide"
# Where the alerts belong to another incident since.
MERGED_WORDS = ("🔗", "Merged")
MERGED_WANTED = "see the other card"

FIX_LABELS: dict[IncidentState, str] = {
    S.PROPOSED: "Suggested fix",
    S.WAITING: "Proposed fix",
    S.BLOCKED: "Blocked fix",
    S.RUNNING: "Fix",
    S.VERIFYING: "Fix",
    S.HEALED: "Fix",
    S.NOT_VERIFIED: "Fix",
    S.UNDONE: "Undone fix",
    S.ESCALATED: "Not done",
    S.DISMISSED: "Not done",
    S.RESOLVED: "Not done",
}

RISKS: dict[Risk, str] = {
    Risk.NONE: "No risk",
    Risk.LOW: "Low risk",
    Risk.MEDIUM: "Medium risk",
    Risk.HIGH: "High risk",
}

REJECT_WORDS: dict[str, str] = {
    RejectReason.WRONG_CAUSE: "Wrong cause",
    RejectReason.WRONG_TARGET: "Wrong target",
    RejectReason.RIGHT_CAUSE_WRONG_FIX: "Right cause, wrong fix",
    RejectReason.NOT_NOW: "Not now",
    RejectReason.ALREADY_FIXED: "Already fixed",
}

# Titles that are identifiers, as the Kubernetes watch makes them; other single words are only taken apart.
TITLES: dict[str, str] = {
    "crashloop": "Crash loop",
    "crashloop-error": "Crash loop",
    "crashloop-completed": "Crash loop, the container ends without an error",
    "oomkilled": "Out of memory",
    "segfault": "Segmentation fault",
    "error": "Container failed",
    "notready": "Container not ready",
    "errimagepull": "Image cannot be pulled",
    "imagepullbackoff": "Image cannot be pulled",
    "invalidimagename": "Invalid image name",
    "createcontainerconfigerror": "Container cannot be configured",
    "createcontainererror": "Container cannot be created",
    "runcontainererror": "Container cannot be started",
    "unschedulable": "Pod cannot be scheduled",
    "evicted": "Pod evicted",
}

OBSERVE = "observe"
NO_SERVICE = "unknown service"
CAUSE_UNKNOWN = "Cause not known"
NO_RECORD = "no record here yet"
NO_APPROVERS = "Nobody (the policy names no further approver)"
FLAGGED = "⚠️ The evidence contains text addressed to this bot, so nothing runs by itself."
MACHINE_MADE = "machine made, can be wrong"
HELPED, DID_NOT_HELP = "👍 Helped", "👎 Did not help"
REACT = "React with 👍 or 👎 to say whether this helped"

# The states in which the fix has not begun, so its risk and duration still matter to somebody.
_FIX_AHEAD = frozenset({S.PROPOSED, S.WAITING, S.BLOCKED})


@dataclass(frozen=True, slots=True)
class Card:
    """One message: `text` stands on its own, in notifications and for screen readers; `blocks` is Block Kit."""

    text: str
    blocks: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class CardView:
    """All that a card may show of one incident at `now`.

    `decided_note` is a person's reason or the program's; it is escaped like all foreign text, so people are named by
    `approval` alone. `feedback_counts` are 👍 and 👎. `responsible` are user, group or channel ids to mention where a
    state needs a person and no approval says whom. `source_link` is the failing thing (run, alert), `channel_link` the
    incident's own thread where the card stands elsewhere.
    """

    incident: Incident
    now: datetime
    diagnosis: Diagnosis | Unsure | None = None
    plan: Plan | None = None
    decision: Decision | None = None
    approval: Approval | None = None
    execution: Execution | None = None
    verification: Verification | None = None
    precedents: tuple[Precedent, ...] = ()
    decided_note: str = ""
    feedback_counts: tuple[int, int] = (0, 0)
    responsible: tuple[str, ...] = ()
    source_link: str = ""
    channel_link: str = ""
    editable: bool = False  # whether any parameter of the fix may be changed
    related: tuple[tuple[str, str], ...] = ()  # (what it is to this incident, its address or "")
    times_this_week: int = 1
    on_call: tuple[str, ...] = ()  # whom the route calls in every state that needs a person
    call_note: str = ""  # why these and not others
    quiet_until: str = ""  # a time of day; while it is given nobody is mentioned
    route: str = ""  # the route in words; "" where the policy has none
    answer_id: int = 0  # of the stored diagnosis; a vote is about that one

    @property
    def scheduled(self) -> bool:
        """Whether the fix is approved and waits for its hour."""
        waits = self.incident.state is IncidentState.WAITING and self.approval is not None
        return waits and self.approval is not None and self.approval.state is ApprovalState.SCHEDULED

    @property
    def observing(self) -> bool:
        """Whether the mode in force shows cards without buttons and mentions."""
        return self.decision is not None and self.decision.mode == OBSERVE


def render_card(view: CardView) -> Card:
    """The card of `view`: its blocks keep Slack's limits whatever the texts in it, and `text` says the same."""
    name = f"card-{view.incident.id}"
    blocks = [m.section(f"{name}-headline", _headline(view))]
    words = [_state_line(view)]
    for part, lines in (("cause", _cause(view)), ("fix", _fix(view)), ("decision", decision_lines(view))):
        if lines:
            blocks.append(m.section(f"{name}-{part}", lines))
            words += lines
    buttons = _buttons(view)
    if buttons:
        # The block's id changes with the approval, so that no client keeps the look of an old set of buttons.
        blocks.append({"type": "actions", "block_id": f"{name}-buttons-{_approval_id(view)}", "elements": buttons})
    small_print = _small_print(view)
    if small_print:
        blocks.append(m.context(f"{name}-sources", small_print))
        words.append(small_print)
    if answered(view) and not view.observing:
        blocks.append(feedback_block(view.incident.id, view.answer_id))
    text = "\n".join([lead(view), *(m.without_markup(line) for line in words)])
    return Card(text, blocks)


def lead(view: CardView) -> str:
    """Severity, service, cause and wanted decision in at most 100 characters, without markup."""
    incident = view.incident
    service = m.inline(_service(incident), 24, NO_SERVICE)
    cause = CAUSE_UNKNOWN if isinstance(view.diagnosis, Unsure) else m.inline(what_fails(view), 31)
    severity = severity_word(incident).upper()
    wanted = SCHEDULED_WANTED if view.scheduled else WANTED[incident.state]
    wanted = MERGED_WANTED if incident.merged_into else wanted
    return f"{f'[{severity}] ' if severity else ''}{service}: {cause} - {wanted}"


def severity_word(incident: Incident) -> str:
    """The sender's severity in lower case, escaped, at most 11 characters; "" where it sends none."""
    return m.inline(incident.severity[:80].lower(), 11, "")


def what_fails(view: CardView) -> str:
    """The kind's display name once the cause is known, else the alert's title (foreign text)."""
    if isinstance(view.diagnosis, Diagnosis):
        return KIND_NAMES[view.diagnosis.kind]
    return title_words(view.incident.title)


def title_words(title: str) -> str:
    """An alert's title as people say it: "crashloop-error" is an identifier, "KubePodCrashLooping" a rule's name."""
    known = TITLES.get(title.lower())
    if known is None and re.fullmatch(r"[a-z0-9]+(?:[-_][a-z0-9]+)+", title):
        return re.sub("[-_]", " ", title).capitalize()
    return known or title


def place(incident: Incident, limit: int = 60) -> str:
    """Service and environment, escaped, e.g. "checkout · prod"."""
    service = m.inline(_service(incident), limit, NO_SERVICE)
    return f"{service} · {m.inline(incident.environment, 20, 'unknown environment')}"


def _service(incident: Incident) -> str:
    return incident.service or incident.workload or incident.repository


def _headline(view: CardView) -> list[str]:
    sign, _ = state_words(view)
    return [f"{sign} {m.bold(what_fails(view), 120)} · {place(view.incident)}", _state_line(view)]


def state_words(view: CardView) -> tuple[str, str]:
    """A sign, and the words that say the same."""
    if view.incident.merged_into:
        return MERGED_WORDS
    return SCHEDULED_WORDS if view.scheduled else STATE_WORDS[view.incident.state]


def _state_line(view: CardView) -> str:
    incident = view.incident
    _, words = state_words(view)
    seen = "seen once"
    if incident.alert_count > 1:
        seen = f"seen {incident.alert_count:,} times, last {m.date(incident.last_alert_at, view.now)}"
    since, who = f"since {m.date(incident.opened_at, view.now)}", ""
    if incident.assigned_to and incident.open and not view.observing:
        who = f"assigned to {m.mention(incident.assigned_to)}"
    often = f"{_ordinal(view.times_this_week)} time this week" if view.times_this_week > 1 else ""
    parts = [f"*{words}*", who, severity_word(incident), since, seen, often]
    return " · ".join(part for part in parts if part)


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _cause(view: CardView) -> list[str]:
    diagnosis = view.diagnosis
    if diagnosis is None:
        return []
    lines = _unsure(diagnosis) if isinstance(diagnosis, Unsure) else _known(view, diagnosis)
    if view.incident.flagged or diagnosis.injection_suspected:
        lines.append(FLAGGED)
    return lines


def _known(view: CardView, diagnosis: Diagnosis) -> list[str]:
    cause = m.inline(diagnosis.cause or diagnosis.summary, 320)
    # Nobody has looked among past incidents yet when an answer is provisional.
    basis = "" if diagnosis.answered_by.provisional else f" · {_basis(view)}"
    return [f"*Cause:* {cause}", f"{percent(diagnosis.confidence)} sure ({measured_on(diagnosis)}){basis}"]


def _unsure(unsure: Unsure) -> list[str]:
    lines = [f"*Cause:* not known. {m.inline(unsure.reason, 240, 'The evidence does not settle it.')}"]
    if unsure.missing:
        lines.append(f"Would settle it: {m.inline('; '.join(unsure.missing[:3]), 200)}")
    return lines


def measured_on(diagnosis: Diagnosis) -> str:
    """What the confidence rests on: answers that were counted right or wrong, or the answerer's word alone."""
    samples = diagnosis.confidence_samples
    return f"from {m.counted(samples, 'answer')}" if samples else "its own estimate"


def percent(share: float) -> str:
    """A probability as people say it; never a certainty that nobody has."""
    return f"{min(99, max(1, round(share * 100)))} %"


def _basis(view: CardView) -> str:
    # Threads and what was imported are shown in the thread; "here" counts what this bot has seen.
    similar = sum(one.item.source == "incident" for one in view.precedents)
    seen = f"{m.counted(similar, 'similar incident')} here" if similar else "first of its kind here"
    if view.plan is None or view.plan.action is None:
        return seen
    return f"{seen} · fix: {m.inline(view.plan.basis, 80, NO_RECORD)}"


def _fix(view: CardView) -> list[str]:
    plan, state = view.plan, view.incident.state
    if plan is None or state not in FIX_LABELS:
        return []
    if plan.action is None:
        if state in CLOSED_STATES:
            return []
        return [f"*Fix:* none proposed. {m.inline(plan.no_action_because, 240, 'No safe fix is known for this.')}"]
    label = "Fix" if view.execution and state is not S.UNDONE else FIX_LABELS[state]
    lines = [f"*{label}:* {m.inline(plan.preview or plan.action.name, 300)}"]
    if state in _FIX_AHEAD:
        lines.append(what_it_takes(plan))
    return lines


def what_it_takes(plan: Plan) -> str:
    """Risk, duration, blast radius and whether it can be undone, in one escaped line."""
    parts = [RISKS[plan.risk]]
    if plan.expected_seconds > 0:
        parts.append(f"about {m.duration(plan.expected_seconds)}")
    if plan.blast_radius:
        parts.append(f"touches {m.inline(plan.blast_radius, 120)}")
    parts.append(f"undo: {m.inline(plan.undo, 120)}" if plan.undo else "cannot be undone")
    return " · ".join(parts)


def decision_lines(view: CardView) -> list[str]:
    """Who decides and until when, which rule blocks, or what became of it: at most two escaped lines."""
    return _DECISION_LINES[view.incident.state](view)


def reason_words(reason: str) -> str:
    """A stored reason, "reject_reason: comment" or free text, in a person's words; not escaped."""
    given, colon, comment = reason.partition(":")
    label = REJECT_WORDS.get(given.strip())
    if label is None:
        return reason
    return f"{label}: {comment.strip()}" if colon and comment.strip() else f"{label}."


def _sentence(words: str) -> str:
    """A clause as people read it after a colon of ours."""
    ended = words if words.endswith((".", "!", "?", "…")) else f"{words}."
    return ended[:1].upper() + ended[1:]


def _note(view: CardView, otherwise: str = "") -> str:
    return m.inline(reason_words(view.decided_note), 240, otherwise)


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


def _approval_id(view: CardView) -> int:
    return view.approval.id if view.approval else 0


def answered(view: CardView) -> bool:
    """Whether the card gives an answer that people can judge."""
    return view.diagnosis is not None and not view.diagnosis.answered_by.provisional


def _buttons(view: CardView) -> list[dict[str, Any]]:
    state = view.incident.state
    if view.observing or not answered(view):
        return []
    if state in CLOSED_STATES:
        return [] if state is S.DISMISSED else [_menu_of_incident(view, EVIDENCE, POSTMORTEM)]
    details = _button(DETAILS, "Details", encode(i=view.incident.id), f"Details of incident {view.incident.id}")
    on_it = _on_it(view.incident)
    approval = view.approval
    if state is not S.WAITING or approval is None:
        return [details, on_it, _menu_of_incident(view, EVIDENCE, REGROUP, POSTMORTEM)]
    value = approval_value(approval)
    if view.scheduled:
        cancel = _button(REJECT, "Cancel…", value, "Cancel the approved fix and say why")
        return [cancel, details, on_it, _menu_of_incident(view, EVIDENCE, REGROUP)]
    if approval.state is not ApprovalState.OPEN:
        return [details, on_it, _menu_of_incident(view, EVIDENCE, REGROUP)]
    reject = _button(REJECT, "Reject…", value, "Reject the fix and say why")
    return [_approve(view, value), reject, details, _menu(view, approval)]


def decision_buttons(view: CardView) -> list[dict[str, Any]]:
    """Approve, reject and details of an open request, for a message beside the card."""
    asked = view.approval is not None and view.approval.state is ApprovalState.OPEN
    return _buttons(view)[:3] if asked and view.incident.state is S.WAITING else []


def _on_it(incident: Incident) -> dict[str, Any]:
    """Who is on it can hand it back; a person's work that nobody has put their name to can still be taken."""
    value = encode(i=incident.id)
    if incident.assigned_to:
        return _button(GIVE_BACK, MENU[GIVE_BACK], value, "Hand it back: I look again, and what policy allows may run")
    return _button(TAKE, MENU[TAKE], value, "I am on it: nothing runs by itself from now on")


def _approve(view: CardView, value: str) -> dict[str, Any]:
    preview, twice = (view.plan.preview, view.plan.twice) if view.plan else ("", "")
    label, action = ("Approve…", APPROVE_TWICE) if twice else ("Approve", APPROVE)
    approve = _button(action, label, value, f"Approve: {preview}" if preview else "Approve the fix")
    approve["style"] = "primary"
    if view.plan is not None and view.plan.risk in {Risk.MEDIUM, Risk.HIGH} and not twice:
        approve["confirm"] = _confirm(view.plan)
    return approve


def _menu(view: CardView, approval: Approval) -> dict[str, Any]:
    """What else can be done about an open request. Its entries' values carry what the buttons' values do."""
    absent = {TAKE if view.incident.assigned_to else GIVE_BACK, *(() if view.editable else (EDIT,))}
    entries = [name for name in MENU if name not in absent]
    return {
        "type": "overflow",
        "action_id": MORE,
        "options": [
            {
                "text": m.plain_text(MENU[name]),
                "value": encode(a=approval.id, d=approval.digest[:16], i=view.incident.id, x=name),
            }
            for name in entries
        ],
    }


def _menu_of_incident(view: CardView, *entries: str) -> dict[str, Any]:
    """What can be done about the incident where nothing is asked."""
    options = [
        {"text": m.plain_text(WITHOUT_REQUEST[name]), "value": encode(i=view.incident.id, x=name)} for name in entries
    ]
    return {"type": "overflow", "action_id": MORE, "options": options}


def _button(action_id: str, label: str, value: str, spoken: str) -> dict[str, Any]:
    return {
        "type": "button",
        "action_id": action_id,
        "text": m.plain_text(label),
        "value": value,
        "accessibility_label": m.plain(spoken, 75),
    }


def _confirm(plan: Plan) -> dict[str, Any]:
    """Slack takes 300 characters: what will change, where, and how much as far as there is room."""
    target = plan.action.target if plan.action else None
    lines = [m.plain_sentences(plan.preview, 160)]
    if target:
        lines.append(f"Target: {m.plain(target.key, 70)} in {m.plain(target.environment, 20)}")
    touches = f"Touches {m.plain(plan.blast_radius, 60)}."
    if plan.blast_radius and sum(map(len, lines)) + len(touches) + len(lines) <= 300:
        lines.append(touches)
    return {
        "title": m.plain_text(f"Approve this {plan.risk.value}-risk fix?"),
        "text": m.plain_text("\n".join(lines)),
        "confirm": m.plain_text("Approve"),
        "deny": m.plain_text("Not now"),
        "style": "danger" if plan.risk is Risk.HIGH else "primary",
    }


def feedback_block(incident_id: int, answer_id: int) -> dict[str, Any]:
    """Slack's feedback buttons for one incident's answer, which they name: it may be replaced before the click."""
    return {
        "type": "context_actions",
        "block_id": f"card-{incident_id}-feedback",
        "elements": [
            {
                "type": "feedback_buttons",
                "action_id": FEEDBACK,
                "positive_button": _thumb(HELPED, Thumb(incident_id, 1, answer_id), "This answer helped"),
                "negative_button": _thumb(DID_NOT_HELP, Thumb(incident_id, -1, answer_id), "This answer did not help"),
            }
        ],
    }


def plain_thumbs(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same blocks with two plain buttons each for Slack's feedback buttons, which not every workspace takes."""
    return [_two_buttons(block) if block.get("type") == "context_actions" else block for block in blocks]


def _two_buttons(block: dict[str, Any]) -> dict[str, Any]:
    element = block["elements"][0]
    pairs = ((FEEDBACK_UP, element["positive_button"]), (FEEDBACK_DOWN, element["negative_button"]))
    buttons = [{"type": "button", "action_id": action, **button} for action, button in pairs]
    return {"type": "actions", "block_id": block["block_id"], "elements": buttons}


@dataclass(frozen=True, slots=True)
class Thumb:
    """What a feedback button says: +1 or -1, of which incident's answer; `answer_id` 0 where it names none."""

    incident_id: int
    value: int
    answer_id: int = 0


def _thumb(label: str, thumb: Thumb, spoken: str) -> dict[str, Any]:
    about = {"d": thumb.answer_id} if thumb.answer_id else {}
    return {
        "text": m.plain_text(label, emoji=True),
        "value": encode(i=thumb.incident_id, v=thumb.value, **about),
        "accessibility_label": spoken,
    }


def pretended(execution: Execution) -> bool:
    """A dry run: it was tried and nothing was begun."""
    done = execution.state is ExecutionState.ACTED and execution.started_at is None
    return done and execution.outcome is not None and not execution.outcome.changed


def made_link(execution: Execution | None) -> str:
    """A link to the pull request that a fix opened, "" without one: a person merges it there."""
    url = str((execution.outcome.mark if execution and execution.outcome else {}).get("url") or "")
    return m.link(url, "Pull request") if m.safe_url(url) else ""


def _small_print(view: CardView) -> str:
    related = [m.link(url, words) if url else words for words, url in view.related[:MOST_RELATED]]
    if view.diagnosis is None:
        return " · ".join(related)
    parts = [answered_by(view.diagnosis)]
    up, down = view.feedback_counts
    if up or down:
        counts = ((up, f"👍 {up} helped"), (down, f"👎 {down} did not help" if not up else f"👎 {down} did not"))
        parts.append(", ".join(words for count, words in counts if count))
    elif view.observing:
        parts.append(REACT)
    if view.source_link:
        parts.append(m.link(view.source_link, "Source"))
    if made := made_link(view.execution):
        parts.append(made)
    if view.channel_link:
        parts.append(m.link(view.channel_link, "Thread"))
    return " · ".join([*parts, *related])


def answered_by(diagnosis: Diagnosis | Unsure) -> str:
    """Who answered, in how many milliseconds and for how much, and why not a better one; escaped."""
    source = diagnosis.answered_by
    note = f" ({m.inline(source.note, 240)})" if source.note else ""
    cost = f" for ${source.usd:.4f}" if source.usd else ""
    return f"Answered by {m.inline(source.name, 60)}{note} in {source.ms:,} ms{cost}, {MACHINE_MADE}"


def card_lines(blocks: list[dict[str, Any]]) -> list[str]:
    """The lines that a person counts: each line of text, each row of buttons."""
    lines: list[str] = []
    for block in blocks:
        if block["type"] == "section":
            lines += str(block["text"]["text"]).split("\n")
        elif block["type"] == "context":
            lines += [str(element["text"]) for element in block["elements"]]
        elif block["type"] == "actions":
            lines.append(" ".join(f"[{element.get('text', {}).get('text', '⋯')}]" for element in block["elements"]))
        else:
            lines.append(f"[{HELPED}] [{DID_NOT_HELP}]")
    return lines


def encode(**fields: int | str) -> str:
    """A button's value: compact JSON with ids only, since anybody in the channel can read it."""
    return json.dumps(fields, separators=(",", ":"))


def approval_value(approval: Approval) -> str:
    """What approve and reject carry: the approval's id and the first 16 hex digits of its digest."""
    return encode(a=approval.id, d=approval.digest[:16])


def decode_value(value: object) -> tuple[int, str] | None:
    """Approval id and the first 16 digits of the digest that the person saw; None when it is not one of ours."""
    fields = decode_fields(value)
    number, digest = fields.get("a"), fields.get("d")
    if not _is_id(number) or not isinstance(digest, str) or len(digest) != 16 or set(digest) - set("0123456789abcdef"):
        return None
    return int(str(number)), digest


def decode_incident(value: object) -> int | None:
    """The incident of a details button's value."""
    number = decode_fields(value).get("i")
    return int(str(number)) if _is_id(number) else None


def decode_entry(value: object) -> str:
    """Which entry of the menu a value is of; "" when it is none of ours."""
    name = decode_fields(value).get("x")
    return name if isinstance(name, str) and name in {*MENU, *WITHOUT_REQUEST} else ""


def decode_feedback(value: object) -> Thumb | None:
    """What a feedback button's value says; None when it is none of ours."""
    fields = decode_fields(value)
    incident, thumb = decode_incident(value), fields.get("v")
    if incident is None or type(thumb) is not int or thumb not in (1, -1):
        return None
    return Thumb(incident, thumb, decode_answer(value))


def decode_answer(value: object) -> int:
    """The answer that a value is about; 0 where it names none."""
    number = decode_fields(value).get("d")
    return int(str(number)) if _is_id(number) else 0


def decode_fields(value: object) -> Mapping[str, object]:
    """The JSON object in a value or private metadata of at most 3,000 characters; empty when there is none."""
    if not isinstance(value, str) or len(value) > 3000:
        return {}
    try:
        fields = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _is_id(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 < number < 2**63


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
