"""What a card says of the cause and of the fix: one or two lines each, and the words for risk and confidence."""

from handlers.blocks import mrkdwn as m
from handlers.blocks.card_view import CardView
from knowledge.model import Diagnosis, IncidentState, Plan, Risk, Unsure
from knowledge.model.failing import CLOSED_STATES

S = IncidentState

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

NO_RECORD = "no record here yet"
FLAGGED = "⚠️ The evidence contains text addressed to this bot, so nothing runs by itself."
MACHINE_MADE = "machine made, can be wrong"

# The states in which the fix has not begun, so its risk and duration still matter to somebody.
_FIX_AHEAD = frozenset({S.PROPOSED, S.WAITING, S.BLOCKED})


def cause_lines(view: CardView) -> list[str]:
    """The cause and how sure it is, or what is missing; at most three escaped lines, none before a diagnosis."""
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
    return [f"*Cause:* {cause}", f"{percent(diagnosis.confidence)} sure ({_measured_on(diagnosis)}){basis}"]


def _unsure(unsure: Unsure) -> list[str]:
    lines = [f"*Cause:* not known. {m.inline(unsure.reason, 240, 'The evidence does not settle it.')}"]
    if unsure.missing:
        lines.append(f"Would settle it: {m.inline('; '.join(unsure.missing[:3]), 200)}")
    return lines


def _measured_on(diagnosis: Diagnosis) -> str:
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


def answered_by(diagnosis: Diagnosis | Unsure) -> str:
    """Who answered, in how many milliseconds and for how much, and why not a better one; escaped."""
    source = diagnosis.answered_by
    note = f" ({m.inline(source.note, 240)})" if source.note else ""
    cost = f" for ${source.usd:.4f}" if source.usd else ""
    return f"Answered by {m.inline(source.name, 60)}{note} in {source.ms:,} ms{cost}, {MACHINE_MADE}"


def fix_lines(view: CardView) -> list[str]:
    """The fix, and what it takes while it has not begun; at most two escaped lines, none without a plan."""
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
