"""Makes the built-in weights: `python -m knowledge.language_models.train FAILURES.jsonl [--out FILE]`.

Only for development: needs scikit-learn. Reads labelled lines (`text`, `category` or `kind`) and our own texts.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowledge.calibration import to_json
from knowledge.embedding.minilm import LocalEmbedder
from knowledge.language_models.builtin import Weights, pack
from knowledge.language_models.features import CHAR_BUCKETS, WORD_BUCKETS, Features, Sparse, weighted
from knowledge.language_models.folds import calibration_of, held_out, see
from knowledge.model import FailureKind

# How the labels of the sample data map to our kinds; all others bear our names.
LABELS = {
    "probe_failing": "probe_failure",
    "failedscheduling": "scheduling",
    "createcontainerconfigerror": "config_error",
    "disk_evicted": "disk_pressure",
    "network_dns_tls": "network",
    "docker_build": "buildfailure",
    "docker_build_cache": "buildcacheerror",
    "gha_transient": "githubaction_transient",
    "gha_test_failure": "test_failure",
    "lint_compile": "compile_lint",
}
STRENGTH = 6.0  # inverse regularisation; 2 to 20 differ by less than a point in folds by group
# Divides the logits: found in folds by group, where it gives the lowest calibration error (0.06).
TEMPERATURE = 0.42
LARGEST_FILE = 3 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Example:
    text: str
    kind: FailureKind
    also: frozenset[FailureKind] = frozenset()
    group: str = ""


def counts_as_right(example: Example, kind: FailureKind) -> bool:
    return kind is example.kind or kind in example.also


def digest_of(text: str) -> str:
    """By which a text that was trained on is known again, without the text."""
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()[:12]


def kind_of(label: str) -> FailureKind:
    return FailureKind(LABELS.get(label, label))


def read_examples(path: Path) -> list[Example]:
    """Labelled JSON lines: `text`, `category` (or `kind`), optionally `alt` and `group`."""
    examples = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        also = frozenset(kind_of(label) for label in row.get("alt", []))
        examples.append(Example(row["text"], kind_of(row.get("category") or row["kind"]), also, row.get("group", "")))
    return examples


def own_examples() -> list[Example]:
    raw = files("knowledge.language_models").joinpath("data/own_texts.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in raw.splitlines()]
    return [Example(row["text"], FailureKind(row["kind"])) for row in rows]


def fit(seen: Sequence[Features], kinds: Sequence[FailureKind], strength: float = STRENGTH) -> Weights:
    from scipy.sparse import csr_matrix, hstack  # type: ignore[import-untyped]  # noqa: PLC0415  development only
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    word_idf = _idf([item.words for item in seen], WORD_BUCKETS)
    character_idf = _idf([item.characters for item in seen], CHAR_BUCKETS)
    matrix = hstack(
        [
            _matrix([weighted(item.words, word_idf) for item in seen], WORD_BUCKETS),
            _matrix([weighted(item.characters, character_idf) for item in seen], CHAR_BUCKETS),
            csr_matrix(np.stack([item.vector for item in seen])),
        ]
    ).tocsr()
    order = tuple(kind for kind in FailureKind if kind in set(kinds))
    numbers = np.array([order.index(kind) for kind in kinds])
    model = LogisticRegression(C=strength, max_iter=400, tol=1e-3, class_weight="balanced").fit(matrix, numbers)
    coefficients = model.coef_.T.astype(np.float32)
    return Weights(
        kinds=order,
        words=coefficients[:WORD_BUCKETS],
        characters=coefficients[WORD_BUCKETS : WORD_BUCKETS + CHAR_BUCKETS],
        vector=coefficients[WORD_BUCKETS + CHAR_BUCKETS :],
        bias=model.intercept_.astype(np.float32),
        word_idf=word_idf,
        character_idf=character_idf,
        temperature=TEMPERATURE,
    )


def _idf(items: Sequence[Sparse], buckets: int) -> NDArray[np.float32]:
    seen_in = np.zeros(buckets)
    for item in items:
        seen_in[item.index] += 1
    return (np.log((1 + len(items)) / (1 + seen_in)) + 1).astype(np.float32)


def _matrix(items: Sequence[Sparse], buckets: int) -> Any:
    from scipy.sparse import csr_matrix  # noqa: PLC0415  development only

    ends = np.cumsum([0, *(len(item.index) for item in items)])
    values = np.concatenate([item.count for item in items])
    return csr_matrix((values, np.concatenate([item.index for item in items]), ends), shape=(len(items), buckets))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Train the built-in classifier.")
    parser.add_argument("failures", type=Path, help="labelled JSON lines")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("data") / "builtin.npz")
    options = parser.parse_args(arguments)
    failures, own = read_examples(options.failures), own_examples()
    embed = LocalEmbedder().embed
    seen = [see(example.text, embed) for example in failures]
    always = [(see(example.text, embed).features, example.kind) for example in own]
    weights = fit(
        [one.features for one in seen] + [one for one, _ in always], [example.kind for example in [*failures, *own]]
    )
    raw = pack(weights)
    if len(raw) > LARGEST_FILE:
        sys.stderr.write(f"The weights take {len(raw)} bytes, more than the {LARGEST_FILE} they may.\n")
        return 1
    options.out.write_bytes(raw)
    answers = held_out(seen, [e.kind for e in failures], [e.group for e in failures], always=always, fit=fit)
    right = [counts_as_right(failures[held.index], held.verdict.kind) for held in answers]
    made = {**to_json(calibration_of(answers, right)), "trained_on": sorted(digest_of(e.text) for e in failures)}
    options.out.with_name("calibration.json").write_text(json.dumps(made) + "\n", encoding="utf-8")
    sys.stdout.write(f"{sum(right)} of {len(right)} right when held out by group\n")
    sys.stdout.write(f"{len(failures) + len(own)} texts, {len(weights.kinds)} kinds, {len(raw)} bytes: {options.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
