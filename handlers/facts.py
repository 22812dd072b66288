"""What a decision rests on, counted in the database, and the decision itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from handlers.services import Services
from knowledge.model import (
    Auto,
    Blocked,
    Decision,
    Diagnosis,
    Execution,
    FailureKind,
    Incident,
    IncidentState,
    Plan,
    Precedent,
    Target,
    Unsure,
)
from knowledge.store import answers, audit, executions, incidents, memory, steers, switches, trust
from knowledge.store.answers import StoredAnswer
from knowledge.store.switches import Around, Switch
from remediation import modes, policy, replay
from remediation.execution import NOT_BEGUN_AGAIN
from remediation.remediators import REMEDIATORS

log = structlog.get_logger(__name__)

LOOP_HOURS = 24.0
# Why an approved fix did not start: by our own people's word, not for what its target looked like.
PAUSED, NARROWED = "CodeHealer was paused before this could start.", "The mode is"
READ_ONLY = "CodeHealer became read-only (policy.yaml: read_only) before this could start."
NOT_BY_ITSELF = "This does not run by itself any more:"
TAKEN = "It is a person's work by now:"
GONE_ON = "The incident went on without this before it could start."
NOBODY_THERE = "Slack cannot be reached, so nobody could see or stop it"
HELD_BACK = (PAUSED, NARROWED, READ_ONLY, NOT_BY_ITSELF, NOT_BEGUN_AGAIN)


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision, what it rested on as it is stored, and whether in automatic mode it would have run by itself."""

    decision: Decision
    rested_on: Mapping[str, Any]
    shadow: bool


async def attempts_on(db: AsyncConnection, target: Target, set_: Around | None = None) -> tuple[policy.Attempt, ...]:
    """What was done to a target and its family of late and since a person resumed it, newest first."""
    set_ = set_ or await switches.around(db, target.family)
    since = set_.resumed.set_at if set_.resumed else None
    past = await executions.recent_on_target(db, target, hours=LOOP_HOURS, since=since)
    return tuple(policy.Attempt(one.action, one.verdict, one.at) for one in past)


def mode_set(services: Services, set_: Around, incident: Incident, target: Target | None) -> str:
    """The mode that people set for this incident's channel, service or environment; "" where they set none."""
    return modes.set_for(
        {scope: str(switch.value) for scope, switch in set_.modes.items()},
        service=target.service if target else incident.service,
        environments=policy.names_of_environment(
            services.policy, target.environment if target else incident.environment
        ),
        channel=incident.channel,
        meant_channel=incident.meant_channel,
    )


async def decide(  # noqa: PLR0917  all that a decision is about
    db: AsyncConnection,
    services: Services,
    incident: Incident,
    answer: Diagnosis | Unsure,
    plan: Plan,
    precedents: Sequence[Precedent],
) -> Decided:  # fmt: skip
    target = plan.action.target if plan.action else incident.target
    facts = await _facts(db, services, incident, answer, plan, precedents)
    decision = policy.decide(plan, answer, target, services.policy, facts)
    in_automatic = policy.decide(plan, answer, target, services.policy, replace(facts, mode="automatic"))
    shadow = isinstance(in_automatic.verdict, Auto) and not isinstance(decision.verdict, Auto)
    return Decided(decision, replay.kept(facts, target, plan.action.name if plan.action else ""), shadow)


async def blocked(
    db: AsyncConnection, services: Services, incident: Incident, plan: Plan, answer: StoredAnswer | None
) -> str:
    """Which rule forbids by now what people approve; "" where their yes is enough, as in a freeze.

    A request may be hours old: the policy may have been read anew, and the hour's fixes may have been made.
    """
    if answer is None or not isinstance(answer.answer, Diagnosis):
        return "the cause is not known any more"
    target = plan.action.target if plan.action else incident.target
    set_ = await switches.around(db, target.family if target else None)
    # No more is counted than can block: the rest only asks for the person who has just said yes, and waits.
    facts = policy.PolicyFacts(
        now=services.now(),
        fixes_last_hour=await executions.count_recent(db, target.service, hours=1) if target else 0,
        paused=set_.paused or services.stopped(),
        trusted=incident.trusted,
        running_on_target=await executions.under_way(db, target, apart_from=0) if target else False,
        attempts=await attempts_on(db, target, set_) if target else (),
        mode=mode_set(services, set_, incident, target),
    )
    verdict = policy.decide(plan, answer.answer, target, services.policy, facts).verdict
    return verdict.why if isinstance(verdict, Blocked) else ""


async def _facts(  # noqa: PLR0917  all that a decision is about
    db: AsyncConnection,
    services: Services,
    incident: Incident,
    answer: Diagnosis | Unsure,
    plan: Plan,
    precedents: Sequence[Precedent],
) -> policy.PolicyFacts:  # fmt: skip
    target = plan.action.target if plan.action else incident.target
    kind = answer.kind if isinstance(answer, Diagnosis) else FailureKind.UNKNOWN
    records = await memory.track_record(db, kind=kind, environment=target.environment if target else "")
    set_ = await switches.around(db, target.family if target else None)
    breaker, automatic = await _breaker(db, services, set_.breaker)
    if not breaker and set_.slack_away:
        breaker = NOBODY_THERE
    return policy.PolicyFacts(
        now=services.now(),
        fixes_last_hour=await executions.count_recent(db, target.service, hours=1) if target else 0,
        paused=set_.paused or services.stopped(),
        flagged=incident.flagged,
        by_hand=incident.by_hand or await _steered(db, incident.id),
        trusted=incident.trusted,
        running_on_target=await executions.under_way(db, target, apart_from=0) if target else False,
        attempts=await attempts_on(db, target, set_) if target else (),
        record=records.get(plan.action.name) if plan.action else None,
        # Another kind's precedents are shown to people; how they ended says nothing about a fix for this one.
        precedents=tuple(one for one in precedents if one.item.kind is kind),
        mode=mode_set(services, set_, incident, target),
        earned=await _earned(db, case_of(kind, plan)),
        automatic_last_hour=automatic.last_hour,
        failures_in_a_row=automatic.failures_in_a_row,
        breaker=breaker,
    )


async def _steered(db: AsyncConnection, incident_id: int) -> str:
    """Why a fix for what a person has led the diagnosis to is a person's to start; "" where nobody did."""
    found = await steers.latest(db, incident_id)
    return f"{found.set_by} steered the diagnosis" if found else ""


def case_of(kind: FailureKind | None, plan: Plan) -> trust.Case | None:
    """What trust is earned for; None where there is nothing to trust, and for what never counts."""
    if kind is None or plan.action is None or not plan.action.target.service:
        return None
    if not REMEDIATORS[plan.action.name].counts:
        return None
    return trust.Case(kind, plan.action.name, plan.action.target.service, plan.action.target.environment)


async def _earned(db: AsyncConnection, case: trust.Case | None) -> str:
    said = await trust.of(db, case) if case else None
    return f"{said.evidence}, granted by {said.set_by}" if said and said.state == "granted" else ""


def read_only(services: Services) -> str:
    """Why nothing at all is sent, as a clause; "" where it is."""
    if not services.actions:
        return "CodeHealer is read-only (CODEHEALER_ACTIONS=false)"
    return "CodeHealer is read-only (policy.yaml: read_only)" if services.policy.read_only else ""


async def held_back(db: AsyncConnection, services: Services, current: Execution, *, again: bool = False) -> str:
    """Why a queued execution may not start any more, or (`again`) one that a crash kept from acting; else ""."""
    incident = await incidents.get(db, current.incident_id)
    if incident is None or incident.state is not IncidentState.RUNNING or await executions.superseded(db, current):
        return GONE_ON
    # Who takes an incident over refuses what is queued in that transaction, and leaves what has started.
    if again and incident.by_hand and await audit.taken_since_queued(db, incident.id):
        return f"{TAKEN} {incident.by_hand}."
    set_ = await switches.around(db, current.action.target.family)
    if set_.paused or services.stopped():
        return PAUSED
    if services.policy.read_only:
        return READ_ONLY
    automatic = await executions.is_automatic(db, current.id)
    if why := await _narrowed(db, services, incident, current, set_, automatic=automatic):
        return why
    return await _stopped(db, services, incident, set_, again=again) if automatic else ""


def left_to_a_person(incident: Incident, refusal: str) -> bool:
    """Whether an execution was refused since somebody had taken its incident over before it could begin."""
    taken = (executions.not_started(incident.by_hand), f"{NOT_BEGUN_AGAIN} {TAKEN}")
    return bool(incident.by_hand) and refusal.startswith(taken)


async def _stopped(db: AsyncConnection, services: Services, incident: Incident, set_: Around, *, again: bool) -> str:
    """Why what policy alone started does not run any more: taken by a person, flagged, or stopped by the breaker.

    The breaker stops no second start (`again`): it counts the first.
    """
    if incident.by_hand:
        return f"{NOT_BY_ITSELF} {incident.by_hand}."
    if incident.flagged:
        return f"{NOT_BY_ITSELF} instructions were found in the evidence."
    # By what has started alone: it was counted with the rest of the queue when it was decided.
    why = "" if again else (await _breaker(db, services, set_.breaker, queued=False))[0]
    if not why and set_.slack_away:
        why = NOBODY_THERE
    return f"{NOT_BY_ITSELF} {why}." if why else ""


async def _narrowed(
    db: AsyncConnection, services: Services, incident: Incident, current: Execution, set_: Around, *, automatic: bool
) -> str:
    """Why the mode no longer lets a queued execution start, "" while it does: what people narrowed holds at once."""
    target = current.action.target
    mode = policy.mode_of(services.policy, target, mode_set(services, set_, incident, target))
    if automatic and mode == "approve":
        planned = await answers.latest_plan(db, incident.id)
        case = case_of(incident.kind, planned.plan) if planned else None
        mode = policy.mode_with_trust(mode, await _earned(db, case))
    needed = "automatic" if automatic else "approve"
    if policy.MODES.index(mode) >= policy.MODES.index(needed):
        return ""
    return f"{NARROWED} {mode} by now, and starting this takes {needed}; nothing was done."


async def _breaker(
    db: AsyncConnection, services: Services, switch: Switch | None, *, queued: bool = True
) -> tuple[str, executions.Automatic]:
    """Why nothing runs by itself, "" while it may, and the counts behind it.

    Once tripped it stays so until a person resumes: the hour's count would run off by itself, and begin again.
    """
    since = switch.set_at if switch and not switch.value else None
    automatic = await executions.automatic_of_late(db, since=since, queued=queued)
    if switch and switch.value:
        return str(switch.value), automatic
    why = policy.breaker_trips(services.policy.limits, automatic.last_hour, automatic.failures_in_a_row)
    if why:
        await switches.write(db, switches.BREAKER, why, by="codehealer")
        await audit.record(db, "switch.breaker", value=why)
        log.warning("breaker_tripped", why=why)
    return why, automatic
