"""Traces by OpenTelemetry, one an incident, where OTEL_EXPORTER_OTLP_ENDPOINT is set; else nothing of it is imported.

An incident's trace id is derived from its number and the installation's own, so that every stage, in whichever process
and after whichever restart, is part of it without carrying anything along. Spans hold ids, names of stages and the
types of errors: nothing that anybody wrote.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import structlog

from knowledge.errors import SettingsError

log = structlog.get_logger(__name__)

EXPORT_DEADLINE_S = 5
NOT_INSTALLED = (
    "OTEL_EXPORTER_OTLP_ENDPOINT is set, and OpenTelemetry is not installed: "
    "install what requirements/runtime.txt lists, or unset it."
)


@dataclass(frozen=True, slots=True)
class _Traces:
    """The exporter's provider and tracer, and the installation's own id that trace ids are derived from."""

    provider: Any
    tracer: Any
    ids: Any
    installation: str


_on: _Traces | None = None


def start(endpoint: str, installation: str) -> None:
    """Send spans to `endpoint` (OTLP over HTTP) from now on.

    Raises:
        SettingsError: the packages are not installed.
    """
    global _on  # noqa: PLW0603  as of logs: jobs, which know of no wiring, tell of themselves here
    try:
        from bot import tracing_sdk  # noqa: PLC0415  only where it is wanted
    except ImportError:
        raise SettingsError(NOT_INSTALLED) from None
    provider, tracer, ids = tracing_sdk.opened(endpoint, deadline_s=EXPORT_DEADLINE_S)
    _on = _Traces(provider, tracer, ids, installation)
    log.info("tracing", endpoint=urlsplit(endpoint).hostname)


async def stop() -> None:
    """Send what is left, for as long as one export may take."""
    global _on
    traces, _on = _on, None
    if traces is not None:
        await asyncio.to_thread(traces.provider.shutdown)


def ids_of(installation: str, incident_id: int) -> tuple[int, int]:
    """(trace id, id of its first span) of an incident: 128 and 64 bits, never 0."""
    digest = hashlib.sha256(f"{installation}:{incident_id}".encode()).digest()
    return int.from_bytes(digest[:16], "big") or 1, int.from_bytes(digest[16:24], "big") or 1


@contextmanager
def span(stage: str, ids: Mapping[str, Any]) -> Iterator[None]:
    """A stage's span in the trace of its incident; nothing where tracing is off or the stage is of none."""
    if _on is None or "incident_id" not in ids:
        yield
        return
    from bot import tracing_sdk  # noqa: PLC0415

    parent = tracing_sdk.parent(*ids_of(_on.installation, ids["incident_id"]))
    attributes = {f"codehealer.{name}": value for name, value in ids.items()}
    with _on.tracer.start_as_current_span(
        stage, context=parent, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield
        except BaseException as error:  # a cancelled stage has failed too; it is told and raised on
            tracing_sdk.failed(current, type(error).__name__)
            raise


def incident_span(incident_id: int, opened_at: datetime, state: str) -> None:
    """The span that the others of an incident hang on, from its opening until now; told when it is over."""
    if _on is None:
        return
    with contextlib.closing(_on.ids.as_next(*ids_of(_on.installation, incident_id))):
        first = _on.tracer.start_span(
            "incident",
            context=_on.ids.no_parent,
            start_time=int(opened_at.timestamp() * 1e9),
            attributes={"codehealer.incident_id": incident_id, "codehealer.state": state},
        )
    first.end()
