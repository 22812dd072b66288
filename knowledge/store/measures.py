"""Figures of the running installation for /metrics and /readyz: few, over partial indexes, and bounded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import BigInteger

from knowledge.store import outbox

# Counting stops here: how many more there are would change nothing that anybody does.
MOST = 100_000
# Waiting jobs are looked through oldest first; a lock may hold back the very first.
OLDEST_JOBS = 100


@dataclass(frozen=True, slots=True)
class Measures:
    """What waits, how old the oldest of it is (seconds, 0 where nothing waits), and how the installation stands.

    Counts end at MOST. Job counts are of PostgreSQL's and SQS' jobs together; `jobs_due` could run now.
    """

    inbox: int
    inbox_oldest_s: float
    jobs_due: int
    jobs_later: int
    jobs_running: int
    jobs_dead: int
    jobs_oldest_s: float
    outbox: int
    outbox_oldest_s: float
    incidents_open: int
    approvals_open: int
    approvals_scheduled: int
    audit_unsealed: int
    audit_oldest_s: float
    paused: bool
    breaker: bool
    leader_seen_s: float


def _count(rows: str) -> str:
    return f"(SELECT count(*) FROM (SELECT 1 FROM {rows} LIMIT {MOST}) AS counted)"  # noqa: S608  our own text


def _age(moment: str, rows: str) -> str:
    return f"COALESCE((SELECT EXTRACT(EPOCH FROM now() - {moment}) FROM {rows} LIMIT 1), 0)"  # noqa: S608  our own text


_JOBS = "procrastinate.procrastinate_jobs"
_TODO = "status = 'todo'"
_DUE = f"{_TODO} AND (scheduled_at IS NULL OR scheduled_at <= now())"
_OLDEST_JOB = f"""
    SELECT max(EXTRACT(EPOCH FROM now() - COALESCE(job.scheduled_at, begun.at)))
    FROM (SELECT id, scheduled_at FROM {_JOBS} WHERE {_DUE} ORDER BY id LIMIT {OLDEST_JOBS}) AS job
    LEFT JOIN LATERAL (SELECT min(at) AS at FROM procrastinate.procrastinate_events WHERE job_id = job.id) AS begun
        ON true
"""  # noqa: S608  our own text
_OLDEST_QUEUED = """
    SELECT max(EXTRACT(EPOCH FROM now() - due_at)) FROM queued_jobs WHERE state = 'todo' AND due_at <= now()
"""
_MEASURE = text(f"""
    SELECT
        {_count("deliveries WHERE state = 'new'")} AS inbox,
        {_age("received_at", "deliveries WHERE state = 'new' ORDER BY id")} AS inbox_oldest_s,
        {_count(f"{_JOBS} WHERE {_DUE}")}
            + {_count("queued_jobs WHERE state = 'todo' AND due_at <= now()")} AS jobs_due,
        {_count(f"{_JOBS} WHERE {_TODO} AND scheduled_at > now()")}
            + {_count("queued_jobs WHERE state = 'todo' AND due_at > now()")} AS jobs_later,
        {_count(f"{_JOBS} WHERE status = 'doing'")} + {_count("queued_jobs WHERE state = 'doing'")} AS jobs_running,
        {_count("procrastinate.dead_letters")} + {_count("queued_jobs WHERE state = 'dead'")} AS jobs_dead,
        GREATEST(COALESCE(({_OLDEST_JOB}), 0), COALESCE(({_OLDEST_QUEUED}), 0)) AS jobs_oldest_s,
        {_count("incidents WHERE resolved_at IS NULL")} AS incidents_open,
        {_count("approvals WHERE state = 'open'")} AS approvals_open,
        {_count("approvals WHERE state = 'scheduled'")} AS approvals_scheduled,
        {_count("audit WHERE number IS NULL")} AS audit_unsealed,
        {_age("at", "audit WHERE number IS NULL ORDER BY id")} AS audit_oldest_s,
        EXISTS (SELECT FROM switches WHERE name = 'paused' AND value = 'true') AS paused,
        EXISTS (SELECT FROM switches WHERE name = 'breaker' AND value NOT IN ('""', 'false')) AS breaker,
        {_age("set_at", "switches WHERE name = 'alive'")} AS leader_seen_s
""")  # noqa: S608  our own text


async def measure(db: AsyncConnection) -> Measures:
    """All of it in two statements."""
    to_say, oldest_s = await outbox.backlog(db, most=MOST)
    row = {**(await db.execute(_MEASURE)).mappings().one(), "outbox": to_say, "outbox_oldest_s": oldest_s}
    figures: dict[str, Any] = {name: float(one) if name.endswith("_s") else one for name, one in row.items()}
    return Measures(**figures)


@dataclass(frozen=True, slots=True)
class Lag:
    """How long a decision took from when its incident was opened or looked at again, and its evidence until then."""

    evidence_s: float | None
    decision_s: float | None


_NUMBERS = bindparam("numbers", type_=ARRAY(BigInteger))
_LAGS = text("""
    SELECT EXTRACT(EPOCH FROM made.at - begun.at) AS decision_s, EXTRACT(EPOCH FROM seen.at - begun.at) AS evidence_s
    FROM audit AS made
    CROSS JOIN LATERAL (
        SELECT max(at) AS at FROM audit WHERE incident_id = made.incident_id AND id < made.id
            AND what IN ('incident.opened', 'incident.looked_again')
    ) AS begun
    LEFT JOIN LATERAL (
        SELECT collected_at AS at FROM evidence WHERE incident_id = made.incident_id ORDER BY position LIMIT 1
    ) AS seen ON seen.at BETWEEN begun.at AND made.at
    WHERE made.number = ANY(:numbers)
""").bindparams(_NUMBERS)


async def lags(db: AsyncConnection, numbers: Sequence[int]) -> list[Lag]:
    """Of decisions, by the numbers of their rows in the audit log."""
    rows = await db.execute(_LAGS, {"numbers": list(numbers)})
    return [
        Lag(
            None if row.evidence_s is None else float(row.evidence_s),
            None if row.decision_s is None else float(row.decision_s),
        )
        for row in rows
    ]


_WAITS = text("""
    SELECT EXTRACT(EPOCH FROM decided_at - created_at) AS seconds FROM approvals
    WHERE id = ANY(:numbers) AND NOT automatic AND decided_at IS NOT NULL
""").bindparams(_NUMBERS)
_HEALED = text("""
    SELECT EXTRACT(EPOCH FROM said.at - incidents.opened_at) AS seconds
    FROM audit AS said JOIN incidents ON incidents.id = said.incident_id WHERE said.number = ANY(:numbers)
""").bindparams(_NUMBERS)


async def approval_waits(db: AsyncConnection, ids: Sequence[int]) -> list[float]:
    """How long people took to decide, in seconds."""
    return [float(row.seconds) for row in await db.execute(_WAITS, {"numbers": list(ids)})]


async def times_to_heal(db: AsyncConnection, numbers: Sequence[int]) -> list[float]:
    """From opening to these verifications, by the numbers of their rows in the audit log, in seconds."""
    return [float(row.seconds) for row in await db.execute(_HEALED, {"numbers": list(numbers)})]
