"""The lesson: what an incident looked like, its cause, what was done and how that ended, to be found again."""

from collections.abc import Sequence

import structlog

from handlers import cards, threads, trusting
from handlers.mentions import asked_with_text
from handlers.services import Services
from knowledge.errors import CodeHealerError
from knowledge.likeness import excerpt
from knowledge.model import CONTEXT_KINDS, Diagnosis, Evidence, Incident, KnowledgeItem, Plan
from knowledge.passages import passage
from knowledge.ports import Vector
from knowledge.store import answers, approvals, audit, executions, incidents, memory, outbox, steers

log = structlog.get_logger(__name__)

EXCERPT_CHARS = 4_000


async def learn(services: Services, incident_id: int) -> None:
    """Make the incident findable: what it looked like, its cause, what was done and how that ended."""
    async with services.looks.connect() as db:
        incident = await incidents.get(db, incident_id)
        answer = await answers.latest_diagnosis(db, incident_id, final=True)
        planned = await answers.latest_plan(db, incident_id)
        collected = await incidents.evidence_of(db, incident_id)
        approval = await approvals.latest(db, incident_id)
        current = await executions.latest(db, incident_id)
        found = await executions.latest_verification(db, current.id) if current else None
        place = await outbox.card_place(db, incident_id)
        private = incident is not None and await threads.asked_privately(db, incident)
        steered = await steers.latest(db, incident_id)
    if incident is None or answer is None or not isinstance(answer.answer, Diagnosis) or asked_with_text(incident):
        return
    if private:
        return  # what was said there would be remembered for all
    outcome = cards.outcome_word(incident, approval, current, found)
    if steered and outcome != "verified":
        return  # a person led to this answer, so that its failing says nothing of ours, and nothing shows it was right
    plan = planned.plan if planned else Plan(None)
    item = KnowledgeItem(
        id=f"incident-{incident_id}",
        source="incident",
        kind=answer.answer.kind,
        service=incident.service,
        environment=incident.environment,
        cause=answer.answer.cause,
        # What ended by itself was not ended by the fix that was proposed.
        fix=plan.preview if plan.action and outcome != "resolved" else "",
        action=plan.action.name if plan.action else "",
        outcome=outcome,
        excerpt=excerpt_of(collected, incident),
        link=await cards.permalink(services, place),
        occurred_at=incident.opened_at,
        incident_id=incident_id,
    )
    reason = approval.reason.split(":")[0] if approval and outcome == "rejected" else ""
    vector = await _vector_of(services, item)
    async with services.engine.begin() as db:
        await memory.remember(db, item, vector=vector, vector_model=services.embedder.name, reason=reason)
        await audit.record(db, "lesson", incident_id=incident_id, outcome=outcome)
        if outcome == "verified":
            await trusting.after_success(db, services, incident, plan)


def excerpt_of(collected: Sequence[Evidence], incident: Incident) -> str:
    """The lines that matter of all evidence: what similar incidents are recognised by."""
    parts = [incident.title]
    for item in collected:
        if item.text and item.kind not in CONTEXT_KINDS:
            parts += excerpt(item.text).split("\n")
    return "\n".join(dict.fromkeys(parts))[:EXCERPT_CHARS]


async def _vector_of(services: Services, item: KnowledgeItem) -> Vector | None:
    """The built-in vector; None where it cannot be had now: the lesson is kept, and the clock makes it up later."""
    try:
        return (await services.embedder.embed_passages([passage(item.kind, item.excerpt, item.fix, item.outcome)]))[0]
    except CodeHealerError as error:
        log.warning("lesson_without_vector", incident_id=item.incident_id, error=str(error))
        return None
