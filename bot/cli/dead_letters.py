"""What was given up, of all kinds: jobs by their number, jobs of SQS as q17, deliveries and messages as d17."""

import re
from dataclasses import dataclass
from datetime import datetime

from bot.cli.opening import short_engine
from bot.jobs import DurableJobs
from knowledge.errors import BadInput, NotFound
from knowledge.store import deliveries, queued_jobs
from knowledge.store.database import libpq_url

_NUMBER = re.compile(r"([dq]?)(\d{1,18})")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """`stage` is a job's stage, or of a delivery its source and what it is."""

    id: int | str
    what: str
    stage: str
    attempts: int
    reason: str
    at: datetime | None


async def listed(url: str) -> list[DeadLetter]:
    """All of them, each kind oldest first."""
    jobs = [
        DeadLetter(row.id, "job", row.stage, row.attempts, row.reason, row.at)
        for row in await DurableJobs(libpq_url(url), {}).dead()
    ]
    async with short_engine(url) as engine, engine.connect() as db:
        jobs += [
            DeadLetter(f"q{row.id}", "job", row.stage, row.attempts, row.reason, row.died_at)
            for row in await queued_jobs.dead(db)
        ]
        return jobs + [
            DeadLetter(f"d{row.id}", "delivery", f"{row.source} {row.event}", row.attempts, row.error, row.received_at)
            for row in await deliveries.dead(db)
        ]


def read_number(number: str) -> tuple[str, int]:
    """(kind: "", d or q; number of the row). Raises BadInput for what `dead list` never shows."""
    found = _NUMBER.fullmatch(number.strip().lower())
    if found is None:
        raise BadInput(f"{number[:40]} is no number of a dead job or delivery; `codehealer dead list` shows them.")
    return found[1], int(found[2])


async def retry(url: str, kind: str, identifier: int) -> None:
    """Raises NotFound where nothing dead has this number."""
    if not kind:
        await DurableJobs(libpq_url(url), {}).retry(identifier)
        return
    async with short_engine(url) as engine, engine.begin() as db:
        again = await (deliveries if kind == "d" else queued_jobs).retry(db, identifier)
    if not again:
        what = "delivery" if kind == "d" else "job"
        raise NotFound(f"There is no dead {what} {kind}{identifier}; `codehealer dead list` shows them.")
