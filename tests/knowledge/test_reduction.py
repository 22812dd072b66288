from itertools import count, islice

from hypothesis import given, settings
from hypothesis import strategies as st

from knowledge.reduction import reduce_log


def test_needle_and_its_neighbours_are_kept_with_their_line_numbers() -> None:
    lines = [f"INFO request {n} done in {n % 7} ms" for n in range(1, 10_001)]
    lines[6999] = 'Warning Failed kubelet Error: secret "db-main" not found'
    reduction = reduce_log("\n".join(lines))
    assert [number for number, _ in reduction.lines] == [6999, 7000, 7001]
    assert reduction.lines[1][1] == lines[6999]
    assert reduction.total_lines == 10_000
    assert not reduction.truncated


def test_repeats_are_folded_by_template_and_counted() -> None:
    text = (
        "\n".join(f"ERROR worker {n} connection refused" for n in range(100_000)) + "\nFATAL: giving up on queue orders"
    )
    reduction = reduce_log(text)
    kept = [line for _, line in reduction.lines]
    assert kept[0] == "ERROR worker 0 connection refused"
    assert "FATAL: giving up on queue orders" in kept
    assert reduction.repeats[1] == 100_000
    assert reduction.folded == 99_999


def test_a_line_known_to_a_rule_outranks_mere_error_lines() -> None:
    noise = [f"error: cosmetic problem {chr(97 + n % 26)}{chr(97 + n // 26 % 26)} in theme" for n in range(600)]
    noise[300] = "Last State: Terminated Reason: OOMKilled"
    reduction = reduce_log("\n".join(noise), max_lines=20)
    assert 301 in [number for number, _ in reduction.lines]
    assert reduction.truncated


def test_harmless_words_do_not_make_an_error_line() -> None:
    text = "\n".join(
        ["compiling", "0 errors, 0 warnings", "no errors found", "copied /var/log/error_log", "finished"] * 3
    )
    assert reduce_log(text).telling == 0


def test_without_a_telling_line_head_and_tail_remain() -> None:
    reduction = reduce_log("\n".join(f"step {n}" for n in range(1, 1001)))
    numbers = [number for number, _ in reduction.lines]
    assert numbers[0] == 1
    assert numbers[-1] == 1000
    assert reduction.telling == 0


def test_very_long_line_is_cut_around_its_telling_part() -> None:
    reduction = reduce_log("a" * 6000 + " connection refused by db " + "b" * 6000)
    (_, text), *_ = reduction.lines
    assert "connection refused by db" in text
    assert len(text) <= 500
    assert reduction.truncated


def test_more_lines_than_memory_should_hold_are_streamed() -> None:
    def lines() -> "islice[str]":
        return islice(
            (f"line {n} of a long log\n" if n != 400_000 else "panic: lost the leader\n" for n in count(1)), 600_000
        )

    reduction = reduce_log(lines())
    assert (400_000, "panic: lost the leader") in reduction.lines
    assert reduction.total_lines == 600_000


def test_empty_and_binary_texts_give_an_answer() -> None:
    assert reduce_log("").lines == ()
    assert reduce_log([]).total_lines == 0
    assert reduce_log("\x00\x01\ufffd" * 5000).total_lines == 1


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["ok", "", "ERROR one", "ERROR two", "x" * 700 + " failed", "OOMKilled", "\t", "é"])))
def test_kept_texts_stand_verbatim_in_their_lines(lines: list[str]) -> None:
    reduction = reduce_log("\n".join(lines))
    assert [number for number, _ in reduction.lines] == sorted({number for number, _ in reduction.lines})
    for number, text in reduction.lines:
        assert text in lines[number - 1]
    assert reduction.lines == reduce_log(lines).lines
