"""Whose click counts, until when, and how often."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from knowledge.model import Approval, ApprovalState
from remediation.approvals import Allowed, Denied, Person, check_click, check_reject
from remediation.policy import Policy, parse_policy

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
POLICY = parse_policy("approvers: {users: [U1, U2], groups: [S1], channels: [C1]}")
REQUEST = Approval(
    1, 1, 1, "digest", ApprovalState.OPEN, 1, ("U1", "U2", "S1", "C1"), NOW + timedelta(minutes=30), (), "", ""
)  # fmt: skip


def click(
    user: Person, approval: Approval = REQUEST, *, policy: Policy = POLICY, **changes: object
) -> Allowed | Denied:
    facts = {"digest": "digest", "now": NOW, "paused": False, **changes}
    return check_click(
        approval, user, str(facts["digest"]), now=facts["now"], policy=policy, paused=bool(facts["paused"])  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize(
    "user",
    [Person("U1"), Person("U9", groups=frozenset({"S1"})), Person("U9", channels=frozenset({"C1", "C7"}))],
    ids=["named", "of a named group", "of a named channel"],
)
def test_an_approver_is_enough(user: Person) -> None:
    assert click(user) == Allowed((user.id,), True)


@pytest.mark.parametrize(
    ("user", "words"),
    [
        (Person("U9"), "<@U1>"),
        (Person("U1", is_bot=True), "Bots"),
        (Person("U1", deleted=True), "deactivated"),
        (Person("U1", restricted=True), "Guests"),
        (Person("U1", foreign=True), "Slack Connect"),
        (Person("U9", groups=frozenset({"S2"})), "may not"),
    ],
    ids=["stranger", "bot", "deactivated", "guest", "foreign", "other group"],
)
def test_others_are_refused_with_a_sentence(user: Person, words: str) -> None:
    for answer in (click(user), check_reject(REQUEST, user, now=NOW, policy=POLICY)):
        assert isinstance(answer, Denied)
        assert words in answer.reason


def test_two_different_people_where_two_are_needed() -> None:
    needs_two = replace(REQUEST, needed=2)
    assert click(Person("U1"), needs_two) == Allowed(("U1",), False)
    half = replace(needs_two, approved_by=("U1",))
    again = click(Person("U1"), half)
    assert isinstance(again, Denied)
    assert "1 more" in again.reason
    assert click(Person("U2"), half) == Allowed(("U1", "U2"), True)


def test_a_click_counts_only_for_the_very_proposal_that_was_drawn() -> None:
    answer = click(Person("U1"), digest="another")
    assert isinstance(answer, Denied)
    assert "has changed" in answer.reason


def test_an_expired_request_is_not_approved_even_before_it_is_closed() -> None:
    assert isinstance(click(Person("U1"), now=REQUEST.until), Denied)
    assert isinstance(click(Person("U1"), now=REQUEST.until - timedelta(seconds=1)), Allowed)


ENDED = [state for state in ApprovalState if state not in {ApprovalState.OPEN, ApprovalState.SCHEDULED}]


@pytest.mark.parametrize("state", ENDED)
def test_what_is_closed_stays_closed(state: ApprovalState) -> None:
    closed = replace(REQUEST, state=state, decided_by="U2")
    for answer in (click(Person("U1"), closed), check_reject(closed, Person("U1"), now=NOW, policy=POLICY)):
        assert isinstance(answer, Denied)
        assert answer.reason


def test_while_paused_or_read_only_nothing_is_approved_but_may_be_rejected() -> None:
    assert isinstance(click(Person("U1"), paused=True), Denied)
    read_only = parse_policy("approvers: {users: [U1]}\nread_only: true")
    assert isinstance(click(Person("U1"), policy=read_only), Denied)
    assert isinstance(check_reject(REQUEST, Person("U1"), now=NOW, policy=read_only), Allowed)


def test_who_was_removed_from_the_policy_since_may_not_approve() -> None:
    assert isinstance(click(Person("U1"), policy=parse_policy("approvers: {users: [U2]}")), Denied)
    added_later = parse_policy("approvers: {users: [U1, U8]}")
    assert isinstance(click(Person("U8"), policy=added_later), Denied)


def test_a_policy_without_approvers_says_what_to_do() -> None:
    answer = click(Person("U1"), policy=parse_policy(""))
    assert isinstance(answer, Denied)
    assert "policy.yaml" in answer.reason
