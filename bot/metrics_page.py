"""Makes docs/metrics.md from the metrics themselves: `python -m bot.metrics_page > docs/metrics.md`."""

import sys
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from bot.metrics import STANDING, Metrics
from knowledge import telemetry

HEAD = """# Metrics

Made by `python -m bot.metrics_page` from what `/metrics` shows; a test holds the two together.
`process` metrics are of one process: sum them over the replicas.
`installation` metrics are read from the database when `/metrics` is asked, at most every five seconds and for at most two seconds: they are the same on every replica, so take `max`.
`leader` metrics are counted by the process that leads, once each, within seconds of what they count: sum them over the replicas.
Where the database does not answer, `codehealer_figures_known` is 0 and the installation's figures are the last ones.
Counters of what can be named beforehand, such as actions and verdicts, begin at 0, so that `increase` sees the first event.
Beside these there are `process_*` and `python_info` of the Prometheus client.
A dashboard is [deploy/grafana/codehealer.json](../deploy/grafana/codehealer.json), and rules for alerts are [deploy/prometheus/rules.yml](../deploy/prometheus/rules.yml).

| metric | type | labels | of | meaning |
|---|---|---|---|---|
"""  # noqa: E501  one sentence a line
_INSTALLATION = {*STANDING, "codehealer_remembered_items"}
_LEADER = {
    "codehealer_slack_messages_total", "codehealer_approval_wait_seconds", "codehealer_heal_seconds",
    *(f"{one._name}_total" for one in telemetry.OUTCOMES.values()),  # noqa: SLF001
}  # fmt: skip


def described() -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    """(name, type, labels, meaning) of every metric of ours."""
    for registry in Metrics.make().registries():
        yield from _of(registry)


def _of(registry: CollectorRegistry) -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    # The client's registries list their collectors nowhere else.
    for collector in registry._collector_to_names:  # noqa: SLF001
        if isinstance(collector, MetricWrapperBase):
            kind = str(collector._type)  # noqa: SLF001
            name = f"{collector._name}_total" if kind == "counter" else collector._name  # noqa: SLF001
            yield name, kind, tuple(collector._labelnames), collector._documentation  # noqa: SLF001


def _scope(name: str) -> str:
    return "installation" if name in _INSTALLATION else "leader" if name in _LEADER else "process"


def page() -> str:
    """The whole page as Markdown."""
    rows = [
        f"| `{name}` | {kind} | {', '.join(labels)} | {_scope(name)} | {meaning} |"
        for name, kind, labels, meaning in sorted(described())
    ]
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
