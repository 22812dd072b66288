"""Alertmanager's API v2, reading only: which alerts are there, and are they silenced, by whom, until when, and why?"""

import asyncio
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
MAX_ALL_BYTES = 16_000_000
MAX_SILENCES = 5
# What is asked while alerts wait for the answer.
MUTED_DEADLINE_S = 2.0
MAX_LOOKED_UP = 20
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
        return [one for silence_id in _muting(found)[:MAX_SILENCES] if (one := await self._silence(silence_id))]

    async def muted(self) -> dict[str, Silence]:
        async with asyncio.timeout(MUTED_DEADLINE_S):
            query = {"silenced": "true", "active": "false", "inhibited": "false", "unprocessed": "false"}
            rows = _objects(await self._get("/api/v2/alerts", query, deadline_s=MUTED_DEADLINE_S, attempts=1))
            by_alert = {str(row.get("fingerprint", "")): _muting(row) for row in rows}
            wanted = dict.fromkeys(one for ids in by_alert.values() for one in ids)
            found = {one: await self._silence(one) for one in list(wanted)[:MAX_LOOKED_UP]}
        known = {one: silence for one, silence in found.items() if silence}
        return {
            alert: max((known.get(one, Silence(one, "", "", None)) for one in ids), key=_end_of)
            for alert, ids in by_alert.items()
            if ids
        }

    async def alerts(self) -> list[Json]:
        query = {"active": "true", "silenced": "true", "inhibited": "true", "unprocessed": "true"}
        return _objects(await self._get("/api/v2/alerts", query, max_bytes=MAX_ALL_BYTES))

    async def up_since(self) -> datetime | None:
        return _time(_dict(await self._get("/api/v2/status", {})).get("uptime"))

    async def version(self) -> str:
        found = await self._get("/api/v2/status", {})
        return str(_dict(_dict(found).get("versionInfo")).get("version", ""))

    async def _silence(self, silence_id: str) -> Silence | None:
        try:
            body = await self._get(f"/api/v2/silence/{quote(silence_id, safe='')}", {})
        except NotFound:
            return None  # it ended meanwhile
        return _read(body) if isinstance(body, dict) else None

    async def _get(
        self,
        path: str,
        query: dict[str, str],
        *,
        deadline_s: float = DEADLINE_S,
        attempts: int = 2,
        max_bytes: int = MAX_BYTES,
    ) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return await read_json(
            self.http, f"{self.server.rstrip('/')}{path}", PEER, query=query, headers=headers,
            deadline_s=deadline_s, attempts=attempts, max_bytes=max_bytes,
        )  # fmt: skip


def _read(body: Json) -> Silence:
    ends_at = _time(body.get("endsAt"))
    return Silence(str(body.get("id", "")), str(body.get("createdBy", "")), str(body.get("comment", "")), ends_at)


def _time(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(value))
    except ValueError:
        return None


def _muting(row: Json) -> list[str]:
    """The ids of the silences that mute an alert."""
    ids = _dict(row.get("status")).get("silencedBy")
    return [one for one in ids if isinstance(one, str)] if isinstance(ids, list) else []


def _end_of(silence: Silence) -> float:
    return silence.ends_at.timestamp() if silence.ends_at else 0.0


def _dict(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _objects(rows: Any) -> list[Json]:
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _quoted(value: str) -> str:
    """A label's value as a matcher takes it, so that an alert's text stays a value."""
    escaped = value[:500].replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
