"""Requests and time: approved for an hour, put off, unanswered.

The database says what is due and each step is one compare-and-set, so it happens once however often the clock asks,
and a crash between two steps is made up for at the next tick.
"""

from collections.abc import Sequence
from datetime import timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import cards, flow, muting, taking
from handlers.services import Services
from knowledge.errors import Unavailable
from knowledge.model import Approval, ApprovalState, Incident, IncidentState
from knowledge.severity import CRITICAL
from knowledge.store import approvals, audit, incidents, personal
from knowledge.store.approvals import Unanswered
from knowledge.store.personal import Personal
from remediation import routes
from remediation.approvals import unanswered

log = structlog.get_logger(__name__)

S = IncidentState
OVERDUE = timedelta(hours=1)
NOT_STARTED = "approved for an hour that passed without it; something is wrong with the bot, see its log"
AGAIN = "the time it was put off to has come"


async def schedule(db: AsyncConnection, services: Services, incident: Incident, approval: Approval, *, by: str) -> None:
    """Keep an approval for its hour: the last yes that was needed came with a time."""
    if not await approvals.decide(db, approval.id, ApprovalState.SCHEDULED, by=by):
        return
    at = approval.run_at.isoformat() if approval.run_at else ""
    await audit.record(db, "approval.scheduled", actor=by, incident_id=incident.id, approval=approval.id, at=at)
    # The same state once more: what called people to it is settled now.
    moved = await incidents.move(db, incident, incident.state)
    await cards.show(db, services, moved or incident)


async def start_due(services: Services) -> None:
    """Give each approval whose hour has come a job of its own, which looks again before it runs."""
    async with services.looks.connect() as db:
        due = await approvals.scheduled_due(db)
    for approval_id, incident_id in due:
        async with services.engine.begin() as db:
            await services.jobs.enqueue(
                db, "run_scheduled", lock=f"incident:{incident_id}", once=f"scheduled:{approval_id}",
                approval_id=approval_id,
            )  # fmt: skip


async def give_up_overdue(services: Services) -> None:
    """Hand what could not even be tried for an hour to people: its job was given up again and again."""
    async with services.looks.connect() as db:
        stuck = await approvals.scheduled_due(db, ago=OVERDUE)
    for approval_id, incident_id in stuck:
        async with services.engine.begin() as db:
            incident = await incidents.get(db, incident_id, lock=True)
            approval = await approvals.get(db, approval_id, lock=True)
            if incident and approval and approval.state is ApprovalState.SCHEDULED:
                log.error("scheduled_given_up", incident_id=incident_id, approval=approval_id)
                await taking.hand_over(db, services, incident, why=NOT_STARTED, by="codehealer")


async def ask_again(services: Services) -> None:
    """Look again at what was put off until now: what it then proposes is asked anew."""
    async with services.looks.connect() as db:
        due = await approvals.snoozes_over(db)
    for approval_id, incident_id in due:
        async with services.engine.begin() as db:
            incident = await incidents.get(db, incident_id, lock=True)
            approval = await approvals.get(db, approval_id, lock=True)
            if incident and approval and approval.state is ApprovalState.OPEN and approval.snoozed_until:
                await flow.look_again(db, services, incident, by=approval.snoozed_by, why=AGAIN)


async def remind(services: Services) -> None:
    """Remind those who were asked, and later ring the pager, where nobody answers.

    The pager goes first and asks nothing of Slack: what nobody can be reminded of now is rung for all the same.
    """
    async with services.looks.connect() as db:
        silent = await approvals.unanswered(db)
    limits, now = services.policy.limits, services.now()
    due = [(one, *unanswered(one.asked_at, one.severity, limits, now)) for one in silent]
    for one, _, to_page in due:
        if to_page and not one.paged:
            await _page(services, one)
    for one, to_remind, _ in due:
        if to_remind and not one.reminded:
            try:
                await _remind(services, one)
            except Unavailable as error:  # the next tick tries again
                log.warning("not_reminded", incident_id=one.incident_id, approval=one.id, error=str(error))


async def _remind(services: Services, silent: Unanswered) -> None:
    async with services.looks.connect() as db:
        approval = await approvals.get(db, silent.id)
        incident = await incidents.get(db, silent.incident_id)
        muted = incident is not None and await muting.quiet_about(db, services, incident)
    if approval is None or incident is None or muted or _quiet(services, incident):
        return  # once it is no longer quiet they are reminded
    people = await awake(services, await cards.people_asked(services, approval), severity=silent.severity)
    link = await cards.link_of(services, incident.id)
    async with services.engine.begin() as db:
        if await approvals.mark_reminded(db, silent.id):
            await audit.record(db, "approval.reminded", incident_id=incident.id, approval=silent.id, people=people)
            await cards.remind(db, services, incident, approval, people=people, link=link)


async def awake(services: Services, people: Sequence[str], *, severity: str) -> list[str]:
    """Those of the people who want reminders and are not in their quiet hours; critical ones wake all who do."""
    async with services.looks.connect() as db:
        chosen = await personal.of_all(db, people)
    now, wakes = services.now(), severity.lower() in CRITICAL
    settings = {user: chosen.get(user, Personal()) for user in people}
    return [user for user in people if settings[user].reminders and (wakes or not settings[user].quiet_for(now))]


def _quiet(services: Services, incident: Incident) -> bool:
    """Whether nobody is to be mentioned now; who still has not answered is reminded when that is over."""
    route = routes.route_of(services.policy, routes.subject_of(services.policy, incident))
    return bool(routes.quiet_until(route, incident.severity, services.now()))


async def _page(services: Services, silent: Unanswered) -> None:
    async with services.engine.begin() as db:
        if await approvals.mark_paged(db, silent.id):
            await audit.record(db, "approval.paged", incident_id=silent.incident_id, approval=silent.id)
            await flow.enqueue(db, services, "page", silent.incident_id)
