"""Vectors of remembered items, of several models side by side, and how far each model has come through the items."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from dataclasses import replace as changed
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    Text,
    and_,
    any_,
    case,
    cast,
    func,
    literal,
    literal_column,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.errors import WrongDimension
from knowledge.model import FailureKind
from knowledge.passages import EVERYTHING, Sendable
from knowledge.ports import Vector
from knowledge.store.tables import item_vectors, knowledge_items, vector_models

# The longest that pgvector keeps.
LONGEST = 16_000
# An item bears the time at which its transaction began, which may be this long before anybody can see it.
LONGEST_TRANSACTION = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Unembedded:
    """An item that has no vector of a model, or one of an earlier text; `seen` is the version that was read."""

    id: str
    seen: datetime
    kind: FailureKind | None
    excerpt: str
    fix: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Scale:
    """A model's cosine times `slope` plus `shift` is a similarity as the built-in model's; measured on `items`."""

    slope: float
    shift: float
    items: int


@dataclass(frozen=True, slots=True)
class Missing:
    """What may lack a vector of a model: items of services that it `may` be sent, changed at `since` or later."""

    model: str
    dimension: int
    may: Sendable = EVERYTHING
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How many items have a vector of a model and how many wait for one; `problem` is why it does not go on."""

    model: str
    dimension: int
    embedded: int
    waiting: int
    ready: bool
    problem: str = ""
    measured: int = 0


# --- searching -----------------------------------------------------------------------------------------------------


def _length(dimension: int) -> ColumnElement[bool]:
    # Written out, not bound: an index over some rows only serves a query that names the same rows.
    return item_vectors.c.dimension == literal_column(str(int(dimension)))


def comparable(vector: Vector, model: str) -> ColumnElement[bool]:
    """The rows that may be compared with a vector of this model: its own, of the same length."""
    return and_(item_vectors.c.model == model, _length(len(vector)))


def distance(vector: Vector) -> ColumnElement[Any]:
    """Cosine distance, in the words of the index; only among comparable rows."""
    column: Any = cast(item_vectors.c.vector, HALFVEC(len(vector)))
    return column.cosine_distance(vector.tolist())  # type: ignore[no-any-return]  # pgvector has no types


def similarity(vector: Vector, model: str) -> ColumnElement[Any]:
    """How near a comparable row is, at most 1, on the built-in model's scale."""

    def of_the_model(name: str, otherwise: float) -> ColumnElement[Any]:
        known = select(vector_models.c[name]).where(vector_models.c.model == model).scalar_subquery()
        return func.coalesce(known, otherwise)

    return func.least(1.0, of_the_model("shift", 0.0) + of_the_model("slope", 1.0) * (1 - distance(vector)))


def nearest(vector: Vector, model: str, where: Sequence[ColumnElement[bool]]) -> Select[str, float]:
    """(id, similarity) of the items that pass `where`, nearest first; the caller sets the limit."""
    return (
        select(item_vectors.c.item_id, similarity(vector, model))
        .join(knowledge_items, knowledge_items.c.id == item_vectors.c.item_id)
        .where(comparable(vector, model), *where)
        .order_by(distance(vector))
    )


def by_id(rows: Iterable[Row[str, float]]) -> dict[str, float]:
    """Of rows (id, similarity): none is below 0."""
    return {item_id: max(0.0, float(similarity)) for item_id, similarity in rows}


async def similarities(db: AsyncConnection, ids: Iterable[str], vector: Vector, model: str) -> dict[str, float]:
    """How near each of the items is that has a comparable vector, 0 to 1."""
    chosen = item_vectors.c.item_id == any_(literal(list(ids), ARRAY(Text)))
    found = select(item_vectors.c.item_id, similarity(vector, model)).where(chosen, comparable(vector, model))
    return by_id(await db.execute(found))


# --- keeping -------------------------------------------------------------------------------------------------------


async def replace(db: AsyncConnection, item_id: str, vector: Vector | None, model: str) -> None:
    """The item's text is new: what was made of the old one goes, also that of other models."""
    await db.execute(item_vectors.delete().where(item_vectors.c.item_id == item_id))
    if vector is not None:
        await put(db, item_id, vector, model)


async def put(db: AsyncConnection, item_id: str, vector: Vector, model: str, *, seen: datetime | None = None) -> None:
    """Keep a vector of an item as it now is, or of the version `seen`: of one that has changed since it is dropped.

    Raises:
        WrongDimension: it is empty or longer than can be kept.
    """
    dimension = len(vector)
    if not 0 < dimension <= LONGEST:
        raise WrongDimension(f"A vector of {dimension} numbers cannot be kept: 1 to {LONGEST:,} are possible.")
    item = select(
        knowledge_items.c.id,
        literal(model),
        literal_column(str(dimension)),
        cast(literal(vector.tolist(), HALFVEC(dimension)), HALFVEC(dimension)),
        knowledge_items.c.updated_at,
    ).where(knowledge_items.c.id == item_id)
    if seen is not None:
        item = item.where(knowledge_items.c.updated_at == seen)
    statement = insert(item_vectors).from_select(["item_id", "model", "dimension", "vector", "made_of"], item)
    new = {name: statement.excluded[name] for name in ("dimension", "vector", "made_of")}
    await db.execute(statement.on_conflict_do_update(index_elements=["item_id", "model"], set_=new))


async def drop_others(db: AsyncConnection, keep: Sequence[str]) -> None:
    """Forget the models that are not in `keep`, with all their vectors."""
    dropped = await db.execute(
        vector_models.delete().where(vector_models.c.model.not_in(keep)).returning(vector_models.c.model)
    )
    for model in dropped.scalars().all():
        await db.execute(item_vectors.delete().where(item_vectors.c.model == model))


# --- making them anew ------------------------------------------------------------------------------------------------


def _stale(missing: Missing) -> ColumnElement[bool]:
    model, dimension, may = missing.model, missing.dimension, missing.may
    current = select(item_vectors.c.item_id).where(
        item_vectors.c.model == model,
        item_vectors.c.dimension == dimension,
        item_vectors.c.item_id == knowledge_items.c.id,
        item_vectors.c.made_of == knowledge_items.c.updated_at,
    )
    service = knowledge_items.c.service
    return and_(
        ~current.exists(),
        service.not_in(may.services) if may.all_but else service.in_(may.services),
        knowledge_items.c.updated_at >= missing.since if missing.since else true(),
    )


async def without(db: AsyncConnection, missing: Missing, *, limit: int) -> Sequence[Unembedded]:
    """Items that lack a current vector, newest first."""
    rows = await db.execute(
        select(*_READ)
        .where(_stale(missing))
        .order_by(knowledge_items.c.occurred_at.desc(), knowledge_items.c.id)
        .limit(limit)
    )
    return [_unembedded(row) for row in rows]


_READ = (
    *(knowledge_items.c[name] for name in ("id", "kind", "excerpt", "fix", "outcome")),
    knowledge_items.c.updated_at.label("seen"),
)


def _unembedded(row: Any) -> Unembedded:
    kind = FailureKind(row.kind) if row.kind else None
    return Unembedded(row.id, row.seen, kind, row.excerpt, row.fix, row.outcome)


async def sample(db: AsyncConnection, model: str, dimension: int, *, limit: int) -> Sequence[tuple[Unembedded, Vector]]:
    """The newest items that have a vector of a model, with it."""
    rows = await db.execute(
        select(*_READ, item_vectors.c.vector)
        .join(item_vectors, item_vectors.c.item_id == knowledge_items.c.id)
        .where(item_vectors.c.model == model, item_vectors.c.dimension == dimension)
        .order_by(knowledge_items.c.occurred_at.desc(), knowledge_items.c.id)
        .limit(limit)
    )
    return [(_unembedded(row), np.asarray(row.vector, dtype=np.float32)) for row in rows]


async def due(db: AsyncConnection, model: str, dimension: int, may: Sendable = EVERYTHING) -> Missing | None:
    """What to look for; None while there is nothing, or the model has to wait after a problem. Costs next to nothing.

    Once a model has had everything, only what has changed since is looked at.
    """
    whole = Missing(model, dimension, may)
    row = (await db.execute(select(vector_models).where(vector_models.c.model == model))).one_or_none()
    if row is None or row.dimension != dimension:
        return whole
    now = (await db.execute(select(func.now()))).scalar_one()
    if row.not_before is not None and row.not_before > now:
        return None
    if row.waiting or row.ready_at is None or row.reach != str(may):
        return whole
    since = row.looked_at - LONGEST_TRANSACTION
    newest = (await db.execute(select(func.max(knowledge_items.c.updated_at)))).scalar_one()
    return changed(whole, since=since) if newest is not None and newest >= since else None


async def look(
    db: AsyncConnection,
    missing: Missing,
    *,
    problem: str = "",
    rest_s: float = 0.0,
    scale: Scale | None = None,
) -> Progress:
    """Count how far a model has come and keep it; the first time that nothing waits makes it ready for searches.

    A `problem` does not make it ready; a new `scale` replaces the one before.
    """
    model, dimension = missing.model, missing.dimension
    waiting = (await db.execute(select(func.count()).select_from(knowledge_items).where(_stale(missing)))).scalar_one()
    mine = and_(item_vectors.c.model == model, item_vectors.c.dimension == dimension)
    embedded = (await db.execute(select(func.count()).select_from(item_vectors).where(mine))).scalar_one()
    ready_at = func.now() if waiting == 0 and not problem else None
    values: dict[str, Any] = {
        "dimension": dimension,
        "reach": str(missing.may),
        "embedded": embedded,
        "waiting": waiting,
        "problem": problem[:300],
        "not_before": func.now() + timedelta(seconds=rest_s) if rest_s else None,
        "looked_at": func.now(),
    }
    if scale is not None:
        values |= {"slope": scale.slope, "shift": scale.shift, "measured": scale.items}
    statement = insert(vector_models).values(model=model, ready_at=ready_at, **values)
    ready = statement.excluded.ready_at
    same = vector_models.c.dimension == statement.excluded.dimension
    first = case((same, func.coalesce(vector_models.c.ready_at, ready)), else_=ready)
    await db.execute(statement.on_conflict_do_update(index_elements=["model"], set_={**values, "ready_at": first}))
    return next(one for one in await progress(db) if one.model == model)


async def progress(db: AsyncConnection) -> Sequence[Progress]:
    """How far each model has come, as last counted."""
    rows = await db.execute(select(vector_models).order_by(vector_models.c.model))
    return [
        Progress(
            row.model, row.dimension, row.embedded, row.waiting, row.ready_at is not None, row.problem, row.measured
        )
        for row in rows
    ]


async def is_ready(db: AsyncConnection, model: str, dimension: int) -> bool:
    """Whether a model has had all items once; the few that came since are found by their words until it has them."""
    ready = select(vector_models.c.model).where(
        vector_models.c.model == model,
        vector_models.c.dimension == dimension,
        vector_models.c.ready_at.is_not(None),
    )
    return (await db.execute(ready)).first() is not None
