"""What a pause meets: fixes that have begun and are seen through, and those that it stops."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Fix:
    """One approved fix; `at` is when it started, or when it was to."""

    incident_id: int
    action: str
    target: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class UnderWay:
    """`running` may be changing something now, `verifying` has; `queued` and `scheduled` have not begun."""

    running: Sequence[Fix] = field(default=())
    verifying: Sequence[Fix] = field(default=())
    queued: Sequence[Fix] = field(default=())
    scheduled: Sequence[Fix] = field(default=())


_FIXES = text("""
    SELECT e.incident_id, e.action_name AS action, e.target_key AS target, e.started_at AS at,
        CASE e.state WHEN 'queued' THEN 'queued' WHEN 'started' THEN 'running' ELSE 'verifying' END AS what
    FROM incidents AS i JOIN executions AS e ON e.incident_id = i.id
    WHERE i.resolved_at IS NULL AND i.state IN ('running', 'verifying')
        AND (e.state IN ('queued', 'started') OR (e.state = 'acted' AND i.state = 'verifying'
            AND e.id = (SELECT max(id) FROM executions WHERE incident_id = i.id)))
    UNION ALL
    SELECT a.incident_id, COALESCE(p.action, ''), p.payload #>> '{action,target,name}', a.run_at, 'scheduled'
    FROM approvals AS a JOIN plans AS p ON p.id = a.plan_id WHERE a.state = 'scheduled'
    ORDER BY incident_id
""")


async def under_way(db: AsyncConnection) -> UnderWay:
    """All of it, by incident."""
    found: dict[str, list[Fix]] = {"running": [], "verifying": [], "queued": [], "scheduled": []}
    for row in await db.execute(_FIXES):
        found[row.what].append(Fix(row.incident_id, row.action, row.target or "", row.at))
    return UnderWay(**found)


def told(now: UnderWay) -> list[str]:
    """What still runs and what is stopped, a sentence each; nothing where there is neither. Pure."""
    lines = [f"Still running: {_one(fix)}; it is verified, and undone if it made things worse." for fix in now.running]
    lines += [f"Still being verified: {_one(fix)}; undone if it made things worse." for fix in now.verifying]
    lines += [f"Stopped before it began: {_one(fix)}; people are asked." for fix in now.queued]
    return lines + [f"Does not run at its hour unless resumed by then: {_one(fix)}." for fix in now.scheduled]


def _one(fix: Fix) -> str:
    on = f" on {fix.target}" if fix.target else ""
    return f"{fix.action}{on} (incident {fix.incident_id})"
