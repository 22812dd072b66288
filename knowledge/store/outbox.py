"""What is to be said in Slack, once: written with the facts it tells, sent later by one sender.

A row's `key` makes it unique: writing it again changes nothing, except for a card, whose row is set to be sent again.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Integer,
    Interval,
    Select,
    Text,
    and_,
    any_,
    bindparam,
    case,
    cast,
    delete,
    func,
    literal,
    not_,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, Insert, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.store.database import announced
from knowledge.store.tables import alerts, cards, incidents, outbox, slack_channels, storms

CHANNEL = "codehealer_outbox"

# Smaller goes first: people who wait, then new incidents, then those of a storm, what changed, and mere counts.
URGENT, NEW, IN_STORM, CHANGED, COUNTED = 0, 5, 7, 10, 50


@dataclass(frozen=True, slots=True)
class Message:
    """A row to be sent."""

    id: int
    kind: str
    key: str
    incident_id: int | None
    channel: str
    payload: Mapping[str, Any]
    priority: int
    state: str
    version: int
    attempts: int
    created_at: datetime

    @property
    def uncertain(self) -> bool:
        """An earlier attempt may have reached Slack."""
        return self.state == "sending" or self.attempts > 0


# Said of every change of every incident, so built once.
_GIVEN = {
    "kind": bindparam("of_kind"),
    "key": bindparam("its_key"),
    "channel": bindparam("in_channel"),
    "payload": bindparam("says", type_=outbox.c.payload.type),
    "incident_id": bindparam("of_incident"),
    "priority": bindparam("goes"),
}
_PUT = announced(
    insert(outbox)
    .values({**_GIVEN, "not_before": func.now() + bindparam("after", type_=Interval)})
    .on_conflict_do_nothing(index_elements=["key"])
    .returning(outbox.c.id),
    CHANNEL,
)


async def put(
    db: AsyncConnection,
    *,
    kind: str,
    key: str,
    channel: str,
    payload: Mapping[str, Any],
    incident_id: int | None = None,
    priority: int = CHANGED,
    in_s: float = 0,
) -> None:
    """Queue a post, a direct or an ephemeral message or a reaction; a second row with the same key is dropped."""
    await db.execute(
        _PUT,
        {
            "of_kind": kind,
            "its_key": key,
            "in_channel": channel,
            "says": dict(payload),
            "of_incident": incident_id,
            "goes": priority,
            "after": timedelta(seconds=in_s),
        },
    )


def _put_cards(statement: Insert) -> Insert:
    """A waiting edit is brought forward; a card that was sent before starts afresh, without its old time and
    priority."""
    waiting = outbox.c.state.in_(["queued", "sending"])
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=["key"],
        set_={
            "state": case((waiting, outbox.c.state), else_="queued"),
            "version": outbox.c.version + 1,
            "attempts": case((waiting, outbox.c.attempts), else_=func.least(outbox.c.attempts, 1)),
            "error": "",
            "priority": case((waiting, func.least(outbox.c.priority, new.priority)), else_=new.priority),
            "not_before": case(
                (outbox.c.state == "sending", outbox.c.not_before),
                (waiting, func.least(outbox.c.not_before, new.not_before)),
                else_=new.not_before,
            ),
        },
    )


_NOT_BEFORE = func.now() + bindparam("after", type_=Interval)
_PUT_CARD = announced(
    _put_cards(insert(outbox).values(**_GIVEN, not_before=_NOT_BEFORE)).returning(outbox.c.id), CHANNEL
)
_COUNTED = func.unnest(bindparam("of_incidents", type_=ARRAY(BigInteger))).table_valued("id").render_derived()
# In the order of their numbers, so that no two wait for each other.
_COUNT_CARDS = _put_cards(
    insert(outbox).from_select(
        [*_GIVEN, "not_before"],
        select(
            literal("card"),
            literal("card:") + cast(_COUNTED.c.id, Text),
            bindparam("in_channel", type_=Text),
            literal({}, outbox.c.payload.type),
            _COUNTED.c.id,
            literal(COUNTED),
            _NOT_BEFORE,
        ).order_by(_COUNTED.c.id),
    )
)


async def put_card(
    db: AsyncConnection,
    incident_id: int,
    channel: str,
    *,
    payload: Mapping[str, Any],
    priority: int = CHANGED,
    in_s: float = 0,
) -> None:
    """Show the incident's card as it is when it is sent; a waiting edit is brought forward, never doubled.

    The caller's transaction has opened the incident's card before, or does so with `new_card`.
    """
    await db.execute(
        _PUT_CARD,
        {
            "of_kind": "card",
            "its_key": f"card:{incident_id}",
            "in_channel": channel,
            "says": dict(payload),
            "of_incident": incident_id,
            "goes": priority,
            "after": timedelta(seconds=in_s),
        },
    )


async def count_cards(db: AsyncConnection, incident_ids: Collection[int], channel: str, *, in_s: float) -> None:
    """Show the cards of some incidents as they are in `in_s` seconds, or sooner where they are shown anew anyway.

    The sender is not woken: it looks every few seconds, and the counts of a storm would do nothing but wake it.
    """
    if incident_ids:
        values = {"of_incidents": list(incident_ids), "in_channel": channel, "after": timedelta(seconds=in_s)}
        await db.execute(_COUNT_CARDS, values)


def _show_summary() -> Select[Any]:
    statement = insert(outbox).values(**_GIVEN, not_before=_NOT_BEFORE)
    waiting = outbox.c.state.in_(["queued", "sending"])
    due = statement.excluded.not_before
    again = statement.on_conflict_do_update(
        index_elements=["key"],
        set_={
            "state": "queued",
            "version": outbox.c.version + 1,
            "attempts": 0,
            "not_before": case((waiting, func.least(outbox.c.not_before, due)), else_=due),
        },
    )
    return announced(again.returning(outbox.c.id), CHANNEL)


_SHOW_SUMMARY = _show_summary()


async def put_summary(db: AsyncConnection, key: str, channel: str) -> None:
    """One message about several incidents, drawn when it is sent; a second one with the same key is dropped."""
    await put(db, kind="post", key=key, channel=channel, payload={"summary": key, "text": ""}, priority=NEW)


async def show_summary(db: AsyncConnection, key: str, channel: str, *, in_s: float) -> None:
    """Edit that message some time soon; a waiting edit is not doubled."""
    values = {
        "of_kind": "edit",
        "its_key": f"edit:{key}",
        "in_channel": channel,
        "says": {"of": key, "summary": key},
        "of_incident": None,
        "goes": CHANGED,
        "after": timedelta(seconds=in_s),
    }
    await db.execute(_SHOW_SUMMARY, values)


_CALLS = outbox.alias("calls")
_SETTLED = (
    select(
        literal("edit"), func.concat("edit:", _CALLS.c.key), _CALLS.c.channel,
        func.jsonb_build_object("of", _CALLS.c.key), _CALLS.c.incident_id, literal(CHANGED),
    )
    .where(
        _CALLS.c.incident_id == bindparam("its_id"),
        _CALLS.c.kind == "post",
        _CALLS.c.key.startswith("call:", autoescape=True),
        _CALLS.c.key != bindparam("its_own"),
        not_(func.starts_with(_CALLS.c.key, bindparam("its_own", type_=Text) + ":")),
        _CALLS.c.state != "failed",
    )
)  # fmt: skip


_SETTLE = announced(
    insert(outbox)
    .from_select(["kind", "key", "channel", "payload", "incident_id", "priority"], _SETTLED)
    .on_conflict_do_update(
        index_elements=["key"],
        set_={"state": "queued", "version": outbox.c.version + 1, "attempts": 0, "not_before": func.now()},
    )
    .returning(outbox.c.id),
    CHANNEL,
)


async def settle_calls(db: AsyncConnection, incident_id: int, *, revision: int) -> None:
    """Edit what was said to call people to this incident, but for the call of this revision, which still holds.

    What it then says is drawn when it is sent. An edit notifies nobody.
    """
    await db.execute(_SETTLE, {"its_id": incident_id, "its_own": call_key(incident_id, revision)})


def call_key(incident_id: int, revision: int) -> str:
    """The key of what is said to call people to an incident in one of its revisions."""
    return f"call:{revision}:{incident_id}"


AFTER_QUIET, WORSE = ":after-quiet", ":worse"
QUIET_AT_ONCE = 100
_AGAIN = outbox.alias("again")
_QUIET = (
    select(outbox.c.incident_id)
    .join(incidents, incidents.c.id == outbox.c.incident_id)
    .where(
        outbox.c.kind == "post",
        # As a literal: the partial index is found by it.
        text("outbox.key LIKE 'call:%'"),
        outbox.c.payload["quiet"].is_not(None),
        outbox.c.key == func.concat("call:", incidents.c.revision, ":", incidents.c.id),
        incidents.c.resolved_at.is_(None),
        not_(
            select(_AGAIN.c.id)
            .where(_AGAIN.c.key.in_([func.concat(outbox.c.key, suffix) for suffix in (AFTER_QUIET, WORSE)]))
            .exists()
        ),
        outbox.c.incident_id > bindparam("beyond"),
    )
    .order_by(outbox.c.incident_id)
    .limit(bindparam("most"))
)


async def quiet_calls(db: AsyncConnection, *, beyond: int = 0) -> Sequence[int]:
    """The incidents whose call still holds, was made in quiet hours, and was not made again since, by number.

    No more than QUIET_AT_ONCE; those after them are had with the last one's number as `beyond`.
    """
    found = await db.execute(_QUIET, {"beyond": beyond, "most": QUIET_AT_ONCE})
    return [row.incident_id for row in found]


_POSTED_TS = select(outbox.c.ts).where(outbox.c.key == bindparam("its_key"), outbox.c.kind == "post")
_NEW_CARD = insert(cards)


async def posted_ts(db: AsyncConnection, key: str) -> str:
    """Where in its channel a message of ours stands; "" while it does not."""
    found = await db.execute(_POSTED_TS, {"its_key": key})
    return found.scalar_one_or_none() or ""


async def known(db: AsyncConnection, key: str) -> bool:
    """Whether something is said, or to be said, under this key."""
    return (await db.execute(select(outbox.c.id).where(outbox.c.key == key))).first() is not None


async def about(db: AsyncConnection, key: str) -> int | None:
    """The incident that what was said under this key is about."""
    found = (await db.execute(select(outbox.c.incident_id).where(outbox.c.key == key))).scalar_one_or_none()
    return int(found) if found is not None else None


async def new_card(db: AsyncConnection, incident_id: int, channel: str) -> None:
    """A place for the card of an incident that the caller's transaction has just opened."""
    await db.execute(_NEW_CARD, {"incident_id": incident_id, "channel": channel})


def _waits() -> ColumnElement[bool]:
    """What is still to be said, without replies whose card is not there, and edits of what is not: those of one that
    failed would wait ahead of everything else."""
    posted = select(cards.c.ts).where(cards.c.incident_id == outbox.c.incident_id, cards.c.ts != "").exists()
    orphaned = and_(outbox.c.kind == "post", outbox.c.payload["in_thread"].is_not(None), not_(posted))
    said = select(_CALLS.c.id).where(_CALLS.c.key == outbox.c.payload["of"].astext, _CALLS.c.ts != "").exists()
    there = or_(said, outbox.c.payload["ts"].is_not(None))
    return and_(outbox.c.state.in_(["queued", "sending"]), not_(orphaned), or_(outbox.c.kind != "edit", there))


def _due() -> Select[Any]:
    turn = func.row_number().over(
        partition_by=(outbox.c.channel, outbox.c.kind), order_by=(outbox.c.priority, outbox.c.id)
    )
    ranked = (
        select(
            outbox.c.id,
            outbox.c.kind,
            outbox.c.key,
            outbox.c.incident_id,
            outbox.c.channel,
            outbox.c.payload,
            outbox.c.priority,
            outbox.c.state,
            outbox.c.version,
            outbox.c.attempts,
            outbox.c.created_at,
            turn.label("turn"),
        )
        .where(_waits(), outbox.c.not_before <= func.now())
        .subquery()
    )
    shown = [column for column in ranked.c if column.name != "turn"]
    return select(*shown).where(ranked.c.turn <= bindparam("most")).order_by(ranked.c.priority, ranked.c.id)


_DUE = _due()
_NEXT_DUE = select(func.extract("epoch", func.min(outbox.c.not_before) - func.now())).where(_waits())


async def due(db: AsyncConnection, *, limit: int = 20) -> Sequence[Message]:
    """What may be sent now, most urgent first: of each kind at most `limit` a channel, so that a channel whose posts
    wait for Slack's limit holds up no other, nor an answer to a person. Rows that a sender left `sending` when it died
    are due again.
    """
    rows = await db.execute(_DUE, {"most": limit})
    return [Message(**row) for row in rows.mappings()]


async def next_due_s(db: AsyncConnection) -> float | None:
    """Seconds until the next waiting row is due; None when nothing waits."""
    value = await db.execute(_NEXT_DUE)
    seconds = value.scalar_one_or_none()
    return max(0.0, float(seconds)) if seconds is not None else None


_BACKLOG = (
    select(outbox.c.not_before)
    .where(_waits(), outbox.c.not_before <= func.now())
    .limit(bindparam("most", type_=Integer))
    .subquery()
)
_OVERDUE = select(
    func.count(), func.coalesce(func.max(func.extract("epoch", func.now() - _BACKLOG.c.not_before)), 0)
).select_from(_BACKLOG)


async def backlog(db: AsyncConnection, *, most: int) -> tuple[int, float]:
    """How many messages may be sent now, `most` at most, and how long the oldest of them has been due, in seconds."""
    count, oldest_s = (await db.execute(_OVERDUE, {"most": most})).one()
    return count, float(oldest_s)


# By then a request that a dead or deposed sender left on its way is seen in Slack, or never will be.
IN_FLIGHT = timedelta(seconds=3)
_SENDING = (
    update(outbox)
    .where(
        outbox.c.id == bindparam("its_id"),
        outbox.c.state == bindparam("its_state"),
        outbox.c.attempts == bindparam("its_attempts"),
        or_(outbox.c.not_before <= func.now(), outbox.c.not_before == bindparam("ours_until", type_=DateTime(True))),
    )
    .values(state="sending", not_before=func.clock_timestamp() + literal(IN_FLIGHT, Interval))
    .returning(outbox.c.not_before)
)


async def sending(db: AsyncConnection, message: Message, ours_until: datetime | None = None) -> datetime | None:
    """Say, before the request leaves, that it may have reached Slack from now on: another sender takes it up, and looks
    for it, only when it would be seen there.

    The time until which it is ours, to be said again with `ours_until` before another request; None when meanwhile
    another sender has taken up or sent what was read as `message`.
    """
    state = "sending" if ours_until else message.state
    values = {"its_id": message.id, "its_state": state, "its_attempts": message.attempts, "ours_until": ours_until}
    until: datetime | None = (await db.execute(_SENDING, values)).scalar_one_or_none()
    return until


async def begun(db: AsyncConnection, message: Message, ts: str) -> None:
    """A streamed message has begun and is not whole yet: where it stands, for whoever has to complete it."""
    await db.execute(update(outbox).where(outbox.c.id == message.id).values(ts=ts))


_AS_SENT = outbox.c.version == bindparam("its_version")
_SENT = (
    update(outbox)
    .where(outbox.c.id == bindparam("its_id"))
    .values(
        state=case((_AS_SENT, "sent"), else_="queued"),
        ts=bindparam("its_ts"),
        sent_at=case((_AS_SENT, func.now()), else_=outbox.c.sent_at),
        error=case((_AS_SENT, ""), else_=outbox.c.error),
        attempts=0,
        not_before=case((_AS_SENT, outbox.c.not_before), else_=func.now()),
    )
    .returning(func.extract("epoch", func.clock_timestamp() - outbox.c.created_at))
)


async def sent(db: AsyncConnection, message: Message, ts: str) -> float:
    """It is there. A card that was asked for again meanwhile stays queued. Seconds since it was first asked for."""
    given = {"its_id": message.id, "its_version": message.version, "its_ts": ts}
    return float((await db.execute(_SENT, given)).scalar_one_or_none() or 0)


async def waits(db: AsyncConnection, channel: str) -> bool:
    """Whether something is still to be said there."""
    query = select(outbox.c.id).where(outbox.c.state.in_(["queued", "sending"]), outbox.c.channel == channel).limit(1)
    return (await db.execute(query)).first() is not None


async def forget(db: AsyncConnection, message: Message) -> None:
    """It is there, and nobody will ask where it was."""
    await db.execute(delete(outbox).where(outbox.c.id == message.id))


async def again(db: AsyncConnection, message: Message, *, in_s: float, error: str, waited: bool = False) -> None:
    """Try again later; waiting for a rate limit is no failed attempt, but what was uncertain before stays so."""
    attempts = outbox.c.attempts if waited else outbox.c.attempts + 1
    state = "sending" if waited and message.state == "sending" else "queued"
    await db.execute(
        update(outbox)
        .where(outbox.c.id == message.id)
        .values(state=state, attempts=attempts, not_before=func.now() + timedelta(seconds=in_s), error=error[:300])
    )


async def anew(db: AsyncConnection, message: Message, *, error: str) -> None:
    """Say it again, surely: what was posted before is gone."""
    await db.execute(update(outbox).where(outbox.c.id == message.id).values(state="queued", attempts=0, error=error))


async def gave_up(db: AsyncConnection, message: Message, error: str) -> None:
    """It is not said, and what was to be edited in it is not either."""
    gone = or_(outbox.c.id == message.id, outbox.c.key == f"edit:{message.key}")
    await db.execute(update(outbox).where(gone).values(state="failed", error=error[:300]))


@dataclass(frozen=True, slots=True)
class CardPlace:
    """Where a card is. `ts` is empty until it is posted; `shown` is the digest of what it shows.

    `before` is the ts of an earlier card in the channel that cannot be edited and whose thread is still to be told;
    `note` (mrkdwn of ours) says on the card why it stands here. A card in a storm's thread has the storm's id, and the
    ts of its message as `root`, "" until that is posted.
    """

    channel: str
    ts: str
    shown: str
    storm_id: int | None = None
    root: str = ""
    before: str = ""
    note: str = ""


def storm_key(storm_id: int) -> str:
    """The key of the message that tells of a storm."""
    return f"storm:{storm_id}"


_STORM = outbox.alias("storm")
_PLACES = (
    select(
        cards.c.incident_id,
        cards.c.channel,
        cards.c.ts,
        cards.c.shown,
        cards.c.before,
        cards.c.note,
        incidents.c.storm_id,
        func.coalesce(_STORM.c.ts, "").label("root"),
    )
    .join(incidents, incidents.c.id == cards.c.incident_id)
    .outerjoin(_STORM, _STORM.c.key == func.concat("storm:", incidents.c.storm_id))
    .where(cards.c.incident_id == any_(bindparam("their_ids", type_=ARRAY(BigInteger))))
)


async def card_place(db: AsyncConnection, incident_id: int) -> CardPlace | None:
    return (await card_places(db, [incident_id])).get(incident_id)


async def card_places(db: AsyncConnection, incident_ids: Iterable[int]) -> Mapping[int, CardPlace]:
    """Where the cards of some incidents are, by the incident."""
    rows = await db.execute(_PLACES, {"their_ids": list(incident_ids)})
    return {
        row.incident_id: CardPlace(row.channel, row.ts, row.shown, row.storm_id, row.root, row.before, row.note)
        for row in rows
    }


_SHOWN = (
    update(cards)
    .where(cards.c.incident_id == bindparam("its_id"))
    .values(
        channel=bindparam("in_channel"),
        ts=bindparam("its_ts"),
        shown=bindparam("it_shows"),
        posted_at=func.coalesce(cards.c.posted_at, func.now()),
        edited_at=func.now(),
        before="",
    )
)


async def card_shown(db: AsyncConnection, incident_id: int, *, channel: str, ts: str, shown: str) -> None:
    await db.execute(_SHOWN, {"its_id": incident_id, "in_channel": channel, "its_ts": ts, "it_shows": shown})


async def post_anew(db: AsyncConnection, message: Message, *, error: str, before: str, note: str) -> None:
    """Post a card once more, since what stands there cannot be edited; `before` is its ts, "" where it is gone."""
    await anew(db, message, error=error)
    changes = {"ts": "", "shown": "", "before": before, **({"note": note} if note else {})}
    await db.execute(update(cards).where(cards.c.incident_id == message.incident_id).values(**changes))


async def move_card(db: AsyncConnection, message: Message, channel: str, *, error: str, note: str) -> bool:
    """Give a card, and what waits to be said in its thread, another channel; False where its words must not go there.

    What was posted where not everybody reads stays there, and so do what was to be posted there and what was asked: of
    a conversation that the bot is not in (any more), nobody knows who reads it.
    """
    asked = select(incidents.c.id).where(incidents.c.id == message.incident_id, incidents.c.source == "question")
    posted_closed = select(alerts.c.id).where(
        alerts.c.incident_id == message.incident_id, alerts.c.payload["closed"].astext == "true"
    )
    is_closed = select(slack_channels.c.channel).where(
        slack_channels.c.channel == message.channel, slack_channels.c.audience == "members"
    )
    if await db.scalar(select(or_(asked.exists(), posted_closed.exists(), is_closed.exists()))):
        return False
    its = outbox.c.incident_id == message.incident_id
    moved = outbox.c.payload.op("-", return_type=outbox.c.payload.type)("thread_ts").op("||")({"in_thread": True})
    waits = and_(its, outbox.c.channel == message.channel, outbox.c.state.in_(["queued", "sending"]))
    await db.execute(
        update(outbox)
        .where(or_(outbox.c.id == message.id, waits))
        .values(channel=channel, payload=moved, state="queued", attempts=0)
    )
    await anew(db, message, error=error)
    place = {"channel": channel, "ts": "", "shown": "", "before": "", "note": note}
    await db.execute(update(cards).where(cards.c.incident_id == message.incident_id).values(**place))
    await db.execute(
        update(incidents)
        .where(incidents.c.id == message.incident_id)
        .values(
            channel=channel,
            meant_channel=func.coalesce(func.nullif(incidents.c.meant_channel, ""), message.channel),
            thread_ts="",
            storm_id=None,
        )
    )
    return True


async def disband(db: AsyncConnection, message: Message) -> None:
    """The message of a storm can't be said: its incidents, which wait for it, have cards of their own again."""
    await db.execute(delete(storms).where(storms.c.id == int(message.key.removeprefix("storm:"))))


async def say_instead(
    db: AsyncConnection, message: Message, *, kind: str, channel: str, payload: Mapping[str, Any], error: str
) -> None:
    """Say another thing in a message's place, since it does not reach whom it is for."""
    await db.execute(
        update(outbox)
        .where(outbox.c.id == message.id)
        .values(kind=kind, channel=channel, payload=dict(payload), state="queued", attempts=0, error=error[:300])
    )


_STANDING = (
    select(outbox.c.channel, outbox.c.ts, outbox.c.key)
    .where(
        outbox.c.incident_id == bindparam("its_id"),
        outbox.c.kind == "post",
        outbox.c.key.startswith("call:", autoescape=True),
        outbox.c.ts != "",
    )
    .union_all(
        select(cards.c.channel, cards.c.ts, literal("card")).where(
            cards.c.incident_id == bindparam("its_id"), cards.c.ts != ""
        )
    )
)


async def bid_farewell(db: AsyncConnection, incident_id: int, text: str) -> None:
    """Before an incident is deleted: have its card and its calls say so, and ask for nothing any more."""
    for row in (await db.execute(_STANDING, {"its_id": incident_id})).all():
        payload = {"ts": row.ts, "text": text}
        await put(db, kind="edit", key=f"deleted:{incident_id}:{row.ts}", channel=row.channel, payload=payload)


async def clear(db: AsyncConnection) -> None:
    """Forget all that was to be said: the sandbox, whose workspace is new at each start, has nobody to say it to."""
    await db.execute(delete(outbox))
    await db.execute(delete(cards))
