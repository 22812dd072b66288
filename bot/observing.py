"""What is said of a job beside its work: the incident in its log lines, its time for /metrics, its span of a trace."""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog

from bot import tracing
from knowledge import telemetry

# The arguments of a stage that log lines carry: they name rows, and hold nothing that people wrote.
CARRIED = ("incident_id", "execution_id", "approval_id")
_OF_INCIDENT = re.compile(r"incident:(\d+)")


def about(lock: str | None, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The ids that a job is about: from its arguments, from the click that it carries, or from its lock."""
    click = arguments.get("click")
    given = {**(click if isinstance(click, Mapping) else {}), **arguments}
    found = {name: given[name] for name in CARRIED if isinstance(given.get(name), int)}
    if "incident_id" not in found and (locked := _OF_INCIDENT.fullmatch(lock or "")):
        found["incident_id"] = int(locked[1])
    return found


@contextmanager
def observing(stage: str, lock: str | None, arguments: Mapping[str, Any]) -> Iterator[None]:
    """Around one attempt of a job."""
    ids = about(lock, arguments)
    began = time.monotonic()
    result = "failed"
    with structlog.contextvars.bound_contextvars(stage=stage, **ids), tracing.span(stage, ids):
        try:
            yield
            result = "done"
        finally:
            telemetry.JOB_SECONDS.labels(stage).observe(time.monotonic() - began)
            telemetry.JOBS.labels(stage, result).inc()
