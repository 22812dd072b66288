"""Clicks that open a form: what must happen while the person waits, since a trigger lives three seconds."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from handlers import regrouping, replies
from handlers.blocks import grouping, modals
from handlers.blocks.actions import (
    EDIT,
    EVIDENCE,
    GIVE_BACK,
    LATER,
    POSTMORTEM,
    REGROUP,
    SNOOZE,
    TAKE,
    decode_entry,
    decode_feedback,
    decode_incident,
    decode_value,
)
from handlers.decisions import planned_of, shown_digest
from handlers.opening import open_view
from handlers.services import Services
from handlers.view import card_view
from knowledge.errors import Unavailable
from knowledge.model import Approval, ApprovalState, Incident, Plan
from knowledge.store import approvals, incidents, switches
from remediation.approvals import Denied, check_click
from remediation.editing import editable

Body = Mapping[str, Any]
Form = Callable[[Services, Any, Body], Awaitable[None]]


def for_members(form: Form) -> Form:
    """The form for people of our workspace; others, who read a shared channel's card, learn no more than it says."""

    async def opened(services: Services, ack: Any, body: Body) -> None:
        if str(body["user"].get("team_id") or services.people.team_id) == services.people.team_id:
            await form(services, ack, body)
            return
        await ack()
        await open_view(services, body, modals.notice_modal(replies.GUEST))

    return opened


TIMEZONE_S = 1.5


async def open_reject(services: Services, ack: Any, body: Body) -> None:
    await ack()
    decoded = decode_value(body["actions"][0].get("value"))
    async with services.engine.connect() as db:
        approval = await approvals.get(db, decoded[0]) if decoded else None
        incident = await incidents.get(db, approval.incident_id) if approval else None
    view = modals.reject_modal(approval, incident) if approval and incident else modals.notice_modal(replies.CHANGED)
    await open_view(services, body, view)


async def open_twice(services: Services, ack: Any, body: Body) -> None:
    """The second question before an approval counts."""
    await ack()
    found = await _asked_about(services, body["actions"][0].get("value"))
    view = modals.notice_modal(replies.CHANGED)
    if found and found.plan:
        view = modals.twice_modal(found.approval, found.incident, found.plan)
    await open_view(services, body, view)


async def open_more(services: Services, ack: Any, body: Body) -> None:
    """An entry of the card's menu that opens a form; those that open none are stored by the inbox."""
    await ack()
    value = (body["actions"][0].get("selected_option") or {}).get("value")
    entry = decode_entry(value)
    if entry in {TAKE, GIVE_BACK, POSTMORTEM, EVIDENCE}:
        return
    if entry == REGROUP:
        await _open_regroup(services, body, value)
        return
    found = await _asked_about(services, value)
    zone = await _timezone(services, str(body["user"]["id"])) if found and entry in {LATER, SNOOZE} else "UTC"
    view = _form(services, entry, found, zone) if found else modals.notice_modal(replies.CHANGED)
    await open_view(services, body, view)


async def _open_regroup(services: Services, body: Body, value: object) -> None:
    incident_id = decode_incident(value)
    where = str((body.get("channel") or {}).get("id") or "")
    found = incident_id and await regrouping.form(services, incident_id, channel=where, user=str(body["user"]["id"]))
    view = found or modals.notice_modal(grouping.NOTHING)
    await open_view(services, body, view)


async def take_regroup(_services: Services, ack: Any, body: Body) -> None:
    """Where not exactly one thing is chosen that is said in the form, and nothing was stored."""
    errors = grouping.regroup_errors(body["view"])
    if errors:
        await ack(response_action="errors", errors=errors)
    else:
        await ack()


@dataclass(frozen=True, slots=True)
class _Asked:
    """An open request with what it is about. `plan` is None where a newer one has taken its place."""

    approval: Approval
    incident: Incident
    plan: Plan | None


async def _asked_about(services: Services, value: object) -> _Asked | None:
    """What a button's or an entry's value is about; None where it is not asked any more."""
    decoded = decode_value(value)
    async with services.engine.connect() as db:
        approval = await approvals.get(db, decoded[0]) if decoded else None
        incident = await incidents.get(db, approval.incident_id) if approval else None
        if approval is None or incident is None or approval.state is not ApprovalState.OPEN:
            return None
        planned = await planned_of(db, approval)
    return _Asked(approval, incident, planned.plan if planned else None)


async def open_decision(services: Services, ack: Any, body: Body) -> None:
    """From Home: what would be approved, with a button that does so; whoever may not is told why at once.

    The submission goes the way of every approval, and everything is checked again there.
    """
    await ack()
    value = body["actions"][0].get("value")
    found = await _asked_about(services, value)
    view = modals.notice_modal(replies.CHANGED)
    if found and found.plan:
        refusal = await _refusal(services, found, value, str(body["user"]["id"]))
        view = (
            modals.notice_modal(refusal) if refusal else modals.decide_modal(found.approval, found.incident, found.plan)
        )
    await open_view(services, body, view)


async def _refusal(services: Services, found: _Asked, value: object, user: str) -> str:
    """Why this person's approval would not count just now, "" where it would."""
    decoded = decode_value(value)
    try:
        async with asyncio.timeout(TIMEZONE_S):
            person = await services.people.look_up(user)
    except (TimeoutError, Unavailable):
        return "Slack did not say who you are just now. Please try again."
    async with services.engine.connect() as db:
        paused = await switches.paused(db) or services.stopped()
    verdict = check_click(
        found.approval,
        person,
        shown_digest(found.approval, {"digest": decoded[1] if decoded else "?"}),
        now=services.now(),
        policy=services.policy,
        paused=paused,
        action=found.plan.action if found.plan else None,
    )
    return verdict.reason if isinstance(verdict, Denied) else ""


def _form(services: Services, entry: str, found: _Asked, timezone: str) -> dict[str, Any]:
    if entry == LATER:
        return modals.later_modal(found.approval, found.incident, found.plan, timezone)
    if entry == SNOOZE:
        return modals.snooze_modal(found.approval, found.incident, timezone)
    fields = editable(found.plan.action if found.plan else None, services.policy)
    if entry != EDIT or found.plan is None or not fields:
        return modals.notice_modal(replies.NOT_EDITABLE)
    return modals.edit_modal(found.approval, found.incident, found.plan, fields)


async def _timezone(services: Services, user: str) -> str:
    """Where the person says they are; UTC where Slack does not say so in time: the form names the zone."""
    try:
        async with asyncio.timeout(TIMEZONE_S):
            return (await services.people.look_up(user)).timezone
    except (TimeoutError, Unavailable):
        return "UTC"


async def take_edit(_services: Services, ack: Any, body: Body) -> None:
    """What is out of bounds is said under its field, and nothing was stored; everything else is on its way."""
    errors = modals.edit_errors(body["view"])
    if errors:
        await ack(response_action="errors", errors=errors)
    else:
        await ack()


async def open_details(services: Services, ack: Any, body: Body) -> None:
    await ack()
    incident_id = decode_incident(body["actions"][0].get("value"))
    async with services.engine.connect() as db:
        incident = await incidents.get(db, incident_id) if incident_id else None
        view = modals.details_modal(await card_view(db, services, incident)) if incident else None
    await open_view(services, body, view or modals.notice_modal(replies.CHANGED))


async def give_feedback(services: Services, ack: Any, body: Body) -> None:
    """The thumb is stored already; after a thumb down, ask what was wrong."""
    await ack()
    thumb = decode_feedback(body["actions"][0].get("value"))
    if thumb is None or thumb.value > 0:
        return
    async with services.engine.connect() as db:
        incident = await incidents.get(db, thumb.incident_id)
    if incident:
        await open_view(services, body, modals.feedback_modal(incident, thumb.answer_id))
