"""Earned trust: proposed to people with the evidence, taken back at once by a failure."""

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import cards, facts
from handlers.blocks import trust as wording
from handlers.services import Services
from knowledge.model import Incident, Plan
from knowledge.store import audit, trust
from remediation.policy import AUTO_RISK
from remediation.trust import evidence, lower_bound

SHADOW_DAYS = 90


async def after_failure(db: AsyncConnection, services: Services, incident: Incident, plan: Plan) -> None:
    """A fix that failed, did not help or made it worse no longer runs by itself, whoever let it."""
    case = facts.case_of(incident.kind, plan)
    said = await trust.of(db, case) if case else None
    if case is None or said is None or said.state not in {"granted", "proposed"}:
        return
    words = f"it failed in incident {incident.id}"
    await trust.put(db, case, "demoted", evidence=words, by="codehealer")
    await _record(db, "trust.demoted", incident, case, words)
    if said.state == "granted":
        await cards.tell_thread(db, services, incident, "demoted", wording.demoted(case, said))


async def after_success(db: AsyncConnection, services: Services, incident: Incident, plan: Plan) -> None:
    """Propose automatic mode for this very fix once the lower bound of its success is high enough."""
    case = facts.case_of(incident.kind, plan)
    rules = services.policy.trust
    if case is None or not rules.proposals or incident.flagged or case.environment not in AUTO_RISK:
        return
    said = await trust.of(db, case)
    if said is not None and said.state in {"granted", "proposed"}:
        return
    # What was before somebody took trust away does not earn it a second time.
    counted = await trust.counted(db, case, since=said.set_at if said else None)
    if lower_bound(counted.verified, counted.verified + counted.failed) < rules.min_bound:
        return
    words = evidence(counted.verified, counted.failed)
    shadow = await trust.shadowed(db, since=services.now() - timedelta(days=SHADOW_DAYS), case=case)
    await trust.put(db, case, "proposed", evidence=words, by="codehealer")
    await _record(db, "trust.proposed", incident, case, words)
    await cards.tell_thread(db, services, incident, "proposed", wording.proposed(case, words, shadow, incident.id))


async def _record(db: AsyncConnection, what: str, incident: Incident, case: trust.Case, words: str) -> None:
    await audit.record(
        db, what, incident_id=incident.id, kind=case.kind, action=case.action, service=case.service,
        environment=case.environment, evidence=words,
    )  # fmt: skip
