"""An embedder whose vectors are kept for a while: one incident's text is embedded at several stages."""

import asyncio
from collections.abc import Sequence

import numpy as np

from knowledge.cache import Cache, OneFlight, key_of
from knowledge.ports import Embedder, Vector


class CachedEmbedder:
    """`inner` behind a cache; equal texts that are asked for at the same time are embedded once."""

    def __init__(self, inner: Embedder, cache: Cache) -> None:
        self.name = inner.name
        self.dimension = inner.dimension
        self._inner = inner
        self._cache = cache
        self._flights = OneFlight()

    async def embed_query(self, text: str) -> Vector:
        key = key_of("query", self.name, text)
        vector, _ = await self._flights.run(key, lambda: self._query(key, text))
        return vector

    async def _query(self, key: str, text: str) -> Vector:
        known = self._read(await self._cache.get(key))
        if known is not None:
            return known
        vector = await self._inner.embed_query(text)
        await self._cache.put(key, np.asarray(vector, dtype="<f4").tobytes())
        return vector

    async def embed_passages(self, texts: Sequence[str]) -> list[Vector]:
        keys = [key_of("passage", self.name, text) for text in texts]
        known = [self._read(value) for value in await asyncio.gather(*(self._cache.get(key) for key in keys))]
        missing = [index for index, vector in enumerate(known) if vector is None]
        made = await self._inner.embed_passages([texts[index] for index in missing]) if missing else []
        for index, vector in zip(missing, made, strict=True):
            known[index] = vector
            await self._cache.put(keys[index], np.asarray(vector, dtype="<f4").tobytes())
        return [vector for vector in known if vector is not None]

    def _read(self, value: bytes | None) -> Vector | None:
        """None for what is no vector of ours: the cache is shared, so its values are checked."""
        if value is None or len(value) != 4 * self.dimension:
            return None
        vector = np.frombuffer(value, dtype="<f4")
        return vector if np.isfinite(vector).all() else None
