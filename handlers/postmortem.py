"""The draft of a postmortem: what is stored of an incident, as Markdown that people go on with. Pure; asks no model."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from handlers import markdown as md
from handlers.blocks.card_findings import percent
from handlers.blocks.evidence import EVIDENCE_NAMES, OUTCOMES
from handlers.blocks.incident_words import title_words
from handlers.blocks.mrkdwn import counted, duration
from handlers.timeline import VERDICT_WORDS, approval_words, run_words, state_words, timeline, utc, verdict_words
from knowledge.model import KIND_NAMES, Decision, Diagnosis, EvidenceKind, Precedent, Quote, RuleResult, Unsure
from knowledge.store.history import History

NONE = "None is known."
TIMELINE, SIMILAR, NEXT = "Timeline (UTC)", "Similar incidents", "What to do next"
_MOST_LINES = 12


def draft(history: History, *, now: datetime) -> str:
    """The whole draft. `now` tells how long an open incident has lasted."""
    incident = history.incident
    parts = [f"# Postmortem of incident {incident.id}: {md.inline(title_words(incident.title), 200)}"]
    parts += [f"## {title}\n\n{text}" for title, text in sections(history, now=now)]
    return "\n\n".join(parts) + "\n"


def sections(history: History, *, now: datetime) -> list[tuple[str, str]]:
    """(title, Markdown) in order."""
    return [
        ("Impact", _list(_impact(history, now))),
        (TIMELINE, "\n".join(timeline(history))),
        ("Cause", _cause(history)),
        ("What changed", _list(_changes(history))),
        ("Ruled out", _list(_ruled_out(history))),
        ("Decision", _list(_decision(history))),
        ("Outcome", _list(_outcome(history))),
        (NEXT, "- [ ] \n- [ ] \n- [ ] "),
        (SIMILAR, _list(map(_similar, history.precedents[:5]))),
    ]


def _list(lines: Iterator[str] | Sequence[str]) -> str:
    shown = list(lines)
    rest = [f"- and {len(shown) - _MOST_LINES} more"] if len(shown) > _MOST_LINES else []
    return "\n".join([*(f"- {line}" for line in shown[:_MOST_LINES]), *rest]) or NONE


def _impact(history: History, now: datetime) -> Iterator[str]:
    incident, target = history.incident, history.incident.target
    yield f"Service: {md.inline(incident.service, 100, 'not known')}"
    yield f"Environment: {md.inline(incident.environment, 40, 'not known, so it counts as prod')}"
    place = target.key if target else incident.workload or incident.repository
    if place:
        yield f"Where: {md.code(place)}"
    yield f"Since: {utc(incident.opened_at)} UTC, when its first alert came in"
    starts = [one.value.started_at for one in history.alerts if one.value.started_at]
    if starts and min(starts) < incident.opened_at:
        yield f"Since, as the sender says: {utc(min(starts))} UTC"
    lasted = duration(((incident.resolved_at or now) - incident.opened_at).total_seconds())
    if incident.resolved_at:
        yield f"Until: {utc(incident.resolved_at)} UTC, after {lasted} ({state_words(history)})"
    else:
        yield f"Until: still open after {lasted} ({state_words(history)})"
    severity = md.inline(incident.severity, 40, "")
    yield f"Alerts: {incident.alert_count:,}{f', severity {severity}' if severity else ''}"


def _cause(history: History) -> str:
    if not history.answers:
        return "Not diagnosed yet."
    answer = history.answers[-1].value
    lines = [*_unsure(answer)] if isinstance(answer, Unsure) else [*_diagnosed(answer)]
    if answer.injection_suspected or history.incident.flagged:
        lines.append("The evidence holds text that addresses the bot.")
    if history.remembered and history.remembered.corrected:
        item = history.remembered.item
        said = {"kind": KIND_NAMES[item.kind] if item.kind else "", "cause": item.cause, "fix": item.fix}
        named = [f"{name} {md.inline(said[name], 300)}" for name in history.remembered.corrected if name in said]
        lines += [f"Corrected by a person: {'; '.join(named)}"] if named else []
    return "\n\n".join([_list(lines), *_quotes(history, answer.quotes)])


def _diagnosed(answer: Diagnosis) -> Iterator[str]:
    samples = f", counted on {counted(answer.confidence_samples, 'answer')}" if answer.confidence_samples else ""
    yield f"{KIND_NAMES[answer.kind]}, confidence {percent(answer.confidence)}{samples}"
    yield md.inline(answer.cause, 400)
    if answer.summary and answer.summary != answer.cause:
        yield md.inline(answer.summary, 600)
    first = " as a first look" if answer.answered_by.provisional else ""
    yield f"Answered by {md.code(answer.answered_by.name)}{first}"


def _unsure(answer: Unsure) -> Iterator[str]:
    yield f"Not known: {md.inline(answer.reason, 400)}"
    yield from (f"Would settle it: {md.inline(what, 200)}" for what in answer.missing)


def _quotes(history: History, quotes: Sequence[Quote]) -> Iterator[str]:
    """Each source with its lines, numbered as in the evidence."""
    by_item: dict[int, list[Quote]] = {}
    for quote in quotes:
        by_item.setdefault(quote.evidence, []).append(quote)
    for index, found in by_item.items():
        item = history.evidence[index] if 0 <= index < len(history.evidence) else None
        name = EVIDENCE_NAMES.get(item.kind, md.inline(item.kind, 40)) if item else f"Evidence {index + 1}"
        source = f" ({md.inline(item.source, 100)})" if item and item.source else ""
        in_order = sorted(found, key=lambda one: one.line)
        lines = [f"{one.line:>5}  {' '.join(one.text.split())[:300]}" for one in in_order]
        yield f"{name}{source}:\n\n{md.block(lines)}"


def _changes(history: History) -> Iterator[str]:
    for item in history.evidence:
        if item.kind == EvidenceKind.CHANGES:
            yield from (md.inline(line, 300) for line in item.text.split("\n")[:_MOST_LINES] if line.strip())


def _ruled_out(history: History) -> Iterator[str]:
    answer = history.answers[-1].value if history.answers else None
    if isinstance(answer, Diagnosis):
        yield from (md.inline(cause, 300) for cause in answer.ruled_out)
    for item in history.evidence:
        if item.could_not:
            name = EVIDENCE_NAMES.get(item.kind, md.inline(item.kind, 40))
            yield f"Not looked at: {name} ({md.inline(item.could_not, 200)})"


def _decision(history: History) -> Iterator[str]:
    if not history.plans:
        yield "Nothing was decided yet"
        return
    plan, decision = history.plans[-1].value.plan, history.plans[-1].value.decision
    if plan.action is None:
        yield f"No fix was proposed: {md.inline(plan.no_action_because, 300, 'none is known')}"
        return
    yield f"Fix: {md.code(plan.action.name)} on {md.code(plan.action.target.key)}. {md.inline(plan.preview, 300, '')}"
    blast = f", touches {md.inline(plan.blast_radius, 120)}" if plan.blast_radius else ""
    yield f"Risk: {plan.risk.value}{blast}"
    yield f"Verdict: {verdict_words(decision)} (mode {md.code(decision.mode)}, strategy {md.code(decision.strategy)})"
    if history.approvals:
        yield f"Approval: {approval_words(history.approvals[-1].value.approval)}"
    yield from _rules(decision)


def _rules(decision: Decision) -> Iterator[str]:
    """The rules that made the verdict what it is: those that were not passed."""
    failed = [rule for rule in decision.rules if not rule.passed]
    yield from (f"Rule {_rule(rule)}, so {md.inline(rule.otherwise, 40)}" for rule in failed)
    if decision.rules and not failed:
        yield f"All {len(decision.rules)} rules were passed"


def _rule(rule: RuleResult) -> str:
    return f"{md.inline(rule.rule, 80)}: limit {md.inline(rule.limit, 100)}, actual {md.inline(rule.actual, 100)}"


def _outcome(history: History) -> Iterator[str]:
    yield f"State: {state_words(history)}"
    if history.executions:
        yield f"Execution: {run_words(history.executions[-1])}"
    else:
        yield "Nothing was executed"
    if history.verifications:
        found = history.verifications[-1].value
        yield f"Verification: {VERDICT_WORDS.get(found.verdict, md.inline(found.verdict, 40))}"
        yield from (f"Check {'met' if check.passed else 'not met'}: {_rule(check)}" for check in found.checks)
    if history.remembered and history.remembered.item.outcome:
        yield f"Remembered as: {OUTCOMES.get(history.remembered.item.outcome, history.remembered.item.outcome)}"
    if history.feedback:
        ups = sum(one.value > 0 for one in history.feedback)
        yield f"Feedback: 👍 {ups}, 👎 {len(history.feedback) - ups}"


def _similar(precedent: Precedent) -> str:
    item = precedent.item
    place = md.inline(f"{item.service or item.source} {item.environment}".strip(), 100)
    fix = f"; fix: {md.inline(item.fix, 200)}" if item.fix else ""
    ended = OUTCOMES.get(item.outcome) or md.inline(item.outcome, 40)
    cause = md.inline(item.cause, 200, "cause not known")
    likeness = f"similarity {percent(precedent.similarity)}"
    return f"{item.occurred_at:%Y-%m-%d} {place}: {cause}{fix}; {ended}; {likeness} {md.address(item.link)}".rstrip()
