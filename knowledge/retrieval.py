"""What helped last time: candidates from the store, ranked by a pure function.

Three legs are added: words as a share of the best hit's, meaning as the cosine, and kind. Meaning weighs twice as much
for a question as for a pasted log. The kind speaks where none is given: that of the nearest neighbours for a log, that
whose description is nearest for a question. docs/retrieval.md has the measurements.
"""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from knowledge.kind_likeness import kinds_like
from knowledge.likeness import excerpt
from knowledge.model import FailureKind, Precedent
from knowledge.ports import Vector
from knowledge.store import memory
from knowledge.store.memory import Found
from knowledge.store.threads import NOBODY, Asked

LOG_WEIGHT, QUESTION_WEIGHT = 1.0, 2.0
LOG_KIND, QUESTION_KIND = 0.3, 0.5
NEIGHBOURS = 10
# Below these in both legs an item merely shares words; "no precedent" is the better answer.
MIN_SIMILARITY, MIN_SIMILARITY_SAME_KIND, MIN_SCORE = 0.65, 0.25, 0.25
MIN_SIMILARITY_LOG, MIN_SIMILARITY_QUESTION = 0.45, 0.25
MIN_COVERED, MIN_COVERED_SAME_KIND = 0.12, 0.05
# A diagnosis may be wrong: halving what is of another kind lost right answers (docs/retrieval.md).
OTHER_KIND, SAME_SERVICE = 0.9, 1.05
OUTCOME_WEIGHT = {"verified": 1.1, "resolved": 1.0, "": 0.9, "dismissed": 0.6, "rejected": 0.6,
                  "not_verified": 0.6, "failed": 0.55, "worse": 0.4}  # fmt: skip
# Said by people of an item. A wrong one stays under MIN_SCORE whatever its outcome and thumbs are.
STATUS_WEIGHT = {"old": 0.6, "wrong": 0.15}
PER_THUMB_UP, PER_THUMB_DOWN = 0.05, 0.25
LEAST_THUMBS = 0.15  # reached by four more down than up
HALF_LIFE_DAYS = 180.0

# What only programs write inside a word, what begins a log line, and what only people ask or say.
_MACHINE = re.compile(r"\d|[_=/\\{}\[\]<>|*#$@~^`\"]|[A-Za-z][.:][A-Za-z]|\w\(|[a-z][A-Z]|:$|::|^\W+$|^-\w|^[A-Z]{4,}$")
_PREFIX = re.compile(r"^\W{0,3}\w{1,40}:\s")
_ASKS = re.compile(
    r"\?\s*$|^\s*(?:why|how|what|when|which|where|who|is|are|did|does|do|can|could|should|has|have)\b", re.IGNORECASE
)
_PERSON = re.compile(
    r"\b(?:we|our|us|I|my|you|someone|somebody|anyone|nobody|how|why|what|should|can't|doesn't|isn't|won't|didn't)\b",
    re.IGNORECASE,
)
_JUDGED_CHARS = 2_000


class QueryEmbedder(Protocol):
    """The one method that a search calls; any knowledge.ports.Embedder has it."""

    name: str

    async def embed_query(self, text: str) -> Vector: ...


def is_question(text: str) -> bool:
    """True for a question or a sentence in a person's words, false for a pasted log or error line."""
    text = text.strip()[:_JUDGED_CHARS]
    words = text.split()
    if not words or "\n" in text or _PREFIX.match(text):
        return False
    machine = sum(bool(_MACHINE.search(word.rstrip(".,?!"))) for word in words) / len(words)
    if _ASKS.search(text):
        return machine < 0.3
    return machine < (0.25 if _PERSON.search(text) else 0.1)


def searched_for(text: str) -> str:
    """What to search for: a question as it is, of a pasted log the telling lines."""
    return text if is_question(text) else excerpt(text)


def _weight(found: Found, *, kind: FailureKind | None, service: str, now: datetime) -> float:
    age_days = max(0.0, (now - found.item.occurred_at).total_seconds() / 86_400)
    decay = 0.6 + 0.4 * math.exp(-age_days * math.log(2) / HALF_LIFE_DAYS)
    same = 1.0 if kind in {None, FailureKind.UNKNOWN} or found.item.kind in {None, kind} else OTHER_KIND
    here = SAME_SERVICE if service and found.item.service == service else 1.0
    said = STATUS_WEIGHT.get(found.item.status, 1.0)
    return OUTCOME_WEIGHT.get(found.item.outcome, 0.9) * decay * same * here * said


def _thumbs(found: Found) -> float:
    """What people's thumbs do to the score: under 1 it is ranked lower."""
    return max(LEAST_THUMBS, 1 + PER_THUMB_UP * min(found.thumbs_up, 6) - PER_THUMB_DOWN * found.thumbs_down)


def _why(found: Found, *, kind: FailureKind | None, service: str) -> str:
    reasons = []
    if found.same_identity:
        reasons.append("the same failure as before")
    if kind and found.item.kind is kind:
        reasons.append("same cause")
    if service and found.item.service == service:
        reasons.append("same service")
    if found.item.outcome in {"worse", "failed", "not_verified"}:
        reasons.append("ranked lower since its fix did not help")
    if found.item.status:
        reasons.append(f"marked {found.item.status}")
    thumbs = _thumbs(found)
    if thumbs < 1:
        reasons.append(f"ranked lower since {_people(found.thumbs_down)} said it did not help")
    elif thumbs > 1:
        reasons.append(f"ranked higher since {_people(found.thumbs_up)} said it helped")
    return ", ".join(reasons) or "similar evidence"


def _people(number: int) -> str:
    return "1 person" if number == 1 else f"{number} people"


def likeness(
    found: Sequence[Found], *, question: bool, kinds: Mapping[FailureKind, float] | None = None
) -> list[float]:
    """How alike each candidate is, 0 to 1, before outcome, feedback and age.

    Args:
        kinds: how well each kind's description fits a question, 0 to 1; without it the nearest neighbours tell.
    """
    weight, by_kind = (QUESTION_WEIGHT, QUESTION_KIND) if question else (LOG_WEIGHT, LOG_KIND)
    best = max((one.rank for one in found), default=0.0) or 1.0
    # The cosine stays as it is: where even the nearest is far, meaning has little to say.
    alike = [one.rank / best + weight * one.similarity for one in found]
    odds = kinds if kinds else _neighbours_kinds(found, alike)
    unknown = max(odds.values(), default=0.0) / 2
    told = [odds.get(one.item.kind, 0.0) if one.item.kind else unknown for one in found]
    return [(one + by_kind * kind) / (1 + weight + by_kind) for one, kind in zip(alike, told, strict=True)]


def _neighbours_kinds(found: Sequence[Found], alike: Sequence[float]) -> dict[FailureKind, float]:
    """What the nearest say about the kind: their likeness, as shares."""
    nearest = sorted(zip(alike, found, strict=True), key=lambda one: (-one[0], one[1].item.id))[:NEIGHBOURS]
    total = sum(value for value, _ in nearest) or 1.0
    odds: dict[FailureKind, float] = {}
    for value, one in nearest:
        if one.item.kind:
            odds[one.item.kind] = odds.get(one.item.kind, 0.0) + value / total
    return odds


def rank(
    found: Sequence[Found],
    *,
    question: bool,
    now: datetime,
    kind: FailureKind | None = None,
    service: str = "",
    limit: int = 5,
    kinds: Mapping[FailureKind, float] | None = None,
) -> tuple[Precedent, ...]:
    """The best `limit` of the candidates, best first; scores are 0 to 1. Feedback, outcome and age move them."""
    ranked = []
    for item, alike in zip(found, likeness(found, question=question, kinds=kinds), strict=True):
        if item.item.kind is FailureKind.HEALTHY and kind not in {None, FailureKind.HEALTHY}:
            continue  # a false alarm is no precedent for a failure
        if item.item.status == "wrong":
            continue  # people said so, however alike it is
        if not item.same_identity and _weak(item, question=question, kind=kind):
            continue
        before = alike * _weight(item, kind=kind, service=service, now=now)
        thumbs = _thumbs(item)
        score = before * thumbs
        # A few thumbs down rank it lower and are said with it; of what hardly anybody found help in nothing is shown.
        if (before >= MIN_SCORE and thumbs > LEAST_THUMBS) or item.same_identity:
            precedent = Precedent(
                item=item.item,
                score=round(min(1.0, score), 4),
                similarity=round(item.similarity, 4),
                thumbs_up=item.thumbs_up,
                thumbs_down=item.thumbs_down,
                why=_why(item, kind=kind, service=service),
                same_failure=item.same_identity,
            )
            # Ordered by the score as it is: the best would tie at 1, and feedback would not tell them apart.
            ranked.append((not item.same_identity, -score, item.item.id, precedent))
    return tuple(precedent for *_, precedent in sorted(ranked, key=lambda one: one[:3])[:limit])


def _weak(found: Found, *, question: bool, kind: FailureKind | None) -> bool:
    """Whether neither leg finds the item alike enough to be shown."""
    if kind is not None and found.item.kind is kind:
        return found.similarity < MIN_SIMILARITY_SAME_KIND and found.rank < MIN_COVERED_SAME_KIND
    similar = MIN_SIMILARITY
    if kind in {None, FailureKind.UNKNOWN}:
        similar = MIN_SIMILARITY_QUESTION if question else MIN_SIMILARITY_LOG
    return found.similarity < similar and found.rank < MIN_COVERED


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
    identity: str = "",
    not_item: str = "",
    asked: Asked = NOBODY,
) -> tuple[Precedent, ...]:
    """Search what is remembered; `query` is a question, or an excerpt of redacted evidence (see `searched_for`).

    `identity` is that of the incident which asks: what was learnt from the very same failure comes first. Of Slack's
    threads only those are found that may be read where it is `asked`.
    """
    question = is_question(query)
    vector = await embedder.embed_query(query) if embedder else None
    found = await memory.search(
        db,
        words=query,
        vector=vector,
        vector_model=embedder.name if embedder else "",
        not_incident=not_incident,
        filters=filters,
        identity=identity,
        not_item=not_item,
        asked=asked,
    )
    kinds = kinds_like(vector, embedder.name) if question and vector is not None and embedder else None
    return rank(found, question=question, now=now, kind=kind, service=service, limit=limit, kinds=kinds)
