"""Muting: a person's word that for a while nobody is to be called about a service.

New alerts of it open no card: they are held as under maintenance, and get their card when the mute ends and they fire
still. Cards that are there go on being edited, and calls for a decision and reminders stay away. What is critical is
never muted, and what a fix of ours leaves to people is said all the same: a mute is about noise, not about harm.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from handlers import routing
from handlers.mentions import QUESTION_SOURCE
from handlers.services import Services
from knowledge.model import Alert, Incident
from knowledge.severity import CRITICAL
from knowledge.store import executions, mutes
from knowledge.store.mutes import INCIDENT, SERVICE, Mute


def held_by(found: Sequence[Mute], services: Services, alert: Alert) -> tuple[str, datetime] | None:
    """(why, until) an alert opens no card because its service is muted.

    None for other services, for what is critical, and for what people ask.
    """
    if alert.source == QUESTION_SOURCE or not found or alert.severity.lower() in CRITICAL:
        return None
    row = routing.service_row(services.policy, alert)
    mute = _longest(found, {SERVICE + name for name in ([row.name] if row else [alert.service, alert.owner]) if name})
    if mute is None:
        return None
    return f"muted until {mute.until.astimezone(UTC):%Y-%m-%d %H:%M} UTC", mute.until


async def holds(db: AsyncConnection, services: Services, alert: Alert) -> tuple[str, datetime] | None:
    """The same with what is muted now."""
    return held_by(await mutes.in_force(db, now=services.now()), services, alert)


async def quiet_about(db: AsyncConnection, services: Services, incident: Incident) -> bool:
    """Whether nobody is called about an incident now. Where it is critical or a fix of ours was begun, people are."""
    if incident.severity.lower() in CRITICAL:
        return False
    scopes = {INCIDENT + str(incident.id), *([SERVICE + incident.service] if incident.service else [])}
    if _longest(await mutes.in_force(db, now=services.now()), scopes) is None:
        return False
    return await executions.latest(db, incident.id) is None


def _longest(found: Sequence[Mute], scopes: Collection[str]) -> Mute | None:
    return max((one for one in found if one.scope in scopes), key=lambda one: one.until, default=None)
