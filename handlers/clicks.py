"""Pure: from a click or a submitted form to what the inbox keeps of it."""

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from handlers.blocks import baseline, fixes, grouping, modals, offers
from handlers.blocks.actions import (
    APPROVE,
    EVIDENCE,
    FEEDBACK,
    FEEDBACK_DOWN,
    FEEDBACK_UP,
    GIVE_BACK,
    MORE,
    POSTMORTEM,
    TAKE,
    decode_entry,
    decode_feedback,
    decode_incident,
    decode_value,
)
from remediation.approvals import next_time

Body = Mapping[str, Any]
THUMBS = frozenset({FEEDBACK, FEEDBACK_UP, FEEDBACK_DOWN})
# What a delivery is for the inbox: its kind and its body; None for what is not ours to keep.
Stored = tuple[str, dict[str, Any]] | None


def read_action(body: Body) -> Stored:
    """A click as the inbox keeps it; None for those that only open a modal."""
    action = (body.get("actions") or [{}])[0]
    where = body.get("channel") or {}
    user, channel = str(body["user"]["id"]), str(where.get("id") or body.get("container", {}).get("channel_id", ""))
    if action.get("action_id") == APPROVE and (approve := decode_value(action.get("value"))):
        approval_id, digest = approve
        return "approve", {
            "click": {
                "user": user,
                "channel": channel,
                "approval_id": approval_id,
                "digest": digest,
                "key": key_of(str(body.get("trigger_id")), user),
            }
        }
    chosen = (action.get("selected_option") or {}).get("value") if action.get("action_id") == MORE else None
    pressed = decode_entry(chosen) or action.get("action_id")
    if pressed in {TAKE, GIVE_BACK, POSTMORTEM, EVIDENCE} and (
        incident_id := decode_incident(chosen or action.get("value"))
    ):
        key = key_of(str(body.get("trigger_id")), user)
        return str(pressed), {"click": {"user": user, "channel": channel, "incident_id": incident_id, "key": key}}
    if action.get("action_id") == baseline.OPEN and (
        alert_id := baseline.decode_choice((action.get("selected_option") or {}).get("value"))
    ):
        key = key_of(str(body.get("trigger_id")), user)
        return baseline.OPEN, {"click": {"user": user, "channel": channel, "alert_id": alert_id, "key": key}}
    if action.get("action_id") in {offers.REMEMBER, offers.DECLINE} and (
        number := offers.decode_offer(action.get("value"))
    ):
        key, keep = key_of(str(body.get("trigger_id")), user), action["action_id"] == offers.REMEMBER
        return "decide_offer", {
            "click": {"user": user, "channel": channel, "offer_id": number, "keep": keep, "key": key}
        }
    if action.get("action_id") in THUMBS and (thumb := decode_feedback(action.get("value"))):
        return "feedback", {"feedback": _opinion(thumb.incident_id, user, thumb.value, thumb.answer_id)}
    return None


def read_submission(body: Body, now: datetime) -> Stored:
    """A submitted modal as the inbox keeps it; None for one that its listener answers with what is wrong."""
    view, user = body["view"], str(body["user"]["id"])
    reader = SUBMISSION_READERS.get(str(view.get("callback_id")))
    return reader(view, user, now) if reader else None


def _rejected(view: Body, user: str, _now: datetime) -> Stored:
    rejection = modals.read_rejection(view)
    if rejection is None:
        return None
    return "reject", {
        "click": {
            "user": user,
            "key": key_of(str(view["id"]), user),
            "approval_id": rejection.approval_id,
            "digest": rejection.digest,
            "incident_id": rejection.incident_id,
            "reason": rejection.reason,
            "comment": rejection.comment,
        }
    }


def _commented(view: Body, user: str, _now: datetime) -> Stored:
    said = modals.read_feedback(view)
    if said is None:
        return None
    opinion = _opinion(said.incident_id, user, -1, said.answer_id)
    return "feedback", {"feedback": {**opinion, "comment": said.comment, "reason": said.reason}}


def _opinion(incident_id: int, user: str, value: int, answer_id: int) -> dict[str, Any]:
    return {"incident_id": incident_id, "user": user, "value": value, "answer_id": answer_id or None}


def _about(view: Body, user: str, request: modals.Request) -> dict[str, Any]:
    key = key_of(str(view["id"]), user)
    return {"user": user, "key": key, "approval_id": request.approval_id, "digest": request.digest}


def _edited(view: Body, user: str, _now: datetime) -> Stored:
    request = modals.read_request(view)
    if request is None or not modals.edited_fields(view) or modals.edit_errors(view):
        return None
    return "edit", {"click": {**_about(view, user, request), "values": modals.edited_values(view)}}


def _confirmed(view: Body, user: str, _now: datetime) -> Stored:
    request = modals.read_request(view)
    if request is None:
        return None
    home = {"home": True} if modals.from_home(view) else {}
    return "approve", {"click": {**_about(view, user, request), "channel": "", "confirmed": True, **home}}


def _timed(view: Body, user: str, now: datetime) -> Stored:
    request, when = modals.read_request(view), modals.read_time(view)
    if request is None or when is None:
        return None
    click = {**_about(view, user, request), "at": next_time(now, *when).astimezone(UTC).isoformat()}
    if view.get("callback_id") == modals.SNOOZE_UNTIL:
        return "snooze", {"click": click}
    return "approve", {"click": {**click, "channel": "", "confirmed": True}}


def _regrouped(view: Body, user: str, _now: datetime) -> Stored:
    chosen = grouping.read_regrouping(view)
    if chosen is None:
        return None
    click: dict[str, Any] = {
        "user": user,
        "key": key_of(str(view["id"]), user),
        "channel": "",
        "incident_id": chosen.incident_id,
    }
    return "regroup", {"click": click | ({"into": chosen.into} if chosen.into else {"part": chosen.part})}


def _fix_told(view: Body, user: str, _now: datetime) -> Stored:
    told = fixes.read_fix(view)
    if told is None:
        return None
    about = {"channel": told.channel, "incident_id": told.incident_id, "text": told.text}
    return fixes.REMEMBER_FIX, {"click": {"user": user, "key": key_of(str(view["id"]), user), **about}}


SUBMISSION_READERS: Mapping[str, Callable[[Body, str, datetime], Stored]] = {
    modals.REJECT_REASON: _rejected,
    modals.FEEDBACK_COMMENT: _commented,
    modals.EDIT_PARAMETERS: _edited,
    modals.CONFIRM_TWICE: _confirmed,
    modals.APPROVE_LATER: _timed,
    modals.SNOOZE_UNTIL: _timed,
    grouping.REGROUP: _regrouped,
    fixes.REMEMBER_FIX: _fix_told,
}


def key_of(*parts: str) -> str:
    """A trigger is a secret for as long as it lives: only its digest is kept."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
