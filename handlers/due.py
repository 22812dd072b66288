"""An approval whose hour has come: everything is looked at again, and only what is still as it was approved runs."""

from datetime import timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import decisions, facts, flow, taking
from handlers.services import Services
from knowledge.errors import BadInput, Refused, SettingsError
from knowledge.model import Action, Approval, ApprovalState, Incident, IncidentState
from knowledge.store import answers, approvals, audit, incidents
from knowledge.store.answers import StoredPlan
from remediation import recovery, sighting
from remediation.approvals import still_approved
from remediation.remediators import REMEDIATORS

log = structlog.get_logger(__name__)

S = IncidentState
WELL = "the failing thing has recovered"
# An approval for an hour is none for the next one: when nobody was there to run it, or nothing could be looked at, for
# so long, people are asked again.
LATEST = timedelta(minutes=30)
TOO_LATE = "its hour was over before everything could be looked at"


async def run_scheduled(services: Services, approval_id: int) -> None:
    """Run it, or withdraw it with the reason: recovered, changed by hand, no longer allowed, or refused by preflight.

    A crash before the transaction repeats the looks; after it the approval is no longer scheduled.
    """
    async with services.looks.connect() as db:
        approval = await approvals.get(db, approval_id)
        if approval is None or approval.state is not ApprovalState.SCHEDULED or _ahead(approval, services):
            return
        incident = await incidents.get(db, approval.incident_id)
        planned = await decisions.planned_of(db, approval)
        answer = await answers.latest_diagnosis(db, approval.incident_id, final=True)
        firing = await flow.signal_of(db, services, incident) if incident else None
    if incident is None or planned is None or planned.plan.action is None or answer is None:
        return
    action = planned.plan.action
    told_at = incident.last_alert_at
    # What failed may be well again, while the branch or the application that a fix works on tells nothing of it.
    failing = incident.target or action.target
    well = firing is not True and await recovery.is_well(failing, services.clients, now=services.now())
    changed = "" if well else await sighting.changed(action.target, planned.plan.seen, services.clients)
    refused = "" if well or changed else await _refused(services, approval, action)
    async with services.engine.begin() as db:
        incident, current = await decisions.locked(db, approval_id)
        if current is None or incident is None or current.state is not ApprovalState.SCHEDULED:
            return
        if well and incident.last_alert_at != told_at:
            return  # what has told of it since the look would be closed unseen; the next tick looks again
        if well:
            await flow.close(db, services, incident, S.RESOLVED, WELL)
        elif changed:
            await taking.hand_over(
                db, services, incident, why=f"changed since this was approved: {changed}", by="codehealer"
            )
        else:
            refused = refused or await facts.blocked(db, services, incident, planned.plan, answer)
            await _run_or_ask(db, services, incident, current, planned, refused=refused)


def _ahead(approval: Approval, services: Services) -> bool:
    return approval.run_at is not None and approval.run_at > services.now()


async def _refused(services: Services, approval: Approval, action: Action) -> str:
    """Why it may not run now: too late, its approver may not do so any more, or the target is not as it must be."""
    if approval.run_at and services.now() - approval.run_at > LATEST:
        return TOO_LATE
    people = [await services.people.look_up(user) for user in approval.approved_by]
    refusal = still_approved(approval, people, services.policy, action)
    if refusal:
        return refusal
    try:
        ready = await REMEDIATORS[action.name].preflight(action, services.clients)
    except (Refused, BadInput, SettingsError) as error:
        return str(error)
    return "" if ready.ok else ready.reason


async def _run_or_ask(
    db: AsyncConnection,
    services: Services,
    incident: Incident,
    approval: Approval,
    planned: StoredPlan,
    *,
    refused: str,
) -> None:
    if not refused:
        await decisions.carry_out(db, services, incident, approval, planned, by=approval.decided_by)
        return
    log.info("scheduled_not_run", incident_id=incident.id, approval=approval.id, why=refused)
    await audit.record(db, "approval.not_run", incident_id=incident.id, approval=approval.id, why=refused)
    await flow.look_again(db, services, incident, by="codehealer", why=f"not run at its hour: {refused}")
