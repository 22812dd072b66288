"""OpenTelemetry's SDK, only here: imported where tracing is on."""

from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator


class Ids(RandomIdGenerator):
    """Random ids, but for one span whose ids are given."""

    no_parent = Context()

    def __init__(self) -> None:
        self._next: tuple[int, int] | None = None

    def as_next(self, trace_id: int, span_id: int) -> "Ids":
        """What the next span begins; closed after it."""
        self._next = trace_id, span_id
        return self

    def close(self) -> None:
        self._next = None

    def generate_trace_id(self) -> int:
        return self._next[0] if self._next else super().generate_trace_id()

    def generate_span_id(self) -> int:
        return self._next[1] if self._next else super().generate_span_id()


def opened(endpoint: str, *, deadline_s: int) -> tuple[TracerProvider, trace.Tracer, Ids]:
    """Headers and the like are read from OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_HEADERS, …)."""
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=deadline_s)
    ids = Ids()
    provider = TracerProvider(
        resource=Resource.create({"service.name": "codehealer"}), id_generator=ids, shutdown_on_exit=False
    )
    provider.add_span_processor(BatchSpanProcessor(exporter, export_timeout_millis=deadline_s * 1000))
    return provider, provider.get_tracer("codehealer"), ids


def parent(trace_id: int, span_id: int) -> Context:
    """A context below a span of another time or process, which is sampled."""
    at = trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED))
    return trace.set_span_in_context(trace.NonRecordingSpan(at), Context())


def failed(span: Any, why: str) -> None:
    span.set_status(trace.Status(trace.StatusCode.ERROR, why))
