"""Argo CD's REST API, reading only: what an application is, and whether it would undo a direct change."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import stamina

from knowledge.errors import NotFound, Refused, Unavailable
from remediation.ports import Json

DEADLINE_S = 10.0
ATTEMPTS = 3


@dataclass(frozen=True)
class ArgoCdServer:
    """Implements `ports.ArgoCd`. `http` carries no base URL; `server` is ARGOCD_SERVER, a URL."""

    http: httpx.AsyncClient
    server: str
    token: str

    async def application(self, name: str) -> Json:
        found: Json = await self._get(f"/api/v1/applications/{quote(name, safe='')}")
        return found

    async def version(self) -> str:
        found: Json = await self._get("/api/version")
        return str(found.get("Version", ""))

    async def aclose(self) -> None:
        await self.http.aclose()

    async def _get(self, path: str) -> Any:
        async for attempt in stamina.retry_context(
            on=Unavailable, attempts=ATTEMPTS, wait_initial=0.2, wait_max=2.0, timeout=3 * DEADLINE_S
        ):
            with attempt:
                return await self._once(path)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _once(self, path: str) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"}
        try:
            reply = await self.http.get(f"{self.server.rstrip('/')}{path}", headers=headers, timeout=DEADLINE_S)
        except httpx.HTTPError as error:
            text = f"Argo CD did not answer ({type(error).__name__}). Check ARGOCD_SERVER and the network."
            raise Unavailable(text) from error
        if reply.status_code == 404:
            raise NotFound(f"Argo CD has no {path.rsplit('/', 1)[-1]}. Check argocd_app in policy.yaml.")
        if reply.status_code in {401, 403}:
            raise Refused(f"Argo CD forbids it ({reply.status_code}). Check ARGOCD_TOKEN and its role.")
        if reply.status_code == 429 or reply.status_code >= 500:
            raise Unavailable(f"Argo CD answered {reply.status_code}; it is usually passing.")
        if reply.status_code >= 400:
            raise Refused(f"Argo CD refused the request ({reply.status_code}).")
        try:
            return reply.json()
        except ValueError as error:
            raise Unavailable("Argo CD answered with something that is not JSON. Check ARGOCD_SERVER.") from error
