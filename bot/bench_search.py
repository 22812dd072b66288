"""Hybrid search over many made-up incidents in a database of its own: bulk-loaded, the vectors' index built after.

Vectors are scattered around a few hundred centres, as texts of the same causes are; words come from a vocabulary in
which a few are everywhere and most are rare, as in logs. Quality is not measured here (knowledge/retrieval_quality.py):
this is about time, and about how many of the nearest the index finds.
"""

import asyncio
import os
import random
import statistics
import string
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector import HalfVector
from pgvector.psycopg import register_vector
from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncConnection

from bot.migrating import migrate
from bot.postgres import EmbeddedPostgres
from knowledge import retrieval, wording
from knowledge.kind_likeness import SENTENCES
from knowledge.store import legs, memory
from knowledge.store.database import libpq_url, open_engine
from knowledge.store.tables import knowledge_items

Vectors = NDArray[np.float32]
INCIDENTS = 10_000
DIMENSION, CENTRES, SEARCHES, SEED = 384, 400, 200, 7
MODEL = "bench"
# What is held twice in memory at a time: a million vectors are 1.5 GB.
CHUNK = 50_000
# The sizes of the curve, as far as is asked for.
GROWTH = (1_000, 10_000, 100_000, 1_000_000)
# The graph of the vectors' index is built in memory; where it does not fit, the build takes many times as long.
INDEX_MB, INDEX_BYTES_A_ROW = 256, 2_400
# One item in a hundred is of this service.
RARE_SERVICE, SERVICES = "service-000", 100
_TELLING = (
    "connection refused", "permission denied", "not found", "deadline exceeded", "exit code 137", "unauthorized",
    "checksum mismatch", "no space left on device", "failed to pull image", "certificate has expired",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Made:
    """What the incidents are made from, and vectors to search with."""

    centres: Vectors
    random: np.random.Generator

    def vectors(self, count: int) -> Vectors:
        unit = np.empty((count, DIMENSION), np.float32)
        for start in range(0, count, CHUNK):
            some = min(CHUNK, count - start)
            near = self.centres[self.random.integers(0, CENTRES, some)]
            made = near + self.random.normal(0, 0.06, (some, DIMENSION)).astype(np.float32)
            unit[start : start + some] = made / np.linalg.norm(made, axis=1, keepdims=True)
        return unit


def _made() -> Made:
    source = np.random.default_rng(SEED)
    centres = source.normal(0, 1, (CENTRES, DIMENSION)).astype(np.float32)
    return Made(centres / np.linalg.norm(centres, axis=1, keepdims=True), source)


def _text(number: int) -> str:
    """The excerpt of a failure: words that every log has, and some that few others have."""
    source = random.Random(number)  # noqa: S311  made-up logs
    rare = [
        f"{source.choice(string.ascii_lowercase)}{int(50 * source.paretovariate(0.4)) % 99_991:x}op" for _ in range(20)
    ]
    lines = [f"error: {source.choice(_TELLING)}: {' '.join(rare[at : at + 4])} while syncing" for at in range(0, 20, 4)]
    return "\n".join(lines)


def _load(url: str, count: int, vectors: Vectors) -> dict[str, Any]:
    """Bulk load, then the indexes, then statistics: the other way round takes many times as long."""
    kinds = list(SENTENCES)
    now = datetime.now(UTC)
    with psycopg.connect(libpq_url(url), autocommit=True) as connection:
        definitions = connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes "
            "WHERE tablename IN ('item_vectors', 'knowledge_items') AND indexdef NOT LIKE 'CREATE UNIQUE%'"
        ).fetchall()
        for name, _ in definitions:
            connection.execute(psycopg.sql.SQL("DROP INDEX {}").format(psycopg.sql.Identifier(name)))
        columns = "id, source, kind, service, environment, outcome, fix, excerpt, occurred_at"
        with connection.cursor().copy(f"COPY knowledge_items ({columns}) FROM STDIN") as copy:
            for number in range(count):
                row = (f"item-{number}", "import", kinds[number % len(kinds)], f"service-{number % SERVICES:03d}",
                       "prod", "verified", "Roll back.", _text(number), now)  # fmt: skip
                copy.write_row(row)
        register_vector(connection)
        columns = "item_id, model, dimension, vector, made_of"
        with connection.cursor().copy(f"COPY item_vectors ({columns}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["text", "text", "int4", "halfvec", "timestamptz"])
            for number, vector in enumerate(vectors):
                copy.write_row((f"item-{number}", MODEL, DIMENSION, HalfVector(vector), now))
        memory_mb = INDEX_MB + count * INDEX_BYTES_A_ROW // 1_000_000
        connection.execute(f"SET maintenance_work_mem = '{memory_mb}MB'")
        connection.execute(f"SET max_parallel_maintenance_workers = {(os.cpu_count() or 2) - 1}")
        began = time.perf_counter()
        for _, definition in definitions:
            connection.execute(definition)
        indexed_s = time.perf_counter() - began
        connection.execute("VACUUM ANALYZE knowledge_items")
        connection.execute("VACUUM ANALYZE item_vectors")
        sizes = connection.execute(
            "SELECT sum(pg_relation_size(indexname::regclass)) FILTER (WHERE indexdef LIKE '%hnsw%'), "
            "pg_database_size(current_database()) FROM pg_indexes WHERE tablename = 'item_vectors'"
        ).fetchone()
    index, whole = sizes or (0, 0)
    return {
        "indexes built in s": round(indexed_s, 1),
        "vectors' index MB": round(float(index or 0) / 1e6),
        "database MB": round(float(whole) / 1e6),
    }


@contextmanager
def _place() -> Iterator[str]:
    """A folder that the database's own user can reach."""
    under = "/var/tmp" if os.geteuid() == 0 else None  # noqa: S108  made with a random name
    with tempfile.TemporaryDirectory(prefix="codehealer-bench-", dir=under) as directory:
        Path(directory).chmod(0o711)
        yield directory


async def search(count: int = INCIDENTS) -> dict[str, Any]:
    """Times of a hybrid search and of its legs, and how many of the ten nearest are found, also with a filter."""
    with _place() as directory:
        async with EmbeddedPostgres(Path(directory) / "data") as server:
            await asyncio.to_thread(migrate, server.url)
            made = _made()
            vectors = made.vectors(count)
            began = time.perf_counter()
            stored = await asyncio.to_thread(_load, server.url, count, vectors)
            loaded_s = time.perf_counter() - began
            engine = open_engine(server.url, pool_size=1)
            try:
                async with engine.connect() as db:
                    figures = await _measure(db, count, vectors, made.vectors(SEARCHES))
            finally:
                await engine.dispose()
    return {"incidents": count, "load and index s": round(loaded_s, 1), **stored, **figures}


async def growth(most: int = INCIDENTS) -> dict[str, Any]:
    """How the search grows with what is remembered, in steps of ten up to `most`."""
    curve: dict[str, Any] = {}
    for count in (one for one in GROWTH if one <= most):
        found = await search(count)
        for name in ("hybrid p99 ms", "vectors p99 ms", "words p99 ms", "recall@10 against exact"):
            curve[f"{name}, {count:,} incidents"] = found[name]
    return curve


async def _measure(db: AsyncConnection, count: int, vectors: Vectors, asked: Vectors) -> dict[str, Any]:
    texts = [_text((number * 7919) % count) for number in range(len(asked))]
    queries = [retrieval.searched_for(text) for text in texts]
    await _search(db, queries[0], asked[0], {})
    filters = {"service": RARE_SERVICE}
    of_rare = np.arange(0, count, SERVICES)
    nearest = await _found(db, asked, count, {})
    filtered = await _found(db, asked, count, filters)
    return {
        **_times("hybrid", [await _timed(_search(db, *one, {})) for one in zip(queries, asked, strict=True)]),
        **_times(
            "hybrid, 1 % filter", [await _timed(_search(db, *one, filters)) for one in zip(queries, asked, strict=True)]
        ),
        **_times("words", [await _timed(_words(db, query)) for query in queries]),
        **_times("vectors", nearest.times),
        "recall@10 against exact": _recall(nearest.ids, _exact(vectors, asked, np.arange(count))),
        "recall@10, 1 % filter": _recall(filtered.ids, _exact(vectors, asked, of_rare)),
    }


async def _timed(work: Any) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


async def _search(db: AsyncConnection, query: str, vector: Vectors, filters: dict[str, str]) -> None:
    found = await memory.search(db, words=query, vector=vector, vector_model=MODEL, filters=filters)
    retrieval.rank(found, question=False, now=datetime.now(UTC))


async def _words(db: AsyncConnection, query: str) -> None:
    asked, total = await legs.known(db, query)
    ids = await legs.candidates(db, wording.sought(asked, legs.MOST_HITS), [])
    await legs.ranks(db, ids, wording.weights(asked, total))


@dataclass(frozen=True, slots=True)
class _Nearest:
    ids: list[Sequence[str]]
    times: list[float]


async def _found(db: AsyncConnection, asked: Vectors, count: int, filters: dict[str, str]) -> _Nearest:
    """The vectors' leg as a search runs it."""
    where: list[ColumnElement[bool]] = [knowledge_items.c[name] == value for name, value in filters.items()]
    few = (count // SERVICES if filters else count) <= memory.EXACT_ROWS
    ids, times = [], []
    for vector in asked:
        began = time.perf_counter()
        ids.append(await legs.nearest_ids(db, vector, MODEL, where, limit=50, exact=few))
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
