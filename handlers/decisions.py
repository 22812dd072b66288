"""A person's yes or no to a proposed fix: checked, counted once, and answered privately where it does not count."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import cards, facts, flow, later, replies, taking
from handlers.blocks.modals import Rejection
from handlers.services import Services
from knowledge.errors import Conflict
from knowledge.model import Approval, ApprovalState, Incident, IncidentState, RejectReason
from knowledge.redaction import redact
from knowledge.store import answers, approvals, audit, incidents, outbox, switches
from knowledge.store.answers import StoredPlan
from remediation import sighting
from remediation.approvals import Allowed, Denied, Person, check_click, check_reject, may_decide, still_approved

S = IncidentState
MAX_COMMENT = 500


async def approve(services: Services, click: Mapping[str, Any]) -> None:
    """One click on Approve, or one submission that approves.

    `click`: user, channel ("" is the card's), approval_id, digest (the first 16 digits that were shown), key; `at`
    (ISO) where it is for later, and `confirmed` where the person was asked a second time.

    A crash before the transaction repeats the whole; after it the approval is decided, and a repeat is told so.
    """
    person = await services.people.look_up(click["user"])
    changed, earlier = await _looked(services, click, person)
    async with services.engine.begin() as db:
        incident, approval = await locked(db, click["approval_id"])
        if incident is None or approval is None:
            await tell(db, click, replies.CHANGED)
            return
        if await approvals.was_counted(db, approval.id, click["key"]):
            return  # the same click, delivered again
        planned = await planned_of(db, approval)
        paused = await switches.paused(db) or services.stopped()
        verdict = check_click(
            approval,
            person,
            shown_digest(approval, click),
            now=services.now(),
            policy=services.policy,
            paused=paused,
            action=planned.plan.action if planned else None,
        )
        if isinstance(verdict, Denied):
            await refuse(db, click, approval, verdict.reason)
        elif planned and planned.plan.twice and not click.get("confirmed"):
            await refuse(db, click, approval, replies.ASKED_TWICE)
        elif changed:
            why = f"changed since this was proposed: {changed}"
            await taking.hand_over(db, services, incident, why=why, by=click["user"])
            await refuse(db, click, approval, f"Nothing was started: since this was proposed, {changed}.")
        elif (
            planned
            and _starts(services, approval, click, verdict)
            and (why := await _not_now(db, services, incident, approval, planned, {**earlier, person.id: person}))
        ):
            await refuse(db, click, approval, why)
        else:
            await _count(db, services, incident, planned, person, click=click, enough=verdict.enough)


async def _looked(services: Services, click: Mapping[str, Any], person: Person) -> tuple[str, Mapping[str, Person]]:
    """For a click that may count: what has changed at the target since it was proposed, and who said yes before."""
    async with services.looks.connect() as db:
        approval = await approvals.get(db, click["approval_id"])
        if approval is None or approval.state is not ApprovalState.OPEN:
            return "", {}
        planned = await planned_of(db, approval)
    if planned is None or planned.plan.action is None:
        return "", {}
    if may_decide(approval, person, services.policy, planned.plan.action):
        return "", {}
    changed = await sighting.changed(planned.plan.action.target, planned.plan.seen, services.clients)
    return changed, {user: await services.people.look_up(user) for user in approval.approved_by}


def _starts(services: Services, approval: Approval, click: Mapping[str, Any], verdict: Allowed) -> bool:
    """Whether this yes starts the fix now; what is approved for later is looked at again at its hour."""
    hours = approval.run_at, datetime.fromisoformat(click["at"]) if click.get("at") else None
    return verdict.enough and not any(hour and hour > services.now() for hour in hours)


async def _not_now(  # noqa: PLR0917  all that the last yes depends on
    db: AsyncConnection,
    services: Services,
    incident: Incident,
    approval: Approval,
    planned: StoredPlan,
    people: Mapping[str, Person],
) -> str:  # fmt: skip
    """Why the last yes starts nothing: an earlier one does not count any more, or a rule of this moment forbids it.

    The request stays as it is: what blocks may pass (an hour's limit, another fix, a line of the file).
    """
    if planned.plan.action is None:
        return ""
    # A yes that came after the look was itself looked up a moment ago, and is remembered.
    earlier = [people.get(user) or await services.people.look_up(user) for user in approval.approved_by]
    voters = {one.id: one for one in (*earlier, *people.values())}
    why = still_approved(approval, list(voters.values()), services.policy, planned.plan.action)
    if why:
        return replies.NOT_ENOUGH.format(why=why)
    answer = await answers.latest_diagnosis(db, incident.id, final=True)
    why = await facts.blocked(db, services, incident, planned.plan, answer)
    return replies.FORBIDDEN.format(why=why) if why else ""


async def _count(
    db: AsyncConnection,
    services: Services,
    incident: Incident,
    planned: StoredPlan | None,
    person: Person,
    *,
    click: Mapping[str, Any],
    enough: bool,
) -> None:
    """A yes that counts: noted, and where it is the last one needed, carried out or kept for its hour."""
    at = str(click.get("at") or "")
    run_at = datetime.fromisoformat(at) if at else None
    number = click["approval_id"]
    counted = await approvals.vote(db, number, person.id, click=click["key"], run_at=run_at)
    await audit.record(db, "approval.vote", actor=person.id, incident_id=incident.id, approval=number, at=at)
    if counted is None:
        return
    if not enough:
        await cards.show(db, services, incident)
    elif counted.run_at and counted.run_at > services.now():
        await later.schedule(db, services, incident, counted, by=person.id)
    elif planned:
        await carry_out(db, services, incident, counted, planned, by=person.id)


async def locked(db: AsyncConnection, approval_id: int) -> tuple[Incident | None, Approval | None]:
    """The approval with its incident, whose row is locked before its own: every writer takes them in this order."""
    incident = await incidents.locked_of_approval(db, approval_id)
    return incident, await approvals.get(db, approval_id, lock=True) if incident else None


async def planned_of(db: AsyncConnection, approval: Approval) -> StoredPlan | None:
    """The plan that the approval is for; None where a newer one has taken its place."""
    planned = await answers.latest_plan(db, approval.incident_id)
    return planned if planned and planned.id == approval.plan_id else None


def shown_digest(approval: Approval, click: Mapping[str, Any]) -> str:
    """The approval's digest where the person saw its beginning, else one that fits nothing."""
    return approval.digest if approval.digest.startswith(click["digest"]) else ""


async def carry_out(
    db: AsyncConnection, services: Services, incident: Incident, approval: Approval, planned: StoredPlan, *, by: str
) -> None:
    """Close an open, or a due, request with a yes, and queue its one execution; all in the caller's transaction."""
    if not await approvals.decide(db, approval.id, ApprovalState.APPROVED, by=by, of=approvals.STILL_ASKED):
        return
    moved = await incidents.move(db, incident, S.RUNNING)
    if moved is None:
        raise Conflict(f"incident {incident.id} is {incident.state} while its approval was open")
    await flow.start_execution(db, services, moved, approval.id, planned.plan, by=by)
    await audit.record(db, "approval.approved", actor=by, incident_id=incident.id, approval=approval.id)
    await cards.show(db, services, moved)


async def reject(services: Services, rejection: Rejection, *, user: str, key: str) -> None:
    """A submitted reject modal: the reason teaches, and what is wrong with the fix is a person's now."""
    person = await services.people.look_up(user)
    async with services.engine.begin() as db:
        incident, approval = await locked(db, rejection.approval_id)
        if approval is None or incident is None:
            return  # erased meanwhile, with its card
        click = {"user": user, "channel": incident.channel or services.channel, "key": key}
        if await approvals.was_counted(db, approval.id, key):
            return  # the same submission, delivered again
        planned = await planned_of(db, approval)
        action = planned.plan.action if planned else None
        verdict = check_reject(approval, person, now=services.now(), policy=services.policy, action=action)
        if isinstance(verdict, Denied):
            await refuse(db, click, approval, verdict.reason)
            return
        comment = redact(rejection.comment)[:MAX_COMMENT]
        reason = f"{rejection.reason}: {comment}" if comment else str(rejection.reason)
        await approvals.decide(
            db, approval.id, ApprovalState.REJECTED, by=user, reason=reason, click=key, of=approvals.STILL_ASKED
        )
        await audit.record(
            db, "approval.rejected", actor=user, incident_id=approval.incident_id, approval=approval.id, reason=reason
        )
        # While the failure lasts the incident stays open: closing it would let its next alert open another card.
        state = S.DISMISSED if rejection.reason is RejectReason.ALREADY_FIXED else S.ESCALATED
        moved = await incidents.move(db, incident, state)
        if moved:
            await cards.show(db, services, moved)
            await flow.enqueue(db, services, "learn", incident.id)
            if not moved.open:
                await flow.enqueue(db, services, "stand_down", incident.id)


async def expire(services: Services) -> None:
    """Close the requests whose time is over; the incidents become a person's work."""
    async with services.looks.connect() as db:
        due = await approvals.expired(db)
    for approval_id, incident_id in due:
        async with services.engine.begin() as db:
            incident = await incidents.get(db, incident_id, lock=True)
            # Put off since it was found: a snooze moves its end.
            still_due = (approval_id, incident_id) in await approvals.expired(db)
            if not still_due or not await approvals.decide(
                db, approval_id, ApprovalState.EXPIRED, by="codehealer", reason="nobody answered"
            ):
                continue
            await audit.record(db, "approval.expired", incident_id=incident_id, approval=approval_id)
            moved = await incidents.move(db, incident, S.ESCALATED) if incident else None
            if moved:
                await cards.show(db, services, moved)
                await cards.call_people(db, services, moved)
                await flow.enqueue(db, services, "page", incident_id)


async def refuse(db: AsyncConnection, click: Mapping[str, Any], approval: Approval, reason: str) -> None:
    """Say privately why a click does not count, and note it."""
    await audit.record(
        db, "approval.refused", actor=click["user"], incident_id=approval.incident_id, approval=approval.id, why=reason
    )
    place = await outbox.card_place(db, approval.incident_id)
    await tell(db, {**click, "channel": click["channel"] or (place.channel if place else "")}, reason)


async def tell(db: AsyncConnection, click: Mapping[str, Any], text: str) -> None:
    """A sentence for whoever clicked alone; from Home, where no channel is looked at, directly."""
    if click.get("home"):
        await cards.tell_directly(db, key=click["key"], user=click["user"], text=text)
        return
    await cards.tell(db, key=click["key"], channel=click["channel"], user=click["user"], text=text)
