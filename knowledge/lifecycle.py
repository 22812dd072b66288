"""An incident's states and the moves between them: pure, and the only place that knows them."""

from knowledge.model import IncidentState as S

# What may follow what. A repeat of an alert never moves anything; a resolved alert may close any state in which
# nothing of ours is under way (see `closes_by_itself`).
MOVES: dict[S, frozenset[S]] = {
    S.DETECTED: frozenset({S.DIAGNOSING, S.RESOLVED, S.DISMISSED, S.ESCALATED}),
    S.DIAGNOSING: frozenset({S.PROPOSED, S.WAITING, S.BLOCKED, S.RUNNING, S.ESCALATED, S.RESOLVED, S.DISMISSED}),
    S.PROPOSED: frozenset({S.DIAGNOSING, S.RESOLVED, S.DISMISSED, S.ESCALATED}),
    S.WAITING: frozenset({S.DIAGNOSING, S.RUNNING, S.DISMISSED, S.ESCALATED, S.RESOLVED}),
    S.BLOCKED: frozenset({S.DIAGNOSING, S.RESOLVED, S.DISMISSED, S.ESCALATED}),
    S.RUNNING: frozenset({S.VERIFYING, S.ESCALATED, S.NOT_VERIFIED}),
    S.VERIFYING: frozenset({S.HEALED, S.NOT_VERIFIED, S.UNDONE, S.ESCALATED}),
    S.NOT_VERIFIED: frozenset({S.DIAGNOSING, S.ESCALATED, S.RESOLVED, S.DISMISSED}),
    S.UNDONE: frozenset({S.DIAGNOSING, S.ESCALATED, S.RESOLVED, S.DISMISSED}),
    S.ESCALATED: frozenset({S.DIAGNOSING, S.RESOLVED, S.DISMISSED}),
    S.HEALED: frozenset(),
    S.DISMISSED: frozenset(),
    S.RESOLVED: frozenset(),
}

# A running fix is verified first: "resolved by itself" would hide what our own action did.
UNDER_WAY = frozenset({S.RUNNING, S.VERIFYING})


def may_move(now: S, then: S) -> bool:
    """True when `then` may follow `now`; staying is always allowed, so that a stage can run twice."""
    return now is then or then in MOVES[now]


def closes_by_itself(now: S) -> bool:
    """True when a resolved alert may close an incident that is in state `now`; what is closed is not closed again."""
    return now not in UNDER_WAY and S.RESOLVED in MOVES[now]
