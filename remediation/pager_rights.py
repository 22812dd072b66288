"""What PagerDuty lets our REST key do, asked for `doctor` without paging anybody or changing anything."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from knowledge.errors import Unavailable
from remediation.pager_incidents import BASE_URL, DEADLINE_S, headers_of
from remediation.ports import Json

# An id that PagerDuty gives to nothing: who may write is told that it is not there, who may not is refused before.
NO_INCIDENT = "CODEHEALERDOCTOR"
REFUSED = frozenset({401, 403})


@dataclass(frozen=True)
class PagerDutyKey:
    """PAGERDUTY_TOKEN at PagerDuty's REST API. `sender` is PAGERDUTY_FROM, "" without one."""

    http: httpx.AsyncClient
    token: str = field(repr=False)
    sender: str = ""
    base_url: str = BASE_URL

    async def owner(self) -> str:
        """The user whose key it is, with the role in PagerDuty; "" for a key of the whole account."""
        status, found = await self._ask("GET", "/users/me")
        user = _child(found, "user") if status == 200 else {}
        role = str(user.get("role") or "").replace("_", " ")
        return f"{user.get('name') or user.get('id') or 'a user'}{f' ({role})' if role else ''}" if user else ""

    async def wrong(self, owner: str, schedules: Collection[str]) -> list[str]:
        """What the bot will not be able to do with it, a sentence each.

        Args:
            owner: as `owner()` told.
            schedules: ids that the policy names.

        Raises:
            Unavailable: PagerDuty did not answer.
        """
        status, _ = await self._ask("GET", "/incidents", {"limit": "1"})
        if status in REFUSED:
            return [f"PAGERDUTY_TOKEN may not read incidents ({status})"]
        wrong = [] if status == 200 else [f"reading incidents is answered with {status}"]
        wrong += await self._writing(owner)
        for schedule in sorted(schedules):
            status, _ = await self._ask("GET", f"/schedules/{schedule}")
            if status == 404:
                wrong.append(f"there is no schedule {schedule}")
            elif status in REFUSED:
                wrong.append(f"PAGERDUTY_TOKEN may not read the schedule {schedule} ({status})")
            elif status != 200:
                wrong.append(f"the schedule {schedule} is answered with {status}")
        return wrong

    async def _writing(self, owner: str) -> list[str]:
        if not owner and not self.sender:
            return ["PAGERDUTY_TOKEN is the account's, and PAGERDUTY_FROM, the user that it writes as, is not set"]
        if self.sender:
            status, found = await self._ask("GET", "/users", {"query": self.sender, "limit": "100"})
            people = found.get("users") if isinstance(found, dict) else None
            emails = {str(one.get("email")).lower() for one in people or [] if isinstance(one, dict)}
            if status == 200 and self.sender.lower() not in emails:
                return [f"PagerDuty has no user {self.sender}: correct PAGERDUTY_FROM"]
        note: Json = {"note": {"content": "doctor"}}
        status, _ = await self._ask("POST", f"/incidents/{NO_INCIDENT}/notes", body=note)
        if status in REFUSED:
            return [f"PAGERDUTY_TOKEN may read but not write ({status})"]
        return [] if status == 404 else [f"writing a note is answered with {status}"]

    async def _ask(
        self, method: str, path: str, query: dict[str, str] | None = None, *, body: Json | None = None
    ) -> tuple[int, Any]:
        """(status, JSON or None). Raises Unavailable where there is no answer that tells anything."""
        headers = headers_of(self.token, self.sender)
        url = f"{self.base_url.rstrip('/')}{path}"
        try:
            reply = await self.http.request(
                method, url, params=query, json=body, headers=headers, timeout=DEADLINE_S, follow_redirects=False
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            text = f"PagerDuty did not answer ({type(error).__name__}). Check PAGERDUTY_API_URL and the network."
            raise Unavailable(text) from error
        if reply.status_code == 429 or reply.status_code >= 500:
            raise Unavailable(f"PagerDuty answered {reply.status_code}; it is usually passing.")
        try:
            return reply.status_code, orjson.loads(reply.content)
        except orjson.JSONDecodeError:
            return reply.status_code, None


def _child(found: Any, key: str) -> Json:
    child = found.get(key) if isinstance(found, dict) else None
    return child if isinstance(child, dict) else {}
