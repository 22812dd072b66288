"""What the on-call person is told: everything that is known so far, in the fields of one page. Pure, redacted."""

from collections.abc import Mapping

from knowledge.model import KIND_NAMES, Approval, Diagnosis, Execution, Incident, Plan, Unsure, Verification
from knowledge.redaction import redact

MAX_FIELD = 1000
MAX_QUOTES = 5


def summary(incident: Incident, answer: Diagnosis | Unsure | None) -> str:
    """One line: where, and what fails."""
    where = incident.service or incident.workload or incident.repository or "unknown service"
    what = KIND_NAMES[answer.kind] if isinstance(answer, Diagnosis) else incident.title
    environment = f" ({incident.environment})" if incident.environment else ""
    return redact(f"{where}{environment}: {what} - needs a person")


def details(
    incident: Incident,
    answer: Diagnosis | Unsure | None,
    *,
    plan: Plan | None = None,
    approval: Approval | None = None,
    execution: Execution | None = None,
    verification: Verification | None = None,
    with_evidence: bool = True,
) -> dict[str, str]:  # fmt: skip
    """What was found, tried and seen; without what is not known.

    Args:
        with_evidence: false where the policy keeps the evidence from outside services.
    """
    quotes = answer.quotes if answer and with_evidence else ()
    fields: Mapping[str, str] = {
        "alert": incident.title,
        "seen": f"{incident.alert_count} times since {incident.opened_at:%Y-%m-%d %H:%M} UTC",
        "cause": _cause(answer),
        "evidence": "\n".join(quote.text[:200] for quote in quotes[:MAX_QUOTES]),
        "why": _why(plan, approval, execution, verification),
        "tried": _tried(plan, execution),
        "not tried": "; ".join(f"{name}: {why}" for name, why in plan.excluded) if plan else "",
        "target": incident.target.key if incident.target else "",
        "incident": str(incident.id),
    }
    return {name: redact(text)[:MAX_FIELD] for name, text in fields.items() if text}


def _cause(answer: Diagnosis | Unsure | None) -> str:
    if answer is None:
        return "not looked for yet"
    if isinstance(answer, Unsure):
        return f"not known: {answer.reason}"
    return f"{KIND_NAMES[answer.kind]}, {answer.confidence:.0%} sure: {answer.cause or answer.summary}"


def _tried(plan: Plan | None, execution: Execution | None) -> str:
    if execution is None:
        return "nothing"
    what = plan.preview if plan and plan.preview else execution.action.name
    ended = execution.outcome.detail if execution.outcome else "its end is not known"
    return f"{what} {ended}"


def _why(
    plan: Plan | None, approval: Approval | None, execution: Execution | None, verification: Verification | None
) -> str:  # fmt: skip
    """The newest reason why a person is needed."""
    if verification is not None and verification.verdict == "worse":
        return f"the fix made it worse: {verification.detail}"
    if verification is not None:
        return f"the fix is not verified: {verification.detail}"
    if execution is not None and execution.outcome is not None and not execution.outcome.ok:
        return f"the fix failed: {execution.outcome.detail}"
    if approval is not None and approval.reason:
        return f"the request was {approval.state}: {approval.reason}"
    return plan.no_action_because if plan else ""
