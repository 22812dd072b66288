"""Who is asked about an incident, and what is shown while a hosted model is still being asked."""

from collections.abc import Sequence
from dataclasses import replace

from handlers import cards
from handlers.services import Services
from knowledge import diagnosis
from knowledge.diagnosis import Answerer
from knowledge.language_models.hosted import metered
from knowledge.model import Evidence, Incident, IncidentState, Precedent
from knowledge.store import answers, incidents
from remediation.policy import outside_forbidden


def who_is_asked(services: Services, incident: Incident) -> tuple[list[Answerer], tuple[str, ...]]:
    """The answerers for this incident, counted for it, and why some are left out."""
    outside = [one for one in services.answerers if one.outside]
    why = outside_forbidden(services.policy, incident) if outside else ""
    if why:
        return [one for one in services.answerers if not one.outside], (why,)
    if services.ledger is None:
        return list(services.answerers), ()
    return metered(services.answerers, services.ledger.meter(incident.id)), ()


async def show(
    services: Services,
    incident: Incident,
    collected: Sequence[Evidence],
    *,
    answerers: Sequence[Answerer],
    precedents: Sequence[Precedent],
) -> None:
    """Store and show what the built-in diagnosis says, where a hosted model is going to be asked as well.

    Nothing is planned or asked for on the strength of it, and it may be shown twice: the final answer replaces it.
    """
    outside = next((one.name for one in answerers if one.outside), "")
    inside = [one for one in answerers if not one.outside]
    if not outside or not inside:
        return
    answer = await diagnosis.diagnose(incident.title, collected, answerers=inside, precedents=precedents)
    source = answer.answered_by
    note = "; ".join(part for part in (source.note, f"checking with {outside} …") if part)
    provisional = replace(answer, answered_by=replace(source, note=note, provisional=True))
    async with services.engine.begin() as db:
        current = await incidents.get(db, incident.id, lock=True)
        if current is None or current.state is not IncidentState.DIAGNOSING:
            return
        await answers.add_diagnosis(db, incident.id, provisional, precedents[:3])
        await cards.show(db, services, current)
