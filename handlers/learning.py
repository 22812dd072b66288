"""The lesson: what an incident looked like, its cause, what was done and how that ended, to be found again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import cards, threads, trusting
from handlers.mentions import asked_with_text
from handlers.services import Services
from knowledge.errors import CodeHealerError
from knowledge.likeness import excerpt
from knowledge.model import CONTEXT_KINDS, Diagnosis, Evidence, Incident, KnowledgeItem, Plan
from knowledge.passages import passage
from knowledge.ports import Vector
from knowledge.store import answers, approvals, audit, executions, incidents, memory, outbox, steers
from knowledge.store.steers import Steered

log = structlog.get_logger(__name__)

EXCERPT_CHARS = 4_000
IN_VAIN = frozenset({"not_verified", "worse", "failed"})


@dataclass(frozen=True, slots=True)
class _Tried:
    """What was answered and planned, and how that ended: of one execution, or of an incident in which none began."""

    answer: Diagnosis
    answered_at: datetime
    plan: Plan
    outcome: str
    reason: str = ""  # of a rejection
    execution_id: int | None = None


async def learn(services: Services, incident_id: int) -> None:
    """Make the incident findable: what it looked like, its cause, what was done and how that ended.

    Where fixes have run, the lesson is of the last of them, and each that failed before it is kept beside it: whoever
    looks again after a fix in vain takes that failure neither from the record, nor gives it to a fix that never ran.
    """
    async with services.looks.connect() as db:
        incident = await incidents.get(db, incident_id)
        tried = await _tried(db, incident) if incident else []
        collected = await incidents.evidence_of(db, incident_id)
        place = await outbox.card_place(db, incident_id)
        private = incident is not None and await threads.asked_privately(db, incident)
        steered = await steers.latest(db, incident_id)
    if incident is None or asked_with_text(incident):
        return
    if private:
        return  # what was said there would be remembered for all
    ours = [one for one in tried if not _led(one, steered)]
    if not ours:
        return
    *earlier, last = ours
    excerpt, link = excerpt_of(collected, incident), await cards.permalink(services, place)
    item = _item(incident, last, f"incident-{incident_id}", excerpt=excerpt, link=link)
    vector = await _vector_of(services, item)
    async with services.engine.begin() as db:
        await memory.remember(db, item, vector=vector, vector_model=services.embedder.name, reason=last.reason)
        for one in earlier:
            if one.outcome in IN_VAIN:
                name = f"incident-{incident_id}-fix-{one.execution_id}"
                beside = _item(incident, one, name, source=memory.EARLIER_FIX, excerpt=excerpt, link=link)
                await memory.remember(db, beside, vector=None, vector_model=services.embedder.name)
        await audit.record(db, "lesson", incident_id=incident_id, outcome=last.outcome)
        if last.outcome == "verified":
            await trusting.after_success(db, services, incident, last.plan)


async def _tried(db: AsyncConnection, incident: Incident) -> list[_Tried]:
    """One of each execution that began, oldest first; where none did, one of what was answered last."""
    begun = await executions.begun(db, incident.id)
    if not begun:
        return await _proposed(db, incident)
    tried: list[_Tried] = []
    for one in begun:
        answer, plan = await answers.behind(db, one.approval_id)
        if isinstance(answer.answer, Diagnosis):
            outcome = cards.outcome_word(incident, None, one, await executions.latest_verification(db, one.id))
            tried.append(_Tried(answer.answer, answer.at, plan, outcome, execution_id=one.id))
    return tried


async def _proposed(db: AsyncConnection, incident: Incident) -> list[_Tried]:
    answer = await answers.latest_diagnosis(db, incident.id, final=True)
    if answer is None or not isinstance(answer.answer, Diagnosis):
        return []
    planned = await answers.latest_plan(db, incident.id)
    approval = await approvals.latest(db, incident.id)
    outcome = cards.outcome_word(incident, approval, await executions.latest(db, incident.id), None)
    reason = approval.reason.split(":")[0] if approval and outcome == "rejected" else ""
    return [_Tried(answer.answer, answer.at, planned.plan if planned else Plan(None), outcome, reason)]


def _led(one: _Tried, steered: Steered | None) -> bool:
    """Whether a person led to this answer, so that its failing says nothing of ours, and nothing shows it was right."""
    if steered is None or one.outcome == "verified":
        return False
    return one.execution_id is None or one.answered_at >= steered.since


def _item(
    incident: Incident, one: _Tried, name: str, *, source: str = "incident", excerpt: str, link: str
) -> KnowledgeItem:
    action = one.plan.action
    return KnowledgeItem(
        id=name,
        source=source,
        kind=one.answer.kind,
        service=incident.service,
        environment=incident.environment,
        cause=one.answer.cause,
        # What ended by itself was not ended by the fix that was proposed.
        fix=one.plan.preview if action and one.outcome != "resolved" else "",
        action=action.name if action else "",
        outcome=one.outcome,
        excerpt=excerpt,
        link=link,
        occurred_at=incident.opened_at,
        incident_id=incident.id,
    )


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
