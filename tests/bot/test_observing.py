"""What a job says of itself: ids in its log lines, its time, and its span in the trace of its incident."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from bot import tracing
from bot.jobs import DurableJobs
from bot.observing import about, observing
from bot.queues.memory import MemoryQueue
from bot.queues.worker import QueuedJobs
from knowledge import telemetry
from knowledge.errors import SettingsError
from tests.rows import opened


@pytest.mark.parametrize(
    ("lock", "arguments", "ids"),
    [
        (None, {"incident_id": 7}, {"incident_id": 7}),
        ("incident:7", {"execution_id": 9}, {"incident_id": 7, "execution_id": 9}),
        ("approval:3", {"click": {"incident_id": 7, "approval_id": 3, "comment": "free text"}},
         {"incident_id": 7, "approval_id": 3}),
        ("channel:C1", {"channel": "C1"}, {}),
        ("incident:x", {"incident_id": "free text"}, {}),
    ],
)  # fmt: skip
def test_a_job_is_about_the_rows_that_it_names(lock: str, arguments: dict[str, Any], ids: dict[str, int]) -> None:
    assert about(lock, arguments) == ids


def done() -> float:
    labels = {"stage": "verify", "result": "done"}
    return telemetry.REGISTRY.get_sample_value("codehealer_jobs_total", labels) or 0.0


@pytest.mark.parametrize("kind", ["postgres", "memory"])
async def test_log_lines_of_a_job_carry_incident_and_execution(conninfo: str, database_url: str, kind: str) -> None:
    seen: list[dict[str, Any]] = []
    stop = asyncio.Event()

    async def stage(execution_id: int) -> None:
        await asyncio.sleep(0)
        seen.append({**structlog.contextvars.get_contextvars(), "given": execution_id})
        if len(seen) == 2:
            stop.set()

    jobs = (
        QueuedJobs(MemoryQueue(), {"verify": stage}) if kind == "memory" else DurableJobs(conninfo, {"verify": stage})
    )
    before = telemetry.REGISTRY.get_sample_value("codehealer_jobs_total", {"stage": "verify", "result": "done"}) or 0
    async with opened(database_url) as engine, asyncio.timeout(30):
        async with engine.begin() as db:
            for number in (1, 2):
                await jobs.enqueue(db, "verify", lock=f"incident:{number}", execution_id=10 + number)
        await jobs.run(stop)
    assert sorted(seen, key=lambda one: one["given"]) == [
        {"stage": "verify", "incident_id": number, "execution_id": 10 + number, "given": 10 + number}
        for number in (1, 2)
    ]
    assert (
        telemetry.REGISTRY.get_sample_value("codehealer_jobs_total", {"stage": "verify", "result": "done"})
        == before + 2
    )
    assert structlog.contextvars.get_contextvars() == {}


@asynccontextmanager
async def collector() -> AsyncIterator[tuple[str, list[Span]]]:
    """An OTLP receiver: its address, and the spans that it was sent."""
    spans: list[Span] = []

    async def receive(request: web.Request) -> web.Response:
        sent = ExportTraceServiceRequest.FromString(await request.read())
        spans.extend(span for of in sent.resource_spans for scope in of.scope_spans for span in scope.spans)
        return web.Response(content_type="application/x-protobuf")

    app = web.Application()
    app.add_routes([web.post("/v1/traces", receive)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", spans
    finally:
        await runner.cleanup()


async def test_the_stages_of_an_incident_are_one_trace_across_restarts_without_words() -> None:
    secret = "hunter" + "2-in-an-error"
    async with collector() as (address, spans):
        tracing.start(f"{address}/", "an installation")
        with observing("gather_evidence", "incident:7", {"incident_id": 7}):
            pass
        await tracing.stop()
        tracing.start(address, "an installation")  # another process, much later
        with pytest.raises(ValueError, match=secret), observing("execute", "incident:7", {"execution_id": 3}):
            raise ValueError(secret)
        with observing("diagnose", "incident:8", {"incident_id": 8}):
            pass
        tracing.incident_span(7, datetime(2026, 11, 23, 9, tzinfo=UTC), "healed")
        await tracing.stop()
        with observing("verify", "incident:7", {"execution_id": 3}):
            pass  # off by now
    by_name = {span.name: span for span in spans}
    assert sorted(by_name) == ["diagnose", "execute", "gather_evidence", "incident"]
    first = by_name["incident"]
    assert not first.parent_span_id
    assert first.start_time_unix_nano == datetime(2026, 11, 23, 9, tzinfo=UTC).timestamp() * 1e9
    for stage in ("gather_evidence", "execute"):
        assert (by_name[stage].trace_id, by_name[stage].parent_span_id) == (first.trace_id, first.span_id)
    assert by_name["diagnose"].trace_id != first.trace_id
    assert by_name["execute"].status.code == Status.STATUS_CODE_ERROR
    assert by_name["execute"].status.message == "ValueError"
    assert not any(secret in str(span) for span in spans)


async def test_without_an_endpoint_nothing_of_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bot.tracing_sdk", None)
    monkeypatch.delattr("bot.tracing_sdk", raising=False)
    with observing("verify", "incident:7", {"execution_id": 3}):
        pass
    tracing.incident_span(7, datetime(2026, 11, 23, 9, tzinfo=UTC), "healed")
    await tracing.stop()
    with pytest.raises(SettingsError, match=r"requirements/runtime\.txt"):
        tracing.start("http://127.0.0.1:1", "an installation")


async def test_a_collector_that_is_away_stops_nothing() -> None:
    tracing.start("http://127.0.0.1:1", "an installation")
    with observing("verify", "incident:7", {"incident_id": 7}):
        pass
    await tracing.stop()
