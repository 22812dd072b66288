"""What /metrics shows: counts of this process, and figures of the installation that are read when somebody asks.

docs/metrics.md is made from here (`python -m bot.metrics_page > docs/metrics.md`), and a test holds the two together.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bot.outcomes import expect
from knowledge import telemetry
from knowledge.store import measures, vectors
from knowledge.store.measures import Measures
from remediation.remediators import REMEDIATORS

log = structlog.get_logger(__name__)

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# A scrape waits no longer for the database than this, and asks it no more often, however many scrape.
MEASURE_DEADLINE_S = 2.0
FRESH_S = 5.0

# Gauge → what it shows, and the figure or (label, {value: figure}).
STANDING: dict[str, tuple[str, str | tuple[str, dict[str, str]]]] = {
    "codehealer_waiting": (
        "What waits to be done now: inbox (deliveries), jobs, outbox (messages)",
        ("queue", {"inbox": "inbox", "jobs": "jobs_due", "outbox": "outbox", "audit": "audit_unsealed"}),
    ),
    "codehealer_oldest_waiting_seconds": (
        "How long the oldest of what waits has been due",
        (
            "queue",
            {"inbox": "inbox_oldest_s", "jobs": "jobs_oldest_s", "outbox": "outbox_oldest_s",
             "audit": "audit_oldest_s"},
        ),
    ),
    "codehealer_jobs": (
        "Jobs that run, wait for their hour (later), or were given up (dead)",
        ("state", {"running": "jobs_running", "later": "jobs_later", "dead": "jobs_dead"}),
    ),
    "codehealer_open_incidents": ("Incidents that are not over", "incidents_open"),
    "codehealer_requests": (
        "Requests for approval that are open, or approved for later",
        ("state", {"open": "approvals_open", "scheduled": "approvals_scheduled"}),
    ),
    "codehealer_breaker_tripped": ("1 while nothing runs by itself until a person resumes it", "breaker"),
    "codehealer_leader_seen_seconds": ("Since the leading process last said that it is there (every 30 s)",
                                       "leader_seen_s"),
}  # fmt: skip


@dataclass
class Memo:
    """When the figures were read last, by the monotonic clock, and whether `codehealer pause` was in force then."""

    at: float = float("-inf")
    paused: bool = False
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, slots=True)
class Metrics:
    """Of this process, but for `standing` and `vectors`: these are of the installation, the same on every replica."""

    registry: CollectorRegistry
    deliveries: Counter
    acknowledged: Histogram
    envelopes: Counter
    links: Counter
    refused_blocks: Counter
    vectors: Gauge
    pool: Gauge
    leader: Gauge
    paused: Gauge
    heartbeat: Gauge
    heartbeats: Counter
    known: Gauge
    standing: dict[str, Gauge]
    memo: Memo = field(default_factory=Memo)

    @classmethod
    def make(cls) -> "Metrics":
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        Gauge("codehealer_build_info", "The version that runs", ["version"], registry=registry).labels(
            version("codehealer")
        ).set(1)
        made = cls(
            registry,
            Counter(
                "codehealer_deliveries_total",
                "Deliveries by source and result",
                ["source", "result"],
                registry=registry,
            ),
            Histogram(
                "codehealer_webhook_seconds",
                "Receipt to acknowledgement of a webhook",
                buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 3),
                registry=registry,
            ),
            Counter(
                "codehealer_slack_envelopes_total",
                "What became of Slack's envelopes: stored, repeated, unhandled (acknowledged all the same), or failed",
                ["result"],
                registry=registry,
            ),
            Counter(
                "codehealer_slack_links_total",
                "Socket Mode links that were opened, replaced at Slack's wish, lost, or refused",
                ["what"],
                registry=registry,
            ),
            Counter(
                "codehealer_slack_refused_blocks_total",
                "Messages and views whose blocks Slack would refuse, so that the plain text went out",
                ["surface"],
                registry=registry,
            ),
            Gauge(
                "codehealer_remembered_items",
                "Remembered incidents by embedding model, and whether they have its vector or wait for it",
                ["model", "state"],
                registry=registry,
            ),
            Gauge(
                "codehealer_database_connections",
                "Connections of this process' pool: in_use, or idle",
                ["state"],
                registry=registry,
            ),
            Gauge("codehealer_leader", "1 in the process that sends, watches and keeps the clock", registry=registry),
            Gauge(
                "codehealer_paused",
                "1 while nothing is carried out here, by `codehealer pause`, the pause file or the ConfigMap; take max",
                registry=registry,
            ),
            Gauge(
                "codehealer_heartbeat_timestamp_seconds",
                "When the last heartbeat of this process left, as Unix time; 0: none did",
                registry=registry,
            ),
            Counter(
                "codehealer_heartbeats_total", "Heartbeats by result: sent, or withheld", ["result"], registry=registry
            ),
            Gauge(
                "codehealer_figures_known",
                "1 while the figures of the installation could be read from the database, else they are old",
                registry=registry,
            ),
            {
                name: Gauge(name, says, [figure[0]] if isinstance(figure, tuple) else [], registry=registry)
                for name, (says, figure) in STANDING.items()
            },
        )
        made.expect()
        return made

    def expect(self) -> None:
        """Have the counters there at 0, as in bot/outcomes.py."""
        for counter, values in (
            (self.envelopes, ("stored", "repeated", "unhandled", "failed")),
            (self.links, ("opened", "replaced", "lost", "refused")),
            (self.refused_blocks, ("message", "view")),
            (self.heartbeats, ("sent", "withheld")),
        ):
            for value in values:
                counter.labels(value)

    def beat(self, result: str) -> None:
        """A heartbeat was "sent" or "withheld"."""
        self.heartbeats.labels(result).inc()
        if result == "sent":
            self.heartbeat.set_to_current_time()

    def registries(self) -> Iterator[CollectorRegistry]:
        yield self.registry
        yield telemetry.REGISTRY

    def show(self, found: Measures) -> None:
        """Put the installation's figures in."""
        self.memo.paused = found.paused
        for name, (_, figure) in STANDING.items():
            if isinstance(figure, tuple):
                for value, of in figure[1].items():
                    self.standing[name].labels(value).set(getattr(found, of))
            else:
                self.standing[name].set(getattr(found, figure))


async def exposition(engine: AsyncEngine, metrics: Metrics, halted: Callable[[], str]) -> bytes:
    """All metrics in Prometheus' text format. What cannot be read in time is shown as it was known last.

    `halted` is why nothing may start by this process' own pause file or ConfigMap, "" while it may.
    """
    async with metrics.memo.asking:
        if time.monotonic() - metrics.memo.at > FRESH_S:
            await _refresh(engine, metrics)
            metrics.memo.at = time.monotonic()
    metrics.paused.set(metrics.memo.paused or bool(halted()))
    note_pool(engine, metrics.pool)
    expect(REMEDIATORS)  # here, as a policy may bring workflows at any time
    return b"".join(generate_latest(registry) for registry in metrics.registries())


async def _refresh(engine: AsyncEngine, metrics: Metrics) -> None:
    try:
        async with asyncio.timeout(MEASURE_DEADLINE_S), engine.connect() as db:
            metrics.show(await measures.measure(db))
            await count_vectors(db, metrics.vectors)
    except (SQLAlchemyError, TimeoutError) as error:
        log.warning("figures_not_read", error=type(error).__name__)
        metrics.known.set(0)
    else:
        metrics.known.set(1)


async def count_vectors(db: AsyncConnection, gauge: Gauge) -> None:
    models = await vectors.progress(db)
    gauge.clear()
    for one in models:
        gauge.labels(one.model, "embedded").set(one.embedded)
        gauge.labels(one.model, "waiting").set(one.waiting)


def note_pool(engine: AsyncEngine, gauge: Gauge) -> None:
    """An engine without a pool keeps no connections."""
    pool = engine.pool
    in_use = getattr(pool, "checkedout", lambda: 0)()
    idle = getattr(pool, "checkedin", lambda: 0)()
    gauge.labels("in_use").set(in_use)
    gauge.labels("idle").set(idle)
