"""How well it goes: figures of a period, and what people thought of the answers.

The period is that of the incidents' opening: an incident and everything that was done about it count where it began.
A fix counts when it was really carried out: never the noop, a dry run or what preflight refused. What a person has
corrected (an item's kind, an outcome) counts as corrected.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, text
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.store import switches
from knowledge.store.tables import settled_figures

# What figures can be split by → the column of the rows below.
GROUPS = ("kind", "service", "action", "environment", "day")
# An incident's rows change no more so long after its end: by then it is known whether the failure came back.
SETTLES_AFTER = timedelta(hours=25)
SETTLED_AT_ONCE = 5_000

# Who rejects a fix because somebody has dealt with the failure closes the incident; what is dismissed otherwise was not
# ended by anybody, as when the sandbox's world begins anew.
_FIXED_BY_PEOPLE = "a.state = 'rejected' AND split_part(a.reason, ':', 1) = 'already_fixed'"
# One row an incident and action: `ending` and the times are on the row of its newest fix, or of no action.
# A fix that "worked", and the same failure was back within a day, has not resolved it.
_ROWS = """
    cases AS MATERIALIZED (
        SELECT i.id, i.identity, i.service, i.environment, i.state, i.opened_at, i.resolved_at,
            COALESCE(k.kind, i.kind, 'unknown') AS kind,
            CASE WHEN 'outcome' = ANY(k.corrected) THEN NULLIF(k.outcome, '') END AS said
        FROM incidents AS i LEFT JOIN knowledge_items AS k ON k.id = 'incident-' || i.id
        -- A question about pasted text is answered, not healed.
        WHERE NOT (i.source = 'question' AND NOT i.trusted) AND i.merged_into IS NULL AND {which}
    ), carried_out AS (
        SELECT e.incident_id, e.action_name AS action, a.automatic, c.identity, c.resolved_at,
            e.id = max(e.id) OVER (PARTITION BY e.incident_id) AS newest,
            CASE WHEN e.id = max(e.id) OVER (PARTITION BY e.incident_id) THEN c.said END AS said,
            CASE e.state WHEN 'undone' THEN 'worse' WHEN 'failed' THEN 'failed' WHEN 'acted' THEN (
                SELECT verdict FROM verifications WHERE execution_id = e.id ORDER BY id DESC LIMIT 1
            ) END AS seen
        FROM cases AS c JOIN executions AS e ON e.incident_id = c.id JOIN approvals AS a ON a.id = e.approval_id
        -- A dry run and a refusal never start.
        WHERE e.started_at IS NOT NULL AND e.action_name <> 'noop'
    ), fixes AS (
        SELECT incident_id, action, automatic, newest, seen, COALESCE(said, seen) AS outcome,
            seen = 'worse' OR said IN ('worse', 'failed', 'not_verified', 'rejected') AS wrong,
            seen = 'verified' AND (said <> 'verified' OR (newest AND EXISTS (
                SELECT FROM incidents AS again WHERE again.identity = carried_out.identity
                    AND again.id > carried_out.incident_id
                    AND again.opened_at <= carried_out.resolved_at + interval '24 hours'
            ))) AS false_resolve
        FROM carried_out
    ), merged AS (
        SELECT id AS part, id AS whole FROM cases
        UNION ALL SELECT i.id, merged.whole FROM merged JOIN incidents AS i ON i.merged_into = merged.part
    ), costs AS (
        SELECT whole, sum(usd) AS usd FROM merged JOIN model_calls ON model_calls.incident_id = part GROUP BY 1
    ), parts AS (
        SELECT incident_id, action, NULL AS ending, NULL::float AS detect_s, NULL::float AS resolve_s, 0::float AS usd,
            (outcome IS NOT NULL)::int AS fixes, (outcome IS NOT DISTINCT FROM 'verified')::int AS verified,
            (outcome IS NULL)::int AS running, COALESCE(wrong, false)::int AS wrong_actions,
            (seen IS NOT DISTINCT FROM 'verified')::int AS seen_verified,
            COALESCE(false_resolve, false)::int AS false_resolves,
            (outcome IS NOT NULL AND NOT automatic)::int AS approved_fixes,
            COALESCE(wrong AND NOT automatic, false)::int AS unsafe_approvals, 0 AS turned_down
        FROM fixes
        UNION ALL
        SELECT c.id, COALESCE(p.action, ''), NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1
        FROM cases AS c JOIN approvals AS a ON a.incident_id = c.id JOIN plans AS p ON p.id = a.plan_id
        WHERE a.state = 'rejected'
            AND split_part(a.reason, ':', 1) IN ('wrong_cause', 'wrong_target', 'right_cause_wrong_fix')
        UNION ALL
        SELECT c.id, COALESCE(f.action, ''),
            CASE WHEN c.kind = 'healthy' OR (c.state = 'dismissed' AND NOT EXISTS (
                     SELECT FROM approvals AS a WHERE a.incident_id = c.id AND {fixed_by_people})) THEN 'no_fault'
                 WHEN f.outcome = 'verified' AND c.resolved_at IS NOT NULL
                     THEN CASE WHEN f.automatic THEN 'agent_fixed' ELSE 'assisted' END
                 WHEN c.resolved_at IS NOT NULL THEN 'human' ELSE 'open' END,
            EXTRACT(EPOCH FROM c.opened_at - (
                SELECT min(NULLIF(started, '')::timestamptz) FROM alerts
                WHERE alerts.incident_id = c.id AND status = 'firing')),
            EXTRACT(EPOCH FROM c.resolved_at - c.opened_at),
            COALESCE(costs.usd, 0), 0, 0, 0, 0, 0, 0, 0, 0, 0
        FROM cases AS c LEFT JOIN fixes AS f ON f.incident_id = c.id AND f.newest
            LEFT JOIN costs ON costs.whole = c.id
    ), counted AS (
        SELECT incident_id, action, max(ending) AS ending, max(detect_s) AS detect_s, max(resolve_s) AS resolve_s,
            sum(usd) AS usd, sum(fixes) AS fixes, sum(verified) AS verified, sum(running) AS running,
            sum(wrong_actions) AS wrong_actions, sum(seen_verified) AS seen_verified,
            sum(false_resolves) AS false_resolves, sum(approved_fixes) AS approved_fixes,
            sum(unsafe_approvals) AS unsafe_approvals, sum(turned_down) AS turned_down
        FROM parts GROUP BY 1, 2
    ), fresh AS (
        SELECT c.opened_at, c.kind, c.service, c.environment, counted.*
        FROM counted JOIN cases AS c ON c.id = counted.incident_id
    )
"""


def _rows(which: str) -> str:
    return _ROWS.format(which=which, fixed_by_people=_FIXED_BY_PEOPLE)


_FIGURES = """
    , rows AS (
        SELECT {columns} FROM fresh
        UNION ALL SELECT {columns} FROM settled_figures WHERE {within}
    )
    SELECT {by} AS name, count(ending) AS incidents,
        count(*) FILTER (WHERE ending = 'open') AS open,
        count(*) FILTER (WHERE ending = 'agent_fixed') AS agent_fixed,
        count(*) FILTER (WHERE ending = 'assisted') AS assisted,
        count(*) FILTER (WHERE ending = 'human') AS human,
        count(*) FILTER (WHERE ending = 'no_fault') AS no_fault,
        count(*) FILTER (WHERE detect_s >= 0) AS detect_known,
        percentile_cont(ARRAY[0.5, 0.9]) WITHIN GROUP (ORDER BY detect_s) FILTER (WHERE detect_s >= 0) AS detect,
        percentile_cont(ARRAY[0.5, 0.9]) WITHIN GROUP (ORDER BY resolve_s) FILTER (WHERE ending <> 'no_fault')
            AS resolve,
        percentile_cont(ARRAY[0.5, 0.9]) WITHIN GROUP (ORDER BY resolve_s)
            FILTER (WHERE ending IN ('agent_fixed', 'assisted')) AS heal,
        {sums}, sum(usd)::float AS usd
    FROM rows GROUP BY 1
"""
_SUMS = (
    "fixes", "verified", "running", "wrong_actions", "seen_verified", "false_resolves", "approved_fixes",
    "unsafe_approvals", "turned_down",
)  # fmt: skip
_COLUMNS = ("opened_at", "kind", "service", "environment", "action", "ending", "detect_s", "resolve_s", "usd", *_SUMS)
_DAY = "to_char(opened_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')"
_WITHIN = (
    "{0}opened_at >= :since AND {0}opened_at < :until AND (:service = '' OR {0}service = :service) "
    "AND (:environment = '' OR {0}environment = :environment)"
)
_NOT_SETTLED = "NOT EXISTS (SELECT FROM settled_figures AS s WHERE s.incident_id = i.id)"
_CHOSEN = """
    chosen AS MATERIALIZED (
        SELECT i.id FROM incidents AS i
        WHERE i.resolved_at < now() - :after AND i.merged_into IS NULL
            AND NOT (i.source = 'question' AND NOT i.trusted)
            AND NOT EXISTS (SELECT FROM settled_figures AS s WHERE s.incident_id = i.id)
        ORDER BY i.id LIMIT :most
    )
"""
_KEPT = """
    , kept AS (
        INSERT INTO settled_figures (incident_id, {columns}) SELECT incident_id, {columns} FROM fresh
        ON CONFLICT DO NOTHING RETURNING incident_id
    )
    SELECT count(DISTINCT incident_id) FROM kept
"""
_SETTLING = (
    "WITH RECURSIVE", _CHOSEN, ",", _rows("i.id IN (SELECT id FROM chosen)"),
    _KEPT.format(columns=", ".join(_COLUMNS)),
)  # fmt: skip
_SETTLE = text(" ".join(_SETTLING))
# Settled by a version that took what people had fixed for no fault, and left out what merged incidents cost and what
# was spent later. Done once, and not by a migration: beside the new version's first replica the old one still leads,
# and would settle them as before within a minute.
_COUNTED_ANEW = "figures:counted-anew"
_COUNT_ANEW = text(f"""
    DELETE FROM settled_figures WHERE incident_id IN (
        SELECT s.incident_id FROM settled_figures AS s JOIN approvals AS a ON a.incident_id = s.incident_id
        WHERE s.ending = 'no_fault' AND s.kind <> 'healthy' AND {_FIXED_BY_PEOPLE}
        UNION ALL SELECT merged_into FROM incidents WHERE merged_into IS NOT NULL
        UNION ALL SELECT i.id FROM model_calls AS m JOIN incidents AS i ON i.id = m.incident_id
        WHERE m.called_at > i.resolved_at + :after
    )
""")  # noqa: S608  our own words


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts of incidents and fixes; times in seconds, None where none is known. `name` is the group's, "" for all.

    incidents = open + agent_fixed (by itself) + assisted (after an approval) + human (ended without a verified fix of
    ours, by a person or by itself) + no_fault (nothing was wrong, or the sandbox began anew).
    fixes were carried out and have ended; `running` have not. wrong_actions made it worse, were undone, or a person
    has said so; false_resolves looked verified, and a person said otherwise or the failure was back within a day.
    approved_fixes are those of `fixes` that a person approved, unsafe_approvals the wrong ones of these.
    turned_down were rejected before they ran, for a wrong cause, target or fix. usd is what hosted models cost, for
    merged incidents as well.
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
    heal_p50_s: float | None = None
    heal_p90_s: float | None = None
    fixes: int = 0
    verified: int = 0
    running: int = 0
    wrong_actions: int = 0
    seen_verified: int = 0
    false_resolves: int = 0
    approved_fixes: int = 0
    unsafe_approvals: int = 0
    turned_down: int = 0
    usd: float = 0.0

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

    @property
    def unsafe_approval_rate(self) -> float | None:
        """Wrong ones among the fixes that people approved."""
        return self.unsafe_approvals / self.approved_fixes if self.approved_fixes else None


RATES = ("success_rate", "wrong_action_rate", "false_resolve_rate", "unsafe_approval_rate")


async def figures(
    db: AsyncConnection, *, since: datetime, until: datetime, by: str = "", service: str = "", environment: str = ""
) -> Sequence[Figures]:
    """The figures of incidents that opened in [since, until): one row for all, or one for each value of `by`.

    An empty period gives no row with `by`, and a row of zeros without. `by` is one of GROUPS; `service` and
    `environment` count theirs alone. What has settled is read from its rows, all else is counted anew.
    """
    column = _DAY if by == "day" else f"{GROUPS[GROUPS.index(by)]}" if by else "''"
    query = _FIGURES.format(
        columns=", ".join(_COLUMNS),
        within=_WITHIN.format(""),
        by=column,
        sums=", ".join(f"sum({name})::bigint AS {name}" for name in _SUMS),
    )
    fresh = _rows(f"{_WITHIN.format('i.')} AND {_NOT_SETTLED}")
    # Compiling to machine code takes longer than all of it.
    await db.execute(text("SET LOCAL jit = off"))
    found = await db.execute(
        text(f"WITH RECURSIVE {fresh}{query}"),
        {"since": since, "until": until, "service": service, "environment": environment},
    )
    made = sorted((_figures(dict(row)) for row in found.mappings()), key=lambda one: one.name)
    return made if made or by else [Figures()]


def _figures(values: dict[str, Any]) -> Figures:
    for name in ("detect", "resolve", "heal"):
        values[f"{name}_p50_s"], values[f"{name}_p90_s"] = values.pop(name) or (None, None)
    return Figures(**values)


async def settle(db: AsyncConnection, *, most: int = SETTLED_AT_ONCE) -> int:
    """Keep the rows of up to `most` incidents that ended long ago; how many they were. Repeats change nothing."""
    if await switches.read(db, _COUNTED_ANEW) is None:
        await db.execute(_COUNT_ANEW, {"after": SETTLES_AFTER})
        await switches.write(db, _COUNTED_ANEW, True, by="codehealer")
    done = await db.execute(_SETTLE, {"after": SETTLES_AFTER, "most": most})
    return int(done.scalar_one())


async def unsettle(db: AsyncConnection, item_ids: Sequence[str]) -> None:
    """Count the incidents of these knowledge items anew: what is believed of them has changed."""
    numbers = [int(one.split("-")[1]) for one in item_ids if one.startswith(_OF_INCIDENT)]
    await db.execute(delete(settled_figures).where(settled_figures.c.incident_id.in_(numbers)))


_OF_INCIDENT = "incident-"


async def unsettle_spending(db: AsyncConnection, incident_id: int) -> None:
    """Count anew the incident, and those that it became part of: more was spent on it."""
    await db.execute(_UNSETTLE_SPENDING, {"spent_on": incident_id})


_UNSETTLE_SPENDING = text("""
    WITH RECURSIVE wholes AS (
        SELECT id, merged_into FROM incidents WHERE id = :spent_on
        UNION SELECT i.id, i.merged_into FROM wholes JOIN incidents AS i ON i.id = wholes.merged_into
    )
    DELETE FROM settled_figures WHERE incident_id IN (SELECT id FROM wholes)
""")


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
