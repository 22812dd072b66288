"""What is remembered: past incidents with their outcome, and what people thought of the answers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    RowMapping,
    Text,
    and_,
    any_,
    bindparam,
    case,
    false,
    func,
    literal,
    not_,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge import wording
from knowledge.calibration import Outcomes
from knowledge.model import FailureKind, Feedback, KnowledgeItem, TrackRecord
from knowledge.ports import Vector
from knowledge.store import legs, threads, vectors
from knowledge.store.tables import feedback, incidents, knowledge_items
from knowledge.store.threads import NOBODY, Asked

# Up to so many items each is compared: a few milliseconds, and no neighbour is missed. At 1 in 100 an index over all
# vectors finds 3 % of the nearest (docs/retrieval.md).
EXACT_ROWS = 5_000

# The source of a fix of ours that failed before the incident's last one. It counts in the track record and is found by
# no search: its incident is found by the item of its own.
EARLIER_FIX = "earlier-fix"


@dataclass(frozen=True, slots=True)
class Found:
    """A remembered item with each leg's opinion of it, 0 to 1, and 0 where unseen.

    `similarity` is the vectors' cosine, `rank` the share of the query that the item's words cover (BM25).
    """

    item: KnowledgeItem
    similarity: float
    rank: float
    thumbs_up: int
    thumbs_down: int
    same_identity: bool = False


def item_of(row: RowMapping) -> KnowledgeItem:
    return KnowledgeItem(
        id=row["id"],
        source=row["source"],
        kind=FailureKind(row["kind"]) if row["kind"] else None,
        service=row["service"],
        environment=row["environment"],
        cause=row["cause"],
        fix=row["fix"],
        outcome=row["outcome"],
        excerpt=row["excerpt"],
        link=row["link"],
        occurred_at=row["occurred_at"],
        incident_id=row["incident_id"],
        action=row["action"],
        status=row["status"],
        channel=row["channel"] or "",
    )


# What a person may set right; a lesson that is stored again keeps it.
CORRECTABLE = ("kind", "service", "environment", "cause", "fix", "outcome", "excerpt", "link")


async def remember(
    db: AsyncConnection,
    item: KnowledgeItem,
    *,
    vector: Vector | None,
    vector_model: str,
    reason: str = "",
    digest: str = "",
) -> None:
    """Insert or replace an item; without a vector it is found by its words alone, until one is made for it.

    What people have corrected stays, except where the item comes from an import (`digest` of its line): a changed line
    is newer than the correction.
    """
    values: dict[str, Any] = {
        "source": item.source,
        "incident_id": item.incident_id,
        "kind": item.kind,
        "service": item.service,
        "environment": item.environment,
        "cause": item.cause,
        "fix": item.fix,
        "action": item.action,
        "outcome": item.outcome,
        "reason": reason,
        "excerpt": item.excerpt,
        "link": item.link,
        "channel": item.channel or None,
        "occurred_at": item.occurred_at,
    }
    statement = insert(knowledge_items).values(id=item.id, status=item.status, digest=digest, **values)
    changes: dict[str, Any] = {**values, "updated_at": func.now()}
    if digest:
        changes |= {"digest": digest, "status": item.status, "corrected": []}
    else:
        changes |= {name: _unless_corrected(name, values[name]) for name in CORRECTABLE}
    stored = statement.on_conflict_do_update(index_elements=["id"], set_=changes)
    corrected = (await db.execute(stored.returning(knowledge_items.c.corrected))).scalar_one()
    # Where a person's words stay, this vector is of others: one is made of what is stored.
    await vectors.replace(db, item.id, None if corrected and not digest else vector, vector_model)


def _unless_corrected(name: str, value: Any) -> ColumnElement[Any]:
    column = knowledge_items.c[name]
    return case((knowledge_items.c.corrected.contains([name]), column), else_=literal(value, column.type))


async def get(db: AsyncConnection, item_id: str) -> KnowledgeItem | None:
    columns = [column for column in knowledge_items.c if column.name not in {"words", "vector"}]
    row = (await db.execute(select(*columns).where(knowledge_items.c.id == item_id))).mappings().one_or_none()
    return item_of(row) if row else None


async def forget(db: AsyncConnection, item_id: str) -> bool:
    """Remove an item; false when there was none."""
    done = await db.execute(knowledge_items.delete().where(knowledge_items.c.id == item_id))
    return bool(done.rowcount)


def _matches(filters: Mapping[str, str]) -> list[ColumnElement[bool]]:
    return [knowledge_items.c[name] == value for name, value in filters.items() if value]


async def search(
    db: AsyncConnection,
    *,
    words: str,
    vector: Vector | None,
    vector_model: str,
    limit: int = 50,
    not_incident: int | None = None,
    filters: Mapping[str, str] | None = None,
    identity: str = "",
    not_item: str = "",
    asked: Asked = NOBODY,
) -> Sequence[Found]:
    """The candidates of each leg, `limit` of each, filtered first; with those of the same identity, where one is given.

    Args:
        words: what is asked, as text; its rarest words are looked for.
        vector: what is asked, as a vector of `vector_model`; None searches by words alone.
        filters: columns of knowledge_items with the value that they must have; an empty value does not filter.
        asked: where, which decides whose threads of Slack may be found.
    """
    where = [
        knowledge_items.c.source != EARLIER_FIX, *_matches(filters or {}), *await threads.readable(db, asked)
    ]  # fmt: skip
    if not_incident is not None:
        where.append(or_(knowledge_items.c.incident_id.is_(None), knowledge_items.c.incident_id != not_incident))
    if not_item:
        where.append(knowledge_items.c.id != not_item)
    passing = await _passing(db, where)
    if not passing:
        return []
    few = passing if passing <= EXACT_ROWS else 0
    near: Mapping[str, float] = {}
    if vector is not None:
        near = await legs.nearest(db, vector, vector_model, where, limit=limit, exact=bool(few))
    known, total = await legs.known(db, words)
    worded = await legs.candidates(db, known, total, where, vector=vector, model=vector_model, few=few)
    ranks = await legs.ranks(db, [*{*near, *worded}], wording.weights(known, total), total)
    same = await _same_identity(db, identity, where)
    best = likeliest(worded, ranks)[:limit]
    alike = {**worded, **near}
    if vector is not None and (others := same - alike.keys()):
        alike |= await vectors.similarities(db, others, vector, vector_model)
    return await weighed(db, {*near, *best, *same}, alike=alike, ranks=ranks, same=same)


def likeliest(alike: Mapping[str, float], ranks: Mapping[str, float]) -> list[str]:
    """By what their words cover, as a share of the best, and how near they are: failures of one sort cover as much.

    Equals stay in their order.
    """
    best = max((ranks.get(one, 0.0) for one in alike), default=0.0) or 1.0
    return sorted(alike, key=lambda one: -ranks.get(one, 0.0) / best - alike[one])


async def _passing(db: AsyncConnection, where: Sequence[ColumnElement[bool]]) -> int:
    """How many items pass, counted no further than to where comparing each is slower than an index."""
    passing = select(literal(1)).select_from(knowledge_items).where(*where).limit(EXACT_ROWS + 1).subquery()
    return int((await db.execute(select(func.count()).select_from(passing))).scalar_one())


async def _same_identity(
    db: AsyncConnection, identity: str, where: Sequence[ColumnElement[bool]], most: int = 5
) -> frozenset[str]:
    """The newest items that were learnt from the very same failure."""
    if not identity:
        return frozenset()
    rows = await db.execute(
        select(knowledge_items.c.id)
        .join(incidents, incidents.c.id == knowledge_items.c.incident_id)
        .where(incidents.c.identity == identity, *where)
        .order_by(knowledge_items.c.occurred_at.desc())
        .limit(most)
    )
    return frozenset(rows.scalars())


async def weighed(
    db: AsyncConnection,
    ids: set[str],
    *,
    alike: Mapping[str, float],
    ranks: Mapping[str, float],
    same: Collection[str] = (),
) -> Sequence[Found]:
    """Those items with what speaks for each: its likeness, its words' rank, people's thumbs."""
    if not ids:
        return []
    chosen = knowledge_items.c.id == any_(literal(list(ids), ARRAY(Text)))
    ups = func.count().filter(feedback.c.value == 1, feedback.c.stands)
    downs = func.count().filter(feedback.c.value == -1, feedback.c.stands)
    learnt_from = select(knowledge_items.c.incident_id).where(chosen)
    opinions = (
        select(feedback.c.incident_id, ups.label("ups"), downs.label("downs"))
        .where(feedback.c.incident_id.in_(learnt_from))
        .group_by(feedback.c.incident_id)
        .subquery()
    )
    shown = [column for column in knowledge_items.c if column.name != "words"]
    rows = await db.execute(
        select(
            *shown,
            func.coalesce(opinions.c.ups, 0).label("ups"),
            func.coalesce(opinions.c.downs, 0).label("downs"),
        )
        # Thumbs are about our answer, not about what a person has told of the same incident.
        .outerjoin(
            opinions,
            and_(opinions.c.incident_id == knowledge_items.c.incident_id, knowledge_items.c.source == "incident"),
        )
        .where(chosen)
    )
    return [
        Found(
            item=item_of(row),
            similarity=alike.get(row["id"], 0.0),
            rank=ranks.get(row["id"], 0.0),
            thumbs_up=int(row["ups"]),
            thumbs_down=int(row["downs"]),
            same_identity=row["id"] in same,
        )
        for row in rows.mappings()
    ]


async def track_record(
    db: AsyncConnection, *, kind: FailureKind, environment: str = "", service: str = ""
) -> Mapping[str, TrackRecord]:
    """By action: how often it healed this kind, failed, or was turned down as the wrong fix.

    Counted from the remembered incidents themselves, so that correcting one corrects the record too. Where the evidence
    addressed the bot, nothing is counted.
    """
    outcome = knowledge_items.c.outcome
    wrong_fix = and_(outcome == "rejected", knowledge_items.c.reason == "right_cause_wrong_fix")
    rows = await db.execute(
        select(
            knowledge_items.c.action,
            func.count().filter(outcome == "verified").label("verified"),
            func.count().filter(outcome.in_(["not_verified", "worse", "failed"])).label("failed"),
            func.count().filter(wrong_fix).label("rejected"),
        )
        .outerjoin(incidents, incidents.c.id == knowledge_items.c.incident_id)
        .where(
            knowledge_items.c.kind == kind,
            knowledge_items.c.status != "wrong",
            knowledge_items.c.action.not_in(["", "noop"]),
            func.coalesce(incidents.c.flagged, false()).is_(False),
            *_matches({"environment": environment, "service": service}),
        )
        .group_by(knowledge_items.c.action)
    )
    return {
        row.action: TrackRecord(kind, row.action, environment, row.verified, row.failed, row.rejected) for row in rows
    }


async def wrong_target(db: AsyncConnection, *, identity: str, service: str) -> bool:
    """Whether people said of this very failure that the fix would have changed the wrong thing.

    A person who corrects what is remembered of it (its outcome, or that it is old or wrong) takes that back.
    """
    said = (
        select(knowledge_items.c.id)
        .join(incidents, incidents.c.id == knowledge_items.c.incident_id)
        .where(
            incidents.c.identity == identity,
            knowledge_items.c.service == service,
            knowledge_items.c.outcome == "rejected",
            knowledge_items.c.reason == "wrong_target",
            knowledge_items.c.status == "",
        )
        .limit(1)
    )
    return (await db.execute(said)).first() is not None


async def outcomes_by_kind(db: AsyncConnection, *, environment: str) -> Mapping[FailureKind, Outcomes]:
    """How often each kind was the right answer in an environment: healed or thumbed up against denied or thumbed down.

    One incident counts once: what its fix did, else what people said of it. Where the evidence addressed the bot,
    nothing is counted.
    """
    denied = and_(knowledge_items.c.outcome == "rejected", knowledge_items.c.reason == "wrong_cause")
    opinion = (
        select(feedback.c.incident_id, func.sum(feedback.c.value).label("total"))
        .where(feedback.c.stands)
        .group_by(feedback.c.incident_id)
        .subquery()
    )
    right = or_(knowledge_items.c.outcome == "verified", and_(not_(denied), opinion.c.total > 0))
    wrong = or_(denied, and_(knowledge_items.c.outcome != "verified", opinion.c.total < 0))
    rows = await db.execute(
        select(
            knowledge_items.c.kind,
            func.count().filter(right).label("right"),
            func.count().filter(wrong).label("wrong"),
        )
        .outerjoin(opinion, opinion.c.incident_id == knowledge_items.c.incident_id)
        .outerjoin(incidents, incidents.c.id == knowledge_items.c.incident_id)
        .where(
            knowledge_items.c.kind.is_not(None),
            knowledge_items.c.environment == environment,
            # What people wrote down elsewhere can be a precedent; only what happened here earns confidence.
            knowledge_items.c.source == "incident",
            knowledge_items.c.status != "wrong",
            func.coalesce(incidents.c.flagged, false()).is_(False),
        )
        .group_by(knowledge_items.c.kind)
    )
    return {FailureKind(row.kind): Outcomes(row.right, row.wrong) for row in rows}


async def put_feedback(
    db: AsyncConnection,
    incident_id: int,
    user: str,
    value: int,
    comment: str = "",
    *,
    reason: str = "",
    diagnosis_id: int | None = None,
    stands: bool = True,
) -> None:
    """A person's opinion; a later one replaces it, an empty comment keeps the one before.

    Args:
        reason: what was wrong; an empty one keeps that of the same thumb before.
        diagnosis_id: the answer that is judged.
        stands: whether it is the answer that stands. An opinion of an earlier one replaces none of that.
    """
    statement = insert(feedback).values(
        incident_id=incident_id,
        user=user,
        value=value,
        comment=comment,
        reason=reason,
        diagnosis_id=diagnosis_id,
        stands=stands,
    )
    new = statement.excluded
    same = case((new.value == feedback.c.value, func.coalesce(func.nullif(new.reason, ""), feedback.c.reason)))
    await db.execute(
        statement.on_conflict_do_update(
            index_elements=["incident_id", "user"],
            set_={
                "value": new.value,
                "comment": func.coalesce(func.nullif(new.comment, ""), feedback.c.comment),
                "reason": func.coalesce(same, new.reason),
                "diagnosis_id": new.diagnosis_id,
                "stands": new.stands,
                "at": func.now(),
            },
            where=or_(new.stands, not_(feedback.c.stands)),
        )
    )


async def drop_feedback(db: AsyncConnection, incident_id: int, user: str, value: int | None = None) -> None:
    """Take back an opinion; of this value, as when a reaction is removed, where one is given."""
    gone = feedback.delete().where(feedback.c.incident_id == incident_id, feedback.c.user == user)
    await db.execute(gone if value is None else gone.where(feedback.c.value == value))


_FEEDBACK_OF = (
    select(*(feedback.c[name] for name in ("incident_id", "user", "value", "comment", "at", "reason")))
    .where(feedback.c.incident_id == bindparam("of_incident"), feedback.c.stands)
    .order_by(feedback.c.at)
)


async def feedback_of(db: AsyncConnection, incident_id: int) -> Sequence[Feedback]:
    """What people think of the answer that stands."""
    rows = await db.execute(_FEEDBACK_OF, {"of_incident": incident_id})
    return [Feedback(**row) for row in rows.mappings()]


_ANYTHING = select(knowledge_items.c.id).limit(1)


async def anything(db: AsyncConnection) -> bool:
    """Whether any item is remembered."""
    return (await db.execute(_ANYTHING)).first() is not None
