"""Amazon SNS over HTTPS: its certificates, and the confirmation of a subscription. Only addresses that were checked."""

import asyncio
from dataclasses import dataclass, field

import httpx

from knowledge.errors import Unavailable

DEADLINE_S = 5.0
MAX_BYTES = 20_000
MOST_KEPT = 20


@dataclass
class Sns:
    """Certificates are kept by their address, which Amazon changes with them."""

    http: httpx.AsyncClient
    _kept: dict[str, bytes] = field(default_factory=dict)

    async def certificate(self, address: str) -> bytes:
        if address not in self._kept:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[address] = await self._get(address)
        return self._kept[address]

    async def confirm(self, address: str) -> None:
        await self._get(address)

    async def _get(self, address: str) -> bytes:
        try:
            async with (
                asyncio.timeout(DEADLINE_S),
                self.http.stream("GET", address, timeout=DEADLINE_S, follow_redirects=False) as reply,
            ):
                data = bytearray()
                async for chunk in reply.aiter_bytes():
                    data += chunk
                    if len(data) > MAX_BYTES:
                        raise Unavailable("Amazon SNS answered with more than a certificate or a confirmation has.")
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unavailable(f"Amazon SNS did not answer ({type(error).__name__}).") from error
        if reply.status_code != 200:
            raise Unavailable(f"Amazon SNS answered {reply.status_code}.")
        return bytes(data)
