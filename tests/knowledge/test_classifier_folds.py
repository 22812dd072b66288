"""The classifier on problems it has not seen: trained on four fifths by `group` and the project's own texts."""

import sys
from importlib.resources import files

import pytest

from knowledge.calibration import expected_calibration_error
from knowledge.embedding.minilm import LocalEmbedder
from knowledge.language_models.builtin import classify, pack, shipped_weights, unpack
from knowledge.language_models.folds import calibrated_on_others, held_out, see
from knowledge.language_models.train import LARGEST_FILE, counts_as_right, fit, own_examples, read_examples
from knowledge.model import FailureKind
from tests.knowledge.shared_data import SHARED, shared_lines


@pytest.mark.shared
@pytest.mark.timeout(300)
def test_unseen_problems_are_named_right_and_the_shown_confidence_holds(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn", reason="training needs scikit-learn")
    shared_lines("failures-dev.jsonl")
    examples, embed = read_examples(SHARED / "failures-dev.jsonl"), LocalEmbedder(threads=1).embed
    own = [(see(example.text, embed).features, example.kind) for example in own_examples()]
    seen = [see(example.text, embed) for example in examples]
    answers = held_out(seen, [e.kind for e in examples], [e.group for e in examples], always=own, fit=fit, most=3)
    right = [counts_as_right(examples[held.index], held.verdict.kind) for held in answers]
    answered = [ok for ok, held in zip(right, answers, strict=True) if held.verdict.answers]
    shown = calibrated_on_others(answers, right)
    sure = [ok for ok, value in zip(right, shown, strict=True) if value >= 0.95]
    error = expected_calibration_error(shown, right)
    with capsys.disabled():
        sys.stdout.write(
            f"\nfailures-dev, 3 of 5 folds by group: right {sum(right) / len(right):.3f}, "
            f"answers {len(answered) / len(right):.3f}, calibration error {error:.3f}, sure of {len(sure)}\n"
        )
    assert sum(right) / len(right) >= 0.92
    assert len(answered) / len(right) >= 0.85
    assert sum(answered) / len(answered) >= 0.95
    assert error <= 0.05
    assert sum(sure) / len(sure) >= 0.97


def test_shipped_weights_know_every_kind_and_are_small() -> None:
    weights = shipped_weights()
    assert set(weights.kinds) == set(FailureKind)
    raw = files("knowledge.language_models").joinpath("data/builtin.npz").read_bytes()
    assert len(raw) <= LARGEST_FILE


def test_packing_keeps_the_answers() -> None:
    weights = shipped_weights()
    again = unpack(pack(weights))
    for text in ("Back-off pulling image", "", "OOMKilled exit code 137"):
        first, second = classify(text, None, weights), classify(text, None, again)
        assert max(first, key=lambda kind: first[kind]) is max(second, key=lambda kind: second[kind])
        assert abs(sum(first.values()) - 1) < 1e-4


def test_own_texts_cover_what_the_sample_lacks() -> None:
    counts: dict[FailureKind, int] = {}
    for example in own_examples():
        counts[example.kind] = counts.get(example.kind, 0) + 1
    assert set(counts) == set(FailureKind)
    for kind in (
        FailureKind.HEALTHY,
        FailureKind.PERFORMANCE,
        FailureKind.UPSTREAM_UNAVAILABLE,
        FailureKind.STORAGE_VOLUME,
        FailureKind.UNKNOWN,
    ):
        assert counts[kind] >= 15
