"""The two legs of a search: nearest vectors; and candidates by the query's rarest words, ranked by BM25 in place.

How often a word occurs comes from the statistics that PostgreSQL keeps of the `words` column anyway (ANALYZE, and
autovacuum after changes); a table that was never analysed is small, and counted. The planner's own functions do not
know rarity: `ts_rank` only orders the candidates before the closer look.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, cast, func, select, text
from sqlalchemy.dialects.postgresql import TSQUERY
from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.ports import Vector
from knowledge.store import vectors
from knowledge.store.tables import item_vectors, knowledge_items, words_of
from knowledge.wording import BY_LENGTH, SATURATION, Word

# Rows that the candidate query may touch, and how many of them are weighed: what each costs and finds is in
# docs/retrieval.md.
MOST_HITS = 600
LOOKED_AT = 300
_QUERY_CHARS = 20_000
# Candidates that the index of vectors keeps in sight: so many up to so many vectors, then more, twice as many at a
# million. Recall@10 against exact search and times are in docs/retrieval.md. pgvector takes 1,000 at most.
EF_SEARCH, EF_UPTO, EF_GROWS, EF_MOST = 120, 100_000, 0.3, 400

# Words that the statistics do not name are rarer than the rarest that they do.
_KNOWN = text(
    f"""
    WITH asked AS (SELECT lexeme FROM unnest({words_of(":words")}) LIMIT 600),
    told AS (
        SELECT t.lexeme, t.share FROM pg_stats, unnest(most_common_elems::text::text[], most_common_elem_freqs)
            AS t (lexeme, share)
        WHERE schemaname = ANY (current_schemas(false)) AND tablename = 'knowledge_items' AND attname = 'words'
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
    average AS (SELECT greatest(avg(size), 1) AS size FROM items),
    asked AS MATERIALIZED (
        SELECT quote_literal(lexeme)::tsquery AS lexeme, weight
        FROM unnest(CAST(:lexemes AS text[]), CAST(:weights AS float8[])) AS asked (lexeme, weight)
    ),
    counted AS (
        SELECT items.id, asked.weight, items.size / average.size AS length,
            1 / (1.64493406685 * (1.000001 - ts_rank('{1, 1, 1, 1}', items.words, asked.lexeme))) - 0.5 AS times
        FROM average, items JOIN asked ON items.words @@ asked.lexeme
    )
    SELECT id, sum(weight * times * (:saturation + 1) / (times + :saturation * (1 - :by_length + :by_length * length)))
        AS rank
    FROM counted GROUP BY id
    """
)
# A filter leaves out what the index proposes; the scan then has to go on until enough have passed. Both settings end
# with the transaction. A table that was never analysed has -1 rows, and is small.
_SIGHT = text(
    f"""
    SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true),
        set_config('hnsw.ef_search',
            least({EF_MOST}, round({EF_SEARCH} * greatest(1, reltuples / {EF_UPTO}) ^ {EF_GROWS}))::text, true)
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
    db: AsyncConnection, lexemes: Sequence[str], where: Sequence[ColumnElement[bool]]
) -> Sequence[str]:
    """Ids of the items that have any of the words, the likeliest first."""
    if not lexemes:
        return []
    column = knowledge_items.c.words
    query = cast(" | ".join("'" + lexeme.replace("'", "''").replace("\\", "\\\\") + "'" for lexeme in lexemes), TSQUERY)
    # However common the words are, no more rows than these are looked at.
    hits = (
        select(knowledge_items.c.id, column).where(column.op("@@")(query), *where).limit(2 * MOST_HITS).subquery("hits")
    )
    found = await db.execute(
        # Normalisation 1 divides by the logarithm of the length: long logs must not win by length.
        select(hits.c.id).order_by(func.ts_rank(hits.c.words, query, 1).desc(), hits.c.id).limit(LOOKED_AT)
    )
    return list(found.scalars())


async def ranks(db: AsyncConnection, ids: Sequence[str], weights: Mapping[str, float]) -> dict[str, float]:
    """How much of the query each item's words cover, 0 to 1: BM25 as a share of what a perfect answer would have."""
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
        },
    )
    return {row.id: min(1.0, float(row.rank) / most) for row in rows}


async def nearest_ids(
    db: AsyncConnection,
    vector: Vector,
    model: str,
    where: Sequence[ColumnElement[bool]],
    *,
    limit: int,
    exact: bool,
) -> Sequence[str]:
    """The nearest items that pass `where`; `exact` compares each of them, else the index proposes."""
    if exact:
        # Materialised, so that the index over all vectors can't be used: few of what it proposes would pass.
        every = (
            select(item_vectors.c.item_id, vectors.distance(vector).label("distance"))
            .join(knowledge_items, knowledge_items.c.id == item_vectors.c.item_id)
            .where(vectors.comparable(vector, model), *where)
            .cte("every")
            .prefix_with("MATERIALIZED", dialect="postgresql")
        )
        rows = await db.execute(select(every.c.item_id).order_by(every.c.distance, every.c.item_id).limit(limit))
        return list(rows.scalars())
    await db.execute(_SIGHT)
    return list((await db.execute(vectors.nearest(vector, model, where).limit(limit))).scalars())
