"""The modals: why a fix is rejected, what was wrong with an answer, an incident's details, a refusal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handlers.blocks import mrkdwn as m
from handlers.blocks.card import (
    REJECT_WORDS,
    CardView,
    approval_value,
    decode_fields,
    decode_incident,
    decode_value,
    encode,
    percent,
    place,
    rule_words,
    what_fails,
    what_it_takes,
)
from handlers.blocks.thread import check_line
from knowledge.model import (
    KIND_NAMES,
    Approval,
    Ask,
    Auto,
    Blocked,
    Decision,
    Incident,
    Plan,
    RejectReason,
    RuleResult,
)

REJECT_REASON = "reject_reason"
FEEDBACK_COMMENT = "feedback_comment"
MOST_COMMENT = 1000

# What choosing a reason says beside its label.
REASON_EFFECTS: dict[RejectReason, str] = {
    RejectReason.WRONG_CAUSE: "The diagnosis is not what happened",
    RejectReason.WRONG_TARGET: "It would change the wrong thing",
    RejectReason.RIGHT_CAUSE_WRONG_FIX: "Next time something else is proposed",
    RejectReason.NOT_NOW: "Right, but at another time",
    RejectReason.ALREADY_FIXED: "Somebody has dealt with it",
}


@dataclass(frozen=True, slots=True)
class Rejection:
    """A submitted reject modal. `digest` is the first 16 hex digits of what was shown; `comment` is foreign text."""

    approval_id: int
    digest: str
    incident_id: int
    reason: RejectReason
    comment: str


def reject_modal(approval: Approval, incident: Incident, plan: Plan | None = None) -> dict[str, Any]:
    """Asks why a fix is rejected; its private metadata carries approval, digest and incident."""
    what = m.inline(plan.preview, 300) if plan and plan.preview else f"Incident {incident.id}"
    options = [_option(reason.value, REJECT_WORDS[reason], effect) for reason, effect in REASON_EFFECTS.items()]
    reason_input = {
        "type": "input",
        "block_id": "reason",
        "label": m.plain_text("Why?"),
        "element": {"type": "radio_buttons", "action_id": "reason", "options": options},
    }
    blocks = [
        m.section("what", [what, place(incident)]),
        reason_input,
        _comment_input("Comment (kept with the incident)"),
    ]
    fields = decode_fields(approval_value(approval))
    return {
        "type": "modal",
        "callback_id": REJECT_REASON,
        "title": m.plain_text("Reject this fix"),
        "submit": m.plain_text("Reject"),
        "close": m.plain_text("Cancel"),
        "private_metadata": encode(a=approval.id, d=str(fields["d"]), i=incident.id),
        "blocks": blocks,
    }


def read_rejection(view: Mapping[str, Any]) -> Rejection | None:
    """A submitted reject modal's view; None when it is not one of ours or no known reason is chosen."""
    metadata = view.get("private_metadata")
    approval, incident_id = decode_value(metadata), decode_incident(metadata)
    chosen = _submitted(view, "reason", "reason").get("selected_option")
    value = chosen.get("value") if isinstance(chosen, Mapping) else None
    if approval is None or incident_id is None or value not in set(RejectReason):
        return None
    return Rejection(approval[0], approval[1], incident_id, RejectReason(value), _comment(view))


def feedback_modal(incident: Incident) -> dict[str, Any]:
    """Asks, after 👎, what was wrong; the vote counts without it."""
    return {
        "type": "modal",
        "callback_id": FEEDBACK_COMMENT,
        "title": m.plain_text("What was wrong?"),
        "submit": m.plain_text("Send"),
        "close": m.plain_text("Skip"),
        "private_metadata": encode(i=incident.id),
        "blocks": [
            m.section("what", ["Your 👎 is noted. A word on why helps the next answer.", place(incident)]),
            _comment_input("What should it have said?"),
        ],
    }


def read_feedback_comment(view: Mapping[str, Any]) -> tuple[int, str] | None:
    """Incident id and comment ("" when left empty) of a submitted feedback modal."""
    incident_id = decode_incident(view.get("private_metadata"))
    return None if incident_id is None else (incident_id, _comment(view))


def details_modal(view: CardView) -> dict[str, Any]:
    """Everything behind the card, to read only: the change, every rule, the candidates and why others were left out."""
    lines = [f"*{m.inline(what_fails(view).replace('*', '∗'), 200)}* · {place(view.incident)}"]
    lines += _causes(view)
    lines += _plan_lines(view.plan) if view.plan else ["*Fix:* none planned yet."]
    lines += _decision_lines(view.decision) if view.decision else []
    if view.verification is not None:
        lines += ["*Checks after the fix*", *(check_line(check) for check in view.verification.checks[:20])]
    return _read_only("Incident details", m.sections("details", lines)[:90])


def notice_modal(text: str) -> dict[str, Any]:
    """One sentence to the person who clicked, where an ephemeral message cannot reach them."""
    return _read_only("CodeHealer", [m.section("notice", [m.inline(text, 2000)])])


def _read_only(title: str, blocks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "type": "modal",
        "title": m.plain_text(title),
        "close": m.plain_text("Close"),
        "blocks": list(blocks),
    }


def _causes(view: CardView) -> list[str]:
    if view.diagnosis is None or not view.diagnosis.candidates:
        return []
    shares = [f"{KIND_NAMES[kind]} {percent(share)}" for kind, share in view.diagnosis.candidates[:5]]
    return [f"*Causes considered:* {', '.join(shares)}"]


def _plan_lines(plan: Plan) -> list[str]:
    if plan.action is None:
        lines = [f"*Fix:* none. {m.inline(plan.no_action_because, 400)}"]
    else:
        action = plan.action
        parameters = ", ".join(f"{name} = {value}" for name, value in sorted(action.parameters.items()))
        lines = [
            f"*Fix:* {m.inline(plan.preview or action.name, 400)}",
            what_it_takes(plan),
            f"Action {m.code(action.name, 80)} on {m.code(action.target.key, 300)}",
            f"Parameters: {m.inline(parameters, 400, 'none')}",
            f"Digest {m.code(action.digest[:16], 24)}: an approval holds for exactly this.",
        ]
        if plan.diff:
            lines += ["*What will change*", m.fence(plan.diff, 2500)]
    if plan.candidates:
        names = ", ".join(m.code(name, 60) for name in plan.candidates[:10])
        lines.append(f"*Candidates, best first:* {names}")
    if plan.excluded:
        lines.append("*Left out*")
        lines += [f"• {m.code(name, 60)}: {m.inline(why, 240)}" for name, why in plan.excluded[:20]]
    return lines


def _decision_lines(decision: Decision) -> list[str]:
    head = f"*Policy:* {_verdict(decision)} · mode {m.inline(decision.mode, 30)}"
    lines = [f"{head} · strategy {m.inline(decision.strategy, 40)}"]
    return [*lines, *(rule_line(rule) for rule in decision.rules[:40])]


def _verdict(decision: Decision) -> str:
    verdict = decision.verdict
    if isinstance(verdict, Auto):
        return "may run by itself"
    if isinstance(verdict, Blocked):
        override = f"; to override: {m.mention(verdict.override, 160)}" if verdict.override else ""
        return f"blocked, {m.inline(verdict.why, 240)}{override}"
    if isinstance(verdict, Ask):
        who = f" of {m.people(verdict.who)}" if verdict.who else ""
        return f"asks for {m.counted(verdict.how_many, 'approval')}{who}"
    return "not decided"


def rule_line(rule: RuleResult) -> str:
    """One rule with its limit, the actual value and what failing it means; escaped."""
    word = "✓ passed" if rule.passed else ("⛔ blocks" if rule.otherwise == "block" else "✋ asks")
    override = f"; to override: {m.mention(rule.override, 80)}" if rule.override and not rule.passed else ""
    return f"• {word}: {rule_words(rule)}{override}"


def _option(value: str, label: str, description: str) -> dict[str, Any]:
    return {"text": m.plain_text(label), "value": value, "description": m.plain_text(description)}


def _comment_input(label: str) -> dict[str, Any]:
    return {
        "type": "input",
        "block_id": "comment",
        "optional": True,
        "label": m.plain_text(label),
        "element": {
            "type": "plain_text_input",
            "action_id": "comment",
            "multiline": True,
            "max_length": MOST_COMMENT,
        },
    }


def _comment(view: Mapping[str, Any]) -> str:
    value = _submitted(view, "comment", "comment").get("value")
    return m.clean(value, lines=True)[:MOST_COMMENT] if isinstance(value, str) else ""


def _submitted(view: Mapping[str, Any], block_id: str, action_id: str) -> Mapping[str, Any]:
    """The state of one input; empty when the view has no such input, whatever its shape."""
    found: Any = view
    for key in ("state", "values", block_id, action_id):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}
