"""The wording of answers to people's questions: what is stored, what was looked at, and what to do next. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from handlers.blocks import mrkdwn as m
from handlers.blocks.card_buttons import feedback_block
from handlers.blocks.card_decision import blocking_rules, reason_words, rule_words
from handlers.blocks.card_findings import answered_by, percent
from handlers.blocks.card_view import Card, CardView
from handlers.blocks.commands import incident_line
from handlers.blocks.evidence import EVIDENCE_NAMES, SURROUNDINGS, precedent_line
from handlers.blocks.incident_words import STATE_WORDS, place, state_words, title_words
from handlers.blocks.thread import RUN_WORDS
from knowledge.model import (
    KIND_NAMES,
    Approval,
    ApprovalState,
    Ask,
    Auto,
    Diagnosis,
    Evidence,
    Execution,
    Incident,
    IncidentState,
    Precedent,
    Unsure,
)
from knowledge.store.history import History
from remediation.remediators import REMEDIATORS

_MOST_SHOWN, _MOST_STEPS = 8, 14
MOST_ALIKE = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """`lead` is one escaped sentence without markup that answers by itself; `end` are the last blocks."""

    name: str
    lead: str
    lines: tuple[str, ...] = ()
    end: tuple[dict[str, Any], ...] = ()

    @property
    def card(self) -> Card:
        """The answer as one message."""
        lines = [f"*{self.lead.replace('*', '∗')}*", *self.lines]
        text = "\n".join([self.lead, *(m.without_markup(line) for line in self.lines)])
        return Card(m.cut(text, 3_900), [*m.sections(self.name, lines), *self.end])


@dataclass(frozen=True, slots=True)
class About:
    """What is stored of the incident that is asked about; `link` is its card's address, "" where it cannot be had."""

    view: CardView
    history: History
    link: str = ""
    guessed: bool = False  # nobody named it: it is the newest

    @property
    def incident(self) -> Incident:
        return self.view.incident


def why(about: About) -> Answer:
    """The cause with the lines that show it."""
    view, incident = about.view, about.incident
    found = view.diagnosis
    if found is None:
        lead = f"{_subject(incident)}: not diagnosed yet, I am still looking"
        return _answer(about, "why", lead, [])
    if isinstance(found, Unsure):
        lead = f"{_subject(incident)}: I am not sure. {m.inline(found.reason, 240)}"
        missing = [f"• {m.inline(one, 200)}" for one in found.missing[:4]]
        lines = ["*Would settle it*", *missing] if missing else []
        return _answer(about, "why", lead, [*lines, *_shown_by(found, about.history.evidence), answered_by(found)])
    lead = f"{_subject(incident)}: {m.inline(found.cause or found.summary or KIND_NAMES[found.kind], 300)}"
    lines = [f"*Kind:* {KIND_NAMES[found.kind]} ({percent(found.confidence)} sure)"]
    lines += [*_shown_by(found, about.history.evidence), *_around(about.history.evidence)]
    if view.precedents:
        lines += ["*Before*", precedent_line(view.precedents[0], view.now)]
    return _answer(about, "why", lead, [*lines, answered_by(found)])


def _shown_by(found: Diagnosis | Unsure, evidence: Sequence[Evidence]) -> list[str]:
    lines = []
    for quote in found.quotes[:3]:
        item = evidence[quote.evidence] if quote.evidence < len(evidence) else None
        where = f"{_name(item)}: " if item else ""
        lines.append(f"• {where}{m.code(quote.text, 200)}")
    return ["*It shows in*", *lines] if lines else []


def _around(evidence: Sequence[Evidence]) -> list[str]:
    said = {
        title: next((item.text.partition("\n")[0] for item in evidence if item.kind == kind and item.text), "")
        for kind, title in SURROUNDINGS.items()
    }
    return [f"*{title}:* {m.inline(words, 240)}" for title, words in said.items() if words]


def what(about: About) -> Answer:
    """What happened, step by step."""
    steps = sorted(_steps(about.history), key=lambda step: step[0])
    shown = steps if len(steps) <= _MOST_STEPS else [*steps[:5], *steps[5 - _MOST_STEPS :]]
    now = about.view.now
    lines = [f"• {m.date(at, now)} · {words}" for at, words in shown]
    if len(shown) < len(steps):
        lines.insert(5, f"({len(steps) - len(shown):,} more steps)")
    incident = about.incident
    _, state = state_words(about.view)
    cause = f" by {_kind(about.view)}" if isinstance(about.view.diagnosis, Diagnosis) else ""
    lead = f"{_subject(incident)}: {m.inline(title_words(incident.title), 120)}, explained{cause}, {state.lower()}"
    return _answer(about, "what", lead if cause else lead.replace(", explained", ""), lines)


def _kind(view: CardView) -> str:
    return KIND_NAMES[view.diagnosis.kind].lower() if isinstance(view.diagnosis, Diagnosis) else "nothing known"


def _steps(history: History) -> list[tuple[datetime, str]]:
    incident = history.incident
    steps = [(incident.opened_at, f"Opened by {m.inline(incident.source, 40)}")]
    for one in history.answers:
        answer = one.value
        if not answer.answered_by.provisional:
            words = KIND_NAMES[answer.kind] if isinstance(answer, Diagnosis) else "not sure"
            steps.append((one.at, f"Diagnosed: {words}"))
    for planned in history.plans:
        plan = planned.value.plan
        words = m.inline(plan.preview or (plan.action.name if plan.action else ""), 200, "")
        verdict = _verdict(planned.value.decision.verdict)
        steps.append((planned.at, f"Proposed: {words} ({verdict})" if plan.action else "No fix proposed"))
    steps += [(one.value.ended_at, _decided(one.value.approval)) for one in history.approvals if one.value.ended_at]
    for run in history.executions:
        if run.started_at is not None:
            steps.append((run.started_at, f"Started: {_title(run)}"))
        if run.finished_at is not None:
            detail = m.inline(run.outcome.detail, 200, "") if run.outcome else ""
            steps.append((run.finished_at, f"{RUN_WORDS[run.state]}{f': {detail}' if detail else ''}"))
    steps += [
        (one.at, f"Checked: {m.inline(one.value.detail or one.value.verdict, 200)}") for one in history.verifications
    ]
    if incident.resolved_at is not None:
        steps.append((incident.resolved_at, f"Ended: {incident.state.value.replace('_', ' ')}"))
    return steps


def _title(run: Execution) -> str:
    known = REMEDIATORS.get(run.action.name)
    return f"{m.inline(known.title if known else run.action.name, 80)} on {m.code(run.action.target.key, 160)}"


def _verdict(verdict: object) -> str:
    if isinstance(verdict, Auto):
        return "may run by itself"
    if isinstance(verdict, Ask):
        return f"{m.counted(verdict.how_many, 'approval')} needed"
    return "blocked by policy"


def _decided(approval: Approval) -> str:
    if approval.automatic:
        return "Started by itself: policy lets it"
    reason = f": {m.inline(reason_words(approval.reason), 240)}" if approval.reason else ""
    if approval.state in {ApprovalState.APPROVED, ApprovalState.SCHEDULED}:
        later = " for a later hour" if approval.state is ApprovalState.SCHEDULED else ""
        return f"Approved{later} by {m.people(approval.approved_by, 'and')}{reason}"
    if approval.state is ApprovalState.EXPIRED:
        return "Nobody decided in time"
    by = f" by {m.mention(approval.decided_by)}" if approval.decided_by.startswith(("U", "W")) else ""
    return f"{approval.state.value.capitalize()}{by}{reason}"


def who(about: About) -> Answer:
    """Who decided, and who has it."""
    asked = [one.value.approval for one in about.history.approvals]
    lines = [f"• {_requested(one, about.view.now)}" for one in asked[-_MOST_SHOWN:]]
    incident = about.incident
    if incident.assigned_to:
        lines.append(f"• {m.mention(incident.assigned_to)} is on it")
    if incident.asked_by:
        lines.append(f"• Asked for by {m.people(incident.asked_by.split(','), 'and')}")
    if not asked:
        lead = f"{_subject(incident)}: nobody was asked to approve anything"
        return _answer(about, "who", lead, lines)
    return _answer(about, "who", f"{_subject(incident)}: {_plainly(asked[-1])}", lines)


def _plainly(approval: Approval) -> str:
    if approval.automatic:
        return "policy let it run by itself, so nobody had to approve"
    if approval.state is ApprovalState.OPEN:
        return f"{len(approval.approved_by)} of {m.counted(approval.needed, 'approval')} given"
    many = len(approval.approved_by)
    words = {
        ApprovalState.APPROVED: f"approved by {m.counted(many, 'person', 'people')}",
        ApprovalState.SCHEDULED: f"approved by {m.counted(many, 'person', 'people')} for later",
        ApprovalState.REJECTED: "rejected",
        ApprovalState.EXPIRED: "nobody decided in time",
    }
    return words.get(approval.state, "the request was withdrawn")


def _requested(approval: Approval, now: datetime) -> str:
    if approval.state is not ApprovalState.OPEN:
        return _decided(approval)
    given = f"{m.people(approval.approved_by, 'and')} approved; " if approval.approved_by else ""
    return f"{given}waits for {m.people(approval.who)} until {m.date(approval.until, now)}"


def not_auto(about: About) -> Answer:
    """Why the fix did not run by itself: every rule that said no, with its limit and the value."""
    view, incident = about.view, about.incident
    if view.decision is None or view.plan is None or view.plan.action is None:
        reason = view.plan.no_action_because if view.plan else ""
        lead = f"{_subject(incident)}: no fix was proposed. {m.inline(reason, 240, 'There is no decision yet.')}"
        excluded = [
            f"• {m.inline(name, 60)}: {m.inline(why_, 200)}" for name, why_ in (view.plan.excluded if view.plan else ())
        ]
        return _answer(about, "not-auto", lead, ["*Left out*", *excluded[:_MOST_SHOWN]] if excluded else [])
    failed = [rule for rule in view.decision.rules if not rule.passed]
    blocks = blocking_rules(view.decision)
    if isinstance(view.decision.verdict, Auto):
        lead = f"{_subject(incident)}: it may run by itself, all {len(view.decision.rules)} rules passed"
    elif blocks:
        lead = f"{_subject(incident)}: policy blocks it, {m.counted(len(blocks), 'rule')} of {len(view.decision.rules)}"
    else:
        lead = f"{_subject(incident)}: a person has to approve it, {m.counted(len(failed), 'rule')} asked for that"
    lines = [
        f"• {'⛔ blocks' if rule.otherwise == 'block' else '✋ asks'}: {rule_words(rule)}"
        for rule in failed[:_MOST_SHOWN]
    ]
    if len(failed) > _MOST_SHOWN:
        lines.append(f"({len(failed) - _MOST_SHOWN:,} more)")
    lines.append(f"*Mode:* {m.inline(view.decision.mode, 20)} · {len(view.decision.rules) - len(failed)} rules passed")
    return _answer(about, "not-auto", lead, lines)


def done(about: About) -> Answer:
    """What was done and whether it helped."""
    view, incident, run = about.view, about.incident, about.view.execution
    if run is None:
        proposed = m.inline(view.plan.preview, 240, "") if view.plan and view.plan.action else ""
        lead = f"{_subject(incident)}: I have changed nothing"
        return _answer(about, "done", lead, [f"*Proposed:* {proposed}"] if proposed else [])
    lead = f"{_subject(incident)}: {STATE_WORDS[incident.state][1].lower()}"
    lines = [f"• {RUN_WORDS[one.state]}: {_title(one)}" for one in about.history.executions[-_MOST_SHOWN:]]
    if run.outcome:
        lines.append(f"*Outcome:* {m.inline(run.outcome.detail, 240)}")
    if view.verification:
        lines.append(f"*Check:* {m.inline(view.verification.detail or view.verification.verdict, 240)}")
    if about.history.approvals:
        lines.append(_decided(about.history.approvals[-1].value.approval))
    return _answer(about, "done", lead, lines)


def similar(about: About, *, earlier: int) -> Answer:
    """Whether the same happened before, and what is remembered that resembles it. `earlier`: in the last 30 days."""
    view, incident = about.view, about.incident
    known = len(view.precedents)
    same = f"the same failure opened {m.counted(earlier, 'earlier incident')} in the last 30 days" if earlier else ""
    like = f"{m.counted(known, 'similar one')} remembered" if known else ""
    both = " and ".join(part for part in (same, like) if part)
    lead = f"{_subject(incident)}: {both or 'not that I know, nothing similar is remembered'}"
    return _answer(about, "similar", lead, precedent_lines(view.precedents, view.now))


def precedent_lines(precedents: Sequence[Precedent], now: datetime) -> list[str]:
    return [precedent_line(one, now) for one in precedents[:MOST_ALIKE]]


def found_alike(precedents: Sequence[Precedent], now: datetime, note: str) -> Answer:
    """What the memory has that is like a sentence, where no incident is meant."""
    if not precedents:
        lead = "I remember nothing like that"
        lines = ["*Next:* paste the failing lines, or name the service or the incident's number."]
    else:
        lead = f"I remember {m.counted(len(precedents), 'similar case')}"
        lines = precedent_lines(precedents, now)
    looked = f"*Looked at:* everything remembered that may be told here{f'; {m.inline(note, 160)}' if note else ''}."
    return Answer("answer-alike", lead, (*lines, looked))


def several(found: Sequence[Incident], now: datetime, *, subject: str, when: str, looked: int) -> Answer:
    """The incidents of a time, or of a service; what each came to."""
    of = f" of {m.inline(subject, 60)}" if subject else ""
    lead = f"{m.counted(len(found), 'incident')}{of} {when}".rstrip() if found else f"No incident{of} {when}".rstrip()
    lines = [incident_line(one, now) for one in found[:_MOST_SHOWN]]
    if len(found) > _MOST_SHOWN:
        lines.append(f"({len(found) - _MOST_SHOWN:,} more)")
    lines.append(f"*Looked at:* {m.counted(looked, 'incident')} that may be told of here.")
    first = f"“what happened in incident {found[0].id}?”" if found else "“is anything broken?”"
    lines.append(f"*Next:* ask on, for example {first}")
    return Answer("answer-several", lead, tuple(lines))


def unknown_incident(number: int) -> Answer:
    """There is none of that number, or none that may be told of here; both are answered alike."""
    return Answer(
        "answer-unknown", f"There is no incident {number}", ("*Next:* `/codehealer status` lists the open ones.",)
    )


def nothing_meant(intent: str) -> Answer:
    """Nothing is stored that the question could be about."""
    lines = (
        "*Looked at:* the incidents that may be told of here: there is none.",
        "*Next:* name a service, paste the failing lines, or ask in the thread where they stand.",
    )
    return Answer(f"answer-none-{intent}", "I know of no incident that this could be about", lines)


# An incident is known that may not be told of here: said as if there were none.
NOTHING_HERE = Answer(
    "answer-nothing", "I have nothing to tell about this here", ("*Next:* ask in the service's own channel.",)
)


def which_was_fixed() -> Answer:
    """A fix was told, and of which incident was not."""
    lines = ("*Next:* say it in the incident's thread, or with its number: “incident 12: this was fixed by …”.",)
    return Answer("answer-which", "I do not know which incident that fixed", lines)


def _subject(incident: Incident) -> str:
    return f"Incident {incident.id}, {place(incident, 40)}"


def _answer(about: About, name: str, lead: str, lines: Sequence[str]) -> Answer:
    incident = about.incident
    said = [*([_GUESSED] if about.guessed else []), *lines, _looked_at(about), f"*Next:* {_next(about)}"]
    return Answer(
        f"answer-{name}-{incident.id}", lead, tuple(said), (feedback_block(incident.id, about.view.answer_id),)
    )


_GUESSED = "You named no incident, so this is about the newest one."


def _name(item: Evidence) -> str:
    return EVIDENCE_NAMES.get(item.kind) or m.inline(item.kind, 40)


def _looked_at(about: About) -> str:
    history = about.history
    names = list(dict.fromkeys(_name(item) for item in history.evidence if item.text))
    rest = f" and {len(names) - 4} more" if len(names) > 4 else ""
    parts = [f"incident {about.incident.id}"]
    if names:
        parts.append(f"its evidence ({', '.join(names[:4])}{rest})")
    if about.view.decision:
        parts.append(f"its decision with {m.counted(len(about.view.decision.rules), 'rule')}")
    if history.approvals:
        parts.append(m.counted(len(history.approvals), "request") + " for approval")
    if about.view.precedents:
        parts.append(m.counted(len(about.view.precedents), "remembered case"))
    return f"*Looked at:* {m.joined(parts)}."


_NEXT: dict[IncidentState, str] = {
    IncidentState.DETECTED: "wait a moment, I am looking",
    IncidentState.DIAGNOSING: "wait a moment, I am looking",
    IncidentState.PROPOSED: "read the proposal on {card} and carry it out by hand if it fits",
    IncidentState.WAITING: "approve or reject the fix on {card}",
    IncidentState.BLOCKED: "see on {card} who may override, or fix it by hand",
    IncidentState.RUNNING: "wait, the fix is being carried out",
    IncidentState.VERIFYING: "wait, I am checking whether the fix helped",
    IncidentState.HEALED: "nothing to do; 👎 on {card} if it is not over",
    IncidentState.NOT_VERIFIED: "check by hand whether it helped; {card} has the details",
    IncidentState.UNDONE: "take it over on {card}: the failure goes on",
    IncidentState.ESCALATED: "a person's work; take it over on {card}, and say in its thread what fixed it",
    IncidentState.DISMISSED: "nothing to do",
    IncidentState.RESOLVED: "nothing to do; if you know what fixed it, say “this was fixed by …” in its thread",
}


def _next(about: About) -> str:
    card = m.link(about.link, "its card", 40) if about.link else "its card"
    return f"{_NEXT[about.incident.state].format(card=card)}."
