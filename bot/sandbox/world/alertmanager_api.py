"""Alertmanager's API v2: the alerts that fire, and silences that keep it from telling anybody."""

import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from bot.sandbox.world.alerts import GENERATOR, Firing, fingerprint, labels_of, texts_of
from bot.sandbox.world.clockwork import parse_time, rfc3339

Json = dict[str, Any]
MAX_SILENCES = 200
_FILTER = re.compile(r'\s*([a-zA-Z_:][\w:]*)\s*(=~|!~|!=|=)\s*(?:"((?:[^"\\]|\\.)*)"|([^"]*))\s*')


class Refusal(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class AlertmanagerApi:
    """`firing` gives the alerts that were sent; `silences` are GettableSilence bodies by id."""

    firing: Callable[[], Sequence[Firing]]
    clock: Callable[[], float]
    silences: dict[str, Json] = field(default_factory=dict)

    async def handle(self, request: web.Request, path: str) -> web.StreamResponse:
        """Answers one request; `path` is what follows the prefix. Errors are bare JSON strings, as the real one's."""
        raw = await request.read()
        try:
            status, body = 200, self._answer(request, path.strip("/"), raw)
        except Refusal as problem:
            status, body = problem.status, str(problem)
        return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")

    def _answer(self, request: web.Request, path: str, raw: bytes) -> Any:
        method = request.method
        if (method, path) == ("GET", "api/v2/status"):
            return {"versionInfo": {"version": "0.29.0"}, "cluster": {"status": "ready"}, "uptime": rfc3339(0)}
        if (method, path) == ("GET", "api/v2/alerts"):
            return self._alerts(request)
        if (method, path) == ("GET", "api/v2/silences"):
            return [self._current(one) for one in self.silences.values()]
        if (method, path) == ("POST", "api/v2/silences"):
            return self._silence(raw)
        if path.startswith("api/v2/silence/"):
            return self._one(method, path.rpartition("/")[2])
        raise Refusal(404, f"path /{path} was not found")

    def _alerts(self, request: web.Request) -> list[Json]:
        matchers = [parse_filter(text) for text in request.query.getall("filter", [])]
        unwanted = {name for name in ("silenced", "active") if request.query.get(name, "true") == "false"}
        rows = []
        for firing in self.firing():
            labels = labels_of(firing)
            silenced_by = self.muting(labels)
            state = "silenced" if silenced_by else "active"
            if state in unwanted or not all(matches(labels, matcher) for matcher in matchers):
                continue
            rows.append(self._alert(firing, labels, silenced_by))
        return rows

    def _alert(self, firing: Firing, labels: dict[str, str], silenced_by: list[str]) -> Json:
        state = "suppressed" if silenced_by else "active"
        return {
            "annotations": texts_of(firing),
            "endsAt": rfc3339(self.clock() + 300),
            "fingerprint": fingerprint(labels),
            "receivers": [{"name": "codehealer" if firing.scenario.source == "alertmanager" else "slack"}],
            "startsAt": rfc3339(firing.broken_at),
            "status": {"inhibitedBy": [], "mutedBy": [], "silencedBy": silenced_by, "state": state},
            "updatedAt": rfc3339(self.clock()),
            "generatorURL": f"{GENERATOR}?g0.expr={labels['alertname']}",
            "labels": labels,
        }

    def muting(self, labels: dict[str, str]) -> list[str]:
        """The ids of the silences that keep quiet about an alert with these labels."""
        return [
            key
            for key, body in self.silences.items()
            if self._current(body)["status"]["state"] == "active" and all(matches(labels, m) for m in body["matchers"])
        ]

    def _current(self, body: Json) -> Json:
        now = self.clock()
        ended = now >= parse_time(body["endsAt"])
        state = "expired" if ended else "active" if now >= parse_time(body["startsAt"]) else "pending"
        return {**body, "status": {"state": state}}

    def _silence(self, raw: bytes) -> Json:
        body = checked(raw)
        key = str(body.get("id") or uuid.uuid4())
        self.silences[key] = {**body, "id": key, "updatedAt": rfc3339(self.clock())}
        while len(self.silences) > MAX_SILENCES:
            self.silences.pop(next(iter(self.silences)))
        return {"silenceID": key}

    def _one(self, method: str, key: str) -> Any:
        if not re.fullmatch(r"[0-9a-f-]{36}", key):
            raise Refusal(422, f"silenceID in path must be of type uuid: {orjson.dumps(key).decode()}")
        if key not in self.silences:
            raise Refusal(404, "")
        if method == "DELETE":
            self.silences[key] = {**self.silences[key], "endsAt": rfc3339(self.clock())}
        return self._current(self.silences[key])


def checked(raw: bytes) -> Json:
    """A PostableSilence, or a Refusal in Alertmanager's words."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise Refusal(400, "parsing silence body failed") from None
    missing = [name for name in ("matchers", "startsAt", "endsAt", "createdBy", "comment") if name not in body]
    if missing:
        raise Refusal(422, f"silence.{missing[0]} in body is required")
    try:
        begins, ends = parse_time(body["startsAt"]), parse_time(body["endsAt"])
    except ValueError:
        raise Refusal(422, "silence.startsAt in body must be of type date-time") from None
    if ends <= begins:
        raise Refusal(400, "Failed to create silence: start time must be before end time")
    if not body["matchers"] or any({"name", "value", "isRegex"} - set(one) for one in body["matchers"]):
        raise Refusal(422, "silence.matchers in body should have at least 1 items")
    kept = {name: body[name] for name in ("matchers", "startsAt", "endsAt", "createdBy", "comment")}
    return {**kept, **({"id": body["id"]} if body.get("id") else {})}


def parse_filter(text: str) -> Json:
    """A filter of a query as a matcher."""
    found = _FILTER.fullmatch(text)
    if found is None:
        raise Refusal(400, f"bad matcher format: {text}")
    value = re.sub(r"\\(.)", r"\1", found[3]) if found[3] is not None else found[4]
    return {"name": found[1], "value": value, "isRegex": "~" in found[2], "isEqual": not found[2].startswith("!")}


def matches(labels: dict[str, str], matcher: Json) -> bool:
    """Whether the labels satisfy a matcher; an absent label counts as empty."""
    value, wanted = labels.get(matcher["name"], ""), matcher["value"]
    found = re.fullmatch(wanted, value) is not None if matcher["isRegex"] else value == wanted
    return found is bool(matcher.get("isEqual", True))
