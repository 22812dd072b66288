"""What people say has fixed an incident, kept as knowledge.

Their words never become an action: they are the text of a remembered case, which code ranks and people read.
"""

from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import threads
from handlers.learning import excerpt_of
from handlers.services import Services
from knowledge.model import Diagnosis, Incident, KnowledgeItem
from knowledge.redaction import clean, redact
from knowledge.store import answers, audit, casebook, incidents
from knowledge.store.casebook import WRITTEN, Remembered

# What a person reads before saying yes; more than that is a story.
LONGEST_FIX = 600
ENDED_WITHOUT_US = frozenset({"", "resolved", "dismissed"})


async def remember_fix(db: AsyncConnection, services: Services, incident_id: int, text: str, by: str) -> bool:
    """Keep what a person says has fixed an incident, redacted; what it stood for before is in the audit log.

    Where the incident ended without a fix of ours, its own case is corrected. Else the case stands beside what is
    remembered of our fix, whose record nobody's word changes. False: there is no such incident, no text, or what was
    said there is for its own channel only. Its vector is made by the clock.
    """
    fix = redact(clean(text)).strip()[:LONGEST_FIX]
    incident = await incidents.get(db, incident_id, lock=True)
    if incident is None or not fix or await threads.asked_privately(db, incident):
        return False
    own = await casebook.get(db, f"incident-{incident_id}", lock=True)
    if own is not None and not incident.open and own.item.outcome in ENDED_WITHOUT_US:
        before = own
    else:
        named = f"told-{incident_id}"
        before = await casebook.get(db, named, lock=True) or Remembered(await _told_case(db, incident, named), ())
    item = replace(before.item, fix=fix, outcome="resolved")
    await casebook.correct(db, before, item, ("fix", "outcome"), vector=None, vector_model=services.embedder.name)
    await audit.record(
        db, "knowledge.corrected", actor=by, incident_id=incident_id, item=item.id,
        changes={"fix": [before.item.fix, fix]},
    )  # fmt: skip
    return True


async def _told_case(db: AsyncConnection, incident: Incident, name: str) -> KnowledgeItem:
    """What is known of the incident, as a case that people have written."""
    answer = await answers.latest_diagnosis(db, incident.id)
    known = answer.answer if answer and isinstance(answer.answer, Diagnosis) else None
    collected = await incidents.evidence_of(db, incident.id)
    return KnowledgeItem(
        id=name,
        source=WRITTEN,
        kind=incident.kind or (known.kind if known else None),
        service=incident.service,
        environment=incident.environment,
        cause=known.cause if known else "",
        fix="",
        outcome="",
        excerpt=excerpt_of(collected, incident),
        link="",
        occurred_at=incident.opened_at,
        incident_id=incident.id,
    )
