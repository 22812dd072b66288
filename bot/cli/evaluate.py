"""eval: how good the built-in diagnosis and the retrieval are on labelled texts."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from bot import confusion, evaluation, unseen
from bot.cli.printing import JsonOption, Verbs, plain, put, words
from bot.cli.texts import json_lines
from knowledge.embedding.minilm import LocalEmbedder
from knowledge.errors import BadInput
from knowledge.model import FailureKind

# Past these many labels a confusion is left out of the table for people; --json has all.
_SHOWN = 6


def evaluate(
    data: Annotated[str, typer.Option(metavar="FILE", help="Labelled lines: text, category or kind, alt, group.")],
    folds: Annotated[
        bool, typer.Option(help="Train anew in folds too when these texts were trained on; needs scikit-learn.")
    ] = True,
    into: Annotated[
        Path | None, typer.Option("--picture", metavar="FILE", help="Write the confusion matrix as an SVG picture.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the built-in diagnosis and the retrieval on labelled texts; writes to no configured database."""
    labelled, problems = read(data)
    if not labelled:
        raise BadInput(f"{data}: no line could be read.")
    figures = measured(labelled, folds=folds)
    if into is not None:
        # What the weights had not seen, where that was measured.
        into.write_text(confusion.picture(figures.get("unseen", {}).get("confusion") or figures["confusion"]))
    if as_json:
        put({**figures, "errors": problems} if problems else figures)
    else:
        for line in readable(figures):
            plain.print(line, markup=False)
    raise typer.Exit(2 if problems else 0)


def read(path: str) -> tuple[list[evaluation.Labelled], list[dict[str, str]]]:
    """The labelled lines, and what was wrong with the others."""
    labelled, problems = [], []
    for number, row, unreadable in json_lines(path):
        problem = unreadable
        if row is not None:
            try:
                labelled.append(evaluation.read_labelled(row))
            except BadInput as error:
                problem = str(error)
        if problem:
            problems.append({"id": f"line:{number}", "error": problem})
            words.print(f"{path}: line {number}: {problem}", markup=False)
    return labelled, problems


def measured(labelled: list[evaluation.Labelled], *, folds: bool) -> dict[str, Any]:
    """All figures; `unseen` only where the shipped weights were trained on more than half of the texts."""
    embedder = LocalEmbedder()
    known = evaluation.trained_on(labelled)
    figures: dict[str, Any] = {"trained_on": known}
    words.print(f"Diagnosing {len(labelled)} texts.")
    given = evaluation.answer_all(labelled, embedder.embed)
    figures |= evaluation.scores(labelled, given)
    kinds: Sequence[FailureKind] | None = [one.kind for one in given]
    if known * 2 > len(labelled):
        words.print(f"The shipped weights were trained on {known} of them: the figures above are no proof.")
        why_not, kinds = unseen.possible(labelled) if folds else "not asked for", None
        figures["unseen"] = {"skipped": why_not}
        if not why_not:
            words.print("Training anew in five folds by group, and the baseline beside it; a minute or two.")
            figures["unseen"], kinds = unseen.unseen_scores(labelled, embedder.embed)
    words.print("Searching for each text among the others, in a temporary database.")
    figures["retrieval"] = asyncio.run(evaluation.retrieval_scores(labelled, embedder.embed, embedder.dimension, kinds))
    return figures


def readable(figures: dict[str, Any]) -> list[str]:
    """The figures for people, nested ones under a heading, the confusion as one line a label."""
    lines = []
    for name, value in figures.items():
        if name == "confusion":
            lines.append("label: answers")
            lines += [f"  {label:<24} {_counts(counts)}" for label, counts in value.items()]
        elif name == "per_kind":
            lines.append(f"{'kind':<26} {'n':>4} {'precision':>10} {'recall':>8} {'f1':>8}")
            lines += [
                f"  {kind:<24} {one['n']:>4} {_number(one['precision']):>10} {_number(one['recall']):>8} {one['f1']:>8}"
                for kind, one in value.items()
            ]
        elif isinstance(value, dict):
            lines.append(name)
            lines += [f"  {line}" for line in readable(value)]
        else:
            lines.append(f"{name:<30} {_number(value)}")
    return lines


def _counts(counts: dict[str, int]) -> str:
    shown = list(counts.items())[:_SHOWN]
    return ", ".join(f"{kind} {count}" for kind, count in shown)


def _number(value: object) -> str:
    return "-" if value is None else str(value)


COMMANDS: Verbs = {"eval": evaluate}
