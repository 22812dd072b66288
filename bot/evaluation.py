"""How good the diagnosis is on labelled texts: what `codehealer eval` prints. Only a temporary database is written."""

import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import orjson

from bot.migrating import migrate
from bot.postgres import EmbeddedPostgres
from knowledge import retrieval_quality as quality
from knowledge.calibration import expected_calibration_error
from knowledge.diagnosis import diagnose_builtin
from knowledge.errors import BadInput
from knowledge.language_models.train import digest_of, kind_of
from knowledge.model import Diagnosis, Evidence, FailureKind
from knowledge.ports import Vector
from knowledge.redaction import clean
from knowledge.store.database import open_engine

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Labelled:
    """One text with the kind that is right, further ones that count, and the group of texts of the same cause."""

    text: str
    kind: FailureKind
    also: frozenset[FailureKind]
    group: str

    def accepts(self, kind: FailureKind) -> bool:
        return kind is self.kind or kind in self.also


@dataclass(frozen=True, slots=True)
class Given:
    """What was answered: `unknown` where the answer was Unsure; `ms` from reading to answer."""

    kind: FailureKind
    confidence: float
    ms: float


def read_labelled(row: Mapping[str, Any]) -> Labelled:
    """A line of labelled data: `text`, `category` or `kind`, optionally `alt` and `group`. BadInput names the field."""
    if not isinstance(row.get("text"), str):
        raise BadInput("the field text must be a string")
    label, alt = row.get("category") or row.get("kind"), row.get("alt") or []
    if not isinstance(label, str) or not isinstance(alt, list):
        raise BadInput("the field category must be a label, and alt a list of labels")
    also = frozenset(_kind("alt", str(one)) for one in alt)
    return Labelled(row["text"], _kind("category", label), also, str(row.get("group") or ""))


def _kind(field: str, label: str) -> FailureKind:
    try:
        return kind_of(label)
    except ValueError:
        raise BadInput(f"the field {field} has {label!r}, which is no kind and no label that maps to one") from None


def answer_all(labelled: Sequence[Labelled], embed: Callable[[str], Vector]) -> list[Given]:
    diagnose_builtin("", [Evidence("logs", "text", "warm up")], embed=embed)
    return [_answer(one.text, embed) for one in labelled]


def _answer(text: str, embed: Callable[[str], Vector]) -> Given:
    started = time.perf_counter()
    result = diagnose_builtin("", [Evidence("logs", "text", text)], embed=embed)
    ms = (time.perf_counter() - started) * 1000
    if isinstance(result, Diagnosis):
        return Given(result.kind, result.confidence, ms)
    return Given(FailureKind.UNKNOWN, 0.0, ms)


def scores(labelled: Sequence[Labelled], given: Sequence[Given]) -> Figures:
    """Pure. `accuracy` is strict, `accuracy_alt` lets the further labels count, as all figures after it do."""
    pairs = list(zip(labelled, given, strict=True))
    strict = sum(answer.kind is one.kind for one, answer in pairs)
    right = [one.accepts(answer.kind) for one, answer in pairs]
    answered = [place for place, (_, answer) in enumerate(pairs) if answer.kind is not FailureKind.UNKNOWN]
    kinds = per_kind(labelled, given)
    healthy = [answer.kind is FailureKind.HEALTHY for one, answer in pairs if one.kind is FailureKind.HEALTHY]
    return {
        "texts": len(pairs),
        "accuracy": _share(strict, len(pairs)),
        "accuracy_alt": _share(sum(right), len(pairs)),
        "macro_f1": round(statistics.fmean(one["f1"] for one in kinds.values()), 4) if kinds else 0.0,
        "coverage": _share(len(answered), len(pairs)),
        "right_where_answered": _share(sum(right[place] for place in answered), len(answered)),
        "healthy_handled": _share(sum(healthy), len(healthy)),
        **calibration_figures([given[i].confidence for i in answered], [right[i] for i in answered]),
        "ms_p50": _quantile([answer.ms for answer in given], 0.5),
        "ms_p99": _quantile([answer.ms for answer in given], 0.99),
        "per_kind": kinds,
        "confusion": confusion(labelled, given),
    }


def calibration_figures(shown: Sequence[float], right: Sequence[bool]) -> Figures:
    sure = [ok for value, ok in zip(shown, right, strict=True) if value >= 0.95]
    return {
        "calibration_error": round(expected_calibration_error(shown, right), 4),
        "shown_95_or_more": len(sure),
        "shown_95_or_more_right": _share(sum(sure), len(sure)),
    }


def per_kind(labelled: Sequence[Labelled], given: Sequence[Given]) -> dict[str, Figures]:
    """Precision, recall and F1 by kind that occurs; an accepted answer counts as the label's kind."""
    counted = [
        (one.kind, one.kind if one.accepts(answer.kind) else answer.kind)
        for one, answer in zip(labelled, given, strict=True)
    ]
    table: dict[str, Figures] = {}
    for kind in sorted({label for label, _ in counted}):
        hits = sum(label is kind and said is kind for label, said in counted)
        labels, said_so = sum(label is kind for label, _ in counted), sum(said is kind for _, said in counted)
        table[kind.value] = {
            "n": labels,
            "precision": _share(hits, said_so),
            "recall": _share(hits, labels),
            "f1": round(2 * hits / (labels + said_so), 4) if labels + said_so else 0.0,
        }
    return table


def confusion(labelled: Sequence[Labelled], given: Sequence[Given]) -> dict[str, dict[str, int]]:
    """By label: what was answered, how often."""
    table: dict[str, Counter[str]] = {}
    for one, answer in zip(labelled, given, strict=True):
        table.setdefault(one.kind.value, Counter())[answer.kind.value] += 1
    return {label: dict(counts.most_common()) for label, counts in sorted(table.items())}


async def retrieval_scores(
    labelled: Sequence[Labelled], embed: Callable[[str], Vector], dimension: int, kinds: Sequence[FailureKind] | None
) -> Figures:
    """Leave one out, over a temporary PostgreSQL: is another text of the same group found? None without groups.

    `kinds` are the diagnoses of the texts by a classifier that has not seen them, with which an incident searches;
    without them all are searched for as pasted logs. Beside that stand each leg alone and the plain baseline.
    """
    examples = [
        quality.Example(str(place), clean(one.text), one.kind, one.group or f"alone-{place}")
        for place, one in enumerate(labelled)
    ]
    if not quality.repeated(examples):
        return {"queries": 0, "recall_at_1": None, "recall_at_5": None, "mrr": None}
    embedder = _InProcess(embed, dimension)
    known = {one.id: kind for one, kind in zip(examples, kinds or [], strict=False) if kind is not FailureKind.UNKNOWN}
    with tempfile.TemporaryDirectory(prefix="codehealer-eval-", ignore_cleanup_errors=True) as folder:
        _let_through(Path(folder))
        async with EmbeddedPostgres(Path(folder) / "data") as server:
            migrate(server.url)
            engine = open_engine(server.url, pool_size=1)
            try:
                await quality.fill(engine, examples, embedder, now=_NOW)
                pasted = await quality.leave_one_out(engine, examples, embedder, now=_NOW)
                found = await quality.leave_one_out(engine, examples, embedder, now=_NOW, kinds=known or None)
            finally:
                await engine.dispose()
    plain = quality.baseline(examples, {one.id: embed(one.text) for one in examples})
    return {
        **_figures(found["ours"]),
        "as a pasted log": _figures(pasted["ours"]),
        "words alone": _figures(found["words"]),
        "vectors alone": _figures(found["vectors"]),
        "baseline: BM25 + 0.5 MiniLM": _figures(plain["baseline"]),
    }


def _figures(found: quality.Figures) -> Figures:
    return {
        "queries": found.queries,
        "recall_at_1": found.recall_1,
        "recall_at_5": found.recall_5,
        "mrr": found.mrr,
    }


def _let_through(folder: Path) -> None:
    """Root's PostgreSQL runs as another user, who has to get into the folder."""
    folder.chmod(0o711)


_NOW = datetime(2026, 1, 1, tzinfo=UTC)


class _InProcess:
    """The embedder behind the asynchronous protocol, without its child process."""

    name = "local"

    def __init__(self, embed: Callable[[str], Vector], dimension: int) -> None:
        self._embed = embed
        self.dimension = dimension

    async def embed_query(self, text: str) -> Vector:
        return self._embed(text)

    async def embed_passages(self, texts: Sequence[str]) -> list[Vector]:
        return [self._embed(text) for text in texts]


def trained_on(labelled: Sequence[Labelled]) -> int:
    """How many of these texts the shipped weights were trained on: their figures say nothing about new texts."""
    raw = files("knowledge.language_models").joinpath("data/calibration.json").read_bytes()
    known = set(orjson.loads(raw)["trained_on"])
    return sum(digest_of(one.text) in known for one in labelled)


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1) if ordered else 0.0
