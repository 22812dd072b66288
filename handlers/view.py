"""What people are shown of an incident, gathered from the database."""

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from handlers.blocks import mrkdwn as m
from handlers.blocks.card import render_card
from handlers.blocks.card_view import Card, CardView
from handlers.blocks.thread import question_answer, settled_reply
from handlers.mentions import asked_with_text
from handlers.reading import asked_in
from handlers.services import Services
from knowledge import steering
from knowledge.model import ApprovalState, Incident, Plan
from knowledge.store import executions, grouping, incidents, shown, steers, threads
from remediation import routes
from remediation.approvers import lists_in_force
from remediation.editing import editable
from remediation.policy import environment_of


async def card_view(db: AsyncConnection, services: Services, incident: Incident) -> CardView:
    """Everything that the card, its thread and its modals may show."""
    found = await shown.of(db, incident.id, within=timedelta(days=7))
    answer, planned, approval, execution = found.answer, found.planned, found.approval, found.execution
    verification = await executions.latest_verification(db, execution.id) if execution else None
    route = routes.route_of(services.policy, routes.subject_of(services.policy, incident))
    on_call, call_note = services.rota.people(route.on_call) if route and route.on_call else ((), "")
    return CardView(
        incident=incident,
        now=services.now(),
        diagnosis=answer.answer if answer else None,
        plan=planned.plan if planned else None,
        decision=planned.decision if planned else None,
        approval=approval,
        execution=execution,
        verification=verification,
        precedents=await threads.with_text(db, answer.precedents, asked_in(services, incident)) if answer else (),
        decided_note=approval.reason if approval and approval.state is not ApprovalState.OPEN else "",
        answer_id=answer.id if answer else 0,
        feedback_counts=(found.ups, found.opinions - found.ups),
        responsible=(incident.assigned_to,) if incident.assigned_to else on_call or _responsible(services, incident),
        on_call=() if incident.assigned_to else on_call,
        call_note=call_note,
        quiet_until=routes.quiet_until(route, incident.severity, services.now()),
        route=routes.words(route) if services.policy.routes else "",
        source_link=found.source_link,
        editable=bool(planned and editable(planned.plan.action, services.policy)),
        related=(
            *await _steered(db, incident.id),
            *((RELATED[one.kind].format(one.other), one.url) for one in found.links),
        ),
        times_this_week=1 + found.times_before,
    )


async def _steered(db: AsyncConnection, incident_id: int) -> tuple[tuple[str, str], ...]:
    """That a person steered the diagnosis, who, and how, in our own words for it."""
    found = await steers.latest(db, incident_id)
    return ((f"Steered by {m.mention(found.set_by)}: {steering.read(found.payload).words}", ""),) if found else ()


# What another incident, or a message, is to this one.
RELATED = {
    grouping.MERGED: "Merged into incident {}",
    grouping.TOOK: "Took in incident {}",
    grouping.SPLIT: "Incident {} was split off",
    grouping.FROM: "Split off incident {}",
    grouping.LIKE: "May belong to incident {}",
    grouping.POST: "Post of another app",
    grouping.PAGE: "PagerDuty",
}


def _responsible(services: Services, incident: Incident) -> tuple[str, ...]:
    """Who is called where nobody in particular was asked: the people who may approve in the incident's environment."""
    environment = incident.target.environment if incident.target else incident.environment
    _, rules = environment_of(services.policy, environment)
    return tuple(lists_in_force(services.policy, rules, "")[0].users)


async def render(db: AsyncConnection, services: Services, incident_id: int) -> Card | None:
    """The incident's card as it stands; a question about pasted text gets an answer instead of a card."""
    incident = await incidents.get(db, incident_id)
    if incident is None:
        return None
    view = await card_view(db, services, incident)
    if not asked_with_text(incident) or view.diagnosis is None:
        return render_card(view)
    evidence = await incidents.evidence_of(db, incident_id)
    return question_answer(
        view.diagnosis,
        evidence,
        view.now,
        precedents=view.precedents,
        incident=incident,
        next_step=_next_step(view.plan),
        answer_id=view.answer_id,
    )


async def render_settled(db: AsyncConnection, services: Services, incident_id: int) -> Card | None:
    """What a call for people says once it is answered: what was decided, and what came of it."""
    incident = await incidents.get(db, incident_id)
    return settled_reply(await card_view(db, services, incident)) if incident else None


def _next_step(plan: Plan | None) -> str:
    return plan.no_action_because if plan and plan.no_action_because else ""
