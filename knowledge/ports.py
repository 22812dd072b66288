"""What knowledge asks of the outside, as the few methods that it calls."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]


class Jobs(Protocol):
    """Durable jobs. `enqueue` is part of the caller's transaction: it happens if and only if that commits."""

    async def enqueue(
        self,
        connection: Any,
        stage: str,
        *,
        lock: str,
        delay_s: float = 0.0,
        once: str | None = None,
        head_start_s: int = 0,
        **arguments: Any,
    ) -> None:
        """Run `stage` with JSON `arguments`.

        Args:
            connection: the caller's SQLAlchemy AsyncConnection (or AsyncSession's connection), inside a transaction.
            lock: jobs with the same lock run one at a time, in order.
            once: at most one waiting job with this key; a second is dropped silently.
            head_start_s: it goes before what was asked for so much earlier, as where a person waits.
        """

    async def busy(self, locks: Sequence[str]) -> set[str]:
        """Those of the locks that have a job that waits or runs; those that were given up do not count."""


class Embedder(Protocol):
    """Text to unit-length float32 vectors. `name` is stored beside each vector; vectors of two names never mix."""

    name: str
    dimension: int

    async def embed_query(self, text: str) -> Vector: ...

    async def embed_passages(self, texts: Sequence[str]) -> list[Vector]: ...


class Reranker(Protocol):
    """Reads each passage beside the query. `rank` gives relevances from 0 to 1, in the order of the passages."""

    name: str

    async def rank(self, query: str, passages: Sequence[str]) -> list[float]: ...
