"""What a click says: the ids of the buttons and menus, and the values they carry, written and read back.

A value holds ids only, since anybody in the channel can read it; what comes back is read as foreign.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from knowledge.model import Approval

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


@dataclass(frozen=True, slots=True)
class Thumb:
    """What a feedback button says: +1 or -1, of which incident's answer; `answer_id` 0 where it names none."""

    incident_id: int
    value: int
    answer_id: int = 0


def encode(**fields: int | str) -> str:
    """A button's value: compact JSON with ids only, since anybody in the channel can read it."""
    return json.dumps(fields, separators=(",", ":"))


def approval_value(approval: Approval) -> str:
    """What approve and reject carry: the approval's id and the first 16 hex digits of its digest."""
    return encode(a=approval.id, d=approval.digest[:16])


def decode_value(value: object) -> tuple[int, str] | None:
    """Approval id and the first 16 digits of the digest that the person saw; None when it is not one of ours."""
    fields = decode_fields(value)
    number, digest = _id(fields.get("a")), fields.get("d")
    if number is None or not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{16}", digest):
        return None
    return number, digest


def decode_incident(value: object) -> int | None:
    """The incident of a details button's value."""
    return _id(decode_fields(value).get("i"))


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
    return _id(decode_fields(value).get("d")) or 0


def decode_fields(value: object) -> Mapping[str, object]:
    """The JSON object in a value or private metadata of at most 3,000 characters; empty when there is none."""
    if not isinstance(value, str) or len(value) > 3000:
        return {}
    try:
        fields = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _id(number: object) -> int | None:
    """The number where it can be one of the database's ids."""
    if not isinstance(number, int) or isinstance(number, bool):
        return None
    return number if 0 < number < 2**63 else None
