"""The lines of a Kubernetes watch: objects as JSON, bookmarks, and the server's errors."""

import json
from collections.abc import AsyncIterator

import structlog

from knowledge.errors import Unavailable
from remediation.ports import Json

log = structlog.get_logger(__name__)

MAX_LINE_BYTES = 8_000_000


async def lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Lines of up to MAX_LINE_BYTES (aiohttp's own reader ends at 128 KiB, a Pod may be larger); longer ones are
    skipped."""
    parts: list[bytes] = []
    size = 0
    async for chunk in chunks:
        first, *more = chunk.split(b"\n")
        parts.append(first)
        size += len(first)
        for piece in more:
            if size <= MAX_LINE_BYTES:
                yield b"".join(parts)
            else:
                log.warning("cluster.object_too_large", bytes=size)
            parts, size = [piece], len(piece)
        if size > MAX_LINE_BYTES:
            parts.clear()
    if parts:
        yield b"".join(parts)


class Expired(Exception):
    """The server has forgotten the version that the watch wants to go on from."""


def change_of(line: bytes) -> Json | None:
    """One line of a watch. None for what carries no object; Expired and Unavailable for the server's errors."""
    try:
        change: Json = json.loads(line)
    except ValueError:
        return None
    body = change.get("object")
    if change.get("type") == "ERROR":
        code = (body or {}).get("code")
        if code == 410:
            raise Expired
        raise Unavailable(f"The watch ended with {code}: {(body or {}).get('message', '')}")
    if not isinstance(body, dict) or "resourceVersion" not in (body.get("metadata") or {}):
        return None
    return change
