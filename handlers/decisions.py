"""A person's yes or no to a proposed fix: checked, counted once, and answered privately where it does not count."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import cards, flow, replies
from handlers.blocks.modals import Rejection
from handlers.services import Services
from knowledge.errors import Conflict
from knowledge.model import Approval, ApprovalState, IncidentState, RejectReason
from knowledge.redaction import redact
from knowledge.store import answers, approvals, audit, incidents, switches
from remediation.approvals import Denied, Person, check_click, check_reject

S = IncidentState
MAX_COMMENT = 500


async def approve(services: Services, click: Mapping[str, Any]) -> None:
    """One click on Approve. `click`: user, channel, approval_id, digest (the first 16 digits that were shown), key.

    A crash before the transaction repeats the whole; after it the approval is decided, and a repeat is told so.
    """
    person = await services.people.look_up(click["user"])
    async with services.engine.begin() as db:
        approval = await _locked(db, click["approval_id"])
        if approval is None:
            await _tell(db, click, replies.CHANGED)
            return
        if click["user"] in approval.approved_by and approval.state is ApprovalState.APPROVED:
            return  # the same click, delivered again
        paused = await switches.paused(db) or not services.actions
        digest = approval.digest if approval.digest.startswith(click["digest"]) else ""
        verdict = check_click(approval, person, digest, now=services.now(), policy=services.policy, paused=paused)
        if isinstance(verdict, Denied):
            await _refused(db, click, approval, verdict.reason)
            return
        await approvals.vote(db, approval.id, person.id)
        await audit.record(db, "approval.vote", actor=person.id, incident_id=approval.incident_id, approval=approval.id)
        if verdict.enough:
            await _approved(db, services, approval, person)
        else:
            incident = await incidents.get(db, approval.incident_id)
            if incident:
                await cards.show(db, services, incident)


async def _locked(db: AsyncConnection, approval_id: int) -> Approval | None:
    """The approval, with its incident's row locked before its own: every writer takes them in this order."""
    approval = await approvals.get(db, approval_id)
    if approval is None:
        return None
    await incidents.get(db, approval.incident_id, lock=True)
    return await approvals.get(db, approval_id, lock=True)


async def _approved(db: AsyncConnection, services: Services, approval: Approval, person: Person) -> None:
    incident = await incidents.get(db, approval.incident_id, lock=True)
    planned = await answers.latest_plan(db, approval.incident_id)
    if incident is None or planned is None or planned.id != approval.plan_id:
        return
    if not await approvals.decide(db, approval.id, ApprovalState.APPROVED, by=person.id):
        return
    moved = await incidents.move(db, incident, S.RUNNING)
    if moved is None:
        raise Conflict(f"incident {incident.id} is {incident.state} while its approval was open")
    await flow.start_execution(db, services, moved, approval.id, planned.plan, by=person.id)
    await audit.record(db, "approval.approved", actor=person.id, incident_id=incident.id, approval=approval.id)
    await cards.show(db, services, moved)


async def reject(services: Services, rejection: Rejection, *, user: str, key: str) -> None:
    """A submitted reject modal: the reason teaches, and what is wrong with the fix is a person's now."""
    person = await services.people.look_up(user)
    async with services.engine.begin() as db:
        approval = await _locked(db, rejection.approval_id)
        incident = await incidents.get(db, approval.incident_id) if approval else None
        if approval is None or incident is None:
            return  # erased meanwhile, with its card
        click = {"user": user, "channel": incident.channel or services.channel, "key": key}
        if approval.state is ApprovalState.REJECTED and approval.decided_by == user:
            return  # the same submission, delivered again
        verdict = check_reject(approval, person, now=services.now(), policy=services.policy)
        if isinstance(verdict, Denied):
            await _refused(db, click, approval, verdict.reason)
            return
        comment = redact(rejection.comment)[:MAX_COMMENT]
        reason = f"{rejection.reason}: {comment}" if comment else str(rejection.reason)
        await approvals.decide(db, approval.id, ApprovalState.REJECTED, by=user, reason=reason)
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
    async with services.engine.connect() as db:
        due = await approvals.expired(db)
    for approval_id, incident_id in due:
        async with services.engine.begin() as db:
            incident = await incidents.get(db, incident_id, lock=True)
            if not await approvals.decide(
                db, approval_id, ApprovalState.EXPIRED, by="codehealer", reason="nobody answered"
            ):
                continue
            await audit.record(db, "approval.expired", incident_id=incident_id, approval=approval_id)
            moved = await incidents.move(db, incident, S.ESCALATED) if incident else None
            if moved:
                await cards.show(db, services, moved)
                await cards.call_people(db, services, moved)
                await flow.enqueue(db, services, "page", incident_id)


async def _refused(db: AsyncConnection, click: Mapping[str, Any], approval: Approval, reason: str) -> None:
    await audit.record(
        db, "approval.refused", actor=click["user"], incident_id=approval.incident_id, approval=approval.id, why=reason
    )
    await _tell(db, click, reason)


async def _tell(db: AsyncConnection, click: Mapping[str, Any], text: str) -> None:
    await cards.tell(db, key=click["key"], channel=click["channel"], user=click["user"], text=text)
