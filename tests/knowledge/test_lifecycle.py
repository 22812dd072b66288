"""Where an incident may go, and that it ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge.lifecycle import MOVES, UNDER_WAY, closes_by_itself, may_move
from knowledge.model import IncidentState
from knowledge.model.failing import CLOSED_STATES
from tests.rows import S

STATES = st.sampled_from(IncidentState)
# Written out, apart from the table: a move that is added or lost must be meant.
ALLOWED = {
    "detected": "diagnosing escalated resolved dismissed",
    "diagnosing": "proposed waiting blocked running escalated resolved dismissed",
    "proposed": "diagnosing escalated resolved dismissed",
    "waiting": "diagnosing running escalated resolved dismissed",
    "blocked": "diagnosing escalated resolved dismissed",
    "running": "verifying not_verified escalated",
    "verifying": "healed not_verified undone escalated",
    "not_verified": "diagnosing escalated resolved dismissed",
    "undone": "diagnosing escalated resolved dismissed",
    "escalated": "diagnosing resolved dismissed",
    "healed": "",
    "dismissed": "",
    "resolved": "",
}


@pytest.mark.parametrize("now", IncidentState)
@pytest.mark.parametrize("then", IncidentState)
def test_each_move_is_allowed_or_not(now: IncidentState, then: IncidentState) -> None:
    assert may_move(now, then) == (now is then or then in ALLOWED[now].split())


def test_every_state_is_in_the_table_and_the_closed_ones_lead_nowhere() -> None:
    assert set(MOVES) == set(IncidentState)
    assert {state for state, then in MOVES.items() if not then} == CLOSED_STATES


@given(STATES, st.lists(STATES, max_size=40))
def test_no_path_leaves_a_closed_state(start: IncidentState, wishes: list[IncidentState]) -> None:
    now = start
    for wish in wishes:
        before = now
        now = wish if may_move(now, wish) else now
        assert before not in CLOSED_STATES or now is before


@given(STATES)
def test_every_state_can_be_reached_and_can_end(state: IncidentState) -> None:
    def reached(start: IncidentState) -> set[IncidentState]:
        seen, left = {start}, [start]
        while left:
            left += [then for then in MOVES[left.pop()] if then not in seen and not seen.add(then)]  # type: ignore[func-returns-value]
        return seen

    assert state in reached(S.DETECTED)
    assert reached(state) & CLOSED_STATES


@pytest.mark.parametrize("state", IncidentState)
def test_a_recovery_closes_what_is_open_and_not_being_fixed(state: IncidentState) -> None:
    assert closes_by_itself(state) == (state not in CLOSED_STATES | UNDER_WAY)
