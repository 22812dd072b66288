"""Pure: the incidents of a whole stream of alerts, whatever the order of its posts."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from knowledge.correlation import CAUSE_MARKS, AlertKeys, OpenIncident, choose_incident, keys_of
from knowledge.model import Alert, AlertStatus


@dataclass(frozen=True, slots=True)
class CorrelationResult:
    """How many incidents a stream was, and each alert's incident by its sender's fingerprint (or our identity)."""

    incidents: int
    fingerprints: dict[str, int]


def correlate(occurrences: Iterable[tuple[datetime, Alert]]) -> CorrelationResult:
    """The incidents of a whole stream, whatever the order of its posts: causes are taken before what they explain."""
    items = [(at, alert) for at, alert in occurrences if alert.status is not AlertStatus.INFO]
    numbers = assign(items)
    joined = {alert.fingerprint or alert.identity: number for (_, alert), number in zip(items, numbers, strict=True)}
    return CorrelationResult(len(set(numbers)), dict(sorted(joined.items())))


def assign(occurrences: Sequence[tuple[datetime, Alert]]) -> list[int]:
    """Each occurrence's incident, numbered by when they began, as `correlate` finds them."""
    items = [(at, alert, keys_of(alert, at), place) for place, (at, alert) in enumerate(occurrences)]
    items.sort(key=lambda item: (_rank(item[1], item[2]), item[0], item[1].identity, item[1].fingerprint))
    incidents: list[_Growing] = []
    by_key: dict[str, set[int]] = defaultdict(set)
    joined = [0] * len(items)
    for at, _, keys, place in items:
        candidates = {number for key in keys.seek for number in by_key.get(key, ())}
        number = choose_incident(keys, [incidents[one].near(one, at) for one in candidates])
        if number is None:
            number = len(incidents)
            incidents.append(_Growing(set(), at, at))
        incidents[number].add(keys, at)
        for key in keys.hold:
            by_key[key].add(number)
        joined[place] = number
    order = sorted(range(len(incidents)), key=lambda one: (incidents[one].first, one))
    names = {number: position for position, number in enumerate(order, start=1)}
    return [names[number] for number in joined]


def _rank(alert: Alert, keys: AlertKeys) -> int:
    """Causes, then releases, then what explains itself, then what may be explained; recoveries last."""
    if alert.status is AlertStatus.RESOLVED:
        return 5
    if any(mark.startswith(CAUSE_MARKS) for mark in keys.hold):
        return 0
    if alert.source == "argocd":
        return 1
    if alert.source == "pagerduty":
        return 4
    if keys.own_cause:
        return 2
    return 3 if keys.node else 4


@dataclass(slots=True)
class _Growing:
    """An incident while a stream is sorted into incidents: its keys and the time that it spans."""

    keys: set[str]
    first: datetime
    last: datetime

    def add(self, keys: AlertKeys, at: datetime) -> None:
        self.keys.update(keys.hold)
        self.first, self.last = min(self.first, at), max(self.last, at)

    def near(self, number: int, at: datetime) -> OpenIncident:
        """As `choose_incident` wants it: the moment of the span that is nearest to `at`."""
        return OpenIncident(number, frozenset(self.keys), min(max(at, self.first), self.last))
