"""Incidents that end by themselves, and those whose job was given up: every incident ends."""

from handlers import cards, flow
from handlers.services import Services
from knowledge.lifecycle import closes_by_itself
from knowledge.model import IncidentState
from knowledge.store import audit, executions, incidents
from remediation import recovery

S = IncidentState


async def recheck_open(services: Services) -> None:
    """Close what has been well for a while, where no source of alerts says when it is over."""
    async with services.looks.connect() as db:
        open_ones = await incidents.any_with_target(db, [state for state in S if closes_by_itself(state)], most=200)
        firing = await incidents.firing(db, [one.id for one in open_ones])
    for incident in open_ones:
        if incident.target is None or firing.get(incident.id):
            continue
        well = await recovery.is_well(incident.target, services.clients, now=services.now())
        if not well:
            continue
        async with services.engine.begin() as db:
            current = await incidents.get(db, incident.id, lock=True)
            # What has told of it since the look would be closed unseen.
            if current and closes_by_itself(current.state) and current.last_alert_at == incident.last_alert_at:
                await flow.close(db, services, current, S.RESOLVED, "The failing thing has recovered by itself.")


# Where an incident waits for a job of ours, and what it becomes when that job was given up.
LEFT_ALONE = {
    S.DETECTED: S.ESCALATED,
    S.DIAGNOSING: S.ESCALATED,
    S.RUNNING: S.ESCALATED,
    S.VERIFYING: S.NOT_VERIFIED,
}
GIVEN_UP = "the job that was to carry it out was given up"


async def rescue_left_alone(services: Services) -> None:
    """Hand an incident to people when the job that it waits for was given up: every incident ends."""
    async with services.looks.connect() as db:
        waiting = await incidents.in_states(db, list(LEFT_ALONE))
    busy = await services.jobs.busy([f"incident:{incident.id}" for incident in waiting])
    for incident in waiting:
        if f"incident:{incident.id}" in busy:
            continue
        async with services.engine.begin() as db:
            current = await incidents.get(db, incident.id, lock=True)
            if current is None or current.revision != incident.revision:
                continue
            moved = await incidents.move(db, current, LEFT_ALONE[current.state])
            if moved:
                # A job that is retried hours later must not start what people have taken over meanwhile.
                held = await executions.hold_back(db, incident.id, GIVEN_UP)
                await audit.record(
                    db, "incident.left_alone", incident_id=incident.id, state=incident.state, held_back=held
                )
                await cards.show(db, services, moved)
                await cards.call_people(db, services, moved)
                await flow.enqueue(db, services, "page", incident.id)
