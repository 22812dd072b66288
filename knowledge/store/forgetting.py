"""Forgetting a person, a channel or an incident, and what is too old to keep. The audit log's chain stays whole.

A row of the log is emptied, not deleted: its salted digest stays in the chain, and without the salt nobody can find out
by trying what it said.
"""

import secrets
from collections.abc import Mapping

from sqlalchemy import ColumnElement, Select, Table, Text, cast, delete, func, not_, or_, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.choices import Verdict
from knowledge.store import audit as log
from knowledge.store import incidents as store
from knowledge.store import threads
from knowledge.store.baseline import OF_IDENTITY
from knowledge.store.tables import (
    alerts,
    audit,
    deliveries,
    incidents,
    key_choices,
    knowledge_items,
    metadata,
    outbox,
    queued_jobs,
)

# Rows by table.
Counts = dict[str, int]
ERASED = "erased"
_JOBS = "procrastinate.procrastinate_jobs"


async def person(db: AsyncConnection, user: str, *, dry_run: bool = False) -> Counts:
    """Put a made-up id in the place of a person's Slack id, wherever it stands; rows by table.

    Made up anew each time and kept nowhere, so that two people's votes stay two, and nobody can say whose they were.
    """
    await db.execute(text("SET LOCAL statement_timeout = 0"))  # reads everything
    instead = f"U0GONE{secrets.token_hex(5).upper()}"
    pattern = rf"\m{user}\M"
    counts: Counts = {}
    for table in metadata.sorted_tables:
        columns = [] if table is audit else _with_words(table)
        if columns:
            named = or_(*(cast(one, Text).regexp_match(pattern) for one in columns))
            changed = {one.name: _replaced(one, pattern, instead) for one in columns}
            await _count(db, counts, table, named, None if dry_run else changed)
    await _erase_log(
        db, counts, or_(audit.c.actor == user, cast(audit.c.payload, Text).regexp_match(pattern)), dry_run=dry_run
    )
    await _in_jobs(db, counts, pattern, instead, dry_run=dry_run)
    return counts


def _with_words(table: Table) -> list[ColumnElement[object]]:
    kinds = (Text, JSONB, ARRAY)
    return [one for one in table.c if isinstance(one.type, kinds) and one.computed is None and not one.foreign_keys]


def _replaced(column: ColumnElement[object], pattern: str, instead: str) -> ColumnElement[object]:
    return cast(func.regexp_replace(cast(column, Text), pattern, instead, "g"), column.type)


async def _in_jobs(db: AsyncConnection, counts: Counts, pattern: str, instead: str, *, dry_run: bool) -> None:
    """Clicks that are still to be counted, and those that were given up."""
    found = (await db.execute(
        text(f"SELECT count(*) FROM {_JOBS} WHERE args::text ~ :pattern"), {"pattern": pattern}  # noqa: S608  our own name
    )).scalar_one()  # fmt: skip
    if found and not dry_run:
        await db.execute(
            text(f"UPDATE {_JOBS} SET args = regexp_replace(args::text, :pattern, :instead, 'g')::jsonb "  # noqa: S608
                 "WHERE args::text ~ :pattern"),
            {"pattern": pattern, "instead": instead},
        )  # fmt: skip
    if found:
        counts["jobs"] = int(found)


async def channel(db: AsyncConnection, name: str, *, dry_run: bool = False) -> Counts:
    """Forget a channel: its remembered threads, what was asked there, and what came from and went there.

    It is marked, so that nothing of before is read from Slack again while the bot is there.
    """
    await db.execute(text("SET LOCAL statement_timeout = 0"))
    counts: Counts = {}
    of_threads = knowledge_items.c.channel == name
    await _count(db, counts, knowledge_items, of_threads)
    asked = (await db.execute(
        select(incidents.c.id).where(incidents.c.channel == name, incidents.c.source == "question")
    )).scalars().all()  # fmt: skip
    for number in asked:
        for table, rows in (await incident(db, int(number), dry_run=dry_run)).items():
            counts[table] = counts.get(table, 0) + rows
    came = (deliveries.c.state == "done") & cast(deliveries.c.body, Text).regexp_match(rf"\m{name}\M")
    await _count(db, counts, deliveries, came)
    said = (outbox.c.channel == name) & outbox.c.incident_id.is_(None) & outbox.c.state.in_(["sent", "failed"])
    await _count(db, counts, outbox, said)
    if not dry_run:
        # The mark first: who is keeping a thread holds the channel's row, and looks at the mark when it has it.
        await threads.mark_forgotten(db, name)
        await threads.forget_channel(db, name)
        await db.execute(delete(deliveries).where(came))
        await db.execute(delete(outbox).where(said))
    return counts


async def incident(db: AsyncConnection, number: int, *, dry_run: bool = False) -> Counts:
    """Forget an incident with all that hangs on it, what was merged into it, and what the audit log says of them."""
    counts: Counts = {}
    numbers = await store.with_merged(db, number)
    if dry_run:
        for table in metadata.sorted_tables:
            if "incident_id" in table.c and table is not audit:
                await _count(db, counts, table, table.c.incident_id.in_(numbers))
    else:
        counts |= dict(await store.erase(db, number))
    await _erase_log(db, counts, audit.c.incident_id.in_(numbers), dry_run=dry_run)
    return counts


async def _count(
    db: AsyncConnection,
    counts: Counts,
    table: Table,
    which: ColumnElement[bool],
    values: Mapping[str, object] | None = None,
) -> None:
    found = (await db.execute(select(func.count()).select_from(table).where(which))).scalar_one()
    if found:
        counts[table.name] = counts.get(table.name, 0) + int(found)
        if values:
            await db.execute(update(table).where(which).values(values))


async def _erase_log(
    db: AsyncConnection, counts: Counts, which: ColumnElement[bool], *, dry_run: bool
) -> None:  # fmt: skip
    """What is not sealed yet is sealed first: what is erased must be in the chain."""
    while not dry_run and await log.seal(db):
        pass
    which &= audit.c.payload.is_not(None)
    values = {"payload": None, "salt": b"", "actor": ERASED}
    await _count(db, counts, audit, which, None if dry_run else values)


# --- age --------------------------------------------------------------------------------------------------------------

# So many rows at a time: a short transaction, and the rest with the next tick.
BATCH = 1000

_OLD_DEAD_JOBS = text(f"""
    DELETE FROM {_JOBS} WHERE status = 'failed' AND id IN (
        SELECT job_id FROM procrastinate.dead_letters WHERE at < now() - make_interval(days => :days) LIMIT :most
    )
""")  # noqa: S608  our own name


async def old_deliveries(db: AsyncConnection, *, days: int) -> int:
    """Delete handled deliveries, alerts that belong to no incident, and messages of none; how many rows.

    What is still asked for stays: alerts of what failed before the bot came, without which it would be news, and
    messages that are drawn when they are sent (a storm's, an offer): by their rows they are found, to be edited.
    """
    before = func.now() - func.make_interval(0, 0, 0, days)
    failed_before = (
        select(key_choices.c.key)
        .where(
            key_choices.c.key == func.concat(OF_IDENTITY, alerts.c.identity),
            key_choices.c.verdict == Verdict.BASELINE,
        )
        .exists()
    )
    unheld = alerts.c.incident_id.is_(None) & (alerts.c.held == "") & not_(failed_before)
    sent = (outbox.c.state == "sent") & outbox.c.incident_id.is_(None) & outbox.c.payload["summary"].is_(None)
    gone = 0
    for table, which in (
        (deliveries, (deliveries.c.state == "done") & (deliveries.c.received_at < before)),
        (alerts, unheld & (alerts.c.received_at < before)),
        (outbox, sent & (outbox.c.sent_at < before)),
        (outbox, (outbox.c.state == "failed") & outbox.c.incident_id.is_(None) & (outbox.c.created_at < before)),
    ):
        gone += await _delete_some(db, table, which)
    return gone


async def old_dead_letters(db: AsyncConnection, *, days: int) -> int:
    """Delete jobs and deliveries that were given up so long ago and that nobody has had tried again; how many."""
    before = func.now() - func.make_interval(0, 0, 0, days)
    gone = await _delete_some(db, deliveries, (deliveries.c.state == "failed") & (deliveries.c.received_at < before))
    gone += await _delete_some(db, queued_jobs, (queued_jobs.c.state == "dead") & (queued_jobs.c.died_at < before))
    return gone + (await db.execute(_OLD_DEAD_JOBS, {"days": days, "most": BATCH})).rowcount


async def _delete_some(db: AsyncConnection, table: Table, which: ColumnElement[bool]) -> int:
    some: Select[tuple[int]] = select(table.c.id).where(which).limit(BATCH)
    return int((await db.execute(delete(table).where(table.c.id.in_(some)))).rowcount)


async def old_incidents(db: AsyncConnection, *, days: int, most: int = 20) -> list[int]:
    """The numbers of some incidents that ended so long ago."""
    before = func.now() - func.make_interval(0, 0, 0, days)
    query = select(incidents.c.id).where(incidents.c.resolved_at < before).order_by(incidents.c.resolved_at).limit(most)
    return [int(number) for number in (await db.execute(query)).scalars()]
