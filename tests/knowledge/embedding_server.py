"""A local server of NVIDIA's embedding and ranking endpoints: as strict as they are, and scripted where asked."""

import re
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
from aiohttp import web

KEY = "test-key"
MODEL, DIMENSION = "nvidia/nemotron-3-embed-1b", 2048
FIELDS = {
    "/embeddings": {"model", "input", "input_type", "encoding_format", "truncate"},
    "/ranking": {"model", "query", "passages", "truncate"},
    "/rerank": {"model", "query", "documents"},
}
Answer = Callable[[dict[str, Any]], web.Response]


def numbers(text: str, dimension: int = DIMENSION) -> list[float]:
    """Texts with words in common point in a like direction; not of unit length."""
    total = np.full(dimension, 1e-3)
    for word in set(re.findall(r"\w+", text.lower())):
        total[zlib.crc32(word.encode()) % dimension] += 3
    return [round(float(number), 4) for number in total]


def embedded(body: dict[str, Any], dimension: int = DIMENSION) -> web.Response:
    rows = [{"index": at, "embedding": numbers(text, dimension)} for at, text in enumerate(body["input"])]
    # Nothing says that they come in order.
    return web.json_response({"object": "list", "data": rows[::-1], "model": body["model"]})


@dataclass
class Server:
    """`script` has an answer for each path, or there is 404; `calls` are (path, body) in order."""

    script: dict[str, Answer] = field(default_factory=lambda: {"/embeddings": embedded})
    url: str = ""
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        path = request.path.removeprefix("/v1")
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return web.json_response({"detail": "Unauthorized"}, status=401)
        body = await request.json()
        if unknown := set(body) - FIELDS.get(path, set(body)):
            return web.json_response({"detail": f"extra_forbidden: {sorted(unknown)}"}, status=400)
        self.calls.append((path, body))
        if path not in self.script:
            return web.json_response({"detail": "Not Found"}, status=404)
        if path == "/embeddings" and not all(body["input"]):
            return web.json_response({"detail": "input must not be empty"}, status=400)
        return self.script[path](body)

    def sent(self, kind: str = "passage") -> list[str]:
        """All passages, or queries, that were to be embedded."""
        return [text for _, body in self.calls if body.get("input_type") == kind for text in body["input"]]


@asynccontextmanager
async def served(**script: Answer) -> AsyncIterator[tuple[Server, httpx.AsyncClient]]:
    """The server, its own client; `embeddings=`, `ranking=` or `rerank=` set what is answered there."""
    server = Server({f"/{path}": answer for path, answer in script.items()}) if script else Server()
    app = web.Application(client_max_size=8 * 1024 * 1024)
    app.router.add_post("/v1/{path:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        async with httpx.AsyncClient() as client:
            yield server, client
    finally:
        await runner.cleanup()
