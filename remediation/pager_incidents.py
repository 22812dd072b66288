"""PagerDuty's REST API: others' incidents there are acknowledged, noted on and resolved; and who is on call is read.

What we open ourselves goes through the Events API (`remediation/pager.py`), which needs no user.
"""

import re
from dataclasses import dataclass, field

import httpx

from knowledge.errors import BadInput
from remediation.ports import Json
from remediation.web_reading import Peer, read_json
from remediation.web_writing import write_json
from remediation.writes import noted

BASE_URL = "https://api.pagerduty.com"
DEADLINE_S = 10.0
NOTE_CHARS = 2_000
PEER = Peer("PagerDuty", "PAGERDUTY_API_URL", "PAGERDUTY_TOKEN and PAGERDUTY_FROM")
# Ids are letters and digits; anything else would name another path.
_ID = re.compile(r"[A-Za-z0-9]{1,40}")


@dataclass(frozen=True)
class PagerDutyIncidents:
    """Implements `ports.PagerIncidents` and `ports.Schedules`.

    `sender` is the e-mail address of the account's user who it is done as.
    """

    http: httpx.AsyncClient
    token: str = field(repr=False)
    sender: str
    base_url: str = BASE_URL

    async def acknowledge(self, incident_id: str, note: str) -> bool:
        # A resolved one would be opened again by it, and a repeat would note the same twice.
        if await self._status(incident_id) != "triggered":
            return False
        await self._update(incident_id, {"status": "acknowledged"})
        await self._write("POST", f"/incidents/{incident_id}/notes", {"note": {"content": note[:NOTE_CHARS]}})
        return True

    async def resolve(self, incident_id: str, note: str) -> bool:
        if await self._status(incident_id) == "resolved":
            return False
        await self._update(incident_id, {"status": "resolved", "resolution": note[:NOTE_CHARS]})
        return True

    async def on_call(self, schedule_id: str) -> list[str]:
        if not _ID.fullmatch(schedule_id):
            raise BadInput("PagerDuty's schedule has no id that could be asked for.")
        # Without since and until it is this moment that is asked about.
        query = {"schedule_ids[]": schedule_id, "earliest": "true", "limit": "100"}
        url = f"{self.base_url.rstrip('/')}/oncalls"
        found = await read_json(self.http, url, PEER, query=query, headers=self._headers(), deadline_s=DEADLINE_S)
        entries = found.get("oncalls") if isinstance(found, dict) else None
        # A schedule may be on several levels of an escalation policy: who is asked first comes first.
        ranked = sorted((one for one in entries or [] if isinstance(one, dict)), key=_level)
        ids = [str((one.get("user") or {}).get("id") or "") for one in ranked]
        return list(dict.fromkeys(filter(None, ids)))

    async def _status(self, incident_id: str) -> str:
        if not _ID.fullmatch(incident_id):
            raise BadInput("PagerDuty's incident has no id that could be asked for.")
        url = f"{self.base_url.rstrip('/')}/incidents/{incident_id}"
        found = await read_json(self.http, url, PEER, headers=self._headers(), deadline_s=DEADLINE_S)
        incident = found.get("incident") if isinstance(found, dict) else None
        return str((incident or {}).get("status") or "")

    async def _update(self, incident_id: str, changes: Json) -> None:
        await self._write("PUT", f"/incidents/{incident_id}", {"incident": {"type": "incident_reference", **changes}})

    async def _write(self, method: str, path: str, body: Json) -> None:
        url = f"{self.base_url.rstrip('/')}{path}"
        with noted("PagerDuty", f"{method} {path}"):
            await write_json(self.http, method, url, PEER, body=body, headers=self._headers(), deadline_s=DEADLINE_S)

    def _headers(self) -> dict[str, str]:
        return headers_of(self.token, self.sender)


def headers_of(token: str, sender: str) -> dict[str, str]:
    """What a request carries. A user's own key names the user itself, and needs no `sender`."""
    return {
        "Authorization": f"Token token={token}",
        "Accept": "application/vnd.pagerduty+json;version=2",
        **({"From": sender} if sender else {}),
    }


def _level(entry: Json) -> int:
    level = entry.get("escalation_level")
    return level if isinstance(level, int) else 0
