"""The story of one failure, in order. A newcomer starts to read here.

    delivery → alert → incident → evidence → diagnosis → plan → decision → card → approval → execution → verification
    → lesson

Each stage stores what it found and asks for the next stage in one transaction, and may run twice: it first looks
whether its work is still to be done. What people see is written into the outbox in that same transaction. Looking and
acting happen outside of transactions; deciding is pure and lies elsewhere (correlation, planning, policy, approvals,
verification). What follows an end is beside this file: the lesson (learning.py), the pager (paging.py), and incidents
that recover by themselves or were left alone (tending.py).
"""

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import (
    baseline,
    cards,
    facts,
    first_look,
    hushing,
    joining,
    learning,
    muting,
    reading,
    regrouping,
    routing,
    slack_search,
    storms,
    taking,
    threads,
    trusting,
)
from handlers.mentions import QUESTION_SOURCE, Question, alert_of, asked_with_text, service_named
from handlers.services import Services
from handlers.sources import SOURCES, fields
from knowledge import correlation, diagnosis, steering
from knowledge.calibration import Outcomes
from knowledge.choices import Choice
from knowledge.correlation import AlertKeys
from knowledge.injection import injection_suspected
from knowledge.lifecycle import closes_by_itself
from knowledge.model import (
    Alert,
    AlertStatus,
    Ask,
    Auto,
    Decision,
    Diagnosis,
    Evidence,
    EvidenceKind,
    Execution,
    ExecutionState,
    FailureKind,
    Incident,
    IncidentState,
    Outcome,
    Plan,
    Precedent,
    Target,
    Unsure,
    Verification,
)
from knowledge.passages import passage
from knowledge.recall import recall
from knowledge.redaction import redact, redact_value
from knowledge.severity import CRITICAL as SEVERE
from knowledge.store import answers, approvals, audit, deliveries, executions, held, incidents, memory, signals, steers
from knowledge.store.codec import to_json
from knowledge.store.threads import Asked
from remediation import context, evidence, execution, planning, policy, recovery, sighting, targets, verification
from remediation.remediators import REMEDIATORS

log = structlog.get_logger(__name__)

S = IncidentState
ALERTS, QUESTION, MESSAGE = deliveries.ALERTS, "question", "message"
SLACK = "slack"
MOST_BURIED_CHARS = 256 * 1024
WRONG_TARGET = (
    "people said of this failure that its fix would change the wrong thing; correct the services table, or what is "
    "remembered of it (codehealer incidents update)"
)


# --- delivery ---------------------------------------------------------------------------------------------------


async def accept_alerts(services: Services, alerts: Sequence[Alert], *, source: str, delivery_id: str) -> bool:
    """Store a delivery of alerts before its sender is told that we have it; False when we had it already."""
    body = {"alerts": [to_json(alert) for alert in alerts]}
    return await accept(services, source=source, delivery_id=delivery_id, event=ALERTS, body=body)


async def accept(
    services: Services,
    *,
    source: str,
    delivery_id: str,
    event: str,
    body: Mapping[str, Any],
    within_s: float | None = None,
) -> bool:
    """Cut out secrets and what PostgreSQL cannot hold (NUL), store, and only then let the caller acknowledge.

    What is not stored `within_s` never will be, and TimeoutError is raised.
    """
    clean = redact_value(fields.cleaned(dict(body)))
    # The sender's id comes in a header, whose bytes may be no text.
    known_as = fields.clean_text(delivery_id)
    return await services.accepting.add(source=source, delivery_id=known_as, event=event, body=clean, within_s=within_s)


async def bury_message(
    services: Services, message_id: str, text: str, attributes: Mapping[str, str], *, reason: str
) -> None:
    """Keep a message of the queue that cannot be read, redacted, where `codehealer dead list` shows it."""
    kept = {"text": text[:MOST_BURIED_CHARS], "attributes": dict(list(attributes.items())[:10])}
    clean = redact_value(fields.clean(kept))
    async with services.engine.begin() as db:
        await deliveries.add_failed(
            db, source="sqs", delivery_id=message_id, event=MESSAGE, body=clean, error=redact(reason)
        )


# --- alert and incident -------------------------------------------------------------------------------------------


async def on_alert(db: AsyncConnection, services: Services, alert: Alert) -> int | None:
    """Join an alert to its incident, open one, or close one; all in the caller's transaction.

    Returns the incident that only counts one alert more: its card is shown again once a batch.
    """
    if await taking.on_pager(db, services, alert):
        await _on_page_resolved(db, services, alert)
        return None
    if alert.status is AlertStatus.RESOLVED:
        await _on_resolved(db, services, alert)
        return None
    if alert.source == SLACK and await signals.told_by(db, alert.channel, alert.message_ts):
        return None  # the post was edited and tells of the same failure still
    # What was closed stays closed while the same signal is merely sent again; a new start is a new signal.
    if alert.started_at is not None and await incidents.seen_again(db, alert):
        return None
    if not alert.actionable:
        await incidents.add_alert(db, alert, None)
        return None
    if why := hushing.quiet(services, alert):
        await hushing.hold(db, services, alert, why)
        return None
    alert = joining.placed(services, alert)
    keys, chosen = await joining.keys_for(db, services, alert)
    if await joining.no_news(db, alert, chosen):
        await incidents.add_alert(db, alert, None)
        return None
    return await _joined(db, services, alert, keys, chosen)


async def _joined(
    db: AsyncConnection, services: Services, alert: Alert, keys: AlertKeys, chosen: Mapping[str, Choice]
) -> int | None:
    """The incident that an alert joined, where it is news there; None where it opened one or was kept back."""
    while True:
        candidates = await incidents.candidates(db, keys.seek, keys.hold)
        incident_id = correlation.choose_incident(keys, candidates)
        if incident_id is None:
            if not await _kept_back(db, services, alert, chosen):
                await _open(db, services, alert, keys=correlation.held_by_new(keys, candidates))
            return None
        # Locked, so that a diagnosis that ends at the same time calls by the new severity, or has ended for us.
        loud = alert.trusted and alert.severity.lower() in SEVERE
        before = await incidents.get(db, incident_id, lock=True) if loud else None
        new = await incidents.count_alert(db, incident_id, alert)
        if new is not None:
            break  # else it has been closed since it was chosen
    if new and before:
        await _call_for_worse(db, services, before)
    if new:
        await joining.seen_elsewhere(db, services, alert, incident_id)
    if alert.trusted:  # other words are counted and read, and draw nothing in
        if new:
            await joining.absorb(db, services, keys, candidates, incident_id)
        held = next(one.keys for one in candidates if one.id == incident_id)
        await incidents.hold_keys(db, incident_id, [key for key in keys.hold if key not in held])
    return incident_id if new else None


# What people have been left with: they were called for it by how bad it was.
_LEFT_TO_PEOPLE = frozenset({S.ESCALATED, S.BLOCKED, S.NOT_VERIFIED, S.UNDONE})


async def _call_for_worse(db: AsyncConnection, services: Services, before: Incident) -> None:
    """Call people as for an incident that began so, where one that they were left with has just become critical.

    Once: whatever joins later finds it critical. What waits for an approval is reminded of and paged by the clock, and
    where somebody is on it, nobody else is woken.
    """
    if before.severity.lower() in SEVERE or before.state not in _LEFT_TO_PEOPLE:
        return
    incident = await incidents.get(db, before.id)
    if incident and await cards.call_again_for_worse(db, services, incident) and not incident.by_hand:
        await enqueue(db, services, "page", incident.id)


async def _kept_back(db: AsyncConnection, services: Services, alert: Alert, chosen: Mapping[str, Choice]) -> bool:
    """Whether an alert that belongs to no incident opens none: its service is muted, or it failed before we came."""
    if why := await muting.holds(db, services, alert):
        await hushing.hold(db, services, alert, why)
        return True
    came = await baseline.was_failing(db, services, alert, chosen)
    if came:
        channel = await _channel_for(db, services, alert)
        await baseline.note(db, services, alert, channel=channel, came=came)
    return bool(came)


async def open_baseline(services: Services, click: Mapping[str, Any]) -> None:
    """A person wants a card for one of the things that were failing when the bot came."""
    person = await services.people.look_up(click["user"])  # before the lock, for which every alert waits
    async with services.engine.begin() as db:
        await incidents.lock_correlation(db)
        alert = await baseline.chosen(db, click, person)
        if alert is not None:
            # As if it had come now: what it was found by says no more.
            again = replace(alert, baseline=False, started_at=None)
            await on_alert(db, services, again)


async def _open(db: AsyncConnection, services: Services, alert: Alert, *, keys: Sequence[str]) -> None:
    """An incident of its own for an alert, which holds these keys."""
    channel = await _channel_for(db, services, alert)
    under = alert.thread_ts or await storms.flapping_thread(db, alert, channel or services.channel)
    incident = await incidents.open_incident(db, alert, channel=channel, thread_ts=under)
    if storm_id := await storms.joins(db, services, incident):
        incident = replace(incident, storm_id=storm_id)
    await audit.record(db, "incident.opened", incident_id=incident.id, source=alert.source, identity=alert.identity)
    await cards.show(db, services, incident, first=True)
    await enqueue(db, services, "gather_evidence", incident.id, asked=incident.source == QUESTION_SOURCE)
    await incidents.add_alert(db, alert, incident.id)
    await incidents.hold_keys(db, incident.id, keys)
    await joining.seen_elsewhere(db, services, alert, incident.id)


async def _channel_for(db: AsyncConnection, services: Services, alert: Alert) -> str:
    """Where the card goes: where people asked, else the service's channel, else the default.

    What was posted where not everybody reads stays there, unless the service's own channel is as closed.
    """
    if alert.source == QUESTION_SOURCE:
        return alert.channel
    channel = routing.channel_for(services.policy, alert, services.channel)
    if not alert.closed or channel == alert.channel:
        return channel
    return channel if await reading.is_closed(db, channel) else alert.channel


async def _on_page_resolved(db: AsyncConnection, services: Services, alert: Alert) -> None:
    """Somebody resolved our page: the incident is over, or theirs while its alert fires or a fix is under way."""
    incident_id, why = taking.resolved_page(alert)
    incident = await incidents.get(db, incident_id, lock=True) if incident_id else None
    if incident is None or not incident.open:
        return  # the echo of our own word
    if closes_by_itself(incident.state) and not await incidents.still_firing(db, incident.id):
        await close(db, services, incident, S.RESOLVED, f"{why[0].upper()}{why[1:]}.")
    elif not incident.by_hand:
        await taking.hand_over(db, services, incident, why=why, by="pagerduty")


async def _on_resolved(db: AsyncConnection, services: Services, alert: Alert) -> None:
    """An alert is over. A post that is edited ends what it told of before, whatever its words are now."""
    before = await signals.told_by(db, alert.channel, alert.message_ts) if alert.source == SLACK else ()
    for one in before:
        await _end(db, services, replace(one, status=AlertStatus.RESOLVED, summary=alert.summary))
    if not before:
        await _end(db, services, alert)


async def _end(db: AsyncConnection, services: Services, alert: Alert) -> None:
    keys, chosen = await joining.keys_for(db, services, joining.placed(services, alert))
    if joining.failed_before(chosen) and alert.trusted:
        await joining.well_again(db, alert)
    incident_id = correlation.choose_incident(keys, await incidents.candidates(db, keys.seek))
    incident = await incidents.get(db, incident_id, lock=True) if incident_id else None
    if incident and incident.trusted and not alert.trusted:
        incident = None  # it ends only what its like have told of
    await incidents.add_alert(db, alert, incident.id if incident else None)
    await held.ended(db, alert)
    if incident is None:
        return
    fires = await incidents.still_firing(db, incident.id)
    # Where nobody tells the end, another alert's end tells nothing: the live system does.
    if fires or (fires is None and not await incidents.has_told(db, incident.id, alert)):
        return
    if closes_by_itself(incident.state):
        await close(db, services, incident, S.RESOLVED, "The alert has resolved.")


async def close(db: AsyncConnection, services: Services, incident: Incident, state: IncidentState, why: str) -> None:
    """Close an incident in which nothing of ours is under way, withdraw what is asked for, and remember it."""
    moved = await incidents.move(db, incident, state)
    if moved is None:
        return
    await approvals.withdraw_open(db, incident.id, why)
    await audit.record(db, f"incident.{state}", incident_id=incident.id, why=why)
    await cards.show(db, services, moved)
    await enqueue(db, services, "learn", incident.id)
    await enqueue(db, services, "stand_down", incident.id)


async def on_question(db: AsyncConnection, services: Services, question: Question) -> None:
    """A mention for the diagnosis: look again at the incident whose thread it is in, or at what was pasted."""
    # A shortcut may be used on a card itself, or on the post that it is about.
    known = await incidents.by_message(db, question.channel, question.thread_ts or question.ts)
    incident = await incidents.get(db, known, lock=True) if known and not question.pasted else None
    if incident and await look_again(db, services, incident, by=question.user, asked_by=question.user):
        return
    service = service_named(question, [row.name for row in services.policy.services])
    alert = routing.about_service(services.policy, alert_of(question, service), service)
    await on_alert(db, services, alert)


async def look_again(
    db: AsyncConnection, services: Services, incident: Incident, *, by: str, why: str = "", asked_by: str = ""
) -> bool:
    """Diagnose an open incident once more; False where a fix is under way or it is closed.

    Where a person asked for it (`asked_by`), what is then proposed is their request.
    """
    moved = await incidents.move(db, incident, S.DIAGNOSING, asked_by=asked_by or incident.asked_by)
    if moved is None:
        return False
    await approvals.withdraw_open(db, incident.id, why or f"<@{by}> asked to look again")
    await audit.record(db, "incident.looked_again", actor=by, incident_id=incident.id)
    await cards.show(db, services, moved)
    await enqueue(db, services, "gather_evidence", incident.id)
    return True


# --- evidence -----------------------------------------------------------------------------------------------------


async def gather_evidence(services: Services, incident_id: int) -> None:
    """Look at the failing thing from all sides, find out what it is, and keep both."""
    async with services.looks.connect() as db:
        incident = await incidents.get(db, incident_id)
        alerts = await incidents.alerts_of(db, incident_id)
        steered = await steers.latest(db, incident_id)
    if incident is None or incident.state not in {S.DETECTED, S.DIAGNOSING}:
        return
    target = await _resolve(services, incident)
    collected = [
        # What a closed channel's post says is no evidence anywhere else.
        *_from_alerts([one for one in alerts if not one.closed or one.channel == incident.channel]),
        *await cards.read_thread(services, incident),
        *await evidence.collect(
            replace(incident, target=target),
            services.clients,
            policy=services.policy,
            alerts=alerts,
            now=services.now(),
        ),
    ]
    async with services.engine.begin() as db:
        current = await incidents.get(db, incident_id, lock=True)
        if current is None or current.state not in {S.DETECTED, S.DIAGNOSING}:
            return
        if steered:
            collected = steering.ordered(collected, steering.read(steered.payload))
        unseen = current.last_alert_at if current.last_alert_at != incident.last_alert_at else None
        await incidents.keep_evidence(db, incident_id, collected, before=unseen)
        await incidents.move(db, current, S.DIAGNOSING, target=target, **_learnt_from(target))
        await enqueue(db, services, "diagnose", incident_id, asked=incident.source == QUESTION_SOURCE)
        await slack_search.ask(db, services, incident)


async def _resolve(services: Services, incident: Incident) -> Target | None:
    """The target, looked up by the server; none for what is not trusted, whatever its text says."""
    if not incident.trusted:
        return None
    return await targets.resolve(targets.hints_of(incident), services.policy, services.clients)


def _learnt_from(target: Target | None) -> dict[str, str]:
    return {"service": target.service, "environment": target.environment} if target and target.service else {}


def _from_alerts(alerts: Sequence[Alert]) -> list[Evidence]:
    """What the alerts themselves say. It was redacted when it came in."""
    items = []
    for alert in alerts[-5:]:
        words = "\n".join(part for part in (alert.title, alert.summary) if part)
        if alert.source != QUESTION_SOURCE:
            items.append(Evidence(EvidenceKind.ALERT, alert.source, words))
        if alert.log:
            items.append(Evidence(EvidenceKind.MESSAGE, alert.source, alert.log))
    return items


# --- diagnosis, plan, decision ---------------------------------------------------------------------------------------


async def diagnose(services: Services, incident_id: int) -> None:
    """Name the cause, plan at most one fix, decide who may start it; all of it is stored and shown together."""
    async with services.looks.connect() as db:
        incident = await incidents.get(db, incident_id)
        if incident is None or incident.state is not S.DIAGNOSING:
            return
        collected = await incidents.evidence_of(db, incident_id)
        asked = threads.asked_by(services, incident, await incidents.alerts_of(db, incident_id))
        outcomes = await memory.outcomes_by_kind(db, environment=incident.environment)
        steered = await steers.latest(db, incident_id)
    answer, precedents = await _answer(services, incident, collected, asked=asked, outcomes=outcomes, steered=steered)
    seen = await look(services, incident, collected)
    answer = recovery.believed(answer, seen)
    plan = await _plan(services, incident, answer, seen)
    if plan.action and seen:
        plan = replace(plan, seen=sighting.seen_of(seen, plan.action.target))
    async with services.engine.begin() as db:
        current = await incidents.get(db, incident_id, lock=True)
        # Without the target that was looked at, a part was split off, and what is left is looked at anew.
        if current is None or current.state is not S.DIAGNOSING or current.target != incident.target:
            return
        if await _told_unseen(db, incident, current, answer):
            await enqueue(db, services, "gather_evidence", incident_id)
            return
        decided = await facts.decide(db, services, current, answer, plan, precedents)
        diagnosis_id = await answers.add_diagnosis(db, incident_id, answer, precedents)
        planned = await answers.add_plan(
            db,
            incident_id,
            diagnosis_id,
            plan,
            decided.decision,
            facts=decided.rested_on,
            shadow=decided.shadow,
        )
        await audit.record(
            db,
            "decision",
            incident_id=incident_id,
            verdict=decided.decision.name,
            plan=to_json(plan),
            rules=to_json(decided.decision),
            would_run_by_itself=decided.shadow,
        )
        await _follow(db, services, current, answer, planned)


async def _told_unseen(
    db: AsyncConnection, incident: Incident, current: Incident, answer: Diagnosis | Unsure
) -> bool:  # fmt: skip
    """Whether a "nothing is wrong" would close what an alert has told of since it was looked at.

    Of repeats only the first is such news, so that looking again ends though they go on.
    """
    if isinstance(answer, Unsure) or not answer.healthy or asked_with_text(incident):
        return False
    if current.last_alert_at != incident.last_alert_at:
        return True
    collected_at = await incidents.evidence_collected_at(db, current.id)
    return collected_at is not None and current.last_alert_at > collected_at


async def _answer(
    services: Services,
    incident: Incident,
    collected: Sequence[Evidence],
    *,
    asked: Asked,
    outcomes: Mapping[FailureKind, Outcomes],
    steered: steers.Steered | None,
) -> tuple[Diagnosis | Unsure, tuple[Precedent, ...]]:
    """The diagnosis and the precedents for it: looked for before, to inform a model, and ranked again for its kind."""
    answerers, notes = first_look.who_is_asked(services, incident)
    if steered:  # a first look would show what was ruled out
        answerers, first = steering.without(answerers, steering.read(steered.payload)), None
    else:
        first = await first_look.show(services, incident, collected, answerers=answerers)
    likeness = learning.excerpt_of(collected, incident)
    # The closer look of a reranker is for what people see: a model that is asked reads all of these anyway.
    before = await recall(
        services.engine,
        likeness,
        means=replace(services.means_for(incident), reranker=None),
        now=services.now(),
        service=incident.service,
        not_incident=incident.id,
        identity=incident.identity,
        asked=asked,
    )
    if known := await first_look.without_asking(
        services, incident, collected, first=first, precedents=before.precedents
    ):
        answerers, notes = [one for one in answerers if not one.outside], (*notes, known)
    answer = await diagnosis.diagnose(
        incident.title,
        collected,
        answerers=answerers,
        precedents=_for_models(services, before.precedents),
        permitted_actions=tuple(REMEDIATORS),
        notes=notes,
        outcomes=outcomes,
    )
    if isinstance(answer, Unsure) or before.empty:
        return noted(answer, before.note), before.precedents[:3]
    found = await recall(
        services.engine,
        passage(answer.kind, likeness),
        means=services.means_for(incident),
        now=services.now(),
        kind=answer.kind,
        service=incident.service,
        not_incident=incident.id,
        identity=incident.identity,
        asked=asked,
    )
    return noted(answer, found.note), found.precedents[:3]


def _for_models(services: Services, precedents: Sequence[Precedent]) -> tuple[Precedent, ...]:
    """Those that a hosted model may read: none of services that are kept from it, and none that gives it orders."""
    may = policy.sendable(services.policy)
    return tuple(
        one
        for one in precedents
        if may.includes(one.item.service) and not injection_suspected(f"{one.item.cause}\n{one.item.fix}")
    )


def noted(answer: Diagnosis | Unsure, note: str) -> Diagnosis | Unsure:
    """The answer with what the search for precedents had to do without, for the card's last line."""
    if not note:
        return answer
    source = answer.answered_by
    return replace(answer, answered_by=replace(source, note="; ".join(filter(None, (source.note, note)))[:500]))


async def look(services: Services, incident: Incident, collected: Sequence[Evidence]) -> context.Context | None:
    """The target as it is now; None without one."""
    if incident.target is None:
        return None
    job_log = "\n".join(item.text for item in collected if item.kind == EvidenceKind.JOB_LOG)
    return await context.gather(
        incident, incident.target, services.policy, services.clients, now=services.now(), job_log=job_log
    )


async def _plan(
    services: Services, incident: Incident, answer: Diagnosis | Unsure, seen: context.Context | None
) -> Plan:
    if incident.target is None or seen is None or isinstance(answer, Unsure):
        return planning.plan(answer, incident.target, seen)
    async with services.looks.connect() as db:
        record = await memory.track_record(db, kind=answer.kind, environment=incident.target.environment)
        of_service = await memory.track_record(db, kind=answer.kind, service=incident.target.service)
        loop = await facts.attempts_on(db, incident.target)
        misplaced = await memory.wrong_target(db, identity=incident.identity, service=incident.target.service)
    if misplaced:
        return planning.nothing(WRONG_TARGET)
    # "Right cause, wrong fix" counts until the fix has proved itself more often than people turned it down.
    rejected = frozenset(row.action for row in (*record.values(), *of_service.values()) if row.rejected > row.verified)
    return planning.plan(answer, incident.target, seen, record=tuple(record.values()), rejected=rejected, loop=loop)


async def _follow(
    db: AsyncConnection,
    services: Services,
    incident: Incident,
    answer: Diagnosis | Unsure,
    planned: answers.StoredPlan,
) -> None:
    """Move the incident to where the decision sends it, and ask or start."""
    state = state_after(incident, answer, planned.plan, planned.decision)
    kind = answer.kind if isinstance(answer, Diagnosis) else None
    moved = await incidents.move(db, incident, state, kind=kind, flagged=incident.flagged or answer.injection_suspected)
    if moved is None:
        return
    verdict, action = planned.decision.verdict, planned.plan.action
    if action and state is S.WAITING and isinstance(verdict, Ask):
        await approvals.ask(
            db,
            incident_id=incident.id,
            plan_id=planned.id,
            digest=action.digest,
            needed=verdict.how_many,
            who=verdict.who,
            until=verdict.until,
            requester=incident.asked_by,
        )
    elif action and state is S.RUNNING:
        await _start_automatically(db, services, moved, planned)
    if isinstance(answer, Diagnosis):
        await regrouping.hint(db, services, moved, answer)
    await cards.show(db, services, moved)
    await cards.explain(db, services, moved, shadow=planned.shadow)
    # While observing nobody is called: the bot only shows what it would have done.
    observing = planned.decision.mode == "observe"
    if state in {S.ESCALATED, S.BLOCKED} and incident.severity in SEVERE and not observing:
        await enqueue(db, services, "page", incident.id)
    if state is S.RESOLVED:
        await enqueue(db, services, "learn", incident.id)
        await enqueue(db, services, "stand_down", incident.id)


def state_after(incident: Incident, answer: Diagnosis | Unsure, plan: Plan, decision: Decision) -> IncidentState:
    """Where an incident goes after its decision: pure."""
    if asked_with_text(replace(incident, state=S.DIAGNOSING)):
        return S.RESOLVED  # a question about pasted text is done with its answer
    if isinstance(answer, Diagnosis) and answer.healthy:
        return S.RESOLVED
    if plan.action is None:
        return S.ESCALATED
    if isinstance(decision.verdict, Auto):
        return S.RUNNING
    if isinstance(decision.verdict, Ask):
        return S.WAITING
    return S.PROPOSED if policy.only_mode_stops(decision) else S.BLOCKED


async def _start_automatically(
    db: AsyncConnection, services: Services, incident: Incident, planned: answers.StoredPlan
) -> None:
    if planned.plan.action is None:
        return
    approval_id = await approvals.ask(
        db,
        incident_id=incident.id,
        plan_id=planned.id,
        digest=planned.plan.action.digest,
        needed=0,
        who=(),
        until=services.now(),
        automatic=True,
    )
    await start_execution(db, services, incident, approval_id, planned.plan, by="policy")


# --- execution ----------------------------------------------------------------------------------------------------


async def start_execution(
    db: AsyncConnection, services: Services, incident: Incident, approval_id: int, plan: Plan, *, by: str
) -> None:
    """Queue the one execution of an approval, in the transaction that approves it."""
    if plan.action is None:
        return
    execution_id = await executions.queue(db, incident_id=incident.id, approval_id=approval_id, action=plan.action)
    if execution_id is None:
        return
    await audit.record(
        db, "execution.queued", actor=by, incident_id=incident.id, approval=approval_id, digest=plan.action.digest
    )
    await services.jobs.enqueue(
        db, "execute", lock=f"incident:{incident.id}", once=f"execute:{execution_id}", execution_id=execution_id
    )


async def execute(services: Services, execution_id: int) -> None:
    """Carry out an approved action once; after a crash, find out from the target whether it was."""
    async with services.engine.begin() as db:
        current = await executions.get(db, execution_id)
        queued = current is not None and current.state is ExecutionState.QUEUED
        refusal = await facts.held_back(db, services, current) if current and queued else ""
    if current is None:
        return
    if current.state not in {ExecutionState.QUEUED, ExecutionState.STARTED}:
        await _done(services, current)
        return
    if refusal:
        await _refuse(services, current, refusal)
    else:
        try:
            await execution.run(current, _execution_services(services, current))
        except execution.Busy as busy:
            await _again(services, "execute", current, busy.retry_after_s)
            return
        except execution.Overtaken:
            # Another worker has it, and tells how it ended; or nobody has, and it would hold its target for ever.
            await _again(services, "execute", current, execution.LEASE_S)
            return
    await _done(services, current)


async def _done(services: Services, current: Execution) -> None:
    """Ask for what follows as a job of its own: what other people have approved starts first."""
    async with services.engine.begin() as db:
        await services.jobs.enqueue(
            db,
            "after_execution",
            lock=f"incident:{current.incident_id}",
            once=f"after_execution:{current.id}",
            execution_id=current.id,
        )


def _execution_services(services: Services, current: Execution) -> execution.ExecutionServices:
    async def not_again() -> str:
        async with services.engine.begin() as db:
            return await facts.held_back(db, services, current, again=True)

    return execution.ExecutionServices(
        store=services.executions,
        clients=services.clients,
        # Each run is a holder of its own: one that was cut off may still be sending, and keeps out the next as well.
        holder=f"{services.holder}/{uuid.uuid4().hex[:8]}",
        dry_run=policy.is_dry_run(services.policy, current.action.target),
        may_start=lambda: not services.stopped() and not facts.read_only(services),
        read_only=lambda: facts.read_only(services),
        not_again=not_again,
    )


async def _refuse(services: Services, current: Execution, why: str) -> None:
    await services.executions.finish_execution(
        current.id,
        state=ExecutionState.REFUSED,
        outcome=Outcome(ok=False, changed=False, detail=why),
        fencing_token=current.fencing_token,
    )


async def _again(services: Services, stage: str, current: Execution, in_s: float) -> None:
    async with services.engine.begin() as db:
        await _enqueue_again(db, services, stage, current, in_s)


async def _enqueue_again(db: AsyncConnection, services: Services, stage: str, current: Execution, in_s: float) -> None:
    await services.jobs.enqueue(
        db, stage, lock=f"incident:{current.incident_id}", delay_s=in_s, execution_id=current.id
    )


async def after_execution(services: Services, execution_id: int) -> None:
    """Verify what was done, or say why nothing was. Safe to repeat: the state of the incident tells where we are."""
    async with services.engine.begin() as db:
        current = await executions.get(db, execution_id)
        incident = await incidents.get(db, current.incident_id, lock=True) if current else None
        if current is None or incident is None:
            return
        if incident.state is not S.RUNNING or await executions.superseded(db, current):
            await _tell_late(db, services, incident, current)
            return
        await _record_end(db, incident, current)
        if current.state is not ExecutionState.ACTED:
            if current.state is ExecutionState.FAILED:
                await _trust_no_more(db, services, incident)
            why = current.outcome.detail if current.outcome and current.state is ExecutionState.REFUSED else ""
            if facts.left_to_a_person(incident, why):
                await _leave_to_whom_it_is(db, services, incident)
                return
            # What preflight refuses is not as it was proposed: somebody, or something else, has been at work there.
            await _give_up(db, services, incident, by_hand="" if why.startswith(facts.HELD_BACK) else why)
        elif current.started_at is None:
            # By the row: the policy may have been read anew since, and what only pretended was never started.
            await _only_pretended(db, services, incident, current)
        else:
            await _begin_verification(db, services, incident, current)


async def _record_end(db: AsyncConnection, incident: Incident, current: Execution) -> None:
    await audit.record(
        db,
        f"execution.{current.state}",
        incident_id=incident.id,
        execution=current.id,
        action=current.action.name,
        target=current.action.target.key,
        outcome=to_json(current.outcome) if current.outcome else None,
    )


async def _tell_late(db: AsyncConnection, services: Services, incident: Incident, current: Execution) -> None:
    """Say once how an execution ended whose incident has gone on without it: its job had been given up.

    It is not verified: people have the incident, or another fix has, and neither is to be taken out of their hands.
    """
    if current.state not in execution.FINAL_STATES or await audit.has_end(db, incident.id, current.id):
        return
    await _record_end(db, incident, current)
    await cards.show(db, services, incident)
    await cards.progress(db, services, incident, current, late=True)


async def _trust_no_more(db: AsyncConnection, services: Services, incident: Incident) -> None:
    planned = await answers.latest_plan(db, incident.id)
    if planned:
        await trusting.after_failure(db, services, incident, planned.plan)


async def _begin_verification(db: AsyncConnection, services: Services, incident: Incident, current: Execution) -> None:
    moved = await incidents.move(db, incident, S.VERIFYING)
    if moved is None:
        return
    await cards.show(db, services, moved)
    await cards.progress(db, services, moved, current)
    await services.jobs.enqueue(
        db,
        "verify",
        lock=f"incident:{incident.id}",
        delay_s=verification.settle_seconds(REMEDIATORS[current.action.name], services.policy),
        execution_id=current.id,
    )


async def _only_pretended(db: AsyncConnection, services: Services, incident: Incident, current: Execution) -> None:
    """A dry run changed nothing, so there is nothing to verify and nothing to learn."""
    moved = await incidents.move(db, incident, S.ESCALATED)
    if moved:
        await cards.show(db, services, moved)
        await cards.progress(db, services, moved, current)


async def _leave_to_whom_it_is(db: AsyncConnection, services: Services, incident: Incident) -> None:
    """Somebody took over before it could start: nobody else is called."""
    moved = await incidents.move(db, incident, S.ESCALATED)
    if moved:
        await cards.show(db, services, moved)
        await enqueue(db, services, "learn", incident.id)


async def _give_up(db: AsyncConnection, services: Services, incident: Incident, *, by_hand: str = "") -> None:
    moved = await incidents.move(db, incident, S.ESCALATED, by_hand=incident.by_hand or by_hand)
    if moved is None:
        return
    await cards.show(db, services, moved)
    await cards.call_people(db, services, moved)
    await enqueue(db, services, "page", incident.id)
    await enqueue(db, services, "learn", incident.id)


# --- verification -------------------------------------------------------------------------------------------------


async def verify(services: Services, execution_id: int) -> None:
    """One look at whether the fix worked; again later while that can't be told, until the deadline.

    "Worse" is stored before it is undone: after a crash the undo goes on from there, whatever the target shows by then.
    """
    async with services.looks.connect() as db:
        current = await executions.get(db, execution_id)
        incident = await incidents.get(db, current.incident_id) if current else None
        firing = await signal_of(db, services, incident) if incident else None
        known = await executions.latest_verification(db, execution_id)
        # A retried job of an earlier fix must not judge, or undo, in the place of the one that is verified now.
        superseded = current is not None and await executions.superseded(db, current)
    if current is None or incident is None or incident.state is not S.VERIFYING or superseded:
        return
    worse = known is not None and known.verdict == "worse"
    found = known if known and worse else await _look_at_effect(services, incident, current, firing)
    if found.verdict == "pending":
        async with services.engine.begin() as db:
            await _verify_again(db, services, current, found)
        return
    if found.verdict == "worse" and not worse:
        async with services.engine.begin() as db:
            await executions.add_verification(db, current.id, found)
    undone = None
    if found.verdict == "worse" and current.action.undo:
        try:
            undone = await execution.undo(current, _execution_services(services, current))
        except execution.Busy as busy:
            await _again(services, "verify", current, busy.retry_after_s)
            return
        except execution.Overtaken:
            # As for an execution: another worker has it, or nobody has, and it would be left as it is.
            await _again(services, "verify", current, execution.LEASE_S)
            return
    await _conclude(services, incident, current, found, undone)


async def _verify_again(db: AsyncConnection, services: Services, current: Execution, found: Verification) -> None:
    log.info("verification_pending", incident_id=current.incident_id, execution_id=current.id, detail=found.detail)
    pause_s = verification.next_look_s(current, services.now(), services.timing.verify_every)
    await _enqueue_again(db, services, "verify", current, pause_s)


async def _look_at_effect(
    services: Services, incident: Incident, current: Execution, firing: bool | None
) -> Verification:  # fmt: skip
    async with services.looks.connect() as db:
        since = current.started_at or incident.opened_at
        new = await incidents.began_near(db, current.action.target, since=since, apart_from=incident.id)
    source = SOURCES.get(incident.source)
    return await verification.verify_once(
        current,
        services.clients,
        now=services.now(),
        signal_firing=firing,
        policy=services.policy,
        resolves_after_s=source.resolves_after_s if source else 0,
        new_failures=new,
    )


async def signal_of(db: AsyncConnection, services: Services, incident: Incident) -> bool | None:
    """Whether the incident's alerts still fire, None where nobody says so.

    Where we resolve others' incidents in PagerDuty they say nothing, whoever was first to tell of the failure: each
    stands until somebody ends it, which is what we do once the fix is verified.
    """
    ours_to_end = ("pagerduty",) if services.clients.pager_incidents is not None else ()
    firing = await incidents.still_firing(db, incident.id, apart_from=ours_to_end)
    if firing is None and incident.source == "kubernetes":
        return False  # the watch's own signal is the state of the pods, which is looked at anyway
    return firing


async def _conclude(
    services: Services, looked_at: Incident, current: Execution, found: Verification, undo: Outcome | None
) -> None:
    """End a verification; `looked_at` is the incident as it was before the look."""
    incident_id = looked_at.id
    undone = bool(undo and undo.changed)
    states = {"verified": S.HEALED, "worse": S.UNDONE if undone else S.NOT_VERIFIED}
    async with services.engine.begin() as db:
        incident = await incidents.get(db, incident_id, lock=True)
        if incident is None or incident.state is not S.VERIFYING:
            return
        if found.verdict == "verified" and incident.last_alert_at != looked_at.last_alert_at:
            found = verification.told_meanwhile(current, found, now=services.now(), policy=services.policy)
        if found.verdict == "pending":
            await _verify_again(db, services, current, found)
            return
        moved = await incidents.move(db, incident, states.get(found.verdict, S.NOT_VERIFIED))
        if moved is None:
            return
        if found.verdict != "worse":
            await executions.add_verification(db, current.id, found)
        await audit.record(
            db,
            "verification",
            incident_id=incident_id,
            execution=current.id,
            action=current.action.name,
            verdict=found.verdict,
            undone=undone,
            undo=to_json(undo) if undo else None,
        )
        await cards.show(db, services, moved)
        await cards.verified(db, services, moved, found)
        if moved.state is S.HEALED:
            await enqueue(db, services, "stand_down", incident_id)
        else:
            await _trust_no_more(db, services, moved)
            await cards.call_people(db, services, moved)
            await enqueue(db, services, "page", incident_id)
        await enqueue(db, services, "learn", incident_id)


# --- small things ---------------------------------------------------------------------------------------------------


# What a person asked does not stand behind a storm of alerts.
ASKED_HEAD_START_S = 300


async def enqueue(
    db: AsyncConnection, services: Services, stage: str, incident_id: int, *, asked: bool = False
) -> None:
    await services.jobs.enqueue(
        db,
        stage,
        lock=f"incident:{incident_id}",
        once=f"{stage}:{incident_id}",
        head_start_s=ASKED_HEAD_START_S if asked else 0,
        incident_id=incident_id,
    )


def delivery_key(*parts: str) -> str:
    """A delivery id for what comes without one; equal for the same parts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
