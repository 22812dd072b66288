"""What summaries of a metric say outright: a lag that grows, a disk that fills, a CPU without rest. Pure.

Read are lines such as `ReplicaLag: first 1.2 min 1.1 max 900.0 last 890.0`, the form in which a series is collected.
Whoever sends them names the metric; a name that is not in the table says nothing.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from knowledge.model import FailureKind

K = FailureKind


@dataclass(frozen=True, slots=True)
class Trend:
    """One series in a 1-based line; the unit is the sender's own."""

    name: str
    line: int
    first: float
    low: float
    high: float
    last: float


_NUMBER = r"(-?[\d.]+)"
_SUMMARY = re.compile(
    r"(?m)^[ \t]*([A-Za-z][\w./ -]{2,80}?):[ \t]*"
    rf"first {_NUMBER}[, ]+min {_NUMBER}[, ]+max {_NUMBER}[, ]+last {_NUMBER}"
)
_LAG = re.compile(r"(?i)\blag\b|replica_?lag|replication_?lag|consumer_?lag")
_FREE = re.compile(r"(?i)free\w*(?:storage|disk|space)|available_?bytes")
_BUSY = re.compile(r"(?i)cpu_?util|cpu_?usage|cpu_?percent")
# A lag counts from a minute on and when it grew tenfold; free space when less than a twentieth of it is left.
_LONG_LAG_S, _GREW = 60.0, 10.0
_LEFT = 0.05
_BUSY_PERCENT = 90.0


def trends_in(text: str) -> Iterator[Trend]:
    """Every summary line of `text`; numbers that cannot be read are left out."""
    for match in _SUMMARY.finditer(text):
        try:
            first, low, high, last = (float(number) for number in match.groups()[1:])
        except ValueError:
            continue
        yield Trend(match.group(1), text.count("\n", 0, match.start()) + 1, first, low, high, last)


def says(trend: Trend) -> FailureKind | None:
    """The kind that a series points at, None where it is calm or its name means nothing to us."""
    if _LAG.search(trend.name):
        grew = trend.last >= _LONG_LAG_S and trend.last >= _GREW * max(trend.first, 1.0)
        return K.UPSTREAM_UNAVAILABLE if grew else None
    if _FREE.search(trend.name):
        return K.STORAGE_VOLUME if trend.high > 0 and trend.last <= _LEFT * trend.high else None
    if _BUSY.search(trend.name):
        return K.PERFORMANCE if trend.last >= _BUSY_PERCENT and trend.high <= 100.5 else None
    return None
