"""Who is asked about an incident, and what is shown while a hosted model is still being asked."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from handlers import cards
from handlers.services import Services
from knowledge import diagnosis
from knowledge.diagnosis import Answerer, BuiltinAnswerer
from knowledge.errors import Unavailable
from knowledge.known_case import why_known
from knowledge.language_models.hosted import metered
from knowledge.model import Diagnosis, Evidence, Incident, IncidentState, Precedent, Unsure
from knowledge.ports import Embedder, Vector
from knowledge.store import answers, incidents, memory
from remediation.policy import outside_forbidden

# The first look is worth having within two seconds; an embedder that has to be started first is not waited for.
EMBEDDING_S = 0.8


@dataclass
class _Hasty:
    """An embedder that is left when it is not ready at once; what it began goes on, and is there for the next stage."""

    inner: Embedder
    name: str
    dimension: int

    async def embed_query(self, text: str) -> Vector:
        try:
            async with asyncio.timeout(EMBEDDING_S):
                return await self.inner.embed_query(text)
        except TimeoutError:
            raise Unavailable(f"not ready within {EMBEDDING_S:g} s") from None

    async def embed_passages(self, texts: Sequence[str]) -> list[Vector]:
        return [await self.embed_query(text) for text in texts]


def who_is_asked(services: Services, incident: Incident) -> tuple[list[Answerer], tuple[str, ...]]:
    """The answerers for this incident, counted for it, and why some are left out."""
    outside = [one for one in services.answerers if one.outside]
    why = outside_forbidden(services.policy, incident) if outside else ""
    if why:
        return [one for one in services.answerers if not one.outside], (why,)
    if services.ledger is None:
        return list(services.answerers), ()
    return metered(services.answerers, services.ledger.meter(incident.id)), ()


async def warm_up() -> None:
    """Read weights and patterns before the first incident needs them: about half a second of work."""
    await diagnosis.diagnose("", [Evidence("logs", "warm-up", "error: none")], answerers=[BuiltinAnswerer(None)])


async def show(
    services: Services, incident: Incident, collected: Sequence[Evidence], *, answerers: Sequence[Answerer]
) -> Diagnosis | Unsure | None:
    """Store and show what the built-in diagnosis says, where a hosted model is going to be asked as well; returns it.

    None where nobody outside is asked. Nothing is planned or asked for on the strength of it, and it may be shown
    twice: the final answer replaces it.
    It comes before anything is looked up among past incidents.
    """
    outside = next((one.name for one in answerers if one.outside), "")
    if not outside:
        return None
    embedder = services.embedder
    hasty = _Hasty(embedder, embedder.name, embedder.dimension) if embedder else None
    answer = await diagnosis.diagnose(incident.title, collected, answerers=[BuiltinAnswerer(hasty)])
    if answer.injection_suspected:
        return None  # nobody outside is going to be asked
    source = answer.answered_by
    note = "; ".join(part for part in (source.note, f"checking with {outside} …") if part)
    provisional = replace(answer, answered_by=replace(source, note=note, provisional=True))
    async with services.engine.begin() as db:
        current = await incidents.get(db, incident.id, lock=True)
        if current is not None and current.state is IncidentState.DIAGNOSING:
            await answers.add_diagnosis(db, incident.id, provisional, ())
            await cards.show(db, services, current)
    return answer


async def without_asking(
    services: Services, incident: Incident, collected: Sequence[Evidence], *,
    first: Diagnosis | Unsure | None, precedents: Sequence[Precedent],
) -> str:  # fmt: skip
    """Why the built-in answer may stand without asking a hosted model: the case is known. "" where one is asked."""
    if not isinstance(first, Diagnosis) or not incident.trusted:
        return ""
    async with services.looks.connect() as db:
        record = await memory.track_record(
            db, kind=first.kind, environment=incident.environment, service=incident.service
        )
    where = {"service": incident.service, "environment": incident.environment}
    return why_known(first, collected, precedents, record, **where)
