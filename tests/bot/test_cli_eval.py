"""eval: figures on labelled lines, from a temporary database; a line that cannot be read is named."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from bot.quality_page import tables
from tests.bot.conftest import Command

TEXTS: list[dict[str, Any]] = [
    {
        "text": "Last State: Terminated\n  Reason: OOMKilled\n  Exit Code: 137\n  Limit: 99Mi",
        "category": "oomkilled",
        "group": "a",
    },
    {"text": "cart was OOMKilled again, exit code 137, limit 128Mi", "category": "oomkilled", "group": "a"},
    {
        "text": "Readiness probe failed: HTTP probe failed with statuscode: 500",
        "category": "probe_failing",
        "group": "b",
    },
    {
        "text": "Liveness probe failed: HTTP probe failed with statuscode: 500",
        "category": "probe_failing",
        "group": "b",
    },
    {"text": "hello there", "kind": "unknown"},
]


def test_figures_of_a_labelled_file_and_the_bad_line_are_given(command: Command, tmp_path: Path) -> None:
    data = tmp_path / "labelled.jsonl"
    data.write_text("\n".join([*map(json.dumps, TEXTS), '{"text": "x", "category": "no-such-kind"}']) + "\n")
    ended = command("eval", "--data", data, "--picture", tmp_path / "confusion.svg", "--json")
    assert ended.status == 2
    figures = json.loads(ended.out)
    assert figures["texts"] == 5
    assert figures["trained_on"] == 0
    assert figures["accuracy"] == 1.0
    assert figures["coverage"] == 0.8
    assert 0 <= figures["calibration_error"] <= 1
    assert figures["per_kind"]["oomkilled"] == {"n": 2, "precision": 1.0, "recall": 1.0, "f1": 1.0}
    assert figures["confusion"]["probe_failure"] == {"probe_failure": 2}
    assert figures["retrieval"]["queries"] == 4
    assert 0.5 <= figures["retrieval"]["recall_at_5"] <= 1
    assert figures["ms_p99"] > 0
    drawn = ElementTree.parse(tmp_path / "confusion.svg").getroot()  # noqa: S314  drawn by ourselves
    numbers = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text") if (text.text or "").isdecimal()]
    assert numbers == ["2", "2", "1"], "a row a kind: what was answered how often"
    assert [error["id"] for error in figures["errors"]] == ["line:6"]
    assert "no-such-kind" in ended.words
    assert "| oomkilled | 2 | 1.0 | 1.0 | 1.0 |" in tables(figures, date="2026-01-01", commit="abc")


def test_texts_of_one_kind_with_what_no_database_holds_are_scored(command: Command, tmp_path: Path) -> None:
    data = tmp_path / "labelled.jsonl"
    lines = [
        {"text": f"step {number}\u0000 OOMKilled, exit code 137 in {word}", "category": "oomkilled", "group": word}
        for word in ("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay", "kite")
        for number in range(2)
    ]
    data.write_text("".join(json.dumps(one) + "\n" for one in lines))
    ended = command("eval", "--data", data, "--json")
    assert ended.status == 0, ended.words
    assert json.loads(ended.out)["retrieval"]["queries"] == len(lines)


def test_an_alternative_that_is_no_kind_is_named_as_such(command: Command, tmp_path: Path) -> None:
    data = tmp_path / "labelled.jsonl"
    data.write_text(json.dumps({"text": "x", "category": "oomkilled", "alt": ["no-such-kind"]}) + "\n")
    assert "the field alt has 'no-such-kind'" in command("eval", "--data", data).words
