"""A second, closer look at what a search found: a hosted model reads each find beside the question."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from knowledge.errors import CodeHealerError, Refused
from knowledge.language_models.asking import Line, answering, ask
from knowledge.model import Precedent
from knowledge.passages import EVERYTHING, Sendable, passage
from knowledge.ports import Reranker
from knowledge.redaction import redact

# A search hands over this many; they fit into one request.
CANDIDATES = 20
LONGEST_TEXT = 8_000
HOSTED = "integrate.api.nvidia.com"
HOSTED_RANKING = "https://ai.api.nvidia.com/v1/retrieval/{model}/reranking"


@dataclass(frozen=True, slots=True)
class Reranked:
    """`note` says why the order is as it was before; empty when it was looked at again."""

    precedents: tuple[Precedent, ...]
    note: str = ""


async def rerank(
    query: str, precedents: Sequence[Precedent], reranker: Reranker, *, may: Sendable = EVERYTHING
) -> Reranked:
    """The precedents in the order of their new scores; as they came when the reranker has no answer.

    What the model finds less relevant than the best loses up to half of its score: outcome, feedback and age go on
    counting, and no score grows. Relative to the best, since each model's numbers have a zero of their own. Items of
    services that are kept from outside models are not sent and keep their score.
    """
    sent = [one for one in precedents if may.includes(one.item.service)]
    if len(sent) < 2:
        return Reranked(tuple(precedents))
    texts = [passage(one.item.kind, one.item.excerpt, one.item.fix, one.item.outcome) for one in sent]
    try:
        relevances = await reranker.rank(query, texts)
    except CodeHealerError as error:
        return Reranked(tuple(precedents), f"past incidents in the order of the search ({error})")
    best = max(relevances) or 1.0
    shares = {one.item.id: (1 + value / best) / 2 for one, value in zip(sent, relevances, strict=True)}
    scored = [replace(one, score=round(one.score * shares.get(one.item.id, 1.0), 4)) for one in precedents]
    return Reranked(tuple(sorted(scored, key=lambda one: (not one.same_failure, -one.score))))


class _Ranking(BaseModel):
    model_config = ConfigDict(extra="ignore")
    index: int
    logit: float


class _Rankings(BaseModel):
    model_config = ConfigDict(extra="ignore")
    rankings: list[_Ranking]


class _Result(BaseModel):
    model_config = ConfigDict(extra="ignore")
    index: int
    relevance_score: float


class _Results(BaseModel):
    model_config = ConfigDict(extra="ignore")
    results: list[_Result]


def addresses(model: str, base_url: str) -> tuple[str, str]:
    """Where to ask, in this order: hosted models have the first form on a host of its own, the model in the path."""
    base = base_url.rstrip("/")
    hosted = urlsplit(base).hostname == HOSTED
    return HOSTED_RANKING.format(model=model.replace(".", "_")) if hosted else f"{base}/ranking", f"{base}/rerank"


class NvidiaReranker:
    """A Reranker. Asks `/ranking`, and `/rerank` where that is unknown; the one that answered is asked first from then.

    Self-hosted models have the first form; of NVIDIA's hosted ones some have the first at an address of their own, some
    only the second.
    """

    def __init__(
        self, client: httpx.AsyncClient, *, api_key: str, model: str, base_url: str, deadline_s: float = 5.0
    ) -> None:
        self.name = f"nvidia:{model}"
        self._model = model
        self._client = client
        self._headers = {"Authorization": f"Bearer {api_key}", "Accept": "application/json"}
        self._deadline_s = deadline_s
        self._ways = list(addresses(model, base_url))

    async def rank(self, query: str, passages: Sequence[str]) -> list[float]:
        """Relevance of each passage, 0 to 1, in their order. Raises Unavailable or Refused."""
        question, texts = (redact(query[:LONGEST_TEXT]), [redact(text[:LONGEST_TEXT]) for text in passages])
        async with answering(self._model, self._deadline_s):
            return await self._by_either_way(question, texts)

    async def _by_either_way(self, query: str, texts: Sequence[str]) -> list[float]:
        refusals: list[Refused] = []
        for url in tuple(self._ways):
            line = Line(url, self._headers, "NVIDIA_API_KEY", timeout_s=self._deadline_s, attempts=2)
            try:
                reply = await ask(self._client, line, _body(url, self._model, query, texts))
            except Refused as error:
                refusals.append(error)
            else:
                self._ways.sort(key=lambda way: way != url)
                return read_relevances(reply.content, len(texts))
        raise refusals[-1]


def _body(url: str, model: str, query: str, texts: Sequence[str]) -> dict[str, Any]:
    if url.endswith("/rerank"):
        return {"model": model, "query": query, "documents": list(texts)}
    passages = [{"text": text} for text in texts]
    return {"model": model, "query": {"text": query}, "passages": passages, "truncate": "END"}


def read_relevances(content: bytes, count: int) -> list[float]:
    """Either form of reply as relevances in the order of the passages.

    Raises:
        Refused: it is not one of them, or not about each passage once.
    """
    found: dict[int, float] = {}
    try:
        if b'"rankings"' in content:
            # Logits have no bounds; the logistic function takes them to 0 to 1.
            for ranking in _Rankings.model_validate_json(content).rankings:
                found[ranking.index] = 1 / (1 + math.exp(-max(-60.0, min(60.0, ranking.logit))))
        else:
            for result in _Results.model_validate_json(content).results:
                found[result.index] = min(1.0, max(0.0, result.relevance_score))
    except ValidationError:
        raise Refused("the reply is not a ranking") from None
    if sorted(found) != list(range(count)) or any(math.isnan(value) for value in found.values()):
        raise Refused(f"{len(found)} of {count} passages were ranked")
    return [found[index] for index in range(count)]
