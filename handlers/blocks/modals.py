"""The modals: why a fix is rejected, what to change about it, when; what was wrong with an answer; details."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handlers.blocks import mrkdwn as m
from handlers.blocks.actions import approval_value, decode_answer, decode_fields, decode_incident, decode_value, encode
from handlers.blocks.card_decision import REJECT_WORDS, rule_words
from handlers.blocks.card_findings import percent, what_it_takes
from handlers.blocks.card_view import CardView
from handlers.blocks.incident_words import place, what_fails
from handlers.blocks.thread import check_line
from knowledge.model import (
    KIND_NAMES,
    Approval,
    Ask,
    Auto,
    Blocked,
    Decision,
    FeedbackReason,
    Incident,
    Plan,
    RejectReason,
    RuleResult,
)
from remediation.editing import NOTHING_CHANGED, refusals
from remediation.registry import Editable

REJECT_REASON = "reject_reason"
FEEDBACK_COMMENT = "feedback_comment"
EDIT_PARAMETERS = "edit_parameters"
APPROVE_LATER = "approve_later"
SNOOZE_UNTIL = "snooze_until"
CONFIRM_TWICE = "confirm_twice"
MOST_COMMENT = 1000

# What choosing a reason says beside its label.
REASON_EFFECTS: dict[RejectReason, str] = {
    RejectReason.WRONG_CAUSE: "Such a diagnosis is trusted less from now on",
    RejectReason.WRONG_TARGET: "For this failure nothing is proposed there again",
    RejectReason.RIGHT_CAUSE_WRONG_FIX: "Next time something else is proposed",
    RejectReason.NOT_NOW: "Right, but at another time: nothing is learnt",
    RejectReason.ALREADY_FIXED: "Somebody has dealt with it: this is closed",
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


@dataclass(frozen=True, slots=True)
class Request:
    """What a modal about a request carries: which one, as it was shown, of which incident."""

    approval_id: int
    digest: str
    incident_id: int


def _carried(approval: Approval, incident: Incident, **more: int | str) -> str:
    return encode(a=approval.id, d=approval.digest[:16], i=incident.id, **more)


def read_request(view: Mapping[str, Any]) -> Request | None:
    """The request of a submitted modal; None when it is none of ours."""
    metadata = view.get("private_metadata")
    approval, incident_id = decode_value(metadata), decode_incident(metadata)
    return Request(*approval, incident_id) if approval and incident_id is not None else None


def edit_modal(approval: Approval, incident: Incident, plan: Plan, fields: Sequence[Editable]) -> dict[str, Any]:
    """The parameters that may be changed, with the bounds that hold now; the server checks them again."""
    parameters = plan.action.parameters if plan.action else {}
    bounds = [[one.name, one.label, one.low, one.high, one.because[:160], one.unit] for one in fields]
    inputs = [
        {
            "type": "input",
            "block_id": one.name,
            "label": m.plain_text(one.label),
            "hint": m.plain_text(f"From {one.low} to {one.high}: {one.because}."),
            "element": {
                "type": "number_input",
                "action_id": one.name,
                "is_decimal_allowed": False,
                "initial_value": str(parameters.get(one.name, one.low)).removesuffix(one.unit),
            },
        }
        for one in fields
    ]
    lines = [
        m.inline(plan.preview, 300),
        place(incident),
        "Approvers decide on the changed fix; you asked for it then.",
    ]
    return {
        "type": "modal",
        "callback_id": EDIT_PARAMETERS,
        "title": m.plain_text("Edit the fix"),
        "submit": m.plain_text("Propose this"),
        "close": m.plain_text("Cancel"),
        "private_metadata": json.dumps(
            json.loads(_carried(approval, incident)) | {"b": bounds}, separators=(",", ":"), ensure_ascii=False
        ),
        "blocks": [m.section("what", lines), *inputs],
    }


def edited_values(view: Mapping[str, Any]) -> dict[str, str]:
    """What was written, by parameter, as text."""
    return {
        one.name: value if isinstance(value := _submitted(view, one.name, one.name).get("value"), str) else ""
        for one in edited_fields(view)
    }


def edited_fields(view: Mapping[str, Any]) -> tuple[Editable, ...]:
    """The fields with the bounds that the form was opened with; none when it is no form of ours."""
    bounds = decode_fields(view.get("private_metadata")).get("b")
    try:
        return tuple(
            Editable(str(name), str(label), int(low), int(high), str(because), str(unit[0]) if unit else "")
            for name, label, low, high, because, *unit in (bounds if isinstance(bounds, list) else ())
        )
    except (TypeError, ValueError):
        return ()


def edit_errors(view: Mapping[str, Any]) -> dict[str, str]:
    """What to say under which field of a submitted form; empty when all may be taken, and something is changed."""
    fields, values = edited_fields(view), edited_values(view)
    wrong = refusals(fields, values)
    blocks = view.get("blocks")
    proposed = {
        str(block.get("block_id")): (block.get("element") or {}).get("initial_value")
        for block in (blocks if isinstance(blocks, list) else ())
        if isinstance(block, Mapping)
    }
    if fields and not wrong and all(values[one.name] == proposed.get(one.name) for one in fields):
        return {fields[0].name: NOTHING_CHANGED}
    return wrong


def later_modal(approval: Approval, incident: Incident, plan: Plan | None, timezone: str) -> dict[str, Any]:
    """At what time an approved fix may start; a second reason to think, where there is one, stands above."""
    twice = [f"⚠️ {m.inline(plan.twice, 300)}"] if plan and plan.twice else []
    lines = [
        m.inline(plan.preview, 300) if plan else "",
        place(incident),
        *twice,
        "At that time everything is looked at again. It runs only if it still fails and nothing else has changed.",
    ]
    carried = _carried(approval, incident)
    return _time_modal(
        APPROVE_LATER, "Approve for later", submit="Approve", lines=lines, carried=carried, timezone=timezone
    )


def snooze_modal(approval: Approval, incident: Incident, timezone: str) -> dict[str, Any]:
    lines = [place(incident), "Nobody is reminded until then. Then it is looked at again, and asked again if need be."]
    carried = _carried(approval, incident)
    return _time_modal(SNOOZE_UNTIL, "Snooze", submit="Snooze", lines=lines, carried=carried, timezone=timezone)


def _time_modal(
    callback: str, title: str, *, submit: str, lines: Sequence[str], carried: str, timezone: str
) -> dict[str, Any]:
    fields = dict(decode_fields(carried)) | {"z": timezone[:64]}
    return {
        "type": "modal",
        "callback_id": callback,
        "title": m.plain_text(title),
        "submit": m.plain_text(submit),
        "close": m.plain_text("Cancel"),
        "private_metadata": json.dumps(fields, separators=(",", ":")),
        "blocks": [
            m.section("what", [line for line in lines if line]),
            {
                "type": "input",
                "block_id": "time",
                "label": m.plain_text("Time"),
                "hint": m.plain_text(f"The next such time, in {timezone[:64]}."),
                "element": {"type": "timepicker", "action_id": "time", "timezone": timezone[:64]},
            },
        ],
    }


_CLOCK = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")


def read_time(view: Mapping[str, Any]) -> tuple[str, str] | None:
    """(clock, time zone) of a submitted time, such as ("06:00", "Europe/Paris")."""
    clock = _submitted(view, "time", "time").get("selected_time")
    zone = decode_fields(view.get("private_metadata")).get("z")
    if not isinstance(clock, str) or not _CLOCK.fullmatch(clock):
        return None
    return clock, zone if isinstance(zone, str) else "UTC"


def twice_modal(approval: Approval, incident: Incident, plan: Plan) -> dict[str, Any]:
    """The second question before an approval counts: why this fix is asked for twice."""
    lines = [
        f"⚠️ {m.inline(plan.twice, 600)}",
        f"*Fix:* {m.inline(plan.preview, 300)}",
        place(incident),
        what_it_takes(plan),
    ]
    return {
        "type": "modal",
        "callback_id": CONFIRM_TWICE,
        "title": m.plain_text("Approve all the same?"),
        "submit": m.plain_text("Approve"),
        "close": m.plain_text("Not now"),
        "private_metadata": _carried(approval, incident),
        "blocks": [m.section("why", lines)],
    }


def decide_modal(approval: Approval, incident: Incident, plan: Plan) -> dict[str, Any]:
    """From Home: what an approval would start, and why it is asked for twice where it is. Its answer is an approval."""
    twice = [f"⚠️ {m.inline(plan.twice, 600)}"] if plan.twice else []
    lines = [*twice, f"*Fix:* {m.inline(plan.preview, 300)}", place(incident), what_it_takes(plan)]
    return {
        "type": "modal",
        "callback_id": CONFIRM_TWICE,
        "title": m.plain_text("Approve all the same?" if twice else "Approve this fix?"),
        "submit": m.plain_text("Approve"),
        "close": m.plain_text("Not now"),
        "private_metadata": _carried(approval, incident, h=1),
        "blocks": [m.section("why", lines)],
    }


def from_home(view: Mapping[str, Any]) -> bool:
    """Whether a submitted modal was opened from Home, where nobody sees what is said in a channel."""
    return decode_fields(view.get("private_metadata")).get("h") == 1


FEEDBACK_WORDS: dict[FeedbackReason, str] = {
    FeedbackReason.WRONG_CAUSE: "Wrong cause",
    FeedbackReason.WRONG_FIX: "Right cause, wrong fix",
    FeedbackReason.UNCLEAR: "Hard to understand",
    FeedbackReason.UNSAFE: "Unsafe",
    FeedbackReason.OUTDATED: "Out of date",
}


@dataclass(frozen=True, slots=True)
class Said:
    """A submitted feedback modal. `answer_id` 0 names no answer, `reason` may be "", `comment` is foreign text."""

    incident_id: int
    answer_id: int
    reason: str
    comment: str


def feedback_modal(incident: Incident, answer_id: int) -> dict[str, Any]:
    """Asks, after 👎, what was wrong; the vote counts without it."""
    options = [{"text": m.plain_text(words), "value": reason.value} for reason, words in FEEDBACK_WORDS.items()]
    return {
        "type": "modal",
        "callback_id": FEEDBACK_COMMENT,
        "title": m.plain_text("What was wrong?"),
        "submit": m.plain_text("Send"),
        "close": m.plain_text("Skip"),
        "private_metadata": encode(i=incident.id, d=answer_id),
        "blocks": [
            m.section("what", ["Your 👎 is noted. A word on why helps the next answer.", place(incident)]),
            {
                "type": "input",
                "block_id": "reason",
                "optional": True,
                "label": m.plain_text("What was it?"),
                "element": {"type": "radio_buttons", "action_id": "reason", "options": options},
            },
            _comment_input("What should it have said?"),
        ],
    }


def read_feedback(view: Mapping[str, Any]) -> Said | None:
    """A submitted feedback modal; None when it is none of ours."""
    metadata = view.get("private_metadata")
    incident_id = decode_incident(metadata)
    if incident_id is None:
        return None
    chosen = _submitted(view, "reason", "reason").get("selected_option")
    value = chosen.get("value") if isinstance(chosen, Mapping) else None
    reason = str(value) if value in set(FeedbackReason) else ""
    return Said(incident_id, decode_answer(metadata), reason, _comment(view))


def details_modal(view: CardView) -> dict[str, Any]:
    """Everything behind the card, to read only: the change, every rule, the candidates and why others were left out."""
    lines = [f"*{m.inline(what_fails(view).replace('*', '∗'), 200)}* · {place(view.incident)}"]
    lines += _causes(view)
    lines += _plan_lines(view.plan) if view.plan else ["*Fix:* none planned yet."]
    lines += _decision_lines(view.decision) if view.decision else []
    if view.route:
        lines.append(f"*Route:* {m.inline(view.route, 400)}")
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
