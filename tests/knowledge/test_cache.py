"""The cache in memory and in a real Redis, and vectors kept in it."""

import asyncio
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from knowledge.cache import LARGEST_VALUE, MemoryCache, OneFlight, key_of, open_cache
from knowledge.embedding.cached import CachedEmbedder
from knowledge.ports import Vector
from tests.programs import need_program


@pytest.fixture(scope="module")
def redis_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    program = need_program("redis-server")
    socket = tmp_path_factory.mktemp("redis") / "s"
    command = [program, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(socket.parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        with closing(server.stdout) as said:
            assert any("eady to accept connections" in line for line in said)
            yield socket
            server.terminate()


def test_keys_of_different_parts_differ() -> None:
    assert len({key_of("ab", "c"), key_of("a", "bc"), key_of("abc"), key_of("abc", ""), key_of("\ud800")}) == 5


async def test_memory_forgets_what_is_old_and_what_is_too_much() -> None:
    now = [0.0]
    cache = MemoryCache(60, most=2, clock=lambda: now[0])
    for key in ("a", "b"):
        await cache.put(key, key.encode())
    assert await cache.get("a") == b"a"
    await cache.put("c", b"c")
    assert [await cache.get(key) for key in "abc"] == [b"a", None, b"c"]
    now[0] = 60.0
    assert [await cache.get(key) for key in "abc"] == [None] * 3
    await cache.put("large", b" " * (LARGEST_VALUE + 1))
    assert await cache.get("large") is None
    never = MemoryCache(0)
    await never.put("a", b"a")
    assert await never.get("a") is None


async def test_redis_is_shared_and_forgets(redis_socket: Path) -> None:
    url = f"unix://{redis_socket}"
    async with open_cache(url, 3600) as one, open_cache(url, 3600) as other:
        await one.put("k", b"v")
        assert await other.get("k") == b"v"
        assert await other.get("unknown") is None
    from redis.asyncio import Redis  # noqa: PLC0415

    async with Redis(unix_socket_path=str(redis_socket)) as client:
        assert 3_500_000 < await client.pttl("codehealer:1:k") <= 3_600_000


async def test_without_redis_memory_serves_and_it_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_cache(f"unix://{tmp_path / 'nobody'}", 3600) as cache:
        for _ in range(3):
            await cache.put("k", b"v")
            assert await cache.get("k") == b"v"
    assert capsys.readouterr().out.count("redis_away") == 1


async def test_same_work_at_the_same_time_is_done_once_and_survives_one_who_gives_up() -> None:
    started, gate = [0], asyncio.Event()

    async def work() -> str:
        started[0] += 1
        await gate.wait()
        return "done"

    flights = OneFlight()
    first, second = (asyncio.create_task(flights.run("k", work)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    gate.set()
    assert await second == ("done", False)
    assert started == [1]
    assert await flights.run("k", work) == ("done", True)


async def test_failure_is_everybodys_and_is_not_kept() -> None:
    async def fails() -> str:
        raise ValueError("no")

    flights = OneFlight()
    both = await asyncio.gather(*(flights.run("k", fails) for _ in range(2)), return_exceptions=True)
    assert [type(one) for one in both] == [ValueError] * 2
    with pytest.raises(ValueError, match="no"):
        await flights.run("k", fails)


class Counting:
    """An embedder that tells how many texts it was given."""

    name, dimension = "counting", 4

    def __init__(self) -> None:
        self.given: list[str] = []

    async def embed_query(self, text: str) -> Vector:
        return (await self.embed_passages([text]))[0]

    async def embed_passages(self, texts: Sequence[str]) -> list[Vector]:
        self.given += texts
        return [np.array([len(text), 1, 2, 3], dtype=np.float32) for text in texts]


async def test_text_is_embedded_once_and_a_spoilt_vector_again() -> None:
    inner, cache = Counting(), MemoryCache()
    embedder = CachedEmbedder(inner, cache)
    await asyncio.gather(*(embedder.embed_query("one") for _ in range(3)))
    vectors = await embedder.embed_passages(["one", "three"])
    vectors += await embedder.embed_passages(["three", "four", "one"])
    assert inner.given == ["one", "one", "three", "four"]  # a query is no passage
    assert [vector[0] for vector in vectors] == [3, 5, 5, 4, 3]
    for spoilt in (b"short", np.full(4, np.nan, dtype=np.float32).tobytes()):
        await cache.put(key_of("query", "counting", "one"), spoilt)
        assert list(await embedder.embed_query("one")) == [3, 1, 2, 3]
