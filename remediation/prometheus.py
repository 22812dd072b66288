"""Prometheus' HTTP API, instant queries only. Thanos, Mimir and VictoriaMetrics answer the same."""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from knowledge.errors import Refused, Unavailable
from remediation.ports import Sample
from remediation.web_reading import Peer, read_json

DEADLINE_S = 5.0
MAX_SERIES = 20
MAX_BYTES = 1_000_000
PEER = Peer("Prometheus", "PROMETHEUS_URL", "PROMETHEUS_TOKEN")


@dataclass(frozen=True)
class PrometheusServer:
    """Implements `ports.Metrics`. `server` is PROMETHEUS_URL; `token` a bearer token, "" for none."""

    http: httpx.AsyncClient
    server: str
    token: str = ""

    async def query(self, promql: str, at: datetime) -> list[Sample]:
        # `limit` is newer than many servers, which ignore it; what they send beyond it is cut off here.
        query = {
            "query": promql,
            "time": f"{at.timestamp():.3f}",
            "timeout": f"{DEADLINE_S:.0f}s",
            "limit": str(MAX_SERIES),
        }
        data = await self._data("/api/v1/query", query)
        return _samples(data)[:MAX_SERIES]

    async def version(self) -> str:
        found = await self._data("/api/v1/status/buildinfo", {})
        return str(found.get("version", ""))

    async def _data(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        body = await read_json(
            self.http, f"{self.server.rstrip('/')}{path}", PEER, query=query, headers=headers,
            deadline_s=DEADLINE_S, attempts=2, max_bytes=MAX_BYTES,
        )  # fmt: skip
        data = body.get("data") if isinstance(body, dict) else None
        if not isinstance(data, dict) or body.get("status") != "success":
            raise Unavailable("Prometheus answered with something that it never says. Check PROMETHEUS_URL.")
        return data


def _samples(data: dict[str, Any]) -> list[Sample]:
    kind, result = data.get("resultType"), data.get("result")
    if kind == "scalar" and isinstance(result, list):
        return [Sample({}, _number(result))]
    if kind == "vector" and isinstance(result, list):
        rows = [row for row in result if isinstance(row, dict)]
        # A native histogram has no single value.
        return [Sample(_labels(row.get("metric")), _number(row.get("value"))) for row in rows if row.get("value")]
    raise Refused(
        f"A query of policy.yaml's metrics gives a {kind}, not one value a series. Take a rate or a sum of it."
    )


def _labels(metric: Any) -> dict[str, str]:
    return {str(k): str(v) for k, v in metric.items()} if isinstance(metric, dict) else {}


def _number(pair: Any) -> float:
    try:
        return float(pair[1])
    except (TypeError, ValueError, IndexError):
        return math.nan
