"""Which past incident helps most: pure ranking over what the store found."""

from dataclasses import replace
from datetime import timedelta

import pytest

from knowledge.model import FailureKind, Precedent
from knowledge.retrieval import is_question, rank
from knowledge.store.memory import Found
from tests.rows import NOW, item

K = FailureKind.CRASHLOOP


def found(
    name: str, *, similarity: float = 0.8, rank: float = 0.5, up: int = 0, down: int = 0, **changes: object
) -> Found:
    return Found(replace(item(name), **changes), similarity, rank, up, down)  # type: ignore[arg-type]


def ranked(
    *candidates: Found, kind: FailureKind | None = K, question: bool = False, **more: int
) -> tuple[Precedent, ...]:
    return rank(candidates, question=question, now=NOW, kind=kind, service="checkout", **more)


def names(precedents: tuple[Precedent, ...]) -> list[str]:
    return [one.item.id for one in precedents]


def score(one: Found, *beside: Found, **more: object) -> float:
    """The score of `one`, 0 where it is not shown."""
    precedents = ranked(one, *beside, **more)  # type: ignore[arg-type]
    return next((shown.score for shown in precedents if shown.item.id == one.item.id), 0.0)


def test_feedback_moves_the_order_and_down_weighs_more_than_up() -> None:
    assert names(ranked(found("a", down=1), found("b"), found("c", up=2))) == ["c", "b", "a"]
    assert names(ranked(found("a", up=3, down=1), found("b"))) == ["b", "a"]
    assert "2 people said it did not help" in ranked(found("a", down=2))[0].why


def test_no_number_of_thumbs_up_makes_more_than_certainty_nor_of_thumbs_down_less_than_nothing() -> None:
    assert score(found("a", up=1000)) <= 1.0
    assert ranked(found("a", down=1000)) == ()


def test_what_worked_comes_before_what_did_not() -> None:
    ends = ["worse", "failed", "not_verified", "", "resolved", "verified"]
    order = names(ranked(*(found(end or "unknown", outcome=end) for end in ends), limit=10))
    assert order == ["verified", "resolved", "unknown", "not_verified", "failed", "worse"]


def test_age_lowers_but_never_buries() -> None:
    fresh, old, ancient = (
        found(name, similarity=0.5, occurred_at=NOW - timedelta(days=days))
        for name, days in (("f", 0), ("o", 180), ("a", 5000))
    )
    assert names(ranked(ancient, old, fresh)) == ["f", "o", "a"]
    assert score(ancient) == pytest.approx(0.6 * score(fresh), abs=0.01)
    assert score(found("from the future", similarity=0.5, occurred_at=NOW + timedelta(days=1))) == score(fresh)


def test_another_kind_counts_less() -> None:
    same, other = score(found("a", outcome="resolved")), score(found("a", kind=FailureKind.NETWORK, outcome="resolved"))
    assert 0 < other < same


def test_a_false_alarm_is_no_precedent_for_a_failure() -> None:
    alarm = found("a", kind=FailureKind.HEALTHY)
    assert ranked(alarm) == ()
    assert names(ranked(alarm, kind=FailureKind.HEALTHY)) == ["a"]
    assert names(ranked(alarm, kind=None)) == ["a"], "before there is a diagnosis, it may be one"


def test_nothing_weak_is_shown() -> None:
    network = FailureKind.NETWORK
    assert ranked() == ()
    assert ranked(found("a", similarity=0.2, rank=0.04)) == ()
    assert ranked(found("a", similarity=0.6, rank=0.1, kind=network)) == (), "another kind must be very alike"
    assert names(ranked(found("a", similarity=0.3, rank=0.0))) == ["a"], "the same kind less so"
    assert ranked(found("a", similarity=0.4, rank=0.1), kind=None) == ()
    assert names(ranked(found("a", similarity=0.4, rank=0.1), kind=None, question=True)) == ["a"], "few words are alike"
    assert names(ranked(found("a", similarity=0.0, rank=0.3), kind=None)) == ["a"], "words alone will do"


def test_the_very_same_failure_comes_first_even_where_it_ended_badly() -> None:
    again = replace(found("z", similarity=0.3, rank=0.1, outcome="worse"), same_identity=True)
    shown = ranked(found("a"), again)
    assert names(shown) == ["z", "a"]
    assert shown[0].why.startswith("the same failure as before")
    assert "its fix did not help" in shown[0].why


def test_what_the_neighbours_are_decides_between_equals_where_no_kind_is_told() -> None:
    odd = found("a odd", kind=FailureKind.NETWORK)
    assert names(ranked(odd, found("b"), found("c"), kind=None))[-1] == "a odd"


def test_words_win_for_a_log_and_meaning_for_a_question() -> None:
    worded, alike = found("words", similarity=0.5, rank=0.8), found("meaning", similarity=0.8, rank=0.5)
    assert names(ranked(worded, alike, question=False)) == ["words", "meaning"]
    assert names(ranked(worded, alike, question=True)) == ["meaning", "words"]


def test_equals_are_in_a_fixed_order_and_at_most_so_many_are_shown() -> None:
    candidates = [found(name) for name in "edcba"]
    assert names(ranked(*candidates, limit=3)) == ["a", "b", "c"]


def test_it_says_why_it_is_shown() -> None:
    assert ranked(found("a"))[0].why == "same cause, same service"
    assert ranked(found("a", kind=None, service=""))[0].why == "similar evidence"


@pytest.mark.parametrize(
    "text",
    [
        "why does checkout crash",
        "how do I fix a failing migration?",
        "the deploy of catalog is stuck since this morning",
        "pods restart again and again",
        "Is the API down",
        "the pod's service account has no right to read secrets",
        "our nightly job ran into the rate limit of Docker Hub again",
    ],
)
def test_a_persons_words_are_a_question(text: str) -> None:
    assert is_question(text)


@pytest.mark.parametrize(
    "text",
    [
        "npm error code ERESOLVE\nnpm error ERESOLVE unable to resolve dependency tree",
        "java.lang.OutOfMemoryError: Java heap space at com.acme.Main.run(Main.java:17)",
        '{"level":"error","msg":"dial tcp 10.0.0.1:5432: connect: connection refused"}',
        "12:03:04 ERROR FATAL: password authentication failed",
        "error: Dirty database version 40. Fix and force version.",
        "container exited with code 137",
        "x509: certificate signed by unknown authority",
    ],
)
def test_a_pasted_log_is_none(text: str) -> None:
    assert not is_question(text)


def test_what_people_marked_old_weighs_less_and_what_they_marked_wrong_is_no_precedent() -> None:
    wrong = found("wrong", similarity=0.99, rank=1.0, up=9, status="wrong")
    assert names(ranked(found("old", status="old"), found("stands"), wrong)) == ["stands", "old"]
    assert names(ranked(wrong)) == [], "even where it is the only one, and everybody liked it"
    assert names(ranked(replace(wrong, same_identity=True))) == [], "even where it is the very same failure"
    assert "marked old" in ranked(found("old", status="old"))[0].why
