"""A service's own measurements, now and before it failed: the queries are the policy's, never an alert's."""

import asyncio
import math
from datetime import datetime, timedelta

from knowledge.errors import CodeHealerError
from knowledge.model import EvidenceKind
from remediation.evidence.changes import span
from remediation.evidence.piece import Piece, Pieces, Subject
from remediation.ports import Metrics, Sample

BEFORE = timedelta(minutes=15)
MAX_SHOWN = 5


async def collect(subject: Subject) -> Pieces:
    """Nothing for services without metrics."""
    if subject.service is None or not subject.service.metrics or subject.is_run:
        return []
    queries, source = subject.service.metrics, subject.service.name
    if subject.clients.metrics is None:
        return [Piece(EvidenceKind.METRICS, source, could_not="Prometheus is not connected: set PROMETHEUS_URL")]
    before = subject.incident.opened_at - BEFORE
    found = await asyncio.gather(
        *(_measured(subject.clients.metrics, name, query, subject.now, before) for name, query in queries.items())
    )
    lines = [line for shown, _ in found for line in shown]
    pieces = [Piece(EvidenceKind.METRICS, source, _text(lines, before, subject.now))] if lines else []
    return [
        *pieces,
        *(Piece(EvidenceKind.METRICS, f"{source} {name}", could_not=why) for _, (name, why) in found if why),
    ]


def _text(lines: list[str], before: datetime, now: datetime) -> str:
    ago = span((now - before).total_seconds())
    more = f" and {len(lines) - 3} more" if len(lines) > 3 else ""
    return "\n".join(
        [f"{'; '.join(lines[:3])}{more} (the first is now, the other {ago} ago)", *(f"  {one}" for one in lines)]
    )


async def _measured(
    metrics: Metrics, name: str, query: str, now: datetime, before: datetime
) -> tuple[list[str], tuple[str, str]]:
    """The series as lines, and (name, why not)."""
    try:
        today, then = await asyncio.gather(metrics.query(query, now), metrics.query(query, before))
    except CodeHealerError as error:
        return [], (name, str(error))
    old = {_key(sample): sample.value for sample in then}
    # What differs between the series tells them apart; what all have in common is noise.
    common = set.intersection(*(set(sample.labels.items()) for sample in today)) if len(today) > 1 else None
    ranked = sorted(today, key=lambda sample: _distance(sample.value, old.get(_key(sample))), reverse=True)
    lines = [_line(name, sample, old.get(_key(sample)), common) for sample in ranked[:MAX_SHOWN]]
    if len(ranked) > MAX_SHOWN:
        lines.append(f"{name}: {len(ranked) - MAX_SHOWN} more series that changed less")
    return lines or [f"{name}: no data"], (name, "")


def _key(sample: Sample) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(sample.labels.items()))


def _distance(now: float, before: float | None) -> float:
    """How far two values are apart, for showing the greatest change first; a new series counts as one."""
    if before is None or math.isnan(now) or math.isnan(before):
        return math.inf
    return abs(now - before) / max(abs(now), abs(before), 1e-9)


def _line(name: str, sample: Sample, before: float | None, common: set[tuple[str, str]] | None) -> str:
    telling = [] if common is None else [f"{k}={v}" for k, v in _key(sample) if (k, v) not in common]
    labels = f"{{{', '.join(telling)[:120]}}}" if telling else ""
    return f"{name}{labels} {_shown(sample.value)}, was {_shown(before)}"


def _shown(value: float | None) -> str:
    if value is None:
        return "not there"
    return "not a number" if math.isnan(value) else f"{value:.4g}"
