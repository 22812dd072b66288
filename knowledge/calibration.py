"""Confidence that means something: a raw score becomes the share of such answers that turned out right.

A logistic curve over the score's log-odds, and a shift by kind, both fitted on answers about problems that the weights
had not seen (`train.py` makes them). What people and verifications said here moves the value further, by as much as
there is of it. Small numbers are shrunk: a kind that was seen three times hardly moves.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from knowledge.model import FailureKind

# A kind's own shift is held back as if this much had been seen without one (in units of p * (1 - p)).
_KIND_PRIOR = 2.0
# Outcomes here weigh as much as the shipped curve from this many on.
OUTCOMES_PRIOR = 20.0
LOWEST, HIGHEST = 0.02, 0.98


@dataclass(frozen=True, slots=True)
class Calibrated:
    """`value` is 0 to 1; `samples` are the answers that it rests on: shipped ones of this kind, and outcomes here."""

    value: float
    samples: int


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How often a kind was the right answer in an environment, and how often people said that it was not."""

    right: int = 0
    wrong: int = 0


@dataclass(frozen=True, slots=True)
class Calibration:
    """log-odds = `slope` * raw log-odds + `offset` + the kind's shift; `kinds` has (shift, samples)."""

    slope: float = 1.0
    offset: float = 0.0
    kinds: Mapping[FailureKind, tuple[float, int]] = field(default_factory=dict)
    samples: int = 0

    def apply(self, kind: FailureKind, raw: float) -> Calibrated:
        shift, samples = self.kinds.get(kind, (0.0, 0))
        value = _sigmoid(self.slope * _logit(raw) + self.offset + shift)
        return Calibrated(round(min(HIGHEST, max(LOWEST, value)), 4), samples)


def with_outcomes(shown: Calibrated, outcomes: Outcomes) -> Calibrated:
    """The same after what happened here: the shipped value counts as `OUTCOMES_PRIOR` answers.

    However often the kind was right, that is no evidence of this case: at least half of the doubt stays.
    """
    count = outcomes.right + outcomes.wrong
    if not count:
        return shown
    value = (shown.value * OUTCOMES_PRIOR + outcomes.right) / (OUTCOMES_PRIOR + count)
    value = min(value, (1 + shown.value) / 2)
    return Calibrated(round(min(HIGHEST, value), 4), shown.samples + count)


def fit(raw: Sequence[float], right: Sequence[bool], kinds: Sequence[FailureKind]) -> Calibration:
    """Slope and offset by Newton's method on Platt's softened targets, then one shrunk step for each kind."""
    yes = sum(right)
    targets = ((yes + 1) / (yes + 2), 1 / (len(right) - yes + 2))
    odds = [_logit(value) for value in raw]
    wanted = [targets[0] if ok else targets[1] for ok in right]
    slope, offset = 1.0, 0.0
    for _ in range(50):
        step_a, step_b = _newton(odds, wanted, slope, offset)
        # A whole step may overshoot where most answers are surely right: it is halved until it helps.
        now = _loss(odds, wanted, slope, offset)
        while abs(step_a) + abs(step_b) > 1e-6 and _loss(odds, wanted, slope - step_a, offset - step_b) > now:
            step_a, step_b = step_a / 2, step_b / 2
        slope, offset = slope - step_a, offset - step_b
        if abs(step_a) + abs(step_b) <= 1e-6:
            break
    shifts: dict[FailureKind, tuple[float, int]] = {}
    for kind in dict.fromkeys(kinds):
        members = [i for i, one in enumerate(kinds) if one is kind]
        shown = [_sigmoid(slope * odds[i] + offset) for i in members]
        surplus = sum(float(right[i]) - p for i, p in zip(members, shown, strict=True))
        shifts[kind] = (round(surplus / (sum(p * (1 - p) for p in shown) + _KIND_PRIOR), 4), len(members))
    return Calibration(round(slope, 4), round(offset, 4), shifts, len(raw))


_HELD = 1e-2  # how firmly the two parameters are held at slope 1 and offset 0


def _loss(odds: Sequence[float], wanted: Sequence[float], slope: float, offset: float) -> float:
    total = _HELD * ((slope - 1) ** 2 + offset**2) / 2
    for x, y in zip(odds, wanted, strict=True):
        p = min(1 - 1e-12, max(1e-12, _sigmoid(slope * x + offset)))
        total -= y * math.log(p) + (1 - y) * math.log(1 - p)
    return total


def _newton(odds: Sequence[float], wanted: Sequence[float], slope: float, offset: float) -> tuple[float, float]:
    """One step for slope and offset."""
    gradient_a, gradient_b = _HELD * (slope - 1), _HELD * offset
    aa, ab, bb = _HELD, 0.0, _HELD
    for x, y in zip(odds, wanted, strict=True):
        p = _sigmoid(slope * x + offset)
        weight = max(p * (1 - p), 1e-6)
        gradient_a += (p - y) * x
        gradient_b += p - y
        aa, ab, bb = aa + weight * x * x, ab + weight * x, bb + weight
    determinant = aa * bb - ab * ab
    return (bb * gradient_a - ab * gradient_b) / determinant, (aa * gradient_b - ab * gradient_a) / determinant


def expected_calibration_error(shown: Sequence[float], right: Sequence[bool], bins: int = 10) -> float:
    """The mean distance between what is shown and what is right, over equal bins, weighted by their size."""
    total = 0.0
    for place in range(bins):
        members = [i for i, value in enumerate(shown) if min(bins - 1, int(value * bins)) == place]
        if members:
            mean = sum(shown[i] for i in members) / len(members)
            total += abs(mean - sum(right[i] for i in members) / len(members)) * len(members)
    return total / len(shown) if shown else 0.0


@cache
def shipped() -> Calibration:
    raw = files("knowledge.language_models").joinpath("data/calibration.json").read_text(encoding="utf-8")
    return from_json(json.loads(raw))


def from_json(data: Mapping[str, Any]) -> Calibration:
    kinds = {FailureKind(kind): (float(shift), int(count)) for kind, (shift, count) in data["kinds"].items()}
    return Calibration(float(data["slope"]), float(data["offset"]), kinds, int(data["samples"]))


def to_json(fitted: Calibration) -> dict[str, Any]:
    kinds = {kind.value: list(pair) for kind, pair in fitted.kinds.items()}
    return {"slope": fitted.slope, "offset": fitted.offset, "samples": fitted.samples, "kinds": kinds}


def _logit(value: float) -> float:
    value = min(1 - 1e-4, max(1e-4, value))
    return math.log(value / (1 - value))


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-min(40.0, max(-40.0, value))))
