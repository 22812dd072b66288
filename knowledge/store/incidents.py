"""Incidents, their alerts, keys and evidence."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from itertools import groupby
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Integer,
    RowMapping,
    Select,
    Text,
    and_,
    any_,
    bindparam,
    case,
    delete,
    func,
    literal_column,
    not_,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningInsert, ReturningUpdate

from knowledge.correlation import MARKS, OpenIncident
from knowledge.lifecycle import may_move
from knowledge.model import Alert, AlertStatus, Evidence, FailureKind, Incident, IncidentState, Target
from knowledge.model.failing import CLOSED_STATES, FAMILY
from knowledge.severity import RANKS, UNKNOWN_WORD, rank
from knowledge.store.codec import from_json, to_json
from knowledge.store.tables import alerts, approvals, cards, evidence, incident_keys, incidents, metadata

# Any constant: alerts of all replicas choose their incidents one transaction after the other.
_CORRELATION_LOCK = 7_305_002
# What an index holds, whatever a label says.
MAX_SERVICE = 253


def _incident(row: RowMapping) -> Incident:
    values: dict[str, Any] = dict(row)
    values["state"] = IncidentState(values["state"])
    values["kind"] = FailureKind(values["kind"]) if values["kind"] else None
    values["target"] = from_json(Target, values["target"]) if values["target"] else None
    return Incident(**values)


_LOCK_CORRELATION = text("SELECT pg_advisory_xact_lock(:key)")


async def lock_correlation(db: AsyncConnection) -> None:
    """Let one transaction at a time choose incidents, so that two first alerts can't open two of them."""
    await db.execute(_LOCK_CORRELATION, {"key": _CORRELATION_LOCK})


# Statements of the path that every alert takes are built once: building one takes as long as PostgreSQL's answer.
_ONE = select(incidents).where(incidents.c.id == bindparam("wanted"))
_ONE_LOCKED = _ONE.with_for_update()
_OF_APPROVAL = (
    select(incidents)
    .where(
        incidents.c.id
        == select(approvals.c.incident_id).where(approvals.c.id == bindparam("its_approval")).scalar_subquery()
    )
    .with_for_update(of=incidents)
)


async def get(db: AsyncConnection, incident_id: int, *, lock: bool = False) -> Incident | None:
    row = (await db.execute(_ONE_LOCKED if lock else _ONE, {"wanted": incident_id})).mappings().one_or_none()
    return _incident(row) if row else None


async def locked_of_approval(db: AsyncConnection, approval_id: int) -> Incident | None:
    """The incident that an approval is for, its row locked."""
    row = (await db.execute(_OF_APPROVAL, {"its_approval": approval_id})).mappings().one_or_none()
    return _incident(row) if row else None


_MATTERS = or_(
    incident_keys.c.key == any_(bindparam("known", type_=ARRAY(Text))),
    *(incident_keys.c.key.startswith(mark, autoescape=True) for mark in MARKS),
)
_HOLDING = (
    select(incident_keys.c.incident_id)
    .join(incidents, incidents.c.id == incident_keys.c.incident_id)
    .where(incident_keys.c.key == any_(bindparam("seek", type_=ARRAY(Text))), incidents.c.resolved_at.is_(None))
)
_CANDIDATES = (
    select(incidents.c.id, incidents.c.last_alert_at, func.array_agg(incident_keys.c.key).label("keys"))
    .join(incident_keys, incident_keys.c.incident_id == incidents.c.id)
    .where(incidents.c.id.in_(_HOLDING), _MATTERS)
    .group_by(incidents.c.id)
)


async def candidates(db: AsyncConnection, seek: Sequence[str], hold: Sequence[str] = ()) -> Sequence[OpenIncident]:
    """The open incidents that hold any of `seek`, each with those of its keys that are asked about, and its marks.

    An incident of many alerts has hundreds of keys, of which a handful matters for one more.
    """
    rows = await db.execute(_CANDIDATES, {"seek": list(seek), "known": [*seek, *hold]})
    return [OpenIncident(row.id, frozenset(row.keys), row.last_alert_at) for row in rows]


_OPEN = insert(incidents).returning(incidents)


async def open_incident(db: AsyncConnection, alert: Alert, *, channel: str, thread_ts: str = "") -> Incident:
    values = {
        "identity": alert.identity,
        "title": alert.title,
        "state": IncidentState.DETECTED,
        "source": alert.source,
        "severity": alert.severity,
        "service": alert.service[:MAX_SERVICE],
        "environment": alert.environment,
        "namespace": alert.namespace,
        "workload": alert.owner or alert.workload,
        "cluster": alert.cluster,
        "repository": alert.repository,
        "run_id": alert.run_id,
        "commit": alert.commit,
        "channel": channel,
        "thread_ts": thread_ts,
        "asked_by": alert.asked_by,
        "trusted": alert.trusted,
    }
    return _incident((await db.execute(_OPEN, values)).mappings().one())


_KEYS = func.unnest(bindparam("its_keys", type_=ARRAY(Text))).table_valued("key").render_derived()
_HOLD = (
    insert(incident_keys)
    .from_select(["key", "incident_id"], select(_KEYS.c.key, bindparam("its_id", type_=BigInteger)))
    .on_conflict_do_update(index_elements=["key", "incident_id"], set_={"seen_at": func.now()})
)


async def hold_keys(db: AsyncConnection, incident_id: int, keys: Sequence[str]) -> None:
    if keys:
        await db.execute(_HOLD, {"its_id": incident_id, "its_keys": sorted(set(keys))})


_GIVEN = ("incident_id", "source", "identity", "fingerprint", "started", "status", "channel", "message_ts", "payload")


def _adding(*, started: bool, of_open: CTE | None = None) -> ReturningInsert[Any]:
    """`of_open`: the row's incident, whose absence stores nothing."""
    given = {name: bindparam(f"new_{name}", type_=alerts.c[name].type) for name in _GIVEN}
    statement = insert(alerts)
    if of_open is None:
        statement = statement.values(given)
    else:
        statement = statement.from_select(list(given), select(*given.values()).select_from(of_open))
    new = statement.excluded
    newest: dict[str, Any] = {
        "incident_id": func.coalesce(new.incident_id, alerts.c.incident_id),
        "received_at": func.now(),
        "payload": new.payload,
        "channel": new.channel,
        "message_ts": new.message_ts,
        "held": "",
    }
    first: dict[str, Any] = {"incident_id": func.coalesce(alerts.c.incident_id, new.incident_id), "held": ""}
    return statement.on_conflict_do_update(
        index_elements=["source", "identity", "fingerprint", "started", "status"],
        set_={"seen": alerts.c.seen + 1, **(first if started else newest)},
    ).returning(alerts.c.seen)


_ADD = {started: _adding(started=started) for started in (True, False)}


async def add_alert(db: AsyncConnection, alert: Alert, incident_id: int | None) -> bool:
    """Store an alert; False when the same signal (source, identity, fingerprint, start, status) is here already.

    A signal without a start can't be told from its repeats, so its row follows the newest: to the open incident.
    """
    stored = await db.execute(_ADD[alert.started_at is not None], _given(alert, incident_id))
    return bool(stored.scalar_one() == 1)


def _given(alert: Alert, incident_id: int | None) -> dict[str, Any]:
    return {
        "new_incident_id": incident_id,
        "new_source": alert.source,
        "new_identity": alert.identity,
        "new_fingerprint": alert.fingerprint,
        "new_started": alert.started_at.isoformat() if alert.started_at else "",
        "new_status": alert.status,
        "new_channel": alert.channel,
        "new_message_ts": alert.message_ts,
        "new_payload": to_json(alert),
    }


# Senders of one signal may cross each other, so what fires again within so many seconds of its end is a late repeat.
LATE_S = 60
# A signal that has ended and fires again with its old start is another spell of it. Its rows of the spell before are
# set aside under a start of their own, so that they stay with the incident that they told of.
_SEEN_AGAIN = text("""
    WITH signal AS (
        SELECT one.id, EXISTS (
            SELECT FROM alerts AS over
            WHERE over.source = :its_source AND over.identity = :its_identity AND over.fingerprint = :its_fingerprint
                AND over.started = :its_start AND over.status = 'resolved'
                AND over.received_at >= one.received_at AND over.received_at < now() - make_interval(secs => :late_s)
        ) AS ended
        FROM alerts AS one
        WHERE one.source = :its_source AND one.identity = :its_identity AND one.fingerprint = :its_fingerprint
            AND one.started = :its_start AND one.status = :its_status
            -- One that was kept quiet is no repeat when it comes again: it may open a card by now.
            AND one.held = ''
    ), aside AS (
        UPDATE alerts SET started = alerts.started || '/' || signal.id FROM signal
        WHERE signal.ended AND alerts.source = :its_source AND alerts.identity = :its_identity
            AND alerts.fingerprint = :its_fingerprint AND alerts.started = :its_start
            AND alerts.status IN (:its_status, 'resolved')
    )
    UPDATE alerts SET seen = alerts.seen + 1 FROM signal
    WHERE alerts.id = signal.id AND NOT signal.ended
    RETURNING alerts.id
""")


async def seen_again(db: AsyncConnection, alert: Alert) -> bool:
    """Count a repeat of a signal that is stored already (Alertmanager sends one for as long as it fires).

    False also where it has ended since: Alertmanager takes a start from its sender, and gives it to what fires anew.
    """
    again = await db.execute(
        _SEEN_AGAIN,
        {
            "its_source": alert.source,
            "its_identity": alert.identity,
            "its_fingerprint": alert.fingerprint,
            "its_start": alert.started_at.isoformat() if alert.started_at else "",
            "its_status": alert.status,
            "late_s": LATE_S,
        },
    )
    return again.first() is not None


_FILLED = ("service", "environment", "namespace", "workload", "cluster", "repository", "run_id")


def _heard(
    column: ColumnElement[str], its: ColumnElement[str], both: ColumnElement[str], *, trusted: bool
) -> ColumnElement[str]:
    """A word that is trusted stands in place of one that is not, and one that is not adds nothing to what is known by
    trusted ones; of two alike `both` says which."""
    return case((not_(incidents.c.trusted), its) if trusted else (incidents.c.trusted, column), else_=both)


def _filled(name: str, *, trusted: bool) -> ColumnElement[str]:
    """Where a failure is, its target is looked up."""
    column, its = incidents.c[name], bindparam(f"its_{name}", type_=Text)
    known = func.nullif(column, literal_column("''")) if name in _FILLED else column
    return _heard(column, its, func.coalesce(known, its), trusted=trusted)


def severity_rank(column: ColumnElement[str]) -> ColumnElement[int]:
    """`severity.rank`, in SQL."""

    # Our own words, written out: as parameters they would be a hundred with every alert.
    def number(one: int) -> ColumnElement[int]:
        return literal_column(f"{one}", Integer)

    by_rank = groupby(sorted(RANKS, key=RANKS.__getitem__), key=RANKS.__getitem__)
    words = [(number(rank), [literal_column(f"'{one}'", Text) for one in alike]) for rank, alike in by_rank]
    return case(*((func.lower(column).in_(alike), rank) for rank, alike in words), else_=number(UNKNOWN_WORD))


def _worst(*, trusted: bool) -> ColumnElement[str]:
    """An incident is as severe as the worst of its alerts."""
    column, its = incidents.c.severity, bindparam("its_severity", type_=Text)
    worse = case((bindparam("its_rank", type_=Integer) > severity_rank(column), its), else_=column)
    return _heard(column, its, worse, trusted=trusted)


def _counting(*, started: bool, trusted: bool) -> Select[Any]:
    # Its lock waits for whoever is closing it, and then sees that.
    still_open = (
        select(incidents.c.id)
        .where(incidents.c.id == bindparam("new_incident_id"), incidents.c.resolved_at.is_(None))
        .with_for_update(key_share=True)
        .cte("still_open")
    )
    added = _adding(started=started, of_open=still_open).cte("added")
    filled = {name: _filled(name, trusted=trusted) for name in (*_FILLED, "commit")}
    counted = (
        update(incidents)
        .where(incidents.c.id == bindparam("new_incident_id"), select(added).where(added.c.seen == 1).exists())
        .values(
            alert_count=incidents.c.alert_count + 1,
            last_alert_at=func.now(),
            severity=_worst(trusted=trusted),
            **(filled | {"trusted": true()} if trusted else filled),
        )
    )
    return select(added.c.seen).add_cte(counted.cte("counted"))


_COUNT = {
    (started, trusted): _counting(started=started, trusted=trusted)
    for started in (True, False)
    for trusted in (True, False)
}


async def count_alert(db: AsyncConnection, incident_id: int, alert: Alert) -> bool | None:
    """Store one more alert of an open incident, as `add_alert` does, and count it unless it is here already.

    What the first one did not know is filled in, and the worst severity counts. None, and nothing is stored, where the
    incident has been closed since it was chosen: its alerts are seen by nobody.
    """
    known = {name: getattr(alert, name) for name in _FILLED} | {
        "workload": alert.owner or alert.workload,
        "service": alert.service[:MAX_SERVICE],
        "commit": alert.commit,
        "severity": alert.severity,
    }
    values = _given(alert, incident_id) | {f"its_{name}": value for name, value in known.items()}
    values["its_rank"] = rank(alert.severity)
    seen = (await db.execute(_COUNT[alert.started_at is not None, alert.trusted], values)).scalar_one_or_none()
    return None if seen is None else bool(seen == 1)


# Sources that send a word when their alert is over. The watch and CI send none: the live system tells.
TELL_THE_END = ("alertmanager", "grafana", "slack", "pagerduty", "cloudwatch", "generic")


_RESOLVED = alerts.alias("resolved")
ENDED = (
    select(_RESOLVED.c.id)
    .where(
        _RESOLVED.c.incident_id == alerts.c.incident_id,
        _RESOLVED.c.status == AlertStatus.RESOLVED,
        _RESOLVED.c.source == alerts.c.source,
        _RESOLVED.c.identity == alerts.c.identity,
        _RESOLVED.c.fingerprint == alerts.c.fingerprint,
        _RESOLVED.c.received_at >= alerts.c.received_at,
        # The late end of an earlier spell ends nothing that began since. (UTC in ISO form: it sorts as text.)
        or_(_RESOLVED.c.started == "", _RESOLVED.c.started >= alerts.c.started),
    )
    .exists()
)
# Built once: this is asked at every look at a fix, and for every open incident.
_FIRING = (
    select(alerts.c.incident_id, func.bool_or(~ENDED).label("firing"))
    .where(
        alerts.c.incident_id == any_(bindparam("ids", type_=ARRAY(BigInteger))),
        alerts.c.status == AlertStatus.FIRING,
        alerts.c.source == any_(bindparam("sources", type_=ARRAY(Text))),
    )
    .group_by(alerts.c.incident_id)
)


async def firing(
    db: AsyncConnection, incident_ids: Sequence[int], *, apart_from: Sequence[str] = ()
) -> Mapping[int, bool]:
    """For each incident with alerts of sources that tell the end, whether one of them has not ended."""
    sources = [one for one in TELL_THE_END if one not in apart_from]
    rows = await db.execute(_FIRING, {"ids": list(incident_ids), "sources": sources})
    return {row.incident_id: row.firing for row in rows}


async def still_firing(db: AsyncConnection, incident_id: int, *, apart_from: Sequence[str] = ()) -> bool | None:
    """Whether an alert of a source that tells the end has not ended; None when the incident has no such alert."""
    return (await firing(db, [incident_id], apart_from=apart_from)).get(incident_id)


async def has_told(db: AsyncConnection, incident_id: int, alert: Alert) -> bool:
    """Whether the incident was told of by the very signal that this is the end of."""
    found = await db.execute(
        select(alerts.c.id)
        .where(
            alerts.c.incident_id == incident_id,
            alerts.c.status == AlertStatus.FIRING,
            alerts.c.source == alert.source,
            alerts.c.identity == alert.identity,
            alerts.c.fingerprint == alert.fingerprint,
        )
        .limit(1)
    )
    return found.first() is not None


async def began_near(db: AsyncConnection, target: Target, *, since: datetime, apart_from: int) -> Sequence[str]:
    """Titles of open incidents of the same service, or on the same target, that began since; at most 5.

    A service's workload and what deploys it are one; its pipelines are looked at for themselves.
    """
    kinds = FAMILY if target.kind in FAMILY else (target.kind,)
    same_service = and_(
        incidents.c.service == target.service,
        incidents.c.environment == target.environment,
        func.coalesce(incidents.c.target["kind"].as_string(), target.kind).in_(kinds),
    )
    same_workload = and_(
        incidents.c.target["kind"].as_string() == target.kind,
        incidents.c.target["name"].as_string() == target.name,
        incidents.c.target["namespace"].as_string() == target.namespace,
        incidents.c.target["cluster"].as_string() == target.cluster,
    )
    rows = await db.execute(
        select(incidents.c.title)
        .where(
            incidents.c.id != apart_from,
            incidents.c.opened_at > since,
            incidents.c.resolved_at.is_(None),
            or_(same_service, same_workload) if target.service else same_workload,
        )
        .order_by(incidents.c.id)
        .limit(5)
    )
    return list(rows.scalars())


_NEWEST_ALERTS = (
    select(alerts.c.payload)
    .where(alerts.c.incident_id == bindparam("of_incident"))
    .order_by(alerts.c.id.desc())
    .limit(bindparam("most", type_=Integer))
)


_NEWEST_OF_SOURCE = _NEWEST_ALERTS.where(alerts.c.source == bindparam("of_source"))


async def alerts_of(db: AsyncConnection, incident_id: int, *, limit: int = 20, source: str = "") -> Sequence[Alert]:
    """The newest alerts of an incident, oldest first; with `source` only those."""
    values = {"of_incident": incident_id, "most": limit} | ({"of_source": source} if source else {})
    rows = await db.execute(_NEWEST_OF_SOURCE if source else _NEWEST_ALERTS, values)
    return [from_json(Alert, row.payload) for row in reversed(rows.all())]


async def by_message(db: AsyncConnection, channel: str, ts: str) -> int | None:
    """The incident whose card, or whose alert's post, is the message `ts` in `channel`."""
    card = select(cards.c.incident_id).where(cards.c.channel == channel, cards.c.ts == ts)
    post = select(alerts.c.incident_id).where(alerts.c.channel == channel, alerts.c.message_ts == ts)
    for query in (card, post):
        found = (await db.execute(query.where(text("incident_id IS NOT NULL")).limit(1))).scalar_one_or_none()
        if found is not None:
            return int(found)
    return None


@cache
def _moving(changed: frozenset[str], *, closes: bool) -> ReturningUpdate[Any]:
    """One statement for each set of columns that some step of an incident changes."""
    return (
        update(incidents)
        .where(incidents.c.id == bindparam("its_id"), incidents.c.revision == bindparam("its_revision"))
        .values(
            revision=incidents.c.revision + 1,
            resolved_at=func.now() if closes else None,
            **{name: bindparam(f"to_{name}", type_=incidents.c[name].type) for name in sorted(changed)},
        )
        .returning(incidents)
    )


async def move(db: AsyncConnection, incident: Incident, state: IncidentState, **values: Any) -> Incident | None:
    """Move an incident by compare-and-set on its revision; None when it moved meanwhile or may not move so."""
    if not may_move(incident.state, state):
        return None
    target = values.pop("target", incident.target)
    values |= {"state": state, "target": to_json(target) if target else None}
    statement = _moving(frozenset(values), closes=state in CLOSED_STATES)
    given = {"its_id": incident.id, "its_revision": incident.revision} | {f"to_{k}": v for k, v in values.items()}
    row = (await db.execute(statement, given)).mappings().one_or_none()
    return _incident(row) if row else None


_FORGET_EVIDENCE = delete(evidence).where(evidence.c.incident_id == bindparam("of_incident"))
_KEEP_EVIDENCE = insert(evidence)
_EVIDENCE_OF = (
    select(evidence.c.payload).where(evidence.c.incident_id == bindparam("of_incident")).order_by(evidence.c.position)
)


async def keep_evidence(
    db: AsyncConnection, incident_id: int, items: Sequence[Evidence], *, before: datetime | None = None
) -> None:  # fmt: skip
    """Replace the incident's evidence; texts are redacted and bounded already.

    It counts as collected now; or just `before` an alert that came while it was collected.
    """
    await db.execute(_FORGET_EVIDENCE, {"of_incident": incident_id})
    at = {"collected_at": before - timedelta(microseconds=1)} if before else {}
    rows = [
        {"incident_id": incident_id, "position": position, "payload": to_json(item), **at}
        for position, item in enumerate(items)
    ]
    if rows:
        await db.execute(_KEEP_EVIDENCE, rows)


async def evidence_of(db: AsyncConnection, incident_id: int) -> Sequence[Evidence]:
    rows = await db.execute(_EVIDENCE_OF, {"of_incident": incident_id})
    return [from_json(Evidence, row.payload) for row in rows]


_COLLECTED_AT = select(func.max(evidence.c.collected_at)).where(evidence.c.incident_id == bindparam("of_incident"))


async def evidence_collected_at(db: AsyncConnection, incident_id: int) -> datetime | None:
    """Up to when the incident's evidence knows of what was told; None where there is none."""
    at: datetime | None = await db.scalar(_COLLECTED_AT, {"of_incident": incident_id})
    return at


async def listed(
    db: AsyncConnection,
    *,
    only_open: bool = False,
    only_closed: bool = False,
    limit: int = 100,
    offset: int = 0,
    before_id: int | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    **filters: str,
) -> Sequence[Incident]:
    """Incidents that opened in [since, until), newest first.

    `filters` are of source, service, environment, state and kind.
    """
    query = select(incidents).order_by(incidents.c.id.desc()).limit(limit).offset(offset)
    for name, value in filters.items():
        query = query.where(incidents.c[name] == value)
    if only_open:
        query = query.where(incidents.c.resolved_at.is_(None))
    if only_closed:
        query = query.where(incidents.c.resolved_at.is_not(None))
    if before_id is not None:
        query = query.where(incidents.c.id < before_id)
    if since is not None:
        query = query.where(incidents.c.opened_at >= since)
    if until is not None:
        query = query.where(incidents.c.opened_at < until)
    return [_incident(row) for row in (await db.execute(query)).mappings()]


async def in_states(db: AsyncConnection, states: Sequence[IncidentState]) -> Sequence[Incident]:
    """All open incidents in one of the states, oldest first."""
    query = select(incidents).where(incidents.c.resolved_at.is_(None), incidents.c.state.in_(states))
    query = query.order_by(incidents.c.id)
    return [_incident(row) for row in (await db.execute(query)).mappings()]


# An incident that has moved without one has JSON's null there.
_HAS_TARGET = func.coalesce(func.jsonb_typeof(incidents.c.target), literal_column("''")) == literal_column("'object'")


async def any_with_target(db: AsyncConnection, states: Sequence[IncidentState], *, most: int) -> Sequence[Incident]:
    """Open incidents in one of the states whose target is known; where there are more than `most`, others each time."""
    query = select(incidents).where(incidents.c.resolved_at.is_(None), incidents.c.state.in_(states), _HAS_TARGET)
    rows = await db.execute(query.order_by(func.random()).limit(most))
    return [_incident(row) for row in rows.mappings()]


async def any_without_target(
    db: AsyncConnection, states: Sequence[IncidentState], *, source: str, most: int
) -> Sequence[Incident]:
    """As `any_with_target`, of a source's incidents that are about nothing of the services table."""
    query = select(incidents).where(
        incidents.c.resolved_at.is_(None),
        incidents.c.state.in_(states),
        not_(_HAS_TARGET),
        incidents.c.source == source,
        incidents.c.trusted,
    )
    rows = await db.execute(query.order_by(func.random()).limit(most))
    return [_incident(row) for row in rows.mappings()]


async def set_kind(db: AsyncConnection, incident_id: int, kind: FailureKind) -> None:
    """What a person says the cause is; the card is another one now."""
    await db.execute(
        update(incidents)
        .where(incidents.c.id == incident_id, incidents.c.kind.is_distinct_from(kind))
        .values(kind=kind, revision=incidents.c.revision + 1)
    )


_WITH_MERGED = text("""
    WITH RECURSIVE merged AS (
        SELECT CAST(:its_id AS bigint) AS id
        UNION SELECT i.id FROM merged JOIN incidents AS i ON i.merged_into = merged.id
    )
    SELECT id FROM merged ORDER BY id
""")


async def with_merged(db: AsyncConnection, incident_id: int) -> Sequence[int]:
    """The incident, and those that have become part of it, directly or through others."""
    return [int(number) for number in (await db.execute(_WITH_MERGED, {"its_id": incident_id})).scalars()]


async def erase(db: AsyncConnection, incident_id: int) -> Mapping[str, int]:
    """Delete an incident with everything that hangs on it, and what was merged into it; rows by table.

    Without the incident that took them, merged ones would be incidents of their own again.
    The audit log keeps its rows, and what was spent on models stays spent.
    """
    numbers = await with_merged(db, incident_id)
    hanging = [
        table
        for table in metadata.sorted_tables
        if "incident_id" in table.c and any(key.ondelete != "SET NULL" for key in table.c.incident_id.foreign_keys)
    ]
    counts = {}
    for table in reversed(hanging):
        gone = await db.execute(delete(table).where(table.c.incident_id.in_(numbers)))
        if gone.rowcount:
            counts[table.name] = gone.rowcount
    await db.execute(delete(incidents).where(incidents.c.id.in_(numbers)))
    return counts


async def dismiss_open(db: AsyncConnection) -> Sequence[int]:
    """Close every open incident, as when the sandbox's world begins anew; the ids that were open."""
    closed = await db.execute(
        update(incidents)
        .where(incidents.c.resolved_at.is_(None))
        .values(state=IncidentState.DISMISSED, resolved_at=func.now(), revision=incidents.c.revision + 1)
        .returning(incidents.c.id)
    )
    return sorted(closed.scalars())
