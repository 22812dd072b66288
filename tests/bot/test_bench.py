"""What the benches compute themselves: sizes, made-up texts and vectors, and what they say of them."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bot import bench, bench_bars, bench_load, bench_rates, bench_search, bench_vectors
from bot.cli import bench as cli_bench


def some(count: int, dimensions: int) -> bench_vectors.Vectors:
    """Points of unit length that lie in so many dimensions and one."""
    points = np.zeros((count, bench_vectors.DIMENSION), np.float32)
    points[:, : dimensions + 1] = np.random.default_rng(1).normal(0, 1, (count, dimensions + 1))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


@pytest.mark.parametrize("dimensions", [2, 6])
def test_the_dimensions_of_vectors_are_told(dimensions: int) -> None:
    assert bench_vectors.dimensions(some(1_000, dimensions)) == pytest.approx(dimensions, rel=0.25)


def test_vectors_that_have_none_but_equal_neighbours_tell_nothing() -> None:
    assert bench_vectors.dimensions(np.repeat(some(1, 3), 30, axis=0)) == 0
    both = np.concatenate([some(1_000, 6), np.repeat(some(1, 6), 30, axis=0)])
    assert bench_vectors.dimensions(both) == pytest.approx(6, rel=0.25)


def test_as_many_vectors_are_made_as_are_asked_for_and_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_vectors, "CHUNK", 30)
    made = bench_vectors.without_likeness()
    vectors = made.vectors(100)
    assert vectors.shape == (100, bench_vectors.DIMENSION)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.array_equal(vectors, made.vectors(100))
    assert not np.isclose(made.asked @ vectors.T, 1).any()


def test_another_text_of_a_failure_keeps_what_many_say_and_changes_names_and_numbers() -> None:
    texts = [
        {"kind": "network", "text": "connection refused by ledger after 30 s"},
        {"kind": "network", "text": "connection refused by parcel after 45 s"},
    ]
    vary = bench_vectors.varied(texts)
    others = {vary(texts[0]["text"], number) for number in range(20)}
    assert len(others) > 10
    for one in others:
        words = one.split()
        assert words[:3] == ["connection", "refused", "by"]
        assert words[3] in {"ledger", "parcel"}
        assert len(words[5]) == 2
        assert words[5].isdigit()
    assert vary(texts[0]["text"], 3) == vary(texts[0]["text"], 3)


def test_no_text_that_is_searched_for_is_remembered() -> None:
    own = bench_vectors.own_texts()
    vary = bench_vectors.varied(own)
    asked = bench_vectors.asked_texts(own, known=False)
    assert len(asked) == bench_vectors.SEARCHES
    remembered = {vary(one["text"], number) for number, one in enumerate(own)}
    assert sum(one in remembered for one in asked) < len(asked) // 4  # some texts have nothing that varies


def test_the_programs_own_texts_have_a_kind() -> None:
    own = bench_vectors.own_texts()
    assert len(own) > bench_vectors.SEARCHES
    assert {one["kind"] for one in own} > {"network", "oomkilled"}


@pytest.mark.parametrize(
    ("most", "steps"), [(1_000, [1_000]), (99_999, [1_000, 10_000]), (10**6, [*bench_search.GROWTH])]
)
def test_the_curve_goes_as_far_as_is_asked_for(most: int, steps: list[int]) -> None:
    assert bench_search.steps(most) == steps


def test_what_is_as_good_as_the_best_counts_as_found() -> None:
    best = [0.9, 0.5, 0.5, 0.5]
    assert bench_search.as_good([0.5, 0.9, 0.5, 0.5, 0.5, 0.1], best) == 1
    assert bench_search.as_good([0.9, 0.5, 0.1], best) == 0.5
    assert bench_search.as_good([], best) == 0


def test_each_incident_opens_in_its_turn_and_all_open_ones_repeat() -> None:
    assert bench_rates.incidents_of(8, [0, 2, 4]) == [0, 0, 1, 1, 2, 2, 0, 1]


@pytest.mark.parametrize(
    ("name", "value"), [("accepted p99 ms", 51.0), ("first card p95 s", 1.1), ("handled after the last s", 6.0)]
)
def test_a_rate_is_too_much_when_any_of_its_figures_is(name: str, value: float) -> None:
    fine = {"accepted p99 ms": 50.0, "first card p95 s": 1.0, "handled after the last s": 5.0}
    assert not bench_rates.breaks(fine)
    assert bench_rates.breaks({**fine, name: value})


def test_one_alert_more_costs_what_many_cost_beyond_few() -> None:
    assert bench_rates.one_more({20: 100.0, 200: 300.0, 1_020: 1_100.0}) == 1.0
    assert bench_rates.one_more({20: 100.0}) is None


def test_what_takes_longer_is_said_to_take_longer() -> None:
    usual = bench.Sizes()
    for name, larger in (("soak", {"minutes": 60.0}), ("growth", {"incidents": 10**6}), ("flood", {"scale": 2.0})):
        sizes = bench.Sizes(**asdict(usual) | larger)
        assert bench.takes_s([name], sizes) > bench.takes_s([name], usual) > 0
    assert bench.takes_s(list(bench.BENCHES), usual) == sum(bench.takes_s([one], usual) for one in bench.BENCHES)


def test_the_machine_is_told_with_the_versions_that_count() -> None:
    found = bench.machine()
    assert found["postgresql"][0].isdigit()
    assert found["pgvector"][0].isdigit()
    assert found["cores"] >= 1


def test_a_figure_at_its_bar_holds_it_and_one_beyond_it_is_named() -> None:
    fine = {"PSS after 100,000 alerts MB": 250, "growth since it was warm %": 2.0, "alerts": 10**6}
    assert bench_bars.missed("soak", fine) == []
    assert bench_bars.missed("soak", {**fine, "growth since it was warm %": 2.1}) == ["growth since it was warm %"]
    assert bench_bars.missed("search", {"recall@10 against exact": 0.97}) == ["recall@10 against exact"]
    assert bench_bars.missed("soak", {**fine, "PSS after 100,000 alerts MB": None}) == []


def test_only_benches_that_there_are_have_bars() -> None:
    assert set(bench_bars.BARS) <= set(bench.BENCHES)


@pytest.mark.parametrize(
    ("hangs_at", "hangs_s", "warm_mb", "end_mb"), [(70, 100, 301, 370), (299, 100, 206, 370), (70, 300, 470, 141)]
)
async def test_a_soak_whose_round_hangs_for_longer_than_a_minute_still_has_figures(
    hangs_at: int, hangs_s: int, warm_mb: int, end_mb: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is warm after 75 seconds, and each second takes another MB."""
    now = 0

    async def alert(_incident: str, number: int) -> None:
        nonlocal now
        if number % bench_load.SOAK_PER_S == 0:
            now += hangs_s if number // bench_load.SOAK_PER_S == hangs_at else 1

    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator[Any]:
        yield SimpleNamespace(alert=alert, bot=SimpleNamespace(pid=0))

    monkeypatch.setattr(bench_load, "running", running)
    monkeypatch.setattr(bench_load, "pss_mb", lambda *_: 100 + now)
    monkeypatch.setattr(bench_load, "time", SimpleNamespace(monotonic=lambda: now))
    figures = await bench_load.soak(5)
    assert (figures["PSS when warm MB"], figures["PSS at the end MB"]) == (warm_mb, end_mb)


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_a_bench_that_is_ended_leaves_nothing_running_however_often_it_is_told(
    told: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleaned = []

    async def measured(*_: object) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        try:
            os.kill(os.getpid(), told)
            await asyncio.sleep(60)
            yield "soak", {}
        finally:
            for again in (signal.SIGTERM, signal.SIGINT):
                os.kill(os.getpid(), again)
                await asyncio.sleep(0)
            cleaned.append("what was started")

    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
    monkeypatch.setattr(bench, "measure", measured)
    try:
        with pytest.raises(KeyboardInterrupt):
            cli_bench.bench("soak")
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    assert cleaned
