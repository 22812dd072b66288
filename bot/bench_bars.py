"""The bars that figures are held against, as docs/performance.md states them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bot.bench_rates import PER_S
from bot.bench_search import GROWTH


@dataclass(frozen=True, slots=True)
class Bar:
    """What a figure may be at most, or has to be at least."""

    limit: float
    at_least: bool = False

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}"

    def missed_by(self, value: float) -> bool:
        return value < self.limit if self.at_least else value > self.limit


def _least(limit: float) -> Bar:
    return Bar(limit, at_least=True)


MOST_INCIDENTS = f"{GROWTH[-1]:,} incidents"
# By bench and figure. A figure that a smaller run does not have is not held against anything.
BARS: Mapping[str, Mapping[str, Bar]] = {
    "diagnosis": {"64 KB p99 ms": Bar(300), "100,000 lines s": Bar(1)},
    "redaction": {"MB/s": _least(20)},
    "policy": {"p50 µs": Bar(1_000)},
    "approvals": {"p99 ms": Bar(200), "all started after s": Bar(8)},
    "accept": {"share of the bare one, median": _least(0.7), "p99 ms at 500/s": Bar(50)},
    "start": {"PostgreSQL answers → /readyz, median s": Bar(3), "the same on a first start s": Bar(5)},
    "mentions": {
        "reaction, p50 s": Bar(0.5),
        "answer, p50 s": Bar(3),
        "slash command acknowledged p99 ms": Bar(100),
        "built-in answer while models hang, others at most s": Bar(2),
    },
    "replicas": {
        "growth with 2": _least(1.7),
        "growth with 4": _least(3),
        "cards, jobs or decisions twice": Bar(0),
    },
    "storm": {
        "not accepted": Bar(0),
        "first card p95 s": Bar(1),
        "diagnosis p95 s": Bar(3),
        "acknowledged p99 ms": Bar(100),
        "idle PSS MB": Bar(200),
        "embedder PSS MB": Bar(300),
    },
    "flood": {"not accepted": Bar(0), "cards": Bar(100), "all final after s": Bar(300), "answers 429": Bar(0),
              "mention answered most s": Bar(2)},
    "beside": {"p99 ratio": Bar(2)},
    "rates": {f"accepted p99 ms at {PER_S[-1]}/s": Bar(50)},
    "soak": {"PSS after 100,000 alerts MB": Bar(250), "growth since it was warm %": Bar(2)},
    "search": {
        "recall@10 against exact": _least(0.98),
        "recall@10, 1 % filter": _least(1),
        "recall@10 against exact, asked by a log alone": _least(0.98),
        "words recall@10 against all": _least(0.98),
        "hybrid recall@10 against one that weighs every word's items": _least(0.98),
    },
    "growth": {
        "hybrid p99 ms, 100,000 incidents": Bar(60),
        "recall@10 against exact, 100,000 incidents": _least(0.98),
        "recall@10 against exact, asked by a log alone, 100,000 incidents": _least(0.98),
        f"hybrid p99 ms, {MOST_INCIDENTS}": Bar(150),
        f"vectors p99 ms, {MOST_INCIDENTS}": Bar(40),
        f"recall@10 against exact, {MOST_INCIDENTS}": _least(0.98),
        f"recall@10 against exact, asked by a log alone, {MOST_INCIDENTS}": _least(0.98),
        f"words recall@10 against all, {MOST_INCIDENTS}": _least(0.98),
        f"hybrid recall@10 against one that weighs every word's items, {MOST_INCIDENTS}": _least(0.98),
    },
}  # fmt: skip


def of(bench: str, figure: str) -> Bar | None:
    return BARS.get(bench, {}).get(figure)


def missed(bench: str, figures: Mapping[str, Any]) -> list[str]:
    """The figures that miss their bar."""
    return [
        figure
        for figure, bar in BARS.get(bench, {}).items()
        if isinstance(figures.get(figure), int | float) and bar.missed_by(figures[figure])
    ]
