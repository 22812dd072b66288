"""The two legs of a search: nearest vectors; and candidates by the query's rarest words, ranked by BM25 in place.

How often a word occurs comes from the statistics that PostgreSQL keeps of the `words` column anyway (ANALYZE, and
autovacuum after changes); a table that was never analysed is small, and counted. The planner's own functions do not
know rarity. What shares two words with the query is cheaply told by the index alone, however many items have one of
them; so candidates are what has one of the very rarest words or two of the rare, and the likeliest get the closer look.
"""

import functools
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Double,
    FromClause,
    Subquery,
    Text,
    cast,
    column,
    func,
    literal,
    select,
    tablesample,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, TSQUERY, TSVECTOR
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge import wording
from knowledge.ports import Vector
from knowledge.store import vectors
from knowledge.store.tables import item_vectors, knowledge_items, words_of
from knowledge.wording import BY_LENGTH, SATURATION, Word

# In how many items together the words may stand of which one is enough, and those of which it takes two; where that
# finds fewer than enough, so many times as many. Of the items that have them so many are compared, by so many words,
# and so many weighed. What each costs and finds is in docs/retrieval.md.
ONE_OF, TWO_OF, WIDER, ENOUGH = 600, 7_000, (1, 4, 16), 50
MOST_HITS, MOST_COMPARED, MOST_NEAR, LOOKED_AT = 3_000, 10, 200, 150
# Where each of few items is compared, by as many words as this many comparisons in all allow.
FEW_COMPARED = 20_000
# Of so many items is taken how long they usually are; where none is hit upon, their words are said to take up so much.
_MEASURED, _USUAL_BYTES = 300, 400.0
_QUERY_CHARS = 20_000
# A pair holds its words once more; of the longest that an index takes (2 kB) they would be more than a tsquery holds.
_PAIRED_BYTES = 100
# Candidates that the index of vectors keeps in sight. Recall@10 against exact search and times are in
# docs/retrieval.md. pgvector takes 1,000 at most.
EF_SEARCH, EF_MOST = 120, 400
# Both legs look at so much up to so many items, then at more: at a million at three times as many nearest vectors and
# words in almost as many more items, and at how near almost eight times as many are.
LEVEL_UPTO, EF_GROWS, WORDS_GROW, NEAR_GROWS = 100_000, 0.523, 0.45, 0.88

# Words that the statistics do not name are rarer than the rarest that they do.
_KNOWN = text(
    f"""
    WITH asked AS (SELECT lexeme FROM unnest({words_of(":words")}) LIMIT 600),
    told AS (
        SELECT t.lexeme, t.share FROM pg_stats, unnest(most_common_elems::text::text[], most_common_elem_freqs)
            AS t (lexeme, share)
        WHERE (schemaname, tablename) = (
            SELECT nspname, relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
            WHERE pg_class.oid = 'knowledge_items'::regclass
        ) AND attname = 'words'
    ),
    size AS (SELECT greatest(reltuples, 0) AS items FROM pg_class WHERE oid = 'knowledge_items'::regclass)
    SELECT asked.lexeme,
        coalesce(told.share, (SELECT min(share) FROM told) / 4) * size.items AS items,
        cardinality(ts_lexize('english_stem', asked.lexeme)) = 0 AS stop,
        size.items AS total
    FROM size, asked LEFT JOIN told USING (lexeme)
    """  # noqa: S608  our own expression
)
_COUNTED = text(
    """
    SELECT lexeme, (SELECT count(*) FROM knowledge_items WHERE words @@ quote_literal(lexeme)::tsquery) AS items
    FROM unnest(CAST(:lexemes AS text[])) AS lexeme
    """
)
# `ts_rank` of one word that stands n times is the sum of 1/j² for j to n, over its limit; the rest of that sum is close
# to 1/(n + 0.5), which gives n back. Unnesting the words instead takes many times as long. The empty vector is added so
# that each item's words are read from their compressed form once, not once a word.
_RANKED = text(
    """
    WITH items AS MATERIALIZED (
        SELECT id, words || ''::tsvector AS words, length(words) AS size
        FROM knowledge_items WHERE id = ANY (CAST(:ids AS text[]))
    ),
    average AS (
        SELECT greatest(coalesce(avg(length(words)), (SELECT avg(size) FROM items)), 1) AS size
        FROM (SELECT words FROM knowledge_items TABLESAMPLE SYSTEM (:share) REPEATABLE (1) LIMIT :some) AS one
    ),
    asked AS MATERIALIZED (
        SELECT quote_literal(lexeme)::tsquery AS lexeme, weight
        FROM unnest(CAST(:lexemes AS text[]), CAST(:weights AS float8[])) AS asked (lexeme, weight)
    )
    SELECT items.id, coalesce((
        SELECT sum(weight * times * (:saturation + 1) / (times + :saturation * (1 - :by_length + :by_length * length)))
        FROM asked, LATERAL (
            SELECT 1 / (1.64493406685 * (1.000001 - ts_rank('{1, 1, 1, 1}', items.words, asked.lexeme))) - 0.5 AS times,
                items.size / average.size AS length
        ) AS one
        WHERE items.words @@ asked.lexeme
    ), 0) AS rank
    FROM items, average
    """
)
# A filter leaves out what the index proposes; the scan then has to go on until enough have passed. Both settings end
# with the transaction. A table that was never analysed has -1 rows, and is small.
_SIGHT = text(
    f"""
    SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true),
        set_config('hnsw.ef_search',
            least({EF_MOST}, round({EF_SEARCH} * greatest(1, reltuples / {LEVEL_UPTO}) ^ {EF_GROWS}))::text, true)
    FROM pg_class WHERE oid = 'item_vectors'::regclass
    """  # noqa: S608  our own numbers
)


async def known(db: AsyncConnection, query: str) -> tuple[list[Word], int]:
    """The query's words with how many items have each, and how many items there are."""
    rows = list((await db.execute(_KNOWN, {"words": query[:_QUERY_CHARS]})).mappings())
    if not rows:
        return [], 0
    total = int(rows[0]["total"])
    if rows[0]["items"] is None or total == 0:
        total = int((await db.execute(select(func.count()).select_from(knowledge_items))).scalar_one())
        lexemes = [row["lexeme"] for row in rows]
        counted = {row.lexeme: row.items for row in await db.execute(_COUNTED, {"lexemes": lexemes})}
        return [Word(row["lexeme"], float(counted[row["lexeme"]]), row["stop"]) for row in rows], total
    return [Word(row["lexeme"], max(1.0, float(row["items"])), row["stop"]) for row in rows], total


async def candidates(
    db: AsyncConnection,
    words: Sequence[Word],
    total: int,
    where: Sequence[ColumnElement[bool]] = (),
    *,
    vector: Vector | None = None,
    model: str = "",
    few: int = 0,
) -> dict[str, float]:
    """Items that share rare words with the query, the likeliest first: by id how near each is, 0 to 1.

    Args:
        words: the query's, with in how many of the `total` items each stands.
        where: what items have to be.
        vector: the query's, of `model`; without it none is near.
        few: how many items are so, where that is few: each that has any of the words is compared then. 0: many are.
    """
    sharing = functools.partial(
        _sharing, db, words=words, total=total, where=where, vector=vector, model=model, few=few
    )
    if few:
        stop = {word.lexeme for word in words if word.stop}
        return await sharing(_having([one for one in wording.weights(words, total) if one not in stop]))
    found: dict[str, float] = {}
    rarest: list[str] = []
    rare: list[str] = []
    for wider in WIDER:
        before = rarest, rare
        rarest = wording.sought(words, wider * ONE_OF)
        rare = wording.sought(words, wider * most_items(total))
        if (rarest, rare) != before:
            found = await sharing(_having(rarest, rare))
        if len(found) >= ENOUGH:
            return found
    if rare and rarest == rare:
        return found
    # Few have two of the rare words, or there are no two.
    single = await sharing(_having(rare or wording.sought(words, total)[:1]))
    return found | {one: near for one, near in single.items() if one not in found}


async def _sharing(
    db: AsyncConnection,
    having: str,
    *,
    words: Sequence[Word],
    total: int,
    where: Sequence[ColumnElement[bool]],
    vector: Vector | None,
    model: str,
    few: int,
) -> dict[str, float]:
    """Of the items that have those words the likeliest, of equals the newest: by the weight that they share with the
    query, and how near they are. The weight is as BM25 has it if each word stood in them once, and their length were
    what their words take up.
    """
    if not having:
        return {}
    hit = _hits(having, where, few)
    compared = max(MOST_COMPARED, FEW_COMPARED // few) if few else MOST_COMPARED
    asked = _asked(dict(islice(wording.weights(words, total).items(), compared)))
    shared = select(func.sum(asked.c.weight)).where(hit.c.words.op("@@")(asked.c.lexeme)).scalar_subquery()
    length = hit.c.size / _usual_size(total)
    worth = func.coalesce(shared, 0.0) / (1 + SATURATION * (1 - BY_LENGTH + BY_LENGTH * length))
    # Of failures that recur the words cover as much each time: the newest tells most.
    most = (
        select(hit.c.id, hit.c.occurred_at, worth.label("worth"))
        .order_by(worth.desc(), hit.c.occurred_at.desc(), hit.c.id)
        .limit(most_near(total))
        .subquery("most")
    )
    near: ColumnElement[Any] = literal(0.0)
    if vector is not None:
        of_it = item_vectors.c.item_id == most.c.id
        near = (
            select(vectors.similarity(vector, model)).where(of_it, vectors.comparable(vector, model)).scalar_subquery()
        )
    likely = select(most, func.coalesce(near, 0.0).label("near")).offset(0).subquery("likely")
    best = func.greatest(func.max(likely.c.worth).over(), 1e-9)
    rows = await db.execute(
        select(likely.c.id, likely.c.near)
        .order_by((likely.c.worth / best + likely.c.near).desc(), likely.c.occurred_at.desc(), likely.c.id)
        .limit(LOOKED_AT)
    )
    return vectors.by_id(rows)


def _hits(having: str, where: Sequence[ColumnElement[bool]], few: int) -> Subquery:
    """What has those words, with them, and the bytes that they take up: as many as are compared, or all of few."""
    source: FromClause = knowledge_items
    if few:
        # Materialised, so that the index of words can't be used: nearly all that it proposes would not pass.
        item = knowledge_items.c
        passing = select(item.id, item.occurred_at, item.words).where(*where).cte("passing")
        source, where = passing.prefix_with("MATERIALIZED", dialect="postgresql"), ()
    of = source.c
    return (
        select(
            of.id,
            of.occurred_at,
            # Read from its compressed form once, not once a word.
            of.words.op("||")(cast("", TSVECTOR)).label("words"),
            func.pg_column_size(of.words).label("size"),
        )
        .where(of.words.op("@@")(cast(having, TSQUERY)), *where)
        .limit(max(MOST_HITS, few))
        .subquery("hit")
    )


def _asked(weights: Mapping[str, float]) -> CTE:
    """Those words as queries, with what each weighs."""
    lexemes = [_quoted(one) for one in weights]
    given = func.unnest(literal(lexemes, ARRAY(Text)), literal([*weights.values()], ARRAY(Double)))
    one = given.table_valued(column("lexeme", Text), column("weight", Double)).render_derived("one")
    asked = select(cast(one.c.lexeme, TSQUERY).label("lexeme"), one.c.weight).cte("asked")
    return asked.prefix_with("MATERIALIZED", dialect="postgresql")


def _usual_size(total: int) -> ColumnElement[float]:
    """The bytes that an item's words take up on average, of some: of what stands out of line the statistics know the
    pointer's size only.
    """
    some = tablesample(knowledge_items, func.system(_measured_share(total)), name="some", seed=literal(1))
    sizes = select(func.pg_column_size(some.c.words).label("size")).limit(_MEASURED).subquery("sizes")
    return func.coalesce(select(cast(func.avg(sizes.c.size), Double)).scalar_subquery(), _USUAL_BYTES)


def _measured_share(total: int) -> float:
    """The percentage of the table's pages on which enough items stand."""
    return min(100.0, 100 * 2 * _MEASURED / max(total, 1))


def most_items(total: int) -> float:
    """In how many of so many items together the words may stand of which candidates have two."""
    level: float = TWO_OF * max(1.0, total / LEVEL_UPTO) ** WORDS_GROW
    return min(level, max(ONE_OF, total / 2))


def most_near(total: int) -> int:
    """Of how many candidates it is looked up how near they are: the more items, the more that differ by a name only."""
    return int(MOST_NEAR * max(1.0, total / LEVEL_UPTO) ** NEAR_GROWS)


def _having(one_of: Sequence[str], two_of: Sequence[str] = ()) -> str:
    """As a tsquery: what has one of the first, or two of the second."""
    short = [_quoted(one) for one in two_of if len(one.encode()) <= _PAIRED_BYTES]
    pairs = [f"{one} & ({' | '.join(short[place:])})" for place, one in enumerate(short[:-1], start=1)]
    return " | ".join([*map(_quoted, one_of), *pairs])


def _quoted(lexeme: str) -> str:
    return "'" + lexeme.replace("'", "''").replace("\\", "\\\\") + "'"


async def ranks(db: AsyncConnection, ids: Sequence[str], weights: Mapping[str, float], total: int) -> dict[str, float]:
    """How much of the query each item's words cover, 0 to 1: BM25 as a share of what a perfect answer would have.

    Args:
        total: how many items there are at all; how long they usually are is seen from a few hundred of them.
    """
    most = sum(weights.values())
    if not ids or not most:
        return {}
    rows = await db.execute(
        _RANKED,
        {
            "ids": list(ids),
            "lexemes": list(weights),
            "weights": list(weights.values()),
            "saturation": SATURATION,
            "by_length": BY_LENGTH,
            "share": _measured_share(total),
            "some": _MEASURED,
        },
    )
    return {row.id: min(1.0, float(row.rank) / most) for row in rows}


async def nearest(
    db: AsyncConnection,
    vector: Vector,
    model: str,
    where: Sequence[ColumnElement[bool]],
    *,
    limit: int,
    exact: bool,
) -> dict[str, float]:
    """The nearest items that pass `where`, by id how near each is, 0 to 1.

    `exact` compares each of them, else the index proposes.
    """
    if exact:
        # Materialised, so that the index over all vectors can't be used: few of what it proposes would pass.
        every = (
            select(
                item_vectors.c.item_id,
                knowledge_items.c.occurred_at,
                vectors.distance(vector).label("distance"),
                vectors.similarity(vector, model).label("near"),
            )
            .join(knowledge_items, knowledge_items.c.id == item_vectors.c.item_id)
            .where(vectors.comparable(vector, model), *where)
            .cte("every")
            .prefix_with("MATERIALIZED", dialect="postgresql")
        )
        found = select(every.c.item_id, every.c.near).order_by(
            every.c.distance, every.c.occurred_at.desc(), every.c.item_id
        )
    else:
        await db.execute(_SIGHT)
        found = vectors.nearest(vector, model, where)
    return vectors.by_id(await db.execute(found.limit(limit)))
