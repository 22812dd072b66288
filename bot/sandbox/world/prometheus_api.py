"""Prometheus' HTTP API over what the world's objects say: a few series, sampled by the clock, and instant queries.

It evaluates selectors and `sum(…)` alone and refuses all other PromQL, so that nothing looks measured that was not.
"""

import re
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from bot.sandbox.world.clockwork import parse_time
from bot.sandbox.world.cluster import Cluster
from bot.sandbox.world.objects import is_ready

Json = dict[str, Any]
Labels = tuple[tuple[str, str], ...]
Values = dict[tuple[str, Labels], float]
MAX_SAMPLES = 400
_QUERY = re.compile(r"\s*(?:(sum)\s*\()?\s*([a-zA-Z_:][\w:]*)\s*(?:\{(.*)\})?\s*(\))?\s*", re.DOTALL)
_MATCHER = re.compile(r'\s*([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"\s*(?:,|\Z)')


class QueryError(Exception):
    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


def measure(cluster: Cluster) -> Values:
    """Every series at this moment, under the names that kube-state-metrics gives them."""
    values: Values = {}
    for live in cluster.store.all("deployments"):
        meta = live["metadata"]
        labels: Labels = (("deployment", meta["name"]), ("namespace", meta["namespace"]))
        values["kube_deployment_spec_replicas", labels] = live["spec"].get("replicas", 1)
        ready = (live.get("status") or {}).get("readyReplicas", 0)
        values["kube_deployment_status_replicas_ready", labels] = ready
    for pod in cluster.store.all("pods"):
        meta, container = pod["metadata"], pod["spec"]["containers"][0]["name"]
        labels = (("container", container), ("namespace", meta["namespace"]), ("pod", meta["name"]))
        values["kube_pod_container_status_restarts_total", labels] = cluster.container(pod).restarts
        values["kube_pod_container_status_ready", labels] = float(is_ready(pod))
    return values


@dataclass
class PrometheusApi:
    """`samples` are (Unix seconds, values), oldest first; before the first one it is as at the first."""

    cluster: Cluster
    every: float
    samples: deque[tuple[float, Values]] = field(default_factory=lambda: deque(maxlen=MAX_SAMPLES))

    def look(self) -> None:
        """Takes a sample when one is due."""
        now = self.cluster.clock()
        if not self.samples or now - self.samples[-1][0] >= self.every:
            self.samples.append((now, measure(self.cluster)))

    async def handle(self, request: web.Request, path: str) -> web.StreamResponse:
        """Answers one request; `path` is what follows the prefix."""
        query = {**request.query, **({k: str(v) for k, v in (await request.post()).items()})}
        try:
            body, status = {"status": "success", "data": self._answer(path.strip("/"), query)}, 200
        except QueryError as problem:
            body, status = {"status": "error", "errorType": problem.kind, "error": str(problem)}, problem.status
        return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")

    def _answer(self, path: str, query: dict[str, str]) -> Json:
        if path == "api/v1/status/buildinfo":
            return {"version": "3.5.0", "revision": "sandbox", "goVersion": "go1.24"}
        if path != "api/v1/query":
            raise QueryError(404, "not_found", "not found")
        at = moment(query["time"]) if query.get("time") else self.cluster.clock()
        limit = query.get("limit", "0")
        if not limit.isdigit():
            raise QueryError(400, "bad_data", 'invalid parameter "limit"')
        rows = evaluate(query.get("query", ""), self._values(at))
        shown = rows[: int(limit)] if int(limit) else rows
        result = [{"metric": labels, "value": [at, f"{value:g}"]} for labels, value in shown]
        return {"resultType": "vector", "result": result}

    def _values(self, at: float) -> Values:
        if at >= self.cluster.clock() - 1:
            return measure(self.cluster)
        earlier = [values for when, values in self.samples if when <= at]
        return earlier[-1] if earlier else self.samples[0][1] if self.samples else {}


def moment(text: str) -> float:
    """Unix seconds from either form that Prometheus takes."""
    try:
        return float(text) if re.fullmatch(r"-?[\d.]+", text) else parse_time(text)
    except ValueError:
        raise QueryError(400, "bad_data", f'invalid parameter "time": cannot parse "{text}"') from None


def evaluate(query: str, values: Values) -> list[tuple[dict[str, str], float]]:
    """(labels, value) rows of a selector, or of its sum."""
    found = _QUERY.fullmatch(query)
    if not query.strip() or found is None or bool(found[1]) != bool(found[4]):
        if not query.strip() or query.count("(") != query.count(")") or query.count("{") != query.count("}"):
            raise QueryError(400, "bad_data", 'invalid parameter "query": parse error')
        raise QueryError(422, "execution", "the sandbox evaluates selectors and sum(selector) only")
    matchers = parse_matchers(found[3] or "")
    rows = [
        (dict(labels), value)
        for (name, labels), value in sorted(values.items())
        if name == found[2] and all(holds(dict(labels).get(key, ""), how, text) for key, how, text in matchers)
    ]
    if found[1]:
        return [({}, sum(value for _, value in rows))] if rows else []
    return [({"__name__": found[2], **labels}, value) for labels, value in rows]


def parse_matchers(text: str) -> list[tuple[str, str, str]]:
    """(label, operator, value) of what stands between the braces; QueryError for anything else there."""
    matchers, position = [], 0
    while text[position:].strip():
        found = _MATCHER.match(text, position)
        if found is None:
            raise QueryError(400, "bad_data", 'invalid parameter "query": parse error: unexpected character')
        value = re.sub(r"\\(.)", r"\1", found[3])
        if "~" in found[2]:
            checked_expression(value)
        matchers.append((found[1], found[2], value))
        position = found.end()
    return matchers


def holds(value: str, how: str, text: str) -> bool:
    """Whether a label's value satisfies a matcher; expressions are anchored, as Prometheus has it."""
    if how in {"=~", "!~"}:
        return (re.fullmatch(text, value) is not None) is (how == "=~")
    return (value == text) is (how == "=")


def checked_expression(text: str) -> None:
    try:
        re.compile(text)
    except re.error as error:
        raise QueryError(400, "bad_data", f"error parsing regexp: {error}") from None
