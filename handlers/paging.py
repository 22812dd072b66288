"""The pager: called with all that is known, and told when somebody is on it and when it is over."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

from handlers import cards, escalation, taking
from handlers.services import Services
from handlers.taking import pager_key
from knowledge.errors import CodeHealerError
from knowledge.model import IncidentState
from knowledge.severity import CRITICAL as SEVERE
from knowledge.store import answers, approvals, audit, executions, incidents, outbox
from knowledge.store.codec import to_json
from remediation import policy
from remediation.writes import heard

S = IncidentState


async def page(services: Services, incident_id: int) -> None:
    """Call the on-call person with all that is known. PagerDuty folds repeats by the key: a repeat updates the page."""
    pager = services.clients.pager
    async with services.engine.connect() as db:
        incident = await incidents.get(db, incident_id)
        if incident is None or not incident.open or pager is None:
            return
        answer = await answers.latest_diagnosis(db, incident_id)
        planned = await answers.latest_plan(db, incident_id)
        current = await executions.latest(db, incident_id)
        known = escalation.details(
            incident,
            answer.answer if answer else None,
            plan=planned.plan if planned else None,
            approval=await approvals.latest(db, incident_id),
            execution=current,
            verification=await executions.latest_verification(db, current.id) if current else None,
            with_evidence=not policy.outside_forbidden(services.policy, incident),
        )
        place = await outbox.card_place(db, incident_id)
    link = await cards.permalink(services, place)
    async with _recorded(services, incident_id, "page.sent", why=known.get("why", "")):
        await pager.trigger(
            pager_key(incident_id),
            escalation.summary(incident, answer.answer if answer else None),
            severity="critical" if incident.severity in SEVERE else "error",
            link=link,
            details=known,
        )


async def stand_down(services: Services, incident_id: int) -> None:
    """Tell the pager that it is over; resolving what was never triggered changes nothing."""
    async with services.engine.connect() as db:
        incident = await incidents.get(db, incident_id)
        others = await taking.of_others(db, incident_id)
        place = await outbox.card_place(db, incident_id)
    if incident is None or incident.open:
        return
    async with _recorded(services, incident_id, "page.resolved"):
        if services.clients.pager is not None:
            await services.clients.pager.resolve(pager_key(incident_id))
        # Of others' incidents only those are ended whose failure a verified fix of ours ended.
        if services.clients.pager_incidents is not None and incident.state is S.HEALED and others:
            note = f"Healed by CodeHealer and verified. {await cards.permalink(services, place)}".strip()
            await _each(others, partial(services.clients.pager_incidents.resolve, note=note))


async def acknowledge(services: Services, incident_id: int) -> None:
    """Tell the pager that somebody is on it; acknowledging twice, or what was never triggered, changes nothing."""
    async with services.engine.connect() as db:
        incident = await incidents.get(db, incident_id)
        others = await taking.of_others(db, incident_id)
        place = await outbox.card_place(db, incident_id)
    if incident is None or not incident.open:
        return
    async with _recorded(services, incident_id, "page.acknowledged"):
        if services.clients.pager is not None:
            await services.clients.pager.acknowledge(pager_key(incident_id))
        if services.clients.pager_incidents is not None and others:
            note = f"Somebody is on it, says CodeHealer. {await cards.permalink(services, place)}".strip()
            await _each(others, partial(services.clients.pager_incidents.acknowledge, note=note))


@asynccontextmanager
async def _recorded(services: Services, incident_id: int, what: str, **payload: str) -> AsyncIterator[None]:
    """The audit log hears of each write that is sent inside, also where one failed and the job is tried again."""
    with heard() as writes:
        try:
            yield
        except CodeHealerError:
            what = "page.failed"
            raise
        finally:
            if writes:
                told = [to_json(write) for write in writes]
                async with services.engine.begin() as db:
                    await audit.record(db, what, incident_id=incident_id, writes=told, **payload)


async def _each(numbers: Sequence[str], do: Callable[[str], Awaitable[object]]) -> None:
    """One that is gone there keeps none of the others; the job fails with it, and is safe to repeat."""
    failed: CodeHealerError | None = None
    for number in numbers:
        try:
            await do(number)
        except CodeHealerError as error:
            failed = failed or error
    if failed:
        raise failed
