"""Incidents that end by themselves, and those whose job was given up: every incident ends."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import cards, flow
from handlers.services import Services
from handlers.sources import kubernetes
from knowledge.errors import CodeHealerError
from knowledge.lifecycle import closes_by_itself
from knowledge.model import Alert, AlertStatus, Incident, IncidentState
from knowledge.store import audit, executions, incidents
from remediation import recovery

S = IncidentState

RUN = "WorkflowRun"
# A look at a run costs two requests of the 5,000 that GitHub gives a token in an hour, for all that it is used for.
RUN_EVERY = timedelta(minutes=5)
RUNS_A_TICK = 2
WATCH = "kubernetes"
WATCHED_A_TICK = 50
MOST_TOLD = 100
# Senders whose word ends an incident.
TOLD_OF_ENDS = frozenset({*incidents.TELL_THE_END, "argocd", "flux"})

# By cluster and namespace what fails there, None where that cannot be told.
Places = dict[tuple[str, str], set[str] | None]


async def recheck_open(services: Services) -> None:
    """Close what has been well for a while, where no source of alerts says when it is over."""
    async with services.looks.connect() as db:
        states = [state for state in S if closes_by_itself(state)]
        open_ones = [
            *await incidents.any_with_target(db, states, most=200),
            *await incidents.any_without_target(db, states, source=WATCH, most=WATCHED_A_TICK),
        ]
        firing = await incidents.firing(db, [one.id for one in open_ones])
    places: Places = {}
    for incident in _due(services, [one for one in open_ones if not firing.get(one.id)]):
        if not await _is_well(services, incident, places):
            continue
        async with services.engine.begin() as db:
            current = await incidents.get(db, incident.id, lock=True)
            # What has told of it since the look would be closed unseen.
            if current and closes_by_itself(current.state) and current.last_alert_at == incident.last_alert_at:
                await flow.close(db, services, current, S.RESOLVED, "The failing thing has recovered by itself.")


async def _is_well(services: Services, incident: Incident, places: Places) -> bool:
    """Whether its target is well, and what else of its kind was told of: one commit may have several red runs."""
    target = incident.target
    if target is None:
        return await _pods_are_over(services, incident, places)
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


async def _pods_are_over(services: Services, incident: Incident, places: Places) -> bool:
    """Whether each pod that the watch told of is gone or well, and so is every other pod of the same owner.

    A pod is followed by others, which fail as it did and are told of some time later.
    """
    async with services.looks.connect() as db:
        told = await _without_an_end(db, incident)
    if not _are_pods(told):
        return False
    for place in sorted({(one.cluster, one.namespace) for one in told}):
        if place not in places:
            places[place] = await _failing_in(services, *place)
        failing = places[place]
        here = {name for one in told if (one.cluster, one.namespace) == place for name in (one.workload, one.owner)}
        if failing is None or here & failing:
            return False
    return True


async def _failing_in(services: Services, name: str, namespace: str) -> set[str] | None:
    """The pods there that are not surely well, and their owners; None where it cannot be told."""
    cluster, found = services.clients.cluster, set()
    if cluster is None:
        return None
    try:
        for pod in await cluster.list(name, "Pod", namespace):
            (one,) = kubernetes.parse({"clusterName": name, **pod}, {})
            if not recovery.is_pod_over(pod, services.now()):
                found |= {one.workload, one.owner} - {""}
    except CodeHealerError:
        return None
    return found


async def ends_by_itself(db: AsyncConnection, incident: Incident) -> bool:
    """Whether somebody tells when an incident is over, or the live system can be asked."""
    if incident.target is not None:
        return True
    told = await incidents.alerts_of(db, incident.id, limit=MOST_TOLD)
    return any(one.source in TOLD_OF_ENDS for one in told) or _are_pods(await _without_an_end(db, incident))


async def _without_an_end(db: AsyncConnection, incident: Incident) -> list[Alert]:
    """What an incident was told of by senders that do not tell the end."""
    told = await incidents.alerts_of(db, incident.id, limit=MOST_TOLD)
    return [one for one in told if one.status is AlertStatus.FIRING and one.source not in incidents.TELL_THE_END]


def _are_pods(told: Sequence[Alert]) -> bool:
    return bool(told) and all(
        one.source == WATCH and one.trusted and one.namespace and one.target.get("kind") == "Pod" for one in told
    )


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
