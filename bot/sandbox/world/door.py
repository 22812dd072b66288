"""The way in for every API: records each request and plays the faults that a test or a person asked for."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

Json = dict[str, Any]
Answer = Callable[[web.Request, str], Awaitable[web.StreamResponse]]
MAX_REQUESTS = 5000
MAX_BODY_KEPT = 20_000
SYSTEMS = ("k8s", "github", "argocd", "pagerduty", "prometheus", "alertmanager", "status")


def no_faults() -> dict[str, Json]:
    return {name: {"slow_ms": 0, "error_next": 0, "status": 500, "after_write": False} for name in SYSTEMS}


@dataclass
class Door:
    """`requests` is bounded; `faults` has one row a system: slow_ms, error_next (how many), status, after_write."""

    clock: Callable[[], float]
    requests: list[Json] = field(default_factory=list)
    faults: dict[str, Json] = field(default_factory=no_faults)

    def guard(self, system: str, answer: Answer) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """The handler to put into a route: `answer` gets the request and the path after the system's prefix."""

        async def handler(request: web.Request) -> web.StreamResponse:
            record = await self._record(system, request)
            fault = self.faults.get(system) or {}
            if fault.get("slow_ms"):
                await asyncio.sleep(fault["slow_ms"] / 1000)
            failing = int(fault.get("error_next") or 0) > 0
            if failing:
                fault["error_next"] = int(fault["error_next"]) - 1
            if failing and not fault.get("after_write"):
                return self._fail(record, fault)
            response = await answer(request, request.match_info["tail"])
            record["status"] = response.status
            return self._fail(record, fault) if failing and not response.prepared else response

        return handler

    async def _record(self, system: str, request: web.Request) -> Json:
        body = (await request.read())[:MAX_BODY_KEPT]
        shown: Any = body.decode("utf-8", "replace")
        if body:
            with contextlib.suppress(orjson.JSONDecodeError):  # else kept as text: the record shows whatever came
                shown = orjson.loads(body)
        record = {
            "at": self.clock(),
            "system": system,
            "method": request.method,
            "path": request.path,
            "query": dict(request.query),
            "body": shown,
            "status": 0,
        }
        self.requests.append(record)
        if len(self.requests) > MAX_REQUESTS:
            del self.requests[: len(self.requests) - MAX_REQUESTS]
        return record

    def _fail(self, record: Json, fault: Json) -> web.Response:
        status = int(fault.get("status") or 500)
        record["status"] = status
        text = "the sandbox was asked to fail this request"
        kubernetes = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "reason": "InternalError",
            "code": status,
        }
        body = {**kubernetes, "message": text} if record["system"] == "k8s" else {"message": text, "error": text}
        return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")
