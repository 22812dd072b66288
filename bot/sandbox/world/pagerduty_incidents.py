"""PagerDuty's REST API, as far as incidents go: one is read, acknowledged, resolved and noted on."""

import hmac
import re
import uuid
from typing import Any

from aiohttp import web

Json = dict[str, Any]
_PATH = re.compile(r"incidents/([A-Za-z0-9]+)(/notes)?")
STATUSES = frozenset({"triggered", "acknowledged", "resolved"})


def error(status: int, message: str, *errors: str) -> web.Response:
    return web.json_response({"error": {"code": 2001, "message": message, "errors": list(errors)}}, status=status)


def incident(number: str, title: str, url: str) -> Json:
    """One that somebody opened, as it is kept and shown."""
    return {
        "id": number,
        "type": "incident",
        "summary": f"[#1] {title}",
        "title": title,
        "self": f"{url}/incidents/{number}",
        "html_url": f"{url}/incidents/{number}",
        "incident_number": 1,
        "incident_key": uuid.uuid4().hex,
        "status": "triggered",
        "urgency": "high",
        "notes": [],
    }


async def answer(request: web.Request, path: str, incidents: dict[str, Json], token: str) -> web.Response:
    """The reply to one request; `incidents` by id."""
    given = request.headers.get("Authorization", "")
    if not hmac.compare_digest(given.encode(), f"Token token={token}".encode()):
        return error(401, "Unauthorized")
    if not request.headers.get("Accept", "").startswith("application/vnd.pagerduty+json;version=2"):
        return error(406, "Not Acceptable")
    found = _PATH.fullmatch(path)
    known = incidents.get(found[1]) if found else None
    if found is None or known is None:
        return error(404, "Not Found")
    if request.method == "GET" and not found[2]:
        return web.json_response({"incident": known})
    if "@" not in request.headers.get("From", ""):
        return error(400, "Invalid Input Provided", "From header is required and must be a valid user's email")
    body = await request.json()
    return _note(known, body) if found[2] and request.method == "POST" else _change(known, body)


def _note(known: Json, body: Json) -> web.Response:
    content = (body.get("note") or {}).get("content")
    if not isinstance(content, str) or not content:
        return error(400, "Invalid Input Provided", "Content cannot be empty")
    known["notes"].append(content)
    return web.json_response({"note": {"id": uuid.uuid4().hex[:7].upper(), "content": content}})


def _change(known: Json, body: Json) -> web.Response:
    changes = body.get("incident") or {}
    if changes.get("type") not in {"incident", "incident_reference"} or changes.get("status") not in STATUSES:
        return error(400, "Invalid Input Provided", "Incident type and status are required")
    if known["status"] == "resolved" and changes["status"] == "resolved":
        return error(400, "Invalid Input Provided", "Incident Already Resolved")
    known["status"] = changes["status"]
    if changes.get("resolution"):
        known["notes"].append(changes["resolution"])
    return web.json_response({"incident": known})
