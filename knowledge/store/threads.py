"""The index of Slack threads: its channels, who may read what, and what has to go.

A thread is a knowledge item with a channel, so that it is searched and ranked with everything else that is remembered.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, and_, delete, false, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.backfill import Backfill
from knowledge.model import Precedent
from knowledge.slack_threads import SOURCE, as_ts, item_id
from knowledge.store import switches
from knowledge.store.codec import from_json, to_json
from knowledge.store.tables import incidents, knowledge_items, slack_channels

# all: a public channel; members: a private one; outside: other companies are in it, nothing of it is ever kept.
Audience = Literal["all", "members", "outside"]
DIRECT_MESSAGE = "D"
# Followed by a channel's id; the value is the ts up to which it was forgotten. Not in the channel's row, which goes
# when the bot leaves: whoever invites it again would give back what was forgotten.
FORGOTTEN = "threads:forgotten:"


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel that the bot is in."""

    id: str
    name: str
    audience: Audience
    looked_at: datetime
    backfill: Backfill


@dataclass(frozen=True, slots=True)
class Closed:
    """What is told of in its own channel alone: incidents in these namespaces, and imported ones of these services."""

    namespaces: frozenset[str] = frozenset()
    services: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Asked:
    """Where a question is asked, which decides what may be read for it.

    `channel` is a channel's id; "" is nobody's channel: only what all may read. `only_in` limits threads to these
    channels; `not_items` are never an answer, such as the thread that asks. An `operator` at the command line, who has
    the database, is told of every incident.
    """

    channel: str = ""
    only_in: frozenset[str] = frozenset()
    not_items: frozenset[str] = frozenset()
    closed: Closed = Closed()
    operator: bool = False


NOBODY = Asked()
OPERATOR = Asked(operator=True)


# --- channels ----------------------------------------------------------------------------------------------------


def _channel(row: Any) -> Channel:
    return Channel(row.channel, row.name, row.audience, row.looked_at, from_json(Backfill, row.backfill))


async def channels(db: AsyncConnection) -> Sequence[Channel]:
    rows = await db.execute(select(slack_channels).order_by(slack_channels.c.name, slack_channels.c.channel))
    return [_channel(row) for row in rows]


async def channel(db: AsyncConnection, channel_id: str, *, share: bool = False) -> Channel | None:
    """One channel; with `share` it stays as it is until the transaction ends."""
    query = select(slack_channels).where(slack_channels.c.channel == channel_id)
    row = (await db.execute(query.with_for_update(read=True) if share else query)).one_or_none()
    return _channel(row) if row else None


async def put_channel(db: AsyncConnection, channel_id: str, *, name: str, audience: Audience, now: datetime) -> None:
    """Note what a channel is now. When other companies have come in, its threads go."""
    values = {"name": name, "audience": audience, "looked_at": now}
    statement = insert(slack_channels).values(channel=channel_id, **values)
    await db.execute(statement.on_conflict_do_update(index_elements=["channel"], set_=values))
    if audience == "outside":
        await drop_threads(db, channel_id)


async def put_backfill(db: AsyncConnection, channel_id: str, state: Backfill) -> None:
    await db.execute(
        update(slack_channels).where(slack_channels.c.channel == channel_id).values(backfill=to_json(state))
    )


async def forget_channel(db: AsyncConnection, channel_id: str) -> None:
    """The bot is out of a channel: its threads go with its row."""
    await db.execute(delete(slack_channels).where(slack_channels.c.channel == channel_id))


async def mark_forgotten(db: AsyncConnection, channel_id: str) -> None:
    """From now on nothing that began in the channel before now is read or kept, however often the bot comes back."""
    now = (await db.execute(select(func.now()))).scalar_one()
    await switches.write(db, f"{FORGOTTEN}{channel_id}", as_ts(now), by="codehealer")


async def forgotten_up_to(db: AsyncConnection, channel_id: str) -> str:
    """The ts up to which a channel was forgotten; "" where it never was."""
    mark = await switches.read(db, f"{FORGOTTEN}{channel_id}")
    return str(mark.value) if mark else ""


async def drop_forgotten(db: AsyncConnection) -> int:
    """Drop again what was forgotten: a version that does not know the marks may have read it since."""
    marks = await switches.beginning_with(db, FORGOTTEN)
    return sum([
        await drop_between(db, channel_id, after="", before=str(mark.value), but=())
        for channel_id, mark in marks.items()
    ])  # fmt: skip


async def forget_other_channels(db: AsyncConnection, still_in: Collection[str]) -> Sequence[str]:
    """Forget every channel but these; which were forgotten."""
    gone = delete(slack_channels).where(slack_channels.c.channel.not_in(list(still_in)))
    return list((await db.execute(gone.returning(slack_channels.c.channel))).scalars())


# --- threads -----------------------------------------------------------------------------------------------------


async def known(db: AsyncConnection, channel_id: str, thread_ts: str) -> bool:
    query = select(knowledge_items.c.id).where(knowledge_items.c.id == item_id(channel_id, thread_ts))
    return (await db.execute(query)).one_or_none() is not None


async def drop(db: AsyncConnection, channel_id: str, thread_ts: str) -> bool:
    """Forget a thread; False when it was not kept."""
    gone = delete(knowledge_items).where(knowledge_items.c.id == item_id(channel_id, thread_ts))
    return (await db.execute(gone.returning(knowledge_items.c.id))).one_or_none() is not None


async def drop_threads(db: AsyncConnection, channel_id: str) -> int:
    """Forget a channel's threads and that they were read."""
    gone = delete(knowledge_items).where(knowledge_items.c.channel == channel_id)
    dropped = len((await db.execute(gone.returning(knowledge_items.c.id))).all())
    await put_backfill(db, channel_id, Backfill())
    return dropped


async def drop_older(db: AsyncConnection, oldest: datetime) -> int:
    """Forget the threads that began before `oldest`."""
    gone = delete(knowledge_items).where(knowledge_items.c.channel.is_not(None), knowledge_items.c.occurred_at < oldest)
    return len((await db.execute(gone.returning(knowledge_items.c.id))).all())


async def drop_between(db: AsyncConnection, channel_id: str, *, after: str, before: str, but: Collection[str]) -> int:
    """Forget the threads of a channel that began at or after one ts and before another, and are none of `but` (ids)."""
    ts = func.substr(knowledge_items.c.id, len(item_id(channel_id, "")) + 1)
    gone = delete(knowledge_items).where(
        knowledge_items.c.channel == channel_id, ts >= after, ts < before, knowledge_items.c.id.not_in(list(but))
    )
    return len((await db.execute(gone.returning(knowledge_items.c.id))).all())


async def counts(db: AsyncConnection) -> Mapping[str, int]:
    """Threads kept, by channel."""
    rows = await db.execute(
        select(knowledge_items.c.channel, func.count().label("threads"))
        .where(knowledge_items.c.channel.is_not(None))
        .group_by(knowledge_items.c.channel)
    )
    return {row.channel: row.threads for row in rows}


# --- who may read ------------------------------------------------------------------------------------------------


async def readable(db: AsyncConnection, asked: Asked) -> list[ColumnElement[bool]]:
    """Conditions on knowledge items: the threads, and what incidents taught, that may be read where it is asked.

    What happened in a public channel is for all, in a private one for itself. Where other companies read along, and in
    a channel that is not known (yet), nothing is shown but what happened there.
    """
    conditions: list[ColumnElement[bool]] = []
    if asked.not_items:
        conditions.append(knowledge_items.c.id.not_in(sorted(asked.not_items)))
    column = knowledge_items.c.channel
    public = column.in_(select(slack_channels.c.channel).where(slack_channels.c.audience == "all"))
    seen: ColumnElement[bool] = public
    if asked.channel and not asked.channel.startswith(DIRECT_MESSAGE):
        place = await channel(db, asked.channel)
        if place is None or place.audience == "outside":
            return [*conditions, *_of_incidents(asked, elsewhere=False), column.is_(None)]
        seen = or_(public, column == asked.channel)
    if asked.only_in:
        seen = and_(seen, column.in_(sorted(asked.only_in)))
    return [*conditions, *_of_incidents(asked), or_(column.is_(None), seen)]


# A name of its own: queries that these conditions go into may name incidents themselves.
_LEARNT_FROM = incidents.alias("learnt_from")


def _of_incidents(asked: Asked, *, elsewhere: bool = True) -> list[ColumnElement[bool]]:
    """Conditions on what was learnt from incidents: those whose card stands here, or where everybody reads it."""
    if asked.operator:
        return []
    public = select(slack_channels.c.channel).where(slack_channels.c.audience == "all")
    told: ColumnElement[bool] = _LEARNT_FROM.c.channel.in_(public) if elsewhere else false()
    if asked.closed.namespaces:
        closed = sorted(asked.closed.namespaces)
        inside = func.coalesce(_LEARNT_FROM.c.target["namespace"].astext, "")
        told = and_(told, _LEARNT_FROM.c.namespace.not_in(closed), inside.not_in(closed))
    here = _LEARNT_FROM.c.channel.in_(["", asked.channel])
    shown = (
        select(_LEARNT_FROM.c.id).where(_LEARNT_FROM.c.id == knowledge_items.c.incident_id, or_(here, told)).exists()
    )
    conditions: list[ColumnElement[bool]] = [or_(knowledge_items.c.incident_id.is_(None), shown)]
    if asked.closed.services:
        other = knowledge_items.c.service.not_in(sorted(asked.closed.services))
        conditions.append(or_(knowledge_items.c.incident_id.is_not(None), other))
    return conditions


async def with_text(db: AsyncConnection, precedents: Sequence[Precedent], asked: Asked) -> tuple[Precedent, ...]:
    """The stored precedents, threads as they are now; without what may not be read here, and threads that are gone."""
    if not precedents:
        return ()
    columns = [knowledge_items.c[name] for name in ("id", "cause", "fix", "excerpt", "link")]
    stored = select(*columns).where(knowledge_items.c.id.in_([one.item.id for one in precedents]))
    known = {row.id for row in await db.execute(stored)}
    allowed = (await db.execute(stored.where(*await readable(db, asked)))).mappings()
    texts = {row["id"]: dict(row) for row in allowed}
    return tuple(
        replace(one, item=replace(one.item, **texts[one.item.id])) if one.item.source == SOURCE else one
        for one in precedents
        if one.item.id in texts or (one.item.source != SOURCE and one.item.id not in known)
    )
