"""Alertmanager's API v2, reading only: is an alert silenced, by whom, until when, and why?"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx

from knowledge.errors import NotFound
from remediation.ports import Json, Silence
from remediation.web_reading import Peer, read_json

DEADLINE_S = 5.0
MAX_BYTES = 4_000_000
MAX_SILENCES = 5
PEER = Peer("Alertmanager", "ALERTMANAGER_URL", "ALERTMANAGER_TOKEN")


@dataclass(frozen=True)
class AlertmanagerServer:
    """Implements `ports.Silences`. `server` is ALERTMANAGER_URL; `token` a bearer token, "" for none."""

    http: httpx.AsyncClient
    server: str
    token: str = ""

    async def silences_of(self, alertname: str, fingerprint: str) -> list[Silence]:
        # Which silences match is Alertmanager's own knowledge: it is asked for the alert, not for the matchers.
        query = {"filter": f"alertname={_quoted(alertname)}", "silenced": "true", "inhibited": "true", "active": "true"}
        rows = await self._get("/api/v2/alerts", query)
        found = next((row for row in _objects(rows) if row.get("fingerprint") == fingerprint), {})
        ids = _dict(found.get("status")).get("silencedBy")
        muting = [one for one in ids if isinstance(one, str)] if isinstance(ids, list) else []
        return [one for silence_id in muting[:MAX_SILENCES] if (one := await self._silence(silence_id))]

    async def version(self) -> str:
        found = await self._get("/api/v2/status", {})
        return str(_dict(_dict(found).get("versionInfo")).get("version", ""))

    async def _silence(self, silence_id: str) -> Silence | None:
        try:
            body = await self._get(f"/api/v2/silence/{quote(silence_id, safe='')}", {})
        except NotFound:
            return None  # it ended meanwhile
        return _read(body) if isinstance(body, dict) else None

    async def _get(self, path: str, query: dict[str, str]) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return await read_json(
            self.http, f"{self.server.rstrip('/')}{path}", PEER, query=query, headers=headers,
            deadline_s=DEADLINE_S, attempts=2, max_bytes=MAX_BYTES,
        )  # fmt: skip


def _read(body: Json) -> Silence:
    try:
        ends_at = datetime.fromisoformat(str(body.get("endsAt", "")))
    except ValueError:
        ends_at = None
    return Silence(str(body.get("id", "")), str(body.get("createdBy", "")), str(body.get("comment", "")), ends_at)


def _dict(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _objects(rows: Any) -> list[Json]:
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _quoted(value: str) -> str:
    """A label's value as a matcher takes it, so that an alert's text stays a value."""
    escaped = value[:500].replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
