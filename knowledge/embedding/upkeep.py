"""Giving every remembered item a vector of a model: after a change of the model, and for what came in without one."""

from collections.abc import Sequence

import numpy as np
import structlog
from numpy.typing import NDArray
from sqlalchemy.ext.asyncio import AsyncEngine

from knowledge.embedding.child import NAME as BUILTIN
from knowledge.errors import CodeHealerError, Unavailable
from knowledge.passages import EVERYTHING, Sendable, passage
from knowledge.ports import Embedder
from knowledge.store import vectors
from knowledge.store.vectors import Progress, Scale, Unembedded

log = structlog.get_logger(__name__)

# Of one turn. At a turn every ten seconds a hosted model gets 12 requests a minute: NVIDIA allows about 40 for all, and
# diagnoses come first. The built-in one is busy for two seconds.
BATCH, BATCHES, HOSTED_BATCHES = 32, 4, 2
# How long a model is left alone after a passing fault, and after one that asking again will not mend.
REST_S, LONG_REST_S = 30.0, 600.0


# So many items tell a model's scale, so many of them as questions; again when there are twice as many.
SAMPLE, QUESTIONS = 100, 8
# Cosines of the same and of unrelated texts are further apart than this in any model that tells them apart.
LEAST_APART = 0.05
# The built-in model's median cosine of two failures of different groups, over the sample data's texts.
UNRELATED = 0.22


async def embed_missing(
    engine: AsyncEngine,
    embedder: Embedder,
    *,
    may: Sendable = EVERYTHING,
    batches: int = BATCHES,
) -> Progress | None:
    """One turn: embed some of the items that lack a current vector; None when there was nothing to do.

    When all have one, a hosted model's scale is measured: thresholds are made for the built-in one's.

    Each batch is kept before the next is begun, so a turn that is cut off loses one batch, and the next turn finds what
    is left by itself. A model that fails is left alone for a while; why is kept in the progress.
    """
    async with engine.connect() as db:
        missing = await vectors.due(db, embedder.name, embedder.dimension, may)
        if missing is None:
            return None
        of_model = (embedder.name, embedder.dimension)
        known = next((one.measured for one in await vectors.progress(db) if (one.model, one.dimension) == of_model), 0)
    count, scale, problem, rest_s = 0, None, "", 0.0
    for _ in range(batches):
        async with engine.connect() as db:
            items = await vectors.without(db, missing, limit=BATCH)
        try:
            if not items:
                scale = await _measure(engine, embedder, known) if embedder.name != BUILTIN else None
                break
            made = await embedder.embed_passages([_text(item) for item in items])
        except CodeHealerError as error:
            problem, rest_s = str(error), _rest(error)
            break
        async with engine.begin() as db:
            for item, vector in zip(items, made, strict=True):
                await vectors.put(db, item.id, vector, embedder.name, seen=item.seen)
        count += len(items)
    async with engine.begin() as db:
        progress = await vectors.look(db, missing, problem=problem, rest_s=rest_s, scale=scale)
    if count or problem:
        log.info("embedded", model=embedder.name, done=progress.embedded, waiting=progress.waiting, problem=problem)
    return progress


async def _measure(engine: AsyncEngine, embedder: Embedder, known: int) -> Scale | None:
    """The model's scale; None when it was measured on half of the items or more. Raises as the embedder does."""
    async with engine.connect() as db:
        sample = await vectors.sample(db, embedder.name, embedder.dimension, limit=SAMPLE)
    if len(sample) < max(1, 2 * known):
        return None
    places = list(range(0, len(sample), max(1, len(sample) // QUESTIONS)))[:QUESTIONS]
    questions = [await embedder.embed_query(_text(sample[place][0])) for place in places]
    return scale_of(np.array(questions) @ np.array([vector for _, vector in sample]).T, places)


def scale_of(cosines: NDArray[np.float32], places: Sequence[int]) -> Scale:
    """The line that takes the cosine of the same text to 1, and that of unrelated texts to the built-in model's.

    Args:
        cosines: a row a question, a column an item.
        places: the column of each question's own item.
    """
    own = np.zeros(cosines.shape, dtype=bool)
    own[np.arange(len(places)), places] = True
    same = float(cosines[own].mean())
    # Most of any two failures are unrelated, so the median is; a single item has nothing beside it.
    unrelated = float(np.median(cosines[~own])) if len(places) > 1 else 0.0
    if same - unrelated < LEAST_APART:
        return Scale(1.0, 0.0, cosines.shape[1])
    slope = (1 - UNRELATED) / (same - unrelated)
    return Scale(slope, 1 - slope * same, cosines.shape[1])


def _text(item: Unembedded) -> str:
    return passage(item.kind, item.excerpt, item.fix, item.outcome)


def _rest(error: CodeHealerError) -> float:
    if not isinstance(error, Unavailable):
        return LONG_REST_S
    return min(LONG_REST_S, max(REST_S, error.retry_after_s or 0.0))
