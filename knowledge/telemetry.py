"""What this process counts below the web server, for /metrics; bot/metrics.py has the rest.

These are of the process, as usual with Prometheus: sum over the replicas. What became of incidents (decisions, fixes,
verdicts) is counted from the audit log by the leader alone, so that each is counted once (bot/outcomes.py).
"""

from prometheus_client import CollectorRegistry, Counter, Histogram

REGISTRY = CollectorRegistry()

# A card within 3 s and a diagnosis within 60 s are promised: the buckets lie around these.
SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120, 300, 900)
PERSON_SECONDS = (5, 15, 30, 60, 120, 300, 600, 1800, 3600, 14400, 86400)

STAGE_LAG = Histogram(
    "codehealer_stage_lag_seconds",
    "Until a stage was done: alert, from the receipt of the delivery; card, from the opening of the incident; evidence "
    "and decision, from the opening or the wish to look again",
    ["stage"],
    buckets=SECONDS,
    registry=REGISTRY,
)
JOB_SECONDS = Histogram(
    "codehealer_job_seconds", "How long a job took, by its stage", ["stage"], buckets=SECONDS, registry=REGISTRY
)
JOBS = Counter(
    "codehealer_jobs_total", "Jobs that ended, by stage and result: done or failed", ["stage", "result"],
    registry=REGISTRY,
)  # fmt: skip
SLACK_MESSAGES = Counter(
    "codehealer_slack_messages_total",
    "What became of attempts to send: sent, limited (429), later (tried again) or refused (given up)",
    ["kind", "result"],
    registry=REGISTRY,
)
MODEL_CALLS = Counter(
    "codehealer_model_calls_total",
    "Calls of hosted models by result: answered, unreadable, unavailable or refused",
    ["service", "model", "result"],
    registry=REGISTRY,
)
MODEL_SECONDS = Histogram(
    "codehealer_model_call_seconds", "How long a call of a hosted model took", ["service"], buckets=SECONDS,
    registry=REGISTRY,
)  # fmt: skip
MODEL_TOKENS = Counter(
    "codehealer_model_tokens_total", "Tokens by direction: input or output", ["service", "model", "direction"],
    registry=REGISTRY,
)  # fmt: skip
MODEL_COST = Counter(
    "codehealer_model_cost_usd_total", "What hosted models cost, in US dollars", ["service", "model"],
    registry=REGISTRY,
)  # fmt: skip
ANSWERS = Counter(
    "codehealer_diagnoses_total",
    "Diagnoses by who answered, and whether others were asked before and did not (fallback)",
    ["answerer", "fallback"],
    registry=REGISTRY,
)
OUTCOMES = {
    "decision": Counter(
        "codehealer_decisions_total", "The policy's decisions by verdict", ["verdict"], registry=REGISTRY
    ),
    "approval": Counter(
        "codehealer_approvals_total",
        "What became of requests for approval: approved, rejected, expired, refused (a click that did not count), …",
        ["result"],
        registry=REGISTRY,
    ),
    "execution": Counter(
        "codehealer_executions_total",
        "Fixes that were carried out, by action and result: acted, failed, refused",
        ["action", "result"],
        registry=REGISTRY,
    ),
    "verification": Counter(
        "codehealer_verifications_total", "Verdicts of verifications", ["verdict", "undone"], registry=REGISTRY
    ),
    "wrong": Counter(
        "codehealer_wrong_actions_total",
        "Fixes that made it worse or had to be undone; what people say of it later is in `codehealer stats`",
        ["action"],
        registry=REGISTRY,
    ),
    "outcome": Counter(
        "codehealer_incident_outcomes_total", "How incidents ended, as remembered", ["outcome"], registry=REGISTRY
    ),
}
APPROVAL_SECONDS = Histogram(
    "codehealer_approval_wait_seconds",
    "From a request for approval until people decided",
    buckets=PERSON_SECONDS,
    registry=REGISTRY,
)
HEAL_SECONDS = Histogram(
    "codehealer_heal_seconds",
    "From the opening of an incident until its fix was verified",
    buckets=PERSON_SECONDS,
    registry=REGISTRY,
)
