"""How well it goes: figures of a period, and what people thought of the answers. Only reads.

The period is that of the incidents' opening: an incident and everything that was done about it count where it began.
A fix counts when it was really carried out: never the noop, a dry run or what preflight refused. What a person has
corrected (an item's kind, an outcome) counts as corrected.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# A fix that "worked", and the same failure was back within a day, has not resolved it.
_CASES = """
    WITH since AS (
        SELECT *, lead(opened_at) OVER (PARTITION BY identity ORDER BY id) AS again_at
        FROM incidents WHERE opened_at >= :since
    ), cases AS (
        SELECT i.id, i.service, i.environment, i.state, i.opened_at, i.resolved_at,
            to_char(i.opened_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day,
            COALESCE(k.kind, i.kind, 'unknown') AS kind,
            CASE WHEN 'outcome' = ANY(k.corrected) THEN NULLIF(k.outcome, '') END AS said,
            COALESCE(i.again_at <= i.resolved_at + interval '24 hours', false) AS came_back
        FROM since AS i LEFT JOIN knowledge_items AS k ON k.id = 'incident-' || i.id
        -- A question about pasted text is answered, not healed.
        WHERE i.opened_at < :until AND NOT (i.source = 'question' AND NOT i.trusted) AND i.merged_into IS NULL
    ), fixes AS (
        SELECT e.incident_id, e.action_name AS action, a.automatic, c.kind, c.service, c.environment, c.day,
            c.came_back, e.id = max(e.id) OVER (PARTITION BY e.incident_id) AS newest,
            CASE WHEN e.id = max(e.id) OVER (PARTITION BY e.incident_id) THEN c.said END AS said,
            CASE e.state WHEN 'undone' THEN 'worse' WHEN 'failed' THEN 'failed' WHEN 'acted' THEN v.verdict END AS seen
        FROM cases AS c JOIN executions AS e ON e.incident_id = c.id JOIN approvals AS a ON a.id = e.approval_id
        LEFT JOIN LATERAL (
            SELECT verdict FROM verifications WHERE execution_id = e.id ORDER BY id DESC LIMIT 1
        ) AS v ON true
        -- A dry run and a refusal never start.
        WHERE e.started_at IS NOT NULL AND e.action_name <> 'noop'
    )
"""
_INCIDENTS = """
    , ended AS (
        SELECT c.*, COALESCE(f.action, '') AS action,
            CASE WHEN c.state = 'dismissed' OR c.kind = 'healthy' THEN 'no_fault'
                 WHEN COALESCE(f.said, f.seen) = 'verified' AND c.resolved_at IS NOT NULL
                     THEN CASE WHEN f.automatic THEN 'agent_fixed' ELSE 'assisted' END
                 WHEN c.resolved_at IS NOT NULL THEN 'human' ELSE 'open' END AS ending,
            EXTRACT(EPOCH FROM c.opened_at - (
                SELECT min(NULLIF(started, '')::timestamptz) FROM alerts
                WHERE alerts.incident_id = c.id AND status = 'firing'))::float AS detect_s,
            EXTRACT(EPOCH FROM c.resolved_at - c.opened_at)::float AS resolve_s
        FROM cases AS c LEFT JOIN fixes AS f ON f.incident_id = c.id AND f.newest
    )
    SELECT {by} AS name, count(*) AS incidents,
        count(*) FILTER (WHERE ending = 'open') AS open,
        count(*) FILTER (WHERE ending = 'agent_fixed') AS agent_fixed,
        count(*) FILTER (WHERE ending = 'assisted') AS assisted,
        count(*) FILTER (WHERE ending = 'human') AS human,
        count(*) FILTER (WHERE ending = 'no_fault') AS no_fault,
        count(*) FILTER (WHERE detect_s >= 0) AS detect_known,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY detect_s) FILTER (WHERE detect_s >= 0) AS detect_p50_s,
        percentile_cont(0.9) WITHIN GROUP (ORDER BY detect_s) FILTER (WHERE detect_s >= 0) AS detect_p90_s,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY resolve_s) FILTER (WHERE ending <> 'no_fault') AS resolve_p50_s,
        percentile_cont(0.9) WITHIN GROUP (ORDER BY resolve_s) FILTER (WHERE ending <> 'no_fault') AS resolve_p90_s
    FROM ended GROUP BY 1 ORDER BY 1
"""
_FIXES = """
    SELECT {by} AS name, count(*) FILTER (WHERE outcome IS NOT NULL) AS fixes,
        count(*) FILTER (WHERE outcome = 'verified') AS verified,
        count(*) FILTER (WHERE outcome IS NULL) AS running,
        count(*) FILTER (WHERE seen = 'worse' OR said IN ('worse', 'failed', 'not_verified', 'rejected'))
            AS wrong_actions,
        count(*) FILTER (WHERE seen = 'verified') AS seen_verified,
        count(*) FILTER (WHERE seen = 'verified' AND (said <> 'verified' OR (newest AND came_back))) AS false_resolves
    FROM (SELECT *, COALESCE(said, seen) AS outcome FROM fixes) AS concluded GROUP BY 1 ORDER BY 1
"""
_TURNED_DOWN = """
    SELECT {by} AS name, count(*) AS turned_down
    FROM (
        SELECT c.*, COALESCE(p.action, '') AS action
        FROM cases AS c JOIN approvals AS a ON a.incident_id = c.id JOIN plans AS p ON p.id = a.plan_id
        WHERE a.state = 'rejected'
            AND split_part(a.reason, ':', 1) IN ('wrong_cause', 'wrong_target', 'right_cause_wrong_fix')
    ) AS rejected GROUP BY 1
"""
# What figures can be split by → the column that the three queries have in common.
GROUPS = ("kind", "service", "action", "environment", "day")


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts of incidents and fixes; times in seconds, None where none is known. `name` is the group's, "" for all.

    incidents = open + agent_fixed (by itself) + assisted (after an approval) + human (ended without a verified fix of
    ours, by a person or by itself) + no_fault (dismissed, or nothing was wrong).
    fixes were carried out and have ended; `running` have not. wrong_actions made it worse, were undone, or a person
    has said so; false_resolves looked verified, and a person said otherwise or the failure was back within a day.
    turned_down were rejected before they ran, for a wrong cause, target or fix.
    """

    name: str = ""
    incidents: int = 0
    open: int = 0
    agent_fixed: int = 0
    assisted: int = 0
    human: int = 0
    no_fault: int = 0
    detect_known: int = 0
    detect_p50_s: float | None = None
    detect_p90_s: float | None = None
    resolve_p50_s: float | None = None
    resolve_p90_s: float | None = None
    fixes: int = 0
    verified: int = 0
    running: int = 0
    wrong_actions: int = 0
    seen_verified: int = 0
    false_resolves: int = 0
    turned_down: int = 0

    @property
    def success_rate(self) -> float | None:
        """Verified fixes of all that have ended; None when there was none."""
        return self.verified / self.fixes if self.fixes else None

    @property
    def wrong_action_rate(self) -> float | None:
        return self.wrong_actions / self.fixes if self.fixes else None

    @property
    def false_resolve_rate(self) -> float | None:
        return self.false_resolves / self.seen_verified if self.seen_verified else None


async def figures(db: AsyncConnection, *, since: datetime, until: datetime, by: str = "") -> Sequence[Figures]:
    """The figures of incidents that opened in [since, until): one row for all, or one for each value of `by`.

    An empty period gives no row with `by`, and a row of zeros without. `by` is one of GROUPS.
    """
    column = f"{GROUPS[GROUPS.index(by)]}" if by else "''"
    found: dict[str, dict[str, Any]] = {} if by else {"": {}}
    for query in (_INCIDENTS, _FIXES, _TURNED_DOWN):
        rows = await db.execute(text(_CASES + query.format(by=column)), {"since": since, "until": until})
        for row in rows.mappings():
            found.setdefault(row["name"], {}).update(row)
    return [Figures(**{**values, "name": name}) for name, values in sorted(found.items())]


_FEEDBACK = """
    FROM feedback AS f JOIN incidents AS i ON i.id = f.incident_id
    LEFT JOIN knowledge_items AS k ON k.id = 'incident-' || i.id
    -- The answer that was judged; where that was not kept, the one that stood when the thumb was given.
    LEFT JOIN LATERAL (
        SELECT payload -> 'answered_by' ->> 'name' AS answerer FROM diagnoses WHERE incident_id = i.id
        ORDER BY (id = f.diagnosis_id) IS TRUE DESC, created_at <= f.at DESC,
            abs(EXTRACT(EPOCH FROM created_at - f.at)) LIMIT 1
    ) AS d ON true
    WHERE f.at >= :since AND f.at < :until
"""
_FEEDBACK_GROUPS: Mapping[str, str] = {
    "kind": "COALESCE(k.kind, i.kind, 'unknown')",
    "service": "i.service",
    "answerer": "COALESCE(d.answerer, '')",
}
FEEDBACK_GROUPS = tuple(_FEEDBACK_GROUPS)


@dataclass(frozen=True, slots=True)
class Opinions:
    """Thumbs of one group, "" for all of them."""

    name: str
    up: int
    down: int


@dataclass(frozen=True, slots=True)
class Comment:
    """What a person wrote beside a thumb; secrets were cut out when it was stored."""

    incident_id: int
    kind: str
    service: str
    answerer: str
    value: int
    comment: str
    at: datetime
    reason: str = ""  # a FeedbackReason


async def opinions(db: AsyncConnection, *, since: datetime, until: datetime, by: str = "") -> Sequence[Opinions]:
    """Thumbs given in [since, until), for all or for each value of `by`, one of FEEDBACK_GROUPS."""
    column = _FEEDBACK_GROUPS[by] if by else "''"
    query = (
        f"SELECT {column} AS name, count(*) FILTER (WHERE f.value > 0) AS up, "
        f"count(*) FILTER (WHERE f.value < 0) AS down {_FEEDBACK} GROUP BY 1 ORDER BY down DESC, up DESC, 1"
    )
    rows = await db.execute(text(query), {"since": since, "until": until})
    found = [Opinions(**row) for row in rows.mappings()]
    return found if found or by else [Opinions("", 0, 0)]


async def comments(db: AsyncConnection, *, since: datetime, until: datetime, limit: int = 100) -> Sequence[Comment]:
    """The newest comments and reasons of the period."""
    columns = ", ".join(f"{expression} AS {name}" for name, expression in _FEEDBACK_GROUPS.items())
    query = (
        f"SELECT i.id AS incident_id, {columns}, f.value, f.comment, f.at, f.reason "
        f"{_FEEDBACK} AND f.comment || f.reason <> '' ORDER BY f.at DESC LIMIT :limit"
    )
    rows = await db.execute(text(query), {"since": since, "until": until, "limit": limit})
    return [Comment(**row) for row in rows.mappings()]
