"""What happened in an incident, in order: pure, Markdown lines with UTC times."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from handlers import markdown as md
from handlers.blocks.card_decision import reason_words
from handlers.blocks.card_findings import percent
from handlers.blocks.incident_words import title_words
from handlers.blocks.mrkdwn import counted
from handlers.blocks.thread import RUN_WORDS
from knowledge import steering
from knowledge.model import (
    KIND_NAMES,
    AlertStatus,
    Approval,
    ApprovalState,
    Ask,
    Blocked,
    Decision,
    Diagnosis,
    Execution,
    ExecutionState,
    Unsure,
)
from knowledge.store.history import Entry, History, Planned

# A moment, its place among what bears the same time (a transaction has one), and what happened.
Step = tuple[datetime, int, str]
MOST_ALERTS = 10

VERDICT_WORDS: dict[str, str] = {
    "verified": "Verified, the failure is gone",
    "not_verified": "Not verified, nothing proves that the fix helped",
    "worse": "Worse than before the fix",
    "pending": "Still checking",
}


def utc(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def timeline(history: History) -> list[str]:
    """A line a step, oldest first."""
    steps = sorted(_steps(history), key=lambda step: step[:2])
    return [f"- {utc(at)} · {what}" for at, _, what in steps]


def _steps(history: History) -> Iterator[Step]:
    yield from _alert_steps(history)
    for number, one in enumerate(history.answers, start=1):
        # A first look matters only while nothing better has come.
        if not one.value.answered_by.provisional or number == len(history.answers):
            yield one.at, 2, _diagnosed(one.value)
    for planned in history.plans:
        yield planned.at, 3, _proposed(planned.value)
        yield planned.at, 4, f"Decision: {verdict_words(planned.value.decision)}"
    for asked in history.approvals:
        approval, ended_at = asked.value.approval, asked.value.ended_at
        if ended_at is not None:
            yield ended_at, 6, f"Approval: {approval_words(approval)}"
    for run in history.executions:
        yield from _run_steps(run)
    for found in history.verifications:
        detail = md.inline(found.value.detail, 300, "")
        words = VERDICT_WORDS.get(found.value.verdict, md.inline(found.value.verdict, 40))
        yield found.at, 9, f"Verification: {words}{_after(detail)}"
    yield from _audited(history)
    if history.incident.resolved_at is not None:
        yield history.incident.resolved_at, 12, f"End: {state_words(history)}"


def state_words(history: History) -> str:
    return history.incident.state.value.replace("_", " ")


def _alert_steps(history: History) -> Iterator[Step]:
    for one in history.alerts[:MOST_ALERTS]:
        alert = one.value
        word = {AlertStatus.RESOLVED: "Alert resolved", AlertStatus.INFO: "Notice"}.get(alert.status, "Alert")
        summary = "" if alert.summary == alert.title else md.inline(alert.summary, 200, "")
        title = md.inline(title_words(alert.title), 200)
        yield one.at, 1, f"{word} ({md.inline(alert.source, 40)}): {title}{_after(summary)}"
    if len(history.alerts) > MOST_ALERTS:
        yield history.alerts[MOST_ALERTS].at, 1, "Further alerts, from here on left out"


def _diagnosed(answer: Diagnosis | Unsure) -> str:
    by = md.code(answer.answered_by.name)
    if isinstance(answer, Unsure):
        return f"Diagnosis by {by}: no cause that could be stood by ({md.inline(answer.reason, 200)})"
    return f"Diagnosis by {by}: {KIND_NAMES[answer.kind]} ({percent(answer.confidence)})"


def _proposed(planned: Planned) -> str:
    plan = planned.plan
    if plan.action is None:
        return f"No fix proposed: {md.inline(plan.no_action_because, 300, 'none is known')}"
    return f"Proposed: {md.code(plan.action.name)} on {md.code(plan.action.target.key)}"


def verdict_words(decision: Decision) -> str:
    """Who may start the fix, or why nobody may."""
    verdict = decision.verdict
    if isinstance(verdict, Blocked):
        return f"blocked, {md.inline(verdict.why, 300)}"
    if isinstance(verdict, Ask):
        return f"{counted(verdict.how_many, 'approval')} needed of {people(verdict.who)}"
    return "it may run by itself"


def people(ids: tuple[str, ...]) -> str:
    """Ids as ids: a document calls nobody."""
    return ", ".join(md.code(one, 60) for one in ids) or "nobody in particular"


def approval_words(approval: Approval) -> str:
    """What became of a request, by whom, and why."""
    if approval.state is ApprovalState.OPEN:
        return f"open, {len(approval.approved_by)} of {approval.needed} given"
    by = md.code(approval.decided_by, 60)
    if approval.automatic:
        by = "policy"
    elif approval.state in {ApprovalState.APPROVED, ApprovalState.SCHEDULED}:
        by = people(approval.approved_by)
    return f"{approval.state.value} by {by}{_after(md.inline(reason_words(approval.reason), 300, ''))}"


def _run_steps(run: Execution) -> Iterator[Step]:
    what = f"{md.code(run.action.name)} on {md.code(run.action.target.key)}"
    if run.started_at is not None:
        yield run.started_at, 7, f"Execution started: {what}"
    if run.finished_at is not None:
        # An undo is the last word on an execution, and it comes after the verification that asked for it.
        rank = 10 if run.state is ExecutionState.UNDONE else 8
        yield run.finished_at, rank, f"Execution: {run_words(run)}"


def run_words(run: Execution) -> str:
    detail = md.inline(run.outcome.detail, 300, "") if run.outcome else ""
    return f"{RUN_WORDS[run.state]}{_after(detail)}"


def _after(detail: str) -> str:
    return f": {detail}" if detail else ""


# --- what only the audit log tells -----------------------------------------------------------------------------------


def _corrected(payload: Mapping[str, Any]) -> str:
    changes = payload.get("changes")
    return ", ".join(changes) if isinstance(changes, dict) else "the incident"


def _steer(said: Mapping[str, Any]) -> str:
    return steering.read({name: said.get(name) or () for name in ("excluded", "first")}).words


# Entry → (rank, words with the actor); what has rows of its own is told from those.
_AUDITED: dict[str, tuple[int, Callable[[str, Mapping[str, Any]], str]]] = {
    "incident.opened": (0, lambda _, said: f"Incident opened, source {md.inline(str(said.get('source', '')), 40)}"),
    "incident.looked_again": (1, lambda by, _: f"{by} asked to look again"),
    "incident.steered": (1, lambda by, said: f"{by} steered the diagnosis: {_steer(said)}"),
    "incident.left_alone": (11, lambda _, __: "Handed to people: the job that it waited for was given up"),
    "incident.by_hand": (5, lambda by, said: f"A person's work from here on ({by}): {_why(said)}"),
    "incident.handed_back": (5, lambda by, _: f"{by} handed it back"),
    "incident.resolved": (11, lambda _, said: f"Closed: {md.inline(str(said.get('why', '')), 300)}"),
    "incident.dismissed": (11, lambda _, said: f"Dismissed: {md.inline(str(said.get('why', '')), 300)}"),
    "approval.vote": (5, lambda by, _: f"{by} approved"),
    "approval.refused": (5, lambda by, said: f"A click of {by} did not count: {_why(said)}"),
    "approval.edited": (5, lambda by, _: f"{by} changed the fix's parameters, so it was asked for anew"),
    "approval.scheduled": (5, lambda by, said: f"{by} approved it for {md.inline(str(said.get('at', '')), 40)}"),
    "approval.snoozed": (5, lambda by, said: f"{by} put it off until {md.inline(str(said.get('until', '')), 40)}"),
    "approval.not_run": (5, lambda _, said: f"Not run at its hour: {_why(said)}"),
    "approval.reminded": (5, lambda _, __: "Nobody had answered: those who were asked were reminded"),
    "approval.paged": (5, lambda _, __: "Nobody had answered: the pager rang"),
    # Who it was is nobody's business where a document is passed round.
    "feedback": (11, lambda _, said: f"Somebody voted {'👍' if _value(said) > 0 else '👎'}"),
    "fix.remembered": (11, lambda by, _: f"{by} had remembered what a person said has fixed it"),
    "knowledge.corrected": (11, lambda by, said: f"{by} corrected {md.inline(_corrected(said), 200)}"),
}


def _why(said: Mapping[str, Any]) -> str:
    return md.inline(str(said.get("why", "")), 300)


def _value(said: Mapping[str, Any]) -> int:
    value = said.get("value")
    return value if isinstance(value, int) else 0


def _audited(history: History) -> Iterator[Step]:
    """Single votes are told where several people had to approve."""
    several = any(asked.value.approval.needed > 1 for asked in history.approvals)
    for one in history.audit:
        entry: Entry = one.value
        if entry.what in _AUDITED and (several or entry.what != "approval.vote"):
            rank, words = _AUDITED[entry.what]
            yield one.at, rank, words(md.code(entry.actor, 60), entry.payload)
