"""What people have muted for a while, kept among the switches, so that every replica obeys at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.store import switches

# Followed by a scope: "service:NAME", or "incident:NUMBER" for one whose service is not known. The value is its end.
MUTE = "mute:"
SERVICE, INCIDENT = "service:", "incident:"


@dataclass(frozen=True, slots=True)
class Mute:
    """`scope` as above; `by` is a Slack user's id."""

    scope: str
    until: datetime
    by: str


async def in_force(db: AsyncConnection, *, now: datetime) -> Sequence[Mute]:
    """Those that last, the one that ends first before the others."""
    found = [
        Mute(scope, datetime.fromisoformat(str(one.value)), one.set_by)
        for scope, one in (await switches.beginning_with(db, MUTE)).items()
    ]
    return sorted((one for one in found if one.until > now), key=lambda one: (one.until, one.scope))


async def put(db: AsyncConnection, scope: str, *, until: datetime, by: str) -> None:
    """Mute a scope until a moment, whatever was said of it before."""
    await switches.write(db, MUTE + scope, until.isoformat(), by=by)


async def end(db: AsyncConnection, scope: str) -> None:
    await switches.drop(db, MUTE + scope)
