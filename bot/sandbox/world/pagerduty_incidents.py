"""PagerDuty's REST API, as far as we ask it: incidents are read and changed, and who is on call is read."""

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
    if refused := refused_to(request, token):
        return refused
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


def refused_to(request: web.Request, token: str) -> web.Response | None:
    """The reply to a request without the token or the version; None where both are right."""
    given = request.headers.get("Authorization", "")
    if not hmac.compare_digest(given.encode(), f"Token token={token}".encode()):
        return error(401, "Unauthorized")
    if not request.headers.get("Accept", "").startswith("application/vnd.pagerduty+json;version=2"):
        return error(406, "Not Acceptable")
    return None


def on_calls(request: web.Request, schedules: dict[str, list[str]], token: str) -> web.Response:
    """Who is on call now in the schedules that are asked for, first those who are called first."""
    if refused := refused_to(request, token):
        return refused
    wanted = request.query.getall("schedule_ids[]", list(schedules))
    found = [
        {
            "escalation_level": level,
            "schedule": {"id": name, "type": "schedule_reference"},
            "user": {"id": user, "type": "user_reference", "summary": user},
            "escalation_policy": {"id": "PPOLICY", "type": "escalation_policy_reference"},
            "start": None,
            "end": None,
        }
        for name in wanted
        for level, user in enumerate(schedules.get(name, []), 1)
    ]
    found.reverse()  # PagerDuty promises no order
    return web.json_response({"oncalls": found, "limit": 100, "offset": 0, "more": False, "total": None})


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
