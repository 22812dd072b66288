"""Providers' status pages, as statuspage.io serves them: a page a provider, all well until told otherwise."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from bot.sandbox.world.clockwork import rfc3339

Json = dict[str, Any]
DESCRIPTIONS = {
    "none": "All Systems Operational",
    "minor": "Minor Service Outage",
    "major": "Partial System Outage",
    "critical": "Major Service Outage",
}


@dataclass
class StatusApi:
    """`pages` holds the open incidents of each provider, as incidents of statuspage.io's public API."""

    clock: Callable[[], float]
    pages: dict[str, list[Json]] = field(default_factory=lambda: {"github": [], "registry": [], "cloud": []})

    def trouble(self, page: str, name: str, *, impact: str = "major", said: str = "We are investigating.") -> None:
        """A provider says that something of it is broken. KeyError for a page that is not there."""
        now = rfc3339(self.clock())
        update = {"id": "u1", "status": "investigating", "body": said, "created_at": now, "updated_at": now}
        row = {
            "id": f"{page}-{len(self.pages[page]) + 1}",
            "name": name,
            "status": "investigating",
            "impact": impact,
            "created_at": now,
            "updated_at": now,
            "started_at": now,
            "resolved_at": None,
            "shortlink": f"https://stspg.example/{page}",
            "incident_updates": [update],
        }
        self.pages[page].insert(0, row)

    async def handle(self, request: web.Request, path: str) -> web.StreamResponse:
        """Answers one request; `path` is what follows the prefix."""
        name, _, rest = path.strip("/").partition("/")
        rows = self.pages.get(name)
        if rows is None or request.method != "GET":
            return web.json_response({"error": "not found"}, status=404)
        page = {
            "id": name,
            "name": name.capitalize(),
            "url": f"https://{name}.example",
            "time_zone": "Etc/UTC",
            "updated_at": rfc3339(self.clock()),
        }
        if rest == "api/v2/status.json":
            worst = max((row["impact"] for row in rows), key=list(DESCRIPTIONS).index, default="none")
            return web.json_response({"page": page, "status": {"indicator": worst, "description": DESCRIPTIONS[worst]}})
        if rest == "api/v2/incidents/unresolved.json":
            return web.json_response({"page": page, "incidents": rows})
        return web.json_response({"error": "not found"}, status=404)
