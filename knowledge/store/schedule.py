"""What the clock asks for, and the database decides: who takes a period, what has gone quiet, what a digest tells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.store.tables import schedule_runs

FOLLOWED_UP = "incident.followed_up"

# Work of ours is not news that is missing; nor is what people have put off or approved for later.
_QUIET = text("""
    SELECT id FROM incidents AS i
    WHERE resolved_at IS NULL AND NOT (source = 'question' AND NOT trusted)
        AND state NOT IN ('detected', 'diagnosing', 'running', 'verifying')
        AND GREATEST(last_alert_at, opened_at) < now() - make_interval(secs => :quiet_s)
        AND NOT EXISTS (SELECT FROM audit AS a WHERE a.incident_id = i.id
            AND (a.what = :followed_up OR a.at > now() - make_interval(secs => :quiet_s)))
        AND NOT EXISTS (SELECT FROM approvals AS p WHERE p.incident_id = i.id
            AND (p.state = 'scheduled' OR p.snoozed_until > now()))
    ORDER BY id LIMIT :most
""")
_DIGEST = text("""
    SELECT COALESCE(NULLIF(channel, ''), :channel) AS channel,
        count(*) FILTER (WHERE opened_at >= :since AND opened_at < :until) AS opened,
        count(*) FILTER (WHERE resolved_at >= :since AND resolved_at < :until AND state = 'healed') AS healed,
        count(*) FILTER (WHERE resolved_at >= :since AND resolved_at < :until AND state <> 'healed') AS ended,
        count(*) FILTER (WHERE resolved_at IS NULL) AS open,
        count(*) FILTER (WHERE resolved_at IS NULL AND last_alert_at < :until - interval '1 day') AS stale,
        (array_agg(id ORDER BY id) FILTER (WHERE resolved_at IS NULL))[1:5] AS oldest,
        count(asked.until) AS waiting, min(asked.until) AS first_until
    FROM incidents LEFT JOIN (
        SELECT incident_id, min(until) AS until FROM approvals WHERE state = 'open' AND until > now() GROUP BY 1
    ) AS asked ON asked.incident_id = incidents.id
    WHERE (resolved_at IS NULL OR resolved_at >= :since OR opened_at >= :since)
        AND NOT (source = 'question' AND NOT trusted) AND merged_into IS NULL
    GROUP BY 1 ORDER BY 1
""")
# The days are the last ones before the hour at which the digest is due, each beginning at that hour.
_DAYS = text("""
    SELECT COALESCE(NULLIF(channel, ''), :channel) AS channel, day.at AS day,
        count(*) FILTER (WHERE opened_at >= day.at AND opened_at < day.at + interval '1 day') AS opened,
        count(*) FILTER (WHERE resolved_at >= day.at AND resolved_at < day.at + interval '1 day') AS ended
    FROM generate_series(:since, :until - interval '1 day', interval '1 day') AS day (at)
    JOIN incidents ON (opened_at >= :since OR resolved_at >= :since) AND NOT (source = 'question' AND NOT trusted)
        AND merged_into IS NULL
    GROUP BY 1, 2 ORDER BY 1, 2
""")


@dataclass(frozen=True, slots=True)
class DigestDay:
    """What opened and ended in a channel in the 24 hours from `day` on."""

    day: datetime
    opened: int
    ended: int


@dataclass(frozen=True, slots=True)
class Digest:
    """One channel's incidents in a period; `oldest` are up to five ids of those that are open now.

    `stale` are open and had no alert for a day; `waiting` is how many approvals are asked for, the first of which
    expires at `first_until`. `days` is empty where the period is one day.
    """

    channel: str
    opened: int
    healed: int
    ended: int
    open: int
    oldest: Sequence[int]
    stale: int = 0
    waiting: int = 0
    first_until: datetime | None = None
    days: Sequence[DigestDay] = ()


async def now(db: AsyncConnection) -> datetime:
    """The database's clock: one for all replicas, whatever their own ones do."""
    moment: datetime = (await db.execute(text("SELECT now()"))).scalar_one()
    return moment


async def is_due(db: AsyncConnection, name: str, due: datetime) -> bool:
    """Whether `take` may be worth a try: what must be looked up beforehand is, only then."""
    taken = await db.execute(select(schedule_runs.c.due_at).where(schedule_runs.c.name == name))
    at = taken.scalar_one_or_none()
    return at is None or at != due


async def take(db: AsyncConnection, name: str, due: datetime, *, at_most_ahead: timedelta) -> bool:
    """Whether this transaction is the one that does what was due; a rollback gives it back.

    Each `due` is taken once; older ones that were missed go with it. The very first one only begins the count. What is
    stored from further ahead than `at_most_ahead` is of a clock that was wrong, and begins the count anew.
    """
    begun = await db.execute(
        insert(schedule_runs).values(name=name, due_at=due).on_conflict_do_nothing().returning(schedule_runs.c.name)
    )
    if begun.scalar_one_or_none() is not None:
        return False
    values = {"name": name, "due": due, "wrong": due + 2 * at_most_ahead}
    if (await db.execute(_TAKE, values)).scalar_one_or_none() is not None:
        return True
    await db.execute(_BEGIN_ANEW, values)
    return False


_TAKE = text("""
    UPDATE schedule_runs SET due_at = :due, taken_at = now() WHERE name = :name AND due_at < :due RETURNING name
""")
_BEGIN_ANEW = text("UPDATE schedule_runs SET due_at = :due, taken_at = now() WHERE name = :name AND due_at > :wrong")


async def quiet(db: AsyncConnection, *, quiet_s: float, most: int = 20) -> Sequence[int]:
    """Open incidents that wait for people, without any news for so long and not followed up yet."""
    values: Mapping[str, object] = {"quiet_s": quiet_s, "most": most, "followed_up": FOLLOWED_UP}
    return (await db.execute(_QUIET, values)).scalars().all()


async def digests(db: AsyncConnection, *, since: datetime, until: datetime, channel: str) -> Sequence[Digest]:
    """By channel, what opened or ended in [since, until) and what is open; `channel` is where the others' cards are."""
    period = {"since": since, "until": until, "channel": channel}
    rows = (await db.execute(_DIGEST, period)).mappings().all()
    days: dict[str, list[DigestDay]] = {}
    if until - since > timedelta(days=1):
        for row in await db.execute(_DAYS, period):
            days.setdefault(row.channel, []).append(DigestDay(row.day, row.opened, row.ended))
    return [
        Digest(**{**row, "oldest": tuple(row["oldest"] or ()), "days": days.get(row["channel"], ())}) for row in rows
    ]
