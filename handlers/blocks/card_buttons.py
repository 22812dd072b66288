"""The buttons and menus of a card, and of messages beside it: which of them stand there in which state."""

from typing import Any

from handlers.blocks import mrkdwn as m
from handlers.blocks.actions import (
    APPROVE,
    APPROVE_TWICE,
    DETAILS,
    EDIT,
    EVIDENCE,
    FEEDBACK,
    FEEDBACK_DOWN,
    FEEDBACK_UP,
    GIVE_BACK,
    MENU,
    MORE,
    POSTMORTEM,
    REGROUP,
    REJECT,
    TAKE,
    WITHOUT_REQUEST,
    Thumb,
    approval_value,
    encode,
)
from handlers.blocks.card_view import CardView
from knowledge.model import Approval, ApprovalState, Incident, IncidentState, Plan, Risk
from knowledge.model.failing import CLOSED_STATES

S = IncidentState
HELPED, DID_NOT_HELP = "👍 Helped", "👎 Did not help"


def buttons(view: CardView) -> list[dict[str, Any]]:
    """The row of the card: none before an answer can be judged and while observing; a menu alone once it is closed."""
    state = view.incident.state
    if view.observing or not view.answered:
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
    return buttons(view)[:3] if asked and view.incident.state is S.WAITING else []


def _approve(view: CardView, value: str) -> dict[str, Any]:
    preview, twice = (view.plan.preview, view.plan.twice) if view.plan else ("", "")
    label, action = ("Approve…", APPROVE_TWICE) if twice else ("Approve", APPROVE)
    approve = _button(action, label, value, f"Approve: {preview}" if preview else "Approve the fix")
    approve["style"] = "primary"
    if view.plan is not None and view.plan.risk in {Risk.MEDIUM, Risk.HIGH} and not twice:
        approve["confirm"] = _confirm(view.plan)
    return approve


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


def _on_it(incident: Incident) -> dict[str, Any]:
    """Who is on it can hand it back; a person's work that nobody has put their name to can still be taken."""
    value = encode(i=incident.id)
    if incident.assigned_to:
        return _button(GIVE_BACK, MENU[GIVE_BACK], value, "Hand it back: I look again, and what policy allows may run")
    return _button(TAKE, MENU[TAKE], value, "I am on it: nothing runs by itself from now on")


def _button(action_id: str, label: str, value: str, spoken: str) -> dict[str, Any]:
    return {
        "type": "button",
        "action_id": action_id,
        "text": m.plain_text(label),
        "value": value,
        "accessibility_label": m.plain(spoken, 75),
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


def _thumb(label: str, thumb: Thumb, spoken: str) -> dict[str, Any]:
    about = {"d": thumb.answer_id} if thumb.answer_id else {}
    return {
        "text": m.plain_text(label, emoji=True),
        "value": encode(i=thumb.incident_id, v=thumb.value, **about),
        "accessibility_label": spoken,
    }


def plain_thumbs(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same blocks with two plain buttons each for Slack's feedback buttons, which not every workspace takes."""
    return [_two_buttons(block) if block.get("type") == "context_actions" else block for block in blocks]


def _two_buttons(block: dict[str, Any]) -> dict[str, Any]:
    element = block["elements"][0]
    pairs = ((FEEDBACK_UP, element["positive_button"]), (FEEDBACK_DOWN, element["negative_button"]))
    elements = [{"type": "button", "action_id": action, **button} for action, button in pairs]
    return {"type": "actions", "block_id": block["block_id"], "elements": elements}
