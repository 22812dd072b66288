"""A service's own measurements, now and before it failed: the queries are the policy's, never an alert's."""

import asyncio
import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from knowledge.errors import CodeHealerError
from knowledge.model import EvidenceKind
from remediation.evidence.changes import span
from remediation.evidence.piece import Piece, Pieces, Subject
from remediation.ports import Metrics, Sample

BEFORE = timedelta(minutes=15)
MAX_SHOWN = 5
# A smaller difference, as a share of the greater value, is none.
NOISE = 0.1


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
    rows = [row for shown, _ in found for row in shown]
    pieces = [Piece(EvidenceKind.METRICS, source, _text(rows))] if rows else []
    return [
        *pieces,
        *(Piece(EvidenceKind.METRICS, f"{source} {name}", could_not=why) for _, (name, why) in found if why),
    ]


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of the text, and whether the value differs from before."""

    text: str
    changed: bool


def _text(rows: list[_Row]) -> str:
    """What changed first, in one line; then all of it."""
    telling = [row.text for row in rows if row.changed]
    ago = f"{span(BEFORE.total_seconds())} before the failure"
    more = f" and {len(telling) - 3} more" if len(telling) > 3 else ""
    head = f"{'; '.join(telling[:3])}{more} ({ago})" if telling else f"all as {ago}"
    return "\n".join([head, *(f"  {row.text}" for row in rows)])


async def _measured(
    metrics: Metrics, name: str, query: str, now: datetime, before: datetime
) -> tuple[list[_Row], tuple[str, str]]:
    """The series that changed most, and (name, why not)."""
    try:
        today, then = await asyncio.gather(metrics.query(query, now), metrics.query(query, before))
    except CodeHealerError as error:
        return [], (name, str(error))
    old = {_key(sample): sample.value for sample in then}
    # What differs between the series tells them apart; what all have in common is noise.
    common = set.intersection(*(set(sample.labels.items()) for sample in today)) if len(today) > 1 else None
    ranked = sorted(today, key=lambda sample: _distance(sample.value, old.get(_key(sample))), reverse=True)
    rows = [_row(name, sample, old.get(_key(sample)), common) for sample in ranked[:MAX_SHOWN]]
    if len(ranked) > MAX_SHOWN:
        rows.append(_Row(f"{name}: {len(ranked) - MAX_SHOWN} more series that changed less", changed=False))
    return rows or [_Row(f"{name}: no data", changed=bool(then))], (name, "")


def _key(sample: Sample) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(sample.labels.items()))


def _distance(now: float, before: float | None) -> float:
    """How far two values are apart, for showing the greatest change first; a new series counts as one."""
    if before is None or math.isnan(now) or math.isnan(before):
        return math.inf
    return abs(now - before) / max(abs(now), abs(before), 1e-9)


def _row(name: str, sample: Sample, before: float | None, common: set[tuple[str, str]] | None) -> _Row:
    telling = [] if common is None else [f"{k}={v}" for k, v in _key(sample) if (k, v) not in common]
    labels = f"{{{', '.join(telling)[:120]}}}" if telling else ""
    text = f"{name}{labels} {_shown(sample.value)}, was {_shown(before)}"
    return _Row(text, changed=_distance(sample.value, before) > NOISE)


def _shown(value: float | None) -> str:
    if value is None:
        return "not there"
    return "not a number" if math.isnan(value) else f"{value:.4g}"
