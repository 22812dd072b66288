"""A person takes over: by "I'm on it", by acknowledging the page, or by changing the target by hand; and hands back.

Nothing runs by itself for the incident from then on, and what was asked is withdrawn with the reason on the card. All
of it is one transaction: a crash before it leaves the click to be handled again, one after it finds the incident taken.
"""

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import cards, replies
from handlers.services import Services
from knowledge import correlation
from knowledge.lifecycle import UNDER_WAY
from knowledge.model import Alert, Incident, IncidentState
from knowledge.redaction import redact
from knowledge.store import approvals, audit, executions, incidents
from remediation.approvals import check_giving_back, check_taking

S = IncidentState
ON_IT = "a person is on it"
PAGER_KEY = re.compile(r"codehealer-incident-([0-9]{1,15})")
MOST_PAGES = 200  # of one incident, with what was told of each
ACKNOWLEDGED, RESOLVED = "incident.acknowledged", "incident.resolved"


def pager_key(incident_id: int) -> str:
    """What PagerDuty knows an incident of ours by."""
    return f"codehealer-incident-{incident_id}"


async def take(services: Services, click: Mapping[str, Any]) -> None:
    """One click on "I'm on it". `click`: user, channel, incident_id, key."""
    person = await services.people.look_up(click["user"])
    async with services.engine.begin() as db:
        incident = await incidents.get(db, click["incident_id"], lock=True)
        if incident is None or not incident.open:
            await _tell(db, click, replies.OVER)
            return
        if incident.assigned_to == person.id:
            return  # the same click, delivered again
        refusal = check_taking(person)
        if refusal:
            await audit.record(db, "incident.refused", actor=person.id, incident_id=incident.id, why=refusal)
            await _tell(db, click, refusal)
            return
        before = f"<@{incident.assigned_to}>" if incident.assigned_to else incident.by_hand
        why = f"{ON_IT}, after {before}" if before else ON_IT
        moved = await hand_over(db, services, incident, why=why, by=person.id, assigned_to=person.id)
        if moved:
            await services.jobs.enqueue(
                db, "acknowledge", lock=f"incident:{incident.id}", once=f"acknowledge:{incident.id}",
                incident_id=incident.id,
            )  # fmt: skip


async def give_back(services: Services, click: Mapping[str, Any]) -> None:
    """One click on "Hand back": the failure is looked at again, and the policy decides as if nobody had taken it.

    While a fix runs or is verified only the name goes; it ends as it would have ended.
    """
    person = await services.people.look_up(click["user"])
    async with services.engine.begin() as db:
        incident = await incidents.get(db, click["incident_id"], lock=True)
        if incident is None or not incident.open:
            await _tell(db, click, replies.OVER)
            return
        if not incident.assigned_to:
            return  # the same click, delivered again
        refusal = check_giving_back(
            person, incident.assigned_to, services.policy, incident.target, alone=incident.by_hand == ON_IT
        )
        if refusal:
            await audit.record(db, "incident.refused", actor=person.id, incident_id=incident.id, why=refusal)
            await _tell(db, click, refusal)
            return
        again = incident.state not in UNDER_WAY
        state = S.DIAGNOSING if again else incident.state
        moved = await incidents.move(db, incident, state, by_hand="", assigned_to="")
        if moved is None:
            return
        await approvals.withdraw_open(db, incident.id, f"<@{person.id}> handed it back")
        await audit.record(db, "incident.handed_back", actor=person.id, incident_id=incident.id)
        await cards.show(db, services, moved)
        if again:
            await services.jobs.enqueue(
                db, "gather_evidence", lock=f"incident:{incident.id}", once=f"gather_evidence:{incident.id}",
                incident_id=incident.id,
            )  # fmt: skip


async def hand_over(
    db: AsyncConnection, services: Services, incident: Incident, *, why: str, by: str, assigned_to: str = ""
) -> Incident | None:
    """Make the locked incident a person's work; None where it has moved meanwhile. `why` is a clause for people."""
    waited = incident.state is S.WAITING
    changes = {"assigned_to": assigned_to} if assigned_to else {}
    state = S.ESCALATED if waited else incident.state
    moved = await incidents.move(db, incident, state, by_hand=why, **changes)
    if moved is None:
        return None
    await approvals.withdraw_open(db, incident.id, why)
    # What people approved and has not begun does not begin any more; its job finds it refused and says so.
    held = await executions.hold_back(db, incident.id, why)
    await audit.record(db, "incident.by_hand", actor=by, incident_id=incident.id, why=why, held_back=held)
    await cards.show(db, services, moved)
    if waited and not moved.assigned_to:
        await cards.call_people(db, services, moved)
    return moved


async def of_others(db: AsyncConnection, incident_id: int) -> list[str]:
    """PagerDuty's ids of the incidents there that this one was told of, without what we opened ourselves."""
    found = await incidents.alerts_of(db, incident_id, limit=MOST_PAGES, source="pagerduty")
    ids = [
        str(alert.labels.get("incident_id") or "")
        for alert in found
        if alert.trusted and not PAGER_KEY.fullmatch(alert.fingerprint)
    ]
    return list(dict.fromkeys(filter(None, ids)))


async def on_pager(db: AsyncConnection, services: Services, alert: Alert) -> bool:
    """PagerDuty's word about an incident: that somebody acknowledged it. True where nothing else is to be done.

    What PagerDuty tells of a page of ours is the echo of our own incident, and opens no other.
    """
    if alert.source != "pagerduty":
        return False
    ours = PAGER_KEY.fullmatch(alert.fingerprint)
    if alert.labels.get("event_type") == ACKNOWLEDGED:
        incident_id = int(ours[1]) if ours else await _about(db, services, alert)
        await _acknowledged(db, services, incident_id, who=alert.labels.get("agent", ""))
    return ours is not None


def resolved_page(alert: Alert) -> tuple[int | None, str]:
    """(the incident whose page somebody resolved in PagerDuty, a clause for people); (None, "") for all else."""
    ours = PAGER_KEY.fullmatch(alert.fingerprint) if alert.source == "pagerduty" else None
    if ours is None or alert.labels.get("event_type") != RESOLVED:
        return None, ""
    who = redact(alert.labels.get("agent", ""))[:80]
    return int(ours[1]), f"resolved in PagerDuty{f' by {who}' if who else ''}"


async def _about(db: AsyncConnection, services: Services, alert: Alert) -> int | None:
    keys = correlation.keys_of(alert, services.now())
    return correlation.choose_incident(keys, await incidents.candidates(db, keys.seek))


async def _acknowledged(db: AsyncConnection, services: Services, incident_id: int | None, *, who: str) -> None:
    incident = await incidents.get(db, incident_id, lock=True) if incident_id else None
    if incident is None or not incident.open or incident.by_hand:
        return  # over, or the echo of our own acknowledgement
    named = f" by {redact(who)[:80]}" if who else ""
    await hand_over(db, services, incident, why=f"acknowledged in PagerDuty{named}", by="pagerduty")


async def _tell(db: AsyncConnection, click: Mapping[str, Any], text: str) -> None:
    await cards.tell(db, key=click["key"], channel=click["channel"], user=click["user"], text=text)
