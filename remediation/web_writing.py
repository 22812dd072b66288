"""One way to send a write over HTTP: once, with a deadline and a size limit, and our errors with the next step.

A write is never tried again here: whether it took effect is for the remediator to find out from the target.
"""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

import httpx
import orjson

from knowledge.errors import Refused, Unavailable
from remediation.web_reading import Peer, refusal

MAX_BYTES = 8_000_000
_OK = range(200, 300)


async def write_json(
    http: httpx.AsyncClient,
    method: str,
    url: str,
    peer: Peer,
    *,
    body: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    deadline_s: float = 10.0,
) -> tuple[int, Any]:
    """(status, the reply's JSON or None where it has none). Redirects are not followed.

    Raises:
        NotFound, Refused: what the peer said, in a sentence.
        Unavailable: with `maybe_done` unless the connection was never made.
    """
    try:
        request = http.build_request(method, url, json=body, headers=headers, timeout=deadline_s)
    except UnicodeError as error:
        words = f"{peer.name} was not asked: a character in the request cannot be sent. Check {peer.access}."
        raise Refused(words) from error
    except httpx.InvalidURL as error:
        raise _out_of_reach(peer) from error
    try:
        async with (
            asyncio.timeout(deadline_s),
            aclosing(await http.send(request, stream=True, follow_redirects=False)) as reply,
        ):
            data = bytearray()
            async for chunk in reply.aiter_bytes():
                data += chunk
                if len(data) > MAX_BYTES:
                    break  # the write has happened; what it says beyond this is not needed
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise _out_of_reach(peer) from error
    except (TimeoutError, httpx.HTTPError) as error:
        raise Unavailable(f"{peer.name} did not answer ({type(error).__name__}).", maybe_done=True) from error
    if reply.status_code not in _OK:
        problem = refusal(peer, reply, bytes(data[:2000]))
        if isinstance(problem, Unavailable):
            # 429 is refused before anything is done; a 5xx may come from a gateway behind which it was.
            problem.maybe_done = reply.status_code != 429
        raise problem
    return reply.status_code, _json(bytes(data))


def _out_of_reach(peer: Peer) -> Unavailable:
    return Unavailable(f"{peer.name} cannot be reached. Check {peer.setting} and the network.")


def _json(data: bytes) -> Any:
    try:
        return orjson.loads(data) if data and len(data) <= MAX_BYTES else None
    except orjson.JSONDecodeError:
        return None
