"""NVIDIA's hosted embedding models: a query and a passage are embedded differently, and models vanish by the month."""

from collections.abc import Sequence
from typing import Literal

import httpx
import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from knowledge.errors import Refused, SettingsError, WrongDimension
from knowledge.language_models.asking import Line, answering, ask
from knowledge.ports import Vector
from knowledge.redaction import redact

# Numbers a vector of each model has (its cards, November 2026); of another model the setting must say it.
DIMENSIONS = {
    "nvidia/nemotron-3-embed-1b": 2048,
    "nvidia/llama-nemotron-embed-1b-v2": 2048,
    "nvidia/llama-nemotron-embed-vl-1b-v2": 2048,
    "nvidia/llama-3.2-nv-embedqa-1b-v2": 2048,
    "nvidia/nv-embedqa-e5-v5": 1024,
    "NV-Embed-QA": 1024,
}
# A reply of 32 vectors of 2048 numbers is about 1.4 MB.
BATCH = 32
# More than any of these models reads; the rest is cut there and not carried.
LONGEST_TEXT = 16_384


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore")
    index: int
    embedding: list[float]


class _Reply(BaseModel):
    model_config = ConfigDict(extra="ignore")
    data: list[_Row]


def dimension_of(model: str, given: int = 0) -> int:
    """The length of a model's vectors: as given, else as known.

    Raises:
        SettingsError: nobody says it.
    """
    known = given or DIMENSIONS.get(model, 0)
    if not known:
        raise SettingsError(
            f"CODEHEALER_EMBEDDING_MODEL: the length of {model}'s vectors is not known here; set "
            f"CODEHEALER_EMBEDDING_DIMENSION to it, or take one of {', '.join(DIMENSIONS)}."
        )
    return known


class NvidiaEmbedder:
    """An Embedder. Texts are redacted before they leave, and cut by the model where they are too long for it.

    `client` is shared and closed by its owner. `query_s` bounds one query, for which a person may be waiting;
    `batch_s` bounds one batch of passages.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        api_key: str,
        model: str,
        base_url: str,
        dimension: int = 0,
        query_s: float = 5.0,
        batch_s: float = 30.0,
        attempts: int = 3,
    ) -> None:
        self.name = f"nvidia:{model}"
        self.dimension = dimension_of(model, dimension)
        self._model = model
        self._client = client
        self._url = base_url.rstrip("/") + "/embeddings"
        self._headers = {"Authorization": f"Bearer {api_key}", "Accept": "application/json"}
        self._query_s = query_s
        self._batch_s = batch_s
        self._attempts = attempts

    async def embed_query(self, text: str) -> Vector:
        """Raises Unavailable, Refused or WrongDimension; the message says what was answered."""
        return (await self._embed([text], "query", self._query_s))[0]

    async def embed_passages(self, texts: Sequence[str]) -> list[Vector]:
        """One vector a text, in order. Raises as `embed_query`; then none of the texts has one."""
        vectors: list[Vector] = []
        for start in range(0, len(texts), BATCH):
            vectors += await self._embed(texts[start : start + BATCH], "passage", self._batch_s)
        return vectors

    async def _embed(self, texts: Sequence[str], kind: Literal["query", "passage"], deadline_s: float) -> list[Vector]:
        line = Line(self._url, self._headers, "NVIDIA_API_KEY", timeout_s=deadline_s, attempts=self._attempts)
        body = {
            "model": self._model,
            "input": [redact(text[:LONGEST_TEXT]).strip() or "-" for text in texts],  # an empty text is refused
            "input_type": kind,
            "encoding_format": "float",
            "truncate": "END",  # without it a long text is an error
        }
        async with answering(self._model, deadline_s):
            reply = await ask(self._client, line, body)
        return read_vectors(reply.content, len(texts), self.dimension, self._model)


def read_vectors(content: bytes, count: int, dimension: int, model: str) -> list[Vector]:
    """The reply's vectors in the order of the texts, each of length one.

    Raises:
        Refused: it is not a reply with one usable vector a text.
        WrongDimension: a vector has another length than this model's.
    """
    try:
        rows = sorted(_Reply.model_validate_json(content).data, key=lambda row: row.index)
    except ValidationError:
        raise Refused(f"{model}: the reply is not a list of embeddings") from None
    if [row.index for row in rows] != list(range(count)):
        raise Refused(f"{model}: {len(rows)} embeddings came for {count} texts")
    for row in rows:
        if len(row.embedding) != dimension:
            raise WrongDimension(
                f"{model}: a vector of {len(row.embedding)} numbers came where {dimension} belong; set "
                "CODEHEALER_EMBEDDING_DIMENSION to the model's own length."
            )
    return [_normalised(row.embedding, model) for row in rows]


def _normalised(numbers: Sequence[float], model: str) -> Vector:
    vector = np.asarray(numbers, dtype=np.float64)
    with np.errstate(over="ignore"):  # what overflows has no direction that could be used
        length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length == 0:
        raise Refused(f"{model}: a vector without direction came")
    return (vector / length).astype(np.float32)
