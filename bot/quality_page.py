"""Rewrites the tables of docs/quality.md: `python -m bot.quality_page FAILURES.jsonl`, or `make quality DATA=…`."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bot import confusion
from bot.cli.evaluate import measured, read

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE, PICTURE = DOCS / "quality.md", DOCS / "pictures" / "confusion.svg"
BEGIN, END = "<!-- figures: made by make quality -->", "<!-- end of figures -->"
_COMMIT_S = 10.0


def tables(figures: Mapping[str, Any], *, date: str, commit: str) -> str:
    """The figures as Markdown. Pure."""
    unseen = figures.get("unseen")
    rows = [f"Measured {date} at commit {commit} on {figures['texts']} texts."]
    if figures["trained_on"]:
        rows[0] += f"\nThe shipped weights were trained on {figures['trained_on']} of them, so only the folds count."
    if unseen and "accuracy" in unseen:
        rows += ["", "| five folds by group | strict | with further labels |", "|---|---|---|"]
        rows += [
            f"| {name} | {one['accuracy']} | {one['accuracy_alt']} |"
            for name, one in (
                ("the built-in diagnosis", unseen),
                ("its regression alone", unseen["regression_alone"]),
                ("baseline: TF-IDF + MiniLM, trained on these texts", unseen["baseline"]),
                ("the same baseline with our own texts too", unseen["baseline_with_our_texts"]),
            )
        ]
    shown = counted(figures)
    rows += ["", "| figure | value |", "|---|---|"]
    rows += [f"| {words} | {shown[name]} |" for name, words in _WORDS.items() if name in shown]
    rows += [f"| milliseconds for a text, {name[3:]} | {figures[name]} |" for name in ("ms_p50", "ms_p99")]
    rows += ["", *_retrieval(figures["retrieval"])]
    rows += ["", "| kind | texts | precision | recall | F1 |", "|---|---|---|---|---|"]
    rows += [
        f"| {kind} | {one['n']} | {_number(one['precision'])} | {_number(one['recall'])} | {one['f1']} |"
        for kind, one in shown["per_kind"].items()
    ]
    rows += ["", "![A matrix of labels and answers; all but a few are on the diagonal.](pictures/confusion.svg)"]
    rows += ["", "Confusions, label to answers:", "", *_confusions(shown["confusion"])]
    return "\n".join(rows)


def counted(figures: Mapping[str, Any]) -> Mapping[str, Any]:
    """The figures that count: those of the folds where the weights were trained on the texts."""
    unseen = figures.get("unseen")
    return unseen if unseen and "accuracy" in unseen else figures


_WORDS = {
    "macro_f1": "macro F1",
    "coverage": "answered",
    "right_where_answered": "right where answered",
    "right_at_85_percent_coverage": "right among the surest 85 %",
    "calibration_error": "expected calibration error",
    "shown_95_or_more": "shown as 0.95 or more",
    "shown_95_or_more_right": "of these right",
}


def _retrieval(figures: Mapping[str, Any]) -> list[str]:
    """Leave one out; the first row is an incident's search after its diagnosis."""
    rows = [("as an incident after its diagnosis", figures)]
    rows += [(name, one) for name, one in figures.items() if isinstance(one, Mapping)]
    return [
        "| the same cause found again, leave one out | queries | recall@1 | recall@5 | MRR |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | {one['queries']} | {one['recall_at_1']} | {one['recall_at_5']} | {one['mrr']} |"
            for name, one in rows
        ),
    ]


def _number(value: object) -> str:
    return "-" if value is None else str(value)


def _confusions(table: Mapping[str, Mapping[str, int]]) -> list[str]:
    lines = []
    for label, counts in table.items():
        if others := [f"{kind} {count}" for kind, count in counts.items() if kind != label]:
            lines.append(f"- {label}: {counts.get(label, 0)} right; {', '.join(others)}")
    return lines


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 1:
        sys.stderr.write("Give one file of labelled lines: make quality DATA=failures.jsonl\n")
        return 2
    labelled, _ = read(arguments[0])
    figures = measured(labelled, folds=True)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True, timeout=_COMMIT_S
    ).stdout.strip()
    PICTURE.write_text(confusion.picture(counted(figures)["confusion"]), encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    made = tables(figures, date=datetime.now(UTC).date().isoformat(), commit=commit)
    PAGE.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
