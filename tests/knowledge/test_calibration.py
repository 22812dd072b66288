import random

from knowledge.calibration import (
    Calibrated,
    Calibration,
    Outcomes,
    expected_calibration_error,
    fit,
    from_json,
    shipped,
    to_json,
    with_outcomes,
)
from knowledge.model import FailureKind

K = FailureKind


def _overconfident(kind: FailureKind, count: int, seed: int = 3) -> tuple[list[float], list[bool], list[FailureKind]]:
    """Answers that claim much and hold a fifth less of it."""
    chance = random.Random(seed)
    raw = [chance.uniform(0.5, 0.99) for _ in range(count)]
    return raw, [chance.random() < value * 0.8 for value in raw], [kind] * count


def test_overconfident_answers_are_shown_as_often_right_as_they_are() -> None:
    raw, right, kinds = _overconfident(K.NETWORK, 400)
    fitted = fit(raw, right, kinds)
    shown = [fitted.apply(K.NETWORK, value).value for value in raw]
    assert expected_calibration_error(raw, right) > 0.12
    assert expected_calibration_error(shown, right) < 0.06
    assert from_json(to_json(fitted)) == fitted


def test_kind_seen_three_times_hardly_moves_and_one_seen_often_does() -> None:
    raw, right, kinds = _overconfident(K.NETWORK, 300)
    few = fit([*raw, 0.9, 0.9, 0.9], [*right, False, False, False], [*kinds, *[K.CRASHLOOP] * 3])
    many = fit([*raw, *[0.9] * 60], [*right, *[False] * 60], [*kinds, *[K.CRASHLOOP] * 60])
    assert few.apply(K.CRASHLOOP, 0.9).value > 0.35
    assert many.apply(K.CRASHLOOP, 0.9).value < 0.35
    assert few.apply(K.CRASHLOOP, 0.9).samples == 3


def test_what_happened_here_moves_the_shown_value_by_as_much_as_there_is_of_it() -> None:
    before = Calibrated(0.9, 12)
    assert with_outcomes(before, Outcomes()) == before
    once, often = with_outcomes(before, Outcomes(0, 1)), with_outcomes(before, Outcomes(0, 40))
    assert 0.8 < once.value < 0.9
    assert often.value < 0.4
    assert often.samples == 52
    assert with_outcomes(before, Outcomes(40, 0)).value > before.value


def test_a_kinds_good_record_is_no_evidence_of_this_case() -> None:
    """It says how often such answers were right, not that this one is: half of the doubt stays."""
    always = Outcomes(500, 0)
    shown = [with_outcomes(Calibrated(value, 5), always).value for value in (0.2, 0.4, 0.7, 0.9)]
    assert shown == [0.6, 0.7, 0.85, 0.95]
    assert with_outcomes(Calibrated(0.4, 5), Outcomes(2, 0)).value < 0.5, "a short one moves it as little as before"


def test_shipped_curve_rises_and_never_claims_certainty() -> None:
    curve: Calibration = shipped()
    values = [curve.apply(K.UNKNOWN, step / 20).value for step in range(21)]
    assert values == sorted(values)
    assert values[-1] < 1
    assert curve.samples >= 200
