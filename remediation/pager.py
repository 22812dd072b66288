"""PagerDuty's Events API v2: trigger, acknowledge, resolve, with one deduplication key an incident."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from knowledge.errors import Refused, Unavailable
from remediation.writes import noted

DEADLINE_S = 10.0
BASE_URL = "https://events.pagerduty.com"
SUMMARY_CHARS = 1024
SEVERITIES = frozenset({"critical", "error", "warning", "info"})


@dataclass(frozen=True)
class PagerDuty:
    """Implements `ports.Pager`. A repeated event with the same key changes nothing, so it may be retried."""

    http: httpx.AsyncClient
    routing_key: str
    base_url: str = BASE_URL

    async def trigger(
        self,
        dedup_key: str,
        summary: str,
        *,
        severity: str = "error",
        source: str = "codehealer",
        link: str = "",
        details: Mapping[str, str] | None = None,
    ) -> None:
        """Opens an incident, or adds to the one with this key. An unknown severity is sent as "error"."""
        event: dict[str, Any] = {
            "event_action": "trigger",
            "payload": {
                "summary": summary[:SUMMARY_CHARS],
                "source": source or "codehealer",
                "severity": severity if severity in SEVERITIES else "error",
                "custom_details": dict(details or {}),
            },
            "client": "CodeHealer",
        }
        if link:
            event["links"] = [{"href": link, "text": "CodeHealer"}]
        await self._send(dedup_key, event)

    async def acknowledge(self, dedup_key: str) -> None:
        await self._send(dedup_key, {"event_action": "acknowledge"})

    async def resolve(self, dedup_key: str) -> None:
        await self._send(dedup_key, {"event_action": "resolve"})

    async def aclose(self) -> None:
        await self.http.aclose()

    async def _send(self, dedup_key: str, event: dict[str, Any]) -> None:
        body = {"routing_key": self.routing_key, "dedup_key": dedup_key, **event}
        with noted("PagerDuty", f"{event['event_action']} {dedup_key}"):
            await self._enqueue(body)

    async def _enqueue(self, body: dict[str, Any]) -> None:
        try:
            reply = await self.http.post(f"{self.base_url.rstrip('/')}/v2/enqueue", json=body, timeout=DEADLINE_S)
        except httpx.ConnectError as error:
            raise Unavailable("PagerDuty cannot be reached. Check the network and PAGERDUTY_BASE_URL.") from error
        except httpx.HTTPError as error:
            raise Unavailable(f"PagerDuty did not answer ({type(error).__name__}).", maybe_done=True) from error
        if reply.status_code == 429 or reply.status_code >= 500:
            raise Unavailable(f"PagerDuty answered {reply.status_code}; it is usually passing.", maybe_done=True)
        if reply.status_code >= 400:
            raise Refused(f"PagerDuty refused the event ({reply.status_code}). Check PAGERDUTY_ROUTING_KEY.")
