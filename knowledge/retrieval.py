"""What helped last time: candidates from the store, ranked by a pure function.

Weights follow the measurements kept in docs/decisions.md: words win for a pasted log, meaning wins for a question, so
the vector leg weighs 0.5 for the one and 2 for the other; each leg is scaled to its best hit before they are added.
"""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.model import FailureKind, Precedent
from knowledge.ports import Vector
from knowledge.store import memory
from knowledge.store.memory import Found
from knowledge.store.threads import NOBODY, Asked

LOG_WEIGHT, QUESTION_WEIGHT = 0.5, 2.0
# Below these an item merely shares words; "no precedent" is the better answer.
MIN_SIMILARITY, MIN_SIMILARITY_SAME_KIND, MIN_SCORE = 0.65, 0.25, 0.25
OTHER_KIND = 0.5
OUTCOME_WEIGHT = {"verified": 1.1, "resolved": 1.0, "": 0.9, "dismissed": 0.6, "rejected": 0.6,
                  "not_verified": 0.6, "failed": 0.55, "worse": 0.4}  # fmt: skip
PER_THUMB_UP, PER_THUMB_DOWN = 0.05, 0.25
HALF_LIFE_DAYS = 180.0
LOG_MARKS = re.compile(r"\n|[{}\[\]=/:]{2}|\b[A-Z]{3,}\b|[a-z][A-Z]|\d{2}:\d{2}|::|->|\S+\.\S+\.\S+")
QUESTION_MARKS = re.compile(r"\?|^(why|how|what|when|which|where|who|is|are|did|does|can)\b", re.IGNORECASE)


class QueryEmbedder(Protocol):
    """The one method that a search calls; any knowledge.ports.Embedder has it."""

    name: str

    async def embed_query(self, text: str) -> Vector: ...


def is_question(text: str) -> bool:
    """True for a question in a person's words, false for a pasted log or error line."""
    return bool(QUESTION_MARKS.search(text)) or len(LOG_MARKS.findall(text)) <= len(text.split()) / 8


def _weight(found: Found, *, kind: FailureKind | None, now: datetime) -> float:
    age_days = max(0.0, (now - found.item.occurred_at).total_seconds() / 86_400)
    decay = 0.6 + 0.4 * math.exp(-age_days * math.log(2) / HALF_LIFE_DAYS)
    thumbs = 1 + PER_THUMB_UP * min(found.thumbs_up, 6) - PER_THUMB_DOWN * found.thumbs_down
    same = 1.0 if kind in {None, FailureKind.UNKNOWN} or found.item.kind in {None, kind} else OTHER_KIND
    return OUTCOME_WEIGHT.get(found.item.outcome, 0.9) * decay * max(0.15, thumbs) * same


def _why(found: Found, *, kind: FailureKind | None, service: str) -> str:
    reasons = []
    if kind and found.item.kind is kind:
        reasons.append("same cause")
    if service and found.item.service == service:
        reasons.append("same service")
    if found.thumbs_down:
        people = "1 person" if found.thumbs_down == 1 else f"{found.thumbs_down} people"
        reasons.append(f"ranked lower since {people} said it did not help")
    return ", ".join(reasons) or "similar evidence"


def rank(
    found: Sequence[Found],
    *,
    question: bool,
    now: datetime,
    kind: FailureKind | None = None,
    service: str = "",
    limit: int = 5,
) -> tuple[Precedent, ...]:
    """The best `limit` of the candidates, best first; scores are 0 to 1. Feedback, outcome and age move them."""
    best_rank = max((item.rank for item in found), default=0.0) or 1.0
    best_similarity = max((item.similarity for item in found), default=0.0) or 1.0
    weight = QUESTION_WEIGHT if question else LOG_WEIGHT
    ranked = []
    for item in found:
        if item.item.kind is FailureKind.HEALTHY and kind not in {None, FailureKind.HEALTHY}:
            continue  # a false alarm is no precedent for a failure
        same_kind = kind is not None and item.item.kind is kind
        if item.similarity < (MIN_SIMILARITY_SAME_KIND if same_kind else MIN_SIMILARITY) and not _worded(
            item, best_rank
        ):
            continue
        likeness = (item.rank / best_rank + weight * item.similarity / best_similarity) / (1 + weight)
        score = likeness * _weight(item, kind=kind, now=now)
        if score >= MIN_SCORE:
            precedent = Precedent(
                item=item.item,
                score=round(min(1.0, score), 4),
                similarity=round(item.similarity, 4),
                thumbs_up=item.thumbs_up,
                thumbs_down=item.thumbs_down,
                why=_why(item, kind=kind, service=service),
            )
            # Ordered by the score as it is: the best would tie at 1, and feedback would not tell them apart.
            ranked.append((-score, item.item.id, precedent))
    return tuple(precedent for *_, precedent in sorted(ranked, key=lambda one: one[:2])[:limit])


def _worded(found: Found, best_rank: float) -> bool:
    """Found by its words alone: what a search without vectors has."""
    return found.similarity == 0.0 and found.rank >= 0.3 * best_rank


async def search(
    db: AsyncConnection,
    query: str,
    *,
    embedder: QueryEmbedder | None,
    now: datetime,
    kind: FailureKind | None = None,
    service: str = "",
    limit: int = 5,
    not_incident: int | None = None,
    filters: Mapping[str, str] | None = None,
    asked: Asked = NOBODY,
) -> tuple[Precedent, ...]:
    """Search what is remembered; `query` is a question or reduced, redacted evidence.

    Of Slack's threads only those are found that may be read where it is `asked`.
    """
    vector = await embedder.embed_query(query) if embedder else None
    found = await memory.search(
        db,
        words=query,
        vector=vector,
        vector_model=embedder.name if embedder else "",
        not_incident=not_incident,
        filters=filters,
        asked=asked,
    )
    return rank(found, question=is_question(query), now=now, kind=kind, service=service, limit=limit)
