"""Providers' status pages through the JSON that statuspage.io serves for each (`/api/v2/…`), which many others copy."""

import asyncio
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from knowledge.errors import SettingsError, Unavailable
from remediation.ports import Json, PageState
from remediation.web_reading import Peer, read_json

DEADLINE_S = 4.0
MAX_BYTES = 1_000_000
MAX_PAGES = 12
MAX_INCIDENTS = 3
# A burst of failures asks a page once.
FRESH_S = 60.0
SYMPTOMS = ("ci", "registry", "network")
_ENTRY = re.compile(r"([A-Za-z0-9][A-Za-z0-9 ._-]{0,40}):([a-z+]+)=(https?://[^\s,]+)")


@dataclass(frozen=True, slots=True)
class StatusPage:
    """One page: its name for people, the symptoms it is asked for, and its address without `/api/v2`."""

    name: str
    symptoms: frozenset[str]
    url: str


def parse_pages(entries: Sequence[str]) -> tuple[StatusPage, ...]:
    """Entries such as `GitHub:ci+registry=https://www.githubstatus.com`; the one word `none` is no page.

    Raises:
        SettingsError: which entry is not understood.
    """
    if [entry.lower() for entry in entries] == ["none"]:
        return ()
    pages = []
    for entry in entries:
        match = _ENTRY.fullmatch(entry)
        symptoms = frozenset(match.group(2).split("+")) if match else frozenset()
        if match is None or not symptoms <= set(SYMPTOMS):
            raise SettingsError(
                f"CODEHEALER_STATUS_PAGES: '{entry[:100]}' is not understood. "
                f"Write NAME:SYMPTOM+SYMPTOM=https://ADDRESS, with symptoms of {', '.join(SYMPTOMS)}, or none."
            )
        pages.append(StatusPage(match.group(1), symptoms, match.group(3).rstrip("/")))
    return tuple(pages[:MAX_PAGES])


@dataclass
class StatusPageReader:
    """Implements `ports.StatusPages`. Answers are kept for a minute; they carry no token."""

    http: httpx.AsyncClient
    pages: tuple[StatusPage, ...]
    _kept: dict[str, tuple[float, PageState]] = field(default_factory=dict)

    def names(self, symptoms: Collection[str]) -> list[str]:
        return [page.name for page in self.pages if page.symptoms & set(symptoms)]

    async def ask(self, name: str) -> PageState:
        page = next(page for page in self.pages if page.name == name)
        now = asyncio.get_running_loop().time()
        kept = self._kept.get(name)
        if kept is None or now - kept[0] > FRESH_S:
            kept = self._kept[name] = (now, await self._read(page))
        return kept[1]

    async def _read(self, page: StatusPage) -> PageState:
        status, incidents = await asyncio.gather(
            self._get(page, "/api/v2/status.json"), self._get(page, "/api/v2/incidents/unresolved.json")
        )
        words = status.get("status") or {}
        if not isinstance(words, dict) or "indicator" not in words:
            raise Unavailable(f"{page.name}'s status page says nothing that is understood. Check its address.")
        rows = incidents.get("incidents")
        listed = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        trouble = [_incident(row) for row in listed[:MAX_INCIDENTS]]
        description = str(words.get("description") or words["indicator"])
        if words["indicator"] != "none" and not trouble:
            trouble = [description]
        return PageState(page.name, description[:200], "\n".join(trouble), page.url)

    async def _get(self, page: StatusPage, path: str) -> Json:
        peer = Peer(f"{page.name}'s status page", "CODEHEALER_STATUS_PAGES", "CODEHEALER_STATUS_PAGES")
        body: Any = await read_json(
            self.http, page.url + path, peer, deadline_s=DEADLINE_S, attempts=1, max_bytes=MAX_BYTES
        )
        return body if isinstance(body, dict) else {}


def _incident(row: Json) -> str:
    updates = row.get("incident_updates")
    newest = updates[0] if isinstance(updates, list) and updates and isinstance(updates[0], dict) else {}
    said = " ".join(str(newest.get("body") or "").split())[:300]
    head = f"{row.get('name', 'incident')} ({row.get('impact', 'unknown')} impact, {row.get('status', 'open')})"
    since = row.get("started_at") or row.get("created_at")
    return f"{head}{f', since {since}' if since else ''}{f': {said}' if said else ''}"
