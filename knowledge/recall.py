"""Asking the memory: which vectors are compared, what is done when they cannot be had, and the closer look after it.

The built-in model has a vector of every item. A hosted model, where one is set, has its own beside them, and is
searched with from the moment that it has had all items. What fails on the way is replaced by the next best, and named
in the note: hosted vectors, built-in vectors, words alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from knowledge import retrieval
from knowledge.errors import CodeHealerError
from knowledge.model import FailureKind, Precedent
from knowledge.passages import EVERYTHING, Sendable
from knowledge.ports import Embedder, Reranker, Vector
from knowledge.reranking import CANDIDATES, rerank
from knowledge.store import memory, vectors
from knowledge.store.database import autocommitting
from knowledge.store.threads import NOBODY, Asked


@dataclass(frozen=True, slots=True)
class Means:
    """What a search has at its disposal; `may` says of which services something may go to an outside model."""

    builtin: Embedder | None
    hosted: Embedder | None = None
    reranker: Reranker | None = None
    may: Sendable = EVERYTHING


@dataclass(frozen=True, slots=True)
class Recalled:
    """`note` says what the search had to do without; `empty` is true while nothing at all is remembered."""

    precedents: tuple[Precedent, ...]
    note: str = ""
    empty: bool = False


@dataclass(slots=True)
class Embedded:
    """A text's vector as the embedder that a search asks: it is made before, without holding a connection."""

    name: str
    vector: Vector

    async def embed_query(self, _text: str) -> Vector:
        return self.vector


async def recall(
    engine: AsyncEngine,
    query: str,
    *,
    means: Means,
    now: datetime,
    kind: FailureKind | None = None,
    service: str = "",
    limit: int = 5,
    not_incident: int | None = None,
    filters: Mapping[str, str] | None = None,
    identity: str = "",
    asked: Asked = NOBODY,
) -> Recalled:
    """The precedents of `query`, best first. Raises nothing for what a model does or does not answer."""
    async with autocommitting(engine).connect() as db:
        if not await memory.anything(db):
            return Recalled((), empty=True)
        hosted, waits = await _usable(db, means.hosted)
    embedded, note = await _embedded(query, hosted, means.builtin)
    notes = [waits, note]
    async with engine.begin() as db:  # it sets what holds for a transaction
        found = await retrieval.search(
            db,
            query,
            embedder=embedded,
            now=now,
            kind=kind,
            service=service,
            limit=max(limit, CANDIDATES) if means.reranker else limit,
            not_incident=not_incident,
            filters=filters,
            identity=identity,
            asked=asked,
        )
    if means.reranker:
        again = await rerank(query, found, means.reranker, may=means.may)
        found = again.precedents
        notes.append(again.note)
    return Recalled(found[:limit], "; ".join(part for part in notes if part))


async def _usable(db: AsyncConnection, hosted: Embedder | None) -> tuple[Embedder | None, str]:
    """The hosted embedder where it has had all items, else how far it has come."""
    if hosted is None or await vectors.is_ready(db, hosted.name, hosted.dimension):
        return hosted, ""
    for one in await vectors.progress(db):
        if one.model == hosted.name:
            return None, f"{told(one)}; built-in vectors until then"
    return None, f"re-embedding for {hosted.name} has not begun; built-in vectors until then"


def told(progress: vectors.Progress) -> str:
    """Progress in words: "re-embedding 120 of 3,400 with nvidia:…"."""
    return f"re-embedding {progress.embedded:,} of {progress.embedded + progress.waiting:,} with {progress.model}"


async def _embedded(query: str, hosted: Embedder | None, builtin: Embedder | None) -> tuple[Embedded | None, str]:
    """The query's vector by the best embedder that answers, and why no better one did."""
    failed: list[str] = []
    for embedder in (hosted, builtin):
        if embedder is None:
            continue
        try:
            return Embedded(embedder.name, await embedder.embed_query(query)), _without(failed, "built-in vectors")
        except CodeHealerError as error:
            failed.append(str(error))
    return None, _without(failed, "words alone")


def _without(failed: list[str], by: str) -> str:
    return f"past incidents by {by} ({'; '.join(failed)})" if failed else ""
