"""Incidents that end by themselves, and those whose job was given up: every incident ends."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from handlers import cards, flow
from handlers.services import Services
from knowledge.lifecycle import closes_by_itself
from knowledge.model import Incident, IncidentState, Target
from knowledge.store import audit, executions, incidents
from remediation import recovery

S = IncidentState

RUN = "WorkflowRun"
# A look at a run costs two requests of the 5,000 that GitHub gives a token in an hour, for all that it is used for.
RUN_EVERY = timedelta(minutes=5)
RUNS_A_TICK = 2


async def recheck_open(services: Services) -> None:
    """Close what has been well for a while, where no source of alerts says when it is over."""
    async with services.looks.connect() as db:
        open_ones = await incidents.any_with_target(db, [state for state in S if closes_by_itself(state)], most=200)
        firing = await incidents.firing(db, [one.id for one in open_ones])
    for incident in _due(services, [one for one in open_ones if not firing.get(one.id)]):
        if incident.target is None:
            continue
        if not await _is_well(services, incident, incident.target):
            continue
        async with services.engine.begin() as db:
            current = await incidents.get(db, incident.id, lock=True)
            # What has told of it since the look would be closed unseen.
            if current and closes_by_itself(current.state) and current.last_alert_at == incident.last_alert_at:
                await flow.close(db, services, current, S.RESOLVED, "The failing thing has recovered by itself.")


async def _is_well(services: Services, incident: Incident, target: Target) -> bool:
    """Whether the target is well, and what else of its kind was told of: one commit may have several red runs."""
    if not await recovery.is_well(target, services.clients, now=services.now()):
        return False
    if target.kind != RUN:
        return True
    async with services.looks.connect() as db:
        told = await incidents.alerts_of(db, incident.id, source="github")
    others = {
        one.run_id for one in told if one.trusted and one.repository == target.repository and one.run_id.isdecimal()
    }
    for number in sorted(others - {target.name}):
        if not await recovery.is_well(replace(target, name=number), services.clients, now=services.now()):
            return False
    return True


def _due(services: Services, open_ones: Sequence[Incident]) -> list[Incident]:
    """Those to look at now: of runs of GitHub Actions a few, the one first that was not looked at for longest."""
    now, looks = services.now(), services.run_looks
    runs = [one for one in open_ones if one.target and one.target.kind == RUN]
    for closed in looks.keys() - {one.id for one in runs}:
        del looks[closed]
    # Either way: the clock may have been set back.
    due = [one for one in runs if one.id not in looks or abs(now - looks[one.id]) >= RUN_EVERY]
    due.sort(key=lambda one: looks[one.id].timestamp() if one.id in looks else 0.0)
    looks |= {one.id: now for one in due[:RUNS_A_TICK]}
    return [*(one for one in open_ones if one not in runs), *due[:RUNS_A_TICK]]


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
