"""Answers about problems that the weights have not seen: training on four fifths by group. Only for development."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from knowledge.calibration import Calibration
from knowledge.calibration import fit as fit_calibration
from knowledge.case import Case, make_case
from knowledge.language_models.builtin import Weights, probabilities
from knowledge.language_models.features import Features, features
from knowledge.language_models.verdict import Verdict, judge, text_to_classify
from knowledge.model import Evidence, FailureKind
from knowledge.ports import Vector

FOLDS = 5
Fit = Callable[[Sequence[Features], Sequence[FailureKind]], Weights]


@dataclass(frozen=True, slots=True)
class Seen:
    """A text as the built-in diagnosis sees it."""

    case: Case
    text: str
    vector: Vector
    features: Features


@dataclass(frozen=True, slots=True)
class Held:
    """What was answered about text number `index` when its group was held out; `fold` is the part it was in."""

    index: int
    fold: int
    verdict: Verdict
    regression: FailureKind


def folds(groups: Sequence[str], count: int = FOLDS) -> list[list[int]]:
    """Indices by fold: whole groups, the largest first to the fold that has least."""
    members: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    parts: list[list[int]] = [[] for _ in range(count)]
    for group in sorted(members, key=lambda name: (-len(members[name]), name)):
        min(parts, key=len).extend(members[group])
    return parts


def see(text: str, embed: Callable[[str], Vector]) -> Seen:
    case = make_case("", [Evidence("logs", "text", text)])
    reduced = text_to_classify(case)
    vector = embed(reduced)
    return Seen(case, reduced, vector, features(reduced, vector))


def held_out(
    seen: Sequence[Seen],
    kinds: Sequence[FailureKind],
    groups: Sequence[str],
    *,
    always: Sequence[tuple[Features, FailureKind]],
    fit: Fit,
    most: int = FOLDS,
) -> list[Held]:
    """One answer for each text, from weights that saw neither it nor its group; `always` is trained on in each fold.

    With fewer than all folds, the texts of the first `most` alone.
    """
    answers = []
    for number, part in enumerate(folds(groups)[:most]):
        out = set(part)
        rest = [index for index in range(len(seen)) if index not in out]
        weights = fit(
            [seen[index].features for index in rest] + [one for one, _ in always],
            [kinds[index] for index in rest] + [kind for _, kind in always],
        )
        for index in part:
            one = seen[index]
            best = weights.kinds[int(np.argmax(probabilities(one.features, weights)))]
            answers.append(Held(index, number, judge(one.case, one.text, one.vector, weights), best))
    return sorted(answers, key=lambda held: held.index)


def calibrated_on_others(answers: Sequence[Held], right: Sequence[bool]) -> list[float]:
    """The confidence of each answer by a calibration that was fitted on the other folds' answers only."""
    by_fold: dict[int, Calibration] = {}
    for fold in {held.fold for held in answers}:
        others = [place for place, held in enumerate(answers) if held.fold != fold]
        by_fold[fold] = calibration_of([answers[place] for place in others], [right[place] for place in others])
    return [by_fold[held.fold].apply(held.verdict.kind, held.verdict.confidence).value for held in answers]


def calibration_of(answers: Sequence[Held], right: Sequence[bool]) -> Calibration:
    return fit_calibration(
        [held.verdict.confidence for held in answers], right, [held.verdict.kind for held in answers]
    )
