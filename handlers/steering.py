"""A person steers the diagnosis of an incident in its thread: it runs again, and the card says who steered it."""

from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import cards, flow
from handlers.blocks.answers import Answer
from handlers.mentions import Question
from handlers.services import Services
from knowledge import steering
from knowledge.model import Incident, IncidentState
from knowledge.steering import Steer, steer_of
from knowledge.store import audit, incidents, steers
from remediation.modes import may_narrow

MOST = 5
TOO_OFTEN = f"This incident has been steered {MOST} times. Take it over on its card, and say in the thread what it was."
NOT_NOW = "The diagnosis cannot run again now: it is under way, or the incident is closed, or a fix of it is under way."
# A diagnosis that is under way would end without this word, and the next one would find its work done.
_LOOKING = frozenset({IncidentState.DETECTED, IncidentState.DIAGNOSING})


class _NotNow(Exception):
    """Nothing of what was begun is kept."""


async def steer(services: Services, incident: Incident, question: Question) -> None:
    """Look again as a person says, and answer them, in one transaction."""
    person = await services.people.look_up(question.user)
    words = may_narrow(person)
    if not words:
        try:
            async with services.engine.begin() as db:
                words = await _steer(db, services, incident.id, question)
                await _answer(db, services, question, words)
                return
        except _NotNow:
            words = NOT_NOW
    async with services.engine.begin() as db:
        await _answer(db, services, question, words)


async def _answer(db: AsyncConnection, services: Services, question: Question, words: str) -> None:
    card = Answer("answer-steered", words).card
    await cards.answer_question(db, question, card, team=services.people.team_id)


async def _steer(db: AsyncConnection, services: Services, incident_id: int, question: Question) -> str:
    incident = await incidents.get(db, incident_id, lock=True)
    if incident is None or not incident.open or incident.state in _LOOKING:
        raise _NotNow
    wanted = steering.together(await steer_on(db, incident.id), steer_of(question.said))
    kept, by = steering.kept(wanted), question.user
    if not await steers.add(db, incident.id, key=f"{question.channel}:{question.ts}", payload=kept, by=by, most=MOST):
        return TOO_OFTEN
    why = f"<@{by}> steered the diagnosis"
    if not await flow.look_again(db, services, incident, by=by, why=why, asked_by=by):
        raise _NotNow
    await audit.record(db, "incident.steered", actor=by, incident_id=incident.id, **kept)
    return f"I look again: {wanted.words}. A fix for what I find then waits for an approval in any case."


async def steer_on(db: AsyncConnection, incident_id: int) -> Steer:
    """What holds for an incident's diagnosis; empty where nobody steered it."""
    found = await steers.latest(db, incident_id)
    return steering.read(found.payload) if found else Steer()
