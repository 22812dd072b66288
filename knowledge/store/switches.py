"""Switches that all replicas obey at once, such as the kill switch."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.store.tables import switches

PAUSED = "paused"
# Why nothing runs by itself until a person resumes it; "" since somebody did.
BREAKER = "breaker"
# Followed by channel, service or environment and its name, or by "everything"; the value is a mode.
MODE = "mode:"
# Followed by a target's key: a person let it be tried again there, so what was before does not count as a loop.
RESUMED = "resumed:"
# Why Slack cannot be reached, "" while it can: nothing runs by itself where nobody could stop it.
SLACK_AWAY = "slack:away"
# Only the sandbox has worked here.
SANDBOX = "sandbox"
# Tells this installation from others; made once.
INSTALLATION = "installation"


@dataclass(frozen=True, slots=True)
class Switch:
    value: Any
    set_by: str
    set_at: datetime


_ONE = select(switches).where(switches.c.name == bindparam("wanted"))
_AROUND = select(switches).where(
    or_(
        switches.c.name.in_([PAUSED, BREAKER, SLACK_AWAY]),
        switches.c.name == bindparam("resumed"),
        switches.c.name.startswith(MODE, autoescape=True),
    )
)


@dataclass(frozen=True, slots=True)
class Around:
    """The switches that a decision about one target looks at; `modes` by the scope that they are set for."""

    paused: bool
    breaker: Switch | None
    resumed: Switch | None
    modes: Mapping[str, Switch]
    slack_away: str = ""


async def around(db: AsyncConnection, family: str | None) -> Around:
    """What is set for a target's family, and for everything, in one look; None where there is no target."""
    rows = await db.execute(_AROUND, {"resumed": f"{RESUMED}{family}" if family is not None else ""})
    found = {row.name: Switch(row.value, row.set_by, row.set_at) for row in rows}
    return Around(
        paused=bool(PAUSED in found and found[PAUSED].value),
        breaker=found.get(BREAKER),
        resumed=found.get(f"{RESUMED}{family}"),
        slack_away=str(found[SLACK_AWAY].value) if SLACK_AWAY in found else "",
        modes={name[len(MODE) :]: switch for name, switch in found.items() if name.startswith(MODE)},
    )


async def read(db: AsyncConnection, name: str) -> Switch | None:
    row = (await db.execute(_ONE, {"wanted": name})).one_or_none()
    return Switch(row.value, row.set_by, row.set_at) if row else None


async def write(db: AsyncConnection, name: str, value: Any, *, by: str) -> None:
    statement = insert(switches).values(name=name, value=value, set_by=by)
    await db.execute(
        statement.on_conflict_do_update(
            index_elements=["name"], set_={"value": value, "set_by": by, "set_at": func.now()}
        )
    )


async def kept(db: AsyncConnection, name: str, value: Any) -> Any:
    """The value that was written first."""
    await db.execute(insert(switches).values(name=name, value=value, set_by="codehealer").on_conflict_do_nothing())
    found = await read(db, name)
    return found.value if found else value


async def paused(db: AsyncConnection) -> bool:
    switch = await read(db, PAUSED)
    return bool(switch and switch.value)


async def beginning_with(db: AsyncConnection, prefix: str) -> dict[str, Switch]:
    """All switches of a family, by the rest of their names."""
    rows = await db.execute(select(switches).where(switches.c.name.startswith(prefix, autoescape=True)))
    return {row.name[len(prefix) :]: Switch(row.value, row.set_by, row.set_at) for row in rows}


async def drop(db: AsyncConnection, name: str) -> None:
    await db.execute(switches.delete().where(switches.c.name == name))
