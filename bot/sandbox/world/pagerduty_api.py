"""PagerDuty's Events API v2: takes events, keeps the alerts by deduplication key; and others' incidents."""

import hmac
import uuid
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from bot.sandbox.world import pagerduty_account
from bot.sandbox.world.pagerduty_incidents import answer, error, incident, on_calls

Json = dict[str, Any]
MAX_BYTES = 512 * 1024
MAX_ALERTS = 500


@dataclass
class PagerdutyApi:
    """`alerts` by dedup_key: status, the trigger's payload and every action that came; `incidents` are others'."""

    routing_key: str
    token: str
    alerts: dict[str, Json] = field(default_factory=dict)
    incidents: dict[str, Json] = field(default_factory=dict)
    schedules: dict[str, list[str]] = field(default_factory=dict)  # ids of the people on call, by schedule
    read_only: bool = False  # whether the token is
    users: tuple[str, ...] = pagerduty_account.USERS  # by e-mail address

    def opened(self, title: str, url: str = "http://pagerduty.example") -> Json:
        """An incident that somebody opened there."""
        made = incident(f"Q{len(self.incidents) + 1}SANDBOX", title, url)
        self.incidents[made["id"]] = made
        return made

    async def handle(self, request: web.Request, path: str) -> web.StreamResponse:
        """Answers one request; `path` is what follows the prefix."""
        if path.strip("/").startswith("incidents/"):
            if self.read_only and request.method != "GET":
                return error(403, "Access Denied")
            return await answer(request, path.strip("/"), self.incidents, self.token)
        if path.strip("/") == "oncalls" and request.method == "GET":
            return on_calls(request, self.schedules, self.token)
        if request.method == "GET" and (found := pagerduty_account.answer(request, path.strip("/"), self)):
            return found
        if path.strip("/") != "v2/enqueue" or request.method != "POST":
            return web.json_response({"status": "not found", "message": "Not Found"}, status=404)
        raw = await request.read()
        if len(raw) > MAX_BYTES:
            return refuse("Event object exceeds size limit", 413)
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError:
            body = None
        problems = check(body, self.routing_key)
        if problems:
            return refuse("Event object is invalid", 400, problems)
        return web.json_response(self._take(body), status=202)

    def _take(self, body: Json) -> Json:
        key = body.get("dedup_key") or uuid.uuid4().hex
        action = body["event_action"]
        known = self.alerts.setdefault(key, {"status": "triggered", "actions": [], "payload": body.get("payload", {})})
        known["actions"].append(action)
        known["status"] = {"trigger": "triggered", "acknowledge": "acknowledged", "resolve": "resolved"}[action]
        while len(self.alerts) > MAX_ALERTS:
            self.alerts.pop(next(iter(self.alerts)))
        return {"status": "success", "message": "Event processed", "dedup_key": key}


def refuse(message: str, status: int, errors: list[str] | None = None) -> web.Response:
    return web.json_response({"status": "invalid event", "message": message, "errors": errors or []}, status=status)


def check(body: Any, routing_key: str) -> list[str]:
    """What is wrong with an event, in PagerDuty's words; empty when nothing is."""
    if not isinstance(body, dict):
        return ["Event object is not valid JSON"]
    given = body.get("routing_key")
    if not isinstance(given, str) or not hmac.compare_digest(given.encode(), routing_key.encode()):
        return ["Invalid routing key"]
    action = body.get("event_action")
    if action not in {"trigger", "acknowledge", "resolve"}:
        return ["'event_action' must be one of trigger, acknowledge, resolve"]
    if action != "trigger":
        return [] if body.get("dedup_key") else ["'dedup_key' is missing or blank"]
    payload = body.get("payload")
    if not isinstance(payload, dict):
        return ["'payload' is missing or blank"]
    problems = [f"'payload.{k}' is missing or blank" for k in ("summary", "source", "severity") if not payload.get(k)]
    if payload.get("severity") not in {None, "", "critical", "error", "warning", "info"}:
        problems.append("'payload.severity' must be one of critical, warning, error, info")
    if len(str(payload.get("summary", ""))) > 1024:
        problems.append("'payload.summary' is too long (maximum 1024 characters)")
    return problems
