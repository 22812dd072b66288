"""Answers that need not be asked for twice: in memory, or in Redis for all processes where REDIS_URL names one.

Keys are digests, so nobody reads an incident out of a key. Values come back as untrusted bytes: whoever stored one
validates it again.
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import structlog

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = structlog.get_logger(__name__)

TTL_S = 3600.0
MOST_ENTRIES = 2_000
LARGEST_VALUE = 256 * 1024
_REDIS_DEADLINE_S = 0.5
_REDIS_REST_S = 30.0
_PREFIX = "codehealer:1:"
T = TypeVar("T")


class Cache(Protocol):
    async def get(self, key: str) -> bytes | None: ...

    async def put(self, key: str, value: bytes) -> None: ...


def key_of(*parts: str) -> str:
    """A digest in which no two lists of parts meet."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(f"{len(raw)}:".encode() + raw)
    return digest.hexdigest()


class MemoryCache:
    """The newest `most` values for `ttl_s` seconds."""

    def __init__(
        self, ttl_s: float = TTL_S, *, most: int = MOST_ENTRIES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ttl_s = ttl_s
        self._most = most
        self._clock = clock
        self._values: OrderedDict[str, tuple[float, bytes]] = OrderedDict()

    async def get(self, key: str) -> bytes | None:
        until, value = self._values.get(key, (0.0, b""))
        if until <= self._clock():
            self._values.pop(key, None)
            return None
        self._values.move_to_end(key)
        return value

    async def put(self, key: str, value: bytes) -> None:
        if len(value) > LARGEST_VALUE or self._ttl_s <= 0:
            return
        self._values[key] = (self._clock() + self._ttl_s, value)
        self._values.move_to_end(key)
        while len(self._values) > self._most:
            self._values.popitem(last=False)


class RedisCache:
    """Redis, and memory whenever Redis does not answer: a cache that is away slows nothing down and stops nothing."""

    def __init__(self, client: "Redis", ttl_s: float = TTL_S, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._ttl_s = ttl_s
        self._clock = clock
        self._memory = MemoryCache(ttl_s, clock=clock)
        self._rests_until = 0.0
        self._away = False

    async def get(self, key: str) -> bytes | None:
        found = await self._try(self._client.get, _PREFIX + key)
        if isinstance(found, bytes) and len(found) <= LARGEST_VALUE:
            return found
        return await self._memory.get(key)

    async def put(self, key: str, value: bytes) -> None:
        if len(value) > LARGEST_VALUE or self._ttl_s <= 0:
            return
        await self._memory.put(key, value)
        await self._try(self._client.set, _PREFIX + key, value, px=max(1, round(self._ttl_s * 1000)))

    async def _try(self, command: Callable[..., Awaitable[Any]], *arguments: Any, **more: Any) -> Any:
        """What Redis says; None when it is away, and then it is not asked again for half a minute."""
        from redis.exceptions import RedisError  # noqa: PLC0415  an optional extra

        if self._clock() < self._rests_until:
            return None
        try:
            async with asyncio.timeout(_REDIS_DEADLINE_S):
                found = await command(*arguments, **more)
        except (RedisError, OSError, TimeoutError) as error:
            self._rests_until = self._clock() + _REDIS_REST_S
            if not self._away:
                log.warning("redis_away", error=type(error).__name__, detail="answers are cached in memory meanwhile")
            self._away = True
            return None
        if self._away:
            log.info("redis_back")
        self._away = False
        return found


@asynccontextmanager
async def open_cache(redis_url: str, ttl_s: float = TTL_S) -> AsyncIterator[Cache]:
    """Redis where `redis_url` names one, else memory. Nothing is asked of Redis before the first use."""
    if not redis_url:
        yield MemoryCache(ttl_s)
        return
    try:
        from redis.asyncio import Redis  # noqa: PLC0415  an optional extra
    except ImportError:
        log.warning(
            "redis_not_installed",
            detail="REDIS_URL is set: install what requirements/runtime.txt lists; memory is used",
        )
        yield MemoryCache(ttl_s)
        return
    client = Redis.from_url(
        redis_url, socket_timeout=_REDIS_DEADLINE_S, socket_connect_timeout=_REDIS_DEADLINE_S, retry=None
    )
    try:
        yield RedisCache(client, ttl_s)
    finally:
        await client.aclose()


async def reach_redis(redis_url: str) -> str:
    """What is wrong with Redis, "" where it answers."""
    try:
        from redis.asyncio import Redis  # noqa: PLC0415  an optional extra
        from redis.exceptions import RedisError  # noqa: PLC0415
    except ImportError:
        return "the package redis is not installed (requirements/runtime.txt has it): answers are cached in memory"
    client = Redis.from_url(redis_url, socket_timeout=_REDIS_DEADLINE_S, socket_connect_timeout=_REDIS_DEADLINE_S)
    try:
        async with asyncio.timeout(2 * _REDIS_DEADLINE_S):
            await client.ping()
    except (RedisError, OSError, TimeoutError) as error:
        return f"Redis does not answer ({type(error).__name__}): answers are cached in memory meanwhile"
    finally:
        await client.aclose()
    return ""


class OneFlight:
    """At most one run of the same work at a time: who comes second waits for the first one's result."""

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Future[Any]] = {}

    async def run(self, key: str, work: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
        """(result, whether this caller's own work made it). The work goes on when one who waits gives up.

        It must end by itself: nobody can cancel what others may be waiting for.
        """
        running = self._running.get(key)
        mine = running is None
        if running is None:
            running = asyncio.ensure_future(work())
            self._running[key] = running
            running.add_done_callback(lambda done: self._landed(key, done))
        result: T = await asyncio.shield(running)
        return result, mine

    def _landed(self, key: str, done: "asyncio.Future[Any]") -> None:
        self._running.pop(key, None)
        if not done.cancelled():
            done.exception()  # seen, even when everybody who waited has left
