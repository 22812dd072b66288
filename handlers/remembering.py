"""What people say has fixed an incident, kept as knowledge once one of them confirms it.

Their words never become an action: they are the text of a remembered case, which code ranks and people read.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import cards, threads
from handlers.blocks import offers as wording
from handlers.blocks.card_view import Card
from handlers.intents import fix_told
from handlers.learning import excerpt_of
from handlers.services import Services
from knowledge.model import Diagnosis, Incident, KnowledgeItem
from knowledge.redaction import clean, redact
from knowledge.store import answers, audit, casebook, incidents, offers, outbox
from knowledge.store.casebook import WRITTEN, Remembered
from remediation.modes import may_narrow

PREFIX = "offer:"
STAGE = "decide_offer"
# What a person reads before saying yes; more than that is a story.
LONGEST_FIX = 600
MOST_OFFERS = 5
ENDED_WITHOUT_US = frozenset({"", "resolved", "dismissed"})
TOO_LATE = "Somebody has decided about that already."


async def offer(
    db: AsyncConnection, incident: Incident, *, text: str, by: str, channel: str, ts: str, root: str
) -> bool:
    """Ask in the thread whether to remember; False where these words, or enough others, were asked about before."""
    fix = " ".join(redact(clean(text)).split())[:LONGEST_FIX]
    key = f"{channel}:{ts}"
    number = await offers.add(db, incident.id, key=key, text=fix, by=by, most=MOST_OFFERS) if fix else None
    if number is None:
        return False
    await outbox.put(
        db,
        kind="post",
        key=f"{PREFIX}{number}",
        channel=channel,
        payload={"summary": f"{PREFIX}{number}", "text": "", "thread_ts": root},
        priority=outbox.URGENT,
    )
    return True


async def told(db: AsyncConnection, said: Mapping[str, str]) -> None:
    """A person said in a thread what fixed it: offered, where the thread is an incident's."""
    number = await incidents.by_message(db, said["channel"], said["thread_ts"])
    incident = await incidents.get(db, number) if number else None
    if incident is not None and not await threads.asked_privately(db, incident):
        await offer(
            db, incident, text=fix_told(said["text"]), by=said["user"], channel=said["channel"], ts=said["ts"],
            root=said["thread_ts"],
        )  # fmt: skip


async def render(db: AsyncConnection, key: str) -> Card | None:
    """An offer's message as it stands."""
    found = await offers.get(db, int(key.removeprefix(PREFIX)))
    return wording.offer(found) if found else None


async def decide(services: Services, click: Mapping[str, Any]) -> None:
    """A click on an offer: the first member's counts, and what is confirmed is remembered in the same transaction."""
    person = await services.people.look_up(click["user"])
    state = "remembered" if click["keep"] else "declined"
    async with services.engine.begin() as db:
        refusal = may_narrow(person)
        found = None if refusal else await offers.decide(db, click["offer_id"], state, by=person.id)
        if found is None:
            words = refusal or TOO_LATE
            await cards.tell(db, key=click["key"], channel=click["channel"], user=person.id, text=words)
            return
        if click["keep"]:
            await remember_fix(db, services, found.incident_id, found.text, found.told_by)
        await audit.record(db, f"fix.{state}", actor=person.id, incident_id=found.incident_id, offer=found.id)
        await outbox.show_summary(db, f"{PREFIX}{found.id}", click["channel"], in_s=0)


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
