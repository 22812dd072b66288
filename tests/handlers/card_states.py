"""One realistic view per state, for tests and for the pictures in the documentation."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from handlers.blocks.card_view import CardView
from knowledge.model import (
    Action,
    AnswerSource,
    Approval,
    ApprovalState,
    Ask,
    Auto,
    Blocked,
    Decision,
    Diagnosis,
    Evidence,
    Execution,
    ExecutionState,
    FailureKind,
    Fixability,
    Incident,
    IncidentState,
    KnowledgeItem,
    Outcome,
    Plan,
    Precedent,
    Quote,
    Risk,
    RuleResult,
    Target,
    Unsure,
    Verification,
)

S = IncidentState
OPENED = datetime(2026, 3, 2, 14, 2, tzinfo=UTC)
NOW = OPENED + timedelta(minutes=6)
ANNA, BORIS, ON_CALL = "U0ANNA", "U0BORIS", "S0ONCALL"

TARGET = Target("Deployment", "checkout", "shop", "sandbox", service="checkout", environment="prod")
ACTION = Action("k8s_rollback", TARGET, {"to_revision": 41})

INCIDENT = Incident(
    id=12,
    identity="shop/checkout/crash",
    title="KubePodCrashLooping: checkout-7d9f restarts every 30 s",
    state=S.DETECTED,
    source="alertmanager",
    severity="critical",
    service="checkout",
    environment="prod",
    namespace="shop",
    workload="checkout-7d9f",
    cluster="sandbox",
    repository="acme/checkout",
    run_id="",
    channel="C0DEPLOYS",
    thread_ts="1772460120.000100",
    trusted=True,
    flagged=False,
    target=TARGET,
    kind=FailureKind.CONFIG_ERROR,
    alert_count=3,
    opened_at=OPENED,
    last_alert_at=OPENED + timedelta(minutes=5),
    resolved_at=None,
    revision=4,
)

EVIDENCE = (
    Evidence("pod_status", "pod/checkout-7d9f", "CrashLoopBackOff, exit code 1, 6 restarts"),
    Evidence(
        "previous_logs",
        "pod/checkout-7d9f",
        "starting checkout 1.8.2\nKeyError: 'PAYMENTS_URL'\nexit 1",
        truncated_chars=18_204,
        link="https://logs.example.com/checkout-7d9f?since=14:00&pod=checkout",
    ),
    Evidence("events", "namespace/shop", "", could_not="the API server did not answer within 5 s"),
)

DIAGNOSIS = Diagnosis(
    kind=FailureKind.CONFIG_ERROR,
    confidence=0.86,
    cause="Version 1.8.2 reads PAYMENTS_URL, which is not set in this environment, and exits.",
    summary="The container exits at start with KeyError since the rollout of 1.8.2 five minutes ago.",
    fixability=Fixability.AUTO,
    quotes=(
        Quote(1, 2, "KeyError: 'PAYMENTS_URL'"),
        Quote(0, 1, "CrashLoopBackOff, exit code 1, 6 restarts"),
    ),
    answered_by=AnswerSource("built-in", 42, "no NVIDIA key is set"),
    candidates=((FailureKind.CONFIG_ERROR, 0.86), (FailureKind.CRASHLOOP, 0.11)),
    ruled_out=("Out of memory: the last exit code is 1, not 137",),
)
UNSURE = Unsure(
    "Two causes fit equally well and the previous log could not be read.",
    ("the log before the restart", "the rollout history"),
    AnswerSource("built-in", 38),
    candidates=((FailureKind.CRASHLOOP, 0.41), (FailureKind.CONFIG_ERROR, 0.4)),
)

PLAN = Plan(
    action=ACTION,
    candidates=("k8s_rollback", "k8s_restart_pod"),
    excluded=(("k8s_restart_pod", "the same version would start with the same configuration"),),
    preview="Roll back checkout from version 1.8.2 to 1.8.1, which ran for 6 days.",
    diff="-  image: acme/checkout:1.8.2\n+  image: acme/checkout:1.8.1",
    risk=Risk.MEDIUM,
    expected_seconds=40,
    blast_radius="3 pods of checkout in shop",
    undo="roll forward to 1.8.2",
    basis="worked 14 of 16 times here",
)
NO_PLAN = Plan(action=None, no_action_because="A disk that fills up needs a person to decide what may go.")

RULES = (
    RuleResult("mode", "automatic", "approve", False, "ask", "/codehealer mode automatic"),
    RuleResult("production asks a person", "staging or dev", "prod", False, "ask", "an approver"),
    RuleResult("fixes an hour", "under 5 for the service", "2", True, "block"),
)
ASK = Decision(Ask((ANNA, BORIS, ON_CALL), 2, NOW + timedelta(minutes=24)), "approve", "slack_first", RULES)
AUTO = Decision(Auto(), "automatic", "hybrid", RULES[2:])
SUGGEST = replace(ASK, mode="suggest")
BLOCKED = Decision(
    Blocked("fixes an hour: 5 (limit: under 5 for the service)", "wait, or raise limits.fixes_per_hour"),
    "approve",
    "slack_first",
    (
        *RULES[:2],
        RuleResult(
            "fixes an hour", "under 5 for the service", "5", False, "block", "wait, or raise limits.fixes_per_hour"
        ),
    ),
)

APPROVAL = Approval(
    id=7,
    incident_id=12,
    plan_id=9,
    digest=ACTION.digest,
    state=ApprovalState.OPEN,
    needed=2,
    who=(ANNA, BORIS, ON_CALL),
    until=NOW + timedelta(minutes=24),
    approved_by=(ANNA,),
    decided_by="",
    reason="",
)
APPROVED = replace(APPROVAL, state=ApprovalState.APPROVED, approved_by=(ANNA, BORIS), decided_by=BORIS)
REJECTED = replace(
    APPROVAL,
    state=ApprovalState.REJECTED,
    decided_by=BORIS,
    reason="right_cause_wrong_fix: 1.8.1 cannot read the new table.",
)

EXECUTION = Execution(
    id=3,
    incident_id=12,
    approval_id=7,
    action=ACTION,
    state=ExecutionState.STARTED,
    fencing_token=1,
    snapshot={"revision": 42},
    outcome=None,
    started_at=NOW,
    finished_at=None,
)
ACTED = replace(
    EXECUTION,
    state=ExecutionState.ACTED,
    outcome=Outcome(True, True, "Rolled back to revision 41 (1.8.1)."),
    finished_at=NOW + timedelta(seconds=20),
)
CHECKS = (
    RuleResult("pods ready", "3 of 3", "3 of 3", True),
    RuleResult("restarts since the fix", "0", "0", True),
)
VERIFIED = Verification("verified", CHECKS, "3 of 3 pods are ready and none has restarted for 60 s.")
PENDING = Verification("pending", CHECKS[:1], "2 of 3 pods are ready.")
NOT_VERIFIED = Verification(
    "not_verified",
    (RuleResult("pods ready", "3 of 3", "not known", False),),
    "The cluster did not answer until the deadline, so nothing is known.",
)
WORSE = Verification(
    "worse",
    (RuleResult("pods ready", "at least 1, as before", "0", False),),
    "0 of 3 pods were ready after the rollback, 1 before it.",
)

PRECEDENTS = (
    Precedent(
        KnowledgeItem(
            "incident-4",
            "incident",
            FailureKind.CONFIG_ERROR,
            "cart",
            "prod",
            "CART_DB was missing after a rollout",
            "k8s_rollback",
            "verified",
            "KeyError: 'CART_DB'",
            "https://acme.slack.com/archives/C0DEPLOYS/p1770000000000100",
            OPENED - timedelta(days=29),
            4,
        ),
        0.91,
        0.88,
        thumbs_up=3,
    ),
    Precedent(
        KnowledgeItem(
            "import-88",
            "import",
            FailureKind.CONFIG_ERROR,
            "search",
            "staging",
            "a renamed secret",
            "",
            "",
            "",
            "",
            OPENED - timedelta(days=210),
        ),
        0.42,
        0.7,
        thumbs_down=3,
        why="ranked lower since 3 people said it did not help",
    ),
)

FAILED = replace(
    EXECUTION,
    state=ExecutionState.FAILED,
    outcome=Outcome(False, False, "The cluster refused: deployments/rollback is forbidden for codehealer."),
    finished_at=NOW + timedelta(seconds=2),
)

_NEW = CardView(
    INCIDENT,
    NOW,
    source_link="https://alerts.example.com/12",
    responsible=(ON_CALL,),
)
_ANSWERED = replace(_NEW, diagnosis=DIAGNOSIS, plan=PLAN, decision=ASK, precedents=PRECEDENTS)


def _in(view: CardView, state: IncidentState) -> CardView:
    ended = NOW + timedelta(minutes=2) if state in {S.HEALED, S.RESOLVED, S.DISMISSED} else None
    return replace(view, incident=replace(view.incident, state=state, resolved_at=ended))


STATES: dict[IncidentState, CardView] = {
    S.DETECTED: _in(_NEW, S.DETECTED),
    S.DIAGNOSING: _in(_NEW, S.DIAGNOSING),
    S.PROPOSED: _in(replace(_ANSWERED, decision=SUGGEST), S.PROPOSED),
    S.WAITING: _in(replace(_ANSWERED, approval=APPROVAL), S.WAITING),
    S.BLOCKED: _in(replace(_ANSWERED, decision=BLOCKED), S.BLOCKED),
    S.RUNNING: _in(replace(_ANSWERED, approval=APPROVED, execution=EXECUTION), S.RUNNING),
    S.VERIFYING: _in(
        replace(_ANSWERED, approval=APPROVED, execution=ACTED, verification=PENDING, feedback_counts=(1, 0)),
        S.VERIFYING,
    ),
    S.HEALED: _in(
        replace(_ANSWERED, approval=APPROVED, execution=ACTED, verification=VERIFIED, feedback_counts=(2, 1)),
        S.HEALED,
    ),
    S.NOT_VERIFIED: _in(
        replace(_ANSWERED, approval=APPROVED, execution=ACTED, verification=NOT_VERIFIED), S.NOT_VERIFIED
    ),
    S.UNDONE: _in(
        replace(
            _ANSWERED,
            approval=APPROVED,
            execution=replace(ACTED, state=ExecutionState.UNDONE),
            verification=WORSE,
        ),
        S.UNDONE,
    ),
    S.ESCALATED: _in(replace(_NEW, diagnosis=UNSURE, plan=NO_PLAN, decision=SUGGEST), S.ESCALATED),
    S.DISMISSED: _in(
        replace(
            _ANSWERED,
            approval=REJECTED,
            decided_note="already_fixed: the variable was added by hand.",
        ),
        S.DISMISSED,
    ),
    S.RESOLVED: _in(replace(_ANSWERED, approval=replace(APPROVAL, state=ApprovalState.WITHDRAWN)), S.RESOLVED),
}

OBSERVED = replace(STATES[S.PROPOSED], decision=replace(ASK, mode="observe"))
ONE_APPROVER = replace(STATES[S.WAITING], approval=replace(APPROVAL, needed=1, approved_by=(), who=(ANNA,)))
REJECTED_ESCALATION = _in(replace(_ANSWERED, approval=REJECTED), S.ESCALATED)
EXPIRED_ESCALATION = _in(replace(_ANSWERED, approval=replace(APPROVAL, state=ApprovalState.EXPIRED)), S.ESCALATED)
FAILED_ESCALATION = _in(replace(_ANSWERED, approval=APPROVED, execution=FAILED, decided_note="fine"), S.ESCALATED)
AUTOMATIC = _in(
    replace(
        _ANSWERED,
        decision=AUTO,
        approval=replace(APPROVED, automatic=True, approved_by=(), decided_by=""),
        execution=EXECUTION,
    ),
    S.RUNNING,
)

SCHEDULED = replace(
    STATES[S.WAITING],
    approval=replace(APPROVED, state=ApprovalState.SCHEDULED, run_at=datetime(2026, 3, 3, 6, 0, tzinfo=UTC)),
)
SNOOZED = replace(
    STATES[S.WAITING], approval=replace(APPROVAL, snoozed_until=NOW + timedelta(minutes=45), snoozed_by=BORIS)
)
ASSIGNED = _in(
    replace(
        _ANSWERED,
        approval=replace(APPROVAL, state=ApprovalState.WITHDRAWN, reason="a person is on it"),
        decided_note="a person is on it",
        incident=replace(INCIDENT, assigned_to=ANNA, by_hand="a person is on it"),
    ),
    S.ESCALATED,
)
TWICE = replace(
    STATES[S.WAITING],
    plan=replace(PLAN, twice="A database migration lies between the two revisions; a rollback does not undo it."),
)

QUIET = replace(STATES[S.WAITING], quiet_until="07:00 Europe/Paris")
MERGED = _in(replace(_NEW, incident=replace(INCIDENT, merged_into=11)), S.DISMISSED)
LONGEST = _in(
    replace(
        _ANSWERED,
        incident=replace(
            INCIDENT,
            title="🔥" * 40 + "מערכת התשלומים נפלה " + "x" * 255,
            service="payments-" * 28,
            severity="catastrophic",
        ),
        diagnosis=replace(DIAGNOSIS, cause="<!channel> <@U0ANNA> " + "the log goes on and on " * 2000),
        plan=replace(PLAN, preview="roll back " + "y" * 4000, blast_radius="z" * 255, undo="w" * 255),
        approval=APPROVAL,
    ),
    S.WAITING,
)

VARIANTS: dict[str, CardView] = {
    **{state.value: view for state, view in STATES.items()},
    "observe": OBSERVED,
    "waiting for one": ONE_APPROVER,
    "escalated after a rejection": REJECTED_ESCALATION,
    "escalated after expiry": EXPIRED_ESCALATION,
    "escalated after a failed fix": FAILED_ESCALATION,
    "running by itself": AUTOMATIC,
    "approved for later": SCHEDULED,
    "assigned": ASSIGNED,
}
