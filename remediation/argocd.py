"""Argo CD's REST API, reading only: what an application is, why it is out of sync, and what its revisions were."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from knowledge.errors import Unavailable
from remediation.ports import Json
from remediation.web_reading import Peer, read_json

DEADLINE_S = 10.0
PEER = Peer("Argo CD", "ARGOCD_SERVER and argocd_app in policy.yaml", "ARGOCD_TOKEN and its role")


@dataclass(frozen=True)
class ArgoCdServer:
    """Implements `ports.ArgoCd`. `http` carries no base URL; `server` is ARGOCD_SERVER, a URL."""

    http: httpx.AsyncClient
    server: str
    token: str

    async def application(self, name: str) -> Json:
        return await self._object(f"/api/v1/applications/{_part(name)}")

    async def managed_resources(self, name: str) -> list[Json]:
        """The application's resources with their live and wanted state as JSON texts; Argo CD masks Secrets itself."""
        found = await self._object(f"/api/v1/applications/{_part(name)}/managed-resources")
        return _rows(found.get("items"))

    async def resource_tree(self, name: str) -> list[Json]:
        found = await self._object(f"/api/v1/applications/{_part(name)}/resource-tree")
        return _rows(found.get("nodes"))

    async def revision(self, name: str, revision: str) -> Json:
        return await self._object(f"/api/v1/applications/{_part(name)}/revisions/{_part(revision)}/metadata")

    async def version(self) -> str:
        return str((await self._object("/api/version")).get("Version", ""))

    async def aclose(self) -> None:
        await self.http.aclose()

    async def _object(self, path: str) -> Json:
        headers = {"Authorization": f"Bearer {self.token}"}
        found: Any = await read_json(
            self.http, f"{self.server.rstrip('/')}{path}", PEER, headers=headers, deadline_s=DEADLINE_S
        )
        if not isinstance(found, dict):
            raise Unavailable("Argo CD answered with something else than an object. Check ARGOCD_SERVER.")
        return found


def _part(name: str) -> str:
    return quote(name, safe="")


def _rows(found: Any) -> list[Json]:
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
