"""Jobs that SQS hands out. The row is the job and decides everything; a message of the queue only says "look at it".

So a message that is lost, doubled, late or made up changes nothing: a lost one is sent again, and whoever receives one
has to win the row's lease first, one of each lock at a time.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

CHANNEL = "codehealer_queued_jobs"
_WAKE = f"SELECT pg_notify('{CHANNEL}', '')"

# DO UPDATE for its row lock, as in bot/jobs.py: a job that swallowed an order starts after that order is committed.
_PUT = text(f"""
    WITH due AS (SELECT clock_timestamp() + make_interval(secs => :delay_s) AS at),
    put AS (
        INSERT INTO queued_jobs (stage, lock, once, arguments, due_at, rank_at)
        SELECT :stage, :lock, :once, CAST(:arguments AS jsonb), at, at - make_interval(secs => :head_start_s) FROM due
        ON CONFLICT (once) WHERE state = 'todo' DO UPDATE SET once = EXCLUDED.once RETURNING id
    )
    {_WAKE} FROM put
""")  # noqa: S608

# The first of its lock, and nobody else of that lock at work.
_IS_NEXT = """
    NOT EXISTS (SELECT FROM queued_jobs AS other WHERE other.lock = job.lock AND other.id <> job.id
        AND (other.state = 'doing' OR (other.state = 'todo' AND other.due_at <= clock_timestamp()
            AND (other.rank_at, other.id) < (job.rank_at, job.id))))
"""
_TO_SEND = text(f"""
    UPDATE queued_jobs SET sent_at = clock_timestamp() WHERE id IN (
        SELECT id FROM queued_jobs AS job
        WHERE state = 'todo' AND due_at <= clock_timestamp()
            AND (sent_at IS NULL OR sent_at < clock_timestamp() - make_interval(secs => :again_s)) AND {_IS_NEXT}
        ORDER BY rank_at, id LIMIT :most FOR UPDATE SKIP LOCKED
    ) RETURNING id
""")  # noqa: S608
_NOT_SENT = text("UPDATE queued_jobs SET sent_at = NULL WHERE id = ANY(:ids) AND state = 'todo'")
_ONE_OF_A_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(lock, 7305)) FROM queued_jobs WHERE id = :id")
_CLAIM = text(f"""
    UPDATE queued_jobs AS job
    SET state = 'doing', token = token + 1, leased_until = clock_timestamp() + make_interval(secs => :lease_s)
    WHERE id = :id AND state = 'todo' AND due_at <= clock_timestamp() AND {_IS_NEXT}
    RETURNING id, token, stage, lock, arguments, attempts
""")  # noqa: S608

_MINE = "id = :id AND state = 'doing' AND token = :token"
_EXTEND = text(f"""
    UPDATE queued_jobs SET leased_until = clock_timestamp() + make_interval(secs => :lease_s)
    WHERE {_MINE} RETURNING id
""")  # noqa: S608
_DONE = text(f"WITH ended AS (DELETE FROM queued_jobs WHERE {_MINE} RETURNING id) {_WAKE} FROM ended")  # noqa: S608
# A key that was ordered again meanwhile stays with the newer order; both run.
_PUT_BACK = """
    state = 'todo', attempts = attempts + 1, sent_at = NULL, leased_until = NULL,
    once = CASE WHEN EXISTS (SELECT FROM queued_jobs AS other WHERE other.once = job.once AND other.state = 'todo')
        THEN NULL ELSE once END
"""
_AGAIN = text(f"""
    WITH put AS (
        UPDATE queued_jobs AS job SET {_PUT_BACK}, due_at = clock_timestamp() + make_interval(secs => :in_s)
        WHERE {_MINE} RETURNING id
    ) {_WAKE} FROM put
""")  # noqa: S608
_BURIED = """
    state = 'dead', attempts = attempts + 1, leased_until = NULL, once = NULL, reason = :reason,
    died_at = clock_timestamp()
"""
_GIVE_UP = text(f"""
    WITH ended AS (UPDATE queued_jobs SET {_BURIED} WHERE {_MINE} RETURNING id) {_WAKE} FROM ended
""")  # noqa: S608
_LEASE_IS_OVER = "state = 'doing' AND leased_until < clock_timestamp()"
_BURY_KILLERS = text(
    f"UPDATE queued_jobs SET {_BURIED} WHERE {_LEASE_IS_OVER} AND attempts + 1 >= :most_attempts RETURNING id"  # noqa: S608
)
_PUT_BACK_LEFT = text(f"UPDATE queued_jobs AS job SET {_PUT_BACK} WHERE {_LEASE_IS_OVER} RETURNING id")  # noqa: S608

_PENDING = text("""
    SELECT count(*) FROM queued_jobs
    WHERE state <> 'dead' AND (CAST(:lock AS text) IS NULL OR lock = :lock)
        AND (:delayed OR state = 'doing' OR due_at <= clock_timestamp())
""")
_BUSY = text("SELECT DISTINCT lock FROM queued_jobs WHERE state <> 'dead' AND lock = ANY(:locks)")
_DEAD = text("""
    SELECT id, stage, arguments, lock, attempts, reason, died_at FROM queued_jobs WHERE state = 'dead' ORDER BY id
""")
_RETRY = text(f"""
    WITH again AS (
        UPDATE queued_jobs SET state = 'todo', attempts = 0, due_at = clock_timestamp(), rank_at = clock_timestamp(),
            sent_at = NULL, reason = '', died_at = NULL
        WHERE id = :id AND state = 'dead' RETURNING id
    ) {_WAKE} FROM again
""")  # noqa: S608
# What was ordered keeps its rank, so its hour counts from its order, however often it is given up again.
_RETRY_UNKNOWN = text(f"""
    WITH again AS (
        UPDATE queued_jobs SET state = 'todo', attempts = 0, due_at = clock_timestamp(), sent_at = NULL, reason = '',
            died_at = NULL
        WHERE state = 'dead' AND reason = ANY(:reasons)
            AND rank_at > clock_timestamp() - make_interval(secs => :due_within_s)
        RETURNING id
    ) {_WAKE} FROM again
""")  # noqa: S608


@dataclass(frozen=True, slots=True)
class Row:
    """A job that was claimed."""

    id: int
    token: int
    stage: str
    lock: str
    arguments: Mapping[str, Any]
    attempts: int


@dataclass(frozen=True, slots=True)
class DeadRow:
    id: int
    stage: str
    arguments: Mapping[str, Any]
    lock: str
    attempts: int
    reason: str
    died_at: datetime


async def put(
    db: AsyncConnection,
    *,
    stage: str,
    lock: str,
    once: str | None,
    delay_s: float,
    head_start_s: float,
    arguments: Mapping[str, Any],
) -> None:
    """Order a job in the caller's transaction."""
    values = {"stage": stage, "lock": lock, "once": once, "delay_s": delay_s, "head_start_s": head_start_s}
    await db.execute(_PUT, {**values, "arguments": json.dumps(dict(arguments))})


async def take_to_send(db: AsyncConnection, *, most: int, again_s: float) -> Sequence[int]:
    """Numbers of jobs that somebody should be told of; those that nobody came for in `again_s` are told again."""
    return (await db.execute(_TO_SEND, {"most": most, "again_s": again_s})).scalars().all()


async def not_sent(db: AsyncConnection, ids: Sequence[int]) -> None:
    await db.execute(_NOT_SENT, {"ids": list(ids)})


async def claim(db: AsyncConnection, job_id: int, *, lease_s: float) -> Row | None:
    """The job, if it waits and is the next of its lock; the lock is looked at by one at a time."""
    await db.execute(_ONE_OF_A_LOCK, {"id": job_id})
    found = (await db.execute(_CLAIM, {"id": job_id, "lease_s": lease_s})).mappings().one_or_none()
    return Row(**found) if found else None


async def extend(db: AsyncConnection, job_id: int, token: int, *, lease_s: float) -> bool:
    return bool((await db.execute(_EXTEND, {"id": job_id, "token": token, "lease_s": lease_s})).all())


async def done(db: AsyncConnection, job_id: int, token: int) -> bool:
    return bool((await db.execute(_DONE, {"id": job_id, "token": token})).all())


async def again(db: AsyncConnection, job_id: int, token: int, *, in_s: float) -> bool:
    return bool((await db.execute(_AGAIN, {"id": job_id, "token": token, "in_s": in_s})).all())


async def give_up(db: AsyncConnection, job_id: int, token: int, reason: str) -> bool:
    return bool((await db.execute(_GIVE_UP, {"id": job_id, "token": token, "reason": reason})).all())


async def reap(db: AsyncConnection, *, most_attempts: int, reason: str) -> tuple[int, int]:
    """(put back, given up) of the jobs whose lease is over: their process was killed, or stands still."""
    buried = (await db.execute(_BURY_KILLERS, {"most_attempts": most_attempts, "reason": reason})).all()
    return len((await db.execute(_PUT_BACK_LEFT)).all()), len(buried)


async def pending(db: AsyncConnection, lock: str | None, *, delayed: bool) -> int:
    return int((await db.execute(_PENDING, {"lock": lock, "delayed": delayed})).scalar_one())


async def busy(db: AsyncConnection, locks: Sequence[str]) -> set[str]:
    return set((await db.execute(_BUSY, {"locks": list(locks)})).scalars())


async def dead(db: AsyncConnection) -> list[DeadRow]:
    return [DeadRow(**row) for row in (await db.execute(_DEAD)).mappings()]


async def retry(db: AsyncConnection, job_id: int) -> bool:
    return bool((await db.execute(_RETRY, {"id": job_id})).all())


async def retry_unknown(db: AsyncConnection, reasons: Sequence[str], *, due_within_s: float) -> int:
    """How many jobs were taken up that were given up for one of these reasons, and were due not longer ago."""
    found = await db.execute(_RETRY_UNKNOWN, {"reasons": list(reasons), "due_within_s": due_within_s})
    return len(found.all())
