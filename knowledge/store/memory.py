"""What is remembered: past incidents with their outcome, and what people thought of the answers."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, and_, cast, func, literal, not_, or_, select, text
from sqlalchemy.dialects.postgresql import TSQUERY, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.calibration import Outcomes
from knowledge.model import FailureKind, Feedback, KnowledgeItem, TrackRecord
from knowledge.ports import Vector
from knowledge.store.tables import feedback, knowledge_items

# More words make the OR query slow and add nothing (facts: cap 60).
MAX_QUERY_WORDS = 60
SEARCH_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]{2,40}")


@dataclass(frozen=True, slots=True)
class Found:
    """A remembered item with each leg's opinion of it: cosine similarity and text rank, 0 where unseen."""

    item: KnowledgeItem
    similarity: float
    rank: float
    thumbs_up: int
    thumbs_down: int


def _item(row: RowMapping) -> KnowledgeItem:
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
    )


async def remember(
    db: AsyncConnection, item: KnowledgeItem, *, vector: Vector | None, vector_model: str, reason: str = ""
) -> None:
    """Insert or replace an item; without a vector it is found by its words alone."""
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
        "occurred_at": item.occurred_at,
        "vector": vector.tolist() if vector is not None else None,
        "vector_model": vector_model if vector is not None else None,
    }
    statement = insert(knowledge_items).values(id=item.id, **values)
    await db.execute(statement.on_conflict_do_update(index_elements=["id"], set_={**values, "updated_at": func.now()}))


async def forget(db: AsyncConnection, item_id: str) -> bool:
    """Remove an item; false when there was none."""
    done = await db.execute(knowledge_items.delete().where(knowledge_items.c.id == item_id))
    return bool(done.rowcount)


def _matches(filters: Mapping[str, str]) -> list[ColumnElement[bool]]:
    return [knowledge_items.c[name] == value for name, value in filters.items() if value]


def _or_query(words: str) -> ColumnElement[Any] | None:
    """An OR query: PostgreSQL's own query functions join with AND, which finds nothing for a log."""
    unique = list(dict.fromkeys(word.lower() for word in SEARCH_WORD.findall(words)))
    rarest = sorted(unique, key=len, reverse=True)[:MAX_QUERY_WORDS]
    if not rarest:
        return None
    lexemes = func.tsvector_to_array(func.to_tsvector("english", " ".join(rarest)))
    return cast(func.array_to_string(lexemes, " | "), TSQUERY)


async def search(
    db: AsyncConnection,
    *,
    words: str,
    vector: Vector | None,
    vector_model: str,
    limit: int = 50,
    not_incident: int | None = None,
    filters: Mapping[str, str] | None = None,
) -> Sequence[Found]:
    """The candidates of both legs, `limit` of each, filtered first."""
    where = _matches(filters or {})
    if not_incident is not None:
        where.append(or_(knowledge_items.c.incident_id.is_(None), knowledge_items.c.incident_id != not_incident))
    ids: set[str] = set()
    # Strict filters over an HNSW index lose recall unless the scan goes on until enough rows pass.
    await db.execute(text("SET LOCAL hnsw.iterative_scan = strict_order"))
    usable = and_(knowledge_items.c.vector.is_not(None), knowledge_items.c.vector_model == vector_model)
    distance: ColumnElement[Any] = literal(1.0)
    if vector is not None:
        distance = knowledge_items.c.vector.cosine_distance(vector.tolist())
        near = await db.execute(select(knowledge_items.c.id).where(usable, *where).order_by(distance).limit(limit))
        ids |= set(near.scalars())
    query = _or_query(words)
    rank: ColumnElement[Any] = literal(0.0)
    if query is not None:
        # Normalisation 1 divides by the logarithm of the length: long logs must not win by length.
        rank = func.ts_rank(knowledge_items.c.words, query, 1)
        worded = await db.execute(
            select(knowledge_items.c.id)
            .where(knowledge_items.c.words.op("@@")(query), *where)
            .order_by(rank.desc())
            .limit(limit)
        )
        ids |= set(worded.scalars())
    return await _found(
        db,
        ids,
        similarity=func.coalesce(1 - distance, 0.0) if vector is not None else literal(0.0),
        usable=usable,
        rank=rank,
    )


async def _found(
    db: AsyncConnection,
    ids: set[str],
    *,
    similarity: ColumnElement[Any],
    usable: ColumnElement[bool],
    rank: ColumnElement[Any],
) -> Sequence[Found]:
    if not ids:
        return []
    ups = func.count().filter(feedback.c.value == 1)
    downs = func.count().filter(feedback.c.value == -1)
    opinions = (
        select(feedback.c.incident_id, ups.label("ups"), downs.label("downs"))
        .group_by(feedback.c.incident_id)
        .subquery()
    )
    shown = [column for column in knowledge_items.c if column.name not in {"words", "vector"}]
    rows = await db.execute(
        select(
            *shown,
            func.coalesce(similarity, 0.0).label("similarity"),
            usable.label("usable"),
            rank.label("rank"),
            func.coalesce(opinions.c.ups, 0).label("ups"),
            func.coalesce(opinions.c.downs, 0).label("downs"),
        )
        .outerjoin(opinions, opinions.c.incident_id == knowledge_items.c.incident_id)
        .where(knowledge_items.c.id.in_(ids))
    )
    return [
        Found(
            item=_item(row),
            similarity=max(0.0, float(row["similarity"])) if row["usable"] else 0.0,
            rank=float(row["rank"]),
            thumbs_up=int(row["ups"]),
            thumbs_down=int(row["downs"]),
        )
        for row in rows.mappings()
    ]


async def track_record(
    db: AsyncConnection, *, kind: FailureKind, environment: str = "", service: str = ""
) -> Mapping[str, TrackRecord]:
    """By action: how often it healed this kind, failed, or was turned down as the wrong fix.

    Counted from the remembered incidents themselves, so that correcting one corrects the record too.
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
        .where(
            knowledge_items.c.kind == kind,
            knowledge_items.c.action.not_in(["", "noop"]),
            *_matches({"environment": environment, "service": service}),
        )
        .group_by(knowledge_items.c.action)
    )
    return {
        row.action: TrackRecord(kind, row.action, environment, row.verified, row.failed, row.rejected) for row in rows
    }


async def outcomes_by_kind(db: AsyncConnection, *, environment: str) -> Mapping[FailureKind, Outcomes]:
    """How often each kind was the right answer in an environment: healed or thumbed up against denied or thumbed down.

    One incident counts once: what its fix did, else what people said of it.
    """
    denied = and_(knowledge_items.c.outcome == "rejected", knowledge_items.c.reason == "wrong_cause")
    opinion = (
        select(feedback.c.incident_id, func.sum(feedback.c.value).label("total"))
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
        .where(knowledge_items.c.kind.is_not(None), knowledge_items.c.environment == environment)
        .group_by(knowledge_items.c.kind)
    )
    return {FailureKind(row.kind): Outcomes(row.right, row.wrong) for row in rows}


async def put_feedback(db: AsyncConnection, incident_id: int, user: str, value: int, comment: str = "") -> None:
    """A person's opinion; a later one replaces it, an empty comment keeps the one before."""
    statement = insert(feedback).values(incident_id=incident_id, user=user, value=value, comment=comment)
    kept = func.coalesce(func.nullif(statement.excluded.comment, ""), feedback.c.comment)
    await db.execute(
        statement.on_conflict_do_update(
            index_elements=["incident_id", "user"], set_={"value": value, "comment": kept, "at": func.now()}
        )
    )


async def drop_feedback(db: AsyncConnection, incident_id: int, user: str, value: int) -> None:
    """Take back an opinion of this value, as when a reaction is removed."""
    await db.execute(
        feedback.delete().where(
            feedback.c.incident_id == incident_id, feedback.c.user == user, feedback.c.value == value
        )
    )


async def feedback_of(db: AsyncConnection, incident_id: int) -> Sequence[Feedback]:
    rows = await db.execute(select(feedback).where(feedback.c.incident_id == incident_id).order_by(feedback.c.at))
    return [Feedback(**row) for row in rows.mappings()]


async def count_items(db: AsyncConnection) -> int:
    return int((await db.execute(select(func.count()).select_from(knowledge_items))).scalar_one())
