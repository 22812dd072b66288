"""The same figures for problems that the weights have not seen, beside the plain baseline. Needs scikit-learn."""

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bot.evaluation import Figures, Given, Labelled, calibration_figures, scores
from knowledge.language_models.builtin import Weights
from knowledge.language_models.folds import Seen, calibrated_on_others, folds, held_out, see
from knowledge.language_models.train import fit, own_examples
from knowledge.model import FailureKind
from knowledge.ports import Vector

FEWEST_GROUPS = 10
BASELINE_STRENGTH = 6.0


def possible(labelled: Sequence[Labelled]) -> str:
    """ "" or why folds cannot be made."""
    if len({one.group for one in labelled if one.group}) < FEWEST_GROUPS:
        return f"fewer than {FEWEST_GROUPS} groups"
    if importlib.util.find_spec("sklearn") is None:
        return "scikit-learn is not installed (make install-dev)"
    return ""


def unseen_scores(
    labelled: Sequence[Labelled], embed: Callable[[str], Vector]
) -> tuple[Figures, Sequence[FailureKind]]:
    """Five folds by group: the built-in diagnosis, its regression alone, the baseline without and with our texts.

    Also the kind that the built-in diagnosis gave each text, without having seen its group.
    """
    groups = [one.group or str(place) for place, one in enumerate(labelled)]
    kinds = [one.kind for one in labelled]
    seen = [see(one.text, embed) for one in labelled]
    own = [(see(one.text, embed), one.kind) for one in own_examples()]
    answers = held_out(seen, kinds, groups, always=[(one.features, kind) for one, kind in own], fit=_fit)
    right = [labelled[held.index].accepts(held.verdict.kind) for held in answers]
    shown = calibrated_on_others(answers, right)
    given = [
        Given(held.verdict.kind if held.verdict.answers else FailureKind.UNKNOWN, value, 0.0)
        for held, value in zip(answers, shown, strict=True)
    ]
    regression = [Given(held.regression, 0.0, 0.0) for held in answers]
    wanted = ("accuracy", "accuracy_alt", "macro_f1", "coverage", "right_where_answered")
    found = scores(labelled, given)
    figures = {
        **{name: found[name] for name in wanted},
        **calibration_figures(shown, right),
        "right_at_85_percent_coverage": _right_at(0.85, shown, right),
        "regression_alone": _both(labelled, regression),
        "baseline": _both(labelled, _baseline(seen, kinds, groups, [])),
        "baseline_with_our_texts": _both(labelled, _baseline(seen, kinds, groups, own)),
        "per_kind": found["per_kind"],
        "confusion": found["confusion"],
    }
    return figures, [one.kind for one in given]


def _fit(seen: Sequence[Any], kinds: Sequence[FailureKind]) -> Weights:
    return fit(seen, kinds)


def _both(labelled: Sequence[Labelled], given: Sequence[Given]) -> Figures:
    found = scores(labelled, given)
    return {"accuracy": found["accuracy"], "accuracy_alt": found["accuracy_alt"]}


def _right_at(coverage: float, shown: Sequence[float], right: Sequence[bool]) -> float:
    """How many are right among the surest answers that make up this share of all."""
    best = sorted(range(len(shown)), key=lambda place: -shown[place])[: max(1, round(coverage * len(shown)))]
    return round(sum(right[place] for place in best) / len(best), 4)


def _baseline(
    seen: Sequence[Seen], kinds: Sequence[FailureKind], groups: Sequence[str], own: Sequence[tuple[Seen, FailureKind]]
) -> list[Given]:
    """TF-IDF of words and characters with a vocabulary, beside the embedding, in one logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415  development only
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    given = [Given(FailureKind.UNKNOWN, 0.0, 0.0)] * len(seen)
    for part in folds(groups):
        held = set(part)
        rest = [place for place in range(len(seen)) if place not in held]
        train = [seen[place] for place in rest] + [one for one, _ in own]
        labels = [kinds[place].value for place in rest] + [kind.value for _, kind in own]
        if len(set(labels)) == 1:  # nothing to tell apart
            for place in part:
                given[place] = Given(FailureKind(labels[0]), 0.0, 0.0)
            continue
        legs = (
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
            TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, min_df=2),
        )
        for leg in legs:
            leg.fit([one.text for one in train])
        model = LogisticRegression(C=BASELINE_STRENGTH, max_iter=400, tol=1e-3).fit(_matrix(legs, train), labels)
        said = model.predict(_matrix(legs, [seen[place] for place in part]))
        for place, label in zip(part, said, strict=True):
            given[place] = Given(FailureKind(label), 0.0, 0.0)
    return given


def _matrix(legs: Sequence[Any], seen: Sequence[Seen]) -> Any:
    from scipy.sparse import csr_matrix, hstack  # type: ignore[import-untyped]  # noqa: PLC0415  development only

    words = [leg.transform([one.text for one in seen]) for leg in legs]
    return hstack([*words, csr_matrix(np.stack([one.vector for one in seen]))]).tocsr()
