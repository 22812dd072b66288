"""What goes into the card's thread: evidence, progress, checks, and the one reply that asks for a person."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from handlers.blocks import mrkdwn as m
from handlers.blocks.card import made_link
from handlers.blocks.card_buttons import decision_buttons, feedback_block
from handlers.blocks.card_decision import decision_lines, pretended, responsible_people
from handlers.blocks.card_findings import answered_by, percent, what_it_takes
from handlers.blocks.card_view import MOST_TEXT, Card, CardView
from handlers.blocks.evidence import answer_lines, precedent_lines, runbook_lines, surrounding_lines
from handlers.blocks.incident_words import WANTED, lead
from handlers.blocks.placing import muted
from knowledge.model import (
    KIND_NAMES,
    Diagnosis,
    Evidence,
    Execution,
    ExecutionState,
    Incident,
    IncidentState,
    Precedent,
    RuleResult,
    Unsure,
    Verification,
)
from knowledge.runbooks import Runbook
from remediation.remediators import REMEDIATORS

NEEDS_PERSON = frozenset(
    {
        IncidentState.WAITING,
        IncidentState.BLOCKED,
        IncidentState.NOT_VERIFIED,
        IncidentState.UNDONE,
        IncidentState.ESCALATED,
    }
)

RUN_WORDS: dict[ExecutionState, str] = {
    ExecutionState.QUEUED: "Waits for its turn",
    ExecutionState.STARTED: "Under way",
    ExecutionState.ACTED: "Carried out",
    ExecutionState.FAILED: "Failed",
    ExecutionState.REFUSED: "Not carried out",
    ExecutionState.UNDONE: "Undone",
}

PROGRESS: dict[ExecutionState, str] = {
    ExecutionState.QUEUED: "Approved; it runs as soon as the target is free.",
    ExecutionState.STARTED: "Started.",
    ExecutionState.ACTED: "Done. Checking whether it helped.",
    ExecutionState.FAILED: "Failed.",
    ExecutionState.REFUSED: "Not done: the target is no longer as it was when the fix was proposed.",
    ExecutionState.UNDONE: "Undone: the state before the fix is restored.",
}

# Of a fix whose end is found after its incident has gone on without it.
LATE: dict[ExecutionState, str] = {
    ExecutionState.ACTED: "Done, but not verified: the incident had gone on without it. Look at the target.",
    ExecutionState.FAILED: "Failed, after the incident had gone on without it. Look at the target.",
    ExecutionState.REFUSED: "Not done.",
}
PRETENDED = "Tried without effect."

VERDICTS: dict[str, str] = {
    "verified": "✅ Verified: the failure is gone.",
    "not_verified": "❓ Not verified: no proof that the fix helped.",
    "worse": "⚠️ Worse than before the fix.",
    "pending": "🔎 Still checking.",
}

PASTED = "This text was pasted, so it gets a diagnosis and never an action."

# What a person is asked for in the call that mentions them.
CALLS: dict[IncidentState, str] = {
    IncidentState.WAITING: "please approve or reject on the card",
    IncidentState.BLOCKED: "please override it or fix it by hand",
    IncidentState.NOT_VERIFIED: "please check the result",
    IncidentState.UNDONE: "please look, the failure goes on",
    IncidentState.ESCALATED: "please take over",
}


def evidence_reply(
    view: CardView,
    evidence: Sequence[Evidence],
    precedents: Sequence[Precedent] | None = None,
    *,
    runbook: Runbook | None = None,
    note: str = "",
) -> Card | None:
    """Why the card says what it says; None before there is an answer. `precedents` defaults to the view's.

    `note` is one more line, escaped.
    """
    diagnosis = view.diagnosis
    if diagnosis is None:
        return None
    shown = view.precedents if precedents is None else precedents
    lines = [
        *surrounding_lines(evidence),
        *answer_lines(diagnosis, evidence),
        *runbook_lines(runbook),
        *precedent_lines(shown, view.now),
        *([note] if note else []),
        answered_by(diagnosis),
    ]
    name = f"evidence-{view.incident.id}"
    return _card(f"Evidence for incident {view.incident.id}", m.sections(name, lines), lines)


def progress_reply(view: CardView, execution: Execution, *, late: bool = False) -> Card:
    """One line on what an execution is doing: the action, its state, and the outcome's sentence.

    `late`: the incident had gone on without it, so that nothing verifies it.
    """
    action = execution.action
    # The card says in full what is done; here it is told from what else was tried.
    title = REMEDIATORS[action.name].title if action.name in REMEDIATORS else action.name
    what = f"{m.inline(title, 80)} · {m.inline(action.target.key, 160)}"
    at = execution.finished_at or execution.started_at
    lines = [f"*{what.replace('*', '∗')}*"]
    state = LATE.get(execution.state) if late else None
    lines.append(f"{PRETENDED if pretended(execution) else state or PROGRESS[execution.state]}{_at(at, view)}")
    if execution.outcome is not None:
        if execution.outcome.ok and not execution.outcome.changed:
            lines.append("Nothing was changed.")
        lines.append(m.inline(execution.outcome.detail, 400, "No further detail."))
        lines += filter(None, [made_link(execution)])
    name = f"progress-{view.incident.id}-{execution.id}-{execution.state.value}"
    return _card("", [m.section(name, lines)], lines)


def _at(at: datetime | None, view: CardView) -> str:
    return f" {m.date(at, view.now)}" if at else ""


def verification_reply(view: CardView, verification: Verification) -> Card:
    """Every check after the fix, with what was wanted and what was found."""
    lines = [VERDICTS.get(verification.verdict, m.inline(verification.verdict, 60))]
    if verification.detail:
        lines.append(m.inline(verification.detail, 400))
    outcome = view.execution.outcome if view.execution else None
    if verification.verdict == "worse" and outcome is not None:
        sign = "↩️ *Undone:*" if view.incident.state is IncidentState.UNDONE else "⚠️ *Not undone:*"
        lines.append(f"{sign} {m.inline(outcome.detail, 400)}")
    lines += [check_line(check) for check in verification.checks[:12]]
    lines += m.left_out(len(verification.checks), 12, "more checks")
    return _card("", m.sections(f"verification-{view.incident.id}", lines), lines)


def check_line(check: RuleResult) -> str:
    """One check in words, escaped."""
    word = "✓ met" if check.passed else "✗ not met"
    wanted, found = m.inline(check.limit, 100), m.inline(check.actual, 100)
    return f"• {word}: {m.inline(check.rule, 80)}, wanted {wanted}, found {found}"


def needs_person_reply(view: CardView, *, asked_in: str = "", with_buttons: bool = False) -> Card:
    """The short reply, to be broadcast, in a state that needs a person; it mentions who is responsible.

    An edit of the card notifies nobody, so this is what people hear. Severity, service, cause and wanted decision are
    the first 100 characters of its text. With `asked_in` people are called in that channel, and here it says so;
    `with_buttons`: it stands there itself, above the card's buttons, and says what the fix takes.
    """
    decision = decision_lines(view)
    fix = ""
    if view.plan is not None and view.plan.action is not None and view.incident.state is IncidentState.WAITING:
        fix = m.inline(m.plain_sentences(view.plan.preview or view.plan.action.name, 160), 240)
    people = " ".join(m.mention(who) for who in responsible_people(view)[:10])
    wanted = CALLS.get(view.incident.state, WANTED[view.incident.state])
    wanted = "please approve or reject" if with_buttons else wanted
    call = f"{people} {wanted}." if people else ""
    if view.quiet_until:
        call = f"Quiet hours until {m.inline(view.quiet_until, 60)}: nobody is mentioned until then."
    note = m.inline(view.call_note, 240) if view.call_note and people else ""
    if asked_in:
        call, note = f"Asked in <#{asked_in}>.", ""
    takes = what_it_takes(view.plan) if with_buttons and fix and view.plan else ""
    detail = [line for line in (fix, takes, *([] if fix else decision), call, note) if line]
    name = f"needs-{view.incident.id}-{view.incident.state.value}"
    first = lead(view)
    reply = Card(
        "\n".join([first, *(m.without_markup(line) for line in detail)]),
        [m.section(name, [f"*{first.replace('*', '∗')}*", *detail])],
    )
    return muted(reply) if view.quiet_until or asked_in else reply


def approval_request(view: CardView, *, channel: str) -> Card:
    """What asks for an approval in a channel of its own; the card is in `channel`. Its buttons are the card's."""
    call = needs_person_reply(view, with_buttons=True)
    name = f"asks-{view.incident.id}-{view.incident.revision}"
    where = f"The card is in <#{channel}>." if m.CHANNEL.fullmatch(channel) else ""
    blocks = [*call.blocks, *([m.context(f"{name}-where", where)] if where else [])]
    buttons = decision_buttons(view)
    if buttons:
        blocks.append({"type": "actions", "block_id": f"{name}-buttons", "elements": buttons})
    return Card("\n".join(filter(None, (call.text, where))), blocks)


def reminder(view: CardView, *, link: str, closed: bool) -> Card:
    """To one person who was asked and has not answered; of a `closed` channel's card it says nothing but where."""
    first = "A fix waits for your decision." if closed else lead(view)
    preview = view.plan.preview if view.plan else ""
    fix = m.inline(m.plain_sentences(preview, 160), 240) if preview and not closed else ""
    until = (
        f"Nobody has answered yet; it can be decided until {m.date(view.approval.until, view.now)}."
        if view.approval
        else ""
    )
    lines = [f"*{first.replace('*', '∗')}*", *(line for line in (fix, until) if line)]
    if link:
        lines.append(m.link(link, "Open the card and decide there"))
    return _card("", [m.section(f"reminder-{view.incident.id}", lines)], lines)


ASKED_ANEW = "I looked again: what I ask for now stands below."


def settled_reply(view: CardView) -> Card:
    """What stands in place of a call once it is answered: who decided, and what came of it; it asks for nothing."""
    first, lines = lead(view), decision_lines(view)
    if view.incident.state is IncidentState.WAITING and not view.scheduled:
        # Asked anew since: two messages that ask for the same would be one too many.
        first, lines = f"{first.rpartition(' - ')[0]} - asked anew", [ASKED_ANEW]
    name = f"settled-{view.incident.id}-{view.incident.revision}"
    return Card(
        "\n".join([first, *(m.without_markup(line) for line in lines)]),
        [m.section(name, [f"*{first.replace('*', '∗')}*", *lines])],
    )


def question_answer(
    diagnosis: Diagnosis | Unsure,
    evidence: Sequence[Evidence],
    now: datetime,
    *,
    precedents: Sequence[Precedent] = (),
    incident: Incident | None = None,
    next_step: str = "",
    answer_id: int = 0,
) -> Card:
    """The answer to a mention with a pasted log: a diagnosis only. With an `incident` people can judge it.

    `answer_id` is the stored diagnosis that they judge, `next_step` one sentence on what a person could do.
    """
    if isinstance(diagnosis, Diagnosis):
        first = f"*{KIND_NAMES[diagnosis.kind]}* ({percent(diagnosis.confidence)} sure)"
        lines = [first, m.inline(diagnosis.cause or diagnosis.summary, 400)]
        if diagnosis.summary and diagnosis.summary != diagnosis.cause and diagnosis.cause:
            lines.append(m.inline(diagnosis.summary, 600))
    else:
        lines = ["*I am not sure.*", m.inline(diagnosis.reason, 400, "The text does not settle it.")]
    if next_step:
        lines.append(f"*Next:* {m.inline(next_step, 300)}")
    lines += [*answer_lines(diagnosis, evidence), *precedent_lines(precedents, now)]
    lines += [PASTED, answered_by(diagnosis)]
    name = f"answer-{incident.id}" if incident else "answer"
    blocks = m.sections(name, lines)
    if incident is not None:
        blocks.append(feedback_block(incident.id, answer_id))
    return _card("", blocks, lines)


def _card(first: str, blocks: list[dict[str, Any]], lines: Sequence[str]) -> Card:
    """Blocks with a text of the same words, of at most `MOST_TEXT` characters, ended at a line's end."""
    words: list[str] = []
    room = MOST_TEXT - len("[shortened]") - 1
    for line in [first, *lines] if first else lines:
        plain = m.without_markup(line)
        if len(plain) + 1 > room:
            words.append("[shortened]")
            break
        words.append(plain)
        room -= len(plain) + 1
    return Card("\n".join(words), blocks)
