"""Argo CD's REST API: what an application is, why it is out of sync, what its revisions were; sync and rollback."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from knowledge.errors import CodeHealerError, Conflict, Refused, Unavailable
from remediation.ports import ApplicationList, Json
from remediation.web_reading import MAX_BYTES, Peer, read_json
from remediation.web_writing import write_json
from remediation.writes import noted

DEADLINE_S = 10.0
MAX_ALL_BYTES = 32_000_000
PEER = Peer("Argo CD", "ARGOCD_SERVER and argocd_app in policy.yaml", "ARGOCD_TOKEN and its role")


@dataclass(frozen=True)
class ArgoCdServer:
    """Implements `ports.ArgoCd`. `http` carries no base URL; `server` is ARGOCD_SERVER, a URL."""

    http: httpx.AsyncClient
    server: str
    token: str

    async def application(self, name: str) -> Json:
        return await self._object(f"/api/v1/applications/{_part(name)}")

    async def applications(self) -> ApplicationList:
        found = await self._object("/api/v1/applications", max_bytes=MAX_ALL_BYTES)
        return ApplicationList(tuple(_rows(found.get("items"))), {})

    async def managed_resources(self, name: str) -> list[Json]:
        """The application's resources with their live and wanted state as JSON texts; Argo CD masks Secrets itself."""
        found = await self._object(f"/api/v1/applications/{_part(name)}/managed-resources")
        return _rows(found.get("items"))

    async def resource_tree(self, name: str) -> list[Json]:
        found = await self._object(f"/api/v1/applications/{_part(name)}/resource-tree")
        return _rows(found.get("nodes"))

    async def revision(self, name: str, revision: str) -> Json:
        return await self._object(f"/api/v1/applications/{_part(name)}/revisions/{_part(revision)}/metadata")

    async def sync(
        self,
        name: str,
        *,
        revision: str = "",
        prune: bool = False,
        dry_run: bool = False,
        infos: Mapping[str, str] | None = None,
    ) -> Json:
        body: Json = {
            "name": name,
            "prune": prune,
            "dryRun": dry_run,
            "infos": [{"name": key, "value": value} for key, value in (infos or {}).items()],
        }
        if revision:
            body["revision"] = revision
        return await self._operate(name, "sync", body)

    async def rollback(self, name: str, deployed_id: int, *, dry_run: bool = False) -> Json:
        return await self._operate(name, "rollback", {"name": name, "id": deployed_id, "dryRun": dry_run})

    async def _operate(self, name: str, verb: str, body: Json) -> Json:
        path = f"/api/v1/applications/{_part(name)}/{verb}"
        url = f"{self.server.rstrip('/')}{path}"
        headers = {"Authorization": f"Bearer {self.token}"}
        try:
            with noted("Argo CD", f"POST {path}{' (dry run)' if body['dryRun'] else ''}"):
                _, found = await write_json(
                    self.http, "POST", url, PEER, body=body, headers=headers, deadline_s=DEADLINE_S
                )  # fmt: skip
        except Refused as error:
            raise _named(error, name) from error
        return found if isinstance(found, dict) else {}

    async def may(self, action: str, application: Json) -> bool:
        """Whether the token may do this to an application as it is listed."""
        project = str((application.get("spec") or {}).get("project") or "default")
        name = str((application.get("metadata") or {}).get("name", ""))
        path = f"/api/v1/account/can-i/applications/{_part(action)}/{_part(project)}/{_part(name)}"
        return (await self._object(path)).get("value") == "yes"

    async def version(self) -> str:
        return str((await self._object("/api/version")).get("Version", ""))

    async def aclose(self) -> None:
        await self.http.aclose()

    async def _object(self, path: str, *, max_bytes: int = MAX_BYTES) -> Json:
        headers = {"Authorization": f"Bearer {self.token}"}
        found: Any = await read_json(
            self.http, f"{self.server.rstrip('/')}{path}", PEER,
            headers=headers, deadline_s=DEADLINE_S, max_bytes=max_bytes,
        )  # fmt: skip
        if not isinstance(found, dict):
            raise Unavailable("Argo CD answered with something else than an object. Check ARGOCD_SERVER.")
        return found


def _named(error: Refused, name: str) -> CodeHealerError:
    """Argo CD's refusals that mean something to us, with the next step."""
    said = str(error)
    if "in progress" in said:
        return Conflict(f"Another operation is in progress on {name}. Wait for its end.")
    if "forbids it" in said:
        # Argo CD asks for the right `sync` for both verbs.
        line = f"p, role:codehealer, applications, sync, */{name}, allow"
        return Refused(f"{said} Its role needs the line: {line}.")
    return error


def _part(name: str) -> str:
    return quote(name, safe="")


def _rows(found: Any) -> list[Json]:
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []
