"""One way to read JSON over HTTP: a deadline, a size limit, a few attempts, and our errors with the next step."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
import stamina

from knowledge.errors import NotFound, Refused, Unavailable

ATTEMPTS = 3
MAX_BYTES = 8_000_000


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is asked, in words: `name` for a sentence, `setting` is what names its address, `access` its credentials."""

    name: str
    setting: str
    access: str


async def read_json(
    http: httpx.AsyncClient,
    url: str,
    peer: Peer,
    *,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    deadline_s: float = 10.0,
    attempts: int = ATTEMPTS,
    max_bytes: int = MAX_BYTES,
) -> Any:
    """A GET, tried again on passing faults. Redirects are not followed: a token must not go where they lead.

    Raises:
        NotFound, Refused, Unavailable: what the peer said, in a sentence.
    """
    async for attempt in stamina.retry_context(
        on=Unavailable, attempts=attempts, wait_initial=0.2, wait_max=2.0, timeout=attempts * deadline_s
    ):
        with attempt:
            return await _once(http, url, peer, query, headers, deadline_s, max_bytes)
    raise AssertionError("unreachable: the last attempt returns or raises")


async def _once(  # noqa: PLR0917  one request in full
    http: httpx.AsyncClient,
    url: str,
    peer: Peer,
    query: Mapping[str, str] | None,
    headers: Mapping[str, str] | None,
    deadline_s: float,
    max_bytes: int,
) -> Any:
    try:
        async with (
            asyncio.timeout(deadline_s),
            http.stream("GET", url, params=query, headers=headers, timeout=deadline_s, follow_redirects=False) as reply,
        ):
            data = bytearray()
            async for chunk in reply.aiter_bytes():
                data += chunk
                if len(data) > max_bytes:
                    raise Refused(f"{peer.name} answered with more than {max_bytes / 1e6:.0f} MB; it was not read.")
    except (TimeoutError, httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unavailable(
            f"{peer.name} did not answer ({type(error).__name__}). Check {peer.setting} and the network."
        ) from error
    if reply.status_code != 200:
        raise refusal(peer, reply, bytes(data[:2000]))
    try:
        return orjson.loads(bytes(data))
    except orjson.JSONDecodeError as error:
        raise Unavailable(f"{peer.name} answered with something that is not JSON. Check {peer.setting}.") from error


def refusal(peer: Peer, reply: httpx.Response, data: bytes) -> Refused | Unavailable:
    status = reply.status_code
    if status == 404:
        return NotFound(f"{peer.name} has no {reply.url.path.rsplit('/', 1)[-1]}. Check {peer.setting}.")
    if status in {401, 403}:
        return Refused(f"{peer.name} forbids it ({status}). Check {peer.access}.")
    if status == 429 or status >= 500:
        return Unavailable(f"{peer.name} answered {status}; it is usually passing.")
    if 300 <= status <= 399:
        return Refused(f"{peer.name} sends us elsewhere ({status}). Set {peer.setting} to its own address.")
    said = said_in(data)
    return Refused(f"{peer.name} refused the request ({status}){': ' + said if said else ''}.")


def said_in(data: bytes) -> str:
    """The peer's own reason, where it gives one as JSON."""
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError:
        return ""
    found = (
        body if isinstance(body, str) else (body.get("error") or body.get("message")) if isinstance(body, dict) else ""
    )
    return " ".join(str(found or "").split())[:200].rstrip(".")
