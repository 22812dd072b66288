"""What a call costs, and what the limits say about it."""

import pytest

from knowledge.budget import UNKNOWN_PRICE, Amount, Limits, cost, estimate, price_of, refused, warnings

LIMITS = Limits(Amount(1_000, 1.0), Amount(10_000, 5.0), Amount(100_000, 20.0))


def test_price_is_that_of_the_longest_known_beginning_and_dear_when_unknown() -> None:
    prices = {"gpt-5": (1.0, 2.0), "gpt-5-mini": (0.1, 0.2)}
    assert price_of("gpt-5-mini-2026", prices) == (0.1, 0.2)
    assert price_of("gpt-5.9", prices) == (1.0, 2.0)
    assert price_of("brand-new", prices) == UNKNOWN_PRICE
    assert cost("gpt-5", 1_000_000, 500_000, prices) == pytest.approx(2.0)
    assert estimate("gpt-5", 3_000, 500, prices).tokens == 1_501


@pytest.mark.parametrize(
    ("spent", "wanted", "why"),
    [
        ({}, Amount(1_000, 1.0), ""),
        ({}, Amount(1_001), "the incident's limit of 1,000 tokens is reached"),
        ({"incident": Amount(0, 0.95)}, Amount(10, 0.1), "the incident's limit of $1.00 is reached"),
        ({"hour": Amount(9_900)}, Amount(101), "the hour's limit of 10,000 tokens is reached"),
        ({"month": Amount(5, 19.99)}, Amount(5, 0.02), "the month's limit of $20.00 is reached"),
    ],
)
def test_first_limit_that_would_be_passed_is_named(spent: dict[str, Amount], wanted: Amount, why: str) -> None:
    assert refused(LIMITS, spent, wanted) == why


def test_warning_comes_at_four_fifths_of_hour_or_month() -> None:
    assert warnings(LIMITS, {"incident": Amount(1_000), "hour": Amount(7_999, 3.9)}) == []
    near = warnings(LIMITS, {"hour": Amount(8_000), "month": Amount(1, 18.0)})
    assert near == [
        ("hour", "80% of the hour's model limit is used"),
        ("month", "90% of the month's model limit is used"),
    ]


def test_limit_of_nothing_refuses_everything() -> None:
    assert refused(Limits(Amount(), Amount(), Amount()), {}, Amount(1)) == "the incident's limit of 0 tokens is reached"
