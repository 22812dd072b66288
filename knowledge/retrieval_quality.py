"""How well past incidents are found again: leave one out over labelled texts, through the store as it is in use.

Two texts of one group have the same problem and fix, so a hit is another text of the query's group. Beside these
figures stand those of its legs alone, and of the baseline that it has to beat: BM25 plus half of MiniLM's cosine, both
scaled to 0 … 1 for each query, over the whole texts.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import text as sql
from sqlalchemy.ext.asyncio import AsyncEngine

from knowledge import retrieval
from knowledge.kind_likeness import kinds_like
from knowledge.likeness import excerpt
from knowledge.model import FailureKind, KnowledgeItem
from knowledge.passages import passage
from knowledge.ports import Embedder, Vector
from knowledge.store import memory
from knowledge.store.memory import Found

Matrix = NDArray[np.float64]
BASELINE_WEIGHT = 0.5
_TOKEN = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled failure; `fix` is "" where none is known."""

    id: str
    text: str
    kind: FailureKind
    group: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """A question in a person's words, and the group whose texts answer it."""

    text: str
    group: str


@dataclass(frozen=True, slots=True)
class Figures:
    """Shares of the queries, 0 to 1: right answer first, among the first five; and the mean reciprocal rank."""

    queries: int
    recall_1: float
    recall_5: float
    mrr: float


def figures(places: Sequence[int | None]) -> Figures:
    """From the 0-based place of the first right answer of each query; None where there was none."""
    count = len(places) or 1
    return Figures(
        len(places),
        round(sum(place == 0 for place in places) / count, 4),
        round(sum(place is not None and place < 5 for place in places) / count, 4),
        round(sum(1 / (place + 1) for place in places if place is not None) / count, 4),
    )


def place_of(ids: Iterable[str], right: Callable[[str], bool]) -> int | None:
    return next((place for place, one in enumerate(ids) if right(one)), None)


def repeated(examples: Sequence[Example]) -> list[Example]:
    """Those whose group has another: only they have an answer."""
    sizes = Counter(one.group for one in examples)
    return [one for one in examples if sizes[one.group] > 1]


# --- the baseline ---------------------------------------------------------------------------------------------------


def bm25(documents: Sequence[str], queries: Sequence[str], *, saturation: float = 1.5, length: float = 0.75) -> Matrix:
    """Okapi BM25 over lower-case words, of shape (queries, documents)."""
    counts = [Counter(word.lower() for word in _TOKEN.findall(document)) for document in documents]
    sizes = np.array([sum(one.values()) for one in counts], dtype=np.float64)
    factor = saturation * (1 - length + length * sizes / max(sizes.mean(), 1.0))
    postings: dict[str, list[tuple[int, int]]] = {}
    for index, one in enumerate(counts):
        for word, times in one.items():
            postings.setdefault(word, []).append((index, times))
    scores = np.zeros((len(queries), len(documents)))
    for row, query in enumerate(queries):
        for word in {word.lower() for word in _TOKEN.findall(query)} & postings.keys():
            having = postings[word]
            rarity = math.log(1 + (len(documents) - len(having) + 0.5) / (len(having) + 0.5))
            for index, times in having:
                scores[row, index] += rarity * times * (saturation + 1) / (times + factor[index])
    return scores


def baseline(examples: Sequence[Example], vectors: Mapping[str, Vector]) -> dict[str, Figures]:
    """BM25, MiniLM and their sum over whole texts; `vectors` are those of the texts by id."""
    asked = repeated(examples)
    every = np.array([vectors[one.id] for one in examples], dtype=np.float64)
    own = [[one.id for one in examples].index(query.id) for query in asked]
    words = bm25([one.text for one in examples], [one.text for one in asked])
    meaning = np.array([vectors[one.id] for one in asked], dtype=np.float64) @ every.T
    legs = {
        "BM25": words,
        "MiniLM": meaning,
        "baseline": _spread(words, own) + BASELINE_WEIGHT * _spread(meaning, own),
    }
    found = {}
    for name, scores in legs.items():
        scores[np.arange(len(own)), own] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")
        found[name] = figures(
            [
                place_of((examples[index].id for index in row), _in_group(examples, query.group))
                for row, query in zip(order, asked, strict=True)
            ]
        )
    return found


def _spread(scores: Matrix, own: Sequence[int]) -> Matrix:
    """Each row from 0 to 1, without the query itself."""
    kept = scores.copy()
    kept[np.arange(len(own)), own] = np.nan
    low, high = np.nanmin(kept, axis=1, keepdims=True), np.nanmax(kept, axis=1, keepdims=True)
    spread: Matrix = (scores - low) / np.maximum(high - low, 1e-9)
    return spread


def _in_group(examples: Sequence[Example], group: str) -> Callable[[str], bool]:
    members = {one.id for one in examples if one.group == group}
    return members.__contains__


# --- the product ----------------------------------------------------------------------------------------------------


async def fill(engine: AsyncEngine, examples: Sequence[Example], embedder: Embedder, *, now: datetime) -> None:
    """Remember the examples as incidents are remembered; all with the same outcome and age, which must not tell."""
    async with engine.begin() as db:
        for one in examples:
            lines = excerpt(one.text)
            vector = (await embedder.embed_passages([passage(one.kind, lines, one.fix, "verified")]))[0]
            item = KnowledgeItem(
                id=one.id, source="import", kind=one.kind, service="", environment="", cause="", fix=one.fix,
                outcome="verified", excerpt=lines, link="", occurred_at=now,
            )  # fmt: skip
            await memory.remember(db, item, vector=vector, vector_model=embedder.name)
        # As autovacuum does within a minute: how rare each word is.
        await db.execute(sql("ANALYZE knowledge_items"))


async def leave_one_out(
    engine: AsyncEngine,
    examples: Sequence[Example],
    embedder: Embedder,
    *,
    now: datetime,
    kinds: Mapping[str, FailureKind] | None = None,
) -> dict[str, Figures]:
    """Each text of a group that has others, searched for among all others.

    Without `kinds` it is searched for as a pasted log whose kind nobody knows. With them it is searched for as an
    incident after its diagnosis is; they must come from a classifier that has not seen the texts.
    """
    places: dict[str, list[int | None]] = {}
    async with engine.connect() as db:
        for query in repeated(examples):
            query_text = retrieval.searched_for(query.text)
            kind = kinds.get(query.id) if kinds else None
            if kind:
                query_text = passage(kind, query_text)
            vector = await embedder.embed_query(query_text)
            found = await memory.search(
                db, words=query_text, vector=vector, vector_model=embedder.name, not_item=query.id
            )
            right = _in_group(examples, query.group)
            for leg, ids in _orders(found, query_text, vector, embedder.name, now, kind).items():
                places.setdefault(leg, []).append(place_of(ids, right))
    return {leg: figures(found) for leg, found in places.items()}


async def questions(
    engine: AsyncEngine, examples: Sequence[Example], asked: Sequence[Question], embedder: Embedder, *, now: datetime
) -> dict[str, Figures]:
    """Questions in other words than the texts have; those whose group is not among the examples are left out."""
    places: dict[str, list[int | None]] = {}
    groups = {one.group for one in examples}
    async with engine.connect() as db:
        for question in asked:
            if question.group not in groups:
                continue
            vector = await embedder.embed_query(question.text)
            found = await memory.search(db, words=question.text, vector=vector, vector_model=embedder.name)
            right = _in_group(examples, question.group)
            for leg, ids in _orders(found, question.text, vector, embedder.name, now).items():
                places.setdefault(leg, []).append(place_of(ids, right))
    return {leg: figures(found) for leg, found in places.items()}


def _orders(  # noqa: PLR0917  all that a search knows
    found: Sequence[Found], query: str, vector: Vector, model: str, now: datetime, kind: FailureKind | None = None
) -> dict[str, list[str]]:
    """The ids as each leg alone, and all together, would show them."""
    question = retrieval.is_question(query)
    kinds = kinds_like(vector, model) if question else None
    shown = retrieval.rank(found, question=question, now=now, kind=kind, kinds=kinds, limit=10)
    return {
        "words": [one.item.id for one in sorted(found, key=lambda one: (-one.rank, one.item.id))],
        "vectors": [one.item.id for one in sorted(found, key=lambda one: (-one.similarity, one.item.id))],
        "ours": [one.item.id for one in shown],
    }
