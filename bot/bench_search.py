"""Hybrid search over many made-up incidents in a database of its own: bulk-loaded, the vectors' index built after.

Texts are the program's own, with other names and numbers in each; vectors are as the built-in embedder makes them of
failures, and once more without any likeness (bench_vectors.py). Quality is not measured here
(knowledge/retrieval_quality.py): this is about time, beside a bare query for the nearest on the same table, and about
how many of the best each leg finds.
"""

import asyncio
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector import HalfVector
from pgvector.psycopg import register_vector
from sqlalchemy import ColumnElement, text
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.bench_rig import database
from bot.bench_vectors import (
    CHUNK,
    FIX,
    Vectors,
    asked_texts,
    kind_of,
    like_failures,
    own_texts,
    varied,
    without_likeness,
)
from knowledge import retrieval, wording
from knowledge.embedding.minilm import DIMENSION
from knowledge.store import legs, memory
from knowledge.store import vectors as vectors_kept
from knowledge.store.database import libpq_url, open_engine
from knowledge.store.tables import knowledge_items

INCIDENTS = 10_000
MODEL = "bench"
# The sizes of the curve, as far as is asked for.
GROWTH = (1_000, 10_000, 100_000, 1_000_000)
# The graph of the vectors' index is built in memory; where it does not fit, the build takes many times as long.
INDEX_MB, INDEX_BYTES_A_ROW = 256, 2_400
# One item in a hundred is of this service.
RARE_SERVICE, SERVICES = "service-000", 100
# What pgvector does by itself, without any setting.
BARE = text(
    "SELECT item_id FROM item_vectors WHERE model = :model AND dimension = 384 "
    "ORDER BY vector::halfvec(384) <=> CAST(:vector AS halfvec(384)) LIMIT 50"
)
# The words leg looks at few items, those with the rarest words; here at each that has any word which is not in one of
# twenty. A word that more have hardly counts. So many queries, as each looks at many items.
COMMON, ALL_WORDS = 0.05, 20
EVERY = text(
    "SELECT id FROM knowledge_items WHERE words @@ (SELECT string_agg(quote_literal(lexeme), ' | ')::tsquery "
    "FROM unnest(CAST(:lexemes AS text[])) AS lexeme)"
)
LIMITED = "hybrid recall@10 against one that weighs every word's items"
BY_LOG = "recall@10 against exact, asked by a log alone"
# What the curve shows of each size.
CURVE = (
    "hybrid p50 ms", "hybrid p99 ms", "vectors p50 ms", "vectors p99 ms", "words p99 ms", "bare pgvector p50 ms",
    LIMITED, "recall@10 against exact", BY_LOG, "words recall@10 against all", "recall@10 of bare pgvector",
    "recall@10 where nothing is alike",
    "vectors where nothing is alike p99 ms", "vectors' index built in s", "database MB",
)  # fmt: skip


def _load(url: str, count: int, vectors: Vectors) -> dict[str, Any]:
    """Bulk load, then the indexes, then statistics: the other way round takes many times as long."""
    now = datetime.now(UTC)
    with psycopg.connect(libpq_url(url), autocommit=True) as connection:
        indexes = _drop_indexes(connection, "knowledge_items")
        columns = "id, source, kind, service, environment, outcome, fix, excerpt, occurred_at"
        own = own_texts()
        vary = varied(own)
        with connection.cursor().copy(f"COPY knowledge_items ({columns}) FROM STDIN") as copy:
            for number in range(count):
                one = own[number % len(own)]
                service, excerpt = f"service-{number % SERVICES:03d}", vary(one["text"], number)
                kind = kind_of(one["kind"])
                copy.write_row((f"item-{number}", "import", kind, service, "prod", "verified", FIX, excerpt, now))
        began = time.perf_counter()
        for definition in indexes:
            connection.execute(definition)
        indexed_s = time.perf_counter() - began
        connection.execute("VACUUM ANALYZE knowledge_items")
        built_s = _load_vectors(connection, vectors)
        sizes = connection.execute(
            "SELECT sum(pg_relation_size(indexname::regclass)) FILTER (WHERE indexdef LIKE '%hnsw%'), "
            "pg_database_size(current_database()) FROM pg_indexes WHERE tablename = 'item_vectors'"
        ).fetchone()
    index, whole = sizes or (0, 0)
    return {
        "vectors' index built in s": round(built_s, 1),
        "other indexes built in s": round(indexed_s, 1),
        "vectors' index MB": round(float(index or 0) / 1e6),
        "database MB": round(float(whole) / 1e6),
    }


def _drop_indexes(connection: psycopg.Connection[Any], table: str) -> list[str]:
    """Of a table, but for those that keep keys unique; what makes them again."""
    definitions = connection.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = %s AND indexdef NOT LIKE 'CREATE UNIQUE%%'",
        (table,),
    ).fetchall()
    for name, _ in definitions:
        connection.execute(psycopg.sql.SQL("DROP INDEX {}").format(psycopg.sql.Identifier(name)))
    return [definition for _, definition in definitions]


def _reload_vectors(url: str, vectors: Vectors) -> None:
    with psycopg.connect(libpq_url(url), autocommit=True) as connection:
        connection.execute("TRUNCATE item_vectors")
        _load_vectors(connection, vectors)


def _load_vectors(connection: psycopg.Connection[Any], vectors: Vectors) -> float:
    """One vector for each item; seconds that the indexes took."""
    indexes = _drop_indexes(connection, "item_vectors")
    register_vector(connection)
    columns, now = "item_id, model, dimension, vector, made_of", datetime.now(UTC)
    with connection.cursor().copy(f"COPY item_vectors ({columns}) FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(["text", "text", "int4", "halfvec", "timestamptz"])
        for number, vector in enumerate(vectors):
            copy.write_row((f"item-{number}", MODEL, DIMENSION, HalfVector(vector), now))
    memory_mb = INDEX_MB + len(vectors) * INDEX_BYTES_A_ROW // 1_000_000
    connection.execute(f"SET maintenance_work_mem = '{memory_mb}MB'")
    connection.execute(f"SET max_parallel_maintenance_workers = {(os.cpu_count() or 2) - 1}")
    began = time.perf_counter()
    for definition in indexes:
        connection.execute(definition)
    built_s = time.perf_counter() - began
    connection.execute("VACUUM ANALYZE item_vectors")
    return built_s


async def search(count: int = INCIDENTS) -> dict[str, Any]:
    """Times of a hybrid search and of its legs, and how many of the ten nearest are found, also with a filter."""
    made, alike = await asyncio.to_thread(like_failures)
    figures = await _measured(count)
    return {"incidents": count, **figures, **alike, "searched for": len(made.asked)}


def takes_s(counts: Sequence[int]) -> float:
    """About how long so many incidents take on two cores, one step after the other."""
    return 40 + sum(10 + count / 500 for count in counts)


def steps(most: int) -> list[int]:
    """The sizes of the curve up to `most`."""
    return [one for one in GROWTH if one <= most]


async def growth(most: int = INCIDENTS) -> dict[str, Any]:
    """How the search grows with what is remembered, in steps of ten up to `most`."""
    curve: dict[str, Any] = {}
    for count in steps(most):
        found = await _measured(count)
        curve |= {f"{name}, {count:,} incidents": value for name, value in found.items() if name in CURVE}
    return curve


async def _measured(count: int) -> dict[str, Any]:
    made, _ = await asyncio.to_thread(like_failures)
    other = without_likeness()
    async with database() as url:
        began = time.perf_counter()
        vectors = made.vectors(count)
        stored = await asyncio.to_thread(_load, url, count, vectors)
        loaded_s = time.perf_counter() - began
        engine = open_engine(url, pool_size=1)
        try:
            async with engine.connect() as db:
                figures = await _measure(db, vectors, made.asked)
                if made.by_log is not None:
                    found = await _found(db, made.by_log, count, {})
                    right = _exact(vectors, made.by_log, np.arange(count))
                    figures[BY_LOG] = _recall(found.ids, right)
            vectors = other.vectors(count)
            await asyncio.to_thread(_reload_vectors, url, vectors)
            async with engine.connect() as db:
                found = await _found(db, other.asked, count, {})
                unlike = _recall(found.ids, _exact(vectors, other.asked, np.arange(count)))
        finally:
            await engine.dispose()
    return {
        "load and index s": round(loaded_s, 1),
        **stored,
        **figures,
        "recall@10 where nothing is alike": unlike,
        **_times("vectors where nothing is alike", found.times),
    }


async def _measure(db: AsyncConnection, vectors: Vectors, asked: Vectors) -> dict[str, Any]:
    count = len(vectors)
    queries = asked_texts(own_texts())
    await _search(db, queries[0], asked[0], {})
    filters = {"service": RARE_SERVICE}
    of_rare = np.arange(0, count, SERVICES)
    nearest = await _found(db, asked, count, {})
    filtered = await _found(db, asked, count, filters)
    hybrid = [await _timed(_search(db, *one, {})) for one in zip(queries, asked, strict=True)]
    bare = [await _timed(_bare(db, one)) for one in asked]
    right = _exact(vectors, asked, np.arange(count))
    return {
        **_times("hybrid", hybrid),
        **_times(
            "hybrid, 1 % filter", [await _timed(_search(db, *one, filters)) for one in zip(queries, asked, strict=True)]
        ),
        **_times("words", [await _timed(_words(db, query)) for query in queries]),
        **_times("vectors", nearest.times),
        **_times("bare pgvector", bare),
        "vectors, times the bare one": round(statistics.median(nearest.times) / statistics.median(bare), 2),
        "hybrid, times the bare one": round(statistics.median(hybrid) / statistics.median(bare), 2),
        "recall@10 against exact": _recall(nearest.ids, right),
        "words recall@10 against all": await _words_recall(db, queries[:ALL_WORDS]),
        LIMITED: await _limited_recall(db, queries[:ALL_WORDS], asked),
        "recall@10 of bare pgvector": _recall([await _bare(db, one) for one in asked], right),
        "recall@10, 1 % filter": _recall(filtered.ids, _exact(vectors, asked, of_rare)),
    }


async def _bare(db: AsyncConnection, vector: Vectors) -> Sequence[str]:
    """What pgvector answers without any setting."""
    await db.execute(text("SET LOCAL hnsw.ef_search TO DEFAULT"))
    await db.execute(text("SET LOCAL hnsw.iterative_scan TO DEFAULT"))
    rows = await db.execute(BARE, {"model": MODEL, "vector": str(vector.tolist())})
    return list(rows.scalars())


async def _timed(work: Any) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


async def _search(db: AsyncConnection, query: str, vector: Vectors, filters: dict[str, str]) -> None:
    found = await memory.search(db, words=query, vector=vector, vector_model=MODEL, filters=filters)
    retrieval.rank(found, question=False, now=datetime.now(UTC))


async def _words(db: AsyncConnection, query: str) -> None:
    words, total = await legs.known(db, query)
    ids = await legs.candidates(db, words, total)
    await legs.ranks(db, [*ids], wording.weights(words, total), total)


async def _words_recall(db: AsyncConnection, queries: Sequence[str]) -> float:
    """Of the ten items whose words cover a query best, how many are among the leg's few, or as good ones."""
    shares = []
    for query in queries:
        words, total = await legs.known(db, query)
        few = await legs.candidates(db, words, total)
        every = [*{*await _every(db, words, total), *few}]
        ranks = await legs.ranks(db, every, wording.weights(words, total), total)
        best = sorted(ranks.values(), reverse=True)[:10]
        shares.append(as_good([ranks.get(one, 0.0) for one in few], best))
    return round(statistics.fmean(shares), 4)


async def _limited_recall(db: AsyncConnection, queries: Sequence[str], asked: Vectors) -> float:
    """What the limit of the words leg costs the whole search: of the ten that it would show if every item with a word
    of the query were weighed, how many it shows, or others that score as high."""
    shares, now = [], datetime.now(UTC)
    for query, vector in zip(queries, asked, strict=False):
        found = await memory.search(db, words=query, vector=vector, vector_model=MODEL)
        ours = {one.item.id for one in found}
        words, total = await legs.known(db, query)
        every = [*{*await _every(db, words, total), *ours}]
        ranks = await legs.ranks(db, every, wording.weights(words, total), total)
        alike = dict.fromkeys(every, 0.0) | await vectors_kept.similarities(db, every, vector, MODEL)
        most = memory.likeliest(alike, ranks)[:50]  # as many as a leg proposes
        whole = await memory.weighed(db, {*ours, *most}, alike=alike, ranks=ranks)
        scores = {one.item.id: one.score for one in retrieval.rank(whole, question=False, now=now, limit=len(whole))}
        best = sorted(scores.values(), reverse=True)[:10]
        shown = retrieval.rank(found, question=False, now=now, limit=10)
        if best:
            shares.append(as_good([scores.get(one.item.id, 0.0) for one in shown], best))
    return round(statistics.fmean(shares), 4)


async def _every(db: AsyncConnection, words: Sequence[wording.Word], total: int) -> Sequence[str]:
    """The ids of all items that have any of the words which are not common."""
    lexemes = [word.lexeme for word in words if word.items < COMMON * total]
    return (await db.execute(EVERY, {"lexemes": lexemes})).scalars().all()


def as_good(found: Sequence[float], best: Sequence[float]) -> float:
    """The share of the best that was found, or that something as good was found for."""
    least = min(best) - 1e-9
    return min(len(best), sum(one >= least for one in found)) / len(best)


@dataclass(frozen=True, slots=True)
class _Nearest:
    ids: list[Sequence[str]]
    times: list[float]


async def _found(db: AsyncConnection, asked: Vectors, count: int, filters: dict[str, str]) -> _Nearest:
    """The vectors' leg as a search runs it."""
    where: list[ColumnElement[bool]] = [knowledge_items.c[name] == value for name, value in filters.items()]
    few = (count // SERVICES if filters else count) <= memory.EXACT_ROWS
    ids: list[Sequence[str]] = []
    times = []
    for vector in asked:
        began = time.perf_counter()
        ids.append([*await legs.nearest(db, vector, MODEL, where, limit=50, exact=few)])
        times.append(time.perf_counter() - began)
    return _Nearest(ids, times)


def _exact(vectors: Vectors, asked: Vectors, among: NDArray[np.int64]) -> list[list[str]]:
    """The ten nearest by comparing all, in the half precision in which they are stored."""
    query = asked.astype(np.float16).astype(np.float32)
    parts = [among[start : start + CHUNK] for start in range(0, len(among), CHUNK)]
    similar = np.hstack([query @ vectors[part].astype(np.float16).astype(np.float32).T for part in parts])
    best = np.argpartition(-similar, 9, axis=1)[:, :10]
    return [[f"item-{among[index]}" for index in row] for row in best]


def _recall(found: Sequence[Sequence[str]], right: Sequence[Sequence[str]]) -> float:
    """How many of the ten nearest are among the first ten found."""
    return round(
        statistics.fmean(len({*ids[:10]} & {*best}) / len(best) for ids, best in zip(found, right, strict=True)), 4
    )


def _times(name: str, taken: Sequence[float]) -> dict[str, float]:
    ordered = sorted(taken)
    return {
        f"{name} p50 ms": round(1000 * ordered[len(ordered) // 2], 1),
        f"{name} p99 ms": round(1000 * ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))], 1),
    }
