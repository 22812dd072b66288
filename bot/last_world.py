"""Whose database a sandbox may begin anew in, and what it ends there of the world before.

Without Slack's tokens a start is the sandbox's. Where they got lost, DATABASE_URL still names the database of a real
workspace, in which nothing may be touched; so the sandbox marks its own, and a start with tokens takes the mark away.
"""

from sqlalchemy import literal, select
from sqlalchemy.ext.asyncio import AsyncEngine

from knowledge.errors import SettingsError
from knowledge.store import approvals, audit, incidents, outbox, switches
from knowledge.store.baseline import note_alive
from knowledge.store.database import open_engine
from knowledge.store.tables import incidents as incidents_table

GONE = "The sandbox began anew, and what failed in its last world is gone."
NOT_ITS_OWN = (
    "SLACK_BOT_TOKEN and SLACK_APP_TOKEN are not set, which starts the sandbox, and DATABASE_URL names a database with "
    "incidents that are not the sandbox's. Set the tokens; or, for the sandbox, unset DATABASE_URL or name another one."
)


async def require_own(url: str) -> None:
    """For a database with tables. Raises SettingsError: it has incidents, and no sandbox has marked it."""
    engine = open_engine(url, pool_size=0)
    try:
        async with engine.connect() as db:
            own = await switches.read(db, switches.SANDBOX)
            used = (await db.execute(select(literal(1)).select_from(incidents_table).limit(1))).first()
    finally:
        await engine.dispose()
    if used and not own:
        raise SettingsError(NOT_ITS_OWN)


async def forget(engine: AsyncEngine) -> None:
    """The sandbox begins anew at each start: what was open in the last one is not there any more."""
    async with engine.begin() as db:
        await switches.write(db, switches.SANDBOX, True, by="codehealer")
        await outbox.clear(db)
        for number in await incidents.dismiss_open(db):
            await approvals.withdraw_open(db, number, GONE)
            await audit.record(db, "incident.dismissed", incident_id=number, why=GONE)
        await note_alive(db)  # nothing fails there yet


async def take_over(engine: AsyncEngine) -> None:
    """What happens from now on is of a real workspace."""
    async with engine.begin() as db:
        await switches.drop(db, switches.SANDBOX)
